#include "common/journal.h"

#include <set>

#include "tests/common/table_testing.h"

namespace ppx {
namespace {

using testing::kForwarder;
using testing::kOtherForwarder;
using testing::kSmall;
using testing::owned;
using testing::smallTable;

TEST(Journal, ClaimsEachSegmentOnce) {
  Table table = smallTable();
  Journal journal(table, kForwarder);
  SlotRef ref = owned(table);
  std::set<uint32_t> in, out;
  for (uint64_t i = 0; i < kSmall.inSegments; ++i) ASSERT_TRUE(in.insert(journal.claimIn(ref, i)).second);
  for (uint64_t i = 0; i < kSmall.outSegments; ++i) ASSERT_TRUE(out.insert(journal.claimMail(ref)).second);
  EXPECT_LT(*in.rbegin(), kSmall.inSegments);
  EXPECT_GE(*out.begin(), kSmall.inSegments);
  EXPECT_EQ(journal.claimIn(ref, 0), kNoSegment);
  EXPECT_EQ(journal.claimMail(ref), kNoSegment);
}

TEST(Journal, BudgetsInAndOutAreSeparate) {
  Table table = smallTable();
  Journal journal(table, kForwarder);
  SlotRef ref = owned(table);
  while (journal.claimMail(ref) != kNoSegment) {
  }
  EXPECT_EQ(journal.freeCount(SegmentKind::kOut), 0u);
  EXPECT_EQ(journal.freeCount(SegmentKind::kIn), kSmall.inSegments);
  uint32_t segment = journal.claimIn(ref, 65539);
  ASSERT_NE(segment, kNoSegment);
  EXPECT_EQ(journal.word(segment), (SegmentWord{SegmentKind::kIn, ref.slot, ref.generation, 3}));
  EXPECT_EQ(journal.freeCount(SegmentKind::kIn), kSmall.inSegments - 1);
}

TEST(Journal, FreesOnlyWhatItSays) {
  Table table = smallTable();
  Journal journal(table, kForwarder);
  SlotRef ref = owned(table);
  uint32_t segment = journal.claimIn(ref, 1);
  SegmentWord word = journal.word(segment);
  SegmentWord other = word;
  other.detail = 2;
  EXPECT_FALSE(journal.free(segment, other));
  EXPECT_TRUE(journal.free(segment, word));
  EXPECT_FALSE(journal.free(segment, word));
  EXPECT_EQ(journal.freeCount(SegmentKind::kIn), kSmall.inSegments);
}

TEST(Journal, AuditLeavesWhatLivingSessionsAndPushersHold) {
  Table table = smallTable();
  Journal journal(table, kForwarder);
  SlotRef ref = owned(table);
  journal.claimIn(ref, 0);
  journal.claimMail(ref);
  EXPECT_EQ(journal.audit(), 0u);
}

TEST(Journal, AuditFreesStaleGenerationsAndLostHints) {
  Table table = smallTable();
  Journal journal(table, kForwarder);
  SlotRef ref = owned(table);
  journal.claimIn(ref, 0);
  uint32_t out = journal.claimMail(ref);
  table.segment(out).word.store(SegmentWord{SegmentKind::kOut, ref.slot, ref.generation, 0}.encode());
  testing::end(table, journal, ref, kForwarder);  // and forgets both
  table.inHints().clear(100);                     // taken, killed before the claim
  EXPECT_EQ(journal.audit(), 3u);
  EXPECT_EQ(journal.audit(), 0u);
  EXPECT_EQ(journal.freeCount(SegmentKind::kIn), kSmall.inSegments);
  EXPECT_EQ(journal.freeCount(SegmentKind::kOut), kSmall.outSegments);
  std::set<uint32_t> all;
  SlotRef next = owned(table);
  for (uint32_t segment; (segment = journal.claimIn(next, 0)) != kNoSegment;) all.insert(segment);
  EXPECT_EQ(all.size(), kSmall.inSegments);
}

TEST(Journal, AuditWaitsForThePusherOfStaleMailToDie) {
  Table table = smallTable();
  Journal journal(table, kForwarder), pusher(table, kOtherForwarder);
  SlotRef ref = owned(table);
  pusher.claimMail(ref);
  testing::end(table, journal, ref, kForwarder);
  EXPECT_EQ(journal.audit(), 0u);  // it may still be writing into it
  table.worker(kOtherForwarder.row).incarnation.store(0);
  EXPECT_EQ(journal.audit(), 1u);
}

TEST(Journal, AnEmptyRowHasNoLivingPusherWhateverItsIncarnationWas) {
  Table table = smallTable();
  table.worker(1).incarnation.store(2048);  // its low bits are those of "none"
  Journal journal(table, kForwarder), pusher(table, {1, 2048});
  SlotRef ref = owned(table);
  SegmentWord word = journal.word(pusher.claimMail(ref));
  EXPECT_TRUE(journal.isPusherAlive(word));
  table.worker(1).incarnation.store(0);
  EXPECT_FALSE(journal.isPusherAlive(word));
}

TEST(Journal, FindsTheOutSegmentsOfSlotsInOnePass) {
  Table table = smallTable();
  Journal journal(table, kForwarder);
  SlotRef a = owned(table), b = owned(table), c = owned(table);
  journal.claimIn(a, 0);
  uint32_t first = journal.claimMail(a), second = journal.claimMail(a), other = journal.claimMail(b);
  journal.claimMail(c);
  auto found = journal.outSegmentsOf([&](uint32_t slot) { return slot != c.slot; });
  EXPECT_EQ(found.size(), 2u);
  EXPECT_EQ(std::set<uint32_t>(found[a.slot].begin(), found[a.slot].end()),
            (std::set<uint32_t>{first, second}));
  EXPECT_EQ(found[b.slot], std::vector<uint32_t>{other});
}

}  // namespace
}  // namespace ppx
