// `lz.attention(q, k, v, is_causal=...)` straight to its adapter.
#pragma once

#include "operation.hpp"

namespace layerzero {

bool ready_attention(PyObject* module);

}  // namespace layerzero
