// No client ever sees a byte of another client's: a thousand random streams at once, each byte compared.
#include <gtest/gtest.h>

#include "tests/gateway/harness/echo_worker.h"
#include "tests/load/duplex_swarm.h"

namespace ppx::test {
namespace {

TEST(Isolation, AThousandRandomStreamsComeBackWhole) {
  EchoWorker workers[3];
  GatewayOptions options{.forwarders = 4, .acceptors = 2};
  for (EchoWorker& worker : workers) options.upstreams.push_back(worker.port());
  Gateway gateway(options);
  for (EchoWorker& worker : workers) gateway.waitForUpstream(worker.port());
  constexpr size_t kClients = 1000;
  constexpr uint64_t kBytesEach = 64 << 10;
  auto swarm = load::DuplexSwarm::connect({.target = {"127.0.0.1", gateway.port()},
                                           .connections = kClients,
                                           .seed = 42,
                                           .bytesEach = kBytesEach});
  ASSERT_TRUE(swarm) << swarm.error().text;
  EXPECT_TRUE((*swarm)->runUntilBytes(kBytesEach, 60 * load::kSecond));
  load::SwarmStats stats = (*swarm)->stats();
  EXPECT_EQ(stats.mismatched, 0u) << stats.firstProblem;
  EXPECT_EQ(stats.intact, kClients) << stats.firstProblem;
  EXPECT_EQ(stats.bytesEchoed, kClients * kBytesEach);
  // Each forwarder had its share.
  for (const Json& row : gateway.rows("/admin/status", "workers")) {
    if (row.at("role") != "forwarder") continue;
    EXPECT_GT(row.at("sessions").get<int>(), 0) << row;
  }
  swarm->reset();
  gateway.waitUntilEmpty();
}

}  // namespace
}  // namespace ppx::test
