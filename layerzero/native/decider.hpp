// Prepared contexts -> decisions.
#pragma once

#include "operation.hpp"

namespace layerzero {

bool ready_decider(PyObject* module);

}  // namespace layerzero
