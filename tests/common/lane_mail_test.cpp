// Messages of a lane: whoever goes on with it recognises them, and they are kept while its cursor names the slot.
#include "tests/common/mailbox_fixture.h"

namespace ppx {
namespace {

using testing::gathered;
using testing::kSmall;
using testing::Mailbox;
using testing::pattern;
using testing::push;

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
