// A writer and a reader at full speed, in batches of random sizes, with and without copies: every sample has to arrive
// once and in order, and nothing may be allocated on the way. Built by `make tsan` under ThreadSanitizer.
//
//     audio_stress SAMPLES [CAPACITY] [threads|processes]
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <thread>
#include <vector>

#include "audio_ring.hpp"

using layerzero::audio::Header;
using layerzero::audio::Ring;

namespace {
std::atomic<bool> started{false};

std::uint64_t random_batch(std::uint64_t& state, std::uint64_t most) {
  state ^= state << 13, state ^= state >> 7, state ^= state << 17;
  return 1 + state % most;
}

void write_all(Ring ring, std::uint64_t samples, std::vector<std::uint32_t>& batch) {
  std::uint64_t state = 88172645463325252ULL;
  for (std::uint64_t next = 0; next < samples;) {
    const std::uint64_t wanted = std::min<std::uint64_t>(random_batch(state, batch.size()), samples - next);
    if (wanted % 2 == 0) {
      for (std::uint64_t i = 0; i < wanted; ++i) batch[i] = static_cast<std::uint32_t>(next + i);
      const std::uint64_t done = ring.write(batch.data(), wanted);
      next += done;
      if (done == 0) std::this_thread::yield();
    } else {  // in place
      const std::uint64_t place = ring.write_place();
      const std::uint64_t count = std::min({wanted, ring.writable(wanted), ring.capacity() - place});
      auto* frames = reinterpret_cast<std::uint32_t*>(ring.data()) + place;
      for (std::uint64_t i = 0; i < count; ++i) frames[i] = static_cast<std::uint32_t>(next + i);
      ring.commit(count);
      next += count;
      if (count == 0) std::this_thread::yield();
    }
  }
}

bool read_all(Ring ring, std::uint64_t samples, std::vector<std::uint32_t>& batch) {
  std::uint64_t state = 1181783497276652981ULL;
  for (std::uint64_t next = 0; next < samples;) {
    const std::uint64_t wanted = random_batch(state, batch.size());
    const std::uint32_t* frames = batch.data();
    std::uint64_t count;
    if (wanted % 2 == 0) {
      count = ring.read(batch.data(), wanted);
    } else {
      const std::uint64_t place = ring.read_place();
      count = std::min({wanted, ring.readable(wanted), ring.capacity() - place});
      frames = reinterpret_cast<const std::uint32_t*>(ring.data()) + place;
    }
    for (std::uint64_t i = 0; i < count; ++i) {
      if (frames[i] != static_cast<std::uint32_t>(next + i)) {
        std::fprintf(stderr, "sample %llu is %u\n", static_cast<unsigned long long>(next + i), frames[i]);
        return false;
      }
    }
    if (wanted % 2 != 0) ring.release(count);
    next += count;
    if (count == 0) std::this_thread::yield();
  }
  return true;
}
}  // namespace

void* operator new(std::size_t bytes) {
  if (started) std::fputs("an allocation after the start\n", stderr), std::abort();
  if (void* found = std::malloc(bytes)) return found;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

int main(int count, char** words) {
  const std::uint64_t samples = count > 1 ? std::strtoull(words[1], nullptr, 10) : 1'000'000;
  const std::uint64_t capacity = count > 2 ? std::strtoull(words[2], nullptr, 10) : 4096;
  const bool processes = count > 3 && words[3][0] == 'p';
  if (capacity == 0 || (capacity & (capacity - 1)) != 0) return std::fputs("CAPACITY is a power of two\n", stderr), 2;
  void* memory = mmap(nullptr, sizeof(Header) + capacity * 4, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return std::perror("mmap"), 2;
  new (memory) Header{};
  Ring ring;
  ring.open(memory, capacity, 4);
  std::vector<std::uint32_t> written(capacity + 7), read(capacity + 7);

  const auto began = std::chrono::steady_clock::now();
  bool right = false;
  if (processes) {
    const pid_t child = fork();
    if (child == 0) _exit((write_all(ring, samples, written), 0));
    right = read_all(ring, samples, read);
    int status = 1;
    waitpid(child, &status, 0);
    right = right && status == 0;
  } else {
    std::thread writer([&] {
      while (!started) std::this_thread::yield();
      write_all(ring, samples, written);
    });
    started = true;
    right = read_all(ring, samples, read);
    writer.join();
    started = false;
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  std::printf("%llu samples %s, %.0f million a second\n", static_cast<unsigned long long>(samples),
        right ? "in order" : "NOT in order", static_cast<double>(samples) / seconds / 1e6);
  return right ? 0 : 1;
}
