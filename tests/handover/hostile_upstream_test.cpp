// Upstreams that misbehave while their sessions are handed over: nobody is closed, nothing is lost that the upstream
// has taken, and deadlines are kept.
#include <gtest/gtest.h>

#include <algorithm>
#include <future>
#include <optional>

#include "tests/gateway/harness/echo_worker.h"
#include "tests/gateway/harness/in_test_upstream.h"
#include "tests/handover/restart_harness.h"

namespace ppx::test {
namespace {

class HostileUpstream : public ::testing::Test {
 protected:
  static GatewayOptions options(uint16_t port) {
    return {.forwarders = 1,
            .upstreams = {port},
            .workers =
                "respawn_backoff_min = \"10ms\"\nrespawn_backoff_max = \"50ms\"\n"
                "barrier_timeout = \"500ms\"\ndrain_max = \"20s\"\n",
            .listener = "crash_policy = \"continue\"\n"};
  }
  // A gateway with this upstream, and a client that it has served.
  struct Served {
    explicit Served(const GatewayOptions& options) : gateway(options) {
      gateway.waitForUpstream(options.upstreams.at(0));
      client.emplace(gateway.port());
      EXPECT_EQ(client->exchange("before"), "before");
    }
    Gateway gateway;
    std::optional<Client> client;
  };
  static Json restart(const Gateway& gateway) { return operate(gateway, "/admin/forwarders/restart"); }
  static void waitUntilHalfClosed(const Gateway& gateway, uint16_t port, const std::future<Json>& over) {
    waitUntil("a half-closed stream", [&] {
      const Json streams = gateway.upstream(port).at("streams");
      return std::any_of(streams.begin(), streams.end(),
                         [](const Json& stream) { return stream.at("state") == "draining"; }) ||
             over.wait_for(0ms) == std::future_status::ready;
    });
  }
  // Random bytes, as many as go until all that lies between the client and an upstream that reads nothing is full.
  static std::string fill(Client& client) {
    std::string much = randomBytes(3 << 20, 7);
    size_t sent = 0;
    for (int quiet = 0; quiet < 20 && sent < much.size();) {
      size_t took = client.sendSome(std::string_view(much).substr(sent));
      sent += took;
      quiet = took == 0 ? quiet + 1 : 0;
      if (took == 0) std::this_thread::sleep_for(10ms);
    }
    much.resize(sent);
    return much;
  }
  static std::string receiveAll(Client& client, size_t bytes) {
    std::string got;
    while (got.size() < bytes) got += client.receive(std::min<size_t>(4096, bytes - got.size()), 20s);
    return got;
  }
};

TEST_F(HostileUpstream, ThatNeverEndsItsStreamKeepsNobodyAndItsLateRepliesArrive) {
  InTestUpstream upstream;
  upstream.setEndsAtInputEnd(false);
  Served served(options(upstream.port()));
  Gateway& gateway = served.gateway;
  Client& client = *served.client;
  StreamRef old = upstream.anyStream();
  std::string uuid = upstream.clientThatSent("before");
  EXPECT_EQ(restart(gateway).at("state"), "done");
  auto moves = events(gateway, "forwarder_moved");
  ASSERT_EQ(moves.size(), 1u);
  EXPECT_EQ(moves[0].at("moved"), 1);
  EXPECT_EQ(moves[0].at("in_doubt"), 1) << "nobody has proved that the upstream read everything";
  EXPECT_EQ(client.exchange("after"), "after");
  old->reply(uuid, "late");
  EXPECT_EQ(client.receive(4), "late") << "the old stream lingers";
  old->end();
  waitUntil("the old forwarder's end", [&] { return gateway.workers("forwarder").size() == 1; });
  EXPECT_EQ(client.exchange("still"), "still");
}

TEST_F(HostileUpstream, ThatNeverEndsItsStreamLeavesInDoubtWhoIsRoutedByMessage) {
  InTestUpstream upstream;
  upstream.setEndsAtInputEnd(false);
  GatewayOptions byMessage = options(upstream.port());
  byMessage.listener += "routing = \"message\"\n";
  Served served(byMessage);
  EXPECT_EQ(restart(served.gateway).at("state"), "done");
  auto moves = events(served.gateway, "forwarder_moved");
  ASSERT_EQ(moves.size(), 1u);
  EXPECT_EQ(moves[0].at("in_doubt"), 1) << "any of its payloads may be there, unread";
  EXPECT_EQ(served.client->exchange("after"), "after");
}

TEST_F(HostileUpstream, ThatEndsItsStreamWithAnErrorCostsNobodyHisConnection) {
  InTestUpstream upstream;
  upstream.setEndsAtInputEnd(false);
  GatewayOptions patient = options(upstream.port());
  patient.workers = "barrier_timeout = \"30s\"\n";
  Served served(patient);
  Gateway& gateway = served.gateway;
  Client& client = *served.client;
  auto over = std::async(std::launch::async, [&] { return restart(gateway); });
  waitUntilHalfClosed(gateway, upstream.port(), over);
  upstream.endStreams(false);
  EXPECT_EQ(over.get().at("state"), "done");
  EXPECT_EQ(client.exchange("after"), "after");
}

TEST_F(HostileUpstream, ThatNeedsLongToReadLosesNoByte) {
  InTestUpstream upstream;
  Served served(options(upstream.port()));
  Gateway& gateway = served.gateway;
  Client& client = *served.client;
  // It stops reading in the middle of much, and goes on only after the sessions have moved without it.
  upstream.setHanging(true);
  std::string want = fill(client);
  EXPECT_EQ(restart(gateway).at("state"), "done");
  upstream.setHanging(false);
  std::string got = receiveAll(client, want.size());
  // Order across a move that did not wait is not promised; that nothing is lost or doubled is.
  std::sort(got.begin(), got.end());
  std::sort(want.begin(), want.end());
  EXPECT_TRUE(got == want);
  EXPECT_EQ(client.receiveFor(200ms), "");
}

TEST_F(HostileUpstream, ThatNeedsFourSecondsToReadIsWaitedForAndTheOrderIsKept) {
  InTestUpstream upstream;
  GatewayOptions patient = options(upstream.port());
  patient.workers = "barrier_timeout = \"30s\"\n";
  Served served(patient);
  Gateway& gateway = served.gateway;
  Client& client = *served.client;
  upstream.setHanging(true);
  const std::string want = fill(client);
  auto over = std::async(std::launch::async, [&] { return restart(gateway); });
  waitUntilHalfClosed(gateway, upstream.port(), over);
  EXPECT_EQ(over.wait_for(4s), std::future_status::timeout) << "the move has not waited for the barrier";
  upstream.setHanging(false);
  EXPECT_TRUE(receiveAll(client, want.size()) == want);
  EXPECT_EQ(over.get().at("state"), "done");
  EXPECT_EQ(client.exchange("after"), "after");
  auto moves = events(gateway, "forwarder_moved");
  ASSERT_EQ(moves.size(), 1u);
  EXPECT_EQ(moves[0].at("moved"), 1);
  EXPECT_EQ(moves[0].at("in_doubt"), 0);
}

TEST_F(HostileUpstream, ThatIsStoppedHoldsTheRestartUpNoLongerThanTheBarrier) {
  EchoWorker worker;
  Served served(options(worker.port()));
  Gateway& gateway = served.gateway;
  Client& client = *served.client;
  worker.kill(SIGSTOP);
  EXPECT_EQ(restart(gateway).at("state"), "done");
  worker.kill(SIGCONT);
  EXPECT_EQ(client.exchange("after"), "after");
}

TEST_F(HostileUpstream, ThatAnswersForAMovingSessionByAnotherForwardersStreamIsHeard) {
  InTestUpstream upstream;
  upstream.setEndsAtInputEnd(false);
  GatewayOptions two = options(upstream.port());
  two.forwarders = 2;
  Gateway gateway(two);
  gateway.waitForUpstream(upstream.port());
  upstream.waitForStreams(2);
  Client client(gateway.port());
  EXPECT_EQ(client.exchange("before"), "before");
  std::string uuid = upstream.clientThatSent("before");
  auto streams = upstream.streams();
  auto over = std::async(std::launch::async, [&] { return restart(gateway); });
  // Over all the streams there were, for as long as they are: the session is on its way meanwhile.
  for (int i = 0; i < 2; ++i) streams.at(static_cast<size_t>(i))->reply(uuid, "answer");
  EXPECT_EQ(client.receive(12), "answeranswer");
  for (const StreamRef& stream : streams) stream->end();
  EXPECT_EQ(over.get().at("state"), "done");
  EXPECT_EQ(client.exchange("after"), "after");
}

}  // namespace
}  // namespace ppx::test
