// Instances of Python classes with `__slots__`, read and made without running Python code.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>  // PyMemberDef, before 3.12

#include <cstddef>
#include <initializer_list>

namespace layerzero {

// Where an instance of a class keeps some of its slots.
template <std::size_t count>
struct Slots {
  PyTypeObject* type = nullptr;
  Py_ssize_t offsets[count] = {};

  // False with an exception set where the class lacks one of the slots. Keeps the class.
  bool find(PyObject* type_object, const char* const (&names)[count]) {
    if (!PyType_Check(type_object)) {
      PyErr_SetString(PyExc_TypeError, "wanted a class");
      return false;
    }
    for (std::size_t index = 0; index < count; ++index) {
      PyObject* slot = PyObject_GetAttrString(type_object, names[index]);
      if (slot == nullptr) return false;
      const bool member = Py_IS_TYPE(slot, &PyMemberDescr_Type);
      if (member) offsets[index] = reinterpret_cast<PyMemberDescrObject*>(slot)->d_member->offset;
      Py_DECREF(slot);
      if (!member) {
        PyErr_Format(PyExc_TypeError, "`%s` is no slot of %R", names[index], type_object);
        return false;
      }
    }
    type = reinterpret_cast<PyTypeObject*>(Py_NewRef(type_object));
    return true;
  }

  PyObject*& at(PyObject* instance, std::size_t index) const {
    return *reinterpret_cast<PyObject**>(reinterpret_cast<char*>(instance) + offsets[index]);
  }

  // A new instance; it takes a reference to each value.
  PyObject* make(const PyObject* const (&values)[count]) const {
    PyObject* instance = type->tp_alloc(type, 0);
    if (instance == nullptr) return nullptr;
    for (std::size_t index = 0; index < count; ++index) at(instance, index) = Py_NewRef(const_cast<PyObject*>(values[index]));
    return instance;
  }
};

}  // namespace layerzero
