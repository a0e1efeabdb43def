// SIGKILL of random processes of the gateway under load, the next as soon as all is whole again, with upstreams that
// have `resume`: nobody is closed, and no byte is lost, doubled or out of order. PPX_SEED repeats a run's choices,
// PPX_KILLS and PPX_CLIENTS make it longer or larger.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <deque>
#include <future>
#include <map>
#include <random>

#include "tests/examples/worker_process.h"
#include "tests/gateway/harness/gateway.h"
#include "tests/load/duplex_swarm.h"

namespace ppx::test {
namespace {

using load::DuplexSwarm;
using load::kMillisecond;
using load::kSecond;

unsigned fromEnvironment(const char* name, unsigned otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : static_cast<unsigned>(std::stoul(text));
}

uint16_t portOf(const WorkerProcess& worker) {
  return static_cast<uint16_t>(std::stoi(worker.address().substr(worker.address().rfind(':') + 1)));
}

class ResumeStorm : public ::testing::Test {
 protected:
  static std::vector<std::string> echo() {
    return {programPath("paradox-example-echo"), "--quiet", "--extensions"};
  }

  ResumeStorm() { std::printf("PPX_SEED=%u\n", seed_); }

  std::unique_ptr<DuplexSwarm> swarm(load::SwarmOptions options) {
    options.target = {"127.0.0.1", gateway_.port()};
    options.seed = random_();
    auto made = DuplexSwarm::connect(options);
    if (!made) throw std::runtime_error(made.error().text);
    return std::move(*made);
  }

  // Kills one process while the clients go on, and returns when the gateway is whole again.
  void strike(DuplexSwarm& clients, bool upstreamsToo) {
    static const std::vector<std::string> kRoles{"supervisor", "custodian", "acceptor",
                                                 "prober",     "forwarder", "forwarder",
                                                 "forwarder",  "upstream",  "upstream"};
    const std::string& role = kRoles.at(random_() % (kRoles.size() - (upstreamsToo ? 0 : 2)));
    clients.runFor((1 + random_() % 20) * kMillisecond);
    std::atomic<bool> whole{false};
    auto load = std::async(std::launch::async, [&] {
      while (!whole) clients.runFor(10 * kMillisecond);
    });
    struct AtEnd {
      std::atomic<bool>& flag;
      ~AtEnd() { flag = true; }
    } stop{whole};
    if (role == "supervisor") {
      gateway_.crashSupervisor();
    } else if (role == "upstream") {
      replaceAnUpstream();
    } else {
      auto pids = gateway_.workers(role);
      pid_t pid = pids.at(random_() % pids.size());
      ::kill(pid, SIGKILL);
      gateway_.waitForSuccessor(role, pid);
    }
    waitUntil("a whole gateway", [&] { return gateway_.isWhole(); });
    ++kills_[role];
  }

  // Another one is there before one is killed, as where they are restarted in turn.
  void replaceAnUpstream() {
    workers_.push_back(std::make_unique<WorkerProcess>(echo()));
    gateway_.addUpstream(portOf(*workers_.back()));
    gateway_.waitForUpstream(portOf(*workers_.back()));
    std::unique_ptr<WorkerProcess> victim = std::move(workers_.front());
    workers_.pop_front();
    ::kill(victim->pid(), SIGKILL);
    gateway_.waitForUpstream(portOf(*victim), "down");
    gateway_.deleteUpstream(portOf(*victim));
  }

  // Clients that send so much, end their side, and are answered whole and closed.
  void expectBriefOnesServed() {
    auto brief = swarm(
        {.target = {}, .connections = 10, .bytesEach = 20'000, .windowBytes = 8 << 10, .halfClose = true});
    EXPECT_TRUE(brief->runUntilEnd(20 * kSecond));
    EXPECT_EQ(brief->stats().intact, brief->size()) << brief->stats().firstProblem;
  }

  unsigned seed_ = fromEnvironment("PPX_SEED", std::random_device()());
  std::mt19937 random_{seed_};
  std::deque<std::unique_ptr<WorkerProcess>> workers_ = [] {
    std::deque<std::unique_ptr<WorkerProcess>> two;
    for (int i = 0; i < 2; ++i) two.push_back(std::make_unique<WorkerProcess>(echo()));
    return two;
  }();
  Gateway gateway_{{.forwarders = 4,
                    .acceptors = 2,
                    .upstreams = {portOf(*workers_[0]), portOf(*workers_[1])},
                    .workers = "respawn_backoff_min = \"10ms\"\nrespawn_backoff_max = \"50ms\"\n",
                    .halfCloseTimeout = 60s}};
  void blow(unsigned kills, bool upstreamsToo);

  std::map<std::string, unsigned> kills_;
};

void ResumeStorm::blow(unsigned kills, bool upstreamsToo) {
  const unsigned clients = fromEnvironment("PPX_CLIENTS", 200);
  for (const auto& worker : workers_) gateway_.waitForUpstream(portOf(*worker));
  auto lasting =
      swarm({.target = {}, .connections = clients, .windowBytes = 16 << 10, .slowReaders = clients / 20});
  // A client that nobody serves yet is another promise (docs/ARCHITECTURE.md).
  ASSERT_TRUE(lasting->runUntilBytes(1000, 20 * kSecond)) << lasting->stats().firstProblem;
  for (unsigned i = 0; i < kills && !HasFailure(); ++i) {
    strike(*lasting, upstreamsToo);
    load::SwarmStats stats = lasting->stats();
    EXPECT_EQ(stats.open, clients) << "after kill " << i + 1 << ": " << stats.firstProblem << "; ended "
                                   << stats.ended << ", reset " << stats.reset << ", wrong "
                                   << stats.mismatched;
    if (i % 10 == 9) expectBriefOnesServed();
  }
  EXPECT_TRUE(lasting->drain(60 * kSecond));
  load::SwarmStats stats = lasting->stats();
  EXPECT_EQ(stats.intact, clients) << stats.firstProblem;
  std::printf("kills:");
  for (const auto& [role, times] : kills_) std::printf(" %s %u", role.c_str(), times);
  std::printf("; %zu of %u clients intact, %.1f MB, longest pause %.0f ms\n", stats.intact, clients,
              static_cast<double>(stats.bytesEchoed) / 1e6, static_cast<double>(stats.longestPause) / 1e6);
  EXPECT_EQ(gateway_.metric("paradox_sessions_in_doubt_total"), 0);
  for (size_t i = 0; i < lasting->size(); ++i) lasting->close(i);
  gateway_.waitUntilEmpty();
  gateway_.stop();
}

TEST_F(ResumeStorm, ClosesNobodyAndLosesDoublesAndReordersNothing) {
  blow(fromEnvironment("PPX_KILLS", 25), false);
}

// An echo acknowledges with each reply just the bytes that it answers, so that also its successor goes on exactly there.
TEST_F(ResumeStorm, NorWhenUpstreamsAreKilledToo) {
  blow(fromEnvironment("PPX_KILLS", 20), true);
}

}  // namespace
}  // namespace ppx::test
