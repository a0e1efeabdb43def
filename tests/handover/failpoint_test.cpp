// A kill of either side at each named step of a handover: the clients notice nothing, every session is owned by one
// process, and every descriptor is accounted for.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "tests/examples/worker_process.h"
#include "tests/handover/restart_harness.h"

namespace ppx::test {
namespace {

struct Kill {
  const char* failpoint;
  int times;  // the failpoint is passed so often before
};

class HandoverKill : public ::testing::TestWithParam<Kill> {};

TEST_P(HandoverKill, LeavesEverySessionWithOneOwnerAndEveryByteInItsPlace) {
  constexpr size_t kClients = 40;
  WorkerProcess echo({programPath("paradox-example-echo"), "--quiet", "--extensions"});
  Gateway gateway({.forwarders = 2,
                   .upstreams = {echo.port()},
                   .workers = "respawn_backoff_min = \"10ms\"\nrespawn_backoff_max = \"50ms\"\n",
                   .environment = {{"PPX_FAILPOINTS", std::string(GetParam().failpoint) + "=kill@" +
                                                          std::to_string(GetParam().times)}}});
  auto swarm = talkers(gateway, {.target = {}, .connections = kClients, .windowBytes = 8 << 10});
  ASSERT_TRUE(swarm->runUntilBytes(2'000, 20 * load::kSecond));
  const auto before = gateway.workers("forwarder");
  Json end;
  whileTalking(*swarm, [&] { end = operate(gateway, "/admin/forwarders/restart"); });
  EXPECT_NE(end.at("state"), "running");
  whileTalking(*swarm, [&] { waitUntil("a whole gateway", [&] { return gateway.isWhole(); }); });
  EXPECT_NE(gateway.log().find("signal 9"), std::string::npos) << "nothing was killed";
  expectAllWell(*swarm);
  EXPECT_EQ(gateway.workers("forwarder").size(), before.size());
  expectDescriptorsAccountedFor(gateway, kClients);
  for (size_t i = 0; i < swarm->size(); ++i) swarm->close(i);
  gateway.waitUntilEmpty();
  gateway.stop();
}

INSTANTIATE_TEST_SUITE_P(
    AtFailpoint, HandoverKill,
    ::testing::Values(Kill{"handover.quiesced", 1}, Kill{"handover.quiet", 1}, Kill{"handover.departing", 1},
                      Kill{"handover.departing", 7}, Kill{"handover.departed", 1},
                      Kill{"handover.departed", 12}, Kill{"handover.done", 1}, Kill{"handover.received", 1},
                      Kill{"handover.received", 9}, Kill{"handover.owned", 1}, Kill{"handover.owned", 11}),
    [](const auto& each) {
      std::string name = std::string(each.param.failpoint) + "_" + std::to_string(each.param.times);
      std::replace(name.begin(), name.end(), '.', '_');
      return name;
    });

struct SupervisorKill {
  const char* failpoint;
  const char* operation;
};

std::ostream& operator<<(std::ostream& out, const SupervisorKill& kill) {
  return out << kill.failpoint << " in " << kill.operation;
}

class SupervisorKilled : public ::testing::TestWithParam<SupervisorKill> {};

// Neither too few processes afterwards, nor one more after each such restart.
TEST_P(SupervisorKilled, InAnOperationLeavesAsManyWorkersAsThereWere) {
  constexpr size_t kClients = 40;
  TempDir marks;
  WorkerProcess echo({programPath("paradox-example-echo"), "--quiet", "--extensions"});
  Gateway gateway({.forwarders = 2,
                   .upstreams = {echo.port()},
                   .workers = "respawn_backoff_min = \"10ms\"\nrespawn_backoff_max = \"50ms\"\n",
                   .environment = {{"PPX_FAILPOINTS", std::string(GetParam().failpoint) + "=kill"},
                                   {"PPX_FAILPOINTS_ONCE", marks.path()}}});
  auto swarm = talkers(gateway, {.target = {}, .connections = kClients, .windowBytes = 8 << 10});
  ASSERT_TRUE(swarm->runUntilBytes(2'000, 20 * load::kSecond));
  const size_t forwarders = gateway.workers("forwarder").size(),
               acceptors = gateway.workers("acceptor").size();
  (void)gateway.post(GetParam().operation);  // the kill may come before the answer
  whileTalking(*swarm, [&] {
    waitUntil("the kill", [&] { return std::filesystem::exists(marks.path() + "/" + GetParam().failpoint); });
    gateway.crashSupervisor();
    waitUntil("a whole gateway", [&] { return gateway.isWhole(); });
  });
  EXPECT_EQ(gateway.workers("forwarder").size(), forwarders);
  EXPECT_EQ(gateway.workers("acceptor").size(), acceptors);
  whileTalking(*swarm, [&] {
    EXPECT_EQ(operate(gateway, "/admin/forwarders/restart").at("state"), "done");
    EXPECT_EQ(operate(gateway, "/admin/acceptors/restart").at("state"), "done");
  });
  expectAllWell(*swarm);
  expectDescriptorsAccountedFor(gateway, kClients);
}

INSTANTIATE_TEST_SUITE_P(
    AtFailpoint, SupervisorKilled,
    ::testing::Values(SupervisorKill{"supervisor.successor_ready", "/admin/forwarders/restart"},
                      SupervisorKill{"supervisor.handover_ordered", "/admin/forwarders/restart"},
                      SupervisorKill{"supervisor.settling", "/admin/forwarders/restart"},
                      SupervisorKill{"supervisor.successor_ready", "/admin/acceptors/restart"},
                      SupervisorKill{"supervisor.settling", "/admin/acceptors/restart"}),
    [](const auto& each) {
      std::string name =
          std::string(each.param.failpoint).substr(11) + std::string(each.param.operation).substr(6, 5);
      std::replace_if(
          name.begin(), name.end(), [](char c) { return c == '.' || c == '/'; }, '_');
      return name;
    });

}  // namespace
}  // namespace ppx::test
