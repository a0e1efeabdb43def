// What an upstream with `events` is told of its clients, and one with `close` may do with them.
#include "extended_links_bench.h"

namespace ppx {
namespace {

using SessionNewsTest = ExtendedLinks;

TEST_F(SessionNewsTest, AClientIsContinuedOnceAnotherInstanceMayKnowOfIt) {
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

TEST_F(SessionNewsTest, AClientWhoseBytesAPlainUpstreamHasTakenIsContinuedToTheNext) {
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

TEST_F(SessionNewsTest, WithoutResumeAnUpstreamIsToldOfEachClientOnceMoreAsContinued) {
  announcedUpstream(0);
  hello(kEvents | kClose);
  bench_.connect(client_);
  EXPECT_FALSE(bench_.port.news.back().second.continued);
  broken(true);
  ASSERT_TRUE(reopened());
  hello(kEvents | kClose);
  EXPECT_TRUE(bench_.port.news.back().second.continued);
}

TEST_F(SessionNewsTest, TheEndOfInputIsToldWhenItsLastByteIsWritten) {
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

TEST_F(SessionNewsTest, AListEndsOnlyWhenEverySessionWasTakenOver) {
  announcedUpstream(0);
  hello();
  bench_.connect(client_);
  EXPECT_EQ(kinds(), std::vector<Kind>{Kind::kOpened});
  bench_.links.sendLists();
  EXPECT_EQ(kinds(), (std::vector<Kind>{Kind::kOpened, Kind::kListed}));
  bench_.links.sendLists();
  EXPECT_EQ(kinds().size(), 2u);
}

TEST_F(SessionNewsTest, WhoEndsBetweenTwoStreamsIsToldOfOnTheNext) {
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

TEST_F(SessionNewsTest, ADeletedUpstreamIsToldWhoMovesBeforeItsStreamIsHalfClosed) {
  announcedUpstream(0);
  hello();
  bench_.connect(client_);
  bench_.setUpstream(0, UpstreamLife::kDraining, UpstreamHealth::kReady);
  EXPECT_EQ(kinds(), (std::vector<Kind>{Kind::kOpened, Kind::kMoved}));
  EXPECT_EQ(bench_.port.halfClosed.size(), 1u);
}

TEST_F(SessionNewsTest, OneThatCannotCloseLeavesTheHalfCloseTimeoutInForce) {
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

TEST_F(SessionNewsTest, OneThatCanCloseHasAllTheTime) {
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
