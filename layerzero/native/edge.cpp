#include "edge.hpp"

#include <cstring>

namespace layerzero {

PyTypeObject EdgeType = {PyVarObject_HEAD_INIT(nullptr, 0)};

namespace {

constexpr std::size_t given_objects = 18;
static_assert(offsetof(Edge, token) - offsetof(Edge, engine) == (given_objects - 1) * sizeof(PyObject*));

PyObject** objects_of(Edge* self) { return &self->engine; }

PyObject *current_name, *of_devices_name;

// The value of a context variable is `wanted`. False with an exception set only where Python failed.
bool holds(PyObject* variable, PyObject* wanted) {
  PyObject* value = nullptr;
  if (PyContextVar_Get(variable, Py_None, &value) < 0) return false;
  const bool is = value == wanted;
  Py_DECREF(value);
  return is;
}

// A function of torch without arguments: -1 where it failed.
int ask(PyObject* function) {
  PyObject* answer;
  if (PyCFunction_CheckExact(function) && PyCFunction_GET_FLAGS(function) == METH_NOARGS)
    answer = PyCFunction_GET_FUNCTION(function)(PyCFunction_GET_SELF(function), nullptr);
  else
    answer = PyObject_CallNoArgs(function);
  if (answer == nullptr) return -1;
  const int truth = answer == Py_True ? 1 : answer == Py_False ? 0 : PyObject_IsTrue(answer);
  Py_DECREF(answer);
  return truth;
}

}  // namespace

bool failing(Edge* self) {
  PyObject* failing = self->counting.at(self->breakers, 0);
  return failing == nullptr || !PyDict_CheckExact(failing) || PyDict_GET_SIZE(failing) != 0;
}

bool quiet(Edge* self) {
  if (failing(self) || !holds(self->records, Py_None)) return false;
  PyObject* sinks = self->watching.at(self->dispatcher, 0);
  if (sinks == nullptr || !PyTuple_CheckExact(sinks) || PyTuple_GET_SIZE(sinks) != 0) return false;
  return self->watching.at(self->dispatcher, 1) == Py_None;
}

bool looks_at_values(Edge* self) { return PyDict_GetItemWithError(self->validation, of_devices_name) != Py_False; }

PyObject* snapshot_here(Edge* self) {
  PyObject* pinned = nullptr;
  if (PyContextVar_Get(self->pinned, Py_None, &pinned) < 0) return nullptr;
  if (pinned != Py_None) return pinned;
  Py_DECREF(pinned);
  if (holds(self->used, Py_None)) {
    PyObject* snapshot = self->publishing.at(self->engine, 0);
    if (snapshot != nullptr && snapshot != Py_None) return Py_NewRef(snapshot);
  }
  return PyErr_Occurred() ? nullptr : PyObject_CallMethodNoArgs(self->engine, current_name);
}

PyObject* token_here(Edge* self, PyObject* snapshot) {
  PyObject* around = nullptr;
  if (PyContextVar_Get(self->here, self->nothing, &around) < 0) return nullptr;
  PyObject* token = nullptr;
  if (around == self->nothing) {
    token = Py_NewRef(Py_None);
  } else if (Py_IS_TYPE(around, self->surroundings.type)) {
    PyObject* seen = self->surroundings.at(around, 0);
    if (seen != nullptr && PyTuple_CheckExact(seen) && PyTuple_GET_SIZE(seen) == 2 && PyTuple_GET_ITEM(seen, 0) == snapshot)
      token = Py_NewRef(PyTuple_GET_ITEM(seen, 1));
    else
      token = PyObject_CallFunctionObjArgs(self->token, snapshot, around, nullptr);
    if (token == Py_NotImplemented) Py_CLEAR(token);
  }
  Py_DECREF(around);
  return token;
}

bool is_tensor(const Edge* self, PyObject* object) {
  const auto* type = reinterpret_cast<PyObject*>(Py_TYPE(object));
  return type == self->tensor || type == self->parameter;
}

bool look(Edge* self, PyObject* tensor, dlpack::Tensor& seen) {
  if (self->exchange->tensor_from_object(tensor, &seen) == 0) return seen.strides != nullptr || seen.dimensions == 0;
  PyErr_Clear();
  return false;
}

bool spell(PyObject* object, std::int64_t* words) {
  if (object == Py_None || object == Py_True || object == Py_False) {
    words[0] = 0;
    words[1] = object == Py_True ? 1 : object == Py_False ? 2 : 0;
    return true;
  }
  if (PyLong_CheckExact(object)) {
    int overflow = 0;
    words[0] = 1;
    words[1] = PyLong_AsLongLongAndOverflow(object, &overflow);
    return overflow == 0;
  }
  if (!PyFloat_CheckExact(object)) return false;
  const double number = PyFloat_AS_DOUBLE(object);
  words[0] = 2;
  std::memcpy(&words[1], &number, sizeof number);
  return true;
}

int asks_gradient(Edge* self, PyObject* tensor) {
  PyObject* answer;
  if (Py_IS_TYPE(self->grad_getter, &PyGetSetDescr_Type)) {
    const PyGetSetDef* get = reinterpret_cast<PyGetSetDescrObject*>(self->grad_getter)->d_getset;
    answer = get->get(tensor, get->closure);
  } else {
    answer = PyObject_GetAttrString(tensor, "requires_grad");
  }
  if (answer == nullptr) return -1;
  const int truth = PyObject_IsTrue(answer);
  Py_DECREF(answer);
  return truth;
}

int grad_enabled(Edge* self) { return ask(self->grad_enabled); }

int deterministic(Edge* self) { return ask(self->is_deterministic); }

int capturing(Edge* self, const dlpack::Device& device) {
  if (device.kind != dlpack::cuda && device.kind != dlpack::rocm) return 0;
  return self->capturing == Py_None ? -1 : ask(self->capturing);
}

// ---------------------------------------------------------------- the type

namespace {

PyObject* make(PyTypeObject* type, PyObject* args, PyObject*) {
  if (PyTuple_GET_SIZE(args) != static_cast<Py_ssize_t>(given_objects)) {
    PyErr_Format(PyExc_TypeError, "wanted %zu arguments", given_objects);
    return nullptr;
  }
  auto* self = reinterpret_cast<Edge*>(type->tp_alloc(type, 0));
  if (self == nullptr) return nullptr;
  for (std::size_t index = 0; index < given_objects; ++index)
    objects_of(self)[index] = Py_NewRef(PyTuple_GET_ITEM(args, static_cast<Py_ssize_t>(index)));
  bool fine = true;
  if (!PyDict_CheckExact(self->validation)) {
    PyErr_SetString(PyExc_TypeError, "wanted the dictionary of a module");
    fine = false;
  }
  for (PyObject* variable : {self->pinned, self->used, self->here, self->records})
    if (fine && !PyContextVar_CheckExact(variable)) {
      PyErr_SetString(PyExc_TypeError, "wanted context variables");
      fine = false;
    }
  const auto class_of = [](PyObject* object) { return reinterpret_cast<PyObject*>(Py_TYPE(object)); };
  fine = fine && self->surroundings.find(self->around, {"seen"}) && self->publishing.find(class_of(self->engine), {"_current"}) &&
         self->watching.find(class_of(self->dispatcher), {"sinks", "_nan_check"}) &&
         self->counting.find(class_of(self->breakers), {"_breakers"});
  if (fine) {
    self->exchange = static_cast<const dlpack::Exchange*>(PyCapsule_GetPointer(self->capsule, dlpack::capsule_name));
    fine = self->exchange != nullptr;
  }
  if (fine && (self->exchange->header.major != dlpack::major_version || self->exchange->tensor_from_object == nullptr)) {
    PyErr_SetString(PyExc_ValueError, "this torch exports another version of the DLPack exchange API");
    fine = false;
  }
  if (!fine) Py_CLEAR(self);
  return reinterpret_cast<PyObject*>(self);
}

int traverse(PyObject* object, visitproc visit, void* arg) {
  auto* self = reinterpret_cast<Edge*>(object);
  for (PyTypeObject* type : {self->surroundings.type, self->publishing.type, self->watching.type, self->counting.type}) Py_VISIT(type);
  for (std::size_t index = 0; index < given_objects; ++index) Py_VISIT(objects_of(self)[index]);
  return 0;
}

void deallocate(PyObject* object) {
  PyObject_GC_UnTrack(object);
  auto* self = reinterpret_cast<Edge*>(object);
  for (PyTypeObject* type : {self->surroundings.type, self->publishing.type, self->watching.type, self->counting.type}) Py_XDECREF(type);
  for (std::size_t index = 0; index < given_objects; ++index) Py_XDECREF(objects_of(self)[index]);
  Py_TYPE(object)->tp_free(object);
}

}  // namespace

bool ready_edge(PyObject* module) {
  current_name = PyUnicode_InternFromString("current");
  of_devices_name = PyUnicode_InternFromString("_of_devices");
  if (!current_name || !of_devices_name) return false;
  PyTypeObject& type = EdgeType;
  type.tp_name = "layerzero.native._matcher.Edge";
  type.tp_doc = "What surrounds calls, and what their tensors look like.";
  type.tp_basicsize = sizeof(Edge);
  type.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC;
  type.tp_new = make;
  type.tp_traverse = traverse;
  type.tp_dealloc = deallocate;
  return PyModule_AddType(module, &type) == 0;
}

}  // namespace layerzero
