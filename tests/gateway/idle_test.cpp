// What 15,000 idle sessions cost: user-space bytes per session of every process, in the test's output.
#include <gtest/gtest.h>

#include <iostream>

#include "tests/gateway/harness/gateway.h"
#include "tests/gateway/harness/in_test_upstream.h"
#include "tests/load/duplex_swarm.h"

namespace ppx::test {
namespace {

struct Footprint {
  std::string name;
  uint64_t before = 0, after = 0;
};

TEST(Idle, FifteenThousandSessionsCostLittle) {
  constexpr size_t kSessions = 15000;
  InTestUpstream upstream;
  upstream.keepBytes(false);
  Gateway gateway({.forwarders = 2, .upstreams = {upstream.port()}, .maxSessions = 16384});
  upstream.waitForStreams(2);
  // In batches, so that what many messages under way at once cost is not taken for the price of idleness.
  constexpr size_t kBatch = 500;
  std::vector<std::unique_ptr<load::DuplexSwarm>> swarms;
  auto openBatch = [&] {
    auto swarm = load::DuplexSwarm::connect({.target = {"127.0.0.1", gateway.port()},
                                             .connections = kBatch,
                                             .seed = swarms.size() * kBatch + 1,
                                             .bytesEach = 1,
                                             .sources = 8});
    ASSERT_TRUE(swarm) << swarm.error().text;
    EXPECT_TRUE((*swarm)->runUntilBytes(1, 60 * load::kSecond)) << (*swarm)->stats().firstProblem;
    EXPECT_EQ((*swarm)->stats().intact, kBatch) << (*swarm)->stats().firstProblem;
    swarms.push_back(std::move(*swarm));
  };
  openBatch();  // what a process needs to carry anything at all is there before it is measured
  std::map<pid_t, Footprint> processes;
  for (const Json& row : gateway.rows("/admin/status", "workers"))
    if (!row.at("pid").is_null())
      processes[row.at("pid").get<pid_t>()].name = row.at("role").get<std::string>();
  processes[gateway.pid()].name = "supervisor";
  for (auto& [pid, footprint] : processes) footprint.before = anonymousBytes(pid);
  while (swarms.size() * kBatch < kSessions) openBatch();
  EXPECT_EQ(gateway.sessions(), kSessions);
  waitUntil("custody of all", [&] { return gateway.custody() == kSessions; });

  double sum = 256 + 4;  // its slot and address tag in the table, which is there from the start
  std::cout << "user-space bytes per idle session (anonymous memory, " << kSessions << " sessions)\n";
  std::cout << "  table        " << sum << "\n";
  for (auto& [pid, footprint] : processes) {
    footprint.after = anonymousBytes(pid);
    double each =
        (static_cast<double>(footprint.after) - static_cast<double>(footprint.before)) / (kSessions - kBatch);
    sum += each;
    std::cout << "  " << footprint.name << std::string(13 - std::min<size_t>(12, footprint.name.size()), ' ')
              << static_cast<int>(each) << "   (" << footprint.before / 1024 << " -> "
              << footprint.after / 1024 << " KiB)\n";
  }
  std::cout << "  all          " << static_cast<int>(sum) << "\n";
  EXPECT_LT(sum, 2048);
  for (auto& swarm : swarms) {
    swarm->runFor(load::kMillisecond);  // hears of an end, if there was one
    EXPECT_EQ(swarm->stats().open, kBatch) << swarm->stats().firstProblem;
  }
}

}  // namespace
}  // namespace ppx::test
