// `Call(function, ...)`: a public call that remembers what was decided for calls that look like this one.
//
// What an operation reads of its arguments is a function of what stands in the key: how each tensor looks (dtype, device,
// sizes, strides, alignment, whether it asks for a gradient), each number and word, torch's state, and what surrounds the
// call. So calls of one key are decided alike, and what Python made of the first of them serves the others. Whatever
// cannot be put into a key goes to the plain Python function, which also says what is wrong with a call.
#include "calls.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

#include "attention.hpp"
#include "edge.hpp"

namespace layerzero {
namespace {

constexpr std::size_t most_parameters = 16, most_words = 512, most_objects = 24, most_entries = 4096, most_memos = 2;

// ---------------------------------------------------------------- what a call looks like

struct Key {
  Key() = default;
  Key(const Key&) = delete;
  Key& operator=(const Key&) = delete;
  ~Key() {
    for (std::size_t index = 0; index < object_count; ++index) Py_DECREF(objects[index]);
  }
  bool add(std::int64_t word) {
    if (word_count == most_words) return false;
    words[word_count++] = word;
    return true;
  }
  bool add(PyObject* object) {  // compared by ==
    if (object_count == most_objects) return false;
    objects[object_count++] = Py_NewRef(object);
    return true;
  }
  std::uint64_t hash() const {
    std::uint64_t mixed = 0x9e3779b97f4a7c15u;
    for (std::size_t index = 0; index < word_count; ++index) {
      mixed = (mixed ^ static_cast<std::uint64_t>(words[index])) * 0xff51afd7ed558ccdu;
      mixed ^= mixed >> 32;
    }
    return mixed;
  }

  std::size_t word_count = 0, object_count = 0;
  std::int64_t words[most_words];
  PyObject* objects[most_objects];
};

// What Python made of the first call of a key.
struct Learned {
  PyObject* told;     // None: only the plain function serves such calls
  PyObject* adapter;  // null: no kernel serves them
  PyObject* look;     // null, or what has to look at the values of each call
  PyObject* names;
  PyObject* constants;
  PyObject* token;             // kept: the key has its address
  std::vector<Py_ssize_t> from;  // of each argument of the adapter: an argument of the call, or -1 - a constant
  Py_ssize_t positional;
  std::size_t users = 1;

  void release() {
    if (--users > 0) return;
    for (PyObject* held : {told, adapter, look, names, constants, token}) Py_XDECREF(held);
    delete this;
  }
};

struct Using {  // another thread may forget it while Python runs
  explicit Using(Learned* learned) : learned(learned) { ++learned->users; }
  ~Using() { learned->release(); }
  Using(const Using&) = delete;
  Using& operator=(const Using&) = delete;
  Learned* learned;
};

// What was learned under one snapshot. Bounded: full, it starts anew.
class Memo {
 public:
  explicit Memo(PyObject* snapshot) : snapshot(Py_NewRef(snapshot)) {}
  ~Memo() {
    clear();
    Py_DECREF(snapshot);
  }
  Memo(const Memo&) = delete;
  Memo& operator=(const Memo&) = delete;

  // Borrowed, or null. Words and devices are compared without Python code, so nothing changes meanwhile.
  Learned* find(const Key& key, std::uint64_t hash) const {
    if (table_.empty()) return nullptr;
    for (std::size_t at = hash & (table_.size() - 1); table_[at] >= 0; at = (at + 1) & (table_.size() - 1)) {
      const Entry& entry = entries_[static_cast<std::size_t>(table_[at])];
      if (entry.hash == hash && equal(entry, key)) return entry.learned;
    }
    return nullptr;
  }

  void keep(const Key& key, std::uint64_t hash, Learned* learned) {
    if (entries_.size() >= most_entries) clear();
    if (table_.size() < 2 * (entries_.size() + 1)) {
      table_.assign(std::max<std::size_t>(32, 2 * table_.size()), -1);
      for (std::size_t entry = 0; entry < entries_.size(); ++entry) place(entries_[entry].hash, entry);
    }
    Entry entry{hash, {key.words, key.words + key.word_count}, {key.objects, key.objects + key.object_count}, learned};
    for (PyObject* object : entry.objects) Py_INCREF(object);
    ++learned->users;
    entries_.push_back(std::move(entry));
    place(hash, entries_.size() - 1);
  }

  int visit(visitproc visit, void* arg) const {
    Py_VISIT(snapshot);
    for (const Entry& entry : entries_)
      for (PyObject* held : {entry.learned->told, entry.learned->adapter, entry.learned->look, entry.learned->token})
        Py_VISIT(held);
    return 0;
  }

  PyObject* const snapshot;

 private:
  struct Entry {
    std::uint64_t hash;
    std::vector<std::int64_t> words;
    std::vector<PyObject*> objects;
    Learned* learned;
  };

  static bool equal(const Entry& entry, const Key& key) {
    if (entry.words.size() != key.word_count || entry.objects.size() != key.object_count) return false;
    if (std::memcmp(entry.words.data(), key.words, key.word_count * sizeof *key.words) != 0) return false;
    for (std::size_t index = 0; index < key.object_count; ++index) {
      if (entry.objects[index] == key.objects[index]) continue;
      if (Py_TYPE(entry.objects[index]) != Py_TYPE(key.objects[index])) return false;
      const int same = PyObject_RichCompareBool(entry.objects[index], key.objects[index], Py_EQ);
      if (same < 0) PyErr_Clear();
      if (same <= 0) return false;
    }
    return true;
  }

  void place(std::uint64_t hash, std::size_t entry) {
    std::size_t at = hash & (table_.size() - 1);
    while (table_[at] >= 0) at = (at + 1) & (table_.size() - 1);
    table_[at] = static_cast<std::int32_t>(entry);
  }

  void clear() {
    std::vector<Entry> gone;
    gone.swap(entries_);
    table_.clear();
    for (Entry& entry : gone) {
      for (PyObject* object : entry.objects) Py_DECREF(object);
      entry.learned->release();
    }
  }

  std::vector<Entry> entries_;
  std::vector<std::int32_t> table_;  // position of an entry, or -1
};

// ---------------------------------------------------------------- the public call

struct Call {
  PyObject_HEAD
  vectorcallfunc vectorcall;
  std::vector<Memo*>* memos;  // the latest first
  std::uint64_t hits, misses;
  PyObject* edge;       // null: torch was not there yet; None: it cannot be looked at here
  PyObject* attention;  // regions of its calls, or null
  PyObject* parts;      // class -> names of the attributes that make its instances alike
  PyObject* device;     // torch's class
  PyObject* alias;      // whether two tensors share memory
  // Given by Python, in this order; `pair` are two parameters that may lie side by side, or -1.
  PyObject *function, *begin, *learn, *known, *rescue, *succeeded, *parameters, *defaults;
  int pair[2];
};

// The arguments in the order of the parameters, borrowed. False: Python says what is wrong.
bool bind(const Call* self, PyObject* const* args, Py_ssize_t count, PyObject* names, PyObject** bound) {
  const Py_ssize_t all = PyTuple_GET_SIZE(self->parameters), optional = PyTuple_GET_SIZE(self->defaults);
  if (count > all) return false;
  std::copy(args, args + count, bound);
  std::fill(bound + count, bound + all, nullptr);
  const Py_ssize_t named = names == nullptr ? 0 : PyTuple_GET_SIZE(names);
  for (Py_ssize_t index = 0; index < named; ++index) {
    PyObject* name = PyTuple_GET_ITEM(names, index);
    Py_ssize_t at = count;
    while (at < all && PyTuple_GET_ITEM(self->parameters, at) != name) ++at;
    if (at == all)
      for (at = count; at < all && PyUnicode_Compare(PyTuple_GET_ITEM(self->parameters, at), name) != 0;) ++at;
    if (at == all || bound[at] != nullptr) return false;
    bound[at] = args[count + index];
  }
  for (Py_ssize_t at = count; at < all; ++at) {
    if (bound[at] != nullptr) continue;
    if (at < all - optional) return false;
    bound[at] = PyTuple_GET_ITEM(self->defaults, at - (all - optional));
  }
  return true;
}

// Makes the key of one call.
struct Reader {
  Call* self;
  Edge* edge;
  Key& key;
  int gradients;                  // grad mode is on
  dlpack::Device accelerator{0, 0};  // the first that was seen

  // Each is false, with or without an exception, for what no key can hold.
  bool tensor(PyObject* object, dlpack::Tensor& seen) {
    if (!look(edge, object, seen)) return false;
    if (seen.device.kind != dlpack::cpu && seen.device.kind != dlpack::cuda && seen.device.kind != dlpack::rocm) return false;
    if (seen.device.kind != dlpack::cpu && accelerator.kind == 0) accelerator = seen.device;
    const int asks = gradients == 0 ? 0 : asks_gradient(edge, object);
    if (asks < 0) return false;
    const auto begins = reinterpret_cast<std::uintptr_t>(seen.data) + seen.byte_offset;
    const std::int64_t state = (begins % 16 == 0 ? 1 : 0) | asks << 1 | (reinterpret_cast<PyObject*>(Py_TYPE(object)) == edge->parameter) << 2;
    const std::size_t sizes = static_cast<std::size_t>(seen.dimensions);
    if (key.word_count + 2 + 2 * sizes > most_words) return false;
    key.add(std::int64_t{seen.type.code} | std::int64_t{seen.type.bits} << 8 | std::int64_t{seen.type.lanes} << 16 | state << 32 |
            std::int64_t{seen.dimensions} << 40);
    key.add(std::int64_t{seen.device.kind} << 32 | std::int64_t{seen.device.number});
    std::copy(seen.shape, seen.shape + sizes, key.words + key.word_count);
    std::copy(seen.strides, seen.strides + sizes, key.words + key.word_count + sizes);
    key.word_count += 2 * sizes;
    return true;
  }

  bool scalar(PyObject* object) {
    if (PyUnicode_CheckExact(object) || reinterpret_cast<PyObject*>(Py_TYPE(object)) == self->device)
      return key.add(std::int64_t{-1}) && key.add(object);
    std::int64_t words[2];
    return spell(object, words) && key.add(-2 - words[0]) && key.add(words[1]);
  }

  bool compound(PyObject* object) {
    PyObject* type = reinterpret_cast<PyObject*>(Py_TYPE(object));
    PyObject* attributes = PyDict_GetItemWithError(self->parts, type);
    if (attributes == nullptr || !PyTuple_CheckExact(attributes)) return false;
    if (!key.add(std::int64_t{-5}) || !key.add(reinterpret_cast<std::int64_t>(type))) return false;
    for (Py_ssize_t index = 0; index < PyTuple_GET_SIZE(attributes); ++index) {
      PyObject* part = PyObject_GetAttr(object, PyTuple_GET_ITEM(attributes, index));
      if (part == nullptr) return false;
      dlpack::Tensor seen;
      const bool fits = is_tensor(edge, part) ? tensor(part, seen) : scalar(part);
      Py_DECREF(part);
      if (!fits) return false;
    }
    return true;
  }

  // Whether the second tensor begins where the first one's row ends, in the memory of both.
  bool side_by_side(PyObject* one, const dlpack::Tensor& first, PyObject* other, const dlpack::Tensor& second) {
    bool beside = false;
    if (first.dimensions > 0) {
      const std::int64_t row = first.shape[first.dimensions - 1] * first.type.bits * first.type.lanes / 8;
      beside = static_cast<char*>(first.data) + first.byte_offset + row == static_cast<char*>(second.data) + second.byte_offset;
    }
    if (beside) {
      PyObject* answer = PyObject_CallFunctionObjArgs(self->alias, one, other, nullptr);
      if (answer == nullptr) return false;
      beside = answer == Py_True;
      Py_DECREF(answer);
    }
    return key.add(std::int64_t{beside});
  }

  bool call(PyObject* const* args) {
    const Py_ssize_t count = PyTuple_GET_SIZE(self->parameters);
    dlpack::Tensor seen[most_parameters];
    for (Py_ssize_t index = 0; index < count; ++index) {
      PyObject* object = args[index];
      const bool fits = is_tensor(edge, object) ? tensor(object, seen[index]) : scalar(object) || (!PyErr_Occurred() && compound(object));
      if (!fits) return false;
    }
    if (self->pair[0] >= 0) {
      PyObject *one = args[self->pair[0]], *other = args[self->pair[1]];
      if (!is_tensor(edge, one) || !is_tensor(edge, other)) return false;
      if (!side_by_side(one, seen[self->pair[0]], other, seen[self->pair[1]])) return false;
    }
    const int settled = deterministic(edge), captured = settled < 0 ? -1 : capturing(edge, accelerator);
    return settled >= 0 && captured >= 0 && key.add(std::int64_t{gradients | settled << 1 | captured << 2});
  }
};

Memo* memo_of(const Call* self, PyObject* snapshot) {
  for (Memo*& memo : *self->memos) {
    if (memo->snapshot != snapshot) continue;
    std::swap(memo, self->memos->front());
    return self->memos->front();
  }
  return nullptr;
}

void begin_memo(Call* self, PyObject* snapshot) {
  Memo* gone = nullptr;
  if (self->memos->size() >= most_memos) {
    gone = self->memos->back();
    self->memos->pop_back();
  }
  self->memos->insert(self->memos->begin(), new Memo(snapshot));
  delete gone;
}

// `(told, adapter or None, look or None, positional, names, from, constants)` as Python tells it; null with an exception set.
Learned* read_learned(const Call* self, PyObject* told, PyObject* token) {
  auto* made = new Learned{Py_NewRef(told), nullptr, nullptr, nullptr, nullptr, Py_NewRef(token), {}, 0};
  if (told == Py_None) return made;
  PyObject *what, *adapter, *look, *names, *from, *constants;
  bool fine = PyArg_ParseTuple(told, "OOOnO!O!O!", &what, &adapter, &look, &made->positional, &PyTuple_Type, &names,
                               &PyTuple_Type, &from, &PyTuple_Type, &constants);
  if (fine && (made->positional < 0 || made->positional + PyTuple_GET_SIZE(names) != PyTuple_GET_SIZE(from) ||
               PyTuple_GET_SIZE(from) > static_cast<Py_ssize_t>(most_parameters))) {
    PyErr_SetString(PyExc_ValueError, "wanted where each argument of the adapter comes from");
    fine = false;
  }
  for (Py_ssize_t index = 0; fine && index < PyTuple_GET_SIZE(from); ++index) {
    const Py_ssize_t source = PyLong_AsSsize_t(PyTuple_GET_ITEM(from, index));
    fine = !(source == -1 && PyErr_Occurred());
    if (fine && (source >= PyTuple_GET_SIZE(self->parameters) || source < -PyTuple_GET_SIZE(constants))) {
      PyErr_SetString(PyExc_ValueError, "an argument comes from nowhere");
      fine = false;
    }
    made->from.push_back(source);
  }
  if (!fine) {
    made->release();
    return nullptr;
  }
  if (adapter != Py_None) made->adapter = Py_NewRef(adapter);
  if (look != Py_None) made->look = Py_NewRef(look);
  if (PyTuple_GET_SIZE(names) > 0) made->names = Py_NewRef(names);
  made->constants = Py_NewRef(constants);
  return made;
}

// Calls one of Python's functions with an object, all arguments of the call as a tuple and perhaps an exception.
PyObject* tell(const Call* self, PyObject* function, PyObject* first, PyObject* const* args, PyObject* error = nullptr) {
  const Py_ssize_t count = PyTuple_GET_SIZE(self->parameters);
  PyObject* all = PyTuple_New(count);
  if (all == nullptr) return nullptr;
  for (Py_ssize_t index = 0; index < count; ++index) PyTuple_SET_ITEM(all, index, Py_NewRef(args[index]));
  PyObject* answer = PyObject_CallFunctionObjArgs(function, first, all, error, nullptr);
  Py_DECREF(all);
  return answer;
}

// The adapter's result, or what comes of its failure. `given` has room before its first item.
PyObject* serve(Call* self, Edge* edge, PyObject* snapshot, PyObject* adapter, PyObject* const* given, Py_ssize_t positional,
                PyObject* names, PyObject* const* args) {
  PyObject* result = PyObject_Vectorcall(adapter, given, static_cast<std::size_t>(positional) | PY_VECTORCALL_ARGUMENTS_OFFSET, names);
  if (result == nullptr) {
    if (!PyErr_ExceptionMatches(PyExc_Exception)) return nullptr;
    PyObject *type, *error, *trace;
    PyErr_Fetch(&type, &error, &trace);
    PyErr_NormalizeException(&type, &error, &trace);
    if (trace != nullptr) PyException_SetTraceback(error, trace);
    result = tell(self, self->rescue, snapshot, args, error);
    Py_XDECREF(type);
    Py_XDECREF(error);
    Py_XDECREF(trace);
  } else if (failing(edge)) {
    // Something failed meanwhile, perhaps this kernel in another thread: a success counts.
    PyObject* done = tell(self, self->succeeded, snapshot, args);
    if (done == nullptr) Py_CLEAR(result);
    Py_XDECREF(done);
  }
  return result;
}

PyObject* serve_learned(Call* self, Edge* edge, PyObject* snapshot, const Learned* learned, PyObject* const* args) {
  if (learned->look != nullptr) {
    PyObject* done = PyObject_Vectorcall(learned->look, args, static_cast<std::size_t>(PyTuple_GET_SIZE(self->parameters)), nullptr);
    if (done == nullptr) return nullptr;
    Py_DECREF(done);
  }
  if (learned->adapter == nullptr || !quiet(edge)) return PyErr_Occurred() ? nullptr : tell(self, self->known, learned->told, args);
  PyObject* given[1 + most_parameters];
  for (std::size_t index = 0; index < learned->from.size(); ++index) {
    const Py_ssize_t source = learned->from[index];
    given[1 + index] = source >= 0 ? args[source] : PyTuple_GET_ITEM(learned->constants, -1 - source);
  }
  return serve(self, edge, snapshot, learned->adapter, given + 1, learned->positional, learned->names, args);
}

// A call of dense attention, by its region. Null without an exception: it is none of those.
PyObject* attend(Call* self, Edge* edge, PyObject* snapshot, PyObject* token, PyObject* const* args) {
  Way way;
  if (!quiet(edge) || !find_way(self->attention, edge, snapshot, token, args, way)) return nullptr;
  PyObject* given[1 + most_parameters];
  std::copy(args, args + 3, given + 1);
  const Py_ssize_t named = PyTuple_GET_SIZE(way.names);
  for (Py_ssize_t index = 0; index < named; ++index) given[4 + index] = PyTuple_GET_ITEM(way.options, index);
  PyObject* result = serve(self, edge, snapshot, way.adapter, given + 1, 3, named > 0 ? way.names : nullptr, args);
  for (PyObject* held : {way.adapter, way.names, way.options}) Py_DECREF(held);
  return result;
}

// The result; null without an exception where only the plain function can serve.
PyObject* serve_here(Call* self, Edge* edge, PyObject* snapshot, PyObject* const* args) {
  PyObject* token = token_here(edge, snapshot);
  if (token == nullptr) return nullptr;
  PyObject* result = self->attention == nullptr ? nullptr : attend(self, edge, snapshot, token, args);
  Key key;
  Reader reader{self, edge, key, 0};
  reader.gradients = result != nullptr || PyErr_Occurred() ? -1 : grad_enabled(edge);
  if (reader.gradients < 0 || looks_at_values(edge) || !key.add(reinterpret_cast<std::int64_t>(token)) || !reader.call(args)) {
    Py_DECREF(token);
    return result;
  }
  const std::uint64_t hash = key.hash();
  Memo* memo = memo_of(self, snapshot);
  if (memo == nullptr) begin_memo(self, snapshot), memo = memo_of(self, snapshot);
  Learned* learned = memo->find(key, hash);
  if (learned != nullptr) {
    Py_DECREF(token);
    const Using held(learned);
    if (learned->told != Py_None) ++self->hits;
    return learned->told == Py_None ? nullptr : serve_learned(self, edge, snapshot, learned, args);
  }
  ++self->misses;
  PyObject* told = tell(self, self->learn, snapshot, args);
  learned = told == nullptr ? nullptr : read_learned(self, told, token);
  Py_XDECREF(told);
  Py_DECREF(token);
  if (learned == nullptr) return nullptr;
  // Another thread may have published or been faster while Python ran.
  memo = memo_of(self, snapshot);
  if (memo != nullptr && memo->find(key, hash) == nullptr) memo->keep(key, hash, learned);
  result = learned->told == Py_None ? nullptr : serve_learned(self, edge, snapshot, learned, args);
  learned->release();
  return result;
}

// Asks Python for torch's side. False with or without an exception: there is none, now or ever.
bool find_edge(Call* self) {
  PyObject* told = PyObject_CallOneArg(self->begin, reinterpret_cast<PyObject*>(self));
  if (told == nullptr) return false;
  PyObject *edge, *attention, *parts, *device, *alias;
  if (told == Py_None) {
    Py_DECREF(told);
    return false;  // not yet
  }
  bool fine = PyArg_ParseTuple(told, "OOO!OO", &edge, &attention, &PyDict_Type, &parts, &device, &alias);
  if (fine && edge != Py_None && !Py_IS_TYPE(edge, &EdgeType)) {
    PyErr_SetString(PyExc_TypeError, "wanted an Edge");
    fine = false;
  }
  if (fine && self->edge == nullptr) {  // another thread may have been as far
    if (attention != Py_None) self->attention = Py_NewRef(attention);
    self->parts = Py_NewRef(parts);
    self->device = Py_NewRef(device);
    self->alias = Py_NewRef(alias);
    self->edge = Py_NewRef(edge);
  }
  Py_DECREF(told);
  return fine;
}

PyObject* call(PyObject* callable, PyObject* const* args, std::size_t flags, PyObject* names) {
  auto* self = reinterpret_cast<Call*>(callable);
  PyObject* bound[most_parameters];
  if (bind(self, args, PyVectorcall_NARGS(flags), names, bound) && (self->edge != nullptr || find_edge(self)) && self->edge != Py_None) {
    auto* edge = reinterpret_cast<Edge*>(self->edge);
    PyObject* snapshot = snapshot_here(edge);
    if (snapshot == nullptr) return nullptr;
    PyObject* result = serve_here(self, edge, snapshot, bound);
    Py_DECREF(snapshot);
    if (result != nullptr) return result;
  }
  if (PyErr_Occurred()) return nullptr;
  return PyObject_Vectorcall(self->function, args, flags & ~PY_VECTORCALL_ARGUMENTS_OFFSET, names);
}

// ---------------------------------------------------------------- the type

PyTypeObject CallType = {PyVarObject_HEAD_INIT(nullptr, 0)};

void forget(Call* self) {
  std::vector<Memo*> gone;
  gone.swap(*self->memos);
  for (Memo* memo : gone) delete memo;
}

PyObject* make(PyTypeObject* type, PyObject* args, PyObject*) {
  PyObject *function, *begin, *learn, *known, *rescue, *succeeded, *parameters, *defaults;
  int one, other;
  if (!PyArg_ParseTuple(args, "OOOOOOO!O!ii:Call", &function, &begin, &learn, &known, &rescue, &succeeded, &PyTuple_Type,
                        &parameters, &PyTuple_Type, &defaults, &one, &other))
    return nullptr;
  const Py_ssize_t count = PyTuple_GET_SIZE(parameters);
  if (count > static_cast<Py_ssize_t>(most_parameters) || PyTuple_GET_SIZE(defaults) > count || one >= count || other >= count ||
      (one < 0) != (other < 0)) {
    PyErr_SetString(PyExc_ValueError, "too many parameters, or defaults of others");
    return nullptr;
  }
  for (Py_ssize_t index = 0; index < count; ++index)
    if (!PyUnicode_CheckExact(PyTuple_GET_ITEM(parameters, index))) {
      PyErr_SetString(PyExc_TypeError, "wanted the names of the parameters");
      return nullptr;
    }
  auto* self = reinterpret_cast<Call*>(type->tp_alloc(type, 0));
  if (self == nullptr) return nullptr;
  self->vectorcall = call;
  self->memos = new std::vector<Memo*>;
  self->function = Py_NewRef(function);
  self->begin = Py_NewRef(begin);
  self->learn = Py_NewRef(learn);
  self->known = Py_NewRef(known);
  self->rescue = Py_NewRef(rescue);
  self->succeeded = Py_NewRef(succeeded);
  self->parameters = Py_NewRef(parameters);
  self->defaults = Py_NewRef(defaults);
  self->pair[0] = one;
  self->pair[1] = other;
  return reinterpret_cast<PyObject*>(self);
}

int traverse(PyObject* object, visitproc visit, void* arg) {
  auto* self = reinterpret_cast<Call*>(object);
  for (PyObject* held : {self->edge, self->attention, self->parts, self->device, self->alias, self->function, self->begin, self->learn,
                         self->known, self->rescue, self->succeeded, self->parameters, self->defaults})
    Py_VISIT(held);
  for (const Memo* memo : *self->memos)
    if (const int stop = memo->visit(visit, arg)) return stop;
  return 0;
}

int clear(PyObject* object) {
  forget(reinterpret_cast<Call*>(object));
  return 0;
}

void deallocate(PyObject* object) {
  PyObject_GC_UnTrack(object);
  auto* self = reinterpret_cast<Call*>(object);
  forget(self);
  delete self->memos;
  for (PyObject* held : {self->edge, self->attention, self->parts, self->device, self->alias, self->function, self->begin, self->learn,
                         self->known, self->rescue, self->succeeded, self->parameters, self->defaults})
    Py_XDECREF(held);
  Py_TYPE(object)->tp_free(object);
}

PyObject* forget_all(PyObject* object, PyObject*) {
  forget(reinterpret_cast<Call*>(object));
  Py_RETURN_NONE;
}

PyObject* counts(PyObject* object, void*) {
  auto* self = reinterpret_cast<Call*>(object);
  return Py_BuildValue("(KK)", self->hits, self->misses);
}

PyObject* regions(PyObject* object, void*) {
  auto* self = reinterpret_cast<Call*>(object);
  return Py_NewRef(self->attention == nullptr ? Py_None : self->attention);
}

PyMethodDef methods[] = {
    {"forget", forget_all, METH_NOARGS, "Remember nothing, and hold no snapshot."},
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef properties[] = {
    {"counts", counts, nullptr, "Calls that looked like an earlier one, and those that were read in full.", nullptr},
    {"regions", regions, nullptr, "What knows the regions of its calls, or None.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

// A subclass with a `__call__` of Python, which compilers trace, is called here nevertheless when it runs.
PyObject* quicken(PyObject*, PyObject* object) {
  if (!PyType_Check(object) || !PyType_IsSubtype(reinterpret_cast<PyTypeObject*>(object), &CallType)) {
    PyErr_SetString(PyExc_TypeError, "wanted a subclass of Call");
    return nullptr;
  }
  auto* type = reinterpret_cast<PyTypeObject*>(object);
  type->tp_vectorcall_offset = offsetof(Call, vectorcall);
  type->tp_flags |= Py_TPFLAGS_HAVE_VECTORCALL;
  PyType_Modified(type);
  return Py_NewRef(object);
}

PyMethodDef functions[] = {
    {"quicken", quicken, METH_O, "A subclass of Call, whose instances are called without its `__call__`."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

bool ready_calls(PyObject* module) {
  PyTypeObject& type = CallType;
  type.tp_name = "layerzero.native._matcher.Call";
  type.tp_doc = "A public call that remembers what was decided for calls that look alike.";
  type.tp_basicsize = sizeof(Call);
  type.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL;
  type.tp_new = make;
  type.tp_call = PyVectorcall_Call;
  type.tp_vectorcall_offset = offsetof(Call, vectorcall);
  type.tp_traverse = traverse;
  type.tp_clear = clear;
  type.tp_dealloc = deallocate;
  type.tp_methods = methods;
  type.tp_getset = properties;
  return PyModule_AddType(module, &type) == 0 && PyModule_AddFunctions(module, functions) == 0;
}

}  // namespace layerzero
