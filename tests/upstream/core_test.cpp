// What the C++ library remembers, without gRPC: the test is the gateway's end of each stream.
#include "upstream/cpp/core.h"

#include <gtest/gtest.h>

#include <chrono>

namespace paradox::upstream {
namespace {

using namespace std::chrono_literals;
namespace wire = ::upstream::grpc::service;

constexpr uint64_t kLane = 70;
const std::string kClient = "6ba7b810-9dad-41d1-80b4-00c04fd430c8";
const std::string kOther = "7ba7b810-9dad-41d1-80b4-00c04fd430c8";

// Notes what it is told, and does what the test says with bytes.
class Worker : public Handler {
 public:
  std::function<bool(const std::string& client, std::string_view bytes)> hook;

  bool onBytes(const std::string& client, std::string_view bytes, uint64_t offset) override {
    bool done = hook ? hook(client, bytes) : true;
    std::lock_guard lock(mutex);
    received[client] += bytes;
    lastOffset = offset;
    changed.notify_all();
    return done;
  }
  void onOpened(const std::string& client, const Opened& how) override {
    note("opened " + client.substr(0, 1) + (how.continued ? " again" : ""));
  }
  void onEnd(const std::string& client) override { note("end " + client.substr(0, 1)); }
  void onClosed(const std::string& client, const std::string& reason) override {
    note("closed " + client.substr(0, 1) + " " + reason);
  }
  void note(const std::string& what) {
    std::lock_guard lock(mutex);
    told.push_back(what);
    changed.notify_all();
  }
  bool waitFor(const std::function<bool()>& holds, std::chrono::milliseconds within = 5s) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, within, holds);
  }
  bool waitForBytes(const std::string& client, const std::string& bytes) {
    return waitFor([&] { return received[client] == bytes; });
  }

  std::vector<std::string> toldSoFar() {
    std::lock_guard lock(mutex);
    return told;
  }

  std::mutex mutex;
  std::condition_variable changed;
  std::map<std::string, std::string> received;
  std::vector<std::string> told;
  uint64_t lastOffset = 0;
};

// The gateway's end of one stream.
class GatewayEnd {
 public:
  explicit GatewayEnd(Core& core) : core_(&core), stream_(std::make_shared<Stream>()) {
    stream_->kick = [bell = bell_] { bell->rung.notify_all(); };
    stream_->readOn = [] {};
    core_->opened(stream_);
  }
  ~GatewayEnd() { breakOff(); }
  std::optional<std::string> say(Input message) { return core_->take(stream_, message); }
  std::optional<std::string> hello(uint64_t lane = kLane, uint32_t version = 1) {
    Input message;
    wire::Hello& hello = *message.mutable_hello();
    hello.set_version(version);
    for (const char* name : {"events", "close", "resume", "more"}) hello.add_capabilities(name);
    hello.set_instance_id("gateway");
    hello.set_lane(lane);
    return say(message);
  }
  void bytes(const std::string& client, const std::string& payload, uint64_t offset) {
    Input message;
    message.set_client_uuid(client);
    message.set_payload(payload);
    message.set_offset(offset);
    EXPECT_FALSE(say(message));
  }
  void plain(const std::string& client, const std::string& payload) {
    Input message;
    message.set_client_uuid(client);
    message.set_payload(payload);
    EXPECT_FALSE(say(message));
  }
  void event(const std::string& client, wire::SessionEvent::Kind kind, uint64_t offset = 0,
             bool continued = false) {
    Input message;
    message.set_client_uuid(client);
    message.mutable_event()->set_kind(kind);
    message.mutable_event()->set_offset(offset);
    message.mutable_event()->set_continued(continued);
    message.mutable_event()->set_reason("told so");
    EXPECT_FALSE(say(message));
  }
  void position(uint64_t sequence, bool attach, uint64_t lane = kLane) {
    Input message;
    wire::LanePosition& position = *message.add_lanes();
    position.set_lane(lane);
    position.set_sequence(sequence);
    position.set_attach(attach);
    EXPECT_FALSE(say(message));
  }
  // The next message that comes within the time.
  std::shared_ptr<const Output> next(std::chrono::milliseconds within = 5s) {
    const auto deadline = std::chrono::steady_clock::now() + within;
    for (bool over = false;;) {
      if (auto message = core_->next(stream_, over)) return message;
      finished = over;
      std::unique_lock lock(bell_->mutex);
      if (over || std::chrono::steady_clock::now() >= deadline) return nullptr;
      bell_->rung.wait_for(lock, 5ms);
    }
  }
  void endInput() { core_->inputEnded(stream_); }
  void breakOff() {
    if (!std::exchange(gone_, true)) core_->gone(stream_);
  }
  bool finished = false;

 private:
  struct Bell {
    std::mutex mutex;
    std::condition_variable rung;
  };
  Core* core_;
  StreamPtr stream_;
  std::shared_ptr<Bell> bell_ = std::make_shared<Bell>();
  bool gone_ = false;
};

class UpstreamCore : public ::testing::Test {
 protected:
  void SetUp() override { core->start(); }
  void TearDown() override { core->stop(); }
  void send(const std::string& client, std::string_view bytes) {
    core->send(&client, std::nullopt, bytes, CloseMode::kFlush, false);
  }
  void broadcast(std::string_view bytes) { core->send(nullptr, To::kAll, bytes, CloseMode::kFlush, false); }
  // A stream on which all that the gateway says at its start has been said.
  std::unique_ptr<GatewayEnd> attached(uint64_t pushed = 0, uint64_t lane = kLane) {
    auto stream = std::make_unique<GatewayEnd>(*core);
    EXPECT_FALSE(stream->hello(lane));
    auto answer = stream->next();
    EXPECT_TRUE(answer && answer->has_hello());
    stream->position(pushed, true, lane);
    return stream;
  }

  Worker worker;
  std::shared_ptr<Core> core = std::make_shared<Core>(worker, Options{.replayBytes = 100'000});
};

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

TEST_F(UpstreamCore, SendBlocksWhileTheReplayBufferIsFull) {
  auto stream = attached();
  stream->event(kClient, wire::SessionEvent::KIND_OPENED);
  std::atomic<int> sent{0};
  std::thread sender([&] {
    for (int i = 0; i < 20; ++i, ++sent) send(kClient, std::string(10'000, 'x'));
  });
  while (stream->next(200ms)) {
  }
  EXPECT_EQ(sent, 10) << "100,000 bytes are kept";
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
  worker.hook = [&](const std::string& client, std::string_view bytes) {
    std::this_thread::sleep_for(20ms);
    send(client, bytes);
    return true;
  };
  auto stream = attached();
  stream->event(kClient, wire::SessionEvent::KIND_OPENED);
  for (uint64_t i = 0; i < 5; ++i) stream->bytes(kClient, "x", i);
  stream->endInput();
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

TEST_F(UpstreamCore, ADropOfAnOrphanedLaneClosesItsClients) {
  core->stop();
  core = std::make_shared<Core>(worker, Options{.orphanTimeout = 200ms});
  core->start();
  auto stream = attached();
  stream->event(kClient, wire::SessionEvent::KIND_OPENED);
  stream->breakOff();
  EXPECT_TRUE(worker.waitFor(
      [&] { return !worker.told.empty() && worker.told.back() == "closed 6 the gateway is gone"; }));
}

}  // namespace
}  // namespace paradox::upstream
