// What a crash leaves in doubt with a plain upstream: what was on its way to or from it within doubt_window, no more and
// no less.
#include <gtest/gtest.h>
#include <signal.h>

#include "tests/gateway/harness/gateway.h"
#include "tests/gateway/harness/in_test_upstream.h"

namespace ppx::test {
namespace {

constexpr double kWindowSeconds = 1;

struct Doubt : ::testing::Test {
  InTestUpstream upstream;

  static GatewayOptions options(const std::string& policy, const std::string& more = "") {
    return {.forwarders = 1,
            .workers = "respawn_backoff_min = \"10ms\"\nrespawn_backoff_max = \"50ms\"\n",
            .sessions = "doubt_window = \"1s\"\n",
            .listener = "crash_policy = \"" + policy + "\"\n" + more};
  }

  static void killForwarder(const Gateway& gateway) {
    pid_t pid = gateway.worker("forwarder");
    ::kill(pid, SIGKILL);
    gateway.waitForSuccessor("forwarder", pid);
    waitUntil("a whole gateway", [&] { return gateway.isWhole(); });
  }

  // For so long that a forwarder may have been without a processor for a while when it was last heard of.
  static void waitUntilQuiet(const Gateway& gateway, const Client& client, const char* since) {
    waitUntil("quiet for twice the window",
              [&] { return gateway.downstreamOf(client).at(since).get<double>() > 2 * kWindowSeconds; });
  }

  static bool isReported(const Gateway& gateway, const std::string& uuid) {
    return gateway.log().find("session " + uuid + ": in doubt") != std::string::npos;
  }
};

// A client that sent long ago, behind another one that the upstream is slow to read: its bytes are with gRPC, or are
// not; nobody can say.
TEST_F(Doubt, LastsAsLongAsInputWaitsForTheStreamThatHasIt) {
  upstream.setHanging(true);
  Gateway gateway(options("continue"));
  gateway.addUpstream(upstream.port());
  upstream.waitForStreams(1);
  Client first(gateway.port());
  auto waits = [](const Json& session) {
    return session.at("bytes").at("in_received").get<uint64_t>() -
           session.at("bytes").at("in_written").get<uint64_t>();
  };
  const std::string bulk(64 << 10, 'b');
  gateway.waitForSessions(1);
  waitUntil("a stream that takes no more",
            [&] { return first.sendSome(bulk) == 0 && waits(gateway.downstreamOf(first)) >= bulk.size(); });
  Client second(gateway.port());
  second.send("long ago");
  waitUntil("its bytes in the journal", [&] {
    gateway.waitForSessions(2);
    return waits(gateway.downstreamOf(second)) == 8;
  });
  waitUntilQuiet(gateway, second, "last_in_seconds_ago");
  ASSERT_EQ(waits(gateway.downstreamOf(second)), 8u);
  killForwarder(gateway);
  EXPECT_TRUE(isReported(gateway, gateway.downstreamOf(second).at("uuid")));
  EXPECT_TRUE(second.isOpen());
}

// What an upstream says of its own accord is traffic too, also where the client does not take it at the moment.
TEST_F(Doubt, CountsRepliesThatTheClientHasNotTaken) {
  Gateway gateway(options("continue"));
  gateway.addUpstream(upstream.port());
  Client client(gateway.port(), "", 4096);
  EXPECT_EQ(client.exchange("hello"), "hello");
  const std::string uuid = gateway.downstreamOf(client).at("uuid");
  StreamRef stream = upstream.anyStream();
  const std::string bulk(512 << 10, 'b');
  for (int i = 0; i < 16; ++i) stream->reply(uuid, bulk);
  auto figures = [&] { return gateway.downstreamOf(client).at("bytes"); };
  waitUntil("a client that takes no more", [&] {
    return figures().at("out_committed") == 5 + 16 * bulk.size() &&
           figures().at("out_sent") < figures().at("out_committed");
  });
  waitUntilQuiet(gateway, client, "last_out_seconds_ago");
  stream->reply(uuid, "and one more");
  waitUntil("it is in the journal",
            [&] { return figures().at("out_committed") == 5 + 16 * bulk.size() + 12; });
  killForwarder(gateway);
  EXPECT_TRUE(isReported(gateway, uuid));
}

// With routing = "message" a session has no upstream of its own: any that dies may have had bytes of it.
TEST_F(Doubt, IsReportedWithMessageRoutingWhenAnUpstreamIsLost) {
  InTestUpstream second;
  Gateway gateway(options("continue", "routing = \"message\"\n"));
  for (const InTestUpstream* each : {&upstream, &second}) {
    gateway.addUpstream(each->port());
    gateway.waitForUpstream(each->port());
  }
  upstream.waitForStreams(1);
  second.waitForStreams(1);
  Client client(gateway.port());
  for (int i = 0; i < 4; ++i) EXPECT_EQ(client.exchange("x"), "x");
  ASSERT_GT(upstream.messages(), 0u);
  upstream.endStreams(false);
  waitUntil("its report", [&] { return isReported(gateway, gateway.downstreamOf(client).at("uuid")); });
  EXPECT_EQ(gateway.metric("paradox_sessions_in_doubt_total"), 1);
  EXPECT_TRUE(client.isOpen());
}

// A deleted upstream has until barrier_timeout to read what it was sent and to end its stream.
struct UnprovenDeletion : Doubt, ::testing::WithParamInterface<const char*> {};

TEST_P(UnprovenDeletion, LeavesInDoubtWhoWasNotQuietAndEndsNobody) {
  upstream.setEndsAtInputEnd(false);
  GatewayOptions impatient = options("continue", std::string("upstream_loss = \"close\"\n") + GetParam());
  impatient.workers += "barrier_timeout = \"200ms\"\n";
  Gateway gateway(impatient);
  gateway.addUpstream(upstream.port());
  Client quiet(gateway.port());
  EXPECT_EQ(quiet.exchange("q"), "q");
  InTestUpstream next;
  gateway.addUpstream(next.port());
  gateway.waitForUpstream(next.port());
  next.waitForStreams(1);
  waitUntilQuiet(gateway, quiet, "last_out_seconds_ago");
  std::vector<Client> busy;
  for (int i = 0; i < 2; ++i) {
    busy.emplace_back(gateway.port());
    EXPECT_EQ(busy.back().exchange("b"), "b");
  }
  ASSERT_EQ(upstream.clients(), 2u);  // the quiet one, and one of the others
  gateway.deleteUpstream(upstream.port());
  waitUntil("the report", [&] { return gateway.metric("paradox_sessions_in_doubt_total") > 0; });
  upstream.stop();
  gateway.waitForUpstreamGone(upstream.port());
  EXPECT_FALSE(isReported(gateway, gateway.downstreamOf(quiet).at("uuid")));
  for (Client* client : {&quiet, &busy[0], &busy[1]}) EXPECT_EQ(client->exchange("still here"), "still here");
}

INSTANTIATE_TEST_SUITE_P(Routing, UnprovenDeletion, ::testing::Values("", "routing = \"message\"\n"),
                         [](const auto& each) { return *each.param == 0 ? "BySession" : "ByMessage"; });

TEST_F(Doubt, WithCloseASessionThatWasQuietGoesOnAndABusyOneIsEnded) {
  Gateway gateway(options("close"));
  gateway.addUpstream(upstream.port());
  Client quiet(gateway.port());
  EXPECT_EQ(quiet.exchange("q"), "q");
  waitUntilQuiet(gateway, quiet, "last_out_seconds_ago");
  Client busy(gateway.port());
  EXPECT_EQ(busy.exchange("b"), "b");
  killForwarder(gateway);
  EXPECT_EQ(busy.waitForEnd(), ClientEnd::kReset);
  EXPECT_EQ(quiet.exchange("still here"), "still here");
  waitUntil("the count", [&] { return gateway.closed("in_doubt") == 1; });
}

// A forwarder that stands still (or has no processor to run on) learns of the loss long after it.
TEST_F(Doubt, IsJudgedByTheLastSignOfAStreamHoweverLateItsEndIsNoticed) {
  Gateway gateway(options("continue"));
  gateway.addUpstream(upstream.port());
  Client quiet(gateway.port());
  EXPECT_EQ(quiet.exchange("q"), "q");
  waitUntilQuiet(gateway, quiet, "last_out_seconds_ago");
  const pid_t pid = gateway.worker("forwarder");
  Client busy(gateway.port());
  EXPECT_EQ(busy.exchange("b"), "b");
  ::kill(pid, SIGSTOP);
  upstream.stop();
  const std::string uuid = gateway.downstreamOf(busy).at("uuid");
  waitUntilQuiet(gateway, busy, "last_out_seconds_ago");
  ::kill(pid, SIGCONT);
  waitUntil("its report", [&] { return isReported(gateway, uuid); });
  EXPECT_FALSE(isReported(gateway, gateway.downstreamOf(quiet).at("uuid")));
  EXPECT_TRUE(busy.isOpen() && quiet.isOpen());
}

// Its heartbeat goes on for a while, but it reads nothing more of what its upstreams say.
TEST_F(Doubt, IsJudgedByWhatAHungForwarderHadReadNotByItsHeartbeat) {
  TempDir marks;
  GatewayOptions hanging = options("continue");
  hanging.workers += "heartbeat_timeout = \"2s\"\n";
  hanging.sessions = "doubt_window = \"800ms\"\n";  // it beats for a second
  hanging.environment = {{"PPX_FAILPOINTS", "reply.push=hang@2"}, {"PPX_FAILPOINTS_ONCE", marks.path()}};
  Gateway gateway(hanging);
  gateway.addUpstream(upstream.port());
  Client first(gateway.port()), second(gateway.port());
  const pid_t pid = gateway.worker("forwarder");
  EXPECT_EQ(first.exchange("1"), "1");
  second.send("2");
  const std::string uuid = gateway.downstreamOf(first).at("uuid");
  gateway.waitForSuccessor("forwarder", pid);
  waitUntil("a whole gateway", [&] { return gateway.isWhole(); });
  EXPECT_TRUE(isReported(gateway, uuid));
  EXPECT_TRUE(isReported(gateway, gateway.downstreamOf(second).at("uuid")));
}

}  // namespace
}  // namespace ppx::test
