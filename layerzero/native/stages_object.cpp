// `Stages(words)`: called with the bytes of a mask it gives (kernel or -1, score, degraded, locks, orders, failure), the
// rules by number. The interpreter lock is held throughout; nothing is remembered in here.
#include "stages_object.hpp"

#include <cstring>
#include <new>
#include <vector>

#include "stages.hpp"

namespace layerzero {
namespace {

PyTypeObject StagesType = {PyVarObject_HEAD_INIT(nullptr, 0)};

struct StagesObject {
  PyObject_HEAD
  Stages* stages;
};

PyObject* numbers(const std::vector<Word>& found) {
  PyObject* made = PyTuple_New(static_cast<Py_ssize_t>(found.size()));
  for (std::size_t index = 0; made != nullptr && index < found.size(); ++index) {
    PyObject* number = PyLong_FromLongLong(found[index]);
    if (number == nullptr) {
      Py_CLEAR(made);
      break;
    }
    PyTuple_SET_ITEM(made, static_cast<Py_ssize_t>(index), number);
  }
  return made;
}

PyObject* call(PyObject* object, PyObject* args, PyObject*) {
  const Stages& stages = *reinterpret_cast<StagesObject*>(object)->stages;
  const char* data;
  Py_ssize_t size;
  if (!PyArg_ParseTuple(args, "y#:Stages", &data, &size)) return nullptr;
  if (static_cast<std::size_t>(size) != 8 * stages.mask_words()) {
    PyErr_SetString(PyExc_ValueError, "a mask of another length");
    return nullptr;
  }
  try {
    std::vector<std::uint64_t> mask(stages.mask_words());
    if (size) std::memcpy(mask.data(), data, static_cast<std::size_t>(size));
    const Result found = stages.outcome(mask.data());
    PyObject *locks = numbers(found.locks), *orders = numbers(found.orders);
    if (locks == nullptr || orders == nullptr) {
      Py_XDECREF(locks);
      Py_XDECREF(orders);
      return nullptr;
    }
    return Py_BuildValue("(LdiNNi)", static_cast<long long>(found.kernel), found.score, found.degraded ? 1 : 0, locks,
                         orders, static_cast<int>(found.failure));
  } catch (const std::bad_alloc&) {
    return PyErr_NoMemory();
  }
}

PyObject* make(PyTypeObject* type, PyObject* args, PyObject*) {
  const char* data;
  Py_ssize_t size;
  if (!PyArg_ParseTuple(args, "y#:Stages", &data, &size)) return nullptr;
  auto* self = reinterpret_cast<StagesObject*>(type->tp_alloc(type, 0));
  if (self == nullptr) return nullptr;
  try {
    std::vector<Word> words(static_cast<std::size_t>(size) / 8);
    if (!words.empty()) std::memcpy(words.data(), data, 8 * words.size());
    self->stages = new Stages;
    std::string problem;
    if (size % 8 || !self->stages->parse(words.data(), words.size(), problem)) {
      PyErr_SetString(PyExc_ValueError, problem.empty() ? "not a whole number of words" : problem.c_str());
      Py_CLEAR(self);
    }
  } catch (const std::bad_alloc&) {
    Py_CLEAR(self);
    PyErr_NoMemory();
  }
  return reinterpret_cast<PyObject*>(self);
}

void deallocate(PyObject* object) {
  delete reinterpret_cast<StagesObject*>(object)->stages;
  Py_TYPE(object)->tp_free(object);
}

}  // namespace

bool ready_stages(PyObject* module) {
  PyTypeObject& type = StagesType;
  type.tp_name = "layerzero.native._matcher.Stages";
  type.tp_doc = "The parts that hold -> what the stages make of them.";
  type.tp_basicsize = sizeof(StagesObject);
  type.tp_flags = Py_TPFLAGS_DEFAULT;
  type.tp_new = make;
  type.tp_call = call;
  type.tp_dealloc = deallocate;
  return PyModule_AddType(module, &type) == 0;
}

}  // namespace layerzero
