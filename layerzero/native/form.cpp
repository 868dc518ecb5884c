#include "form.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

namespace layerzero {
namespace {

constexpr int unordered = 2;
constexpr std::size_t few_keys = 12;  // are looked at in turn
constexpr Word most_ways = Word{1} << 24;  // of a probe
constexpr Word most_steps = 4 * Form::shallow_registers, deepest = 16;  // of a program that is run part by part

int compare_exactly(Word whole, double real) {
  if (real >= 9223372036854775808.0) return -1;
  if (real < -9223372036854775808.0) return 1;
  const Word floor = static_cast<Word>(std::floor(real));
  if (whole != floor) return whole < floor ? -1 : 1;
  return static_cast<double>(floor) < real ? -1 : 0;
}

// -1, 0, 1 of two numbers or two truth values, by mathematical value; `unordered` for other things.
int compare_numbers(const Value& left, const Value& right) {
  const bool whole = left.tag == Tag::integer || left.tag == Tag::boolean;
  const bool other_whole = right.tag == Tag::integer || right.tag == Tag::boolean;
  if (whole && other_whole) return (left.bits > right.bits) - (left.bits < right.bits);
  if (left.tag == Tag::real && right.tag == Tag::real) {
    const double one = left.real(), other = right.real();
    return (one > other) - (one < other);
  }
  if (whole && right.tag == Tag::real) return compare_exactly(left.bits, right.real());
  if (left.tag == Tag::real && other_whole) return -compare_exactly(right.bits, left.real());
  return unordered;
}

bool holds(Order order, int sign) {
  return order == Order::equal ? sign == 0 : order == Order::less ? sign < 0 : sign <= 0;
}

Value as_real(const Value& value) {
  return value.tag == Tag::integer ? Value::of(static_cast<double>(value.bits)) : value;
}

Value finite(double value) { return std::isfinite(value) ? Value::of(value) : Value{}; }

Value whole_arithmetic(Word operation, Word left, Word right) {
  Word result = 0;
  switch (operation) {
    case 0: return __builtin_add_overflow(left, right, &result) ? Value{} : Value::of(result);
    case 1: return __builtin_sub_overflow(left, right, &result) ? Value{} : Value::of(result);
    case 2: return __builtin_mul_overflow(left, right, &result) ? Value{} : Value::of(result);
    default: break;
  }
  if (right == 0) return {};
  if (right == -1) {  // the one quotient that does not fit, and a trap on some machines
    if (operation == 4) return Value::of(Word{0});
    return __builtin_sub_overflow(Word{0}, left, &result) ? Value{} : Value::of(result);
  }
  Word quotient = left / right, rest = left % right;
  if (rest != 0 && (rest < 0) != (right < 0)) --quotient, rest += right;
  return Value::of(operation == 3 ? quotient : rest);
}

// Floors as Python does, to the last bit.
Value real_arithmetic(Word operation, double left, double right) {
  switch (operation) {
    case 0: return finite(left + right);
    case 1: return finite(left - right);
    case 2: return finite(left * right);
    default: break;
  }
  if (right == 0.0) return {};
  double rest = std::fmod(left, right);
  double quotient = (left - rest) / right;
  if (rest != 0.0) {
    if ((right < 0.0) != (rest < 0.0)) rest += right, quotient -= 1.0;
  } else {
    rest = std::copysign(0.0, right);
  }
  if (operation == 4) return finite(rest);
  if (quotient == 0.0) return finite(std::copysign(0.0, left / right));
  double floor = std::floor(quotient);
  if (quotient - floor > 0.5) floor += 1.0;
  return finite(floor);
}

Value arithmetic(Word operation, const Value& left, const Value& right) {
  if (left.tag == Tag::integer && right.tag == Tag::integer) return whole_arithmetic(operation, left.bits, right.bits);
  const Value one = as_real(left), other = as_real(right);
  if (one.tag != Tag::real || other.tag != Tag::real) return {};
  return real_arithmetic(operation, one.real(), other.real());
}

Value negate(const Value& value) {
  if (value.tag == Tag::real) return Value::of(-value.real());
  return value.tag == Tag::integer ? whole_arithmetic(1, 0, value.bits) : Value{};
}

Value compare(Order order, const Value& left, const Value& right, Foreign& foreign, bool& failed) {
  if (!left.known() || !right.known()) return {};
  if (left.tag == Tag::text && right.tag == Tag::text && (left.bits >= 0 || right.bits >= 0))
    return Value::of(order != Order::less && left.bits == right.bits);
  const int sign = compare_numbers(left, right);
  if (sign != unordered) return Value::of(holds(order, sign));
  const int answer = foreign.compare(order, left, right);
  failed |= answer < 0;
  return Value::of(answer > 0);
}

Value condition(const Value& value) { return value.tag == Tag::boolean ? value : Value{}; }

Word truth_bit(const Value& value) { return value.tag != Tag::boolean ? 4 : value.bits ? 1 : 2; }

}  // namespace

double Value::real() const {
  double value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

Value Value::of(double value) {
  Value made{0, nullptr, Tag::real};
  std::memcpy(&made.bits, &value, sizeof value);
  return made;
}

// ---------------------------------------------------------------- terms

inline Value Form::step(const Instruction& one, const Value* values, Value* registers, Foreign& foreign, bool& failed) const {
  switch (one.op) {
    case Operator::constant: return one.a < 0 ? Value{} : constant(one.a);
    case Operator::field: return values[one.a].known() ? values[one.a] : Value{};
    case Operator::has: return Value::of(values[one.a].tag != Tag::absent);
    case Operator::arm: return Value::of(values[one.a].tag == Tag::text && values[one.a].bits == one.b);
    case Operator::arithmetic: return arithmetic(one.c, registers[one.a], registers[one.b]);
    case Operator::negate: return negate(registers[one.a]);
    case Operator::compare: {
      const Value &left = registers[one.a], &right = registers[one.b];
      if (left.tag == Tag::integer && right.tag == Tag::integer) {
        const bool at_most = left.bits <= right.bits, less = left.bits < right.bits;
        return Value::of(one.c == 2 ? at_most : one.c == 1 ? less : at_most && !less);
      }
      return compare(static_cast<Order>(one.c), registers[one.a], registers[one.b], foreign, failed);
    }
    case Operator::extremum: {
      Value best = registers[operands_[static_cast<std::size_t>(one.a)]];
      for (Word index = 0; index < one.b; ++index) {
        const Value& next = registers[operands_[static_cast<std::size_t>(one.a + index)]];
        if (!next.known()) return {};
        const int sign = compare_numbers(next, best);
        if (sign == unordered) return {};
        if (one.c & 1 ? sign > 0 : sign < 0) best = next;
      }
      return one.c & 2 ? as_real(best) : best;
    }
    case Operator::choose:
    case Operator::either: {
      const Value& asked = registers[one.a];
      if (asked.tag != Tag::boolean) return {};
      return registers[asked.bits ? one.b : one.c];
    }
    case Operator::like: {
      const Value& text = registers[one.a];
      if (text.tag != Tag::text) return {};
      const int answer = foreign.like(one.b, text);
      failed |= answer < 0;
      return Value::of(answer > 0);
    }
    case Operator::negation: {
      const Value& asked = registers[one.a];
      return asked.tag == Tag::boolean ? Value::of(asked.bits == 0) : Value{};
    }
    case Operator::conjunction:
    case Operator::disjunction: {
      const bool absorbing = one.op == Operator::disjunction;
      bool unknown = false;
      for (Word index = 0; index < one.b; ++index) {
        const Value part = condition(registers[operands_[static_cast<std::size_t>(one.a + index)]]);
        if (part.tag != Tag::boolean) unknown = true;
        else if ((part.bits != 0) == absorbing) return part;
      }
      return unknown ? Value{} : Value::of(!absorbing);
    }
    case Operator::all:
    case Operator::any: {
      const bool absorbing = one.op == Operator::any;
      for (Word index = 0; index < one.b; ++index)
        if (registers[operands_[static_cast<std::size_t>(one.a + index)]].truth() == absorbing)
          return Value::of(absorbing);
      return Value::of(!absorbing);
    }
    case Operator::is: return Value::of((truth_bit(registers[one.a]) & one.b) != 0);
    case Operator::count: break;
  }
  return {};
}

Value Form::run(const Program& program, const Value* values, Foreign& foreign, bool& failed) const {
  Value local[most_registers];
  std::vector<Value> many;
  Value* registers = local;
  const auto count = static_cast<std::size_t>(program.count);
  if (count > most_registers) {
    many.resize(count);
    registers = many.data();
  }
  const Instruction* one = instructions_.data() + program.first;
  for (std::size_t index = 0; index < count; ++index)
    registers[index] = step(one[index], values, registers, foreign, failed);
  return registers[count - 1];
}

// The same for short programs, part by part and only as far as needed. What is shared is worked out again.
bool Form::holds(const Instruction* program, Word index, const Value* values, Foreign& foreign, bool& failed) const {
  const Instruction& one = program[index];
  switch (one.op) {
    case Operator::all:
    case Operator::any: {
      const bool absorbing = one.op == Operator::any;
      const Word* parts = operands_.data() + one.a;
      for (Word part = 0; part < one.b; ++part)
        if (holds(program, parts[part], values, foreign, failed) == absorbing) return absorbing;
      return !absorbing;
    }
    case Operator::is: return (truth(program, one.a, values, foreign, failed) & one.b) != 0;
    default: {
      Value room;
      return operand(program, index, values, foreign, failed, room).truth();
    }
  }
}

Word Form::truth(const Instruction* program, Word index, const Value* values, Foreign& foreign, bool& failed) const {
  const Instruction& one = program[index];
  Value room, other_room;
  if (one.op != Operator::compare) return truth_bit(operand(program, index, values, foreign, failed, room));
  const Value& left = operand(program, one.a, values, foreign, failed, room);
  const Value& right = operand(program, one.b, values, foreign, failed, other_room);
  if (left.tag == Tag::integer && right.tag == Tag::integer) {
    const bool is = one.c == 0 ? left.bits == right.bits : one.c == 1 ? left.bits < right.bits : left.bits <= right.bits;
    return is ? 1 : 2;
  }
  return truth_bit(compare(static_cast<Order>(one.c), left, right, foreign, failed));
}

// ---------------------------------------------------------------- questions in a row

bool Form::is_leafy(const Instruction* program, Word index) const {
  const Instruction& one = program[index];
  if (one.op == Operator::is) return true;
  if ((one.op != Operator::all && one.op != Operator::any) || one.b == 0) return false;
  for (Word part = 0; part < one.b; ++part)
    if (!is_leafy(program, operands_[static_cast<std::size_t>(one.a + part)])) return false;
  return true;
}

// What of the usual questions an `is` asks. `other` is right for each of them, and slower.
Leaf Form::leaf_of(const Instruction* program, Word index) const {
  const Word term = program[index].a;
  const Instruction& asked = program[term];
  Leaf made{Leaf::Kind::other, term, program[index].b, 0, 0, 0, 0, 0, 0};
  const auto whole = [&](Word at) { return program[at].op == Operator::constant && program[at].a >= 0 && constant(program[at].a).tag == Tag::integer; };
  const auto field = [&](Word at) { return program[at].op == Operator::field; };
  if (asked.op == Operator::field) {
    made.kind = Leaf::Kind::flag;
    made.left = asked.a;
  } else if (asked.op == Operator::has) {
    made.kind = Leaf::Kind::given;
    made.left = asked.a;
  } else if (asked.op == Operator::compare) {
    Word one = asked.a, other = asked.b;
    made.order = asked.c;
    if (whole(one) && !whole(other)) {
      std::swap(one, other);
      made.order = asked.c == 0 ? 0 : asked.c + 2;
    }
    const Instruction& left = program[one];
    if (field(one) && whole(other)) {
      made.kind = Leaf::Kind::value_constant;
      made.left = left.a;
      made.right = constant(program[other].a).bits;
    } else if (field(one) && field(other)) {
      made.kind = Leaf::Kind::values;
      made.left = left.a;
      made.right = program[other].a;
    } else if (left.op == Operator::arithmetic && left.c == 4 && field(left.a) && whole(left.b) && whole(other) &&
               constant(program[left.b].a).bits > 0) {
      made.kind = Leaf::Kind::rest_constant;
      made.left = program[left.a].a;
      made.rest = constant(program[left.b].a).bits;
      made.right = constant(program[other].a).bits;
    } else if (field(one) && asked.c == 0 && program[other].op == Operator::constant && program[other].a >= 0 &&
               constant(program[other].a).tag == Tag::text) {
      made.kind = Leaf::Kind::words;
      made.left = left.a;
      made.right = constant(program[other].a).bits;
    }
  }
  return made;
}

// Appends the leaves of a part in the order in which they are asked; the jumps out of it are given.
void Form::add_leaves(const Program& program, Word index, Word if_true, Word if_false, Word depth) {
  const Instruction* first = instructions_.data() + program.first;
  const Instruction& one = first[index];
  if (one.op == Operator::is) {
    Leaf made = leaf_of(first, index);
    made.if_true = if_true;
    made.if_false = if_false;
    leaves_.push_back(made);
    return;
  }
  // A part that does not settle it jumps to the next, whose place is known once it is written; until then a number
  // below those of truths stands there, another one at each depth.
  const Word next = Leaf::no - 1 - depth;
  const bool all = one.op == Operator::all;
  for (Word part = 0; part < one.b; ++part) {
    const bool last = part + 1 == one.b;
    const std::size_t begins = leaves_.size();
    const Word inner = operands_[static_cast<std::size_t>(one.a + part)];
    add_leaves(program, inner, all && !last ? next : if_true, !all && !last ? next : if_false, depth + 1);
    if (last) break;
    const Word place = static_cast<Word>(leaves_.size()) - program.first_leaf;
    for (std::size_t at = begins; at < leaves_.size(); ++at)
      for (Word* jump : {&leaves_[at].if_true, &leaves_[at].if_false})
        if (*jump == next) *jump = place;
  }
}

void Form::cut_into_leaves(Program& program) {
  program.first_leaf = -1;
  if (!program.shallow || !is_leafy(instructions_.data() + program.first, program.count - 1)) return;
  program.first_leaf = static_cast<Word>(leaves_.size());
  add_leaves(program, program.count - 1, Leaf::yes, Leaf::no, 0);
}

namespace {

bool compare_whole(Word order, Word left, Word right) {
  switch (order) {
    case 0: return left == right;
    case 1: return left < right;
    case 2: return left <= right;
    case 3: return left > right;
    default: return left >= right;
  }
}

}  // namespace

bool Form::walk(const Program& program, const Value* values, Foreign& foreign, bool& failed) const {
  const Leaf* leaves = leaves_.data() + program.first_leaf;
  Word at = 0;
  while (at >= 0) {
    const Leaf& leaf = leaves[at];
    const Value& value = values[leaf.left];
    Word bit = 0;
    switch (leaf.kind) {
      case Leaf::Kind::flag: bit = truth_bit(value); break;
      case Leaf::Kind::given: bit = value.tag != Tag::absent ? 1 : 2; break;
      case Leaf::Kind::value_constant:
        if (value.tag == Tag::integer) bit = compare_whole(leaf.order, value.bits, leaf.right) ? 1 : 2;
        else if (value.tag == Tag::real) bit = compare_whole(leaf.order, compare_numbers(value, Value::of(leaf.right)), 0) ? 1 : 2;
        break;
      case Leaf::Kind::values: {
        const Value& other = values[leaf.right];
        if (value.tag == Tag::integer && other.tag == Tag::integer) bit = compare_whole(leaf.order, value.bits, other.bits) ? 1 : 2;
        if (value.tag == Tag::text && other.tag == Tag::text && leaf.order == 0 && (value.bits >= 0 || other.bits >= 0))
          bit = value.bits == other.bits ? 1 : 2;
        break;
      }
      case Leaf::Kind::rest_constant:
        if (value.tag == Tag::integer && value.bits >= 0) bit = compare_whole(leaf.order, value.bits % leaf.rest, leaf.right) ? 1 : 2;
        break;
      case Leaf::Kind::words:
        if (value.tag == Tag::text) bit = value.bits == leaf.right ? 1 : 2;  // constants are named
        break;
      case Leaf::Kind::other: break;
    }
    if (bit == 0) bit = truth(instructions_.data() + program.first, leaf.term, values, foreign, failed);
    at = (bit & leaf.among) != 0 ? leaf.if_true : leaf.if_false;
  }
  return at == Leaf::yes;
}

// A value where it lies, or in `room`.
const Value& Form::operand(const Instruction* program, Word index, const Value* values, Foreign& foreign, bool& failed,
                           Value& room) const {
  const Instruction& one = program[index];
  switch (one.op) {
    case Operator::constant:
      if (one.a >= 0) return constant(one.a);
      return room = Value{};
    case Operator::field:
      if (values[one.a].known()) return values[one.a];
      return room = Value{};
    case Operator::arithmetic: {
      Value other_room;
      const Value& left = operand(program, one.a, values, foreign, failed, room);
      const Value& right = operand(program, one.b, values, foreign, failed, other_room);
      return room = arithmetic(one.c, left, right);
    }
    case Operator::all:
    case Operator::any:
    case Operator::is: return room = Value::of(holds(program, index, values, foreign, failed));
    case Operator::compare: {
      const Word bit = truth(program, index, values, foreign, failed);
      return room = bit == 4 ? Value{} : Value::of(bit == 1);
    }
    case Operator::extremum: {
      Value best = operand(program, operands_[static_cast<std::size_t>(one.a)], values, foreign, failed, room);
      bool whole = best.tag == Tag::integer && (one.c & 2) == 0;
      for (Word part = 1; whole && part < one.b; ++part) {
        const Value& next = operand(program, operands_[static_cast<std::size_t>(one.a + part)], values, foreign, failed, room);
        whole = next.tag == Tag::integer;
        if (whole && (one.c & 1 ? next.bits > best.bits : next.bits < best.bits)) best = next;
      }
      if (whole) return room = best;
      [[fallthrough]];
    }
    default: {
      // The others take their parts from registers: work these out, few as they are, and take the step.
      Value registers[shallow_registers];
      const auto fetch = [&](Word part) {
        Value part_room;
        registers[part] = operand(program, part, values, foreign, failed, part_room);
      };
      switch (one.op) {
        case Operator::has:
        case Operator::arm: break;
        case Operator::negate:
        case Operator::negation:
        case Operator::like: fetch(one.a); break;
        case Operator::choose:
        case Operator::either: fetch(one.a), fetch(one.b), fetch(one.c); break;
        default:
          for (Word part = 0; part < one.b; ++part) fetch(operands_[static_cast<std::size_t>(one.a + part)]);
      }
      return room = step(one, values, registers, foreign, failed);
    }
  }
}

bool Form::complete(Value* values, Foreign& foreign, bool& failed) const {
  for (std::size_t index = 0; index < loads_.size(); ++index) {
    const Load& load = loads_[index];
    Value& value = values[index];
    if (value.tag != Tag::absent) continue;
    if (load.program >= 0) {
      value = run(programs_[static_cast<std::size_t>(load.program)], values, foreign, failed);
      if (load.flags & LoadFlag::is_real) value = as_real(value);
      if (value.tag == Tag::integer || value.tag == Tag::real) {
        if (load.low >= 0 && compare_numbers(value, constant(load.low)) < 0) value = {};
        const int above = load.high < 0 ? -1 : compare_numbers(value, constant(load.high));
        if (value.tag != Tag::absent && (load.flags & LoadFlag::high_open ? above >= 0 : above > 0)) value = {};
      }
    }
    if (value.tag == Tag::absent && load.flags & LoadFlag::needed) return false;
  }
  return true;
}

// ---------------------------------------------------------------- probes

Word Form::answer(const Probe& probe, const Value* values, Foreign& foreign, bool& failed) const {
  if (probe.kind == ProbeKind::formula) return holds(probe.program, values, foreign, failed);
  return classes_[static_cast<std::size_t>(probe.classes + slot(probe, values[probe.read]))];
}

bool Form::holds(Word number, const Value* values, Foreign& foreign, bool& failed) const {
  const Program& program = programs_[static_cast<std::size_t>(number)];
  if (program.first_leaf >= 0) return walk(program, values, foreign, failed);
  if (program.shallow) return holds(instructions_.data() + program.first, program.count - 1, values, foreign, failed);
  return run(program, values, foreign, failed).truth();
}

Word Form::slot(const Probe& probe, const Value& value) const {
  const Word last = probe.class_count - 1;
  if (!value.known()) return last;
  const auto first = static_cast<std::size_t>(probe.keys), count = static_cast<std::size_t>(probe.key_count);
  switch (probe.kind) {
    case ProbeKind::integer: {
      const Word* keys = keys_.data() + first;
      if (value.tag == Tag::integer || value.tag == Tag::boolean) {
        if (count > few_keys) return std::upper_bound(keys, keys + count, value.bits) - keys;
        Word at = 0;
        for (std::size_t key = 0; key < count; ++key) at += keys[key] <= value.bits;
        return at;
      }
      if (value.tag != Tag::real) return last;
      const auto below = [](const Value& one, Word key) { return compare_numbers(one, Value::of(key)) < 0; };
      return std::upper_bound(keys, keys + count, value, below) - keys;
    }
    case ProbeKind::real: {
      if (compare_numbers(value, value) == unordered) return last;
      const Value* keys = real_keys_.data() + first;
      if (count <= few_keys) {
        Word at = 0;
        for (std::size_t key = 0; key < count; ++key) {
          const int sign = compare_numbers(keys[key], value);
          at += sign < 0 ? 2 : sign == 0;
        }
        return at;
      }
      const auto below = [](const Value& one, const Value& other) { return compare_numbers(one, other) < 0; };
      const auto range = std::equal_range(keys, keys + count, value, below);
      return (range.first - keys) + (range.second - keys);
    }
    default: {
      const Word* keys = keys_.data() + first;
      if ((value.tag == Tag::text || value.tag == Tag::boolean) && count <= few_keys) {
        for (std::size_t key = 0; key < count; ++key)
          if (keys[key] == value.bits) return static_cast<Word>(key);
      } else if (value.tag == Tag::text || value.tag == Tag::boolean) {
        const Word* found = std::lower_bound(keys, keys + count, value.bits);
        if (found != keys + count && *found == value.bits) return found - keys;
      }
      return last - 1;
    }
  }
}

Word Form::decide(const Value* values, Foreign& foreign, std::vector<std::pair<Word, Word>>* path) const {
  Word at = root_;
  bool failed = false;
  while (at >= 0) {
    const Node& node = nodes_[static_cast<std::size_t>(at)];
    const Word answered = answer(probes_[static_cast<std::size_t>(node.probe)], values, foreign, failed);
    if (failed) return failed_call;
    if (path != nullptr) path->emplace_back(node.probe, answered);
    at = children_[static_cast<std::size_t>(node.children + answered)];
  }
  return -1 - at;
}

bool Form::region(const Value* values, Foreign& foreign, Region& found) const {
  std::vector<std::pair<Word, Word>> asked;
  std::vector<const Word*> ways;  // by class: a child, or for bits nothing
  bool failed = false;
  if (tree_) {
    for (Word at = root_; at >= 0;) {
      const Node& node = nodes_[static_cast<std::size_t>(at)];
      const Word answered = answer(probes_[static_cast<std::size_t>(node.probe)], values, foreign, failed);
      if (failed) return false;
      asked.emplace_back(node.probe, answered);
      ways.push_back(children_.data() + node.children);
      at = ways.back()[answered];
    }
  } else {
    std::vector<std::uint32_t> classes(probes_.size() + 1);
    std::vector<Word> mask(mask_words_ + 1);
    if (!classify(values, foreign, classes.data(), mask.data())) return false;
    for (std::size_t index = 0; index < probes_.size(); ++index) {
      if (classes[index] == not_asked) continue;
      asked.emplace_back(static_cast<Word>(index), classes[index]);
      ways.push_back(nullptr);
    }
  }
  for (std::size_t index = 0; index < asked.size(); ++index) {
    const Probe& probe = probes_[static_cast<std::size_t>(asked[index].first)];
    if (probe.kind != ProbeKind::formula) {
      limit(probe, values, ways[index], found);
    } else if (ways[index] == nullptr || ways[index][0] != ways[index][1]) {
      Test test{probe.program, asked[index].second != 0, {}};
      const Program& program = programs_[static_cast<std::size_t>(probe.program)];
      for (Word step = 0; step < program.count; ++step) {
        const Instruction& one = instructions_[static_cast<std::size_t>(program.first + step)];
        if (one.op == Operator::field || one.op == Operator::has || one.op == Operator::arm) test.reads.push_back(one.a);
      }
      found.tests.push_back(std::move(test));
    }
  }
  return true;
}

// Around an integer, the neighbouring slots that lead to the same; any other value stays what it is.
void Form::limit(const Probe& probe, const Value* values, const Word* ways, Region& found) const {
  const Value& value = values[probe.read];
  Limit limit{probe.read, std::numeric_limits<Word>::min(), std::numeric_limits<Word>::max(), true};
  if (probe.kind == ProbeKind::integer && value.tag == Tag::integer) {
    const Word* classes = classes_.data() + probe.classes;
    const Word* keys = keys_.data() + probe.keys;
    const auto way = [&](Word at) { return ways == nullptr ? classes[at] : ways[classes[at]]; };
    const Word here = slot(probe, value);
    Word first = here, last = here;
    while (first > 0 && way(first - 1) == way(here)) --first;
    while (last < probe.key_count && way(last + 1) == way(here)) ++last;
    limit.pinned = false;
    if (first > 0) limit.low = keys[first - 1];
    if (last < probe.key_count) limit.high = keys[last] - 1;
  }
  found.limits.push_back(limit);
}

bool Form::classify(const Value* values, Foreign& foreign, std::uint32_t* classes, Word* mask) const {
  bool failed = false;
  std::size_t index = 0;
  for (; index < first_formula_; ++index)
    classes[index] = static_cast<std::uint32_t>(answer(probes_[index], values, foreign, failed));
  if (index == probes_.size()) return true;
  survivors(classes, mask, index);
  for (; index < probes_.size(); ++index) {
    const Probe& probe = probes_[index];
    const Word* no = masks_.data() + probe.masks;
    bool matters = probe.kind != ProbeKind::formula;
    for (std::size_t word = 0; !matters && word < mask_words_; ++word) matters = (mask[word] & ~no[word]) != 0;
    classes[index] = not_asked;
    if (!matters) continue;
    classes[index] = static_cast<std::uint32_t>(answer(probe, values, foreign, failed));
    if (failed) return false;
    const Word* row = no + classes[index] * mask_words_;
    for (std::size_t word = 0; word < mask_words_; ++word) mask[word] &= row[word];
  }
  return true;
}

void Form::survivors(const std::uint32_t* classes, Word* mask, std::size_t probes) const {
  std::fill(mask, mask + mask_words_, Word{-1});
  for (std::size_t index = 0; index < probes; ++index) {
    if (classes[index] == not_asked) continue;
    const auto row = static_cast<std::size_t>(probes_[index].masks) + classes[index] * mask_words_;
    for (std::size_t word = 0; word < mask_words_; ++word) mask[word] &= masks_[row + word];
  }
}

// ---------------------------------------------------------------- reading

// Takes sections from the words in order; after the first fault everything that it gives is empty.
struct Form::Reader {
  const Word* words;
  std::size_t count;
  std::size_t at = 0;
  std::string fault;

  void demand(bool condition, const char* what) {
    if (!condition && fault.empty()) fault = what;
  }
  bool fine() const { return fault.empty(); }
  Word next() {
    demand(at < count, "it ends too early");
    return fine() ? words[at++] : 0;
  }
  // A section: how many items, then `width` words for each.
  const Word* section(std::size_t width, std::size_t& items) {
    const Word told = next();
    demand(told >= 0 && static_cast<std::size_t>(told) <= (count - std::min(at, count)) / width, "a section is too long");
    items = fine() ? static_cast<std::size_t>(told) : 0;
    const Word* found = words + at;
    at += items * width;
    return found;
  }
  std::vector<Word> list() {
    std::size_t items = 0;
    const Word* found = section(1, items);
    return {found, found + items};
  }
};

namespace {

bool inside(Word index, std::size_t count) { return index >= 0 && static_cast<std::size_t>(index) < count; }

bool spans(Word first, Word items, std::size_t count) {
  return first >= 0 && items >= 0 && static_cast<std::size_t>(first) <= count &&
         static_cast<std::size_t>(items) <= count - static_cast<std::size_t>(first);
}

}  // namespace

std::string Form::parse(const Word* words, std::size_t count) {
  Reader in{words, count, 0, {}};
  in.demand(in.next() == magic, "it does not begin with LZFORM01");
  refused_ = in.next() != 0;
  tree_ = in.next() != 0;
  const Word arms = in.next();
  in.demand(arms >= 0 && arms <= 1 << 20, "too many arms");
  arms_ = in.fine() ? static_cast<std::size_t>(arms) : 0;
  strings_ = in.next(), objects_ = in.next(), outcomes_ = in.next(), root_ = in.next();
  in.demand(strings_ >= 0 && objects_ >= 0 && outcomes_ >= 0, "a negative count");
  const Word mask_words = in.next();
  in.demand(mask_words >= 0 && mask_words <= 1 << 20, "the masks are too wide");
  mask_words_ = in.fine() ? static_cast<std::size_t>(mask_words) : 0;

  std::size_t items = 0;
  const Word* found = in.section(2, items);
  for (std::size_t index = 0; index < items; ++index) {
    const Word tag = found[2 * index], bits = found[2 * index + 1];
    in.demand(tag >= static_cast<Word>(Tag::boolean) && tag <= static_cast<Word>(Tag::object), "a constant of no kind");
    if (!in.fine()) return in.fault;
    const Value value{bits, nullptr, static_cast<Tag>(tag)};
    in.demand(value.tag != Tag::boolean || bits == 0 || bits == 1, "a truth value that is none");
    in.demand(value.tag != Tag::real || std::isfinite(value.real()), "a constant that is no number");
    in.demand(value.tag != Tag::text || (bits >= 0 && bits < strings_), "a constant names no string");
    in.demand(value.tag != Tag::object || (bits >= 0 && bits < objects_), "a constant names no object");
    constants_.push_back(value);
  }
  found = in.section(4, items);
  for (std::size_t index = 0; index < items; ++index, found += 4) loads_.push_back({found[0], found[1], found[2], found[3]});
  found = in.section(2, items);
  for (std::size_t index = 0; index < items; ++index, found += 2) programs_.push_back({found[0], found[1], false, -1});
  found = in.section(4, items);
  for (std::size_t index = 0; index < items; ++index, found += 4) {
    in.demand(found[0] >= 0 && found[0] < static_cast<Word>(Operator::count), "an instruction of no kind");
    if (!in.fine()) return in.fault;
    instructions_.push_back({static_cast<Operator>(found[0]), found[1], found[2], found[3]});
  }
  operands_ = in.list();
  keys_ = in.list();
  found = in.section(2, items);
  for (std::size_t index = 0; index < items; ++index, found += 2) {
    const bool number = found[0] == static_cast<Word>(Tag::integer) || found[0] == static_cast<Word>(Tag::real);
    in.demand(number, "a key that is no number");
    if (!in.fine()) return in.fault;
    real_keys_.push_back({found[1], nullptr, static_cast<Tag>(found[0])});
    in.demand(real_keys_.back().tag != Tag::real || std::isfinite(real_keys_.back().real()), "a key that is no number");
  }
  classes_ = in.list();
  found = in.section(8, items);
  for (std::size_t index = 0; index < items; ++index, found += 8) {
    in.demand(found[0] >= 0 && found[0] < static_cast<Word>(ProbeKind::count), "a probe of no kind");
    if (!in.fine()) return in.fault;
    probes_.push_back({static_cast<ProbeKind>(found[0]), found[1], found[2], found[3], found[4], found[5], found[6], found[7]});
  }
  found = in.section(2, items);
  for (std::size_t index = 0; index < items; ++index, found += 2) nodes_.push_back({found[0], found[1]});
  children_ = in.list();
  masks_ = in.list();
  in.demand(in.at == count, "it goes on after its end");
  if (!in.fine()) return in.fault;

  // ---- programs: registers are written before they are read, everything else lies in its array
  const std::size_t values = value_count();
  for (Program& program : programs_) {
    std::vector<Word> sizes, depths;  // of what lies below each instruction, shared parts counted each time
    in.demand(program.count >= 1 && spans(program.first, program.count, instructions_.size()), "a program leaves its array");
    if (!in.fine()) return in.fault;
    for (Word index = 0; index < program.count; ++index) {
      const Instruction& one = instructions_[static_cast<std::size_t>(program.first + index)];
      const auto written = [index](Word number) { return number >= 0 && number < index; };
      bool good = true;
      switch (one.op) {
        case Operator::constant: good = one.a == -1 || inside(one.a, constants_.size()); break;
        case Operator::field:
        case Operator::has: good = inside(one.a, loads_.size()); break;
        case Operator::arm: good = one.a >= static_cast<Word>(loads_.size()) && inside(one.a, values); break;
        case Operator::arithmetic: good = written(one.a) && written(one.b) && one.c >= 0 && one.c <= 4; break;
        case Operator::compare: good = written(one.a) && written(one.b) && one.c >= 0 && one.c <= 2; break;
        case Operator::negate:
        case Operator::negation:
        case Operator::is: good = written(one.a); break;
        case Operator::like: good = written(one.a) && one.b >= 0 && one.b < objects_; break;
        case Operator::choose:
        case Operator::either: good = written(one.a) && written(one.b) && written(one.c); break;
        default: {  // those of many operands; an extremum needs one
          good = spans(one.a, one.b, operands_.size()) && (one.op != Operator::extremum || one.b > 0);
          for (Word operand = 0; good && operand < one.b; ++operand)
            good = written(operands_[static_cast<std::size_t>(one.a + operand)]);
        }
      }
      in.demand(good, "an instruction leaves its arrays");
      if (!in.fine()) return in.fault;
      Word size = 1, depth = 1;
      const auto below = [&](Word part) {
        size = std::min(size + sizes[static_cast<std::size_t>(part)], most_steps + 1);
        depth = std::max(depth, depths[static_cast<std::size_t>(part)] + 1);
      };
      switch (one.op) {
        case Operator::constant:
        case Operator::field:
        case Operator::has:
        case Operator::arm: break;
        case Operator::arithmetic:
        case Operator::compare: below(one.a), below(one.b); break;
        case Operator::negate:
        case Operator::negation:
        case Operator::is:
        case Operator::like: below(one.a); break;
        case Operator::choose:
        case Operator::either: below(one.a), below(one.b), below(one.c); break;
        default:
          for (Word part = 0; part < one.b; ++part) below(operands_[static_cast<std::size_t>(one.a + part)]);
      }
      sizes.push_back(size);
      depths.push_back(depth);
    }
    program.shallow = program.count <= shallow_registers && sizes.back() <= most_steps && depths.back() <= deepest;
    cut_into_leaves(program);
  }
  for (std::size_t index = 0; index < loads_.size(); ++index) {
    const Load& load = loads_[index];
    in.demand(load.program >= -1 && load.program < static_cast<Word>(programs_.size()), "a load names no program");
    for (const Word bound : {load.low, load.high})
      in.demand(bound == -1 || (inside(bound, constants_.size()) && (constant(bound).tag == Tag::integer || constant(bound).tag == Tag::real)),
                "a load names no bound");
  }

  // ---- probes, and what they lead to
  std::vector<Word> ways_of;
  for (const Probe& probe : probes_) {
    Word ways = 2;
    if (probe.kind == ProbeKind::formula) {
      in.demand(inside(probe.program, programs_.size()), "a probe names no program");
    } else {
      const std::size_t keys = probe.kind == ProbeKind::real ? real_keys_.size() : keys_.size();
      in.demand(inside(probe.read, values) && spans(probe.keys, probe.key_count, keys), "a probe leaves its keys");
      in.demand(spans(probe.classes, probe.class_count, classes_.size()), "a probe leaves its classes");
      if (!in.fine()) return in.fault;
      const Word slots = probe.kind == ProbeKind::real ? 2 * probe.key_count + 2 : probe.key_count + 2;
      in.demand(probe.class_count == slots, "a probe has another number of classes than keys ask for");
      for (Word index = 0; in.fine() && index < probe.class_count; ++index) {
        const Word one = classes_[static_cast<std::size_t>(probe.classes + index)];
        // Classes that only numbers past 64 bits would reach have no slot, and the others keep theirs.
        in.demand(one >= 0 && one < most_ways, "a class of no probe");
        ways = std::max(ways, one + 1);
      }
      for (Word index = 1; in.fine() && index < probe.key_count; ++index) {
        const auto here = static_cast<std::size_t>(probe.keys + index);
        const bool rising = probe.kind == ProbeKind::real ? compare_numbers(real_keys_[here - 1], real_keys_[here]) < 0
                                                          : keys_[here - 1] < keys_[here];
        in.demand(rising, "keys that do not rise");
      }
    }
    if (!in.fine()) return in.fault;
    if (!tree_) {
      const Word rows = ways * static_cast<Word>(mask_words_);  // both are small
      in.demand(spans(probe.masks, rows, masks_.size()), "a probe leaves its masks");
    }
    if (!in.fine()) return in.fault;
    ways_of.push_back(ways);
  }
  first_formula_ = 0;
  while (first_formula_ < probes_.size() && probes_[first_formula_].kind != ProbeKind::formula) ++first_formula_;
  if (tree_) {
    in.demand(root_ < static_cast<Word>(nodes_.size()) && root_ >= -outcomes_, "the root is nowhere");
    for (std::size_t index = 0; in.fine() && index < nodes_.size(); ++index) {
      in.demand(inside(nodes_[index].probe, probes_.size()), "a node asks no probe");
      if (!in.fine()) return in.fault;
      const Word ways = ways_of[static_cast<std::size_t>(nodes_[index].probe)];
      in.demand(spans(nodes_[index].children, ways, children_.size()), "a node leaves its children");
      for (Word at = 0; in.fine() && at < ways; ++at) {
        const Word child = children_[static_cast<std::size_t>(nodes_[index].children + at)];
        // Children come after their parents, so every way through the tree ends.
        const bool later = child > static_cast<Word>(index) && child < static_cast<Word>(nodes_.size());
        in.demand(later || (child < 0 && child >= -outcomes_), "a child that is no later node and no outcome");
      }
    }
  }
  return in.fault;
}

}  // namespace layerzero
