// Upstreams with `resume`: their broadcasts, and lanes whose row has no process, while forwarders die.
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <array>
#include <future>

#include "tests/gateway/crash_step.h"
#include "tests/gateway/harness/gateway.h"
#include "tests/gateway/harness/library_upstream.h"

namespace ppx::test {
namespace {

// Two clients order broadcasts, numbered for each of them; every client hears each once and each one's in order, while
// forwarders die.
class ResumeBroadcast : public ::testing::TestWithParam<Step> {
 protected:
  static constexpr size_t kRecord = 8;
  static std::string record(size_t orderer, int number) {
    return fmt::format("{}:{:05d}\n", orderer, number);
  }
};

TEST_P(ResumeBroadcast, ReachesEachClientOnceAndInOrderOverCrashes) {
  LibraryUpstream upstream;
  std::vector<std::pair<std::string, int>> orderers;  // and how many of each; the handler's thread
  upstream.onBytes([&](const std::string& client, std::string_view bytes) {
    auto found = std::find_if(orderers.begin(), orderers.end(),
                              [&](const auto& orderer) { return orderer.first == client; });
    if (found == orderers.end()) found = orderers.insert(orderers.end(), {client, 0});
    for (size_t i = 0; i < bytes.size(); ++i)
      upstream.upstream().broadcast(paradox::upstream::To::kAll,
                                    record(static_cast<size_t>(found - orderers.begin()), found->second++));
    return true;
  });
  GatewayOptions options{.forwarders = 2,
                         .upstreams = {upstream.port()},
                         .workers = "respawn_backoff_min = \"10ms\"\nrespawn_backoff_max = \"20ms\"\n"};
  if (GetParam().pass > 0)
    options.environment = {
        {"PPX_FAILPOINTS", std::string(GetParam().failpoint) + "=kill@" + std::to_string(GetParam().pass)}};
  Gateway gateway(options);
  gateway.waitForUpstream(upstream.port());
  std::vector<Client> clients;
  for (int i = 0; i < 12; ++i) clients.emplace_back(gateway.port());
  gateway.waitForSessions(12);
  constexpr int kBroadcasts = 120, kUnheard = 20;
  std::vector<std::string> heard(clients.size());
  pid_t killed = 0;
  for (int i = 0; i < kBroadcasts; ++i) {
    clients[static_cast<size_t>(i) % 2].send("x");
    if (GetParam().pass == 0 && i % 30 == 15) {
      if (killed != 0) gateway.waitForSuccessor("forwarder", killed);
      waitUntil("a whole gateway", [&] { return gateway.isWhole(); });
      killed = gateway.worker("forwarder", i / 30 % 2);
      ::kill(killed, SIGKILL);
    }
    // No more than so many are under way: the kills fall among them.
    if (i >= kUnheard) heard.back() += clients.back().receive(kRecord);
  }
  std::array<std::string, 2> whole;
  for (int i = 0; i < kBroadcasts; ++i)
    whole[static_cast<size_t>(i) % 2] += record(static_cast<size_t>(i) % 2, i / 2);
  for (size_t client = 0; client < clients.size(); ++client) {
    std::string& all = heard[client];
    all += clients[client].receive(kBroadcasts * kRecord - all.size());
    std::array<std::string, 2> of;
    for (size_t at = 0; at < all.size(); at += kRecord)
      of.at(static_cast<size_t>(all[at] - '0')) += all.substr(at, kRecord);
    EXPECT_EQ(of, whole);
  }
  for (Client& client : clients) EXPECT_EQ(client.receiveFor(50ms), "");
  EXPECT_EQ(gateway.metric("paradox_sessions"), 12);
}

INSTANTIATE_TEST_SUITE_P(Crashes, ResumeBroadcast,
                         ::testing::Values(Step{"none", 0}, Step{"lane.aimed", 200},
                                           Step{"mailbox.linked", 200}, Step{"lane.pushed", 25},
                                           Step{"lane.done", 25}, Step{"reply.broadcast", 200}),
                         [](const auto& step) { return named(step.param.failpoint); });

struct ResumeLanes : ::testing::Test {
  static pid_t forwarderOf(const Gateway& gateway, const Client& client) {
    const int row = gateway.downstreamOf(client).at("forwarder");
    for (const Json& worker : gateway.rows("/admin/status", "workers"))
      if (worker.at("role") == "forwarder" && worker.at("row") == row) return worker.at("pid");
    throw std::runtime_error("no forwarder in row " + std::to_string(row));
  }
};

// What a dead forwarder was to carry is carried by another one meanwhile; when its row has a process again, that one
// gets its lane back.
TEST_F(ResumeLanes, OfADeadForwarderGoOverAnotherOneAndComeBack) {
  LibraryUpstream upstream;
  std::promise<void> forwarderIsDead;
  upstream.onBytes(
      [&, dead = forwarderIsDead.get_future().share()](const std::string& client, std::string_view bytes) {
        if (bytes == "tell all") {
          dead.wait_for(kPatience);
          upstream.upstream().broadcast(paradox::upstream::To::kAll, "to all\n");
        } else {
          upstream.upstream().send(client, bytes);
        }
        return true;
      });
  Gateway gateway({.forwarders = 2,
                   .upstreams = {upstream.port()},
                   .workers = "respawn_backoff_min = \"2s\"\nrespawn_backoff_max = \"2s\"\n"});
  gateway.waitForUpstream(upstream.port());
  Client first(gateway.port()), second(gateway.port());
  EXPECT_EQ(first.exchange("a\n"), "a\n");
  EXPECT_EQ(second.exchange("b\n"), "b\n");
  const pid_t pid = forwarderOf(gateway, first);
  ASSERT_NE(pid, forwarderOf(gateway, second));
  first.send("tell all");
  upstream.waitFor("the order",
                   [](const LibraryUpstream::Told& told) { return told.bytes == "a\ntell all"; });
  ::kill(pid, SIGKILL);
  forwarderIsDead.set_value();
  EXPECT_EQ(second.receiveLine(), "to all\n");
  gateway.waitForSuccessor("forwarder", pid);
  EXPECT_EQ(first.receiveLine(), "to all\n");
  EXPECT_EQ(first.exchange("again\n"), "again\n");
  EXPECT_EQ(second.exchange("again\n"), "again\n");
}

// Its client left while its row was empty; another forwarder finds out.
TEST_F(ResumeLanes, AClientThatLeavesWithItsForwarderIsClosedByTheNextOne) {
  LibraryUpstream upstream;
  Gateway gateway({.forwarders = 2,
                   .upstreams = {upstream.port()},
                   .workers = "respawn_backoff_min = \"60s\"\nrespawn_backoff_max = \"60s\"\n"});
  gateway.waitForUpstream(upstream.port());
  Client first(gateway.port()), second(gateway.port());
  EXPECT_EQ(first.exchange("a"), "a");
  EXPECT_EQ(second.exchange("b"), "b");
  ::kill(forwarderOf(gateway, first), SIGKILL);
  first.reset();
  upstream.waitFor("its closing",
                   [](const LibraryUpstream::Told& told) { return told.closed == 1 && told.bytes == "a"; });
  EXPECT_EQ(second.exchange("still here"), "still here");
}

}  // namespace
}  // namespace ppx::test
