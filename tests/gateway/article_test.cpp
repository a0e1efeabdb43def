// The article's example: 5,000 clients, 50 workers of one type, then 150 more by curl, without a restart.
#include <gtest/gtest.h>

#include "tests/gateway/harness/gateway.h"
#include "tests/gateway/harness/in_test_upstream.h"
#include "tests/load/duplex_swarm.h"

namespace ppx::test {
namespace {

using Swarm = std::unique_ptr<load::DuplexSwarm>;

struct ArticleTest : ::testing::Test {
  std::vector<std::unique_ptr<InTestUpstream>> workers;
  std::vector<Swarm> swarms;
  size_t clients = 0;

  void addWorkers(size_t count) {
    for (size_t i = 0; i < count; ++i) {
      workers.push_back(std::make_unique<InTestUpstream>());
      workers.back()->keepBytes(false);
    }
  }

  // `count` new sessions: each worker gets as many as any other, or one more.
  void batch(const Gateway& gateway, size_t count) {
    std::vector<size_t> before;
    for (auto& worker : workers) before.push_back(worker->clients());
    auto swarm = load::DuplexSwarm::connect({.target = {"127.0.0.1", gateway.port()},
                                             .connections = count,
                                             .seed = 1000 * (clients + 1),
                                             .bytesEach = 2000,
                                             .sources = 8});
    ASSERT_TRUE(swarm) << swarm.error().text;
    EXPECT_TRUE((*swarm)->runUntilBytes(2000, 60 * load::kSecond));
    EXPECT_EQ((*swarm)->stats().intact, count) << (*swarm)->stats().firstProblem;
    size_t least = SIZE_MAX, most = 0;
    for (size_t i = 0; i < workers.size(); ++i) {
      size_t fresh = workers[i]->clients() - before[i];
      least = std::min(least, fresh);
      most = std::max(most, fresh);
    }
    EXPECT_LE(most - least, 1u) << "a batch of " << count << " over " << workers.size() << " workers";
    clients += count;
    swarms.push_back(std::move(*swarm));
  }
};

TEST_F(ArticleTest, FiveThousandClientsFiftyWorkersAndThenTwoHundred) {
  addWorkers(50);
  GatewayOptions options{.forwarders = 2, .maxSessions = 6000};
  for (auto& worker : workers) options.upstreams.push_back(worker->port());
  Gateway gateway(options);
  for (auto& worker : workers) worker->waitForStreams(2);
  for (size_t count : {1000u, 1234u, 1516u}) batch(gateway, count);

  addWorkers(150);
  for (size_t i = 50; i < workers.size(); ++i) {
    std::string curl =
        "curl -sS -f -o /dev/null -X POST http://localhost:" + std::to_string(gateway.adminPort()) +
        "/upstream/add -H 'Content-Type: application/json' -d '{\"host\":\"127.0.0.1\",\"port\":" +
        std::to_string(workers[i]->port()) + ",\"alive_timeout\":30,\"ready_timeout\":5}'";
    ASSERT_EQ(std::system(curl.c_str()), 0) << curl;
  }
  for (auto& worker : workers) worker->waitForStreams(2);
  for (size_t count : {450u, 800u}) batch(gateway, count);
  EXPECT_EQ(clients, 5000u);
  EXPECT_EQ(gateway.sessions(), 5000);
  for (Swarm& swarm : swarms) {
    swarm->runFor(load::kMillisecond);  // hears of an end, if there was one
    EXPECT_EQ(swarm->stats().open, swarm->size()) << swarm->stats().firstProblem;
  }
}

}  // namespace
}  // namespace ppx::test
