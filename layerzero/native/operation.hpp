// Python objects -> values of a form -> the outcome object. Everything in here wants the interpreter lock.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <memory>
#include <vector>

#include "form.hpp"

namespace layerzero {

// What was decided for bits, by the class of every probe: equal classes are one region. Bounded: full, it starts anew.
class Remembered {
 public:
  ~Remembered() { clear(); }
  void begin(std::size_t probes);
  PyObject* find(const std::uint32_t* classes) const;            // borrowed, or null
  void keep(const std::uint32_t* classes, PyObject* outcome);    // takes a reference of its own
  void clear();
  std::size_t size() const { return outcomes_.size(); }
  int visit(visitproc visit, void* arg) const;

 private:
  std::uint64_t hash(const std::uint32_t* classes) const;
  std::size_t place(const std::uint32_t* classes, std::uint64_t hash) const;

  std::size_t probes_ = 0, limit_ = 0;
  std::vector<std::int32_t> table_;  // position of an entry, or -1
  std::vector<std::uint64_t> hashes_;
  std::vector<std::uint32_t> classes_;
  std::vector<PyObject*> outcomes_;
};

// `Operation(words, fields, given, experiments, strings, objects, outcomes, invalid, compute)`: called with values and
// arms it returns an outcome, as the generated Python function does.
struct Operation {
  PyObject_HEAD
  vectorcallfunc vectorcall;
  Form* form;
  Remembered* remembered;
  PyObject* fields;       // tuple of names, those that a call cannot give are None
  PyObject* experiments;  // tuple of names
  PyObject* numbers;      // dict: string -> its number
  PyObject* strings;      // tuple
  PyObject* objects;      // tuple: versions, and `fullmatch` of patterns
  PyObject* outcomes;     // tuple
  PyObject* invalid;
  PyObject* compute;  // bytes of a mask -> outcome; None for trees
  std::uint64_t hits, misses;
};

// Values of one context, completed once. They keep the strings and versions that they stand for alive.
struct Packed {
  PyObject_HEAD
  Operation* operation;
  PyObject* home;  // who may use it; any object
  Value* values;
  std::size_t count;
  PyObject* outcome;  // once it was asked for
  bool complete;
};

extern PyTypeObject OperationType;
extern PyTypeObject PackedType;

// The outcome of completed values, a new reference; null with an exception set.
PyObject* outcome_of(Operation* self, const Value* values);

// The number of a tree's outcome; -1 with an exception set.
Word number_of(Operation* self, const Value* values);

// The region around completed values. False with an exception set.
bool region_of(Operation* self, const Value* values, Region& found);
bool formula_holds(Operation* self, Word program, const Value* values, bool& failed);

// Fills in defaults again after values have changed. False with or without an exception: they decide nothing.
bool complete_again(Operation* self, Value* values);

// The same of a packed context that is complete, worked out once.
PyObject* remembered_outcome(Packed* packed);

// A Python object as a value; `bits` of a string is its number in the operation. False with an exception set.
bool read_value(Operation* self, PyObject* object, Value& value);

bool ready_operation(PyObject* module);

}  // namespace layerzero
