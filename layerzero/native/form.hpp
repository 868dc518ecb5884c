// Flat arrays of one operation -> outcome of one call. No Python in here: what only Python can answer (versions, globs,
// strings that no rule names) is asked through `Foreign`. README.md has the layout of the arrays.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace layerzero {

using Word = std::int64_t;

// As wide as the rest: a narrow tag that is copied with its neighbours waits for the store before it.
enum class Tag : std::int64_t { absent, not_a_number, boolean, integer, real, text, object };

// A value of a field or term. `absent` is also "unknown"; `not_a_number` is present and unknown. A text is the number of
// a string that the form names, or -1; `object` is borrowed and only ever handed to `Foreign`.
struct Value {
  Word bits;  // no initial values here: registers are written before they are read
  const void* object;
  Tag tag;

  bool known() const { return tag > Tag::not_a_number; }
  bool truth() const { return tag == Tag::boolean && bits != 0; }
  double real() const;
  static Value of(bool value) { return {value, nullptr, Tag::boolean}; }
  static Value of(Word value) { return {value, nullptr, Tag::integer}; }
  static Value of(double value);
};

enum class Order : Word { equal, less, at_most };

// What only the embedding language can tell. Each answers 0 or 1, or -1 where it failed.
struct Foreign {
  virtual int compare(Order order, const Value& left, const Value& right) = 0;
  virtual int like(Word pattern, const Value& text) = 0;

 protected:
  ~Foreign() = default;
};

enum class Operator : Word {
  constant, field, has, arm, arithmetic, extremum, negate, choose, compare, like, negation, conjunction,
  disjunction, either, all, any, is, count,
};

struct Instruction {
  Operator op;
  Word a, b, c;
};

struct Program {
  Word first, count;
  bool shallow;  // so small that its parts can be asked one by one
  Word first_leaf;  // of a shallow one that is nothing but `is`, `all` and `any`; else -1
};

// One question of such a program: whether the truth of a term is among `among`; then where to go on, from the first leaf
// of the program: to another one, or to a truth (`yes`, `no`).
struct Leaf {
  static constexpr Word yes = -1, no = -2;
  enum class Kind : Word { flag, given, value_constant, values, rest_constant, words, other } kind;
  Word term, among;        // the instruction whose truth is asked
  Word left, right, rest;  // by kind: values, and constants as they are
  Word order;              // of a comparison: 0 equal, 1 less, 2 at most; 3 greater, 4 at least
  Word if_true, if_false;
};

enum LoadFlag : Word { given = 1, needed = 2, is_real = 4, high_open = 8 };

struct Load {
  Word flags, program, low, high;  // -1: none; `low` and `high` are constants
};

enum class ProbeKind : Word { integer, real, lookup, formula, count };

struct Probe {
  ProbeKind kind;
  Word read, keys, key_count, classes, class_count, program, masks;
};

struct Node {
  Word probe, children;
};

// What one value may become without changing an answer: integers from `low` to `high`, or nothing else than it is.
struct Limit {
  Word value, low, high;
  bool pinned;
};

// A formula that has to keep its truth, and the values that it reads.
struct Test {
  Word program;
  bool wanted;
  std::vector<Word> reads;
};

// Contexts that one decision holds for, around one of them. A value that no limit and no test names is free.
struct Region {
  std::vector<Limit> limits;
  std::vector<Test> tests;
};

// One operation, checked when it is read: after `parse` no index in it leaves its array, every program and every way
// through the tree ends. Immutable.
class Form {
 public:
  static constexpr Word magic = 0x31304d524f465a4c;  // "LZFORM01"
  static constexpr Word refused_call = -1, failed_call = -2;
  static constexpr std::size_t most_registers = 256;
  static constexpr Word shallow_registers = 64;

  // The reason why `words` are no form, or nothing.
  std::string parse(const Word* words, std::size_t count);

  std::size_t value_count() const { return loads_.size() + arms_; }
  std::size_t load_count() const { return loads_.size(); }
  std::size_t arm_count() const { return arms_; }
  std::size_t probe_count() const { return probes_.size(); }
  std::size_t mask_words() const { return mask_words_; }
  Word string_count() const { return strings_; }
  Word object_count() const { return objects_; }
  Word outcome_count() const { return outcomes_; }
  bool refused() const { return refused_; }
  bool is_tree() const { return tree_; }
  const Load& load(std::size_t index) const { return loads_[index]; }

  // Fills in defaults. False: a needed field is absent; `failed` tells that Foreign did.
  bool complete(Value* values, Foreign& foreign, bool& failed) const;

  // The outcome of completed values, by number; `failed_call` where Foreign failed. For trees.
  // `path`, if given, gets (probe, class) of what was asked, at most `probe_count` of them.
  Word decide(const Value* values, Foreign& foreign, std::vector<std::pair<Word, Word>>* path = nullptr) const;

  // The region around completed values; false where Foreign failed.
  bool region(const Value* values, Foreign& foreign, Region& found) const;
  // Whether a formula of a region is true of values.
  bool holds(Word program, const Value* values, Foreign& foreign, bool& failed) const;

  // For bits: the class of every probe that the parts alive so far depend on, `not_asked` for the others; false where
  // Foreign failed. `mask` is room for `mask_words` words.
  static constexpr std::uint32_t not_asked = ~std::uint32_t{0};
  bool classify(const Value* values, Foreign& foreign, std::uint32_t* classes, Word* mask) const;
  // The parts that survive these classes, `mask_words` words.
  void survivors(const std::uint32_t* classes, Word* mask) const { survivors(classes, mask, probes_.size()); }

 private:
  struct Reader;

  void survivors(const std::uint32_t* classes, Word* mask, std::size_t probes) const;
  Value run(const Program& program, const Value* values, Foreign& foreign, bool& failed) const;
  Value step(const Instruction& one, const Value* values, Value* registers, Foreign& foreign, bool& failed) const;
  bool holds(const Instruction* program, Word index, const Value* values, Foreign& foreign, bool& failed) const;
  Word truth(const Instruction* program, Word index, const Value* values, Foreign& foreign, bool& failed) const;
  const Value& operand(const Instruction* program, Word index, const Value* values, Foreign& foreign, bool& failed,
                       Value& room) const;
  void cut_into_leaves(Program& program);
  bool is_leafy(const Instruction* program, Word index) const;
  void add_leaves(const Program& program, Word index, Word if_true, Word if_false, Word depth);
  Leaf leaf_of(const Instruction* program, Word index) const;
  bool walk(const Program& program, const Value* values, Foreign& foreign, bool& failed) const;
  Word answer(const Probe& probe, const Value* values, Foreign& foreign, bool& failed) const;
  void limit(const Probe& probe, const Value* values, const Word* ways, Region& found) const;
  Word slot(const Probe& probe, const Value& value) const;
  const Value& constant(Word index) const { return constants_[static_cast<std::size_t>(index)]; }

  std::vector<Word> operands_, keys_, classes_, children_, masks_;
  std::vector<Value> constants_, real_keys_;
  std::vector<Load> loads_;
  std::vector<Program> programs_;
  std::vector<Instruction> instructions_;
  std::vector<Leaf> leaves_;
  std::vector<Probe> probes_;
  std::vector<Node> nodes_;
  std::size_t arms_ = 0, mask_words_ = 0, first_formula_ = 0;
  Word strings_ = 0, objects_ = 0, outcomes_ = 0, root_ = 0;
  bool refused_ = false, tree_ = false;
};

}  // namespace layerzero
