// Upstreams with `resume`, through the bundled libraries: nothing is closed, lost, doubled or reordered, whatever
// process of the gateway dies, and however often.
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>
#include <thread>

#include "tests/gateway/harness/echo_worker.h"
#include "tests/gateway/harness/gateway.h"
#include "tests/gateway/harness/library_upstream.h"
#include "tests/load/duplex_swarm.h"

namespace ppx::test {
namespace {

using load::DuplexSwarm;
using load::kMillisecond;
using load::kSecond;

struct Language {
  std::string name;
  std::vector<std::string> (*command)();
};

std::vector<std::string> cppEcho() {
  return {programPath("paradox-example-echo"), "--quiet", "--extensions"};
}

void PrintTo(const Language& language, std::ostream* out) {
  *out << language.name;
}

std::vector<std::string> pythonEcho() {
  ::setenv("PPX_PYTHON_STUBS", PPX_PYTHON_STUBS, 1);
  return {"/usr/bin/python3", std::string(PPX_SOURCE_DIR) + "/examples/python/resume_echo.py"};
}

class Resume : public ::testing::TestWithParam<Language> {
 protected:
  static std::unique_ptr<DuplexSwarm> swarm(const Gateway& gateway, size_t count, uint64_t seed) {
    auto made = DuplexSwarm::connect({.target = {"127.0.0.1", gateway.port()},
                                      .connections = count,
                                      .seed = seed,
                                      .windowBytes = 32 << 10});
    if (!made) throw std::runtime_error(made.error().text);
    if (!(*made)->runUntilBytes(2'000, 20 * kSecond))
      throw std::runtime_error("clients are not served: " + (*made)->stats().firstProblem);
    return std::move(*made);
  }
  static uint16_t portOf(const WorkerProcess& worker) {
    return static_cast<uint16_t>(std::stoi(worker.address().substr(worker.address().rfind(':') + 1)));
  }
  static void expectIntact(DuplexSwarm& clients) {
    EXPECT_TRUE(clients.drain(20 * kSecond));
    load::SwarmStats stats = clients.stats();
    EXPECT_EQ(stats.intact, clients.size()) << stats.firstProblem << "; ended " << stats.ended << ", reset "
                                            << stats.reset << ", wrong " << stats.mismatched;
    EXPECT_EQ(stats.open, clients.size());
  }
  WorkerProcess worker{GetParam().command()};
  uint16_t port = portOf(worker);
};

TEST_P(Resume, AForwarderThatIsKilledUnderLoadCostsNobodyAByte) {
  const unsigned seed =
      std::getenv("PPX_SEED") ? std::stoul(std::getenv("PPX_SEED")) : std::random_device()();
  std::printf("PPX_SEED=%u\n", seed);
  std::mt19937 random(seed);
  Gateway gateway(
      {.upstreams = {port}, .workers = "respawn_backoff_min = \"10ms\"\nrespawn_backoff_max = \"50ms\"\n"});
  gateway.waitForUpstream(port);
  auto clients = swarm(gateway, 100, random());
  for (int kill = 0; kill < 6 && !HasFailure(); ++kill) {
    clients->runFor((20 + random() % 200) * kMillisecond);
    auto pids = gateway.workers("forwarder");
    pid_t pid = pids.at(random() % pids.size());
    ::kill(pid, SIGKILL);
    clients->runFor((20 + random() % 200) * kMillisecond);
    gateway.waitForSuccessor("forwarder", pid);
    if (kill % 2 == 1) expectIntact(*clients);
  }
  expectIntact(*clients);
  std::printf("%.1f MB echoed, longest pause %.0f ms\n",
              static_cast<double>(clients->stats().bytesEchoed) / 1e6,
              static_cast<double>(clients->stats().longestPause) / 1e6);
  EXPECT_EQ(gateway.metric("paradox_sessions_in_doubt_total"), 0);
  for (size_t i = 0; i < clients->size(); ++i) clients->close(i);
  gateway.waitUntilEmpty();
  gateway.stop();
}

TEST_P(Resume, AClientThatEndsItsInputIsAnsweredAndThenClosedByTheUpstream) {
  Gateway gateway({.upstreams = {port}, .halfCloseTimeout = 60s});
  gateway.waitForUpstream(port);
  Client client(gateway.port());
  std::string bytes = randomBytes(1'000'000, 3);
  std::thread sender([&] {
    client.send(bytes);
    client.halfClose();
  });
  std::string back = client.receiveUntilEnd();
  sender.join();
  EXPECT_TRUE(back == bytes) << back.size();
  EXPECT_EQ(client.end(), ClientEnd::kFin);
  waitUntil("its end", [&] { return gateway.closed("upstream") == 1; });
  gateway.waitUntilEmpty();
}

TEST_P(Resume, AnUpstreamThatIsStoppedAndGoesOnCostsNobodyAByte) {
  Gateway gateway({.upstreams = {port}, .upstreamAlive = 300ms});
  gateway.waitForUpstream(port);
  auto clients = swarm(gateway, 20, 11);
  for (int i = 0; i < 2; ++i) {
    ::kill(worker.pid(), SIGSTOP);
    gateway.waitForUpstream(port, "down");
    clients->runFor(100 * kMillisecond);
    ::kill(worker.pid(), SIGCONT);
    gateway.waitForUpstream(port);
    clients->runFor(200 * kMillisecond);
    expectIntact(*clients);
  }
}

// Each reply of an echo acknowledges the bytes that it answers: its successor is sent just those without an answer.
TEST_P(Resume, AnUpstreamThatIsKilledCostsNobodyAByteOfItsAnswers) {
  Gateway gateway({.upstreams = {port}});
  gateway.waitForUpstream(port);
  std::vector<std::unique_ptr<WorkerProcess>> workers;
  auto clients = swarm(gateway, 40, 21);
  WorkerProcess* oldest = &worker;
  for (int i = 0; i < 4 && !HasFailure(); ++i) {
    workers.push_back(std::make_unique<WorkerProcess>(GetParam().command()));
    gateway.addUpstream(portOf(*workers.back()));
    gateway.waitForUpstream(portOf(*workers.back()));
    clients->runFor(100 * kMillisecond);
    ::kill(oldest->pid(), SIGKILL);
    clients->runFor(200 * kMillisecond);
    expectIntact(*clients);
    // The next worker may be given its port.
    gateway.deleteUpstream(portOf(*oldest));
    gateway.waitForUpstreamGone(portOf(*oldest));
    oldest = workers.back().get();
  }
}

// A planned restart under load: the same exactness, also while the upstream's replies are on their way.
TEST_P(Resume, APlannedRestartOfTheForwardersCostsNobodyAByte) {
  Gateway gateway({.upstreams = {port}});
  gateway.waitForUpstream(port);
  auto clients = swarm(gateway, 100, 41);
  std::vector<pid_t> before = gateway.workers("forwarder");
  ASSERT_EQ(gateway.post("/admin/forwarders/restart").status, 202);
  Deadline deadline(kPatience);
  auto replaced = [&] {
    std::vector<pid_t> now = gateway.workers("forwarder");
    return now.size() == before.size() && std::none_of(now.begin(), now.end(), [&](pid_t pid) {
             return std::find(before.begin(), before.end(), pid) != before.end();
           });
  };
  while (!replaced() && !deadline.passed()) clients->runFor(20 * kMillisecond);
  EXPECT_TRUE(replaced());
  clients->runFor(200 * kMillisecond);
  expectIntact(*clients);
  std::printf("longest pause %.0f ms\n", static_cast<double>(clients->stats().longestPause) / 1e6);
  EXPECT_EQ(gateway.metric("paradox_sessions_in_doubt_total"), 0);
}

INSTANTIATE_TEST_SUITE_P(Libraries, Resume,
                         ::testing::Values(Language{"Cpp", cppEcho}, Language{"Python", pythonEcho}),
                         [](const auto& language) { return language.param.name; });

// Its connections break, it lives: both sides go on from what the other has.
TEST(ResumeStreams, ThatBreakCostNobodyAByte) {
  LibraryUpstream upstream;
  Gateway gateway({.upstreams = {upstream.port()}});
  gateway.waitForUpstream(upstream.port());
  auto made = DuplexSwarm::connect(
      {.target = {"127.0.0.1", gateway.port()}, .connections = 50, .seed = 31, .windowBytes = 32 << 10});
  ASSERT_TRUE(made) << made.error().text;
  DuplexSwarm& clients = **made;
  ASSERT_TRUE(clients.runUntilBytes(1000, 20 * kSecond));
  for (int i = 0; i < 5; ++i) {
    clients.runFor(50 * kMillisecond);
    upstream.breakStreams();
    clients.runFor(100 * kMillisecond);
  }
  EXPECT_TRUE(clients.drain(20 * kSecond));
  load::SwarmStats stats = clients.stats();
  EXPECT_EQ(stats.intact, 50u) << stats.firstProblem << "; ended " << stats.ended << ", reset " << stats.reset
                               << ", wrong " << stats.mismatched;
  EXPECT_GT(gateway.metric("paradox_stream_failures_total"), 0);
  for (const auto& [client, told] : upstream.told()) {
    EXPECT_EQ(told.opened, 1);
    EXPECT_EQ(told.closed, 0) << told.reason;
  }
}

}  // namespace
}  // namespace ppx::test
