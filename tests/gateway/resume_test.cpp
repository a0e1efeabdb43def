// Upstreams with `resume`, through the bundled libraries: nothing is closed, lost, doubled or reordered, whatever
// process of the gateway dies, and however often.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <future>
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

// --- a crash at each step of a numbered reply ---

struct Step {
  const char* failpoint;
  int pass;
};
void PrintTo(const Step& step, std::ostream* out) {
  *out << step.failpoint;
}

class ResumeCrash : public ::testing::TestWithParam<Step> {};

// Every forwarder dies at its so-manieth pass, the next one too, until the load has been carried.
TEST_P(ResumeCrash, CostsNobodyAByte) {
  WorkerProcess worker(cppEcho());
  const uint16_t port =
      static_cast<uint16_t>(std::stoi(worker.address().substr(worker.address().rfind(':') + 1)));
  Gateway gateway({.forwarders = 2,
                   .upstreams = {port},
                   .workers = "respawn_backoff_min = \"10ms\"\nrespawn_backoff_max = \"20ms\"\n",
                   .environment = {{"PPX_FAILPOINTS", std::string(GetParam().failpoint) + "=kill@" +
                                                          std::to_string(GetParam().pass)}}});
  gateway.waitForUpstream(port);
  auto made = DuplexSwarm::connect({.target = {"127.0.0.1", gateway.port()},
                                    .connections = 20,
                                    .seed = 5,
                                    .bytesEach = 300'000,
                                    .windowBytes = 8 << 10});
  ASSERT_TRUE(made) << made.error().text;
  EXPECT_TRUE((*made)->runUntilBytes(300'000, 30 * kSecond));
  load::SwarmStats stats = (*made)->stats();
  EXPECT_EQ(stats.intact, 20u) << stats.firstProblem << "; ended " << stats.ended << ", reset " << stats.reset
                               << ", wrong " << stats.mismatched;
  EXPECT_GT(gateway.metric("paradox_worker_restarts_total", {"role=\"forwarder\""}), 0) << "never passed";
}

INSTANTIATE_TEST_SUITE_P(Steps, ResumeCrash,
                         ::testing::Values(Step{"stream.write", 150}, Step{"reply.push", 150},
                                           Step{"lane.aimed", 150}, Step{"mailbox.filled", 150},
                                           Step{"mailbox.link", 150}, Step{"mailbox.linked", 150},
                                           Step{"lane.pushed", 150}, Step{"lane.done", 150},
                                           Step{"mailbox.stamped", 150}, Step{"mailbox.sent", 150},
                                           Step{"mailbox.freeing", 150}, Step{"session.acknowledged", 100},
                                           Step{"session.received", 150}, Step{"session.sent", 150}),
                         [](const auto& step) {
                           std::string name = step.param.failpoint;
                           std::replace(name.begin(), name.end(), '.', '_');
                           return name;
                         });

// Its forwarder dies of the message that closes it.
class ResumeClose : public ::testing::TestWithParam<const char*> {};

TEST_P(ResumeClose, IsNotLostWithItsForwarder) {
  TempDir marks;
  WorkerProcess worker(cppEcho());
  Gateway gateway({.forwarders = 1,
                   .upstreams = {worker.port()},
                   .workers = "respawn_backoff_min = \"10ms\"\nrespawn_backoff_max = \"20ms\"\n",
                   .halfCloseTimeout = 60s,
                   .environment = {{"PPX_FAILPOINTS", std::string(GetParam()) + "=kill@2"},
                                   {"PPX_FAILPOINTS_ONCE", marks.path()}}});
  gateway.waitForUpstream(worker.port());
  const pid_t victim = gateway.worker("forwarder");
  Client client(gateway.port());
  client.send("x");
  EXPECT_EQ(client.receive(1), "x");
  client.halfClose();
  EXPECT_EQ(client.receiveUntilEnd(), "");
  EXPECT_EQ(client.end(), ClientEnd::kFin);
  // The client may be answered before the step is passed.
  waitUntil("the step", [&] { return std::filesystem::exists(marks.path() + "/" + GetParam()); });
  gateway.waitForSuccessor("forwarder", victim);
  gateway.waitUntilEmpty();
}

INSTANTIATE_TEST_SUITE_P(Steps, ResumeClose, ::testing::Values("reply.push", "lane.pushed", "lane.done"),
                         [](const auto& step) {
                           std::string name = step.param;
                           std::replace(name.begin(), name.end(), '.', '_');
                           return name;
                         });

// --- broadcasts ---

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
  constexpr int kBroadcasts = 120;
  for (int i = 0; i < kBroadcasts; ++i) {
    clients[static_cast<size_t>(i) % 2].send("x");
    if (GetParam().pass == 0 && i % 30 == 15) ::kill(gateway.worker("forwarder", i / 30 % 2), SIGKILL);
    if (i % 10 == 9) std::this_thread::sleep_for(20ms);  // a pace: the kills fall among them
  }
  std::array<std::string, 2> whole;
  for (int i = 0; i < kBroadcasts; ++i)
    whole[static_cast<size_t>(i) % 2] += record(static_cast<size_t>(i) % 2, i / 2);
  for (Client& client : clients) {
    const std::string heard = client.receive(kBroadcasts * kRecord);
    std::array<std::string, 2> of;
    for (size_t at = 0; at < heard.size(); at += kRecord)
      of.at(static_cast<size_t>(heard[at] - '0')) += heard.substr(at, kRecord);
    EXPECT_EQ(of, whole);
  }
  for (Client& client : clients) EXPECT_EQ(client.receiveFor(50ms), "");
  EXPECT_EQ(gateway.metric("paradox_sessions"), 12);
}

INSTANTIATE_TEST_SUITE_P(Crashes, ResumeBroadcast,
                         ::testing::Values(Step{"none", 0}, Step{"lane.aimed", 200},
                                           Step{"mailbox.linked", 200}, Step{"lane.pushed", 25},
                                           Step{"lane.done", 25}, Step{"reply.broadcast", 200}),
                         [](const auto& step) {
                           std::string name = step.param.failpoint;
                           std::replace(name.begin(), name.end(), '.', '_');
                           return name;
                         });

// --- lanes whose row has no process ---

// What a dead forwarder was to carry is carried by another one meanwhile; when its row has a process again, that one
// gets its lane back.
TEST(ResumeLanes, OfADeadForwarderGoOverAnotherOneAndComeBack) {
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
  const int row = gateway.downstreamOf(first).at("forwarder");
  ASSERT_NE(row, gateway.downstreamOf(second).at("forwarder"));
  pid_t pid = 0;
  for (const Json& worker : gateway.rows("/admin/status", "workers"))
    if (worker.at("role") == "forwarder" && worker.at("row") == row) pid = worker.at("pid");
  first.send("tell all");
  upstream.waitFor("the order",
                   [](const LibraryUpstream::Told& told) { return told.bytes == "a\ntell all"; });
  ::kill(pid, SIGKILL);
  forwarderIsDead.set_value();
  EXPECT_EQ(second.receiveLine(3s), "to all\n");
  gateway.waitForSuccessor("forwarder", pid);
  EXPECT_EQ(first.receiveLine(), "to all\n");
  EXPECT_EQ(first.exchange("again\n"), "again\n");
  EXPECT_EQ(second.exchange("again\n"), "again\n");
}

// Its client left while its row was empty; another forwarder finds out.
TEST(ResumeLanes, AClientThatLeavesWithItsForwarderIsClosedByTheNextOne) {
  LibraryUpstream upstream;
  Gateway gateway({.forwarders = 2,
                   .upstreams = {upstream.port()},
                   .workers = "respawn_backoff_min = \"60s\"\nrespawn_backoff_max = \"60s\"\n"});
  gateway.waitForUpstream(upstream.port());
  Client first(gateway.port()), second(gateway.port());
  EXPECT_EQ(first.exchange("a"), "a");
  EXPECT_EQ(second.exchange("b"), "b");
  const int row = gateway.downstreamOf(first).at("forwarder");
  for (const Json& worker : gateway.rows("/admin/status", "workers"))
    if (worker.at("role") == "forwarder" && worker.at("row") == row)
      ::kill(worker.at("pid").get<pid_t>(), SIGKILL);
  first.reset();
  upstream.waitFor("its closing",
                   [](const LibraryUpstream::Told& told) { return told.closed == 1 && told.bytes == "a"; });
  EXPECT_EQ(second.exchange("still here"), "still here");
}

}  // namespace
}  // namespace ppx::test
