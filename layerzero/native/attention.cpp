// It serves dense calls of plain tensors whose options are numbers. Each condition is looked at in each call; whatever is
// not met is left to those who read a call in full (calls.cpp, and then Python), never guessed.
#include "attention.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <unordered_map>

namespace layerzero {
namespace {

// ---------------------------------------------------------------- what a call gives

enum Field {
  batch, q_len, kv_len, q_heads, kv_heads, head_dim, v_head_dim, dtype, kv_dtype, causal, contiguous, inner_contiguous,
  aligned, requires_grad, deterministic_, graph_capture, phase, field_count,
};
constexpr std::array<const char*, field_count> field_names = {
    "batch", "q_len", "kv_len", "q_heads", "kv_heads", "head_dim", "v_head_dim", "dtype", "kv_dtype", "causal", "contiguous",
    "inner_contiguous", "aligned", "requires_grad", "deterministic", "graph_capture", "phase",
};
enum Word_ { fp16, bf16, fp32, fp64, decode, prefill, word_count };
constexpr std::array<const char*, word_count> words = {"fp16", "bf16", "fp32", "fp64", "decode", "prefill"};

enum Parameter {
  q_, k_, v_, attn_mask_, is_causal_, dropout_p_, scale_, window_, softcap_, alibi_slopes_, sinks_, enable_gqa_, layout_,
  phase_, return_lse_, parameter_count,
};

// The options that only choose and are handed on, in two words each. False where the call has others.
constexpr std::array<Parameter, 6> numbers = {is_causal_, dropout_p_, scale_, window_, softcap_, return_lse_};
using Options = std::array<std::int64_t, 2 * numbers.size()>;

bool read_options(PyObject* const* args, Options& options) {
  for (const int index : {attn_mask_, alibi_slopes_, sinks_, enable_gqa_, phase_})
    if (args[index] != Py_None) return false;
  if (args[is_causal_] != Py_True && args[is_causal_] != Py_False) return false;
  for (std::size_t index = 0; index < numbers.size(); ++index)
    if (!spell(args[numbers[index]], &options[2 * index])) return false;
  return PyUnicode_CheckExact(args[layout_]) && PyUnicode_CompareWithASCIIString(args[layout_], "bshd") == 0;
}

struct Memory {
  bool contiguous, inner_contiguous, aligned;
};

// How a tensor of four dimensions lies in memory; `aligned` is false where it is not sure.
Memory lies(const dlpack::Tensor& tensor) {
  Memory found{true, tensor.shape[3] < 2 || tensor.strides[3] == 1, false};
  const std::int64_t size = tensor.type.bits / 8;
  std::int64_t expected = 1;
  bool rows = true;
  for (int axis = 3; axis >= 0; --axis) {
    const std::int64_t length = tensor.shape[axis], step = tensor.strides[axis];
    if (length == 1) continue;
    found.contiguous &= step == expected;
    rows &= step == 1 || step * size % 16 == 0;
    expected *= length;
  }
  const auto begins = reinterpret_cast<std::uintptr_t>(tensor.data) + tensor.byte_offset;
  found.aligned = begins % 16 == 0 && (found.contiguous || rows);
  return found;
}

bool same(const dlpack::Device& one, const dlpack::Device& other) {
  return one.kind == other.kind && one.number == other.number;
}
bool same(const dlpack::Type& one, const dlpack::Type& other) {
  return one.code == other.code && one.bits == other.bits && one.lanes == other.lanes;
}

// ---------------------------------------------------------------- what is known of a device under a snapshot

// Calls that one decision holds for: the last of them, what may differ from it, and the adapter.
//
// A formula is asked again only where a value that it reads has changed, since it holds for the last call.
struct Known {
  std::vector<Value> last;     // of the values that calls differ in, in the plan's order
  std::vector<Limit> limits;   // one for each of them
  std::vector<std::uint64_t> read_by;  // and the tests that read it, as bits
  std::vector<Test> tests;
  PyObject* adapter;
};

// All that a call of one plan gives: sizes, strides, dtypes and alignment of its tensors, and torch's state.
using Raw = std::array<std::int64_t, 3 * 8 + 3 + 1>;

struct Plan {
  dlpack::Device device;
  PyObject* token;  // of what surrounds the calls
  Options options;
  PyObject *option_names, *option_values;  // as the adapter takes them
  Packed* example;                      // null: this device is not served here
  std::array<Word, field_count> places;  // -1: the decision does not read it
  std::array<Value, word_count> values;
  std::vector<std::size_t> derived;  // fields whose default follows from others
  std::vector<std::size_t> differ;   // values that calls may differ in
  Raw latest;                        // what the latest call gave, and its adapter
  PyObject* latest_adapter;
  std::vector<Known> known;          // the latest first, at most `most_known`
  std::vector<PyObject*> by_number;  // adapters by outcome, of a tree
  std::unordered_map<PyObject*, PyObject*> by_outcome;  // and of bits; the outcomes are kept
  std::size_t users = 1;

  void release() {
    if (--users > 0) return;
    for (PyObject* adapter : by_number) Py_XDECREF(adapter);
    for (const Known& one : known) Py_DECREF(one.adapter);
    for (auto& [outcome, adapter] : by_outcome) {
      Py_DECREF(outcome);
      Py_DECREF(adapter);
    }
    for (const Value& value : values) Py_XDECREF(static_cast<PyObject*>(const_cast<void*>(value.object)));
    for (PyObject* held : {token, option_names, option_values, latest_adapter, reinterpret_cast<PyObject*>(example)})
      Py_XDECREF(held);
    delete this;
  }
};

struct Held {  // a plan in use: another thread may replace all plans while Python runs
  explicit Held(Plan* plan) : plan(plan) { ++plan->users; }
  ~Held() { plan->release(); }
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;
  Plan* plan;
};

constexpr std::size_t most_plans = 64, most_outcomes = 1024, most_known = 8, most_tests = 64;

bool same(const Value& one, const Value& other) {
  return one.tag == other.tag && one.bits == other.bits && (one.tag < Tag::text || one.object == other.object);
}

// Whether values lie in a region; then they are its last.
bool inside(Plan* plan, Known& region, const Value* values) {
  std::uint64_t ask = 0;
  for (std::size_t index = 0; index < plan->differ.size(); ++index) {
    const Value& value = values[plan->differ[index]];
    if (same(value, region.last[index])) continue;
    const Limit& limit = region.limits[index];
    if (limit.pinned || value.tag != region.last[index].tag) return false;
    if (value.tag == Tag::integer && (value.bits < limit.low || value.bits > limit.high)) return false;
    ask |= region.read_by[index];
  }
  for (std::size_t test = 0; ask != 0; ++test, ask >>= 1) {
    if ((ask & 1) == 0) continue;
    bool failed = false;
    if (formula_holds(plan->example->operation, region.tests[test].program, values, failed) != region.tests[test].wanted) return false;
    if (failed) return PyErr_Clear(), false;
  }
  for (std::size_t index = 0; index < plan->differ.size(); ++index) region.last[index] = values[plan->differ[index]];
  return true;
}

// Remembers the region around values, in the place of the one that was not used for longest.
void remember(Plan* plan, const Value* values, PyObject* adapter) {
  Region found;
  if (!region_of(plan->example->operation, values, found)) return PyErr_Clear();
  if (found.tests.size() > most_tests) return;
  Known made;
  made.adapter = adapter;
  for (const std::size_t place : plan->differ) {
    // Texts, truth values and absence are pinned where anything looks at them.
    Limit limit{static_cast<Word>(place), std::numeric_limits<Word>::min(), std::numeric_limits<Word>::max(), false};
    for (const Limit& one : found.limits) {
      if (one.value != limit.value) continue;
      limit.pinned |= one.pinned;
      limit.low = std::max(limit.low, one.low);
      limit.high = std::min(limit.high, one.high);
    }
    std::uint64_t read_by = 0;
    for (std::size_t test = 0; test < found.tests.size(); ++test)
      for (const Word read : found.tests[test].reads)
        if (read == limit.value) read_by |= std::uint64_t{1} << test;
    made.last.push_back(values[place]);
    made.limits.push_back(limit);
    made.read_by.push_back(read_by);
  }
  made.tests = std::move(found.tests);
  Py_INCREF(adapter);
  PyObject* gone = nullptr;
  if (plan->known.size() >= most_known) {
    gone = plan->known.back().adapter;
    plan->known.pop_back();
  }
  plan->known.insert(plan->known.begin(), std::move(made));
  Py_XDECREF(gone);
}

// ---------------------------------------------------------------- the regions of one dispatcher

struct Attention {
  PyObject_HEAD
  std::vector<Plan*>* plans;
  PyObject* snapshot;  // that the plans are of
  std::uint64_t hits, misses;
  PyObject *learn, *adapter_of;
};

PyTypeObject AttentionType = {PyVarObject_HEAD_INIT(nullptr, 0)};

void forget(Attention* self) {
  std::vector<Plan*> gone;
  gone.swap(*self->plans);
  PyObject* snapshot = self->snapshot;
  self->snapshot = nullptr;
  for (Plan* plan : gone) plan->release();
  Py_XDECREF(snapshot);
}

bool read_plan(Plan* plan, PyObject* told) {
  PyObject *example, *derived, *names, *values;
  if (!PyArg_ParseTuple(told, "O!O!O!O!", &PackedType, &example, &PyTuple_Type, &derived, &PyTuple_Type, &names,
                        &PyTuple_Type, &values))
    return false;
  plan->example = reinterpret_cast<Packed*>(Py_NewRef(example));
  plan->option_names = Py_NewRef(names);
  plan->option_values = Py_NewRef(values);
  Operation* operation = plan->example->operation;
  plan->places.fill(-1);
  for (std::size_t index = 0; index < operation->form->load_count(); ++index) {
    PyObject* name = PyTuple_GET_ITEM(operation->fields, index);
    if (name == Py_None) continue;
    for (int field = 0; field < field_count; ++field)
      if (PyUnicode_CompareWithASCIIString(name, field_names[field]) == 0) plan->places[field] = static_cast<Word>(index);
    const int follows = PySequence_Contains(derived, name);
    if (follows < 0) return false;
    if (follows > 0) plan->derived.push_back(index);
  }
  for (int word = 0; word < word_count; ++word) {
    PyObject* text = PyUnicode_FromString(words[word]);
    const bool fine = text != nullptr && read_value(operation, text, plan->values[word]);
    Py_XDECREF(text);
    if (!fine) return false;
  }
  for (const Word place : plan->places)
    if (place >= 0) plan->differ.push_back(static_cast<std::size_t>(place));
  plan->differ.insert(plan->differ.end(), plan->derived.begin(), plan->derived.end());
  if (operation->form->is_tree()) plan->by_number.assign(static_cast<std::size_t>(operation->form->outcome_count()), nullptr);
  return true;
}

// Asks Python what calls like this one read; null with or without an exception.
Plan* learn(Attention* self, PyObject* snapshot, PyObject* token, PyObject* const* args, const dlpack::Device& device,
            const Options& options) {
  if (self->plans->size() >= most_plans) return nullptr;
  PyObject* call[parameter_count + 1] = {snapshot};
  std::copy(args, args + parameter_count, call + 1);
  PyObject* told = PyObject_Vectorcall(self->learn, call, parameter_count + 1, nullptr);
  if (told == nullptr) return nullptr;
  auto* plan = new Plan{};
  plan->device = device;
  plan->token = Py_NewRef(token);
  plan->options = options;
  const bool fine = told == Py_None || read_plan(plan, told);
  Py_DECREF(told);
  // While Python ran, another thread may have published: then this plan is for nobody.
  if (!fine || self->snapshot != snapshot) {
    plan->release();
    return nullptr;
  }
  self->plans->push_back(plan);
  return plan;
}

// The adapter of completed values, a new reference; null with or without an exception.
PyObject* choose(Attention* self, Plan* plan, const Value* values) {
  Operation* operation = plan->example->operation;
  Word number = -1;
  PyObject* outcome;
  if (operation->form->is_tree()) {
    number = number_of(operation, values);
    if (number < 0) return nullptr;
    PyObject* known = plan->by_number[static_cast<std::size_t>(number)];
    if (known != nullptr) return Py_NewRef(known);
    outcome = Py_NewRef(PyTuple_GET_ITEM(operation->outcomes, number));
  } else {
    outcome = outcome_of(operation, values);
    if (outcome == nullptr) return nullptr;
    const auto found = plan->by_outcome.find(outcome);
    if (found != plan->by_outcome.end()) {
      Py_DECREF(outcome);
      return Py_NewRef(found->second);
    }
  }
  PyObject* adapter = PyObject_CallFunctionObjArgs(self->adapter_of, plan->example->home, outcome, nullptr);
  if (adapter == Py_None) Py_CLEAR(adapter);
  if (adapter != nullptr && number >= 0) {
    PyObject* before = plan->by_number[static_cast<std::size_t>(number)];
    plan->by_number[static_cast<std::size_t>(number)] = Py_NewRef(adapter);
    Py_XDECREF(before);
  } else if (adapter != nullptr && plan->by_outcome.size() < most_outcomes &&
             plan->by_outcome.emplace(outcome, adapter).second) {
    Py_INCREF(adapter);
    return adapter;  // the map keeps the outcome
  }
  Py_DECREF(outcome);
  return adapter;
}

// The adapter of completed values: of the region that they lie in, or found and remembered.
PyObject* decide(Attention* self, Plan* plan, const Value* values) {
  for (std::size_t index = 0; index < plan->known.size(); ++index) {
    if (!inside(plan, plan->known[index], values)) continue;
    ++self->hits;
    if (index > 0) std::swap(plan->known[0], plan->known[index]);
    return Py_NewRef(plan->known[0].adapter);
  }
  ++self->misses;
  PyObject* adapter = choose(self, plan, values);
  if (adapter != nullptr) remember(plan, values, adapter);
  return adapter;
}

// What a call gives. False with or without an exception where torch does not tell.
bool read_raw(Edge* edge, const Plan* plan, PyObject* const* args, const dlpack::Tensor* tensors, Raw& raw) {
  for (int index = 0; index < 3; ++index) {
    const dlpack::Tensor& tensor = tensors[index];
    std::copy(tensor.shape, tensor.shape + 4, raw.begin() + 8 * index);
    std::copy(tensor.strides, tensor.strides + 4, raw.begin() + 8 * index + 4);
    const auto begins = reinterpret_cast<std::uintptr_t>(tensor.data) + tensor.byte_offset;
    raw[24 + index] = std::int64_t{tensor.type.code} | std::int64_t{tensor.type.bits} << 8 | std::int64_t{tensor.type.lanes} << 16 |
                      std::int64_t{begins % 16 == 0} << 32;
  }
  // torch is asked for its state only where a rule reads it.
  int gradient = plan->places[requires_grad] < 0 ? 0 : grad_enabled(edge);
  if (gradient > 0) {
    gradient = 0;
    for (int index = 0; gradient == 0 && index < 3; ++index) gradient = asks_gradient(edge, args[index]);
  }
  const int settled = plan->places[deterministic_] < 0 ? 0 : deterministic(edge);
  const int captured = capturing(edge, tensors[0].device);
  if (gradient < 0 || settled < 0 || captured < 0) return false;
  raw[27] = gradient | settled << 1 | captured << 2;
  return true;
}

// Fills in what this call gives. False: its arguments do not fit, and the plain way says how.
bool fill(const Plan* plan, PyObject* const* args, const dlpack::Tensor* tensors, std::int64_t state, Value* values) {
  const dlpack::Tensor &q = tensors[0], &k = tensors[1], &v = tensors[2];
  const std::int64_t sizes[] = {q.shape[0], q.shape[1], k.shape[1], q.shape[2], k.shape[2], q.shape[3], v.shape[3]};
  if (k.shape[0] != sizes[batch] || k.shape[3] != sizes[head_dim]) return false;
  if (v.shape[0] != k.shape[0] || v.shape[1] != k.shape[1] || v.shape[2] != k.shape[2]) return false;
  for (const std::int64_t size : sizes)
    if (size < 1) return false;  // empty tensors have rules of their own
  if (sizes[q_heads] % sizes[kv_heads] != 0) return false;
  if (!same(q.type, k.type) || !same(q.type, v.type) || q.type.lanes != 1) return false;
  int type;
  if (q.type.code == dlpack::bfloat && q.type.bits == 16) type = bf16;
  else if (q.type.code == dlpack::real && q.type.bits == 16) type = fp16;
  else if (q.type.code == dlpack::real && q.type.bits == 32) type = fp32;
  else if (q.type.code == dlpack::real && q.type.bits == 64) type = fp64;
  else return false;

  Memory memory{true, true, true};
  for (int index = 0; index < 3; ++index) {
    const Memory one = lies(tensors[index]);
    if (!one.aligned) return false;
    memory.contiguous &= one.contiguous;
    memory.inner_contiguous &= one.inner_contiguous;
  }
  const auto put = [&](Field field, const Value& value) {
    if (plan->places[field] < 0) return;
    values[plan->places[field]] = value;
  };
  for (int field = batch; field <= v_head_dim; ++field) put(static_cast<Field>(field), Value::of(Word{sizes[field]}));
  put(dtype, plan->values[type]);
  put(kv_dtype, plan->values[type]);
  put(causal, Value::of(args[is_causal_] == Py_True));
  put(contiguous, Value::of(memory.contiguous));
  put(inner_contiguous, Value::of(memory.inner_contiguous));
  put(aligned, Value::of(true));
  put(requires_grad, Value::of((state & 1) != 0));
  put(deterministic_, Value::of((state & 2) != 0));
  put(graph_capture, Value::of((state & 4) != 0));
  put(phase, plan->values[sizes[q_len] == 1 && sizes[kv_len] > 1 ? decode : prefill]);
  return true;
}

Plan* plan_for(Attention* self, PyObject* snapshot, PyObject* token, PyObject* const* args, const dlpack::Device& device,
               const Options& options) {
  if (self->snapshot != snapshot) {
    forget(self);
    self->snapshot = Py_NewRef(snapshot);
  }
  for (Plan* one : *self->plans)
    if (one->token == token && same(one->device, device) && one->options == options) return one;
  return learn(self, snapshot, token, args, device, options);
}

PyObject* make(PyTypeObject* type, PyObject* args, PyObject*) {
  PyObject *learn, *adapter_of;
  if (!PyArg_ParseTuple(args, "OO:Attention", &learn, &adapter_of)) return nullptr;
  auto* self = reinterpret_cast<Attention*>(type->tp_alloc(type, 0));
  if (self == nullptr) return nullptr;
  self->plans = new std::vector<Plan*>;
  self->learn = Py_NewRef(learn);
  self->adapter_of = Py_NewRef(adapter_of);
  return reinterpret_cast<PyObject*>(self);
}

int traverse(PyObject* object, visitproc visit, void* arg) {
  auto* self = reinterpret_cast<Attention*>(object);
  for (PyObject* held : {self->snapshot, self->learn, self->adapter_of}) Py_VISIT(held);
  for (Plan* plan : *self->plans) {
    for (PyObject* held : {plan->token, plan->option_values, plan->latest_adapter, reinterpret_cast<PyObject*>(plan->example)}) Py_VISIT(held);
    for (PyObject* adapter : plan->by_number) Py_VISIT(adapter);
    for (const Known& one : plan->known) Py_VISIT(one.adapter);
    for (auto& [outcome, adapter] : plan->by_outcome) {
      Py_VISIT(outcome);
      Py_VISIT(adapter);
    }
  }
  return 0;
}

int clear(PyObject* object) {
  forget(reinterpret_cast<Attention*>(object));
  return 0;
}

void deallocate(PyObject* object) {
  PyObject_GC_UnTrack(object);
  auto* self = reinterpret_cast<Attention*>(object);
  forget(self);
  delete self->plans;
  Py_XDECREF(self->learn);
  Py_XDECREF(self->adapter_of);
  Py_TYPE(object)->tp_free(object);
}

PyObject* counts(PyObject* object, void*) {
  auto* self = reinterpret_cast<Attention*>(object);
  return Py_BuildValue("(KK)", self->hits, self->misses);
}

PyObject* forget_all(PyObject* object, PyObject*) {
  forget(reinterpret_cast<Attention*>(object));
  Py_RETURN_NONE;
}

PyMethodDef methods[] = {
    {"forget", forget_all, METH_NOARGS, "Remember no region, and hold no snapshot."},
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef properties[] = {
    {"counts", counts, nullptr, "Calls in a region that was known, and those that asked the form.", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

}  // namespace

bool find_way(PyObject* object, Edge* edge, PyObject* snapshot, PyObject* token, PyObject* const* args, Way& way) {
  auto* self = reinterpret_cast<Attention*>(object);
  if (!Py_IS_TYPE(object, &AttentionType)) return false;
  Options options;
  if (!read_options(args, options)) return false;
  dlpack::Tensor tensors[3];
  for (int index = 0; index < 3; ++index) {
    if (!is_tensor(edge, args[index]) || !look(edge, args[index], tensors[index])) return false;
    if (tensors[index].dimensions != 4 || !same(tensors[index].device, tensors[0].device)) return false;
  }
  Plan* plan = plan_for(self, snapshot, token, args, tensors[0].device, options);
  if (plan == nullptr || plan->example == nullptr || !plan->example->complete) return false;
  const Held held(plan);

  Raw raw;
  if (!read_raw(edge, plan, args, tensors, raw)) return false;
  if (plan->latest_adapter != nullptr && plan->latest == raw) {
    ++self->hits;
    way.adapter = Py_NewRef(plan->latest_adapter);
  } else {
    const std::size_t count = plan->example->count;
    constexpr std::size_t few = 96;
    if (count > few) return false;
    Value values[few];
    std::copy(plan->example->values, plan->example->values + count, values);
    if (!fill(plan, args, tensors, raw[27], values)) return false;
    if (!plan->derived.empty()) {
      for (const std::size_t index : plan->derived) values[index] = Value{};
      if (!complete_again(plan->example->operation, values)) return false;
    }
    way.adapter = decide(self, plan, values);
    if (way.adapter == nullptr) return false;
    PyObject* before = plan->latest_adapter;
    plan->latest = raw;
    plan->latest_adapter = Py_NewRef(way.adapter);
    Py_XDECREF(before);
  }
  way.names = Py_NewRef(plan->option_names);
  way.options = Py_NewRef(plan->option_values);
  return true;
}

bool ready_attention(PyObject* module) {
  PyTypeObject& type = AttentionType;
  type.tp_name = "layerzero.native._matcher.Attention";
  type.tp_doc = "The regions of dense attention calls.";
  type.tp_basicsize = sizeof(Attention);
  type.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC;
  type.tp_new = make;
  type.tp_traverse = traverse;
  type.tp_clear = clear;
  type.tp_dealloc = deallocate;
  type.tp_methods = methods;
  type.tp_getset = properties;
  return PyModule_AddType(module, &type) == 0;
}

}  // namespace layerzero
