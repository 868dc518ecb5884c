// Which parts of an operation hold -> its outcome: lock, allow, deny, score, order, fallback. No Python in here.
// compiler/stages.py is the same in Python, and says what each step means.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "form.hpp"

namespace layerzero {

using Bits = std::vector<std::uint64_t>;

enum class Kind : Word { kernel, quarantine, lock, allow, deny, boost, order, count };
enum class Otherwise : Word { fail, choose, fallback, count };
enum class Failure : Word { none, lock_failed, no_kernel };

struct Part {
  Kind kind;
  Word rule;  // -1 of a kernel
  Bits kernels;
};

struct RuleOf {
  Word layer, priority;
  Otherwise otherwise;
  double factor;
  std::vector<Bits> positions;  // of an order: the kernels of each target
};

struct Result {
  Word kernel = -1;
  double score = 0;
  bool degraded = false;
  Failure failure = Failure::none;
  std::vector<Word> locks, orders;  // rules
};

class Stages {
 public:
  // False where the arrays do not fit together; `problem` says how. After that nothing may be asked.
  bool parse(const Word* words, std::size_t count, std::string& problem);

  std::size_t mask_words() const { return (parts_.size() + 63) / 64; }
  std::size_t rules() const { return rules_.size(); }

  // `mask`: `mask_words()` words, a bit for each part that holds.
  Result outcome(const std::uint64_t* mask) const;

 private:
  struct Said {  // a rule that applies, and the kernels that it is about
    Word rule;
    Bits kernels;
  };

  template <typename Take>
  void each(Kind kind, const std::uint64_t* mask, Take take) const;
  std::vector<Said> highest(Kind kind, const std::uint64_t* mask) const;
  bool agree(const std::vector<Said>& orders, const Bits& candidates) const;
  Word position(const Said& order, std::size_t kernel) const;
  std::vector<double> scores(const std::uint64_t* mask, const Bits& kernels) const;
  Result fallback(const std::uint64_t* mask, const Bits& feasible) const;
  Bits about(Kind kind, const std::uint64_t* mask) const;
  int rank(Word one, Word other) const;  // of two rules: below 0 where the first counts less

  std::size_t kernels_ = 0, kernel_words_ = 0;
  bool strict_ = false;
  std::vector<Word> priorities_, fallback_;
  std::vector<RuleOf> rules_;
  std::vector<Part> parts_;
  struct Range {
    std::size_t first = 0, end = 0;
  };
  Range ranges_[static_cast<std::size_t>(Kind::count)];
};

}  // namespace layerzero
