// In which order descriptors are asked for, and whose handoffs a take-over takes.
#include "forwarder/fetch_queue.h"

#include <gtest/gtest.h>

#include "common/clock.h"
#include "forwarder/takeover.h"

namespace ppx {
namespace {

struct Asked {
  std::vector<uint32_t> slots;
  WorkerId after;
};

struct FetchQueueTest : testing::Test {
  Table table = std::move(*Table::create({.sessionSlots = 2048, .inSegments = 64, .outSegments = 64}));
  std::vector<Asked> asked;
  FetchQueue::Fetch fetch() {
    return [this](std::span<const custody::Record> records, WorkerId after) {
      Asked one{{}, after};
      for (const custody::Record& record : records) one.slots.push_back(record.slot);
      asked.push_back(one);
    };
  }
  std::vector<SlotRef> refs(uint32_t from, uint32_t to) {
    std::vector<SlotRef> out;
    for (uint32_t slot = from; slot < to; ++slot) out.push_back({slot, 1});
    return out;
  }
  size_t underWay() const {
    size_t count = 0;
    for (const Asked& each : asked) count += each.slots.size();
    return count;
  }
};

TEST_F(FetchQueueTest, AsksForTheLatestTrafficFirst) {
  table.session(3).lastInMs.store(10);
  table.session(1).lastOutMs.store(30);
  table.session(2).lastInMs.store(20);
  FetchQueue queue(table, fetch());
  queue.add(refs(0, 4), {});
  ASSERT_EQ(asked.size(), 1u);
  EXPECT_EQ(asked[0].slots, (std::vector<uint32_t>{1, 2, 3, 0}));
}

TEST_F(FetchQueueTest, LetsWhoComesLaterOvertakeAllButWhatIsUnderWay) {
  FetchQueue queue(table, fetch());
  const auto now = static_cast<uint64_t>(monotonicMillis());
  for (uint32_t slot = 0; slot < 1500; ++slot) table.session(slot).lastInMs.store(now);
  queue.add(refs(0, 1500), {});
  const size_t first = underWay();
  EXPECT_EQ(first, 2u * custody::kMaxRecords);
  table.session(2000).lastInMs.store(now + 1);
  queue.add(refs(2000, 2001), {});
  EXPECT_EQ(underWay(), first);
  for (uint32_t slot = 0; slot < custody::kMaxRecords; ++slot) EXPECT_TRUE(queue.answered({slot, 1}));
  ASSERT_GT(underWay(), first);
  EXPECT_EQ(asked.back().slots.front(), 2000u);
  while (!queue.empty()) {
    const auto before = asked;
    for (const Asked& each : before)
      for (uint32_t slot : each.slots) (void)queue.answered({slot, 1});
  }
  EXPECT_EQ(underWay(), 1501u) << "each once";
}

TEST_F(FetchQueueTest, AsksForFewOfThoseThatAreQuietAtATimeAndAtOnceForWhoTalks) {
  FetchQueue queue(table, fetch());
  queue.add(refs(0, 1000), {});
  const size_t first = underWay();
  EXPECT_LE(first, 64u);
  const auto now = static_cast<uint64_t>(monotonicMillis());
  for (uint32_t slot = 1000; slot < 1100; ++slot) table.session(slot).lastOutMs.store(now);
  table.session(1100).acceptedMs.store(now);
  queue.add(refs(1000, 1101), {});
  EXPECT_EQ(underWay(), first + 101);
  size_t answered = 0;
  for (size_t i = 0; i < asked.size(); ++i)
    for (uint32_t slot : std::vector<uint32_t>(asked[i].slots)) {
      EXPECT_TRUE(queue.answered({slot, 1}));
      ++answered;
      EXPECT_LE(underWay() - answered, first + 101);
    }
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(underWay(), 1101u) << "each once";
  EXPECT_LT(asked.size(), 50u) << "in turns, not one by one";
}

TEST_F(FetchQueueTest, AsksOnceMoreForALaterLifeOfASlotAndForgetsTheEarlier) {
  FetchQueue queue(table, fetch());
  const SlotRef earlier{5, 1}, later{5, 2};
  queue.add({&earlier, 1}, {});
  queue.add({&later, 1}, {});
  EXPECT_FALSE(queue.answered(earlier));
  EXPECT_TRUE(queue.waits(5));
  EXPECT_TRUE(queue.answered(later));
  EXPECT_TRUE(queue.empty());
  EXPECT_EQ(underWay(), 2u);
}

TEST_F(FetchQueueTest, NamesTheDeadWorkerThatTheCustodianHasToReadFirst) {
  FetchQueue queue(table, fetch());
  const WorkerId dead{4, 17};
  const SlotRef one{1, 1}, other{2, 1};
  queue.add({&one, 1}, dead);
  queue.add({&other, 1}, {});
  ASSERT_EQ(asked.size(), 2u);
  EXPECT_EQ(asked[0].after, dead);
  EXPECT_EQ(asked[1].after, WorkerId{});
}

struct Handoffs : FetchQueueTest {
  static constexpr uint8_t kDeadRow = 3;
  SessionTable sessions{table};
  Takeover takeover{table, {1, 10}, fetch()};
  SlotRef ref;
  void SetUp() override {
    const WorkerId acceptor{kFirstAcceptorRow, 1};
    ref = sessions.claim(acceptor, 0).value();
    ASSERT_TRUE(sessions.handoff(ref, acceptor, kDeadRow));
  }
};

TEST_F(Handoffs, ToADeadRowAreTakenOver) {
  table.worker(kDeadRow).incarnation.store(0);
  takeover.reclaim({kDeadRow, 7});
  EXPECT_EQ(sessions.word(ref.slot).worker, 1);
  EXPECT_TRUE(takeover.waits(ref.slot));
}

TEST_F(Handoffs, ToARowsNextProcessAreLeftToIt) {
  table.worker(kDeadRow).incarnation.store(8);
  takeover.reclaim({kDeadRow, 7});
  EXPECT_EQ(sessions.word(ref.slot).worker, kDeadRow);
  EXPECT_FALSE(takeover.waits(ref.slot));
}

TEST_F(Handoffs, OwnedOnesThatCustodyHasNotYetAreAskedForAgainByTheSweep) {
  table.worker(kDeadRow).incarnation.store(0);
  takeover.reclaim({kDeadRow, 7});
  ASSERT_TRUE(takeover.answered(ref));
  ASSERT_TRUE(sessions.own(ref, {1, 10}));
  takeover.askLater(ref);
  EXPECT_FALSE(takeover.complete());
  takeover.sweepHandoffs(0);
  EXPECT_TRUE(takeover.waits(ref.slot));
  EXPECT_EQ(underWay(), 2u);
  ASSERT_TRUE(takeover.answered(ref));
  EXPECT_TRUE(takeover.complete());
}

}  // namespace
}  // namespace ppx
