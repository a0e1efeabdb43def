#include <gtest/gtest.h>
#include <sys/socket.h>

#include "session_bench.h"

namespace ppx {
namespace {

// Streams that are half-closed because their sessions are handed over (upstream_quiesce.cpp).
class QuiesceTest : public testing::Test {
 protected:
  QuiesceTest() {
    bench_.links.setQuietHandler(
        [this](uint32_t upstream, bool proven) { quiet_.emplace_back(upstream, proven); });
  }
  void send(std::string_view bytes) {
    ASSERT_EQ(::send(client_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }
  StreamState streamState(uint32_t upstream) {
    return lifeState<StreamState>(bench_.table().upstream(upstream).streams[0].load());
  }
  StreamId streamTo(uint32_t upstream) {
    StreamId found = 0;
    for (auto& [stream, to] : bench_.port.upstreamOf)
      if (to == upstream) found = stream;
    return found;
  }
  bool queued(size_t count, int ms = 5000) {
    return bench_.runUntil([&] { return bench_.port.queued.size() == count; }, ms);
  }

  SessionBench bench_;
  UniqueFd client_;
  std::vector<std::pair<uint32_t, bool>> quiet_;
};

TEST_F(QuiesceTest, IsQuietOnceTheUpstreamHasEndedItsStreamAndOpensNoOther) {
  bench_.readyUpstream(0);
  Session& session = bench_.connect(client_);
  ASSERT_TRUE(bench_.links.quiesce(0));
  EXPECT_EQ(bench_.port.halfClosed, std::vector<StreamId>{streamTo(0)});
  EXPECT_TRUE(quiet_.empty());
  send("waits in the journal");
  EXPECT_FALSE(queued(1, 100));
  bench_.port.ended(streamTo(0), true);
  bench_.links.collect();
  ASSERT_EQ(quiet_, (std::vector<std::pair<uint32_t, bool>>{{0, true}}));
  bench_.readyUpstream(0);
  EXPECT_EQ(streamState(0), StreamState::kNone);
  EXPECT_EQ(session.upstream(), 0u) << "it keeps its upstream";
  EXPECT_EQ(bench_.links.streams(), 0u);
}

TEST_F(QuiesceTest, AfterReopeningWhatWaitedGoesToTheSameUpstream) {
  bench_.readyUpstream(0);
  bench_.connect(client_);
  ASSERT_TRUE(bench_.links.quiesce(0));
  send("later");
  bench_.port.ended(streamTo(0), true);
  bench_.links.collect();
  bench_.links.reopen(0);
  bench_.port.opened(streamTo(0));
  ASSERT_TRUE(queued(1));
  EXPECT_EQ(bench_.port.queued[0].bytes, "later");
}

TEST_F(QuiesceTest, WithoutAStreamThereIsNothingToWaitFor) {
  EXPECT_FALSE(bench_.links.quiesce(0));
  bench_.readyUpstream(0);
  EXPECT_EQ(bench_.links.streams(), 0u) << "held: none is opened";
  bench_.links.reopen(0);
  EXPECT_EQ(bench_.links.streams(), 1u);
}

TEST_F(QuiesceTest, AStreamThatNeverEndsLingersAfterBarrierTimeoutAndIsCancelledAfterDrainMax) {
  bench_.table().header().barrierTimeoutMs.store(2000);
  bench_.table().header().drainMaxMs.store(10'000);
  bench_.readyUpstream(0);
  bench_.connect(client_);
  ASSERT_TRUE(bench_.links.quiesce(0));
  const StreamId stream = streamTo(0);
  const Millis now = monotonicMillis();
  bench_.links.tick(now + bench_.table().header().barrierTimeoutMs.load() + 1);
  ASSERT_EQ(quiet_, (std::vector<std::pair<uint32_t, bool>>{{0, false}}));
  EXPECT_EQ(bench_.links.lingering(), 1u);
  EXPECT_TRUE(bench_.port.cancelled.empty()) << "what the upstream still sends is delivered";
  bench_.links.tick(now + bench_.table().header().drainMaxMs.load() + 1);
  EXPECT_EQ(bench_.port.cancelled, std::vector<StreamId>{stream});
  bench_.port.ended(stream, false);
  bench_.links.collect();
  EXPECT_EQ(bench_.links.lingering(), 0u);
  EXPECT_EQ(quiet_.size(), 1u);
}

TEST_F(QuiesceTest, AStreamThatBreaksMeanwhileProvesNothing) {
  bench_.readyUpstream(0);
  bench_.connect(client_);
  ASSERT_TRUE(bench_.links.quiesce(0));
  bench_.port.ended(streamTo(0), false);
  bench_.links.collect();
  EXPECT_EQ(quiet_, (std::vector<std::pair<uint32_t, bool>>{{0, false}}));
}

TEST_F(QuiesceTest, AnUpstreamThatGoesDownMeanwhileHoldsNobodyUp) {
  bench_.readyUpstream(0);
  bench_.connect(client_);
  ASSERT_TRUE(bench_.links.quiesce(0));
  bench_.setUpstream(0, UpstreamLife::kActive, UpstreamHealth::kDown);
  EXPECT_EQ(quiet_, (std::vector<std::pair<uint32_t, bool>>{{0, false}}));
}

TEST_F(QuiesceTest, ASuccessorOpensItsStreamWhenItsPredecessorHasNoneLeft) {
  constexpr uint8_t kPredecessorRow = 7;
  WorkerRow& row = bench_.table().worker(kPredecessorRow);
  row.incarnation.store(77);
  auto theirs = [&](StreamState state) {
    bench_.table().upstream(0).streams[kPredecessorRow].store(
        lifeWord(lifeGeneration(bench_.table().upstream(0).life.load()), static_cast<uint8_t>(state)));
  };
  bench_.links.follow({kPredecessorRow, 77});
  theirs(StreamState::kOpen);
  bench_.setUpstream(0, UpstreamLife::kActive, UpstreamHealth::kReady);
  theirs(StreamState::kOpen);
  bench_.links.sync();
  EXPECT_EQ(bench_.links.streams(), 0u);
  theirs(StreamState::kDraining);
  bench_.links.sync();
  EXPECT_EQ(bench_.links.streams(), 0u);
  theirs(StreamState::kNone);
  bench_.links.sync();
  EXPECT_EQ(bench_.links.streams(), 1u);
}

TEST_F(QuiesceTest, ASuccessorDoesNotWaitForADeadPredecessor) {
  bench_.links.follow({7, 77});
  bench_.setUpstream(0, UpstreamLife::kActive, UpstreamHealth::kReady);
  bench_.links.sync();
  EXPECT_EQ(bench_.links.streams(), 1u);
}

}  // namespace
}  // namespace ppx
