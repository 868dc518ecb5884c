// What surrounds a call, and what its tensors look like: asked of Python's and torch's state, in nanoseconds.
#pragma once

#include "dlpack.hpp"
#include "slots.hpp"

namespace layerzero {

// Of one dispatcher; Python makes it once torch is there, and every entry of a call shares it.
struct Edge {
  PyObject_HEAD
  const dlpack::Exchange* exchange;
  Slots<1> surroundings;  // of what `lz.context` sets: `seen`, a snapshot and its token
  Slots<1> publishing, counting;  // of the engine: `_current`; of the breakers: `_breakers`
  Slots<2> watching;              // of the dispatcher: `sinks`, `_nan_check`
  // Given by Python, in this order:
  PyObject *engine, *dispatcher, *breakers;
  PyObject* validation;                                    // the module's dictionary
  PyObject *pinned, *used, *here, *nothing, *records;      // context variables, and what stands for no surroundings
  PyObject *tensor, *parameter, *capsule, *grad_getter;    // classes, the exchange API, the descriptor `requires_grad`
  PyObject *grad_enabled, *is_deterministic, *capturing;   // functions of torch without arguments; the last may be None
  PyObject *around, *token;                                // the class of surroundings; a snapshot's token for some
};

extern PyTypeObject EdgeType;

// Nobody watches and nothing failed lately. False with or without an exception.
bool quiet(Edge* self);

// Values of device tensors are looked at too (`lz.configure(validate="values")`).
bool looks_at_values(Edge* self);

// Something failed lately, perhaps meanwhile and in another thread.
bool failing(Edge* self);

// The snapshot for a call made here, a new reference; null with an exception set.
PyObject* snapshot_here(Edge* self);

// The token of what `lz.context` sets here: equal ones are decided alike. A new reference to an object that is compared
// by identity; None where nothing is set that rules read; null, without an exception too, where only Python can tell.
PyObject* token_here(Edge* self, PyObject* snapshot);

bool is_tensor(const Edge* self, PyObject* object);  // one of torch's own classes
// What a tensor looks like, and where it lies. False without an exception where that cannot be told.
bool look(Edge* self, PyObject* tensor, dlpack::Tensor& seen);

// A truth value, number or None as two words that only it has. False for all other objects.
bool spell(PyObject* object, std::int64_t* words);

// -1 with an exception set where torch failed.
int asks_gradient(Edge* self, PyObject* tensor);
int grad_enabled(Edge* self);
int deterministic(Edge* self);
int capturing(Edge* self, const dlpack::Device& device);  // -1 without an exception: it cannot be told

bool ready_edge(PyObject* module);

}  // namespace layerzero
