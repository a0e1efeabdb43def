// What comes to an upstream: each byte, each beginning and each end once, and the gateway is told how far it is dealt with.
#include "tests/upstream/core_bed.h"

namespace paradox::upstream {
namespace {

TEST_F(UpstreamCore, AnswersTheHelloWithWhatItKnows) {
  GatewayEnd stream(*core);
  EXPECT_FALSE(stream.hello());
  auto answer = stream.next();
  ASSERT_TRUE(answer && answer->has_hello());
  EXPECT_EQ(answer->hello().version(), 1u);
  EXPECT_EQ(answer->hello().capabilities_size(), 3);
  EXPECT_FALSE(answer->hello().instance_id().empty());
}

TEST_F(UpstreamCore, RefusesAnotherVersionAndASecondHello) {
  GatewayEnd stream(*core), other(*core);
  EXPECT_TRUE(stream.hello(kLane, 2));
  EXPECT_FALSE(other.hello());
  EXPECT_TRUE(other.hello());
}

TEST_F(UpstreamCore, TakesEachByteOnceHoweverItIsRepeated) {
  auto stream = attached();
  stream->event(kClient, wire::SessionEvent::KIND_OPENED);
  stream->bytes(kClient, "abcd", 0);
  stream->bytes(kClient, "abcd", 0);
  stream->bytes(kClient, "cdef", 2);
  stream->bytes(kClient, "b", 1);
  stream->bytes(kClient, "gh", 6);
  EXPECT_TRUE(worker.waitForBytes(kClient, "abcdefgh"));
  // Somebody else had it meanwhile.
  stream->bytes(kClient, "xy", 20);
  EXPECT_TRUE(
      worker.waitFor([&] { return worker.received[kClient] == "abcdefghxy" && worker.lastOffset == 20; }));
}

TEST_F(UpstreamCore, AcknowledgesWithTheLastReplyOfACall) {
  worker.hook = [&](const std::string& client, std::string_view) {
    send(client, "one");
    send(kOther, "aside");
    send(client, "two");
    return true;
  };
  auto stream = attached();
  stream->event(kClient, wire::SessionEvent::KIND_OPENED, 5);
  stream->bytes(kClient, "abcd", 5);
  auto one = stream->next(), aside = stream->next(), two = stream->next();
  ASSERT_TRUE(two);
  EXPECT_EQ(one->acknowledged(), 0u);
  EXPECT_EQ(aside->acknowledged(), 0u);
  EXPECT_EQ(two->payload(), "two");
  EXPECT_EQ(two->acknowledged(), 9u);
  EXPECT_EQ(one->sequence(), 1u);
  EXPECT_EQ(two->sequence(), 3u);
  EXPECT_EQ(two->lane(), kLane);
  EXPECT_FALSE(stream->next(150ms)) << "there is nothing more to acknowledge";
}

TEST_F(UpstreamCore, MarksWhatHasNoReplySoon) {
  auto stream = attached();
  stream->event(kClient, wire::SessionEvent::KIND_OPENED);
  stream->bytes(kClient, "abcd", 0);
  auto mark = stream->next();
  ASSERT_TRUE(mark);
  ASSERT_EQ(mark->marks_size(), 1);
  EXPECT_EQ(mark->marks(0).client_uuid(), kClient);
  EXPECT_EQ(mark->marks(0).offset(), 4u);
}

TEST_F(UpstreamCore, DoesNotMarkWhatTheWorkerHasNotDealtWith) {
  worker.hook = [](const std::string&, std::string_view) { return false; };
  auto stream = attached();
  stream->event(kClient, wire::SessionEvent::KIND_OPENED);
  stream->bytes(kClient, "abcd", 0);
  EXPECT_FALSE(stream->next(150ms));
  core->handled(kClient, 3);
  auto mark = stream->next();
  ASSERT_TRUE(mark);
  EXPECT_EQ(mark->marks(0).offset(), 3u);
}

TEST_F(UpstreamCore, TellsItsMarkAgainToAGatewayThatHasForgottenIt) {
  auto stream = attached();
  stream->event(kClient, wire::SessionEvent::KIND_OPENED);
  stream->bytes(kClient, "abcd", 0);
  ASSERT_TRUE(stream->next());
  stream->breakOff();
  auto again = attached();
  again->event(kClient, wire::SessionEvent::KIND_OPENED, 1, true);
  auto mark = again->next();
  ASSERT_TRUE(mark);
  EXPECT_EQ(mark->marks(0).offset(), 4u);
  EXPECT_EQ(worker.toldSoFar(), std::vector<std::string>{"opened 6"}) << "it is not opened twice";
}

TEST_F(UpstreamCore, AsksAfterWhomAListLeavesOut) {
  auto stream = attached();
  stream->event(kClient, wire::SessionEvent::KIND_OPENED);
  stream->event(kOther, wire::SessionEvent::KIND_OPENED);
  stream->event("", wire::SessionEvent::KIND_LISTED);
  EXPECT_FALSE(stream->next(100ms)) << "all are there";
  stream->breakOff();
  auto again = attached();
  again->event(kOther, wire::SessionEvent::KIND_OPENED, 0, true);
  again->event("", wire::SessionEvent::KIND_LISTED);
  auto question = again->next();
  ASSERT_TRUE(question);
  ASSERT_EQ(question->marks_size(), 1);
  EXPECT_EQ(question->marks(0).client_uuid(), kClient);
  again->event(kClient, wire::SessionEvent::KIND_CLOSED);
  EXPECT_TRUE(
      worker.waitFor([&] { return !worker.told.empty() && worker.told.back() == "closed 6 told so"; }));
  EXPECT_EQ(worker.toldSoFar().size(), 3u);
}

// A forwarder was killed: its row's next process has opened its stream already, and the one that serves its sessions has not.
TEST_F(UpstreamCore, HasBytesOnceThoughAListComesBeforeAnotherForwardersWord) {
  auto first = attached(0, 70);
  first->event(kClient, wire::SessionEvent::KIND_OPENED);
  first->bytes(kClient, "abc", 0);
  ASSERT_TRUE(worker.waitForBytes(kClient, "abc"));
  first->breakOff();
  auto row = attached(0, 70);
  row->event("", wire::SessionEvent::KIND_LISTED);
  auto heir = attached(0, 71);
  heir->event(kClient, wire::SessionEvent::KIND_OPENED, 0, true);
  heir->bytes(kClient, "abc", 0);
  heir->bytes(kClient, "d", 3);
  EXPECT_TRUE(worker.waitForBytes(kClient, "abcd"));
  EXPECT_EQ(worker.toldSoFar(), std::vector<std::string>{"opened 6"});
}

TEST_F(UpstreamCore, BeginsAnewWhenAnotherInstanceHasHadTheClientMeanwhile) {
  worker.hook = [&](const std::string& client, std::string_view bytes) {
    send(client, bytes);
    return true;
  };
  auto first = attached(0, 70), second = attached(0, 71);
  first->event(kClient, wire::SessionEvent::KIND_OPENED, 0, false, 1);
  first->bytes(kClient, "abc", 0);
  auto reply = first->next();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->acknowledged(), 3u);
  EXPECT_EQ(reply->assignment(), 1u);
  first->position(1, false, 70);
  second->event(kClient, wire::SessionEvent::KIND_OPENED, 1, true, 3);
  second->bytes(kClient, "bc", 1);
  auto again = second->next();
  ASSERT_TRUE(again);
  EXPECT_EQ(again->payload(), "bc");
  EXPECT_EQ(again->acknowledged(), 3u);
  EXPECT_EQ(again->assignment(), 3u);
  EXPECT_EQ(worker.toldSoFar(), (std::vector<std::string>{"opened 6", "closed 6 moved", "opened 6 again"}));
}

TEST_F(UpstreamCore, WhatIsDealtWithLateDoesNotCountForTheNextAssignment) {
  std::atomic<bool> goesOn{false};
  worker.hook = [&](const std::string& client, std::string_view) {
    while (client == kOther && !goesOn) std::this_thread::yield();
    return false;
  };
  auto stream = attached();
  stream->event(kClient, wire::SessionEvent::KIND_OPENED, 0, false, 1);
  stream->bytes(kClient, "abcd", 0);
  ASSERT_TRUE(worker.waitForBytes(kClient, "abcd"));
  // The handler is busy while the client comes again, with the same bytes.
  stream->event(kOther, wire::SessionEvent::KIND_OPENED);
  stream->bytes(kOther, "x", 0);
  stream->event(kClient, wire::SessionEvent::KIND_OPENED, 0, true, 3);
  stream->bytes(kClient, "abcd", 0);
  core->handled(kClient, 4);
  EXPECT_FALSE(stream->next(150ms)) << "of those that were given before";
  goesOn = true;
  ASSERT_TRUE(worker.waitForBytes(kClient, "abcdabcd"));
  core->handled(kClient, 4);
  auto mark = stream->next();
  ASSERT_TRUE(mark);
  EXPECT_EQ(mark->marks(0).offset(), 4u);
  EXPECT_EQ(mark->marks(0).assignment(), 3u);
}

TEST_F(UpstreamCore, KeepsToItselfTheAnswerToBytesThatAnotherInstanceHasByNow) {
  auto first = attached(0, 70), second = attached(0, 71);
  std::atomic<bool> reached{false}, goesOn{false};
  worker.hook = [&](const std::string& client, std::string_view bytes) {
    send(client, bytes);
    reached = true;
    while (!goesOn) std::this_thread::yield();
    return true;
  };
  first->event(kClient, wire::SessionEvent::KIND_OPENED, 0, false, 1);
  first->bytes(kClient, "abc", 0);
  while (!reached) std::this_thread::yield();
  second->event(kClient, wire::SessionEvent::KIND_OPENED, 0, true, 3);
  second->bytes(kClient, "ab", 0);
  goesOn = true;
  auto reply = second->next();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->payload(), "ab");
  EXPECT_EQ(reply->acknowledged(), 2u);
  EXPECT_FALSE(first->next(50ms));
}

TEST_F(UpstreamCore, AnswersWhatCameBeforeAMove) {
  auto stream = attached();
  worker.hook = [&](const std::string& client, std::string_view bytes) {
    std::this_thread::sleep_for(20ms);  // the move is read meanwhile
    send(client, bytes);
    return true;
  };
  stream->event(kClient, wire::SessionEvent::KIND_OPENED, 0, false, 1);
  stream->bytes(kClient, "abc", 0);
  stream->bytes(kClient, "def", 3);
  stream->event(kClient, wire::SessionEvent::KIND_MOVED);
  EXPECT_EQ(stream->next()->acknowledged(), 3u);
  EXPECT_EQ(stream->next()->acknowledged(), 6u);
  EXPECT_TRUE(worker.waitFor([&] { return worker.told.size() == 2 && worker.told[1] == "closed 6 moved"; }));
}

TEST_F(UpstreamCore, AsksAfterTheClientsOfALaneThatComesOver) {
  auto first = attached(0, 70), second = attached(0, 71);
  first->event(kClient, wire::SessionEvent::KIND_OPENED, 7);
  first->breakOff();
  EXPECT_FALSE(second->next(100ms));
  second->position(0, true, 70);
  auto marks = second->next();
  ASSERT_TRUE(marks);
  ASSERT_EQ(marks->marks_size(), 1);
  EXPECT_EQ(marks->marks(0).client_uuid(), kClient);
  EXPECT_EQ(marks->marks(0).offset(), 7u);
  second->event(kClient, wire::SessionEvent::KIND_CLOSED);
  EXPECT_TRUE(
      worker.waitFor([&] { return worker.told.size() == 2 && worker.told[1] == "closed 6 told so"; }));
}

TEST_F(UpstreamCore, TellsOfEachEndOnce) {
  auto stream = attached();
  stream->event(kClient, wire::SessionEvent::KIND_OPENED);
  stream->event(kClient, wire::SessionEvent::KIND_END);
  stream->event(kClient, wire::SessionEvent::KIND_END);
  stream->event(kClient, wire::SessionEvent::KIND_CLOSED);
  stream->event(kClient, wire::SessionEvent::KIND_CLOSED);
  stream->event(kOther, wire::SessionEvent::KIND_OPENED);
  EXPECT_TRUE(worker.waitFor([&] { return !worker.told.empty() && worker.told.back() == "opened 7"; }));
  EXPECT_EQ(worker.toldSoFar(),
            (std::vector<std::string>{"opened 6", "end 6", "closed 6 told so", "opened 7"}));
}

TEST_F(UpstreamCore, ADropOfAnOrphanedLaneClosesItsClients) {
  core->stop();
  core = std::make_shared<Core>(worker, Options{.orphanTimeout = 200ms});
  core->start();
  auto stream = attached();
  stream->event(kClient, wire::SessionEvent::KIND_OPENED);
  stream->breakOff();
  EXPECT_TRUE(worker.waitFor(
      [&] { return !worker.told.empty() && worker.told.back() == "closed 6 the gateway is gone"; }));
  // It was alive all the time; to the gateway nothing has happened in between.
  auto again = attached();
  again->event(kClient, wire::SessionEvent::KIND_OPENED);
  again->event(kOther, wire::SessionEvent::KIND_OPENED);
  EXPECT_TRUE(worker.waitFor([&] { return worker.told.size() == 4; }));
  EXPECT_EQ(worker.toldSoFar()[2], "opened 6 again");
  EXPECT_EQ(worker.toldSoFar()[3], "opened 7");
}

// One that is late (a machine under load) would else be taken for plain, and its hello for a second one.
TEST_F(UpstreamCore, WaitsForAHelloThatIsSaidToCome) {
  GatewayEnd plain(*core), late(*core, true);
  std::thread sender([&] { broadcast("x"); });
  auto first = plain.next();
  ASSERT_TRUE(first) << "a stream that has said nothing for a second is plain";
  EXPECT_EQ(first->payload(), "x");
  sender.join();
  EXPECT_FALSE(late.hello());
}

}  // namespace
}  // namespace paradox::upstream
