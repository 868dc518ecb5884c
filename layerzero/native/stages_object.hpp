// The Python type `Stages`.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

namespace layerzero {

bool ready_stages(PyObject* module);

}  // namespace layerzero
