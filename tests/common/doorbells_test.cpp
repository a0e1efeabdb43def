#include "common/doorbells.h"

#include <poll.h>

#include <set>

#include "common/control_protocol.h"
#include "tests/common/table_testing.h"

namespace ppx {
namespace {

using testing::kForwarder;
using testing::kOtherForwarder;
using testing::owned;
using testing::smallTable;

bool rings(const Doorbells& bells, uint8_t row) {
  pollfd wait{bells.descriptor(row), POLLIN, 0};
  return ::poll(&wait, 1, 0) == 1;
}

std::set<uint32_t> dirty(const Table& table, uint8_t row) {
  uint32_t out[128];
  DirtySet set = table.dirtySet(row);
  size_t count = set.drain(out);
  return {out, out + count};
}

class DoorbellsOf : public ::testing::Test {
 protected:
  Table table_ = smallTable();
  Doorbells bells_ = std::move(*Doorbells::create());
};

TEST_F(DoorbellsOf, AMarkRingsTheOwnerOnceUntilItAnswers) {
  SlotRef a = owned(table_), b = owned(table_);
  bells_.ringSlot(table_, a.slot);
  EXPECT_TRUE(rings(bells_, kForwarder.row));
  EXPECT_FALSE(rings(bells_, kOtherForwarder.row));
  bells_.ringSlot(table_, b.slot);
  uint64_t count = 0;
  ASSERT_EQ(::read(bells_.descriptor(kForwarder.row), &count, sizeof(count)), 8);
  EXPECT_EQ(count, 1u);
  bells_.ringSlot(table_, a.slot);
  EXPECT_FALSE(rings(bells_, kForwarder.row));  // not answered yet
  bells_.answered(table_, kForwarder.row);
  EXPECT_EQ(dirty(table_, kForwarder.row), (std::set<uint32_t>{a.slot, b.slot}));
  bells_.ringSlot(table_, a.slot);
  EXPECT_TRUE(rings(bells_, kForwarder.row));
}

TEST_F(DoorbellsOf, ASlotInHandoffRingsItsFutureOwnerAndAFreeOneNobody) {
  SlotRef ref = testing::claimed(table_);
  bells_.ringSlot(table_, ref.slot);
  bells_.ringSlot(table_, 60);
  for (uint8_t row = 0; row < kMaxForwarders; ++row) EXPECT_FALSE(rings(bells_, row));
  ASSERT_TRUE(SessionTable(table_).handoff(ref, testing::kAcceptor, 17));
  bells_.ringSlot(table_, ref.slot);
  EXPECT_TRUE(rings(bells_, 17));
  EXPECT_EQ(dirty(table_, 17), std::set<uint32_t>{ref.slot});
}

TEST_F(DoorbellsOf, AReleaseWakesTheAcceptorsThatWait) {
  bells_.slotReleased(table_);
  EXPECT_FALSE(rings(bells_, kFirstAcceptorRow + 3));
  table_.header().acceptorsWaiting.store(1 << 3);
  bells_.slotReleased(table_);
  EXPECT_TRUE(rings(bells_, kFirstAcceptorRow + 3));
  EXPECT_FALSE(rings(bells_, kFirstAcceptorRow));
  EXPECT_EQ(table_.header().acceptorsWaiting.load(), 0u);
}

// A pusher may die after any of its steps: the link, the mark, its summary, the flag of the bell.
TEST_F(DoorbellsOf, NothingAPusherWasAboutToRingIsLostWithIt) {
  Journal journal(table_, kOtherForwarder);
  SlotRef ref = owned(table_), foreign = owned(table_, kOtherForwarder);
  ASSERT_EQ(testing::push(table_, journal, ref, "unmarked"), PushResult::kPushed);
  table_.worker(kForwarder.row).doorbellRung.store(1);
  bells_.ringSlot(table_, ref.slot);
  EXPECT_FALSE(rings(bells_, kForwarder.row));  // what the dead one's flag would do for ever
  bells_.workerDied(table_);
  EXPECT_TRUE(rings(bells_, kForwarder.row));
  bells_.answered(table_, kForwarder.row);
  EXPECT_EQ(dirty(table_, kForwarder.row), std::set<uint32_t>{ref.slot});
  EXPECT_EQ(dirty(table_, kOtherForwarder.row), std::set<uint32_t>{foreign.slot});
  bells_.ringSlot(table_, ref.slot);
  EXPECT_TRUE(rings(bells_, kForwarder.row));
  EXPECT_TRUE(rings(bells_, kFirstAcceptorRow));
}

TEST_F(DoorbellsOf, GoToAnotherProcessInTheOrderOfTheWelcome) {
  std::vector<int> all = bells_.all();
  ASSERT_EQ(all.size(), static_cast<size_t>(control::kWelcomeDescriptors) - 1);
  std::vector<UniqueFd> copies;
  for (int fd : all) copies.emplace_back(::dup(fd));
  auto other = Doorbells::fromDescriptors(std::move(copies));
  ASSERT_TRUE(other);
  for (uint8_t row : {uint8_t{0}, uint8_t{31}, kFirstAcceptorRow, kProberRow}) {
    other->ring(row);
    EXPECT_TRUE(rings(bells_, row)) << int{row};
  }
  EXPECT_FALSE(Doorbells::fromDescriptors({}));
}

TEST_F(DoorbellsOf, AllMeansForwardersAndTheProber) {
  bells_.ringAll();
  EXPECT_TRUE(rings(bells_, 0) && rings(bells_, kMaxForwarders - 1) && rings(bells_, kProberRow));
  EXPECT_FALSE(rings(bells_, kFirstAcceptorRow));
}

}  // namespace
}  // namespace ppx
