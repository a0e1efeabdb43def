#include "common/session_table.h"

#include <set>

#include "tests/common/table_testing.h"

namespace ppx {
namespace {

using testing::kAcceptor;
using testing::kForwarder;
using testing::kOtherForwarder;
using testing::kSmall;
using testing::owned;
using testing::smallTable;

const WorkerId kNextLife{kForwarder.row, 9};

TEST(SessionTable, ClaimsEachSlotOnceUpToTheCapacity) {
  Table table = smallTable();
  SessionTable sessions(table);
  table.header().sessionCapacity.store(66);
  std::set<uint32_t> slots;
  while (auto ref = sessions.claim(kAcceptor, 40)) ASSERT_TRUE(slots.insert(ref->slot).second);
  EXPECT_EQ(slots.size(), 66u);
  EXPECT_EQ(*slots.rbegin(), 65u);
  EXPECT_EQ(table.header().sessionHighWater.load(), 66u);
}

TEST(SessionTable, ASessionIsFoundByItsUuidWhileItTakesMail) {
  Table table = smallTable();
  SessionTable sessions(table);
  RandomSource random;
  SlotRef ref = *sessions.claim(kAcceptor, 5);
  NewSession session;
  session.listener = 3;
  session.pool = 4;
  session.peerPort = 1234;
  session.addressTag = 99;
  Uuid uuid = sessions.fill(ref, session, random);
  EXPECT_FALSE(sessions.find(uuid));  // claimed: not yet one
  EXPECT_FALSE(sessions.findAny(uuid));
  EXPECT_EQ(sessions.countAddress(99), 1u);
  ASSERT_TRUE(sessions.handoff(ref, kAcceptor, kForwarder.row));
  EXPECT_EQ(sessions.find(uuid), ref);
  ASSERT_TRUE(sessions.own(ref, kForwarder));
  EXPECT_EQ(sessions.find(uuid), ref);
  EXPECT_EQ(sessions.uuid(ref.slot), uuid);
  EXPECT_EQ(table.session(ref.slot).pool.load(), 4u);
  Uuid stranger = uuid;
  stranger.high ^= 1ull << 40;
  EXPECT_FALSE(sessions.findAny(stranger));
  ASSERT_TRUE(sessions.beginClosing(ref, kForwarder, CloseReason::kIdle));
  EXPECT_FALSE(sessions.find(uuid));
  EXPECT_EQ(sessions.findAny(uuid), ref);
  ASSERT_TRUE(sessions.release(ref, kForwarder));
  EXPECT_FALSE(sessions.findAny(uuid));
  EXPECT_EQ(sessions.countAddress(99), 0u);
}

// Puts a slot into a state and says which of the transitions it allows.
struct Case {
  SlotState state;
  const char* allowed;  // letters of `kTransitions`
};

SlotRef slotIn(const Table& table, SlotState state) {
  SessionTable sessions(table);
  RandomSource random;
  SlotRef ref = *sessions.claim(kAcceptor, 0);
  sessions.fill(ref, {}, random);
  if (state == SlotState::kFree) {
    EXPECT_TRUE(sessions.release(ref, kAcceptor));
    return {ref.slot, ref.generation + 1};
  }
  if (state == SlotState::kClaimed) return ref;
  EXPECT_TRUE(sessions.handoff(ref, kAcceptor, kForwarder.row));
  if (state == SlotState::kHandoff) return ref;
  EXPECT_TRUE(sessions.own(ref, kForwarder));
  if (state == SlotState::kOwned) return ref;
  EXPECT_TRUE(sessions.beginClosing(ref, kForwarder, CloseReason::kAdmin));
  return ref;
}

bool tryTransition(char which, SessionTable& sessions, SlotRef ref, const WorkerId& acceptor,
                   const WorkerId& forwarder) {
  switch (which) {
    case 'h':
      return sessions.handoff(ref, acceptor, forwarder.row);
    case 'o':
      return sessions.own(ref, forwarder);
    case 'm':
      return sessions.move(ref, forwarder, kOtherForwarder.row);
    case 'r':
      return sessions.redirect(ref, forwarder.row, kOtherForwarder.row);
    case 'b':
      return sessions.beginClosing(ref, forwarder, CloseReason::kAdmin);
    case 'A':
      return sessions.reclaim(ref, acceptor, {acceptor.row, 77});
    case 'F':
      return sessions.reclaim(ref, forwarder, kNextLife);
    case 'H':
      return sessions.reclaim(ref, {forwarder.row, 0}, kNextLife);
    case 'a':
      return sessions.release(ref, acceptor);
    case 'f':
      return sessions.release(ref, forwarder);
    case 'c':
      return sessions.requestClose(ref, CloseReason::kAdmin);
    default:
      ADD_FAILURE();
      return false;
  }
}

constexpr std::string_view kTransitions = "homrbAFHafc";

class SlotIn : public ::testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(States, SlotIn,
                         ::testing::Values(Case{SlotState::kFree, ""}, Case{SlotState::kClaimed, "hAa"},
                                           Case{SlotState::kHandoff, "orc"}, Case{SlotState::kOwned, "mbFc"},
                                           Case{SlotState::kClosing, "Ff"}),
                         [](const auto& test) { return slotStateName(test.param.state); });

TEST_P(SlotIn, AllowsTheseTransitionsAndNoOther) {
  for (char which : kTransitions) {
    Table table = smallTable();
    SessionTable sessions(table);
    SlotRef ref = slotIn(table, GetParam().state);
    bool allowed = std::string_view(GetParam().allowed).find(which) != std::string_view::npos;
    EXPECT_EQ(tryTransition(which, sessions, ref, kAcceptor, kForwarder), allowed) << which;
  }
}

TEST_P(SlotIn, RefusesOthersAndOtherLives) {
  Table table = smallTable();
  SessionTable sessions(table);
  SlotRef ref = slotIn(table, GetParam().state);
  uint64_t before = table.session(ref.slot).word.load();
  for (char which : kTransitions) {
    if (which != 'c') {
      EXPECT_FALSE(tryTransition(which, sessions, ref, {kAcceptor.row + 1, 1}, kOtherForwarder)) << which;
      if (which != 'o' && which != 'r') {  // these go by the row alone
        EXPECT_FALSE(tryTransition(which, sessions, ref, {kAcceptor.row, 50}, {kForwarder.row, 51})) << which;
      }
    }
    for (uint32_t generation : {ref.generation - 1, ref.generation + 1})
      EXPECT_FALSE(tryTransition(which, sessions, {ref.slot, generation}, kAcceptor, kForwarder)) << which;
  }
  EXPECT_EQ(table.session(ref.slot).word.load(), before);
}

TEST(SessionTable, AStaleOwnerWritesNothingIntoTheNextLife) {
  Table table = smallTable();
  SessionTable sessions(table);
  SlotRef old = owned(table);
  Journal journal(table, kForwarder);
  testing::end(table, journal, old, kForwarder);
  SlotRef next = owned(table, kOtherForwarder);
  ASSERT_EQ(next.slot, old.slot);
  EXPECT_FALSE(sessions.beginClosing(old, kForwarder, CloseReason::kPoison));
  EXPECT_EQ(table.session(next.slot).closeReason.load(), 0u);
}

TEST(SessionTable, ClosingClosesTheMailboxAfterTheWord) {
  Table table = smallTable();
  SessionTable sessions(table);
  SlotRef ref = owned(table);
  EXPECT_FALSE(MailHead::decode(table.session(ref.slot).mailHead.load()).closed);
  ASSERT_TRUE(sessions.beginClosing(ref, kForwarder, CloseReason::kIdle));
  EXPECT_TRUE(MailHead::decode(table.session(ref.slot).mailHead.load()).closed);
  EXPECT_EQ(table.session(ref.slot).closeReason.load(), static_cast<uint32_t>(CloseReason::kIdle));
}

TEST(SessionTable, TheFirstCloseRequestStandsAndDiesWithItsSession) {
  Table table = smallTable();
  SessionTable sessions(table);
  SlotRef ref = owned(table);
  EXPECT_EQ(sessions.closeRequested(ref), std::nullopt);
  EXPECT_TRUE(sessions.requestClose(ref, CloseReason::kAdmin));
  EXPECT_FALSE(sessions.requestClose(ref, CloseReason::kIdle));
  EXPECT_EQ(sessions.closeRequested(ref), CloseReason::kAdmin);
  Journal journal(table, kForwarder);
  testing::end(table, journal, ref, kForwarder);
  SlotRef next = owned(table);
  ASSERT_EQ(next.slot, ref.slot);
  EXPECT_EQ(sessions.closeRequested(next), std::nullopt);
}

TEST(SessionTable, ACloseRequestThatComesALifeTooLateIsInNobodysWay) {
  Table table = smallTable();
  SessionTable sessions(table);
  SlotRef ref = owned(table);
  // One of the life before, stored after this life's fill: what a requester that stalled leaves.
  table.session(ref.slot).closeRequest.store((static_cast<uint64_t>(ref.generation) + 5) << 32 | 1);
  EXPECT_EQ(sessions.closeRequested(ref), std::nullopt);
  EXPECT_TRUE(sessions.requestClose(ref, CloseReason::kAdmin));
  EXPECT_EQ(sessions.closeRequested(ref), CloseReason::kAdmin);
}

TEST(SessionTable, ReclaimsSlotsOfADeadIncarnationOnly) {
  Table table = smallTable();
  SessionTable sessions(table);
  SlotRef ref = owned(table);
  EXPECT_FALSE(sessions.reclaim(ref, kOtherForwarder, kNextLife));
  ASSERT_TRUE(sessions.reclaim(ref, kForwarder, kNextLife));
  EXPECT_EQ(sessions.word(ref.slot),
            (SlotWord{SlotState::kOwned, kNextLife.row, kNextLife.incarnation, ref.generation}));
  EXPECT_FALSE(sessions.reclaim(ref, kForwarder, kNextLife));
  EXPECT_FALSE(sessions.beginClosing(ref, kForwarder, CloseReason::kIdle));  // the dead one has no say
  EXPECT_TRUE(sessions.beginClosing(ref, kNextLife, CloseReason::kIdle));
}

TEST(SessionTable, RepairFindsFreeSlotsWithoutAHint) {
  Table table = smallTable();
  SessionTable sessions(table);
  SlotRef ref = owned(table);
  table.slotHints().clear(10);  // taken by one that was killed before it claimed
  table.slotHints().clear(64);
  table.slotHints().set(ref.slot);  // wrong, and harmless
  EXPECT_EQ(sessions.repairHints(), 2u);
  EXPECT_EQ(sessions.repairHints(), 0u);
  std::set<uint32_t> slots{ref.slot};
  while (auto next = sessions.claim(kAcceptor, 0)) ASSERT_TRUE(slots.insert(next->slot).second);
  EXPECT_EQ(slots.size(), kSmall.sessionSlots);
}

TEST(SessionTable, GenerationsGrowWithEachLifeAndWrapRound) {
  Table table = smallTable();
  SessionTable sessions(table);
  table.header().sessionCapacity.store(1);
  table.session(0).word.store(SlotWord{SlotState::kFree, 0, 0, kGenerationMask}.encode());
  SlotRef ref = *sessions.claim(kAcceptor, 0);
  EXPECT_EQ(ref.generation, kGenerationMask);
  ASSERT_TRUE(sessions.release(ref, kAcceptor));
  EXPECT_EQ(sessions.claim(kAcceptor, 0)->generation, 0u);
}

}  // namespace
}  // namespace ppx
