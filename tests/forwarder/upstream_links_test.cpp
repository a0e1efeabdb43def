#include <gtest/gtest.h>
#include <sys/socket.h>

#include "session_bench.h"

namespace ppx {
namespace {

class UpstreamLinksTest : public testing::Test {
 protected:
  void send(int socket, std::string_view bytes) {
    ASSERT_EQ(::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
  }
  bool queued(size_t count) {
    return bench_.runUntil([&] { return bench_.port.queued.size() == count; });
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

  SessionBench bench_;
  UniqueFd client_;
};

TEST_F(UpstreamLinksTest, OneStreamToEachReadyUpstream) {
  bench_.readyUpstream(0);
  bench_.readyUpstream(1);
  bench_.links.sync();
  EXPECT_EQ(bench_.port.upstreamOf.size(), 2u);
  EXPECT_EQ(streamState(0), StreamState::kOpen);
  EXPECT_EQ(streamState(1), StreamState::kOpen);
}

TEST_F(UpstreamLinksTest, SessionsOfABrokenStreamGoOnElsewhereWithWhatWasNotTaken) {
  bench_.readyUpstream(0);
  Session& session = bench_.connect(client_);
  send(client_.get(), "unanswered");
  ASSERT_TRUE(queued(1));
  bench_.readyUpstream(1);
  bench_.port.ended(streamTo(0), false);
  bench_.links.collect();
  EXPECT_EQ(session.upstream(), 1u);
  ASSERT_TRUE(queued(1));
  EXPECT_EQ(bench_.port.queued[0].stream, streamTo(1));
  EXPECT_EQ(bench_.port.queued[0].bytes, "unanswered");
}

TEST_F(UpstreamLinksTest, WhatWasWrittenIsNotSentAgain) {
  bench_.readyUpstream(0);
  bench_.connect(client_);
  send(client_.get(), "taken");
  ASSERT_TRUE(queued(1));
  bench_.port.written(streamTo(0));
  bench_.readyUpstream(1);
  bench_.port.ended(streamTo(0), false);
  send(client_.get(), "next");
  ASSERT_TRUE(queued(1));
  EXPECT_EQ(bench_.port.queued[0].bytes, "next");
}

TEST_F(UpstreamLinksTest, AStreamThatTheUpstreamEndsIsOpenedAgainAndItsSessionsStay) {
  bench_.readyUpstream(0);
  bench_.readyUpstream(1);
  Session& session = bench_.connect(client_);
  uint32_t upstream = session.upstream();
  StreamId before = streamTo(upstream);
  bench_.port.ended(before, true);
  ASSERT_TRUE(bench_.runUntil([&] {
    bench_.links.tick(monotonicMillis());
    return streamTo(upstream) != before;
  }));
  bench_.port.opened(streamTo(upstream));
  send(client_.get(), "again");
  ASSERT_TRUE(queued(1));
  EXPECT_EQ(session.upstream(), upstream);
  EXPECT_EQ(bench_.port.queued[0].stream, streamTo(upstream));
}

TEST_F(UpstreamLinksTest, ADownUpstreamIsCancelledAndItsSessionsMove) {
  bench_.readyUpstream(0);
  Session& session = bench_.connect(client_);
  bench_.readyUpstream(1);
  bench_.setUpstream(0, UpstreamLife::kActive, UpstreamHealth::kDown);
  EXPECT_EQ(bench_.port.cancelled, std::vector<StreamId>{streamTo(0)});
  EXPECT_EQ(session.upstream(), 1u);
}

TEST_F(UpstreamLinksTest, APayloadInFlightIsSettledBeforeItsSessionGoesOn) {
  bench_.readyUpstream(0);
  bench_.connect(client_);
  send(client_.get(), "in flight");
  ASSERT_TRUE(queued(1));
  bench_.readyUpstream(1);
  bench_.setUpstream(0, UpstreamLife::kActive, UpstreamHealth::kDown);
  EXPECT_EQ(bench_.port.queued.size(), 1u);  // not sent to the other one as well
  bench_.port.written(streamTo(0));          // it was taken after all
  bench_.port.ended(streamTo(0), false);
  send(client_.get(), "+");
  ASSERT_TRUE(queued(1));
  EXPECT_EQ(bench_.port.queued[0].bytes, "+");
}

TEST_F(UpstreamLinksTest, ADrainedUpstreamKeepsItsSessionsUntilItHasEndedTheStream) {
  bench_.readyUpstream(0);
  Session& session = bench_.connect(client_);
  bench_.readyUpstream(1);
  bench_.setUpstream(0, UpstreamLife::kDraining, UpstreamHealth::kReady);
  EXPECT_EQ(bench_.port.halfClosed, std::vector<StreamId>{streamTo(0)});
  EXPECT_TRUE(bench_.port.cancelled.empty());
  send(client_.get(), "later");
  EXPECT_FALSE(bench_.runUntil([&] { return !bench_.port.queued.empty(); }, 200));
  EXPECT_EQ(session.upstream(), 0u);
  bench_.port.ended(streamTo(0), true);
  ASSERT_TRUE(queued(1));
  EXPECT_EQ(session.upstream(), 1u);
  EXPECT_EQ(bench_.port.queued[0].bytes, "later");
  EXPECT_EQ(bench_.ended.size(), 1u);
  EXPECT_EQ(streamState(0), StreamState::kNone);
}

TEST_F(UpstreamLinksTest, WhatIsQueuedForADrainedUpstreamComesBackAndGoesToTheNext) {
  bench_.readyUpstream(0);
  bench_.connect(client_);
  send(client_.get(), "not yet written");
  ASSERT_TRUE(queued(1));
  bench_.readyUpstream(1);
  bench_.setUpstream(0, UpstreamLife::kDraining, UpstreamHealth::kReady);
  bench_.port.ended(streamTo(0), true);
  ASSERT_TRUE(queued(1));
  EXPECT_EQ(bench_.port.queued[0].stream, streamTo(1));
  EXPECT_EQ(bench_.port.queued[0].bytes, "not yet written");
}

TEST_F(UpstreamLinksTest, WhoWaitedForADrainedUpstreamWaitsForTheNextOneToo) {
  // Few bytes make a stream behind here, so several clients wait for each of the two.
  bench_.readyUpstream(0);
  std::vector<UniqueFd> clients(12);
  for (UniqueFd& client : clients) {
    bench_.connect(client);
    std::string much(20'000, 'm');
    ASSERT_EQ(::send(client.get(), much.data(), much.size(), MSG_NOSIGNAL), 20'000);
  }
  size_t waiting = 0;
  ASSERT_TRUE(bench_.runUntil([&] {
    waiting = 0;
    bench_.sessions.forEach([&](Session& session) { waiting += session.waitsInQueue ? 1 : 0; });
    return waiting > 0;
  })) << "nobody waited, so this shows nothing";
  bench_.readyUpstream(1);
  bench_.setUpstream(0, UpstreamLife::kDraining, UpstreamHealth::kReady);
  bench_.port.ended(streamTo(0), true);
  size_t passed = 0;
  EXPECT_TRUE(bench_.runUntil([&] {
    for (; !bench_.port.queued.empty(); bench_.port.written(streamTo(1))) {
      passed += bench_.port.queued[0].bytes.size();
      EXPECT_EQ(bench_.port.queued[0].stream, streamTo(1));
    }
    return passed == clients.size() * 20'000;
  })) << passed;
}

TEST_F(UpstreamLinksTest, AfterTheBarrierTimeoutSessionsMoveAnywayAndTheStreamLingers) {
  bench_.table().header().barrierTimeoutMs.store(50);
  bench_.readyUpstream(0);
  Session& session = bench_.connect(client_);
  bench_.readyUpstream(1);
  bench_.setUpstream(0, UpstreamLife::kDraining, UpstreamHealth::kReady);
  ASSERT_TRUE(bench_.runUntil([&] {
    bench_.links.tick(monotonicMillis());
    return session.upstream() == 1;
  }));
  EXPECT_TRUE(bench_.port.cancelled.empty());
  EXPECT_EQ(streamState(0), StreamState::kDraining);
}

TEST_F(UpstreamLinksTest, AnAttemptThatNeitherOpensNorFailsIsGivenUp) {
  bench_.setUpstream(0, UpstreamLife::kActive, UpstreamHealth::kReady);
  ASSERT_EQ(streamState(0), StreamState::kConnecting);
  bench_.links.tick(monotonicMillis() + 9'000);
  EXPECT_TRUE(bench_.port.cancelled.empty());
  bench_.links.tick(monotonicMillis() + 11'000);
  EXPECT_EQ(bench_.port.cancelled, std::vector<StreamId>{streamTo(0)});
}

TEST_F(UpstreamLinksTest, ASlowUpstreamPausesItsOwnSessionsOnly) {
  bench_.readyUpstream(0);
  std::vector<UniqueFd> slow(4);
  for (UniqueFd& client : slow) bench_.connect(client);
  for (UniqueFd& client : slow) {
    std::string much(300'000, 'm');
    ::send(client.get(), much.data(), much.size(), MSG_DONTWAIT);
  }
  bench_.runUntil([] { return false; }, 300);
  uint64_t held = bench_.table().sizes().inSegments - bench_.journal().freeCount(SegmentKind::kIn);
  EXPECT_LT(held, bench_.table().sizes().inSegments / 2) << "one upstream holds the journal of all";
  bench_.readyUpstream(1);
  UniqueFd quick;
  Session* session = &bench_.connect(quick);
  while (session->upstream() != 1) session = &bench_.connect(quick);
  size_t before = bench_.port.queued.size();
  send(quick.get(), "quick");
  ASSERT_TRUE(queued(before + 1));
  EXPECT_EQ(bench_.port.queued.back().stream, streamTo(1));
}

TEST_F(UpstreamLinksTest, WithoutAnUpstreamSessionsWaitUntilTheTimeout) {
  bench_.table().listener(0).noUpstreamTimeoutMs.store(150);
  Session& session = bench_.connect(client_);
  ASSERT_TRUE(bench_.runUntil([&] { return session.phase() != SessionPhase::kOpen; }));
  EXPECT_EQ(session.slot().closeReason.load(), static_cast<uint32_t>(CloseReason::kNoUpstream));
}

TEST_F(UpstreamLinksTest, WithUpstreamLossCloseASessionWithTrafficEndsAndAQuietOneGoesOn) {
  bench_.table().listener(0).closeOnUpstreamLoss.store(1);
  bench_.readyUpstream(0);
  UniqueFd quietClient;
  Session& busy = bench_.connect(client_);
  Session& quiet = bench_.connect(quietClient);
  send(client_.get(), "x");
  ASSERT_TRUE(queued(1));
  bench_.readyUpstream(1);
  bench_.port.ended(streamTo(0), false);
  bench_.links.collect();
  EXPECT_EQ(busy.phase(), SessionPhase::kDropping);
  EXPECT_EQ(quiet.phase(), SessionPhase::kOpen);
  EXPECT_EQ(quiet.upstream(), 1u);
}

// Two sessions of upstream 0 with a window of a second, another upstream to go to, and a policy that ends who is in doubt.
struct BusyAndQuiet : UpstreamLinksTest {
  BusyAndQuiet() {
    bench_.table().header().doubtWindowMs.store(1000);
    bench_.table().listener(0).closeOnUpstreamLoss.store(1);
    bench_.readyUpstream(0);
    busy_ = &bench_.connect(client_);
    quiet_ = &bench_.connect(quietClient_);
    bench_.readyUpstream(1);
  }
  // So many milliseconds ago a stream took the last input of each.
  void werePassed(Millis busyAgo, Millis quietAgo) {
    busy_->slot().lastPassedMs.store(static_cast<uint64_t>(monotonicMillis() - busyAgo));
    quiet_->slot().lastPassedMs.store(static_cast<uint64_t>(monotonicMillis() - quietAgo));
  }

  UniqueFd quietClient_;
  Session *busy_ = nullptr, *quiet_ = nullptr;
};

// Nobody knows what of their input it has read: each with traffic shortly before the half-close is reported, and goes on
// also where a loss would end it.
TEST_F(BusyAndQuiet, AfterTheBarrierTimeoutSessionsWithTrafficAreInDoubtAndGoOn) {
  bench_.table().header().barrierTimeoutMs.store(50);
  werePassed(500, 1500);
  bench_.setUpstream(0, UpstreamLife::kDraining, UpstreamHealth::kReady);
  bench_.links.sync();
  EXPECT_EQ(bench_.table().worker(0).inDoubt.load(), 0u);
  bench_.links.tick(monotonicMillis() + 51);
  EXPECT_EQ(bench_.table().worker(0).inDoubt.load(), 1u);
  for (Session* session : {busy_, quiet_}) {
    EXPECT_EQ(session->phase(), SessionPhase::kOpen);
    EXPECT_EQ(session->upstream(), 1u);
  }
  bench_.port.ended(streamTo(0), false);
  bench_.links.collect();
  EXPECT_EQ(bench_.table().worker(0).inDoubt.load(), 1u) << "what has moved has been reported";
}

// A forwarder that has no processor to run on learns late that a stream has broken: until then nobody can say when it did.
struct LateNews : BusyAndQuiet {
  void learnOfTheLoss(const std::function<void()>& tell) {
    bench_.port.lastSign = monotonicMillis() - 2000;
    werePassed(1500, 3500);
    tell();
    EXPECT_EQ(busy_->phase(), SessionPhase::kDropping);
    EXPECT_EQ(quiet_->phase(), SessionPhase::kOpen);
    EXPECT_EQ(quiet_->upstream(), 1u);
  }
};

TEST_F(LateNews, OfABrokenStreamLeaveInDoubtWhatFollowedItsLastSign) {
  learnOfTheLoss([&] {
    bench_.port.ended(streamTo(0), false);
    bench_.links.collect();
  });
}

TEST_F(LateNews, OfAnUpstreamThatIsDownLeaveInDoubtWhatFollowedItsLastSign) {
  learnOfTheLoss([&] {
    bench_.setUpstream(0, UpstreamLife::kActive, UpstreamHealth::kDown);
    bench_.links.sync();
  });
}

TEST_F(LateNews, OfADrainedStreamThatBrokeLeaveInDoubtWhatFollowedItsLastSign) {
  learnOfTheLoss([&] {
    bench_.setUpstream(0, UpstreamLife::kDraining, UpstreamHealth::kReady);
    bench_.links.sync();
    bench_.port.ended(streamTo(0), false);
    bench_.links.collect();
  });
}

TEST_F(UpstreamLinksTest, RoutedByMessageEachPayloadGoesToTheNext) {
  bench_.table().listener(0).routeByMessage.store(1);
  for (uint32_t i = 0; i < 3; ++i) bench_.readyUpstream(i);
  bench_.connect(client_);
  std::map<StreamId, int> counts;
  for (int i = 0; i < 9; ++i) {
    send(client_.get(), "m");
    ASSERT_TRUE(queued(1));
    ++counts[bench_.port.queued[0].stream];
    bench_.port.written(bench_.port.queued[0].stream);
    bench_.links.collect();
  }
  EXPECT_EQ(counts.size(), 3u);
  for (auto& [stream, count] : counts) EXPECT_EQ(count, 3);
}

}  // namespace
}  // namespace ppx
