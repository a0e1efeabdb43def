// Sessions and links with an upstream that has the extensions, over a port that records.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include "common/mail_pusher.h"
#include "session_bench.h"

namespace ppx {
namespace {

using Kind = SessionNews::Kind;

class ExtendedLinks : public testing::Test {
 protected:
  static constexpr uint8_t kAll = kEvents | kClose | kResume;

  // Its `ready` has announced the extensions; the stream is open once its hello has come.
  void announcedUpstream(uint32_t upstream) {
    bench_.table().upstream(upstream).announced.store(lifeWord(0, kExtensionsVersion));
    bench_.setUpstream(upstream, UpstreamLife::kActive, UpstreamHealth::kReady);
  }
  void hello(uint8_t capabilities = kAll, uint64_t instance = 1) {
    bench_.port.opened(bench_.port.last, capabilities, instance);
    bench_.links.collect();
  }
  void send(std::string_view bytes) {
    ASSERT_EQ(::send(client_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }
  bool queued(size_t count) {
    return bench_.runUntil([&] { return bench_.port.queued.size() == count; });
  }
  void written() {
    bench_.port.written(bench_.port.last);
    bench_.links.collect();
  }
  void marked(const Session& session, uint64_t offset, StreamId stream = 0) {
    bench_.port.marked(stream == 0 ? bench_.port.last : stream, session.ref(), offset);
    bench_.links.collect();
  }
  void broken(bool orderly = false) {
    bench_.port.ended(bench_.port.last, orderly);
    bench_.links.collect();
  }
  // The next stream to the same upstream, after its short pause.
  bool reopened() {
    StreamId before = bench_.port.last;
    return bench_.runUntil([&] {
      bench_.links.tick(monotonicMillis());
      return bench_.port.last != before;
    });
  }
  std::vector<Kind> kinds() const {
    std::vector<Kind> out;
    for (const auto& [stream, news] : bench_.port.news) out.push_back(news.kind);
    return out;
  }
  uint32_t inSegments() { return 1024 - bench_.journal().freeCount(SegmentKind::kIn); }
  void reply(const Session& session, std::string_view bytes, uint64_t acknowledged, uint32_t upstream = 0,
             uint64_t instance = 1, uint16_t assignment = 0) {
    iovec piece{const_cast<char*>(bytes.data()), bytes.size()};
    MailTag tag{laneIndex(upstream, 0), ++sequence_, instance, {acknowledged, assignment}};
    ASSERT_EQ(MailPusher(bench_.table(), bench_.journal()).push(session.ref(), {&piece, 1}, tag),
              PushResult::kPushed);
  }

  SessionBench bench_;
  UniqueFd client_;
  uint64_t sequence_ = 0;
};

TEST_F(ExtendedLinks, NothingIsSentBeforeItsHello) {
  announcedUpstream(0);
  bench_.connect(client_);
  send("early");
  EXPECT_FALSE(bench_.runUntil([&] { return !bench_.port.queued.empty(); }, 100));
  EXPECT_TRUE(bench_.port.news.empty());
  hello();
  ASSERT_TRUE(queued(1));
  EXPECT_EQ(bench_.port.queued[0].offset, 0u);
  EXPECT_EQ(kinds().front(), Kind::kOpened);
}

TEST_F(ExtendedLinks, WhatAnUpstreamDoesNotTakeItDoesNotGet) {
  announcedUpstream(0);
  hello(kClose);
  bench_.connect(client_);
  send("plain");
  ASSERT_TRUE(queued(1));
  EXPECT_EQ(bench_.port.queued[0].offset, kNoOffset);
  EXPECT_TRUE(bench_.port.news.empty());
}

TEST_F(ExtendedLinks, InputStaysInTheJournalUntilItIsAcknowledged) {
  announcedUpstream(0);
  hello();
  Session& session = bench_.connect(client_);
  send(std::string(2000, 'a'));
  ASSERT_TRUE(bench_.runUntil([&] { return session.slot().inReceived.load() == 2000; }));
  while (!bench_.port.queued.empty()) written();
  EXPECT_EQ(session.slot().inWritten.load(), 2000u);
  EXPECT_EQ(session.slot().inAcked.load(), 0u);
  EXPECT_EQ(inSegments(), 4u);
  marked(session, 1024);
  EXPECT_EQ(inSegments(), 2u);
  marked(session, 500);   // of the past
  marked(session, 5000);  // of the future
  EXPECT_EQ(session.slot().inAcked.load(), 1024u);
  marked(session, 2000);
  EXPECT_EQ(inSegments(), 0u);
}

TEST_F(ExtendedLinks, ABrokenStreamIsAskedOnceMoreAndSentAgainFromTheLastMark) {
  announcedUpstream(0);
  hello();
  Session& session = bench_.connect(client_);
  send("0123456789");
  ASSERT_TRUE(queued(1));
  written();
  marked(session, 4);
  send("in flight");
  ASSERT_TRUE(queued(1));
  broken();
  EXPECT_EQ(session.upstream(), 0u) << "it is not moved yet";
  ASSERT_TRUE(reopened());
  hello();
  ASSERT_TRUE(queued(1));
  EXPECT_EQ(bench_.port.queued[0].bytes, "456789in flight");
  EXPECT_EQ(bench_.port.queued[0].offset, 4u);
  const SessionNews& again = bench_.port.news.back().second;
  EXPECT_EQ(again.kind, Kind::kOpened);
  EXPECT_FALSE(again.continued) << "who knows it passes over this; who never read of it has a new client";
  EXPECT_EQ(again.offset, 4u);
}

TEST_F(ExtendedLinks, AClientIsContinuedOnceAnotherInstanceMayKnowOfIt) {
  announcedUpstream(0);
  hello(kAll, 11);
  bench_.connect(client_);
  EXPECT_FALSE(bench_.port.news.back().second.continued);
  uint64_t last = bench_.port.news.back().second.announcement;
  EXPECT_NE(last, 0u);
  for (uint64_t instance : {12, 12, 11}) {
    broken();
    ASSERT_TRUE(reopened());
    hello(kAll, instance);
    EXPECT_EQ(bench_.port.news.back().second.kind, Kind::kOpened);
    EXPECT_TRUE(bench_.port.news.back().second.continued);
    EXPECT_GT(bench_.port.news.back().second.announcement, last) << "which of two came first";
    last = bench_.port.news.back().second.announcement;
  }
}

TEST_F(ExtendedLinks, AClientWhoseBytesAPlainUpstreamHasTakenIsContinuedToTheNext) {
  bench_.readyUpstream(0);
  bench_.port.opened(bench_.port.last);
  bench_.links.collect();
  UniqueFd silent;
  Session& speaks = bench_.connect(client_);
  Session& listens = bench_.connect(silent);
  send("plain");
  ASSERT_TRUE(queued(1));
  written();
  announcedUpstream(0);
  broken(true);
  ASSERT_TRUE(reopened());
  hello();
  std::map<uint32_t, bool> continued;
  for (const auto& [stream, news] : bench_.port.news)
    if (news.kind == Kind::kOpened)
      continued[news.client == SessionTable(bench_.table()).uuid(speaks.ref().slot) ? 0 : 1] = news.continued;
  EXPECT_EQ(continued, (std::map<uint32_t, bool>{{0, true}, {1, false}}));
  EXPECT_EQ(listens.phase(), SessionPhase::kOpen);
}

TEST_F(ExtendedLinks, WithoutResumeAnUpstreamIsToldOfEachClientOnceMoreAsContinued) {
  announcedUpstream(0);
  hello(kEvents | kClose);
  bench_.connect(client_);
  EXPECT_FALSE(bench_.port.news.back().second.continued);
  broken(true);
  ASSERT_TRUE(reopened());
  hello(kEvents | kClose);
  EXPECT_TRUE(bench_.port.news.back().second.continued);
}

TEST_F(ExtendedLinks, AnAnswerToInputThatAnotherInstanceHasByNowIsNeitherDeliveredNorCounted) {
  announcedUpstream(0);
  hello(kAll, 11);
  Session& session = bench_.connect(client_);
  EXPECT_EQ(bench_.port.news.back().second.assignment, 1u);
  send("0123456789");
  ASSERT_TRUE(queued(1));
  written();
  reply(session, "abc", 3, 0, 11, 1);
  session.onNews();
  EXPECT_EQ(session.slot().inAcked.load(), 3u);
  broken();
  ASSERT_TRUE(reopened());
  hello(kAll, 11);
  EXPECT_EQ(session.slot().assignment.load(), 1u) << "the same one goes on";
  ASSERT_TRUE(queued(1));
  written();
  reply(session, "de", 5, 0, 11, 1);
  broken();
  ASSERT_TRUE(reopened());
  hello(kAll, 12);
  EXPECT_EQ(session.slot().inAcked.load(), 5u) << "it came before the other instance got anything";
  EXPECT_EQ(bench_.port.news.back().second.assignment, 2u);
  ASSERT_TRUE(queued(1));
  EXPECT_EQ(bench_.port.queued[0].bytes, "56789");
  reply(session, "late", 9, 0, 11, 1);
  reply(session, "LATE", 9, 0, 11);  // of one that does not say assignments
  reply(session, "FG", 7, 0, 12, 2);
  reply(session, "unasked", 0, 0, 11);
  session.onNews();
  bench_.port.marked(bench_.port.last, session.ref(), 10, 1);
  bench_.links.collect();
  EXPECT_EQ(session.slot().inAcked.load(), 7u);
  EXPECT_EQ(receiveExactly(client_.get(), 14), "abcdeFGunasked");
}

TEST_F(ExtendedLinks, OneThatDoesNotComeBackLosesItsSessionsToAnother) {
  announcedUpstream(0);
  hello();
  Session& session = bench_.connect(client_);
  send("0123456789");
  ASSERT_TRUE(queued(1));
  written();
  marked(session, 3);
  bench_.readyUpstream(1);
  StreamId plain = bench_.port.last;
  bench_.port.ended(1, false);
  bench_.links.collect();
  EXPECT_EQ(session.upstream(), 0u);
  ASSERT_TRUE(reopened());
  broken();
  EXPECT_EQ(session.upstream(), 1u);
  ASSERT_TRUE(queued(1));
  EXPECT_EQ(bench_.port.queued[0].stream, plain);
  EXPECT_EQ(bench_.port.queued[0].bytes, "3456789");
  EXPECT_EQ(bench_.port.queued[0].offset, kNoOffset);
  EXPECT_FALSE(session.resumes());
}

// It is down: its stream is cancelled, and what it had answered until then still counts.
TEST_F(ExtendedLinks, SessionsLeaveAnUpstreamThatIsDownAfterTheEndOfItsStream) {
  announcedUpstream(0);
  hello();
  StreamId stream = bench_.port.last;
  Session& session = bench_.connect(client_);
  send("0123456789");
  ASSERT_TRUE(queued(1));
  written();
  bench_.readyUpstream(1);
  bench_.setUpstream(0, UpstreamLife::kActive, UpstreamHealth::kDown);
  EXPECT_EQ(bench_.port.cancelled, std::vector<StreamId>{stream});
  EXPECT_EQ(session.upstream(), 0u);
  reply(session, "answer to 0-5", 6);
  bench_.port.ended(stream, false);
  bench_.links.collect();
  EXPECT_EQ(session.upstream(), 1u);
  ASSERT_TRUE(queued(1));
  EXPECT_EQ(bench_.port.queued[0].bytes, "6789");
}

TEST_F(ExtendedLinks, AReplyAcknowledgesWhatItSaysItAnswers) {
  announcedUpstream(0);
  hello();
  Session& session = bench_.connect(client_);
  send("question");
  ASSERT_TRUE(queued(1));
  written();
  reply(session, "answer", 8);
  session.onNews();
  EXPECT_EQ(session.slot().inAcked.load(), 8u);
  EXPECT_EQ(inSegments(), 0u);
  reply(session, "from another upstream", 9, 1);
  session.onNews();
  EXPECT_EQ(session.slot().inAcked.load(), 8u);
}

TEST_F(ExtendedLinks, AMarkMayOvertakeWhatIsSentAgain) {
  announcedUpstream(0);
  hello();
  Session& session = bench_.connect(client_);
  send("0123456789");
  ASSERT_TRUE(queued(1));
  written();
  broken();
  ASSERT_TRUE(reopened());
  hello();
  ASSERT_TRUE(queued(1));  // all of it again
  send("abc");
  ASSERT_TRUE(bench_.runUntil([&] { return session.slot().inReceived.load() == 13; }));
  marked(session, 13);  // it had it all, from the stream before
  EXPECT_EQ(inSegments(), 0u);
  written();
  send("next");
  ASSERT_TRUE(queued(1));
  EXPECT_EQ(bench_.port.queued[0].bytes, "next");
  EXPECT_EQ(bench_.port.queued[0].offset, 13u);
}

TEST_F(ExtendedLinks, ReadingPausesAtTheBoundOfWhatIsUnacknowledged) {
  announcedUpstream(0);
  hello();
  Session& session = bench_.connect(client_);
  const std::string megabyte(1 << 20, 'x');
  ::send(client_.get(), megabyte.data(), megabyte.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  bench_.runUntil(
      [&] {
        while (!bench_.port.queued.empty()) written();
        return session.slot().inReceived.load() >= kMaxUnacknowledged;
      },
      3000);
  EXPECT_FALSE(bench_.runUntil(
      [&] {
        while (!bench_.port.queued.empty()) written();
        return session.slot().inReceived.load() > kMaxUnacknowledged;
      },
      200));
  EXPECT_EQ(session.slot().inReceived.load(), kMaxUnacknowledged);
  marked(session, 1000);
  EXPECT_TRUE(bench_.runUntil([&] { return session.slot().inReceived.load() == kMaxUnacknowledged + 1000; }));
}

TEST_F(ExtendedLinks, TheEndOfInputIsToldWhenItsLastByteIsWritten) {
  announcedUpstream(0);
  hello();
  Session& session = bench_.connect(client_);
  send("last");
  ::shutdown(client_.get(), SHUT_WR);
  ASSERT_TRUE(bench_.runUntil([&] { return session.inputEnded(); }));
  EXPECT_EQ(kinds().back(), Kind::kOpened);
  ASSERT_EQ(bench_.port.queued.size(), 1u);
  written();
  EXPECT_EQ(kinds().back(), Kind::kEnd);
  // Over a new stream: all again.
  broken();
  ASSERT_TRUE(reopened());
  bench_.port.news.clear();
  hello();
  ASSERT_TRUE(queued(1));
  written();
  EXPECT_EQ(kinds(), (std::vector<Kind>{Kind::kOpened, Kind::kEnd}));
}

TEST_F(ExtendedLinks, AListEndsOnlyWhenEverySessionWasTakenOver) {
  announcedUpstream(0);
  hello();
  bench_.connect(client_);
  EXPECT_EQ(kinds(), std::vector<Kind>{Kind::kOpened});
  bench_.links.sendLists();
  EXPECT_EQ(kinds(), (std::vector<Kind>{Kind::kOpened, Kind::kListed}));
  bench_.links.sendLists();
  EXPECT_EQ(kinds().size(), 2u);
}

TEST_F(ExtendedLinks, WhoEndsBetweenTwoStreamsIsToldOfOnTheNext) {
  announcedUpstream(0);
  hello();
  Session& session = bench_.connect(client_);
  broken();
  bench_.port.news.clear();
  session.abort(CloseReason::kAdmin);
  EXPECT_TRUE(bench_.port.news.empty());
  ASSERT_TRUE(reopened());
  hello();
  ASSERT_EQ(kinds(), std::vector<Kind>{Kind::kClosed});
  EXPECT_EQ(bench_.port.news[0].second.reason, "admin");
}

TEST_F(ExtendedLinks, ADeletedUpstreamIsToldWhoMovesBeforeItsStreamIsHalfClosed) {
  announcedUpstream(0);
  hello();
  bench_.connect(client_);
  bench_.setUpstream(0, UpstreamLife::kDraining, UpstreamHealth::kReady);
  EXPECT_EQ(kinds(), (std::vector<Kind>{Kind::kOpened, Kind::kMoved}));
  EXPECT_EQ(bench_.port.halfClosed.size(), 1u);
}

TEST_F(ExtendedLinks, OneThatCannotCloseLeavesTheHalfCloseTimeoutInForce) {
  bench_.table().listener(0).halfCloseTimeoutMs.store(50);
  announcedUpstream(0);
  hello(kEvents);
  Session& session = bench_.connect(client_);
  ::shutdown(client_.get(), SHUT_WR);
  EXPECT_TRUE(bench_.runUntil([&] {
    session.onTick(monotonicMillis(), true);
    return session.phase() != SessionPhase::kOpen;
  }));
}

TEST_F(ExtendedLinks, OneThatCanCloseHasAllTheTime) {
  bench_.table().listener(0).halfCloseTimeoutMs.store(50);
  announcedUpstream(0);
  hello();
  Session& session = bench_.connect(client_);
  ::shutdown(client_.get(), SHUT_WR);
  EXPECT_FALSE(bench_.runUntil(
      [&] {
        session.onTick(monotonicMillis(), true);
        return session.phase() != SessionPhase::kOpen;
      },
      300));
}

}  // namespace
}  // namespace ppx
