// The extension `_audio`: aligned and page-locked memory, and the ring in it. layerzero/audio is its face.
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <new>

#include "audio_ring.hpp"

namespace {

using layerzero::audio::Header;
using layerzero::audio::kMagic;
using layerzero::audio::kReader;
using layerzero::audio::kWriter;
using layerzero::audio::Ring;

PyObject* os_error(const char* name) {
  if (name == nullptr) return PyErr_SetFromErrno(PyExc_OSError);
  return PyErr_SetFromErrnoWithFilename(PyExc_OSError, name);
}

// ------------------------------------------------------------ memory

struct Memory {
  PyObject_HEAD
  void* mapped;
  std::size_t mapped_bytes;
  unsigned char* start;
  Py_ssize_t bytes;
  bool locked;
};

void memory_free(PyObject* self) {
  auto* memory = reinterpret_cast<Memory*>(self);
  if (memory->mapped != nullptr) munmap(memory->mapped, memory->mapped_bytes);  // which unlocks it too
  PyTypeObject* type = Py_TYPE(self);
  type->tp_free(self);
  Py_DECREF(type);
}

int memory_buffer(PyObject* self, Py_buffer* view, int flags) {
  auto* memory = reinterpret_cast<Memory*>(self);
  return PyBuffer_FillInfo(view, self, memory->start, memory->bytes, 0, flags);
}

PyType_Slot memory_slots[] = {
  {Py_tp_dealloc, reinterpret_cast<void*>(memory_free)},
  {Py_bf_getbuffer, reinterpret_cast<void*>(memory_buffer)},
  {0, nullptr},
};
PyType_Spec memory_spec = {"layerzero.native._audio.Memory", sizeof(Memory), 0,
               Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, memory_slots};
PyTypeObject* memory_type = nullptr;

// Takes over the mapping; every page of it is touched or locked, so that no later access waits for one.
PyObject* memory_of(void* mapped, std::size_t mapped_bytes, std::size_t alignment, Py_ssize_t bytes, bool lock) {
  if (lock && mlock(mapped, mapped_bytes) != 0) {
    const int why = errno;
    munmap(mapped, mapped_bytes);
    errno = why;
    return os_error(nullptr);
  }
  auto* memory = PyObject_New(Memory, memory_type);
  if (memory == nullptr) {
    munmap(mapped, mapped_bytes);
    return nullptr;
  }
  const auto address = reinterpret_cast<std::uintptr_t>(mapped);
  memory->mapped = mapped;
  memory->mapped_bytes = mapped_bytes;
  memory->start = reinterpret_cast<unsigned char*>((address + alignment - 1) / alignment * alignment);
  memory->bytes = bytes;
  memory->locked = lock;
  return reinterpret_cast<PyObject*>(memory);
}

// allocate(bytes, alignment, lock) -> Memory; the alignment is a power of two
PyObject* allocate(PyObject*, PyObject* arguments) {
  Py_ssize_t bytes, alignment;
  int lock;
  if (!PyArg_ParseTuple(arguments, "nnp", &bytes, &alignment, &lock)) return nullptr;
  if (bytes <= 0 || alignment <= 0 || (alignment & (alignment - 1)) != 0 || bytes > PY_SSIZE_T_MAX - alignment) {
    return PyErr_SetString(PyExc_ValueError, "bytes and a power of two are wanted"), nullptr;
  }
  const std::size_t whole = static_cast<std::size_t>(bytes) + static_cast<std::size_t>(alignment);
  void* mapped = mmap(nullptr, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return os_error(nullptr);
  for (std::size_t at = 0; at < whole; at += 4096) static_cast<volatile unsigned char*>(mapped)[at] = 0;
  return memory_of(mapped, whole, static_cast<std::size_t>(alignment), bytes, lock != 0);
}

// share(name, bytes, lock) -> Memory: makes the object of that name, or joins it where `bytes` is 0
PyObject* share(PyObject*, PyObject* arguments) {
  const char* name;
  Py_ssize_t bytes;
  int lock;
  if (!PyArg_ParseTuple(arguments, "snp", &name, &bytes, &lock)) return nullptr;
  const bool make = bytes > 0;
  const int file = shm_open(name, O_RDWR | (make ? O_CREAT | O_EXCL : 0), 0600);
  if (file < 0) return os_error(name);
  int why = 0;
  struct stat found {};
  // The space is taken now: a write to a page that the system cannot give would end the process.
  if (make) why = posix_fallocate(file, 0, bytes);
  else if (fstat(file, &found) != 0) why = errno;
  else bytes = static_cast<Py_ssize_t>(found.st_size);
  void* mapped = MAP_FAILED;
  if (why == 0 && bytes == 0) why = EINVAL;
  if (why == 0) {
    mapped = mmap(nullptr, static_cast<std::size_t>(bytes), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (mapped == MAP_FAILED) why = errno;
  }
  close(file);
  if (why != 0) {
    if (make) shm_unlink(name);
    errno = why;
    return os_error(name);
  }
  return memory_of(mapped, static_cast<std::size_t>(bytes), 1, bytes, lock != 0);
}

PyObject* unlink_shared(PyObject*, PyObject* name) {
  const char* text = PyUnicode_AsUTF8(name);
  if (text == nullptr) return nullptr;
  if (shm_unlink(text) != 0 && errno != ENOENT) return os_error(text);
  Py_RETURN_NONE;
}

// ------------------------------------------------------------ the ring

struct RingObject {
  PyObject_HEAD
  PyObject* memory;
  Ring ring;
};

void ring_free(PyObject* self) {
  Py_XDECREF(reinterpret_cast<RingObject*>(self)->memory);
  PyTypeObject* type = Py_TYPE(self);
  type->tp_free(self);
  Py_DECREF(type);
}

Ring& of(PyObject* self) { return reinterpret_cast<RingObject*>(self)->ring; }

PyTypeObject* ring_type = nullptr;

PyObject* ring_over(PyObject* memory, std::uint64_t capacity, std::size_t frame) {
  auto* made = PyObject_New(RingObject, ring_type);
  if (made == nullptr) return nullptr;
  new (&made->ring) Ring;
  made->ring.open(reinterpret_cast<Memory*>(memory)->start, capacity, frame);
  made->memory = Py_NewRef(memory);
  return reinterpret_cast<PyObject*>(made);
}

bool fits(std::uint64_t capacity, std::uint64_t frame, Py_ssize_t bytes) {
  const auto room = static_cast<std::uint64_t>(bytes);
  if (room <= sizeof(Header) || capacity == 0 || (capacity & (capacity - 1)) != 0 || frame == 0) return false;
  return capacity <= (room - sizeof(Header)) / frame;
}

// make(memory, capacity, channels, sample, sample_bytes) -> Ring
PyObject* make(PyObject*, PyObject* arguments) {
  PyObject* memory;
  unsigned long long capacity;
  unsigned int channels, sample_bytes;
  const char* sample;
  if (!PyArg_ParseTuple(arguments, "O!KIsI", memory_type, &memory, &capacity, &channels, &sample, &sample_bytes)) return nullptr;
  auto* bytes = reinterpret_cast<Memory*>(memory);
  const std::uint64_t frame = static_cast<std::uint64_t>(channels) * sample_bytes;
  if (!fits(capacity, frame, bytes->bytes) || std::strlen(sample) >= sizeof(Header::sample)) {
    return PyErr_SetString(PyExc_ValueError, "the ring does not fit its memory"), nullptr;
  }
  auto* header = new (bytes->start) Header{};
  header->capacity = capacity;
  header->channels = channels;
  header->sample_bytes = sample_bytes;
  std::strncpy(header->sample, sample, sizeof(Header::sample) - 1);
  header->magic.store(kMagic, std::memory_order_release);  // last: who joins sees all of it
  return ring_over(memory, capacity, static_cast<std::size_t>(frame));
}

// join(memory) -> (Ring, capacity, channels, sample); None where there is no ring
PyObject* join(PyObject*, PyObject* memory) {
  if (!PyObject_TypeCheck(memory, memory_type)) return PyErr_SetString(PyExc_TypeError, "a Memory is wanted"), nullptr;
  auto* bytes = reinterpret_cast<Memory*>(memory);
  if (static_cast<std::size_t>(bytes->bytes) <= sizeof(Header)) Py_RETURN_NONE;
  auto* header = reinterpret_cast<Header*>(bytes->start);
  if (header->magic.load(std::memory_order_acquire) != kMagic) Py_RETURN_NONE;
  // Read once: another process could change them after they were looked at.
  const std::uint64_t capacity = header->capacity, channels = header->channels;
  const std::uint64_t frame = channels * header->sample_bytes;
  char sample[sizeof(Header::sample)];
  std::memcpy(sample, header->sample, sizeof sample);
  sample[sizeof sample - 1] = 0;
  if (!fits(capacity, frame, bytes->bytes)) Py_RETURN_NONE;
  PyObject* ring = ring_over(memory, capacity, static_cast<std::size_t>(frame));
  return ring == nullptr ? nullptr : Py_BuildValue("NKKs", ring, capacity, channels, sample);
}

PyObject* damaged() {
  return PyErr_SetString(PyExc_OSError, "the ring is damaged: its positions contradict each other"), nullptr;
}

// write(buffer) and read(buffer): as many whole frames as fit -> their number
template <bool writing>
PyObject* transfer(PyObject* self, PyObject* object) {
  Ring& ring = of(self);
  Py_buffer view;
  if (PyObject_GetBuffer(object, &view, writing ? PyBUF_C_CONTIGUOUS : PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE) != 0) return nullptr;
  const std::uint64_t frames = static_cast<std::uint64_t>(view.len) / ring.frame_bytes();
  std::uint64_t done = 0;
  const bool right = (writing ? ring.writable(frames) : ring.readable(frames)) <= ring.capacity();
  if (right) done = writing ? ring.write(view.buf, frames) : ring.read(view.buf, frames);
  PyBuffer_Release(&view);
  return right ? PyLong_FromUnsignedLongLong(done) : damaged();
}

// free() and ready(): frames that can be written, that can be read
template <bool writing>
PyObject* there(PyObject* self, PyObject*) {
  Ring& ring = of(self);
  const std::uint64_t found = writing ? ring.writable(ring.capacity()) : ring.readable(ring.capacity());
  return found <= ring.capacity() ? PyLong_FromUnsignedLongLong(found) : damaged();
}

// write_place() and read_place(): where the next frame is, in the ring
template <bool writing>
PyObject* place(PyObject* self, PyObject*) {
  return PyLong_FromUnsignedLongLong(writing ? of(self).write_place() : of(self).read_place());
}

// commit(frames) and release(frames)
template <bool writing>
PyObject* done(PyObject* self, PyObject* number) {
  Ring& ring = of(self);
  const unsigned long long frames = PyLong_AsUnsignedLongLong(number);
  if (frames == static_cast<unsigned long long>(-1) && PyErr_Occurred()) return nullptr;
  const std::uint64_t most = writing ? ring.writable(frames) : ring.readable(frames);
  if (most > ring.capacity()) return damaged();
  if (frames > most) {
    PyErr_Format(PyExc_ValueError, "%llu frames, and there are %llu", frames, static_cast<unsigned long long>(most));
    return nullptr;
  }
  writing ? ring.commit(frames) : ring.release(frames);
  Py_RETURN_NONE;
}

// claim(side) -> 0, or the process that has it; one that has ended has nothing
PyObject* claim(PyObject* self, PyObject* number) {
  const long side = PyLong_AsLong(number);
  if (side != kWriter && side != kReader) return PyErr_SetString(PyExc_ValueError, "0 or 1"), nullptr;
  auto& owner = of(self).header().sides[side];
  std::int64_t found = 0;
  while (!owner.compare_exchange_strong(found, static_cast<std::int64_t>(getpid()))) {
    const bool ended = found > 0 && kill(static_cast<pid_t>(found), 0) != 0 && errno == ESRCH;
    if (found != 0 && !ended) return PyLong_FromLongLong(found);
  }
  return PyLong_FromLong(0);
}

PyObject* leave(PyObject* self, PyObject* number) {
  const long side = PyLong_AsLong(number);
  if (side != kWriter && side != kReader) return PyErr_SetString(PyExc_ValueError, "0 or 1"), nullptr;
  std::int64_t mine = static_cast<std::int64_t>(getpid());
  of(self).header().sides[side].compare_exchange_strong(mine, 0);
  Py_RETURN_NONE;
}

PyMethodDef ring_methods[] = {
  {"write", transfer<true>, METH_O, nullptr},
  {"read", transfer<false>, METH_O, nullptr},
  {"free", there<true>, METH_NOARGS, nullptr},
  {"ready", there<false>, METH_NOARGS, nullptr},
  {"write_place", place<true>, METH_NOARGS, nullptr},
  {"read_place", place<false>, METH_NOARGS, nullptr},
  {"commit", done<true>, METH_O, nullptr},
  {"release", done<false>, METH_O, nullptr},
  {"claim", claim, METH_O, nullptr},
  {"leave", leave, METH_O, nullptr},
  {nullptr, nullptr, 0, nullptr},
};
PyType_Slot ring_slots[] = {
  {Py_tp_dealloc, reinterpret_cast<void*>(ring_free)},
  {Py_tp_methods, ring_methods},
  {0, nullptr},
};
PyType_Spec ring_spec = {"layerzero.native._audio.Ring", sizeof(RingObject), 0,
             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, ring_slots};

PyMethodDef functions[] = {
  {"allocate", allocate, METH_VARARGS, nullptr},
  {"share", share, METH_VARARGS, nullptr},
  {"unlink", unlink_shared, METH_O, nullptr},
  {"make", make, METH_VARARGS, nullptr},
  {"join", join, METH_O, nullptr},
  {nullptr, nullptr, 0, nullptr},
};

int execute(PyObject* module) {
  memory_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&memory_spec));
  ring_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&ring_spec));
  if (memory_type == nullptr || ring_type == nullptr) return -1;
  if (PyModule_AddIntConstant(module, "HEADER", sizeof(Header)) != 0) return -1;
  return PyModule_AddIntConstant(module, "INTERFACE", 1);  // as layerzero/audio/extension.py expects
}

PyModuleDef_Slot slots[] = {
  {Py_mod_exec, reinterpret_cast<void*>(execute)},
#ifdef Py_mod_multiple_interpreters
  {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
  {0, nullptr},
};

PyModuleDef definition = {
  PyModuleDef_HEAD_INIT, "layerzero.native._audio", "A ring of frames, and the memory for it.", 0, functions, slots,
  nullptr, nullptr, nullptr,
};

}  // namespace

PyMODINIT_FUNC PyInit__audio() { return PyModuleDef_Init(&definition); }
