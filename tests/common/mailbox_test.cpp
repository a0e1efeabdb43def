#include <random>

#include "tests/common/mailbox_fixture.h"

namespace ppx {
namespace {

using testing::end;
using testing::gathered;
using testing::kAcceptor;
using testing::kForwarder;
using testing::kOtherForwarder;
using testing::kSmall;
using testing::Mailbox;
using testing::owned;
using testing::pattern;
using testing::push;

TEST_F(Mailbox, DeliversInTheOrderOfTheLinks) {
  push(table_, journal_, ref_, "one ");
  push(table_, otherJournal_, ref_, "two ");
  push(table_, journal_, ref_, "three");
  EXPECT_EQ(outbox_.collect(table_), 13u);
  EXPECT_EQ(outbox_.collect(table_), 0u);
  EXPECT_EQ(outbox_.pending(table_), 13u);
  EXPECT_EQ(gathered(table_, outbox_), "one two three");
  outbox_.consume(table_, journal_, 13);
  EXPECT_TRUE(outbox_.empty());
  EXPECT_EQ(freeOut(), kSmall.outSegments);
}

TEST_F(Mailbox, AMessageOfManyPiecesAndSegmentsIsOne) {
  std::string a = pattern(700, 'a'), b = pattern(1, 'b'), c = pattern(3000, 'c');
  iovec pieces[] = {{a.data(), a.size()}, {b.data(), 0}, {b.data(), b.size()}, {c.data(), c.size()}};
  ASSERT_EQ(MailPusher(table_, journal_).push(ref_, pieces), PushResult::kPushed);
  EXPECT_EQ(freeOut(), kSmall.outSegments - 8);
  EXPECT_EQ(outbox_.collect(table_), 3701u);
  EXPECT_EQ(gathered(table_, outbox_), a + b + c);
  outbox_.consume(table_, journal_, 3700);
  EXPECT_EQ(gathered(table_, outbox_), c.substr(2999));
  EXPECT_EQ(freeOut(), kSmall.outSegments - 8);  // a message goes as a whole
  outbox_.consume(table_, journal_, 1);
  EXPECT_EQ(freeOut(), kSmall.outSegments);
}

TEST_F(Mailbox, AnEmptyMessageIsNone) {
  EXPECT_EQ(push(table_, journal_, ref_, ""), PushResult::kPushed);
  EXPECT_EQ(outbox_.collect(table_), 0u);
  EXPECT_EQ(freeOut(), kSmall.outSegments);
}

TEST_F(Mailbox, WithoutSegmentsNothingIsPushed) {
  std::string most = pattern(kSegmentBytes * (kSmall.outSegments - 1), 'a');
  ASSERT_EQ(push(table_, journal_, ref_, most), PushResult::kPushed);
  EXPECT_EQ(push(table_, journal_, ref_, pattern(513, 'b')), PushResult::kNoSegments);
  EXPECT_EQ(freeOut(), 1u);
  EXPECT_EQ(push(table_, journal_, ref_, "x"), PushResult::kPushed);
  outbox_.collect(table_);
  EXPECT_EQ(gathered(table_, outbox_, 1024), most + "x");
}

TEST_F(Mailbox, TakesNoMailOnceItsSessionCloses) {
  ASSERT_EQ(push(table_, journal_, ref_, "before"), PushResult::kPushed);
  ASSERT_TRUE(sessions_.beginClosing(ref_, kForwarder, CloseReason::kAdmin));
  EXPECT_EQ(push(table_, journal_, ref_, "after"), PushResult::kGone);
  EXPECT_EQ(outbox_.collect(table_), 6u);
  EXPECT_EQ(gathered(table_, outbox_), "before");
  outbox_.discard(table_, journal_);
  EXPECT_EQ(freeOut(), kSmall.outSegments);
}

TEST_F(Mailbox, AClaimedSlotTakesNoMailYetAndAHandoffDoes) {
  SlotRef ref = testing::claimed(table_);
  EXPECT_EQ(push(table_, journal_, ref, "x"), PushResult::kGone);
  ASSERT_TRUE(sessions_.handoff(ref, kAcceptor, 1));
  EXPECT_EQ(push(table_, journal_, ref, "x"), PushResult::kPushed);
  ASSERT_TRUE(sessions_.own(ref, kOtherForwarder));
  MailOutbox outbox;
  outbox.attach(table_, ref);
  EXPECT_EQ(outbox.collect(table_), 1u);
}

TEST_F(Mailbox, APushToAnEarlierLifeIsRefused) {
  SlotRef old = ref_;
  end(table_, journal_, ref_, kForwarder);
  SlotRef next = owned(table_);
  ASSERT_EQ(next.slot, old.slot);
  EXPECT_EQ(push(table_, journal_, old, "late"), PushResult::kGone);
  EXPECT_EQ(push(table_, journal_, {next.slot, next.generation + 1}, "early"), PushResult::kGone);
  MailOutbox outbox;
  outbox.attach(table_, next);
  EXPECT_EQ(outbox.collect(table_), 0u);
  EXPECT_EQ(freeOut(), kSmall.outSegments);
}

// What a pusher that stalls between reading the head and linking does, by hand.
TEST_F(Mailbox, ALinkPreparedInAnEarlierLifeFailsInALaterOne) {
  uint64_t seen = table_.session(ref_.slot).mailHead.load();
  end(table_, journal_, ref_, kForwarder);
  uint64_t closed = table_.session(ref_.slot).mailHead.load();
  owned(table_);
  for (uint64_t expected : {seen, closed}) {
    uint64_t wanted = MailHead{false, MailHead::decode(expected).ticket + 1, 130}.encode();
    EXPECT_FALSE(table_.session(ref_.slot).mailHead.compare_exchange_strong(expected, wanted));
  }
}

TEST_F(Mailbox, ASlotThatWasOnlyClaimedLeavesAClosedMailbox) {
  SlotRef ref = testing::claimed(table_);
  ASSERT_TRUE(sessions_.release(ref, kAcceptor));
  EXPECT_TRUE(MailHead::decode(table_.session(ref.slot).mailHead.load()).closed);
}

TEST_F(Mailbox, AfterATakeOverStampedAndUnstampedMessagesAreFoundAgain) {
  std::string a = pattern(1500, 'a'), b = pattern(513, 'b'), c = pattern(40, 'c');
  push(table_, journal_, ref_, a);
  push(table_, journal_, ref_, b);
  outbox_.collect(table_);
  push(table_, otherJournal_, ref_, c);  // never seen by the owner that died
  MailOutbox successor = takeOver(1499);
  EXPECT_EQ(gathered(table_, successor), a.substr(1499) + b);
  EXPECT_EQ(successor.collect(table_), 40u);
  EXPECT_EQ(gathered(table_, successor), a.substr(1499) + b + c);
  successor.consume(table_, journal_, 1 + 513 + 40);
  EXPECT_TRUE(successor.empty());
  EXPECT_EQ(freeOut(), kSmall.outSegments);
}

TEST_F(Mailbox, WhatThePredecessorHadNotedAsSentAndNotFreedGoesAtOnce) {
  push(table_, journal_, ref_, "all of it");
  outbox_.collect(table_);
  table_.session(ref_.slot).outSent.store(9);  // killed right after
  MailOutbox successor = takeOver(9);
  EXPECT_TRUE(successor.empty());
  EXPECT_EQ(freeOut(), kSmall.outSegments);
}

TEST_F(Mailbox, AMessageHalfTakenByADeadOwnerIsTakenAgain) {
  std::string a = pattern(1500, 'a');
  push(table_, otherJournal_, ref_, a);
  MailHead head = MailHead::decode(table_.session(ref_.slot).mailHead.load());
  table_.segment(head.segment)
      .word.store(SegmentWord{SegmentKind::kOut, ref_.slot, ref_.generation, 0}.encode());
  MailOutbox successor = takeOver(0);
  EXPECT_EQ(successor.collect(table_), 1500u);
  EXPECT_EQ(gathered(table_, successor), a);
}

TEST_F(Mailbox, AStampWhoseTotalWasNotNotedYetCounts) {
  push(table_, journal_, ref_, "first");
  outbox_.collect(table_);
  push(table_, journal_, ref_, "second");
  MailHead head = MailHead::decode(table_.session(ref_.slot).mailHead.load());
  table_.segment(head.segment)
      .word.store(SegmentWord{SegmentKind::kOut, ref_.slot, ref_.generation, 0}.encode());
  table_.segment(head.segment).startOffset.store(5);
  MailOutbox successor = takeOver(0);
  EXPECT_EQ(table_.session(ref_.slot).outStamped.load(), 11u);
  EXPECT_EQ(successor.collect(table_), 0u);
  EXPECT_EQ(gathered(table_, successor), "firstsecond");
}

TEST_F(Mailbox, ReclaimsWhatDeadOwnersAndPushersLeftAndNothingElse) {
  std::string two = pattern(1000, 'a');
  push(table_, journal_, ref_, two);
  push(table_, journal_, ref_, "kept");
  outbox_.collect(table_);
  // The owner dies after it has noted the first message as freed, before its segments are.
  table_.session(ref_.slot).outSent.store(1000);
  table_.session(ref_.slot).mailFreed.store(
      MailHead::decode(table_.session(ref_.slot).mailHead.load()).ticket - 1);
  // One pusher dies before its link, one is alive, one has linked and died.
  Journal dead(table_, {5, 55});
  table_.worker(5).incarnation.store(55);
  dead.claimMail(ref_);
  std::string linked = "linked";
  const iovec piece{linked.data(), linked.size()};
  ASSERT_EQ(
      MailPusher(table_, dead).push(ref_, {&piece, 1}, {.lane = 1, .sequence = 1, .impliedAck = {77, 0}}),
      PushResult::kPushed);
  table_.worker(5).incarnation.store(0);
  otherJournal_.claimMail(ref_);
  MailOutbox successor = takeOver(1000);
  auto found = journal_.outSegmentsOf([&](uint32_t slot) { return slot == ref_.slot; });
  uint64_t acknowledged = 0;
  EXPECT_EQ(successor.reclaimUnreachable(table_, journal_, found[ref_.slot], &acknowledged), 3u);
  EXPECT_EQ(acknowledged, 77u) << "what the message that it stamped implies";
  EXPECT_EQ(successor.reclaimUnreachable(table_, journal_, found[ref_.slot]), 0u);
  EXPECT_EQ(gathered(table_, successor), "keptlinked");
  EXPECT_EQ(freeOut(), kSmall.outSegments - 3);  // kept, linked, and the living pusher's
}

// Pushes, collections, sends of any length and take-overs against a string that says what must come.
TEST_F(Mailbox, IsAByteStreamAtAnyCut) {
  uint64_t seed = testing::environmentNumber("PPX_SEED", 42);
  std::mt19937_64 random(seed);
  std::string expected, out;  // pushed; sent
  size_t checked = 0;
  for (int step = 0; step < 20000; ++step) {
    switch (random() % 5) {
      case 0:
      case 1: {
        size_t sizes[] = {1, 511, 512, 513, 1024, random() % 2000 + 1};
        std::string text = pattern(sizes[random() % 6], static_cast<char>('0' + random() % 40));
        Journal& journal = random() % 2 == 0 ? journal_ : otherJournal_;
        if (push(table_, journal, ref_, text) == PushResult::kPushed) expected += text;
        break;
      }
      case 2:
        outbox_.collect(table_);
        break;
      case 3: {
        std::string now = gathered(table_, outbox_, 1 + random() % 20);
        ASSERT_LE(now.size(), outbox_.pending(table_));
        size_t take = now.empty() ? 0 : random() % (now.size() + 1);
        if (random() % 3 == 0) take = now.size();
        out += now.substr(0, take);
        outbox_.consume(table_, journal_, take);
        break;
      }
      case 4:
        if (random() % 10 == 0) {
          // Sometimes the kernel had taken more than the dead one had noted.
          std::string now = gathered(table_, outbox_, 4);
          size_t unnoted = now.empty() ? 0 : random() % (now.size() + 1);
          out += now.substr(0, unnoted);
          outbox_ = takeOver(out.size());
        }
        break;
    }
    ASSERT_LE(out.size(), expected.size());
    ASSERT_EQ(expected.compare(checked, out.size() - checked, out, checked, out.size() - checked), 0)
        << "seed " << seed << " step " << step;
    checked = out.size();
  }
  outbox_.collect(table_);
  while (outbox_.pending(table_) > 0) {
    std::string now = gathered(table_, outbox_);
    ASSERT_FALSE(now.empty());
    out += now;
    outbox_.consume(table_, journal_, now.size());
  }
  EXPECT_EQ(out, expected);
  EXPECT_GT(out.size(), 1u << 20);
  EXPECT_EQ(freeOut(), kSmall.outSegments);
}

}  // namespace
}  // namespace ppx
