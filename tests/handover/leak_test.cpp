// Handover after handover: no descriptor, session slot, journal segment, message or lane stays behind. PPX_RESTARTS says
// how many.
#include <gtest/gtest.h>

#include <thread>

#include "tests/examples/worker_process.h"
#include "tests/handover/restart_harness.h"
#include "tests/handover/table_census.h"

namespace ppx::test {
namespace {

class HandoverLeak : public ::testing::Test {
 protected:
  static constexpr size_t kClients = 6;
  static constexpr uint64_t kMemory = 4 << 20;

  // Something of each client is on its way while its forwarder is replaced.
  void restart() {
    for (size_t i = 0; i < kClients; ++i) clients_[i].send("a line of text\n");
    Json end = operate(gateway_, "/admin/forwarders/restart");
    EXPECT_EQ(end.at("state"), "done") << end;
    for (size_t i = 0; i < kClients; ++i) EXPECT_EQ(clients_[i].receiveLine(), "a line of text\n");
  }
  Census whole() const {
    Census counts = census(gateway_, table_);
    for (const WorkerProcess* upstream : {&plain_, &resuming_})
      counts["descriptors of the upstreams"] += descriptorsOf(upstream->pid());
    return counts;
  }

  WorkerProcess plain_{{programPath("paradox-example-echo"), "--quiet"}};
  WorkerProcess resuming_{{programPath("paradox-example-echo"), "--quiet", "--extensions"}};
  Gateway gateway_{{.forwarders = 1,
                    .upstreams = {plain_.port(), resuming_.port()},
                    .workers = "respawn_backoff_min = \"10ms\"\nrespawn_backoff_max = \"50ms\"\n",
                    .logLevel = "warn"}};
  Table table_ = tableOf(gateway_);
  std::vector<Client> clients_;
};

TEST_F(HandoverLeak, NothingStaysBehind) {
  const unsigned restarts = fromEnvironment("PPX_RESTARTS", 20);
  gateway_.waitForUpstream(plain_.port());
  gateway_.waitForUpstream(resuming_.port());
  for (size_t i = 0; i < kClients; ++i) clients_.emplace_back(gateway_.port());
  // Both rows that a single forwarder moves between have been in use before it is counted.
  for (int i = 0; i < 4; ++i) restart();
  auto memory = [&] {
    uint64_t bytes = 0;
    for (pid_t pid : {gateway_.pid(), gateway_.worker("custodian"), gateway_.worker("acceptor"),
                      gateway_.worker("prober")})
      bytes += anonymousBytes(pid);
    return bytes;
  };
  Census before = whole(), after;
  for (int same = 0; same < 5;) {  // until what is still under way has arrived
    std::this_thread::sleep_for(50ms);
    Census now = whole();
    same = now == before ? same + 1 : 0;
    before = now;
  }
  const uint64_t memoryBefore = memory();
  const double seconds = secondsOf([&] {
    for (unsigned i = 0; i < restarts && !HasFailure(); ++i) restart();
  });
  try {
    waitUntil("the same counts", [&] { return (after = whole()) == before; });
  } catch (const std::exception& error) {
    ADD_FAILURE() << error.what();
  }
  for (const auto& [name, count] : before) {
    EXPECT_EQ(after[name], count) << name;
    std::printf("%-32s %zu before, %zu after\n", name.c_str(), count, after[name]);
  }
  const uint64_t memoryAfter = memory();
  std::printf("%u handovers in %.1f s; memory of those that stayed: %llu KiB before, %llu KiB after\n",
              restarts, seconds, static_cast<unsigned long long>(memoryBefore >> 10),
              static_cast<unsigned long long>(memoryAfter >> 10));
  EXPECT_LT(memoryAfter, memoryBefore + kMemory);
  EXPECT_EQ(gateway_.closed("client_reset") + gateway_.metric("paradox_sessions_in_doubt_total"), 0);
  clients_.clear();
  gateway_.waitUntilEmpty();
  gateway_.stop();
}

}  // namespace
}  // namespace ppx::test
