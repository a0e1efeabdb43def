// What an upstream sends: in order, held until it is acknowledged, and over which stream.
#include <future>

#include "tests/upstream/core_bed.h"

namespace paradox::upstream {
namespace {

TEST_F(UpstreamCore, SaysNothingOnALaneBeforeItIsAttachedAndAllOfItAgainAfterwards) {
  auto stream = attached();
  stream->event(kClient, wire::SessionEvent::KIND_OPENED);
  send(kClient, "1");
  send(kClient, "2");
  send(kClient, "3");
  for (const char* payload : {"1", "2", "3"}) EXPECT_EQ(stream->next()->payload(), payload);
  stream->position(1, false);
  stream->breakOff();
  send(kClient, "4");
  GatewayEnd again(*core);
  EXPECT_FALSE(again.hello());
  EXPECT_TRUE(again.next()->has_hello());
  EXPECT_FALSE(again.next(50ms));
  again.position(2, true);
  auto three = again.next(), four = again.next();
  ASSERT_TRUE(three && four);
  EXPECT_EQ(three->payload(), "3");
  EXPECT_EQ(three->sequence(), 3u);
  EXPECT_EQ(four->sequence(), 4u);
  EXPECT_FALSE(again.next(50ms));
}

TEST_F(UpstreamCore, RepliesToAClientStayInTheirLaneUntilAllAreAcknowledged) {
  auto first = attached(0, 70), second = attached(0, 71);
  first->event(kClient, wire::SessionEvent::KIND_OPENED);
  send(kClient, "early");
  EXPECT_EQ(first->next()->payload(), "early");
  first->breakOff();
  second->event(kClient, wire::SessionEvent::KIND_OPENED, 0, true);
  send(kClient, "late");
  EXPECT_FALSE(second->next(50ms)) << "it would overtake";
  second->position(0, true, 70);  // the lane comes over
  auto early = second->next(), late = second->next();
  ASSERT_TRUE(early && late);
  EXPECT_EQ(early->lane(), 70u);
  EXPECT_EQ(late->payload(), "late");
  second->position(2, false, 70);
  send(kClient, "new lane");
  EXPECT_EQ(second->next()->lane(), 71u);
}

TEST_F(UpstreamCore, BroadcastsStayInTheirLaneUntilAllAreAcknowledged) {
  auto first = attached(0, 70);
  broadcast("one");
  auto second = attached(0, 71);
  EXPECT_EQ(first->next()->payload(), "one");
  broadcast("two");
  EXPECT_EQ(first->next()->payload(), "two");
  first->endInput();
  EXPECT_FALSE(first->next());
  first->breakOff();
  broadcast("three");
  EXPECT_FALSE(second->next(50ms)) << "it would overtake";
  second->position(2, true, 70);  // the lane comes over
  auto three = second->next();
  ASSERT_TRUE(three);
  EXPECT_EQ(three->lane(), 70u);
  second->position(3, false, 70);
  broadcast("four");
  EXPECT_EQ(second->next()->lane(), 71u);
}

TEST_F(UpstreamCore, SendsNothingOverAPlainStreamThatTheGatewayHasEnded) {
  GatewayEnd first(*core), second(*core);
  first.plain(kClient, "hello");
  second.plain(kOther, "hello");
  ASSERT_TRUE(worker.waitForBytes(kOther, "hello"));
  first.endInput();
  EXPECT_FALSE(first.next());
  EXPECT_TRUE(first.finished);
  first.breakOff();
  send(kClient, "late");
  broadcast("to all");
  EXPECT_EQ(second.next()->payload(), "late");
  EXPECT_EQ(second.next()->payload(), "to all");
}

TEST_F(UpstreamCore, SendBlocksWhileTheReplayBufferIsFull) {
  auto stream = attached();
  stream->event(kClient, wire::SessionEvent::KIND_OPENED);
  std::atomic<int> sent{0};
  std::thread sender([&] {
    for (int i = 0; i < 20; ++i, ++sent) send(kClient, std::string(10'000, 'x'));
  });
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(stream->next()) << i;
  EXPECT_FALSE(stream->next(200ms)) << "100,000 bytes are kept";
  EXPECT_EQ(sent, 10);
  EXPECT_TRUE(core->isFull(kClient));
  for (uint64_t acknowledged = 5; acknowledged <= 20; acknowledged += 5) {
    stream->position(acknowledged, false);
    while (stream->next(100ms)) {
    }
  }
  sender.join();
  EXPECT_EQ(sent, 20);
}

TEST_F(UpstreamCore, EndsAStreamAfterWhatWasBegun) {
  std::promise<void> inputHasEnded;
  auto ended = inputHasEnded.get_future().share();
  worker.hook = [&, ended](const std::string& client, std::string_view bytes) {
    ended.wait();
    send(client, bytes);
    return true;
  };
  auto stream = attached();
  stream->event(kClient, wire::SessionEvent::KIND_OPENED);
  for (uint64_t i = 0; i < 5; ++i) stream->bytes(kClient, "x", i);
  stream->endInput();
  inputHasEnded.set_value();
  for (int i = 0; i < 5; ++i) {
    auto reply = stream->next();
    ASSERT_TRUE(reply) << i;
    EXPECT_EQ(reply->payload(), "x");
  }
  EXPECT_FALSE(stream->next());
  EXPECT_TRUE(stream->finished);
}

TEST_F(UpstreamCore, ServesAPlainGatewayByThePlainContract) {
  GatewayEnd stream(*core);
  worker.hook = [&](const std::string& client, std::string_view bytes) {
    send(client, bytes);
    return true;
  };
  stream.plain(kClient, "hello");
  auto reply = stream.next();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->payload(), "hello");
  EXPECT_EQ(reply->sequence() + reply->lane() + reply->acknowledged(), 0u);
  EXPECT_EQ(worker.toldSoFar(), std::vector<std::string>{"opened 6"});
  EXPECT_FALSE(core->send(&kClient, std::nullopt, {}, CloseMode::kFlush, true)) << "it cannot close";
  EXPECT_FALSE(stream.next(150ms)) << "nor mark";
}

TEST_F(UpstreamCore, WhatIsSentWhileAPlainStreamEndsGoesOverTheNextOnceItHasEnded) {
  GatewayEnd ending(*core), other(*core);
  worker.hook = [&](const std::string&, std::string_view) { return true; };
  ending.plain(kClient, "hello");
  other.plain(kOther, "hello");
  send(kClient, "before");
  ASSERT_TRUE(worker.waitForBytes(kClient, "hello") && worker.waitForBytes(kOther, "hello"));
  ending.endInput();
  auto before = ending.next();
  ASSERT_TRUE(before);
  EXPECT_EQ(before->payload(), "before");
  ASSERT_FALSE(ending.next());
  ASSERT_TRUE(ending.finished);
  std::thread sender([&] { send(kClient, "after"); });
  EXPECT_FALSE(other.next(150ms)) << "it overtakes what is on its way over the ending stream";
  ending.breakOff();
  auto after = other.next();
  sender.join();
  ASSERT_TRUE(after);
  EXPECT_EQ(after->client_uuid(), kClient);
  EXPECT_EQ(after->payload(), "after");
}

}  // namespace
}  // namespace paradox::upstream
