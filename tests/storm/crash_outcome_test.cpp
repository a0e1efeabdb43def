// One crash at each named step, in one process, under verified traffic with an upstream that has `resume`: what becomes of
// the clients is what the table "Failpoints" of docs/ARCHITECTURE.md says. That table names each failpoint of the source,
// and each stands in a test.
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <future>
#include <regex>
#include <set>
#include <sstream>

#include "tests/examples/worker_process.h"
#include "tests/gateway/harness/gateway.h"
#include "tests/handover/restart_harness.h"
#include "tests/load/duplex_swarm.h"

namespace ppx::test {
namespace {

namespace fs = std::filesystem;
using load::DuplexSwarm;
using load::kMillisecond;
using load::kSecond;

constexpr size_t kClients = 24, kBrief = 8;

enum class Outcome {
  kUnnoticed,  // nobody is closed, no byte is lost, doubled or out of order
  kEarlierInTurn,  // so it is for those that were served; who was accepted in this turn, not in custody yet, is closed
  kJustAccepted,   // the same, and somebody was
  kBothHoldersDie  // those of one forwarder end: the only two processes that had their descriptors are dead
};
enum class First { kTraffic, kKillForwarder, kKillCustodian, kRestartUpstream };  // what leads there

struct Crash {
  const char* failpoint;
  int pass;
  const char* role;  // who dies of it
  Outcome outcome = Outcome::kUnnoticed;
  First first = First::kTraffic;
  const char* also = "";  // another failpoint, that leads there
};

std::ostream& operator<<(std::ostream& out, const Crash& crash) {
  return out << crash.failpoint;
}

class CrashOutcome : public ::testing::TestWithParam<Crash> {
 protected:
  static std::vector<std::string> echo() {
    return {programPath("paradox-example-echo"), "--quiet", "--extensions"};
  }

  GatewayOptions options() const {
    std::string points = std::string(GetParam().failpoint) + "=kill@" + std::to_string(GetParam().pass);
    std::map<std::string, std::string> environment{{"PPX_FAILPOINTS_ONCE", marks_.path()}};
    const std::string role = GetParam().role;
    if (*GetParam().also != 0)
      points += std::string(";") + GetParam().also + "=kill@" + std::to_string(30);
    else
      environment["PPX_FAILPOINTS_ONLY"] = role == "supervisor" ? "paradoxd" : "paradox-" + role;
    environment["PPX_FAILPOINTS"] = points;
    return {.upstreams = {upstream_->port()},
            .workers = "respawn_backoff_min = \"10ms\"\nrespawn_backoff_max = \"50ms\"\n",
            .halfCloseTimeout = 60s,
            .environment = environment};
  }

  bool reached() const { return fs::exists(marks_.path() + "/" + GetParam().failpoint); }

  void lead(Gateway& gateway) {
    switch (GetParam().first) {
      case First::kTraffic:
        return;
      case First::kKillForwarder:
        ::kill(gateway.worker("forwarder"), SIGKILL);
        return;
      case First::kKillCustodian:
        ::kill(gateway.worker("custodian"), SIGKILL);
        return;
      case First::kRestartUpstream: {
        const uint16_t port = upstream_->port();
        upstream_->stop(SIGKILL);
        upstream_ = std::make_unique<WorkerProcess>(echo(), port);
        return;
      }
    }
  }

  // Clients talk, and new ones come, until the step was passed; then as long as it takes to be whole again.
  void crash(Gateway& gateway, DuplexSwarm& swarm) {
    lead(gateway);
    Deadline deadline(kPatience);
    while (!reached() && !deadline.passed()) {
      swarm.runFor(5 * kMillisecond);
      brief_ += swarm.renewBrief().value();
    }
    ASSERT_TRUE(reached()) << "the step was never passed";
    std::atomic<bool> going{true};
    auto load = std::async(std::launch::async, [&] { swarm.runWhile(going); });
    struct AtEnd {
      std::atomic<bool>& flag;
      ~AtEnd() { flag = false; }
    } stop{going};
    if (GetParam().role == std::string("supervisor")) {
      gateway.crashSupervisor();
    } else {
      waitUntil("its death", [&] {
        return std::regex_search(gateway.log(),
                                 std::regex(std::string(GetParam().role) + "[-0-9]* .*died: signal 9"));
      });
    }
    waitUntil("a whole gateway", [&] { return gateway.isWhole(); });
  }

  // Of a turn of the acceptor, none of whom had anything back yet.
  static size_t expectOnlyNewOnesClosed(const DuplexSwarm& swarm) {
    size_t closed = 0;
    for (size_t i = 0; i < swarm.size(); ++i) {
      const auto& client = swarm.client(i);
      const bool isOpen = client.state() == load::LinkState::kOpen;
      EXPECT_EQ(client.received(), isOpen ? client.offered() : 0) << client.problem();
      EXPECT_TRUE(isOpen || i >= kClients - kBrief) << "it was served before";
      closed += isOpen ? 0 : 1;
    }
    return closed;
  }

  void judge(const Gateway& gateway, DuplexSwarm& swarm, size_t forwarders) {
    EXPECT_TRUE(swarm.drain(20 * kSecond));
    const load::SwarmStats stats = swarm.stats();
    expectDescriptorsAccountedFor(gateway);
    EXPECT_EQ(stats.mismatched, 0u) << stats.firstProblem;
    const size_t ended = swarm.renewBrief().value();
    switch (GetParam().outcome) {
      case Outcome::kUnnoticed:
        EXPECT_EQ(stats.intact, kClients) << stats.firstProblem;
        EXPECT_EQ(stats.ended, ended);
        return;
      case Outcome::kEarlierInTurn:
      case Outcome::kJustAccepted:
        EXPECT_GE(expectOnlyNewOnesClosed(swarm), GetParam().outcome == Outcome::kJustAccepted ? 1u : 0u);
        return;
      case Outcome::kBothHoldersDie:
        EXPECT_GE(stats.intact, kClients - (kClients + forwarders - 1) / forwarders - kBrief / 2);
        EXPECT_LT(stats.intact, kClients);
        return;
    }
  }

  TempDir marks_;
  std::unique_ptr<WorkerProcess> upstream_ = std::make_unique<WorkerProcess>(echo());
  size_t brief_ = 0;
};

TEST_P(CrashOutcome, IsWhatTheTableSays) {
  Gateway gateway(options());
  gateway.waitForUpstream(upstream_->port());
  auto made = DuplexSwarm::connect({.target = {"127.0.0.1", gateway.port()},
                                    .connections = kClients,
                                    .windowBytes = 8 << 10,
                                    .bytesPerSecond = 100'000,
                                    .brief = kBrief,
                                    .briefBytes = 10'000});
  ASSERT_TRUE(made) << made.error().text;
  DuplexSwarm& swarm = **made;
  ASSERT_TRUE(swarm.runUntilBytes(1, 20 * kSecond)) << swarm.stats().firstProblem;
  crash(gateway, swarm);
  if (HasFatalFailure()) return;
  judge(gateway, swarm, 2);
  EXPECT_EQ(gateway.workers("forwarder").size(), 2u);
  for (size_t i = 0; i < swarm.size(); ++i) swarm.close(i);
  gateway.waitUntilEmpty();
  gateway.stop();
}

constexpr auto kTurn = Outcome::kEarlierInTurn;
constexpr auto kReset = Outcome::kJustAccepted;

std::string nameOf(const ::testing::TestParamInfo<Crash>& info) {
  std::string name = info.param.failpoint;
  std::replace(name.begin(), name.end(), '.', '_');
  return name;
}

// All of the first clients have been accepted by then, and some new ones. A slot is claimed before each accept, also before the
// one that ends a turn: up to twice for each client.
INSTANTIATE_TEST_SUITE_P(Acceptor, CrashOutcome,
                         ::testing::Values(Crash{"table.claiming", 60, "acceptor", kTurn},
                                           Crash{"table.claimed", 60, "acceptor", kTurn},
                                           Crash{"acceptor.claimed", 60, "acceptor", kTurn},
                                           Crash{"acceptor.accepted", 30, "acceptor", kReset},
                                           Crash{"mailbox.opening", 30, "acceptor", kReset},
                                           Crash{"acceptor.filled", 30, "acceptor", kReset},
                                           Crash{"acceptor.custody_put", 30, "acceptor"},
                                           Crash{"acceptor.handoff_word", 30, "acceptor"},
                                           Crash{"acceptor.handoff_sent", 30, "acceptor"},
                                           Crash{"table.releasing", 30, "acceptor", kTurn},
                                           Crash{"table.released", 30, "acceptor", kTurn}),
                         nameOf);
INSTANTIATE_TEST_SUITE_P(
    Forwarder, CrashOutcome,
    ::testing::Values(Crash{"forwarder.received", 20, "forwarder"}, Crash{"forwarder.owned", 20, "forwarder"},
                      Crash{"session.receive", 100, "forwarder"}, Crash{"session.received", 100, "forwarder"},
                      Crash{"session.acknowledged", 100, "forwarder"},
                      Crash{"session.send", 100, "forwarder"}, Crash{"session.sent", 100, "forwarder"},
                      Crash{"session.closing", 5, "forwarder"}, Crash{"session.shutdown", 5, "forwarder"},
                      Crash{"session.dropping", 5, "forwarder"}, Crash{"session.closed", 5, "forwarder"},
                      Crash{"table.closing", 5, "forwarder"}, Crash{"table.releasing", 5, "forwarder"},
                      Crash{"table.released", 5, "forwarder"}, Crash{"stream.write", 100, "forwarder"},
                      Crash{"reply.push", 100, "forwarder"}, Crash{"journal.claiming", 200, "forwarder"},
                      Crash{"journal.claimed", 200, "forwarder"}, Crash{"journal.freed", 200, "forwarder"},
                      Crash{"mailbox.filled", 100, "forwarder"}, Crash{"mailbox.link", 100, "forwarder"},
                      Crash{"mailbox.linked", 100, "forwarder"}, Crash{"mailbox.taken", 100, "forwarder"},
                      Crash{"mailbox.stamped", 100, "forwarder"}, Crash{"mailbox.sent", 100, "forwarder"},
                      Crash{"mailbox.freeing", 100, "forwarder"},
                      Crash{"lane.claimed", 2, "forwarder", Outcome::kUnnoticed, First::kRestartUpstream},
                      Crash{"lane.aimed", 100, "forwarder"}, Crash{"lane.pushed", 100, "forwarder"},
                      Crash{"lane.done", 100, "forwarder"}),
    nameOf);
INSTANTIATE_TEST_SUITE_P(
    Recovery, CrashOutcome,
    ::testing::Values(
        Crash{"takeover.reclaimed", 4, "forwarder", Outcome::kUnnoticed, First::kKillForwarder},
        Crash{"takeover.reconciled", 4, "forwarder", Outcome::kUnnoticed, First::kKillForwarder},
        Crash{"takeover.judged", 4, "forwarder", Outcome::kUnnoticed, First::kKillForwarder},
        Crash{"takeover.claimed", 1, "forwarder", Outcome::kUnnoticed, First::kTraffic,
              "acceptor.custody_put"},
        Crash{"custody.refilled", 1, "forwarder", Outcome::kUnnoticed, First::kKillCustodian},
        Crash{"custodian.fetch", 1, "custodian", Outcome::kBothHoldersDie, First::kKillForwarder}),
    nameOf);
INSTANTIATE_TEST_SUITE_P(
    Others, CrashOutcome,
    ::testing::Values(Crash{"custodian.put", 20, "custodian"}, Crash{"custodian.dropped", 5, "custodian"},
                      Crash{"prober.published", 1, "prober"},
                      Crash{"supervisor.buried", 1, "supervisor", Outcome::kUnnoticed, First::kKillForwarder},
                      Crash{"supervisor.spawned", 6, "supervisor", Outcome::kUnnoticed,
                            First::kKillForwarder}),
    nameOf);

// Calls that fail: with sys.accept4 clients wait in the backlog (tests/custody/acceptor_limits_test.cpp).
struct FailingCall : ::testing::Test {
  WorkerProcess upstream{{programPath("paradox-example-echo"), "--quiet"}};
  GatewayOptions with(const char* points) const {
    return {.upstreams = {upstream.port()}, .environment = {{"PPX_FAILPOINTS", points}}};
  }
};

TEST_F(FailingCall, OfARecvEndsThatSessionAlone) {
  Gateway gateway(with("sys.recv=errno:5@3"));
  std::vector<Client> clients;
  for (int i = 0; i < 10; ++i) clients.emplace_back(gateway.port());
  size_t served = 0;
  for (Client& client : clients) {
    client.send("x");
    try {
      served += client.receive(1) == "x" ? 1 : 0;
    } catch (const std::exception&) {
      EXPECT_NE(client.end(), ClientEnd::kNone);
    }
  }
  EXPECT_EQ(served, 8u) << "one of each forwarder";
  EXPECT_EQ(gateway.closed("internal"), 2);
}

TEST_F(FailingCall, OfASendmsgIsMadeUpForLater) {
  Gateway gateway(with("sys.sendmsg=errno:105@4-9"));
  std::vector<Client> clients;
  for (int i = 0; i < 10; ++i) clients.emplace_back(gateway.port());
  for (Client& client : clients) EXPECT_EQ(client.exchange("x"), "x");
  clients.clear();
  gateway.waitUntilEmpty();
}

std::string textOf(const fs::path& file) {
  std::ifstream in(file);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

std::set<std::string> matches(const std::string& text, const char* pattern) {
  std::set<std::string> found;
  const std::regex wanted(pattern);
  for (std::sregex_iterator it(text.begin(), text.end(), wanted), end; it != end; ++it)
    found.insert((*it)[1]);
  return found;
}

std::set<std::string> failpointsOfTheSource() {
  std::set<std::string> names;
  for (const char* folder : {"common", "acceptor", "forwarder", "supervisor"})
    for (const auto& entry : fs::recursive_directory_iterator(fs::path(PPX_SOURCE_DIR) / folder))
      if (entry.path().extension() == ".cpp")
        names.merge(matches(textOf(entry.path()), "failpoint\\(\"([a-z0-9_.]+)\"\\)"));
  return names;
}

std::set<std::string> failpointsOfTheTable() {
  const std::string page = textOf(fs::path(PPX_SOURCE_DIR) / "docs/ARCHITECTURE.md");
  const size_t from = page.find("\n## Failpoints"), to = page.find("\n## ", from + 1);
  return matches(page.substr(from, to - from), "\n\\| `([a-z0-9_.]+)`");
}

TEST(FailpointTable, NamesEachFailpointOfTheSource) {
  EXPECT_GT(failpointsOfTheTable().size(), 50u);
  EXPECT_EQ(failpointsOfTheTable(), failpointsOfTheSource());
}

TEST(FailpointTable, HasATestForEach) {
  std::string tests;
  for (const char* file : {"tests/storm/crash_outcome_test.cpp", "tests/handover/failpoint_test.cpp",
                           "tests/handover/custodian_renewal_test.cpp", "tests/gateway/resume_crash_test.cpp",
                           "tests/gateway/resume_lanes_test.cpp", "tests/custody/acceptor_test.cpp",
                           "tests/custody/acceptor_limits_test.cpp", "tests/storm/custody_cost_test.cpp",
                           "tests/custody/custodian_test.cpp", "tests/custody/reconcile_test.cpp"})
    tests += textOf(fs::path(PPX_SOURCE_DIR) / file);
  // Alone, or armed: no longer name that begins so.
  auto stands = [&](const std::string& name, char end) {
    return tests.find("\"" + name + end) != std::string::npos;
  };
  for (const std::string& name : failpointsOfTheTable())
    EXPECT_TRUE(stands(name, '"') || stands(name, '=')) << name;
}

}  // namespace
}  // namespace ppx::test
