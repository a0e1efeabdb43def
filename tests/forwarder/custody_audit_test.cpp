// What the audit of custody takes for a fault, and what it does then.
#include "tests/forwarder/custody_audit_bench.h"

namespace ppx::testing {
namespace {

using custody::Kind;

TEST_F(AuditOfCustody, AsksForNothingWhereNothingIsWrong) {
  for (int i = 0; i < 20; ++i) session();
  begin();
  list();
  EXPECT_TRUE(fetched_.empty());
  EXPECT_TRUE(audit_.idle());
  EXPECT_EQ(row().custodyAudits.load(), 1u);
  EXPECT_EQ(missing() + stale(), 0u);
}

TEST_F(AuditOfCustody, PutsWhatIsMissingAgainAndCountsIt) {
  session();
  SlotRef lost = session(60'000, false);
  begin();
  list();
  ASSERT_EQ(fetched_.size(), 1u);
  answer();
  ASSERT_EQ(puts_, std::vector<SlotRef>{lost});
  EXPECT_EQ(missing(), 0u) << "not held yet";
  putDone();
  EXPECT_EQ(missing(), 1u);
  EXPECT_TRUE(audit_.idle());
  begin();
  list();
  EXPECT_TRUE(audit_.idle()) << "it is in custody";
  EXPECT_EQ(missing(), 1u);
}

TEST_F(AuditOfCustody, OneWhoseAcceptorsPutMayBeOnItsWayIsLeftAlone) {
  session(CustodyAudit::kPatienceMs - 1, false);
  begin();
  list();
  EXPECT_TRUE(fetched_.empty());
  EXPECT_TRUE(audit_.idle());
}

TEST_F(AuditOfCustody, OneThatCameAfterTheListWasAskedForIsLeftAlone) {
  begin();
  session(60'000, false);  // moved here from another forwarder
  list();
  EXPECT_TRUE(fetched_.empty());
}

TEST_F(AuditOfCustody, WhatCameIntoCustodySinceTheListIsNotPut) {
  SlotRef late = session(60'000, false);
  begin();
  list();
  held_[late.slot] = late.generation;
  answer();
  EXPECT_TRUE(puts_.empty());
  EXPECT_TRUE(audit_.idle());
  EXPECT_EQ(missing(), 0u);
}

TEST_F(AuditOfCustody, WhatEndedMeanwhileIsNotPut) {
  SlotRef first = session(60'000, false), second = session(60'000, false), third = session(60'000, false);
  begin();
  end(first);
  list();
  EXPECT_EQ(fetched_.size(), 2u);
  end(second);
  full_ = true;
  answer();
  end(third);
  full_ = false;
  audit_.tick(now_ + 100);
  EXPECT_TRUE(puts_.empty());
  EXPECT_TRUE(audit_.idle());
}

TEST_F(AuditOfCustody, PutsAgainOnceTheChannelTakesIt) {
  SlotRef lost = session(60'000, false);
  full_ = true;
  begin();
  list();
  answer();
  EXPECT_TRUE(puts_.empty());
  full_ = false;
  audit_.tick(now_ + 100);
  EXPECT_EQ(puts_, std::vector<SlotRef>{lost});
  audit_.tick(now_ + 200);
  EXPECT_EQ(puts_.size(), 1u) << "once";
  putDone();
  EXPECT_EQ(missing(), 1u);
}

TEST_F(AuditOfCustody, WhatTheCustodianCannotHoldIsNotCountedAsRepaired) {
  session(60'000, false);
  begin();
  list();
  answer();
  putDone(true);
  EXPECT_EQ(missing(), 0u);
  EXPECT_TRUE(audit_.idle());
}

TEST_F(AuditOfCustody, DropsACopyOfALifeThatIsOver) {
  SlotRef gone = session(), gone2 = session();
  session();
  end(gone, false);
  end(gone2, false);
  SlotRef next = ppx::testing::owned(table_);  // one of the slots is in use again
  EXPECT_EQ(next.slot, gone.slot);
  begin();
  list();
  EXPECT_EQ(fetched_.size(), 2u);
  answer();
  EXPECT_EQ(std::set<uint32_t>({drops_.at(0).slot, drops_.at(1).slot}),
            std::set<uint32_t>({gone.slot, gone2.slot}));
  EXPECT_EQ(drops_.at(0).generation, gone.generation);
  EXPECT_EQ(stale(), 2u);
  EXPECT_TRUE(audit_.idle());
}

TEST_F(AuditOfCustody, OnlyOneForwarderDropsStaleCopies) {
  end(session(), false);
  begin(false);
  list();
  EXPECT_TRUE(fetched_.empty());
}

// It was listed, then dropped, released; then we look.
TEST_F(AuditOfCustody, ASessionThatEndsBehindTheListIsNotStale) {
  SlotRef ref = session();
  begin();
  Record listed[] = {recordOf(ref)};
  end(ref);
  audit_.onListed(listed);
  endList();
  answer();
  EXPECT_TRUE(drops_.empty());
  EXPECT_EQ(stale(), 0u);
  EXPECT_TRUE(audit_.idle());
}

TEST_F(AuditOfCustody, NoStateOfTheLifeThatIsListedMakesItStale) {
  SessionTable sessions(table_);
  SlotRef claimed = ppx::testing::claimed(table_), handoff = ppx::testing::claimed(table_),
          owned = ppx::testing::owned(table_), closing = ppx::testing::owned(table_);
  ASSERT_TRUE(sessions.handoff(handoff, kAcceptor, 1));
  ASSERT_TRUE(sessions.beginClosing(closing, kForwarder, CloseReason::kAdmin));
  for (SlotRef ref : {claimed, handoff, owned, closing, SlotRef{500, 0}}) held_[ref.slot] = ref.generation;
  begin();
  list();
  EXPECT_TRUE(fetched_.empty());
}

TEST_F(AuditOfCustody, WhatItDoesNotKnowIsLeftAlone) {
  SlotRef ref = session();
  begin();
  std::vector<Record> records{recordOf({ref.slot, ref.generation + 1}),
                              recordOf({kAuditSizes.sessionSlots, 0})};
  for (Kind kind : {Kind::kListener, Kind::kTable, Kind::kDoorbell}) {
    records.push_back(recordOf({900, kGenerationMask}));  // of a session it would be stale
    records.back().kind = kind;
  }
  records.push_back(recordOf(ref));
  audit_.onListed(records);
  endList();
  EXPECT_TRUE(fetched_.empty());
  EXPECT_TRUE(audit_.idle());
}

TEST_F(AuditOfCustody, GenerationsWrap) {
  table_.session(7).word.store(SlotWord{SlotState::kFree, 0, 0, 2}.encode());
  table_.session(8).word.store(SlotWord{SlotState::kFree, 0, 0, kGenerationMask}.encode());
  begin();
  Record records[] = {recordOf({7, kGenerationMask - 1}), recordOf({8, 3})};
  audit_.onListed(records);
  endList();
  ASSERT_EQ(fetched_.size(), 1u);
  EXPECT_EQ(fetched_[0].slot, 7u);
}

TEST_F(AuditOfCustody, ASlotWhoseDescriptorATakeoverWaitsForIsLeftAlone) {
  SlotRef ref = session();
  end(ref, false);
  awaited_.insert(ref.slot);
  begin();
  list();
  EXPECT_TRUE(fetched_.empty());
}

TEST_F(AuditOfCustody, IsOverWithItsChannel) {
  session(60'000, false);
  begin();
  list();
  EXPECT_FALSE(audit_.begin(now_, true)) << "one at a time";
  audit_.onBroken();
  answer();
  EXPECT_TRUE(puts_.empty());
  begin();
  list();
  answer();
  EXPECT_EQ(puts_.size(), 1u);
}

TEST_F(AuditOfCustody, GivesUpOnACustodianThatDoesNotAnswer) {
  session(60'000, false);
  begin();
  audit_.tick(now_ + CustodyAudit::kDeadlineMs - 1);
  EXPECT_FALSE(audit_.idle());
  audit_.tick(now_ + CustodyAudit::kDeadlineMs);
  EXPECT_TRUE(audit_.idle());
  list();  // the rest of the list that nobody waits for
  EXPECT_TRUE(fetched_.empty());
}

TEST_F(AuditOfCustody, ManyFaultsAreMendedAMessageAtATime) {
  for (int i = 0; i < 600; ++i) session(60'000, false);
  std::vector<SlotRef> stale;
  for (int i = 0; i < 300; ++i) stale.push_back(session());
  for (SlotRef ref : stale) end(ref, false);
  begin();
  list();
  for (int i = 0; i < 10 && !audit_.idle(); ++i) {
    EXPECT_LE(fetched_.size(), custody::kMaxRecords);
    answer();
    if (!puts_.empty()) putDone();
  }
  EXPECT_TRUE(audit_.idle());
  EXPECT_EQ(missing(), 600u);
  EXPECT_EQ(this->stale(), 300u);
  EXPECT_EQ(drops_.size(), 300u);
}

}  // namespace
}  // namespace ppx::testing
