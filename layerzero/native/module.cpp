// The extension module. It serves the main interpreter of a build with the interpreter lock, and refuses all others:
// the types are static, and what is remembered is guarded by the lock alone.
#include "attention.hpp"
#include "calls.hpp"
#include "decider.hpp"
#include "stages_object.hpp"

namespace {

int execute(PyObject* module) {
  if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
    PyErr_SetString(PyExc_ImportError, "the native matcher serves the main interpreter only");
    return -1;
  }
  const bool ready = layerzero::ready_operation(module) && layerzero::ready_decider(module) &&
                     layerzero::ready_edge(module) && layerzero::ready_attention(module) &&
                     layerzero::ready_calls(module) && layerzero::ready_stages(module) &&
                     PyModule_AddIntConstant(module, "INTERFACE", 5) == 0;  // as __init__.py expects
  return ready ? 0 : -1;
}

PyModuleDef_Slot slots[] = {
    {Py_mod_exec, reinterpret_cast<void*>(execute)},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, nullptr},
};

PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "layerzero.native._matcher", "Evaluates compiled forms.", 0, nullptr, slots, nullptr, nullptr,
    nullptr,
};

}  // namespace

PyMODINIT_FUNC PyInit__matcher() {
#ifdef Py_GIL_DISABLED
  PyErr_SetString(PyExc_ImportError, "the native matcher wants an interpreter lock, and this Python has none");
  return nullptr;
#else
  return PyModuleDef_Init(&definition);
#endif
}
