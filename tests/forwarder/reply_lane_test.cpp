// Numbered replies: pushed once each, whoever dies on the way. A crash is a failpoint that throws.
#include <gtest/gtest.h>

#include "common/failpoint.h"
#include "forwarder/reply_router.h"
#include "tests/common/table_testing.h"

namespace ppx {
namespace {

struct Killed {};
std::string_view killAt;
int passes = 0;

class ReplyLane : public ::testing::Test {
 protected:
  static constexpr uint64_t kInstance = 5;

  void SetUp() override {
    table_.worker(self_.row).incarnation.store(self_.incarnation);
    for (int i = 0; i < 4; ++i) {
      sessions_.push_back(ppx::testing::owned(table_));
      outboxes_.emplace_back().attach(table_, sessions_.back());
    }
  }
  void TearDown() override { setFailpointHook(nullptr); }

  // The next process of the row, as the supervisor lets it in.
  void successor() {
    ++self_.incarnation;
    table_.worker(self_.row).incarnation.store(self_.incarnation);
  }
  // Delivers reply `sequence` if it is due, as a stream does; false: killed on the way.
  bool deliver(uint64_t sequence, std::string_view at = {}, int pass = 1,
               ReplyTarget target = ReplyTarget::kAll) {
    Journal journal(table_, self_);
    Doorbells doorbells = std::move(*Doorbells::create());
    ReplyRouter router(table_, doorbells, journal, self_);
    auto lane = LaneWriter::claim(table_, laneIndex(0, self_.row), self_, kInstance);
    EXPECT_TRUE(lane);
    if (sequence <= lane->pushed()) return true;
    Reply reply;
    std::string text = "reply " + std::to_string(sequence) + ";";
    reply.target = target;
    reply.payload = text;
    reply.sequence = sequence;
    if (target == ReplyTarget::kClient) reply.client = SessionTable(table_).uuid(sessions_[1].slot);
    ReplyRouter::Cursor cursor;
    killAt = at;
    passes = pass;
    if (!at.empty())
      setFailpointHook([](std::string_view name) {
        if (name == killAt && --passes == 0) throw Killed();
      });
    try {
      EXPECT_TRUE(router.deliver(reply, 0, 0, cursor, &*lane));
      setFailpointHook(nullptr);
      return true;
    } catch (const Killed&) {
      setFailpointHook(nullptr);
      successor();
      return false;
    }
  }
  // All that the session's owner would send; also sends it, so that its mailbox may be freed.
  std::string heard(size_t session) {
    MailOutbox& outbox = outboxes_[session];
    Journal journal(table_, {1, 1});
    outbox.collect(table_);
    std::string bytes = ppx::testing::gathered(table_, outbox);
    outbox.consume(table_, journal, bytes.size());
    return bytes;
  }

  Table table_ = ppx::testing::smallTable();
  WorkerId self_{3, 30};
  std::vector<SlotRef> sessions_;
  std::vector<MailOutbox> outboxes_;
};

TEST_F(ReplyLane, ABroadcastGoesOnWhereACrashBrokeItOffAtEachStep) {
  uint64_t sequence = 0;
  for (const char* step :
       {"lane.aimed", "mailbox.filled", "mailbox.link", "mailbox.linked", "lane.pushed", "lane.done"}) {
    for (int pass = 1; pass <= 4; ++pass) {
      ++sequence;
      bool whole = deliver(sequence, step, pass);
      // Owners may have sent what has come so far, or not.
      std::vector<std::string> before(4);
      if (pass % 2 == 0)
        for (size_t i = 0; i < 4; ++i) before[i] = heard(i);
      EXPECT_TRUE(whole || deliver(sequence));
      for (size_t i = 0; i < 4; ++i)
        EXPECT_EQ(before[i] + heard(i), "reply " + std::to_string(sequence) + ";") << step << " " << pass;
    }
  }
}

TEST_F(ReplyLane, ACrashInARowComesThroughSeveralSuccessors) {
  EXPECT_FALSE(deliver(1, "mailbox.linked", 1));
  EXPECT_FALSE(deliver(1, "lane.aimed", 1));
  EXPECT_EQ(heard(0), "reply 1;");
  EXPECT_FALSE(deliver(1, "mailbox.link", 2));
  EXPECT_FALSE(deliver(1, "lane.pushed", 1));
  EXPECT_TRUE(deliver(1));
  EXPECT_TRUE(deliver(1)) << "sent once more";
  for (size_t i = 0; i < 4; ++i) EXPECT_EQ(heard(i), i == 0 ? "" : "reply 1;");
}

TEST_F(ReplyLane, AReplyToOneClientIsPushedOnce) {
  for (uint64_t sequence = 1;
       const char* step : {"lane.aimed", "mailbox.link", "mailbox.linked", "lane.pushed"}) {
    EXPECT_FALSE(deliver(sequence, step, 1, ReplyTarget::kClient));
    std::string before = sequence % 2 == 0 ? heard(1) : "";
    EXPECT_TRUE(deliver(sequence, {}, 1, ReplyTarget::kClient));
    EXPECT_EQ(before + heard(1), "reply " + std::to_string(sequence) + ";") << step;
    EXPECT_EQ(heard(0) + heard(2) + heard(3), "");
    ++sequence;
  }
}

TEST_F(ReplyLane, ASessionThatEndsMeanwhileIsPassedOver) {
  EXPECT_FALSE(deliver(1, "mailbox.linked", 2));
  Journal journal(table_, {1, 1});
  SlotWord word = SessionTable(table_).word(sessions_[1].slot);
  const WorkerId owner{word.worker, word.incarnation};
  ASSERT_TRUE(SessionTable(table_).beginClosing(sessions_[1], owner, CloseReason::kAdmin));
  outboxes_[1].discard(table_, journal);
  ASSERT_TRUE(SessionTable(table_).release(sessions_[1], owner));
  EXPECT_TRUE(deliver(1));
  EXPECT_EQ(heard(0), "reply 1;");
  EXPECT_EQ(heard(2), "reply 1;");
  EXPECT_EQ(heard(3), "reply 1;");
}

TEST_F(ReplyLane, AnotherInstanceOfTheUpstreamCountsFromOneAgain) {
  EXPECT_TRUE(deliver(1));
  EXPECT_TRUE(deliver(2));
  auto lane = LaneWriter::claim(table_, laneIndex(0, self_.row), self_, kInstance + 1);
  ASSERT_TRUE(lane);
  EXPECT_EQ(lane->pushed(), 0u);
}

TEST_F(ReplyLane, BelongsToOneLivingProcess) {
  ASSERT_TRUE(LaneWriter::claim(table_, laneIndex(0, 3), self_, kInstance));
  const WorkerId other{4, 31};
  table_.worker(other.row).incarnation.store(other.incarnation);
  EXPECT_FALSE(LaneWriter::claim(table_, laneIndex(0, 3), other, kInstance));
  table_.worker(3).incarnation.store(0);
  auto adopted = LaneWriter::claim(table_, laneIndex(0, 3), other, kInstance);
  ASSERT_TRUE(adopted);
  successor();
  EXPECT_FALSE(LaneWriter::claim(table_, laneIndex(0, 3), self_, kInstance));
  adopted->release(true);
  EXPECT_TRUE(LaneWriter::claim(table_, laneIndex(0, 3), self_, kInstance));
}

}  // namespace
}  // namespace ppx
