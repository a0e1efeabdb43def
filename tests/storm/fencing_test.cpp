// Hung is not dead: a forwarder that stands still under load is killed, and taken over only when it is dead; a supervisor
// that stood still itself holds that against nobody.
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <future>

#include "tests/examples/worker_process.h"
#include "tests/gateway/harness/gateway.h"
#include "tests/load/duplex_swarm.h"

namespace ppx::test {
namespace {

using load::DuplexSwarm;
using load::kSecond;

struct Fencing : ::testing::Test {
  explicit Fencing(std::map<std::string, std::string> environment = {})
      : gateway({.upstreams = {upstream.port()},
                 .workers = "heartbeat_timeout = \"2s\"\nrespawn_backoff_min = \"10ms\"\n",
                 .environment = std::move(environment)}) {}

  WorkerProcess upstream{{programPath("paradox-example-echo"), "--quiet", "--extensions"}};
  Gateway gateway;
  std::unique_ptr<DuplexSwarm> swarm;

  void SetUp() override {
    gateway.waitForUpstream(upstream.port());
    auto made = DuplexSwarm::connect({.target = {"127.0.0.1", gateway.port()},
                                      .connections = 40,
                                      .windowBytes = 16 << 10,
                                      .bytesPerSecond = 200'000});
    ASSERT_TRUE(made) << made.error().text;
    swarm = std::move(*made);
    ASSERT_TRUE(swarm->runUntilBytes(1000, 20 * kSecond));
  }

  void whileTalking(const std::function<void()>& call) {
    std::atomic<bool> going{true};
    auto load = std::async(std::launch::async, [&] { swarm->runWhile(going); });
    struct AtEnd {
      std::atomic<bool>& flag;
      ~AtEnd() { flag = false; }
    } stop{going};
    call();
  }

  void expectAllIntact() {
    EXPECT_TRUE(swarm->drain(20 * kSecond));
    const load::SwarmStats stats = swarm->stats();
    EXPECT_EQ(stats.open, 40u) << stats.firstProblem;
    EXPECT_EQ(stats.intact, 40u) << stats.firstProblem;
  }
};

TEST_F(Fencing, AForwarderThatStopsUnderLoadIsKilledAndOnlyThenTakenOver) {
  const pid_t stopped = gateway.worker("forwarder");
  whileTalking([&] {
    ::kill(stopped, SIGSTOP);
    gateway.waitForSuccessor("forwarder", stopped);
    waitUntil("a whole gateway", [&] { return gateway.isWhole(); });
  });
  expectAllIntact();
  const std::string log = gateway.log();
  const size_t silent = log.find("is silent: killing it"), dead = log.find("died: signal 9"),
               taken = log.find("taking over");
  ASSERT_NE(taken, std::string::npos);
  EXPECT_LT(silent, dead);
  EXPECT_LT(dead, taken);
}

struct Marks {
  TempDir marks;
};

// The thread of its streams stands still, its main thread does not.
struct HangingStreams : private Marks, Fencing {
  HangingStreams()
      : Fencing({{"PPX_FAILPOINTS", "reply.push=hang@500"}, {"PPX_FAILPOINTS_ONCE", marks.path()}}) {}
};

TEST_F(HangingStreams, MakeAHungForwarder) {
  whileTalking([&] {
    waitUntil("a killed forwarder",
              [&] { return gateway.log().find("died: signal 9") != std::string::npos; });
    waitUntil("a whole gateway", [&] { return gateway.isWhole(); });
  });
  expectAllIntact();
  EXPECT_NE(gateway.log().find("is silent: killing it"), std::string::npos);
  const Json deaths = gateway.getJson("/admin/obituaries").at("obituaries");
  ASSERT_FALSE(deaths.empty());
  EXPECT_EQ(deaths.back().at("cause"), "silent");
}

TEST_F(Fencing, ASupervisorThatStoodStillKillsNobody) {
  auto processes = [&] {
    std::vector<pid_t> pids;
    for (const char* role : {"forwarder", "acceptor", "prober", "custodian"})
      for (pid_t pid : gateway.workers(role)) pids.push_back(pid);
    return pids;
  };
  const std::vector<pid_t> before = processes();
  ::kill(gateway.pid(), SIGSTOP);
  swarm->runFor(5 * kSecond);  // more than twice heartbeat_timeout
  ::kill(gateway.pid(), SIGCONT);
  swarm->runFor(3 * kSecond);
  EXPECT_EQ(processes(), before);
  EXPECT_EQ(gateway.log().find("is silent"), std::string::npos);
  expectAllIntact();
}

}  // namespace
}  // namespace ppx::test
