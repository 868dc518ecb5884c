// A ring of frames in memory that two threads or two processes share: one writes, the other reads, neither ever waits.
//
// Positions count frames from the beginning and never wrap (2^64 frames at 48 kHz are twelve million years); a place is
// a position modulo the capacity, which is a power of two. Each side stores its own position alone: what it wrote or
// freed before that store (release) is there for whoever has loaded the position (acquire). Nothing here allocates.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>

namespace layerzero::audio {

constexpr std::uint64_t kMagic = 0x31676E69525A4CULL;  // "LZRing1", little-endian
constexpr std::size_t kLine = 128;                      // two cache lines: neighbours are fetched in pairs

// At the beginning of the memory; the frames follow. The first line is written once, before anybody else attaches.
struct Header {
  std::atomic<std::uint64_t> magic;
  std::uint64_t capacity;  // frames
  std::uint32_t channels;
  std::uint32_t sample_bytes;
  char sample[8];  // the name of the samples' type: "f4", "i2"
  alignas(kLine) std::atomic<std::uint64_t> written;
  alignas(kLine) std::atomic<std::uint64_t> read;
  alignas(kLine) std::atomic<std::int64_t> sides[2];  // the processes that write and read; 0 is nobody
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free, "the positions are shared between processes");
static_assert(sizeof(Header) == 4 * kLine, "the frames are aligned as the header is");

enum Side { kWriter = 0, kReader = 1 };

class Ring {
public:
  // The caller has seen to it that `memory` holds the header and `capacity` frames.
  void open(void* memory, std::uint64_t capacity, std::size_t frame_bytes) {
    header_ = static_cast<Header*>(memory);
    data_ = static_cast<unsigned char*>(memory) + sizeof(Header);
    capacity_ = capacity;
    frame_ = frame_bytes;
    // Another process may be at it already: what it did before is taken in once here, and whenever it matters.
    seen_read_ = header_->read.load(std::memory_order_acquire);
    seen_written_ = header_->written.load(std::memory_order_acquire);
  }

  Header& header() { return *header_; }
  unsigned char* data() { return data_; }
  std::uint64_t capacity() const { return capacity_; }
  std::size_t frame_bytes() const { return frame_; }

  // Frames that can be written now, looking at the reader again only where fewer than `wanted` are known to be free;
  // more than the capacity means that the memory is damaged.
  std::uint64_t writable(std::uint64_t wanted) {
    const std::uint64_t written = header_->written.load(std::memory_order_relaxed);
    if (capacity_ - (written - seen_read_) < wanted) seen_read_ = header_->read.load(std::memory_order_acquire);
    return capacity_ - (written - seen_read_);
  }

  std::uint64_t readable(std::uint64_t wanted) {
    const std::uint64_t read = header_->read.load(std::memory_order_relaxed);
    if (seen_written_ - read < wanted) seen_written_ = header_->written.load(std::memory_order_acquire);
    return seen_written_ - read;
  }

  // Where the next frame is written or read, as a place in the ring.
  std::uint64_t write_place() const { return header_->written.load(std::memory_order_relaxed) & (capacity_ - 1); }
  std::uint64_t read_place() const { return header_->read.load(std::memory_order_relaxed) & (capacity_ - 1); }

  void commit(std::uint64_t frames) {
    header_->written.store(header_->written.load(std::memory_order_relaxed) + frames, std::memory_order_release);
  }

  void release(std::uint64_t frames) {
    header_->read.store(header_->read.load(std::memory_order_relaxed) + frames, std::memory_order_release);
  }

  // As many of `frames` as fit; how many that were.
  std::uint64_t write(const void* source, std::uint64_t frames) {
    const std::uint64_t count = std::min({frames, writable(frames), capacity_});
    const std::uint64_t place = write_place(), first = std::min(count, capacity_ - place);
    const auto* from = static_cast<const unsigned char*>(source);
    std::memcpy(data_ + place * frame_, from, first * frame_);
    std::memcpy(data_, from + first * frame_, (count - first) * frame_);
    commit(count);
    return count;
  }

  std::uint64_t read(void* target, std::uint64_t frames) {
    const std::uint64_t count = std::min({frames, readable(frames), capacity_});
    const std::uint64_t place = read_place(), first = std::min(count, capacity_ - place);
    auto* to = static_cast<unsigned char*>(target);
    std::memcpy(to, data_ + place * frame_, first * frame_);
    std::memcpy(to + first * frame_, data_, (count - first) * frame_);
    release(count);
    return count;
  }

private:
  Header* header_ = nullptr;
  unsigned char* data_ = nullptr;
  std::uint64_t capacity_ = 0;
  std::size_t frame_ = 0;
  // No alignment here: Python's allocator does not keep it, so a line of distance does.
  std::uint64_t seen_read_ = 0;  // the writer's alone
  unsigned char apart_[kLine];
  std::uint64_t seen_written_ = 0;  // the reader's alone
};

}  // namespace layerzero::audio
