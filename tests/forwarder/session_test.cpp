#include <gtest/gtest.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <thread>

#include "session_bench.h"

namespace ppx {
namespace {

class SessionTest : public testing::Test {
 protected:
  uint32_t closeReason(Session& session) { return session.slot().closeReason.load(); }
  SlotState state(SlotRef ref) { return SessionTable(bench_.table()).word(ref.slot).state; }
  void send(int socket, std::string_view bytes) {
    ASSERT_EQ(::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
  }
  void finish(Session& session) {
    SlotRef ref = session.ref();
    ASSERT_TRUE(bench_.runUntil([&] { return !bench_.dropping.empty(); }));
    bench_.dropAll();
    EXPECT_EQ(state(ref), SlotState::kFree);
    EXPECT_EQ(bench_.sessions.size(), 0u);
    EXPECT_EQ(bench_.journal().freeCount(SegmentKind::kIn), bench_.table().sizes().inSegments);
    EXPECT_EQ(bench_.journal().freeCount(SegmentKind::kOut), bench_.table().sizes().outSegments);
  }

  SessionBench bench_;
  UniqueFd client_;
};

TEST_F(SessionTest, PassesOnWhatTheClientSends) {
  bench_.readyUpstream(0);
  bench_.connect(client_);
  send(client_.get(), "hello");
  ASSERT_TRUE(bench_.runUntil([&] { return bench_.port.queued.size() == 1; }));
  EXPECT_EQ(bench_.port.queued[0].bytes, "hello");
}

TEST_F(SessionTest, ManySmallMessagesTravelAsOnePayloadWhileOneIsOnItsWay) {
  bench_.readyUpstream(0);
  bench_.connect(client_);
  send(client_.get(), "a");
  ASSERT_TRUE(bench_.runUntil([&] { return bench_.port.queued.size() == 1; }));
  for (char c = 'b'; c <= 'f'; ++c) send(client_.get(), std::string(1, c));
  Session& session = *bench_.sessions.atSlot(0);
  ASSERT_TRUE(bench_.runUntil([&] { return session.inputWaiting() == 5; }));
  bench_.port.written(bench_.port.last);
  ASSERT_TRUE(bench_.runUntil([&] { return bench_.port.queued.size() == 1; }));
  EXPECT_EQ(bench_.port.queued[0].bytes, "bcdef");
}

TEST_F(SessionTest, APayloadIsAtMost64KiB) {
  bench_.readyUpstream(0);
  bench_.connect(client_);
  std::string sent(200'000, 'x');
  size_t received = 0;
  std::thread sender([&] { ::send(client_.get(), sent.data(), sent.size(), MSG_NOSIGNAL); });
  ASSERT_TRUE(bench_.runUntil([&] {
    if (!bench_.port.queued.empty()) {
      EXPECT_LE(bench_.port.queued[0].bytes.size(), 65536u);
      received += bench_.port.queued[0].bytes.size();
      bench_.port.written(bench_.port.last);
    }
    return received == sent.size();
  }));
  sender.join();
}

TEST_F(SessionTest, DoesNotReadWhileNoUpstreamIsReady) {
  Session& session = bench_.connect(client_);
  send(client_.get(), "early");
  EXPECT_FALSE(bench_.runUntil([&] { return session.slot().inReceived.load() > 0; }, 200));
  bench_.readyUpstream(2);
  ASSERT_TRUE(bench_.runUntil([&] { return bench_.port.queued.size() == 1; }));
  EXPECT_EQ(bench_.port.queued[0].bytes, "early");
}

TEST_F(SessionTest, MailThatCameBeforeTheOwnerIsDelivered) {
  Session& session = bench_.connect(client_);
  bench_.push(session, "first ");
  bench_.push(session, std::string(5000, 'z'));
  EXPECT_EQ(receiveExactly(client_.get(), 5006), "first " + std::string(5000, 'z'));
  EXPECT_EQ(session.slot().outSent.load(), 5006u);
}

TEST_F(SessionTest, AnOrderlyEndDeliversFourMegabytesDespiteUnreadInput) {
  SessionBench big({.sessionSlots = 4, .inSegments = 64, .outSegments = 12'000, .upstreamSlots = 1});
  UniqueFd client;
  Session& loaded = big.connect(client);
  send(client.get(), std::string(20'000, 'u'));  // never read by anybody before the end
  std::string reply(4 << 20, 'r');
  for (size_t i = 0; i < reply.size(); i += 7) reply[i] = static_cast<char>(i);
  big.push(loaded, reply);
  loaded.end(CloseReason::kAdmin);
  std::string got;
  std::thread reader([&] {
    got = receiveUntilEnd(client.get());
    client.reset();
  });
  EXPECT_TRUE(big.runUntil([&] { return !big.dropping.empty(); }, 10'000));
  reader.join();
  EXPECT_EQ(got.size(), reply.size());
  EXPECT_TRUE(got == reply);
}

TEST_F(SessionTest, AfterItsEndTheClientsFinLetsTheSlotGo) {
  Session& session = bench_.connect(client_);
  session.end(CloseReason::kAdmin);
  EXPECT_EQ(state(session.ref()), SlotState::kClosing);
  EXPECT_EQ(receiveUntilEnd(client_.get()), "");
  client_.reset();
  finish(session);
}

TEST_F(SessionTest, AClientThatNeverEndsItsSideIsLeftAfterTheGrace) {
  Session& session = bench_.connect(client_);
  session.end(CloseReason::kAdmin);
  EXPECT_EQ(receiveUntilEnd(client_.get()), "");
  finish(session);
}

TEST_F(SessionTest, AnAbortResetsThoughACopyIsHeldElsewhere) {
  Session& session = bench_.connect(client_);
  UniqueFd copy(::dup(session.descriptor()));
  session.abort(CloseReason::kOverflow);
  EXPECT_EQ(receiveUntilEnd(client_.get()), "RESET");
  finish(session);
}

TEST_F(SessionTest, AResetByTheClientIsSeenAlsoWhileItIsNotRead) {
  Session& session = bench_.connect(client_);  // no upstream: not read
  linger hard{1, 0};
  ::setsockopt(client_.get(), SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
  client_.reset();
  ASSERT_TRUE(bench_.runUntil([&] { return session.phase() == SessionPhase::kDropping; }));
  EXPECT_EQ(closeReason(session), static_cast<uint32_t>(CloseReason::kClientReset));
  finish(session);
}

TEST_F(SessionTest, UrgentDataIsNoHangUpAndStaysInTheStream) {
  Session& session = bench_.connect(client_);
  ASSERT_EQ(::send(client_.get(), "!", 1, MSG_OOB), 1);
  EXPECT_FALSE(bench_.runUntil([&] { return session.phase() != SessionPhase::kOpen; }, 200));
  bench_.readyUpstream(0);
  send(client_.get(), "after");
  std::string got;
  ASSERT_TRUE(bench_.runUntil([&] {
    for (; !bench_.port.queued.empty(); bench_.port.written(bench_.port.last))
      got += bench_.port.queued[0].bytes;
    return got.size() == 6;
  }));
  EXPECT_EQ(got, "!after");
}

TEST_F(SessionTest, AHalfClosedClientGetsItsAnswerAndThenAnEnd) {
  bench_.table().listener(0).halfCloseTimeoutMs.store(2000);
  bench_.readyUpstream(0);
  Session& session = bench_.connect(client_);
  send(client_.get(), "question");
  ::shutdown(client_.get(), SHUT_WR);
  ASSERT_TRUE(bench_.runUntil([&] { return session.inputEnded() && !bench_.port.queued.empty(); }));
  EXPECT_EQ(bench_.port.queued[0].bytes, "question");
  bench_.push(session, "answer");
  ASSERT_TRUE(bench_.runUntil([&] { return session.phase() != SessionPhase::kOpen; }));
  EXPECT_EQ(receiveUntilEnd(client_.get()), "answer");
  EXPECT_EQ(closeReason(session), static_cast<uint32_t>(CloseReason::kClientEnd));
  finish(session);
}

TEST_F(SessionTest, AnIdleOneIsEnded) {
  bench_.table().listener(0).idleTimeoutMs.store(100);
  Session& session = bench_.connect(client_);
  ASSERT_TRUE(bench_.runUntil([&] { return session.phase() != SessionPhase::kOpen; }));
  EXPECT_EQ(closeReason(session), static_cast<uint32_t>(CloseReason::kIdle));
}

TEST_F(SessionTest, AClientThatDoesNotReadIsEndedAfterTheGrace) {
  SessionBench big({.sessionSlots = 4, .inSegments = 64, .outSegments = 40'000, .upstreamSlots = 1});
  big.table().listener(0).outputSoftBytes.store(1000);
  big.table().listener(0).slowClientGraceMs.store(100);
  Session& session = big.connect(client_);
  big.push(session, std::string(12 << 20, 's'));
  ASSERT_TRUE(big.runUntil([&] { return session.phase() == SessionPhase::kDropping; }));
  EXPECT_EQ(closeReason(session), static_cast<uint32_t>(CloseReason::kSlowClient));
}

TEST_F(SessionTest, AboveTheHardBoundItIsEndedAtOnce) {
  SessionBench big({.sessionSlots = 4, .inSegments = 64, .outSegments = 40'000, .upstreamSlots = 1});
  big.table().listener(0).outputHardBytes.store(100'000);
  Session& session = big.connect(client_);
  big.push(session, std::string(12 << 20, 's'));
  EXPECT_EQ(session.phase(), SessionPhase::kDropping);
  EXPECT_EQ(closeReason(session), static_cast<uint32_t>(CloseReason::kOverflow));
}

TEST_F(SessionTest, WhoDoesNotTakeHisOutputIsNotReadAnyFurther) {
  SessionBench big({.sessionSlots = 4, .inSegments = 1024, .outSegments = 40'000, .upstreamSlots = 1});
  big.readyUpstream(0);
  Session& session = big.connect(client_);
  big.push(session, std::string(12 << 20, 's'));  // far above the soft bound
  send(client_.get(), "more");
  // What was armed before may still read once; nothing after that.
  big.runUntil([&] { return !big.port.queued.empty(); }, 200);
  uint64_t received = session.slot().inReceived.load();
  send(client_.get(), "and more");
  EXPECT_FALSE(big.runUntil([&] { return session.slot().inReceived.load() > received; }, 200));
  std::thread reader([&] { receiveExactly(client_.get(), 12 << 20); });
  EXPECT_TRUE(big.runUntil([&] { return session.slot().inReceived.load() == 12; }));
  reader.join();
}

TEST_F(SessionTest, ARequestThroughTheTableEndsIt) {
  Session& session = bench_.connect(client_);
  ASSERT_TRUE(SessionTable(bench_.table()).requestClose(session.ref(), CloseReason::kAdmin));
  session.onNews();
  EXPECT_NE(session.phase(), SessionPhase::kOpen);
  EXPECT_EQ(receiveUntilEnd(client_.get()), "");
}

TEST_F(SessionTest, WithoutInputSegmentsItWaitsAndLosesNothing) {
  SessionBench tiny({.sessionSlots = 4, .inSegments = 2, .outSegments = 64, .upstreamSlots = 1});
  tiny.readyUpstream(0);
  UniqueFd other;
  tiny.connect(client_);
  tiny.connect(other);
  std::string sent(2000, 'q');
  send(client_.get(), sent);
  send(other.get(), sent);
  size_t got = 0;
  ASSERT_TRUE(tiny.runUntil([&] {
    tiny.sessions.forEach([](Session& session) { session.resumeReading(); });
    for (; !tiny.port.queued.empty(); tiny.port.written(tiny.port.last))
      got += tiny.port.queued[0].bytes.size();
    return got == 2 * sent.size();
  }));
  EXPECT_GT(tiny.journalFullCount, 0);
}

}  // namespace
}  // namespace ppx
