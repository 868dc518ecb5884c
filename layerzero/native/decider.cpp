// `Decider(snapshot, slowly, Prepared, Decision)`: a prepared context in, its Decision out. What is not packed for this
// snapshot goes to `slowly`, with the same answer.
#include "decider.hpp"

#include "slots.hpp"

namespace layerzero {
namespace {

PyTypeObject DeciderType = {PyVarObject_HEAD_INIT(nullptr, 0)};

struct Decider {
  PyObject_HEAD
  vectorcallfunc vectorcall;
  PyObject* snapshot;
  PyObject* slowly;
  PyObject* nothing;  // an empty tuple
  Slots<4> prepared;
  Slots<8> decision;
};

PyObject* call(PyObject* callable, PyObject* const* args, size_t flags, PyObject* names) {
  auto* self = reinterpret_cast<Decider*>(callable);
  if (PyVectorcall_NARGS(flags) == 1 && names == nullptr && Py_IS_TYPE(args[0], self->prepared.type)) {
    PyObject* prepared = args[0];
    PyObject* inner = self->prepared.at(prepared, 3);
    if (inner != nullptr && Py_IS_TYPE(inner, &PackedType)) {
      auto* packed = reinterpret_cast<Packed*>(inner);
      if (packed->home == self->snapshot && packed->complete) {
        PyObject* outcome = remembered_outcome(packed);
        if (outcome == nullptr) return nullptr;
        PyObject* made = self->decision.make({self->snapshot, self->prepared.at(prepared, 0), self->prepared.at(prepared, 1),
                                              self->prepared.at(prepared, 2), outcome, Py_False, self->nothing, Py_None});
        Py_DECREF(outcome);
        return made;
      }
    }
  }
  return PyObject_Vectorcall(self->slowly, args, flags & ~PY_VECTORCALL_ARGUMENTS_OFFSET, names);
}

PyObject* make(PyTypeObject* type, PyObject* args, PyObject*) {
  PyObject *snapshot, *slowly, *prepared, *decision;
  if (!PyArg_ParseTuple(args, "OOOO:Decider", &snapshot, &slowly, &prepared, &decision)) return nullptr;
  auto* self = reinterpret_cast<Decider*>(type->tp_alloc(type, 0));
  if (self == nullptr) return nullptr;
  self->vectorcall = call;
  self->snapshot = Py_NewRef(snapshot);
  self->slowly = Py_NewRef(slowly);
  self->nothing = PyTuple_New(0);
  if (!self->prepared.find(prepared, {"scope", "values", "arms", "packed"}) ||
      !self->decision.find(decision, {"snapshot", "scope", "values", "arms", "outcome", "cached", "recovered_from", "_proof"}))
    Py_CLEAR(self);
  return reinterpret_cast<PyObject*>(self);
}

int traverse(PyObject* object, visitproc visit, void* arg) {
  auto* self = reinterpret_cast<Decider*>(object);
  Py_VISIT(self->snapshot);
  Py_VISIT(self->slowly);
  Py_VISIT(self->prepared.type);
  Py_VISIT(self->decision.type);
  return 0;
}

void deallocate(PyObject* object) {
  PyObject_GC_UnTrack(object);
  auto* self = reinterpret_cast<Decider*>(object);
  Py_XDECREF(self->snapshot);
  Py_XDECREF(self->slowly);
  Py_XDECREF(self->nothing);
  Py_XDECREF(self->prepared.type);
  Py_XDECREF(self->decision.type);
  Py_TYPE(object)->tp_free(object);
}

}  // namespace

bool ready_decider(PyObject* module) {
  PyTypeObject& type = DeciderType;
  type.tp_name = "layerzero.native._matcher.Decider";
  type.tp_doc = "Decides the prepared contexts of one snapshot.";
  type.tp_basicsize = sizeof(Decider);
  type.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL;
  type.tp_new = make;
  type.tp_call = PyVectorcall_Call;
  type.tp_vectorcall_offset = offsetof(Decider, vectorcall);
  type.tp_traverse = traverse;
  type.tp_dealloc = deallocate;
  return PyModule_AddType(module, &type) == 0;
}

}  // namespace layerzero
