#include "common/hint_bitmap.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <vector>

namespace ppx {
namespace {

struct Words {
  explicit Words(size_t bytes) : words(bytes / 8) {}
  std::vector<Atomic<uint64_t>> words;
};

TEST(HintBitmap, TakesEachSetBitOnceFromAnyStartBelowAnyLimit) {
  for (uint32_t size : {1u, 63u, 64u, 65u, 130u, 200u}) {
    for (uint32_t limit = 0; limit <= size + 3; limit += 7) {
      for (uint32_t start = 0; start < size + 5; start += 11) {
        Words memory(HintBitmap::bytesFor(size));
        HintBitmap bits(memory.words.data(), size);
        std::set<uint32_t> expected;
        for (uint32_t i = 0; i < size; i += 1 + i % 3) {
          bits.set(i);
          if (i < limit) expected.insert(i);
        }
        std::set<uint32_t> taken;
        while (auto index = bits.take(start, limit)) ASSERT_TRUE(taken.insert(*index).second);
        ASSERT_EQ(taken, expected) << size << " " << limit << " " << start;
        for (uint32_t i = limit; i < size; ++i) ASSERT_EQ(bits.test(i), i >= limit && bits.test(i));
      }
    }
  }
}

TEST(HintBitmap, LooksFromTheStartOnAndRound) {
  Words memory(HintBitmap::bytesFor(200));
  HintBitmap bits(memory.words.data(), 200);
  for (uint32_t i : {3u, 69u, 70u, 71u, 150u}) bits.set(i);
  std::vector<uint32_t> order;
  while (auto index = bits.take(70, 200)) order.push_back(*index);
  EXPECT_EQ(order, (std::vector<uint32_t>{70, 71, 150, 3, 69}));
}

TEST(HintBitmap, LeavesBitsAtAndAboveTheLimit) {
  Words memory(HintBitmap::bytesFor(128));
  HintBitmap bits(memory.words.data(), 128);
  for (uint32_t i : {9u, 10u, 64u, 127u}) bits.set(i);
  EXPECT_EQ(bits.take(0, 10), 9u);
  EXPECT_EQ(bits.take(0, 10), std::nullopt);
  EXPECT_TRUE(bits.test(10) && bits.test(64) && bits.test(127));
  bits.clear(64);
  EXPECT_FALSE(bits.test(64));
}

class DirtySetOf : public ::testing::TestWithParam<uint32_t> {};
INSTANTIATE_TEST_SUITE_P(Sizes, DirtySetOf, ::testing::Values(1u, 64u, 65u, 4096u, 4097u, 16384u));

TEST_P(DirtySetOf, GivesEachMarkOnceWhateverFits) {
  uint32_t size = GetParam();
  std::mt19937 random(size);
  for (size_t room : {1ul, 3ul, 63ul, 64ul, 65ul, 1000ul}) {
    Words memory(DirtySet::bytesFor(size));
    DirtySet dirty(memory.words.data(), size);
    std::set<uint32_t> expected, drained;
    for (int i = 0; i < 500; ++i) expected.insert(random() % size);
    for (uint32_t index : expected) dirty.set(index);
    std::vector<uint32_t> out(room);
    while (size_t count = dirty.drain(out))
      for (size_t i = 0; i < count; ++i) ASSERT_TRUE(drained.insert(out[i]).second);
    EXPECT_EQ(drained, expected);
  }
}

TEST(DirtySet, RepairFindsMarksWhoseSummaryIsMissing) {
  Words memory(DirtySet::bytesFor(16384));
  DirtySet dirty(memory.words.data(), 16384);
  dirty.set(77);
  dirty.set(16000);
  size_t summaryWords = (16384 / 64 + 63) / 64;
  for (size_t i = 0; i < summaryWords; ++i) memory.words[i].store(0);  // killed between the two
  std::vector<uint32_t> out(64);
  EXPECT_EQ(dirty.drain(out), 0u);
  dirty.repair();
  ASSERT_EQ(dirty.drain(out), 2u);
  EXPECT_EQ(out[0], 77u);
  EXPECT_EQ(out[1], 16000u);
  EXPECT_FALSE(dirty.test(77));
}

}  // namespace
}  // namespace ppx
