#include "tests/load/random_stream.h"

#include <algorithm>
#include <cstring>

namespace ppx::load {
namespace {

constexpr std::size_t kWord = sizeof(uint64_t);

// The part of word `offset / 8` that begins at `offset`.
struct Piece {
  std::size_t from;
  std::size_t size;
};

Piece pieceAt(uint64_t offset, std::size_t wanted) {
  const std::size_t from = offset % kWord;
  return {from, std::min(wanted, kWord - from)};
}

}  // namespace

uint64_t RandomStream::word(uint64_t index) const {
  // The seed is mixed by itself first: else seeds that differ by a multiple of the step share a stream, shifted.
  uint64_t z = (seed_ * 0xd6e8feb86659fd93u) ^ ((index + 1) * 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

void RandomStream::fill(uint64_t offset, char* out, std::size_t size) const {
  while (size > 0) {
    const Piece piece = pieceAt(offset, size);
    const uint64_t bits = word(offset / kWord);
    std::memcpy(out, reinterpret_cast<const char*>(&bits) + piece.from, piece.size);
    out += piece.size;
    offset += piece.size;
    size -= piece.size;
  }
}

std::size_t RandomStream::match(uint64_t offset, const char* bytes, std::size_t size) const {
  std::size_t done = 0;
  while (done < size) {
    const Piece piece = pieceAt(offset + done, size - done);
    const uint64_t bits = word((offset + done) / kWord);
    const char* expected = reinterpret_cast<const char*>(&bits) + piece.from;
    if (std::memcmp(bytes + done, expected, piece.size) != 0) {
      return done + static_cast<std::size_t>(
                        std::mismatch(expected, expected + piece.size, bytes + done).first - expected);
    }
    done += piece.size;
  }
  return done;
}

}  // namespace ppx::load
