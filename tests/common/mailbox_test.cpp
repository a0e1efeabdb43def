#include "common/mailbox.h"

#include <random>

#include "tests/common/table_testing.h"

namespace ppx {
namespace {

using testing::end;
using testing::gathered;
using testing::kAcceptor;
using testing::kForwarder;
using testing::kOtherForwarder;
using testing::kSmall;
using testing::owned;
using testing::push;
using testing::smallTable;

class Mailbox : public ::testing::Test {
 protected:
  Table table_ = smallTable();
  Journal journal_{table_, kForwarder};
  Journal otherJournal_{table_, kOtherForwarder};
  SessionTable sessions_{table_};
  SlotRef ref_ = owned(table_);
  MailOutbox outbox_;

  void SetUp() override { outbox_.attach(table_, ref_); }
  // A forwarder dies; another process takes its row and the session.
  MailOutbox takeOver(uint64_t sent, uint64_t* acknowledged = nullptr) {
    WorkerId next{kForwarder.row, static_cast<uint32_t>(++incarnation_)};
    table_.worker(kForwarder.row).incarnation.store(next.incarnation);
    EXPECT_TRUE(sessions_.reclaim(ref_, owner_, next));
    owner_ = next;
    MailOutbox successor;
    successor.attach(table_, ref_, acknowledged);
    successor.setSent(table_, journal_, sent);
    return successor;
  }
  uint32_t freeOut() { return journal_.freeCount(SegmentKind::kOut); }

  WorkerId owner_ = kForwarder;
  uint64_t incarnation_ = 100;
};

std::string pattern(size_t bytes, char first) {
  std::string out(bytes, ' ');
  for (size_t i = 0; i < bytes; ++i) out[i] = static_cast<char>(first + i % 61);
  return out;
}

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

// --- messages of a lane ---

class LaneMail : public Mailbox {
 protected:
  PushResult pushTagged(uint64_t sequence, std::string_view text, uint64_t impliedAck = 0,
                        uint16_t assignment = 0) {
    lane().cursor.store(laneCursor(sequence, ref_));
    iovec piece{const_cast<char*>(text.data()), text.size()};
    return MailPusher(table_, journal_)
        .push(ref_, {&piece, 1}, {kLane, sequence, kInstance, {impliedAck, assignment}});
  }
  bool holds(uint64_t sequence, uint64_t instance = kInstance) {
    return mailHolds(table_, ref_, {kLane, sequence, instance, 0});
  }
  LaneRow& lane() { return table_.lane(kLane); }

  static constexpr uint32_t kLane = 1;
  static constexpr uint64_t kInstance = 77;
  void SetUp() override {
    Mailbox::SetUp();
    lane().instance.store(kInstance);
  }
};

TEST_F(LaneMail, IsFoundWhileItsCursorNamesItAlsoAfterItWasSent) {
  push(table_, journal_, ref_, "before ");
  EXPECT_FALSE(holds(1));
  ASSERT_EQ(pushTagged(1, "tagged "), PushResult::kPushed);
  push(table_, journal_, ref_, "after");
  EXPECT_TRUE(holds(1));
  EXPECT_FALSE(holds(2));
  EXPECT_FALSE(holds(1, kInstance + 1)) << "another process of that upstream counts from one again";
  outbox_.collect(table_);
  EXPECT_TRUE(holds(1));
  outbox_.consume(table_, journal_, 19);
  EXPECT_TRUE(holds(1));
  EXPECT_EQ(outbox_.pending(table_), 0u);
  EXPECT_EQ(gathered(table_, outbox_), "");
  push(table_, otherJournal_, ref_, " and more");
  outbox_.collect(table_);
  EXPECT_EQ(gathered(table_, outbox_), " and more");
  outbox_.consume(table_, journal_, 4);
  EXPECT_EQ(gathered(table_, outbox_), " more");
  // The push is noted as done: nobody asks any more.
  lane().pushed.store(1);
  outbox_.consume(table_, journal_, 5);
  EXPECT_FALSE(holds(1));
  EXPECT_TRUE(outbox_.empty());
  EXPECT_EQ(freeOut(), kSmall.outSegments);
}

TEST_F(LaneMail, GoesWhenTheCursorMovesOnToAnotherSession) {
  ASSERT_EQ(pushTagged(1, pattern(1300, 'x')), PushResult::kPushed);
  outbox_.collect(table_);
  outbox_.consume(table_, journal_, 1300);
  EXPECT_FALSE(outbox_.empty());
  lane().cursor.store(laneCursor(1, {ref_.slot + 1, 0}));
  outbox_.consume(table_, journal_, 0);
  EXPECT_TRUE(outbox_.empty());
  EXPECT_EQ(freeOut(), kSmall.outSegments);
}

TEST_F(LaneMail, SurvivesItsOwnerAndGoesWithItsSession) {
  ASSERT_EQ(pushTagged(1, "tagged"), PushResult::kPushed);
  outbox_.collect(table_);
  outbox_.consume(table_, journal_, 6);
  MailOutbox successor = takeOver(6);
  EXPECT_TRUE(holds(1));
  EXPECT_EQ(gathered(table_, successor), "");
  ASSERT_TRUE(sessions_.beginClosing(ref_, owner_, CloseReason::kAdmin));
  successor.discard(table_, journal_);
  EXPECT_EQ(freeOut(), kSmall.outSegments);
}

TEST_F(LaneMail, TellsItsOwnerWhatInputItAcknowledges) {
  table_.session(ref_.slot).upstream.store(laneUpstream(kLane));
  ASSERT_EQ(pushTagged(1, "a", 100), PushResult::kPushed);
  ASSERT_EQ(pushTagged(2, "b", 90), PushResult::kPushed);
  uint64_t acknowledged = 7;
  outbox_.collect(table_, &acknowledged);
  EXPECT_EQ(acknowledged, 100u);
  // It was killed before it could act on that: its successor hears of it too.
  acknowledged = 0;
  MailOutbox().attach(table_, ref_, &acknowledged);
  EXPECT_EQ(acknowledged, 100u);
}

TEST_F(LaneMail, IsEmptiedWhenAnotherInstanceAnswersTheSameInput) {
  SessionSlot& slot = table_.session(ref_.slot);
  slot.servedBy.store(kInstance + 1);
  slot.assignment.store(3);
  ASSERT_EQ(pushTagged(1, pattern(1300, 's'), 100, 2), PushResult::kPushed);
  ASSERT_EQ(pushTagged(2, "stale too", 90), PushResult::kPushed);
  ASSERT_EQ(pushTagged(3, "no answer ", 0), PushResult::kPushed);
  ASSERT_EQ(pushTagged(4, "answer", 80, 3), PushResult::kPushed);
  uint64_t acknowledged = 0;
  EXPECT_EQ(outbox_.collect(table_, &acknowledged), 16u);
  EXPECT_EQ(acknowledged, 80u);
  EXPECT_TRUE(holds(4)) << "the one that the cursor names is found";
  EXPECT_EQ(gathered(table_, outbox_), "no answer answer");
  // A successor finds the same.
  acknowledged = 0;
  MailOutbox successor = takeOver(0, &acknowledged);
  EXPECT_EQ(acknowledged, 80u);
  EXPECT_EQ(gathered(table_, successor), "no answer answer");
  lane().pushed.store(4);
  successor.consume(table_, journal_, 16);
  EXPECT_TRUE(successor.empty());
  EXPECT_EQ(freeOut(), kSmall.outSegments);
}

TEST_F(LaneMail, ThatWasEmptiedIsFoundAsLongAsItsCursorNamesIt) {
  table_.session(ref_.slot).servedBy.store(kInstance + 1);
  ASSERT_EQ(pushTagged(1, pattern(1300, 's'), 100), PushResult::kPushed);
  outbox_.collect(table_);
  push(table_, journal_, ref_, pattern(9000, 'x'));
  outbox_.collect(table_);
  EXPECT_TRUE(holds(1));
  EXPECT_EQ(gathered(table_, outbox_), pattern(9000, 'x'));
  outbox_.consume(table_, journal_, 5000);
  EXPECT_TRUE(holds(1));
  EXPECT_EQ(gathered(table_, outbox_), pattern(9000, 'x').substr(5000));
  lane().pushed.store(1);
  outbox_.consume(table_, journal_, 4000);
  EXPECT_TRUE(outbox_.empty());
  EXPECT_EQ(freeOut(), kSmall.outSegments);
}

}  // namespace
}  // namespace ppx
