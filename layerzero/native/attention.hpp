// A dense attention call -> its adapter, by the region of calls that it lies in.
#pragma once

#include "edge.hpp"
#include "operation.hpp"

namespace layerzero {

// What an adapter is called with besides q, k and v. New references.
struct Way {
  PyObject *adapter = nullptr, *names = nullptr, *options = nullptr;
};

// How a call of `lz.attention`, every parameter by position, is served; `object` is an `Attention`. False without an
// exception: not by a region.
bool find_way(PyObject* object, Edge* edge, PyObject* snapshot, PyObject* token, PyObject* const* args, Way& way);

bool ready_attention(PyObject* module);

}  // namespace layerzero
