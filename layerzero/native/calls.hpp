// The public call of an operation, from its arguments to its kernel's result.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

namespace layerzero {

bool ready_calls(PyObject* module);

}  // namespace layerzero
