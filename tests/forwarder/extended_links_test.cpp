// Sessions and links with `resume`: what is kept, sent again, acknowledged and answered.
#include "extended_links_bench.h"

namespace ppx {
namespace {

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

}  // namespace
}  // namespace ppx
