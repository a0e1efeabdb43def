#include "tests/load/random_stream.h"

#include <gtest/gtest.h>

#include <string>

namespace ppx::load {
namespace {

std::string bytes(const RandomStream& stream, uint64_t offset, std::size_t size) {
  std::string result(size, '\0');
  stream.fill(offset, result.data(), size);
  return result;
}

TEST(RandomStream, IsTheSameReadAtOnceOrInPieces) {
  const RandomStream stream(7);
  const std::string whole = bytes(stream, 0, 1000);
  for (const std::size_t piece : {1u, 3u, 7u, 8u, 13u, 64u}) {
    std::string pieced;
    while (pieced.size() < whole.size()) {
      pieced += bytes(stream, pieced.size(), std::min(piece, whole.size() - pieced.size()));
    }
    EXPECT_EQ(pieced, whole) << "pieces of " << piece;
  }
}

TEST(RandomStream, DiffersFromSeedToSeedAtEveryShift) {
  const std::string one = bytes(RandomStream(1), 0, 4096);
  const std::string other = bytes(RandomStream(2), 0, 4096);
  for (std::size_t at = 0; at + 16 <= other.size(); at += 8) {
    EXPECT_EQ(one.find(other.substr(at, 16)), std::string::npos) << "at " << at;
  }
}

TEST(RandomStream, MatchesItsOwnBytesAtAnyOffset) {
  const RandomStream stream(3);
  for (uint64_t offset = 0; offset < 20; ++offset) {
    const std::string own = bytes(stream, offset, 100);
    EXPECT_EQ(stream.match(offset, own.data(), own.size()), own.size());
  }
}

TEST(RandomStream, FindsTheFirstWrongByte) {
  const RandomStream stream(3);
  for (std::size_t wrong = 0; wrong < 40; ++wrong) {
    std::string damaged = bytes(stream, 5, 40);
    damaged[wrong] = static_cast<char>(damaged[wrong] ^ 1);
    EXPECT_EQ(stream.match(5, damaged.data(), damaged.size()), wrong);
  }
}

TEST(RandomStream, ALostOrDoubledByteDoesNotMatch) {
  const RandomStream stream(11);
  const std::string lost = bytes(stream, 101, 64);
  EXPECT_LT(stream.match(100, lost.data(), lost.size()), 8u);
  const std::string doubled = bytes(stream, 99, 64);
  EXPECT_LT(stream.match(100, doubled.data(), doubled.size()), 8u);
}

}  // namespace
}  // namespace ppx::load
