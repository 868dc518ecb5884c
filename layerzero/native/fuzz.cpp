// Damaged arrays and random values -> nothing bad. With libFuzzer, or alone: `fuzz SEED ROUNDS FILE...`, where the files
// are sound arrays to damage. Built with sanitizers by `make asan`.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>

#include "form.hpp"

namespace {

using layerzero::Form;
using layerzero::Tag;
using layerzero::Value;
using layerzero::Word;

struct Anything final : layerzero::Foreign {
  int compare(layerzero::Order, const Value& left, const Value& right) override { return left.bits < right.bits; }
  int like(Word pattern, const Value& text) override { return (pattern ^ text.bits) & 1; }
};

Value any_value(std::mt19937_64& random) {
  static const double reals[] = {0.0, -0.0, 1.5, -1e308, 9223372036854775808.0, 5e-324};
  static const Word edges[] = {INT64_MIN, INT64_MAX, -1, 0, 1, 64, 4096};
  switch (random() % 6) {
    case 0: return {};
    case 1: return {0, nullptr, Tag::not_a_number};
    case 2: return Value::of(bool(random() & 1));
    case 3: return Value::of(random() % 4 ? edges[random() % 7] : static_cast<Word>(random()));
    case 4: return Value::of(reals[random() % 6]);
    default: return {static_cast<Word>(random() % 9) - 1, nullptr, random() % 4 ? Tag::text : Tag::object};
  }
}

bool run(const Word* words, std::size_t count, std::uint64_t seed) {
  Form form;
  if (!form.parse(words, count).empty()) return false;
  std::mt19937_64 random(seed);
  Anything foreign;
  std::vector<Value> values(form.value_count() + 1);
  std::vector<std::uint32_t> classes(form.probe_count() + 1);
  std::vector<Word> mask(form.mask_words() + 1);
  for (int round = 0; round < 8; ++round) {
    for (Value& value : values) value = any_value(random);
    bool failed = false;
    if (!form.complete(values.data(), foreign, failed)) continue;
    layerzero::Region region;
    form.region(values.data(), foreign, region);
    for (const layerzero::Test& test : region.tests)
      if (form.holds(test.program, values.data(), foreign, failed) != test.wanted) std::abort();
    if (form.is_tree()) {
      const Word outcome = form.decide(values.data(), foreign);
      if (outcome >= form.outcome_count()) std::abort();
    } else if (form.classify(values.data(), foreign, classes.data(), mask.data())) {
      form.survivors(classes.data(), mask.data());
    }
  }
  return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::vector<Word> words(size / sizeof(Word));
  if (!words.empty()) std::memcpy(words.data(), data, words.size() * sizeof(Word));
  run(words.data(), words.size(), size);
  return 0;
}

#ifndef LAYERZERO_LIBFUZZER
int main(int count, char** arguments) {
  if (count < 4) return std::puts("usage: fuzz SEED ROUNDS FILE..."), 2;
  std::mt19937_64 random(std::strtoull(arguments[1], nullptr, 10));
  const unsigned long rounds = std::strtoul(arguments[2], nullptr, 10);
  unsigned long accepted = 0, total = 0;
  for (int index = 3; index < count; ++index) {
    std::ifstream file(arguments[index], std::ios::binary);
    const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
    std::vector<Word> sound(bytes.size() / sizeof(Word));
    if (sound.empty()) return std::printf("%s: nothing in it\n", arguments[index]), 2;
    std::memcpy(sound.data(), bytes.data(), sound.size() * sizeof(Word));
    if (!run(sound.data(), sound.size(), 0)) return std::printf("%s: refused\n", arguments[index]), 1;
    for (unsigned long round = 0; round < rounds; ++round, ++total) {
      std::vector<Word> words = sound;
      for (unsigned long times = 1 + random() % 4; times > 0 && !words.empty(); --times) {
        Word& hit = words[random() % words.size()];
        switch (random() % 6) {
          case 0: hit = static_cast<Word>(random()); break;
          case 1: hit += static_cast<Word>(random() % 5) - 2; break;
          case 2: hit ^= Word{1} << (random() % 63); break;
          case 3: hit = static_cast<Word>(random() % 8) - 2; break;
          case 4: hit = words[random() % words.size()]; break;
          default: words.resize(random() % words.size());
        }
      }
      accepted += run(words.data(), words.size(), random());
    }
  }
  std::printf("%lu damaged forms, %lu of them sound enough to be run\n", total, accepted);
  return 0;
}
#endif
