// Which lanes a stream has: its own row's, and orphans, as long as it can tell its upstream of them.
#include "forwarder/stream_extension.h"

#include <gtest/gtest.h>

#include "tests/common/table_testing.h"

namespace ppx {
namespace {

constexpr uint32_t kUpstream = 1;
constexpr Millis kNow = 100'000;

class StreamExtensionTest : public ::testing::Test {
 protected:
  struct Process {
    WorkerId id;
    LaneBook book;
  };
  void SetUp() override {
    for (const Process* each : {&mine_, &other_})
      table_.worker(each->id.row).incarnation.store(each->id.incarnation);
  }
  std::unique_ptr<StreamExtension> opened(Process& process) {
    StreamTarget target;
    target.upstream = kUpstream;
    auto stream = std::make_unique<StreamExtension>(table_, process.id, Uuid{1, 2}, target, process.book);
    Reply hello;
    hello.isHello = true;
    hello.version = kExtensionsVersion;
    hello.capabilities = kEvents | kClose | kResume;
    hello.instance = "an instance";
    EXPECT_EQ(stream->accept(hello), "");
    return stream;
  }
  LaneRow& laneOf(const Process& process) { return table_.lane(laneIndex(kUpstream, process.id.row)); }

  Table table_ =
      std::move(*Table::create({.sessionSlots = 8, .inSegments = 8, .outSegments = 8, .upstreamSlots = 2}));
  Process mine_{{3, 30}, {}}, other_{{4, 40}, {}};
};

TEST_F(StreamExtensionTest, NumbersAttachmentsOfALaneWhoeverMakesThem) {
  auto first = opened(mine_);
  first->tick(kNow, true);
  auto attachment = first->news();
  ASSERT_EQ(attachment.size(), 1u);
  EXPECT_TRUE(attachment[0].attach);
  EXPECT_EQ(attachment[0].claim, 1u);
  first->releaseAll(true);
  auto lent = opened(other_);
  lent->tick(kNow, true);
  uint64_t claim = 0;
  for (const LanePosition& each : lent->news())
    if (each.lane == attachment[0].lane) claim = each.claim;
  EXPECT_EQ(claim, 2u);
  auto again = opened(mine_);
  again->tick(kNow, true);
  EXPECT_EQ(laneOf(mine_).wanted.load(), mine_.id.incarnation);
  lent->tick(kNow, true);
  again->tick(kNow, true);
  attachment = again->news();
  ASSERT_EQ(attachment.size(), 1u);
  EXPECT_EQ(attachment[0].claim, 3u);
}

// It could tell nobody: the lane's replies would wait for the end of this stream.
TEST_F(StreamExtensionTest, TakesNoLaneOnceItsStreamIsHalfClosed) {
  auto theirs = opened(other_);
  theirs->tick(kNow, true);
  theirs->releaseAll(true);
  auto stream = opened(mine_);
  stream->tick(kNow, false);
  EXPECT_EQ(stream->lane(0), nullptr);
  EXPECT_TRUE(LaneWriter::isFree(table_, laneIndex(kUpstream, mine_.id.row)));
  EXPECT_TRUE(LaneWriter::isFree(table_, laneIndex(kUpstream, other_.id.row)));
  stream->tick(kNow, true);
  EXPECT_NE(stream->lane(0), nullptr);
  EXPECT_FALSE(LaneWriter::isFree(table_, laneIndex(kUpstream, other_.id.row)));
}

TEST_F(StreamExtensionTest, WantsItsLaneNoMoreOnceItsStreamIsHalfClosed) {
  auto first = opened(mine_);
  first->tick(kNow, true);
  first->releaseAll(true);
  auto lent = opened(other_);
  lent->tick(kNow, true);
  auto stream = opened(mine_);
  stream->tick(kNow, true);
  EXPECT_TRUE(LaneWriter::isWanted(table_, laneIndex(kUpstream, mine_.id.row)));
  stream->tick(kNow, false);
  EXPECT_FALSE(LaneWriter::isWanted(table_, laneIndex(kUpstream, mine_.id.row)));
}

TEST_F(StreamExtensionTest, LeavesTheLaneWithTheNextStreamOfItsProcess) {
  auto old = opened(mine_), next = opened(mine_);
  old->tick(kNow, true);
  next->tick(kNow, true);
  ASSERT_NE(next->lane(0), nullptr);
  old->tick(kNow, false);
  EXPECT_NE(next->lane(0), nullptr) << "the half-closed stream has taken it back";
  old->releaseAll(true);
  EXPECT_FALSE(LaneWriter::isFree(table_, laneIndex(kUpstream, mine_.id.row)));
}

}  // namespace
}  // namespace ppx
