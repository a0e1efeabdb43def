// SIGKILL of random processes of the gateway under load, the next as soon as all is whole again, with upstreams that
// have `resume`: nobody is closed, and no byte is lost, doubled or out of order. PPX_SEED repeats a run's choices,
// PPX_KILLS and PPX_CLIENTS make it longer or larger, PPX_PACE is each client's bytes a second (0: all that goes),
// PPX_STORM_LOG is the level of the log, which is then printed, and each kill with it.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <deque>
#include <future>
#include <map>
#include <random>

#include "tests/examples/worker_process.h"
#include "tests/gateway/harness/gateway.h"
#include "tests/load/duplex_swarm.h"
#include "tests/load/echo_server_thread.h"
#include "tests/storm/stalls.h"

namespace ppx::test {
namespace {

using load::DuplexSwarm;
using load::kMillisecond;
using load::kSecond;

unsigned fromEnvironment(const char* name, unsigned otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : static_cast<unsigned>(std::stoul(text));
}

std::vector<std::string> echo() {
  return {programPath("paradox-example-echo"), "--quiet", "--extensions"};
}

class ResumeStorm : public ::testing::Test {
 protected:
  explicit ResumeStorm(std::vector<std::string> upstream = echo(), size_t upstreams = 2)
      : upstream_(std::move(upstream)) {
    std::printf("PPX_SEED=%u\n", seed_);
    GatewayOptions options{.forwarders = 4,
                           .acceptors = 2,
                           .workers = "respawn_backoff_min = \"10ms\"\nrespawn_backoff_max = \"50ms\"\n",
                           .halfCloseTimeout = 60s};
    if (const char* level = std::getenv("PPX_STORM_LOG")) options.logLevel = level;
    for (size_t i = 0; i < upstreams; ++i) {
      workers_.push_back(std::make_unique<WorkerProcess>(upstream_));
      options.upstreams.push_back(workers_.back()->port());
    }
    gateway_ = std::make_unique<Gateway>(options);
  }

  void blow(unsigned kills, bool upstreamsToo);
  Stalls stalls() { return {gateway_->runtimeDir(), static_cast<unsigned>(random_())}; }

 private:
  // Of all clients a fifth send an amount of their own, end their side, are answered whole and closed, and come again; a
  // twentieth read slowly.
  void connectClients() {
    auto made = DuplexSwarm::connect({.target = {"127.0.0.1", gateway_->port()},
                                      .connections = clients_,
                                      .seed = random_(),
                                      .windowBytes = 8 << 10,
                                      .bytesPerSecond = fromEnvironment("PPX_PACE", 20'000),
                                      .slowReaders = clients_ / 20,
                                      .brief = clients_ / 5,
                                      .briefBytes = 20'000});
    ASSERT_TRUE(made) << made.error().text;
    swarm_ = std::move(*made);
  }

  // Whom an acceptor has and has not given into custody yet dies with it (docs/ARCHITECTURE.md).
  void serveAll() {
    ASSERT_TRUE(swarm_->runUntilBytes(500, 20 * kSecond)) << "not served: " << swarm_->stats().firstProblem;
  }

  // Kills one process while the clients go on, and returns when the gateway is whole again.
  void strike(bool upstreamsToo) {
    static const std::vector<std::string> kRoles{"supervisor", "custodian", "acceptor",
                                                 "prober",     "forwarder", "forwarder",
                                                 "forwarder",  "upstream",  "upstream"};
    const std::string& role = kRoles.at(random_() % (kRoles.size() - (upstreamsToo ? 0 : 2)));
    swarm_->runFor((1 + random_() % 20) * kMillisecond);
    if (role == "acceptor") serveAll();
    std::atomic<bool> going{true};
    auto load = std::async(std::launch::async, [&] { swarm_->runWhile(going); });
    struct AtEnd {
      std::atomic<bool>& flag;
      ~AtEnd() { flag = false; }
    } stop{going};
    const double seconds = secondsOf([&] {
      kill(role);
      waitUntil("a whole gateway", [&] { return gateway_->isWhole(); });
    });
    ++kills_[role];
    if (std::getenv("PPX_STORM_LOG") != nullptr)
      std::printf("%zu log lines: %s, whole after %.0f ms; longest pause so far %.0f ms\n", logLines(),
                  role.c_str(), seconds * 1e3, static_cast<double>(swarm_->stats().longestPause) / 1e6);
  }

  size_t logLines() const {
    const std::string log = gateway_->log();
    return static_cast<size_t>(std::count(log.begin(), log.end(), '\n'));
  }

  void kill(const std::string& role) {
    if (role == "supervisor") return gateway_->crashSupervisor();
    if (role == "upstream") return random_() % 2 == 0 ? replaceAnUpstream() : restartAnUpstream();
    auto pids = gateway_->workers(role);
    pid_t pid = pids.at(random_() % pids.size());
    ::kill(pid, SIGKILL);
    gateway_->waitForSuccessor(role, pid);
  }

  // Another one is there before one is killed, as where they are restarted in turn.
  void replaceAnUpstream() {
    workers_.push_back(std::make_unique<WorkerProcess>(upstream_));
    gateway_->addUpstream(workers_.back()->port());
    gateway_->waitForUpstream(workers_.back()->port());
    std::unique_ptr<WorkerProcess> victim = std::move(workers_.front());
    workers_.pop_front();
    ::kill(victim->pid(), SIGKILL);
    gateway_->waitForUpstream(victim->port(), "down");
    gateway_->deleteUpstream(victim->port());
    gateway_->waitForUpstreamGone(victim->port());
  }

  // As under a service manager: another instance is at the same address at once.
  void restartAnUpstream() {
    std::unique_ptr<WorkerProcess>& victim = workers_.at(random_() % workers_.size());
    const uint16_t port = victim->port();
    victim->stop(SIGKILL);
    victim = std::make_unique<WorkerProcess>(upstream_, port);
    gateway_->waitForUpstream(port);
  }

  void expectAllWell(const std::string& when) {
    load::SwarmStats stats = swarm_->stats();
    auto renewed = swarm_->renewBrief();
    ASSERT_TRUE(renewed) << renewed.error().text;
    brief_ += *renewed;
    EXPECT_EQ(stats.reset + stats.mismatched, 0u) << when << ": " << stats.firstProblem;
    EXPECT_EQ(stats.ended, *renewed) << when << ": ended before all their bytes were back";
  }

  unsigned seed_ = fromEnvironment("PPX_SEED", std::random_device()());
  unsigned clients_ = fromEnvironment("PPX_CLIENTS", 500);
  std::mt19937 random_{seed_};
  std::vector<std::string> upstream_;  // its command
  std::deque<std::unique_ptr<WorkerProcess>> workers_;
  std::unique_ptr<Gateway> gateway_;
  std::unique_ptr<DuplexSwarm> swarm_;
  std::map<std::string, unsigned> kills_;
  size_t brief_ = 0;
};

void ResumeStorm::blow(unsigned kills, bool upstreamsToo) {
  for (const auto& worker : workers_) gateway_->waitForUpstream(worker->port());
  ASSERT_NO_FATAL_FAILURE(connectClients());
  for (unsigned i = 0; i < kills && !HasFailure(); ++i) {
    strike(upstreamsToo);
    expectAllWell("after kill " + std::to_string(i + 1));
  }
  EXPECT_TRUE(swarm_->drain(60 * kSecond));
  load::SwarmStats stats = swarm_->stats();
  EXPECT_EQ(stats.intact, clients_) << stats.firstProblem;
  expectAllWell("at the end");
  std::printf("kills:");
  for (const auto& [role, times] : kills_) std::printf(" %s %u", role.c_str(), times);
  std::printf("; %zu of %u clients intact, and %zu that ended their side; %.1f MB, longest pause %.0f ms\n",
              stats.intact, clients_, brief_, static_cast<double>(stats.bytesEchoed) / 1e6,
              static_cast<double>(stats.longestPause) / 1e6);
  if (std::getenv("PPX_STORM_LOG") != nullptr) std::printf("%s", gateway_->log().c_str());
  EXPECT_EQ(gateway_->metric("paradox_sessions_in_doubt_total"), 0);
  EXPECT_EQ(gateway_->closed("custody_lost"), 0);
  for (size_t i = 0; i < swarm_->size(); ++i) swarm_->close(i);
  gateway_->waitUntilEmpty();
  gateway_->stop();
}

TEST_F(ResumeStorm, ClosesNobodyAndLosesDoublesAndReordersNothing) {
  blow(fromEnvironment("PPX_KILLS", 100), false);
}

// An echo acknowledges with each reply just the bytes that it answers, so that also its successor goes on exactly there.
TEST_F(ResumeStorm, NorWhenUpstreamsAreKilledToo) {
  blow(fromEnvironment("PPX_KILLS", 25), true);
}

// As on a machine that has too few processors, where who is asked has not yet seen what the other has done.
TEST_F(ResumeStorm, NorWhileItsProcessesStandStillNowAndThen) {
  const Stalls standing = stalls();
  blow(fromEnvironment("PPX_KILLS", 50), false);
}

struct EchoServer {
  load::EchoServerThread server;
};

// The bridge has a connection to a server for each client, which a client that is not new to it cannot have.
class BridgeStorm : private EchoServer, public ResumeStorm {
 protected:
  BridgeStorm()
      : ResumeStorm({programPath("paradox-example-bridge"), "--quiet", "--server",
                     "127.0.0.1:" + std::to_string(server.endpoint().port)},
                    1) {}
};

TEST_F(BridgeStorm, ClosesNobodyAndLosesDoublesAndReordersNothing) {
  blow(fromEnvironment("PPX_KILLS", 50), false);
}

}  // namespace
}  // namespace ppx::test
