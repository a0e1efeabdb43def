// An endless stream of pseudo-random bytes, the same for the same seed, that may be read at any offset: sender
// and receiver keep a position each and nothing else. 64 bits of splitmix64 for each aligned 8 bytes, in the
// host's byte order; different seeds give streams that differ after a few bytes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ppx::load {

class RandomStream {
 public:
  explicit RandomStream(uint64_t seed) : seed_(seed) {}

  void fill(uint64_t offset, char* out, std::size_t size) const;
  // How many of the bytes, from the first on, are the stream's own: size, if all are right.
  std::size_t match(uint64_t offset, const char* bytes, std::size_t size) const;

 private:
  uint64_t word(uint64_t index) const;

  uint64_t seed_;
};

}  // namespace ppx::load
