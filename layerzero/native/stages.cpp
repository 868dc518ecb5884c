#include "stages.hpp"

#include <algorithm>
#include <cstring>

namespace layerzero {
namespace {

constexpr std::size_t kMost = std::size_t{1} << 24;  // parts, rules, kernels: far beyond what a policy may hold

class Reader {
 public:
  Reader(const Word* words, std::size_t count) : at_(words), left_(count) {}

  bool fine() const { return fine_; }
  bool done() const { return left_ == 0; }

  Word next() {
    if (left_ == 0) {
      fine_ = false;
      return 0;
    }
    --left_;
    return *at_++;
  }

  // A number of things of at least `words` words each, which must still be there.
  std::size_t size(std::size_t words) {
    const Word found = next();
    const auto count = static_cast<std::size_t>(found);
    if (found < 0 || count > kMost || count * words > left_) fine_ = false;
    return fine_ ? count : 0;
  }

  // A set of `count` kernels; bits beyond them are an error.
  Bits bits(std::size_t words, std::size_t count) {
    Bits found(words);
    for (auto& word : found) word = static_cast<std::uint64_t>(next());
    if (count % 64 && !found.empty() && found.back() >> count % 64) fine_ = false;
    return found;
  }

  void demand(bool held) { fine_ = fine_ && held; }

 private:
  const Word* at_;
  std::size_t left_;
  bool fine_ = true;
};

bool any(const Bits& bits) {
  return std::any_of(bits.begin(), bits.end(), [](std::uint64_t word) { return word != 0; });
}

bool has(const Bits& bits, std::size_t number) { return bits[number / 64] >> number % 64 & 1; }

void keep(Bits& bits, const Bits& others) {
  for (std::size_t word = 0; word < bits.size(); ++word) bits[word] &= others[word];
}

void drop(Bits& bits, const Bits& others) {
  for (std::size_t word = 0; word < bits.size(); ++word) bits[word] &= ~others[word];
}

void add(Bits& bits, const Bits& others) {
  for (std::size_t word = 0; word < bits.size(); ++word) bits[word] |= others[word];
}

// The positions of the lowest and highest bit of a word that has one.
#if defined(__GNUC__) || defined(__clang__)
int lowest(std::uint64_t word) { return __builtin_ctzll(word); }
int highest_bit(std::uint64_t word) { return 63 - __builtin_clzll(word); }
#else
int lowest(std::uint64_t word) {
  int number = 0;
  for (; !(word & 1); word >>= 1) ++number;
  return number;
}

int highest_bit(std::uint64_t word) {
  int number = -1;
  for (; word; word >>= 1) ++number;
  return number;
}
#endif

template <typename Take>
void each_bit(const Bits& bits, Take take) {
  for (std::size_t word = 0; word < bits.size(); ++word)
    for (std::uint64_t left = bits[word]; left; left &= left - 1) take(word * 64 + lowest(left));
}

}  // namespace

bool Stages::parse(const Word* words, std::size_t count, std::string& problem) {
  Reader in(words, count);
  kernels_ = in.size(1);
  kernel_words_ = (kernels_ + 63) / 64;
  for (std::size_t kernel = 0; kernel < kernels_; ++kernel) priorities_.push_back(in.next());
  strict_ = in.next() != 0;
  for (std::size_t left = in.size(1); left; --left) {
    fallback_.push_back(in.next());
    in.demand(fallback_.back() >= 0 && fallback_.back() < static_cast<Word>(kernels_));
  }
  for (std::size_t left = in.size(5); left && in.fine(); --left) {
    RuleOf rule{in.next(), in.next(), static_cast<Otherwise>(in.next()), 0, {}};
    in.demand(rule.otherwise >= Otherwise::fail && rule.otherwise < Otherwise::count);
    const Word factor = in.next();
    std::memcpy(&rule.factor, &factor, sizeof factor);
    for (std::size_t targets = in.size(kernel_words_); targets; --targets)
      rule.positions.push_back(in.bits(kernel_words_, kernels_));
    rules_.push_back(std::move(rule));
  }
  for (std::size_t left = in.size(2 + kernel_words_); left && in.fine(); --left) {
    Part part{static_cast<Kind>(in.next()), in.next(), {}};
    part.kernels = in.bits(kernel_words_, kernels_);
    const std::size_t number = parts_.size();
    const bool own = part.kind == Kind::kernel;
    in.demand(part.kind >= Kind::kernel && part.kind < Kind::count && own == (number < kernels_));
    in.demand(own ? part.rule == -1 : part.rule >= 0 && part.rule < static_cast<Word>(rules_.size()));
    if (!in.fine()) break;
    Range& range = ranges_[static_cast<std::size_t>(part.kind)];
    in.demand(range.first == range.end || range.end == number);  // the parts of a kind stand together
    if (range.first == range.end) range.first = number;
    range.end = number + 1;
    parts_.push_back(std::move(part));
  }
  in.demand(in.done() && parts_.size() >= kernels_);
  if (!in.fine()) problem = "the arrays of the stages do not fit together";
  return in.fine();
}

template <typename Take>
void Stages::each(Kind kind, const std::uint64_t* mask, Take take) const {
  const Range range = ranges_[static_cast<std::size_t>(kind)];
  if (range.first == range.end) return;
  for (std::size_t word = range.first / 64; word <= (range.end - 1) / 64; ++word) {
    std::uint64_t left = mask[word];
    if (word == range.first / 64) left &= ~std::uint64_t{0} << range.first % 64;
    if (word == range.end / 64) left &= (std::uint64_t{1} << range.end % 64) - 1;
    for (; left; left &= left - 1) take(parts_[word * 64 + lowest(left)]);
  }
}

Bits Stages::about(Kind kind, const std::uint64_t* mask) const {
  Bits found(kernel_words_);
  each(kind, mask, [&](const Part& part) { add(found, part.kernels); });
  return found;
}

int Stages::rank(Word one, Word other) const {
  const RuleOf &a = rules_[one], &b = rules_[other];
  if (a.layer != b.layer) return a.layer < b.layer ? -1 : 1;
  return a.priority == b.priority ? 0 : a.priority < b.priority ? -1 : 1;
}

// The parts of a kind stand in the order of their ranks, so the last ones count.
std::vector<Stages::Said> Stages::highest(Kind kind, const std::uint64_t* mask) const {
  std::vector<Said> found;
  const Range range = ranges_[static_cast<std::size_t>(kind)];
  if (range.first == range.end) return found;
  for (std::size_t word = (range.end - 1) / 64 + 1; word-- > range.first / 64;) {
    std::uint64_t left = mask[word];
    if (word == range.first / 64) left &= ~std::uint64_t{0} << range.first % 64;
    if (word == range.end / 64) left &= (std::uint64_t{1} << range.end % 64) - 1;
    while (left) {
      const int bit = highest_bit(left);
      left ^= std::uint64_t{1} << bit;
      const Part& part = parts_[word * 64 + bit];
      if (!found.empty() && rank(part.rule, found.front().rule) != 0) return found;
      const auto same = std::find_if(found.begin(), found.end(), [&](const Said& one) { return one.rule == part.rule; });
      if (same == found.end())
        found.push_back({part.rule, part.kernels});
      else
        add(same->kernels, part.kernels);
    }
  }
  return found;
}

Word Stages::position(const Said& order, std::size_t kernel) const {
  const auto& places = rules_[order.rule].positions;
  if (has(order.kernels, kernel))
    for (std::size_t place = 0; place < places.size(); ++place)
      if (has(places[place], kernel)) return static_cast<Word>(place);
  return static_cast<Word>(places.size());
}

bool Stages::agree(const std::vector<Said>& orders, const Bits& candidates) const {
  std::vector<std::size_t> kernels;
  each_bit(candidates, [&](std::size_t kernel) { kernels.push_back(kernel); });
  for (std::size_t one = 0; one < orders.size(); ++one)
    for (std::size_t other = one + 1; other < orders.size(); ++other)
      for (std::size_t i = 0; i < kernels.size(); ++i)
        for (std::size_t j = i + 1; j < kernels.size(); ++j) {
          const Word here = position(orders[one], kernels[i]) - position(orders[one], kernels[j]);
          const Word there = position(orders[other], kernels[i]) - position(orders[other], kernels[j]);
          if ((here < 0 && there > 0) || (here > 0 && there < 0)) return false;
        }
  return true;
}

// Boosts stand in the order of their factors, ascending, as they are to be multiplied.
std::vector<double> Stages::scores(const std::uint64_t* mask, const Bits& kernels) const {
  std::vector<double> found(kernels_);
  each_bit(kernels, [&](std::size_t kernel) { found[kernel] = static_cast<double>(priorities_[kernel]); });
  each(Kind::boost, mask, [&](const Part& part) {
    for (std::size_t word = 0; word < kernel_words_; ++word)
      for (std::uint64_t left = part.kernels[word] & kernels[word]; left; left &= left - 1)
        found[word * 64 + lowest(left)] *= rules_[part.rule].factor;
  });
  return found;
}

Result Stages::fallback(const std::uint64_t* mask, const Bits& feasible) const {
  Result result;
  Bits usable = feasible;
  drop(usable, about(Kind::deny, mask));
  if (!strict_)
    for (const Word kernel : fallback_)
      if (has(usable, kernel)) {
        Bits alone(kernel_words_);
        alone[kernel / 64] = std::uint64_t{1} << kernel % 64;
        result.kernel = kernel;
        result.score = scores(mask, alone)[kernel];
        result.degraded = true;
        return result;
      }
  result.failure = Failure::no_kernel;
  return result;
}

Result Stages::outcome(const std::uint64_t* mask) const {
  Result result;
  Bits feasible(kernel_words_);
  for (std::size_t word = 0; word < kernel_words_; ++word) feasible[word] = mask[word];
  if (kernels_ % 64) feasible[kernel_words_ - 1] &= (std::uint64_t{1} << kernels_ % 64) - 1;
  drop(feasible, about(Kind::quarantine, mask));

  Bits candidates = feasible;
  bool locked = false;
  const std::vector<Said> locks = highest(Kind::lock, mask);
  if (!locks.empty()) {
    for (const Said& lock : locks) keep(candidates, lock.kernels);
    locked = any(candidates);
    if (locked) {
      for (const Said& lock : locks) result.locks.push_back(lock.rule);
    } else {
      candidates = feasible;
      Otherwise hardest = Otherwise::choose;
      for (const Said& lock : locks) {
        const Otherwise otherwise = rules_[lock.rule].otherwise;
        if (otherwise == Otherwise::fail) hardest = Otherwise::fail;
        if (otherwise == Otherwise::fallback && hardest == Otherwise::choose) hardest = Otherwise::fallback;
      }
      if (hardest == Otherwise::fail) {
        result.failure = Failure::lock_failed;
        return result;
      }
      if (hardest == Otherwise::fallback) return fallback(mask, feasible);
    }
  }
  if (!locked) {
    bool allows = false;
    each(Kind::allow, mask, [&](const Part&) { allows = true; });
    if (allows) keep(candidates, about(Kind::allow, mask));
    drop(candidates, about(Kind::deny, mask));
  }
  if (!any(candidates)) return fallback(mask, feasible);

  std::vector<Said> orders = highest(Kind::order, mask);
  if (!agree(orders, candidates)) orders.clear();
  const std::vector<double> scored = scores(mask, candidates);
  each_bit(candidates, [&](std::size_t kernel) {
    if (result.kernel < 0) {
      result.kernel = static_cast<Word>(kernel);
      return;
    }
    const auto best = static_cast<std::size_t>(result.kernel);
    for (const Said& order : orders) {
      const Word here = position(order, kernel), there = position(order, best);
      if (here == there) continue;
      if (here < there) result.kernel = static_cast<Word>(kernel);
      return;
    }
    const bool higher = scored[kernel] > scored[best];
    if (higher || (scored[kernel] == scored[best] && priorities_[kernel] > priorities_[best]))
      result.kernel = static_cast<Word>(kernel);
  });
  result.score = scored[static_cast<std::size_t>(result.kernel)];
  for (const Said& order : orders) result.orders.push_back(order.rule);
  return result;
}

}  // namespace layerzero
