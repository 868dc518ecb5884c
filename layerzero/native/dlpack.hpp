// The part of the DLPack C exchange API that is read here: shape, dtype, device and strides of a tensor, without a copy
// and without a link to the library that made it. Layout as DLPack 1.x fixes it.
#pragma once

#include <cstdint>

namespace layerzero::dlpack {

enum DeviceKind : std::int32_t { cpu = 1, cuda = 2, rocm = 10 };
enum TypeCode : std::uint8_t { real = 2, bfloat = 4 };

struct Device {
  std::int32_t kind, number;
};

struct Type {
  std::uint8_t code, bits;
  std::uint16_t lanes;
};

struct Tensor {
  void* data;
  Device device;
  std::int32_t dimensions;
  Type type;
  std::int64_t* shape;
  std::int64_t* strides;
  std::uint64_t byte_offset;
};

struct Header {
  std::uint32_t major, minor;
  Header* older;
};

struct Exchange {
  Header header;
  void* allocator;
  void* managed_from_object;
  void* managed_to_object;
  int (*tensor_from_object)(void* object, Tensor* out);  // may be null; sets an exception where it fails
  void* current_stream;
};

constexpr const char* capsule_name = "dlpack_exchange_api";
constexpr std::uint32_t major_version = 1;

}  // namespace layerzero::dlpack
