// Forwarders are restarted while clients talk: nobody is closed, and no byte is lost, doubled or out of order.
// PPX_RESTARTS and PPX_CLIENTS make it longer or larger.
#include <gtest/gtest.h>

#include "tests/examples/worker_process.h"
#include "tests/gateway/harness/echo_worker.h"
#include "tests/handover/restart_harness.h"

namespace ppx::test {
namespace {

constexpr char kFast[] = "respawn_backoff_min = \"10ms\"\nrespawn_backoff_max = \"50ms\"\n";

double sum(const std::vector<Json>& events, const std::string& figure) {
  double total = 0;
  for (const Json& event : events) total += event.value(figure, 0.0);
  return total;
}

void printMoves(const std::vector<Json>& moves, const load::SwarmStats& stats) {
  for (const Json& move : moves) std::printf("%s\n", move.dump().c_str());
  std::printf("longest pause of a client: %.1f ms; %.1f MB\n", static_cast<double>(stats.longestPause) / 1e6,
              static_cast<double>(stats.bytesEchoed) / 1e6);
}

struct Upstreams {
  const char* name;
  std::vector<std::string> arguments;
};

void PrintTo(const Upstreams& each, std::ostream* out) {
  *out << each.name;
}

class RollingRestart : public ::testing::TestWithParam<Upstreams> {
 protected:
  static std::vector<std::string> command() {
    std::vector<std::string> words{programPath("paradox-example-echo"), "--quiet"};
    const auto& more = GetParam().arguments;
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  WorkerProcess first_{command()}, second_{command()};
};

TEST_P(RollingRestart, OfAllForwardersInTurnClosesNobodyAndHarmsNoByte) {
  const unsigned restarts = fromEnvironment("PPX_RESTARTS", 3), clients = fromEnvironment("PPX_CLIENTS", 200);
  Gateway gateway({.forwarders = 2, .upstreams = {first_.port(), second_.port()}, .workers = kFast});
  auto swarm = talkers(
      gateway, {.target = {}, .connections = clients, .windowBytes = 16 << 10, .slowReaders = clients / 20});
  ASSERT_TRUE(swarm->runUntilBytes(10'000, 20 * load::kSecond));
  for (unsigned i = 0; i < restarts && !HasFailure(); ++i) {
    auto before = gateway.workers("forwarder");
    Json end;
    whileTalking(*swarm, [&] { end = operate(gateway, "/admin/forwarders/restart"); });
    EXPECT_EQ(end.at("state"), "done") << end;
    auto after = gateway.workers("forwarder");
    EXPECT_EQ(after.size(), before.size());
    for (pid_t pid : before) EXPECT_EQ(std::count(after.begin(), after.end(), pid), 0);
    load::SwarmStats stats = swarm->stats();
    EXPECT_EQ(stats.open, clients) << stats.firstProblem;
  }
  expectAllWell(*swarm);
  expectDescriptorsAccountedFor(gateway, clients);
  auto moves = events(gateway, "forwarder_moved");
  printMoves(moves, swarm->stats());
  EXPECT_EQ(sum(moves, "in_doubt"), 0);
  EXPECT_EQ(sum(moves, "mismatches"), 0) << "an offset in the table was not the kernel's";
  EXPECT_GE(sum(moves, "moved"), restarts * clients);
  for (size_t i = 0; i < swarm->size(); ++i) swarm->close(i);
  gateway.waitUntilEmpty();
  gateway.stop();
}

INSTANTIATE_TEST_SUITE_P(, RollingRestart,
                         ::testing::Values(Upstreams{"plain", {}}, Upstreams{"resume", {"--extensions"}}),
                         [](const auto& each) { return std::string(each.param.name); });

}  // namespace
}  // namespace ppx::test
