#include "operation.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>

namespace layerzero {

PyTypeObject OperationType = {PyVarObject_HEAD_INIT(nullptr, 0)};
PyTypeObject PackedType = {PyVarObject_HEAD_INIT(nullptr, 0)};

// ---------------------------------------------------------------- what was decided

namespace {

constexpr std::size_t most_entries = 16384, most_classes = std::size_t{1} << 20;

// Python answers for versions, patterns and strings that no rule names.
struct Asking final : Foreign {
  explicit Asking(const Operation* operation) : operation(operation) {}
  const Operation* operation;

  PyObject* object(const Value& value) const {
    if (value.object != nullptr) return static_cast<PyObject*>(const_cast<void*>(value.object));
    return PyTuple_GET_ITEM(value.tag == Tag::text ? operation->strings : operation->objects, value.bits);
  }
  int compare(Order order, const Value& left, const Value& right) override {
    static constexpr int operators[] = {Py_EQ, Py_LT, Py_LE};
    return PyObject_RichCompareBool(object(left), object(right), operators[static_cast<Word>(order)]);
  }
  int like(Word pattern, const Value& text) override {
    PyObject* found = PyObject_CallOneArg(PyTuple_GET_ITEM(operation->objects, pattern), object(text));
    if (found == nullptr) return -1;
    const int matches = found != Py_None;
    Py_DECREF(found);
    return matches;
  }
};

// The values of one call, on the stack where they are few. Holds what they borrow for as long as it lives: a question to
// Python may let another thread change the mapping that they came from.
class Values {
 public:
  explicit Values(std::size_t count) : count_(count) {
    if (count > few) many_.resize(count);
    else std::fill(few_, few_ + count, Value{});
  }
  ~Values() {
    for (std::size_t index = 0; index < count_; ++index) Py_XDECREF(static_cast<PyObject*>(const_cast<void*>(data()[index].object)));
  }
  Values(const Values&) = delete;
  Values& operator=(const Values&) = delete;
  Value* data() { return count_ > few ? many_.data() : few_; }

 private:
  static constexpr std::size_t few = 64;
  std::size_t count_;
  Value few_[few];
  std::vector<Value> many_;
};

PyObject* get(PyObject* mapping, PyObject* key) {  // borrowed or null; owned by the mapping
  return PyDict_GetItemWithError(mapping, key);
}

// Values and arms of a call, completed. 1: they are; 0: a needed field is absent; -1: an exception is set.
int load(Operation* self, PyObject* values, PyObject* arms, Value* into) {
  const Form& form = *self->form;
  for (std::size_t index = 0; index < form.load_count(); ++index) {
    PyObject* name = PyTuple_GET_ITEM(self->fields, index);
    if (name == Py_None) continue;
    PyObject* found = get(values, name);
    if (found == nullptr ? PyErr_Occurred() != nullptr : !read_value(self, found, into[index])) return -1;
  }
  for (std::size_t index = 0; index < form.arm_count(); ++index) {
    PyObject* found = get(arms, PyTuple_GET_ITEM(self->experiments, index));
    if (found == nullptr ? PyErr_Occurred() != nullptr : !read_value(self, found, into[form.load_count() + index]))
      return -1;
  }
  Asking asking(self);
  bool failed = false;
  const std::size_t count = form.load_count();
  // Defaults copy what other values borrow; each copy holds its object too.
  constexpr std::size_t few = 256;
  bool local[few];
  std::vector<char> many(count > few ? count : 0);
  bool* absent = count > few ? reinterpret_cast<bool*>(many.data()) : local;
  for (std::size_t index = 0; index < count; ++index) absent[index] = into[index].tag == Tag::absent;
  const bool complete = form.complete(into, asking, failed);
  for (std::size_t index = 0; index < count; ++index)
    if (absent[index]) Py_XINCREF(static_cast<PyObject*>(const_cast<void*>(into[index].object)));
  return failed ? -1 : complete;
}

// Mappings that are no dict (a read-only view) are copied to one.
PyObject* as_dict(PyObject* mapping) {
  if (PyDict_CheckExact(mapping)) return Py_NewRef(mapping);
  PyObject* copy = PyDict_New();
  if (copy != nullptr && PyDict_Update(copy, mapping) < 0) Py_CLEAR(copy);
  return copy;
}

struct Dicts {
  Dicts(PyObject* values, PyObject* arms) : values(as_dict(values)), arms(values_ok() ? as_dict(arms) : nullptr) {}
  ~Dicts() {
    Py_XDECREF(values);
    Py_XDECREF(arms);
  }
  bool values_ok() const { return values != nullptr; }
  bool ok() const { return values != nullptr && arms != nullptr; }
  PyObject* values;
  PyObject* arms;
};

PyObject* compute(Operation* self, const std::uint32_t* classes) {
  std::vector<Word> mask(self->form->mask_words());
  self->form->survivors(classes, mask.data());
  PyObject* bytes = PyBytes_FromStringAndSize(reinterpret_cast<const char*>(mask.data()),
                                              static_cast<Py_ssize_t>(mask.size() * sizeof(Word)));
  if (bytes == nullptr) return nullptr;
  PyObject* outcome = PyObject_CallOneArg(self->compute, bytes);
  Py_DECREF(bytes);
  return outcome;
}

PyObject* by_bits(Operation* self, const Value* values) {
  Asking asking(self);
  const std::size_t count = self->form->probe_count();
  constexpr std::size_t few = 256;
  std::uint32_t local[few];
  std::vector<std::uint32_t> many;
  std::uint32_t* classes = local;
  if (count > few) {
    many.resize(count);
    classes = many.data();
  }
  const std::size_t words = self->form->mask_words();
  Word local_mask[few];
  std::vector<Word> many_masks(words > few ? words : 0);
  if (!self->form->classify(values, asking, classes, words > few ? many_masks.data() : local_mask)) return nullptr;
  PyObject* known = self->remembered->find(classes);
  if (known != nullptr) {
    ++self->hits;
    return Py_NewRef(known);
  }
  ++self->misses;
  PyObject* outcome = compute(self, classes);
  if (outcome != nullptr) self->remembered->keep(classes, outcome);
  return outcome;
}

}  // namespace

void Remembered::begin(std::size_t probes) {
  probes_ = probes;
  limit_ = std::min(most_entries, most_classes / std::max<std::size_t>(probes, 1));
}

// Two chains, so that one multiplication need not wait for the other.
std::uint64_t Remembered::hash(const std::uint32_t* classes) const {
  constexpr std::uint64_t factor = 0xff51afd7ed558ccdu;
  std::uint64_t one = 0x9e3779b97f4a7c15u, other = factor;
  std::size_t index = 0;
  for (; index + 4 <= probes_; index += 4) {
    one = (one ^ (classes[index] | std::uint64_t{classes[index + 1]} << 32)) * factor;
    other = (other ^ (classes[index + 2] | std::uint64_t{classes[index + 3]} << 32)) * factor;
    one ^= one >> 32;
    other ^= other >> 32;
  }
  for (; index < probes_; ++index) one = (one ^ classes[index]) * factor;
  one = (one ^ (one >> 32) ^ other) * factor;
  return one ^ (one >> 32);
}

std::size_t Remembered::place(const std::uint32_t* classes, std::uint64_t hash) const {
  std::size_t at = hash & (table_.size() - 1);
  for (; table_[at] >= 0; at = (at + 1) & (table_.size() - 1)) {
    const auto entry = static_cast<std::size_t>(table_[at]);
    if (hashes_[entry] == hash &&
        std::memcmp(&classes_[entry * probes_], classes, probes_ * sizeof *classes) == 0)
      break;
  }
  return at;
}

PyObject* Remembered::find(const std::uint32_t* classes) const {
  if (table_.empty()) return nullptr;
  const std::int32_t entry = table_[place(classes, hash(classes))];
  return entry < 0 ? nullptr : outcomes_[static_cast<std::size_t>(entry)];
}

void Remembered::keep(const std::uint32_t* classes, PyObject* outcome) {
  if (outcomes_.size() >= limit_) clear();
  if (table_.size() < 2 * (outcomes_.size() + 1)) {
    table_.assign(std::max<std::size_t>(64, 2 * table_.size()), -1);
    for (std::size_t entry = 0; entry < outcomes_.size(); ++entry) {
      std::size_t at = hashes_[entry] & (table_.size() - 1);
      while (table_[at] >= 0) at = (at + 1) & (table_.size() - 1);
      table_[at] = static_cast<std::int32_t>(entry);
    }
  }
  const std::uint64_t hashed = hash(classes);
  const std::size_t at = place(classes, hashed);
  if (table_[at] >= 0) return;  // another thread was faster while Python computed
  table_[at] = static_cast<std::int32_t>(outcomes_.size());
  hashes_.push_back(hashed);
  classes_.insert(classes_.end(), classes, classes + probes_);
  outcomes_.push_back(Py_NewRef(outcome));
}

void Remembered::clear() {
  std::vector<PyObject*> gone;
  gone.swap(outcomes_);
  table_.clear();
  hashes_.clear();
  classes_.clear();
  for (PyObject* outcome : gone) Py_DECREF(outcome);
}

int Remembered::visit(visitproc visit, void* arg) const {
  for (PyObject* outcome : outcomes_) Py_VISIT(outcome);
  return 0;
}

// ---------------------------------------------------------------- values and outcomes

bool read_value(Operation* self, PyObject* object, Value& value) {
  if (object == Py_None) return true;
  if (object == Py_True || object == Py_False) {
    value = Value::of(object == Py_True);
  } else if (PyUnicode_Check(object)) {
    PyObject* number = PyDict_GetItemWithError(self->numbers, object);
    if (number == nullptr && PyErr_Occurred()) return false;
    value = {number == nullptr ? -1 : PyLong_AsLongLong(number), Py_NewRef(object), Tag::text};
  } else if (PyLong_Check(object)) {
    const long long whole = PyLong_AsLongLong(object);
    if (whole == -1 && PyErr_Occurred()) return false;
    value = Value::of(Word{whole});
  } else if (PyFloat_Check(object)) {
    const double real = PyFloat_AS_DOUBLE(object);
    value = Value::of(real);
    if (!std::isfinite(real)) value.tag = Tag::not_a_number;
  } else {
    value = {0, Py_NewRef(object), Tag::object};
  }
  return true;
}

Word number_of(Operation* self, const Value* values) {
  Asking asking(self);
  return self->form->decide(values, asking);
}

bool region_of(Operation* self, const Value* values, Region& found) {
  Asking asking(self);
  return self->form->region(values, asking, found);
}

bool formula_holds(Operation* self, Word program, const Value* values, bool& failed) {
  Asking asking(self);
  return self->form->holds(program, values, asking, failed);
}

bool complete_again(Operation* self, Value* values) {
  Asking asking(self);
  bool failed = false;
  return self->form->complete(values, asking, failed) && !failed;
}

PyObject* outcome_of(Operation* self, const Value* values) {
  if (!self->form->is_tree()) return by_bits(self, values);
  const Word number = number_of(self, values);
  if (number < 0) return nullptr;
  return Py_NewRef(PyTuple_GET_ITEM(self->outcomes, number));
}

PyObject* remembered_outcome(Packed* packed) {
  if (packed->outcome == nullptr) {
    PyObject* outcome = outcome_of(packed->operation, packed->values);
    if (outcome == nullptr) return nullptr;
    PyObject* before = packed->outcome;  // another thread may have been as far while Python computed
    packed->outcome = outcome;
    Py_XDECREF(before);
  }
  return Py_NewRef(packed->outcome);
}

namespace {

PyObject* call(PyObject* callable, PyObject* const* args, size_t flags, PyObject* names) {
  auto* self = reinterpret_cast<Operation*>(callable);
  if (PyVectorcall_NARGS(flags) != 2 || names != nullptr) {
    PyErr_SetString(PyExc_TypeError, "an operation takes its values and its arms");
    return nullptr;
  }
  if (self->form->refused()) return Py_NewRef(self->invalid);
  const Dicts dicts(args[0], args[1]);
  if (!dicts.ok()) return nullptr;
  Values values(self->form->value_count());
  const int loaded = load(self, dicts.values, dicts.arms, values.data());
  if (loaded < 0) return nullptr;
  return loaded ? outcome_of(self, values.data()) : Py_NewRef(self->invalid);
}

PyObject* pack(PyObject* callable, PyObject* const* args, Py_ssize_t count) {
  auto* self = reinterpret_cast<Operation*>(callable);
  if (count != 3) {
    PyErr_SetString(PyExc_TypeError, "pack() takes values, arms and whose it is");
    return nullptr;
  }
  const Dicts dicts(args[0], args[1]);
  if (!dicts.ok()) return nullptr;
  auto* packed = reinterpret_cast<Packed*>(PackedType.tp_alloc(&PackedType, 0));
  if (packed == nullptr) return nullptr;
  packed->operation = reinterpret_cast<Operation*>(Py_NewRef(callable));
  packed->home = Py_NewRef(args[2]);
  packed->count = self->form->value_count();
  packed->values = new (std::nothrow) Value[packed->count + 1]();
  if (packed->values == nullptr) {
    Py_DECREF(packed);
    return PyErr_NoMemory();
  }
  const int loaded = self->form->refused() ? 0 : load(self, dicts.values, dicts.arms, packed->values);
  if (loaded < 0) {
    Py_DECREF(packed);
    return nullptr;
  }
  packed->complete = loaded == 1;
  return reinterpret_cast<PyObject*>(packed);
}

PyObject* decide(PyObject* callable, PyObject* argument) {
  auto* packed = reinterpret_cast<Packed*>(argument);
  if (!Py_IS_TYPE(argument, &PackedType) || reinterpret_cast<PyObject*>(packed->operation) != callable) {
    PyErr_SetString(PyExc_TypeError, "decide() takes what pack() of this operation gave");
    return nullptr;
  }
  return packed->complete ? remembered_outcome(packed) : Py_NewRef(packed->operation->invalid);
}

// [(probe, class)] of what the values are asked on their way, None where a needed field is absent.
PyObject* path(PyObject* callable, PyObject* const* args, Py_ssize_t count) {
  auto* self = reinterpret_cast<Operation*>(callable);
  if (count != 2) {
    PyErr_SetString(PyExc_TypeError, "path() takes values and arms");
    return nullptr;
  }
  if (self->form->refused()) Py_RETURN_NONE;
  const Dicts dicts(args[0], args[1]);
  if (!dicts.ok()) return nullptr;
  Values values(self->form->value_count());
  const int loaded = load(self, dicts.values, dicts.arms, values.data());
  if (loaded < 0) return nullptr;
  if (loaded == 0) Py_RETURN_NONE;
  Asking asking(self);
  std::vector<std::pair<Word, Word>> asked;
  if (self->form->is_tree()) {
    if (self->form->decide(values.data(), asking, &asked) < 0) return nullptr;
  } else {
    std::vector<std::uint32_t> classes(self->form->probe_count() + 1);
    std::vector<Word> mask(self->form->mask_words() + 1);
    if (!self->form->classify(values.data(), asking, classes.data(), mask.data())) return nullptr;
    for (std::size_t index = 0; index < self->form->probe_count(); ++index)
      if (classes[index] != Form::not_asked) asked.emplace_back(index, classes[index]);
  }
  PyObject* list = PyList_New(static_cast<Py_ssize_t>(asked.size()));
  for (std::size_t index = 0; list != nullptr && index < asked.size(); ++index) {
    PyObject* pair = Py_BuildValue("(LL)", static_cast<long long>(asked[index].first), static_cast<long long>(asked[index].second));
    if (pair == nullptr) Py_CLEAR(list);
    else PyList_SET_ITEM(list, static_cast<Py_ssize_t>(index), pair);
  }
  return list;
}

PyObject* make(PyTypeObject* type, PyObject* args, PyObject*) {
  Py_buffer words;
  PyObject *fields, *experiments, *strings, *objects, *outcomes, *invalid, *compute;
  if (!PyArg_ParseTuple(args, "y*O!O!O!O!O!OO:Operation", &words, &PyTuple_Type, &fields, &PyTuple_Type, &experiments,
                        &PyTuple_Type, &strings, &PyTuple_Type, &objects, &PyTuple_Type, &outcomes, &invalid, &compute))
    return nullptr;
  std::unique_ptr<Form> form;
  std::string fault;
  try {
    form = std::make_unique<Form>();
    if (words.len % sizeof(Word) != 0) {
      fault = "its length is not that of whole words";
    } else {
      std::vector<Word> copy(static_cast<std::size_t>(words.len) / sizeof(Word));  // aligned, whatever the buffer is
      if (!copy.empty()) std::memcpy(copy.data(), words.buf, static_cast<std::size_t>(words.len));
      fault = form->parse(copy.data(), copy.size());
    }
  } catch (const std::bad_alloc&) {
    PyBuffer_Release(&words);
    return PyErr_NoMemory();
  }
  PyBuffer_Release(&words);
  const auto size = [](PyObject* tuple) { return static_cast<std::size_t>(PyTuple_GET_SIZE(tuple)); };
  if (fault.empty() && (size(fields) != form->load_count() || size(experiments) != form->arm_count() ||
                        size(strings) != static_cast<std::size_t>(form->string_count()) ||
                        size(objects) != static_cast<std::size_t>(form->object_count()) ||
                        size(outcomes) != static_cast<std::size_t>(form->outcome_count())))
    fault = "its tables are of another size than it says";
  for (Py_ssize_t index = 0; fault.empty() && index < PyTuple_GET_SIZE(strings); ++index)
    if (!PyUnicode_CheckExact(PyTuple_GET_ITEM(strings, index))) fault = "its strings are none";
  if (!fault.empty()) {
    PyErr_Format(PyExc_ValueError, "not a compiled form: %s", fault.c_str());
    return nullptr;
  }
  PyObject* numbers = PyDict_New();
  for (Py_ssize_t index = 0; numbers != nullptr && index < PyTuple_GET_SIZE(strings); ++index) {
    PyObject* number = PyLong_FromSsize_t(index);
    if (number == nullptr || PyDict_SetItem(numbers, PyTuple_GET_ITEM(strings, index), number) < 0) Py_CLEAR(numbers);
    Py_XDECREF(number);
  }
  if (numbers == nullptr) return nullptr;
  auto* self = reinterpret_cast<Operation*>(type->tp_alloc(type, 0));
  if (self == nullptr) {
    Py_DECREF(numbers);
    return nullptr;
  }
  self->vectorcall = call;
  self->remembered = new Remembered;
  self->remembered->begin(form->probe_count());
  self->form = form.release();
  self->numbers = numbers;
  self->fields = Py_NewRef(fields);
  self->experiments = Py_NewRef(experiments);
  self->strings = Py_NewRef(strings);
  self->objects = Py_NewRef(objects);
  self->outcomes = Py_NewRef(outcomes);
  self->invalid = Py_NewRef(invalid);
  self->compute = Py_NewRef(compute);
  return reinterpret_cast<PyObject*>(self);
}

int traverse(PyObject* object, visitproc visit, void* arg) {
  auto* self = reinterpret_cast<Operation*>(object);
  for (PyObject* held : {self->fields, self->experiments, self->numbers, self->strings, self->objects, self->outcomes,
                         self->invalid, self->compute})
    Py_VISIT(held);
  return self->remembered == nullptr ? 0 : self->remembered->visit(visit, arg);
}

int clear(PyObject* object) {
  auto* self = reinterpret_cast<Operation*>(object);
  // Only what may close a circle; the tables stay, so that a call from a finaliser still finds them.
  if (self->remembered != nullptr) self->remembered->clear();
  PyObject* gone = self->compute;
  self->compute = Py_NewRef(Py_None);
  Py_XDECREF(gone);
  return 0;
}

void deallocate(PyObject* object) {
  PyObject_GC_UnTrack(object);
  auto* self = reinterpret_cast<Operation*>(object);
  delete self->remembered;
  delete self->form;
  for (PyObject* held : {self->fields, self->experiments, self->numbers, self->strings, self->objects, self->outcomes,
                         self->invalid, self->compute})
    Py_XDECREF(held);
  Py_TYPE(object)->tp_free(object);
}

PyObject* counts(PyObject* object, void*) {
  auto* self = reinterpret_cast<Operation*>(object);
  return Py_BuildValue("(KKn)", self->hits, self->misses, static_cast<Py_ssize_t>(self->remembered->size()));
}

int packed_traverse(PyObject* object, visitproc visit, void* arg) {
  auto* self = reinterpret_cast<Packed*>(object);
  Py_VISIT(self->operation);
  Py_VISIT(self->home);
  Py_VISIT(self->outcome);
  for (std::size_t index = 0; self->values != nullptr && index < self->count; ++index)
    Py_VISIT(static_cast<PyObject*>(const_cast<void*>(self->values[index].object)));
  return 0;
}

void packed_deallocate(PyObject* object) {
  PyObject_GC_UnTrack(object);
  auto* self = reinterpret_cast<Packed*>(object);
  for (std::size_t index = 0; self->values != nullptr && index < self->count; ++index)
    Py_XDECREF(static_cast<PyObject*>(const_cast<void*>(self->values[index].object)));
  delete[] self->values;
  Py_XDECREF(self->operation);
  Py_XDECREF(self->home);
  Py_XDECREF(self->outcome);
  Py_TYPE(object)->tp_free(object);
}

template <typename Function>
PyCFunction method(Function function) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}

PyMethodDef methods[] = {
    {"pack", method(pack), METH_FASTCALL, "Values and arms, completed once, for `decide` of this operation."},
    {"decide", decide, METH_O, "The outcome of packed values."},
    {"path", method(path), METH_FASTCALL, "(probe, class) of everything that values are asked on their way."},
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef properties[] = {
    {"counts", counts, nullptr, "Of a bitset: decisions from a known region, computed ones, and regions held.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

}  // namespace

bool ready_operation(PyObject* module) {
  PyTypeObject& type = OperationType;
  type.tp_name = "layerzero.native._matcher.Operation";
  type.tp_doc = "One operation, ready to decide: called with values and arms it returns the outcome.";
  type.tp_basicsize = sizeof(Operation);
  type.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL;
  type.tp_new = make;
  type.tp_call = PyVectorcall_Call;
  type.tp_vectorcall_offset = offsetof(Operation, vectorcall);
  type.tp_traverse = traverse;
  type.tp_clear = clear;
  type.tp_dealloc = deallocate;
  type.tp_methods = methods;
  type.tp_getset = properties;
  PackedType.tp_name = "layerzero.native._matcher.Packed";
  PackedType.tp_doc = "The values of one context, completed for one operation.";
  PackedType.tp_basicsize = sizeof(Packed);
  PackedType.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION;
  PackedType.tp_traverse = packed_traverse;
  PackedType.tp_dealloc = packed_deallocate;
  return PyModule_AddType(module, &type) == 0 && PyType_Ready(&PackedType) == 0;
}

}  // namespace layerzero
