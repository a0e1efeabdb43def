// Bad input to the extensions: the stream ends with a reason, and nothing else does. An upstream that writes its own
// messages.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <mutex>

#include "tests/gateway/harness/gateway.h"
#include "tests/gateway/harness/in_test_upstream.h"
#include "upstream.pb.h"

namespace ppx::test {
namespace {

namespace wire = ::upstream::grpc::service;
using Output = wire::OutputStreamRequest;

Output helloOf(uint32_t version, std::vector<std::string> capabilities,
               const std::string& instance = "one life") {
  Output message;
  message.mutable_hello()->set_version(version);
  for (const std::string& name : capabilities) message.mutable_hello()->add_capabilities(name);
  message.mutable_hello()->set_instance_id(instance);
  return message;
}

struct Extensions : ::testing::Test {
  // What the upstream answers to the gateway's hello, and to a payload.
  Output hello = helloOf(1, {"events", "close", "resume"});
  std::function<std::vector<Output>(const wire::InputStreamRequest&)> answer;
  std::mutex mutex;
  std::vector<wire::InputStreamRequest> seen;
  InTestUpstream upstream, honest;
  std::unique_ptr<Gateway> gateway;

  void start() {
    upstream.announceExtensions(1);
    upstream.onRaw([this](UpstreamStream& stream, const std::string& bytes) {
      wire::InputStreamRequest message;
      message.ParseFromString(bytes);
      std::vector<Output> answers;
      {
        std::lock_guard lock(mutex);
        seen.push_back(message);
        if (message.has_hello())
          answers.push_back(hello);
        else if (answer)
          answers = answer(message);
      }
      for (const Output& each : answers) stream.send(each.SerializeAsString());
    });
    gateway = std::make_unique<Gateway>(
        GatewayOptions{.forwarders = 1, .upstreams = {upstream.port()}, .logLevel = "info"});
  }
  std::vector<wire::InputStreamRequest> sawSoFar() {
    std::lock_guard lock(mutex);
    return seen;
  }
  // The log gives the reason, the clients go on with another upstream.
  void expectStreamEnds(Client& client, const std::string& reason) {
    waitUntil("the reason in the log", [&] { return gateway->log().find(reason) != std::string::npos; });
    gateway->addUpstream(honest.port());
    gateway->waitForUpstream(honest.port());
    gateway->deleteUpstream(upstream.port());
    client.send("still here");
    std::string back;
    while (back.find("still here") == std::string::npos) back += client.receive(1);
    EXPECT_TRUE(client.isOpen());
    EXPECT_EQ(gateway->metric("paradox_worker_restarts_total", {"role=\"forwarder\""}), 0);
  }
};

Output replyTo(const std::string& client, const std::string& payload, uint64_t sequence) {
  Output message;
  message.set_client_uuid(client);
  message.set_payload(payload);
  message.set_sequence(sequence);
  return message;
}

TEST_F(Extensions, TheMetadataOfAStreamSayWhetherItBeginsWithAHello) {
  start();
  upstream.waitForStreams(1);
  EXPECT_EQ(upstream.anyStream()->metadata().at("paradoxplex-extensions"), "1");
  gateway->addUpstream(honest.port());
  honest.waitForStreams(1);
  EXPECT_EQ(honest.anyStream()->metadata().count("paradoxplex-extensions"), 0u);
}

TEST_F(Extensions, TheGatewaySaysHelloFirstAndOffersAllOfThem) {
  start();
  waitUntil("a hello", [&] { return !sawSoFar().empty(); });
  wire::InputStreamRequest first = sawSoFar().front();
  ASSERT_TRUE(first.has_hello());
  EXPECT_EQ(first.hello().version(), 1u);
  EXPECT_THAT(first.hello().capabilities(), ::testing::ElementsAre("events", "close", "resume"));
  EXPECT_EQ(first.hello().instance_id().size(), 36u);
  EXPECT_NE(first.hello().lane(), 0u);
}

TEST_F(Extensions, APlainUpstreamSeesThePlainWire) {
  upstream.onRaw([this](UpstreamStream&, const std::string& bytes) {
    std::lock_guard lock(mutex);
    seen.emplace_back().ParseFromString(bytes);
  });
  gateway = std::make_unique<Gateway>(GatewayOptions{.forwarders = 1, .upstreams = {upstream.port()}});
  Client client(gateway->port());
  client.send("plain");
  client.halfClose();
  waitUntil("its bytes", [&] { return !sawSoFar().empty(); });
  client.waitForEnd();
  for (const auto& message : sawSoFar()) {
    EXPECT_EQ(message.payload(), "plain");
    EXPECT_FALSE(message.has_hello() || message.has_event() || message.has_offset() ||
                 message.lanes_size() > 0);
  }
}

TEST_F(Extensions, UnknownCapabilitiesAreIgnored) {
  hello = helloOf(1, {"teleport", "close", "x"});
  answer = [](const wire::InputStreamRequest& input) {
    Output echo;
    echo.set_client_uuid(input.client_uuid());
    echo.set_payload(input.payload());
    echo.set_sequence(17);  // without resume it means nothing
    return std::vector<Output>{echo};
  };
  start();
  Client client(gateway->port());
  EXPECT_EQ(client.exchange("hello"), "hello");
  for (const auto& message : sawSoFar()) EXPECT_FALSE(message.has_offset() || message.has_event());
}

TEST_F(Extensions, AVersionThatIsNotOursEndsTheStream) {
  hello = helloOf(7, {"events"});
  start();
  Client client(gateway->port());
  expectStreamEnds(client, "version 7 of the extensions is not spoken here");
}

TEST_F(Extensions, AStreamThatDoesNotBeginWithAHelloEnds) {
  hello = replyTo("", "no hello", 1);
  start();
  Client client(gateway->port());
  expectStreamEnds(client, "does not begin with a hello");
}

TEST_F(Extensions, ASecondHelloEndsTheStream) {
  answer = [this](const wire::InputStreamRequest&) { return std::vector<Output>{hello}; };
  start();
  Client client(gateway->port());
  client.send("x");
  expectStreamEnds(client, "a second hello");
}

// Whoever is not told of assignments cannot say what it acknowledges.
TEST_F(Extensions, ResumeIsGrantedWithEventsOnly) {
  hello = helloOf(1, {"close", "resume"});
  answer = [](const wire::InputStreamRequest& input) {
    return std::vector<Output>{replyTo(input.client_uuid(), input.payload(), 0)};
  };
  start();
  Client client(gateway->port());
  EXPECT_EQ(client.exchange("hello"), "hello");
  for (const auto& message : sawSoFar())
    EXPECT_FALSE(message.has_offset() || message.has_event() || message.lanes_size() > 0);
}

TEST_F(Extensions, MoreMarksThanAMessageMayHoldAreDroppedWithIt) {
  answer = [](const wire::InputStreamRequest& input) {
    Output marks = replyTo(input.client_uuid(), "lost", 0);
    for (int i = 0; i < 4097; ++i) {
      marks.add_marks()->set_client_uuid(input.client_uuid());
      marks.mutable_marks(i)->set_offset(1'000'000);  // would end the stream
    }
    if (input.payload().empty()) return std::vector<Output>{};
    return std::vector<Output>{marks, replyTo(input.client_uuid(), input.payload(), 1)};
  };
  start();
  Client client(gateway->port());
  EXPECT_EQ(client.exchange("hello"), "hello");
  EXPECT_GT(gateway->metric("paradox_replies_malformed_total"), 0);
  EXPECT_EQ(gateway->metric("paradox_stream_failures_total"), 0);
}

TEST_F(Extensions, ResumeWithoutAnInstanceEndsTheStream) {
  hello = helloOf(1, {"events", "resume"}, "");
  start();
  Client client(gateway->port());
  expectStreamEnds(client, "resume without a usable instance_id");
}

TEST_F(Extensions, AnAcknowledgementFromTheFutureEndsTheStream) {
  answer = [](const wire::InputStreamRequest& input) {
    if (input.payload().empty()) return std::vector<Output>{};
    Output marks;
    wire::InputMark& mark = *marks.add_marks();
    mark.set_client_uuid(input.client_uuid());
    mark.set_offset(1'000'000);
    return std::vector<Output>{marks};
  };
  start();
  Client client(gateway->port());
  client.send("x");
  expectStreamEnds(client, "acknowledges byte 1000000 of a client of whom 1 have come");
}

TEST_F(Extensions, AReplyThatImpliesAFutureAcknowledgementEndsTheStreamToo) {
  answer = [](const wire::InputStreamRequest& input) {
    if (input.payload().empty()) return std::vector<Output>{};
    Output reply = replyTo(input.client_uuid(), "y", 1);
    reply.set_acknowledged(~0ull);
    return std::vector<Output>{reply};
  };
  start();
  Client client(gateway->port());
  client.send("x");
  expectStreamEnds(client, "acknowledges byte 18446744073709551615");
}

TEST_F(Extensions, AMissingReplyEndsTheStream) {
  answer = [](const wire::InputStreamRequest& input) {
    if (input.payload().empty()) return std::vector<Output>{};
    return std::vector<Output>{replyTo(input.client_uuid(), "y", 1), replyTo(input.client_uuid(), "z", 3)};
  };
  start();
  Client client(gateway->port());
  client.send("x");
  EXPECT_EQ(client.receive(1), "y");
  expectStreamEnds(client, "reply 3 follows 1");
}

TEST_F(Extensions, ARepeatedReplyIsDroppedAndUnknownLanesAndClientsHarmNobody) {
  const std::string nobody = "6ba7b810-9dad-41d1-80b4-00c04fd430c8";
  answer = [&](const wire::InputStreamRequest& input) {
    if (input.payload().empty()) return std::vector<Output>{};
    Output strange = replyTo(input.client_uuid(), "lane", 1);
    strange.set_lane(12345);
    Output closing = replyTo(input.client_uuid(), "", 4);
    closing.set_close(static_cast<wire::Close>(9));
    Output unnumbered = replyTo(input.client_uuid(), "unnumbered", 0);
    Output marks;
    marks.add_marks()->set_client_uuid(nobody);
    marks.mutable_marks(0)->set_offset(5);
    marks.add_marks()->set_client_uuid("no uuid");
    return std::vector<Output>{replyTo(input.client_uuid(), "a", 1),
                               strange,
                               replyTo(input.client_uuid(), "a", 1),
                               replyTo(nobody, "?", 2),
                               replyTo("no uuid", "?", 3),
                               closing,
                               unnumbered,
                               marks,
                               replyTo(input.client_uuid(), "b", 5)};
  };
  start();
  Client client(gateway->port());
  client.send("x");
  EXPECT_EQ(client.receive(2), "ab");
  EXPECT_EQ(client.receiveFor(200ms), "");
  EXPECT_EQ(gateway->metric("paradox_stream_failures_total"), 0);
  // Who speaks of a client that is not there is told so.
  waitUntil("the answer", [&] {
    for (const auto& message : sawSoFar())
      if (message.has_event() && message.client_uuid() == nobody)
        return message.event().kind() == wire::SessionEvent::KIND_CLOSED &&
               message.event().reason() == "unknown";
    return false;
  });
}

// How a worker without `resume` finds out whose end it has missed.
TEST_F(Extensions, AMarkAsksWhetherAClientIsThereEvenWithoutResume) {
  const std::string nobody = "6ba7b810-9dad-41d1-80b4-00c04fd430c8";
  hello = helloOf(1, {"events"});
  answer = [&](const wire::InputStreamRequest& input) {
    if (input.payload().empty()) return std::vector<Output>{};
    Output question;
    question.add_marks()->set_client_uuid(input.client_uuid());
    question.mutable_marks(0)->set_offset(1'000'000);
    question.add_marks()->set_client_uuid(nobody);
    return std::vector<Output>{question, replyTo(input.client_uuid(), "a", 0)};
  };
  start();
  Client client(gateway->port());
  client.send("x");
  EXPECT_EQ(client.receive(1), "a");
  auto closed = [&] {
    std::vector<std::string> clients;
    for (const auto& message : sawSoFar())
      if (message.has_event() && message.event().kind() == wire::SessionEvent::KIND_CLOSED)
        clients.push_back(message.client_uuid());
    return clients;
  };
  waitUntil("the answer", [&] { return !closed().empty(); });
  EXPECT_EQ(closed(), std::vector<std::string>{nobody});
  EXPECT_TRUE(client.isOpen());
}

TEST_F(Extensions, RandomBytesHarmNobody) {
  std::atomic<int> rest{200};
  upstream.announceExtensions(1);
  upstream.onRaw([&](UpstreamStream& stream, const std::string& bytes) {
    wire::InputStreamRequest message;
    message.ParseFromString(bytes);
    if (message.has_hello()) stream.send(helloOf(1, {"events", "close", "resume"}).SerializeAsString());
    if (message.payload().empty() || rest-- <= 0) return;
    // A valid message, damaged.
    Output reply = replyTo(message.client_uuid(), "payload", 1);
    reply.set_acknowledged(1);
    reply.set_close(wire::CLOSE_NONE);
    reply.add_marks()->set_client_uuid(message.client_uuid());
    std::string damaged = reply.SerializeAsString();
    for (int i = 0; i < 3; ++i)
      damaged[static_cast<size_t>(std::rand()) % damaged.size()] ^= 1 << (std::rand() % 8);
    stream.send(damaged);
  });
  gateway = std::make_unique<Gateway>(
      GatewayOptions{.forwarders = 1, .upstreams = {upstream.port()}, .logLevel = "error"});
  Client client(gateway->port());
  Deadline deadline(5s);
  while (rest > 0 && !deadline.passed()) {
    client.send("x");
    client.receiveFor(5ms);
  }
  EXPECT_TRUE(client.isOpen());
  EXPECT_EQ(gateway->metric("paradox_worker_restarts_total", {"role=\"forwarder\""}), 0);
}

}  // namespace
}  // namespace ppx::test
