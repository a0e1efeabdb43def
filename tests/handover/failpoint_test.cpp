// A kill of either side at each named step of a handover: the clients notice nothing, every session is owned by one
// process, and every descriptor is accounted for.
#include <gtest/gtest.h>

#include <algorithm>

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

}  // namespace
}  // namespace ppx::test
