// Upstreams with `resume`: forwarders die at each step that a numbered reply takes, and that a close takes.
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/examples/worker_process.h"
#include "tests/gateway/crash_step.h"
#include "tests/gateway/harness/gateway.h"
#include "tests/load/duplex_swarm.h"

namespace ppx::test {
namespace {

using load::DuplexSwarm;
using load::kSecond;

std::vector<std::string> echo() {
  return {programPath("paradox-example-echo"), "--quiet", "--extensions"};
}

class ResumeCrash : public ::testing::TestWithParam<Step> {};

// Every forwarder dies at its so-manieth pass, the next one too, until the load has been carried.
TEST_P(ResumeCrash, CostsNobodyAByte) {
  WorkerProcess worker(echo());
  const uint16_t port = worker.port();
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
                         [](const auto& step) { return named(step.param.failpoint); });

// Its forwarder dies of the message that closes it.
class ResumeClose : public ::testing::TestWithParam<const char*> {};

TEST_P(ResumeClose, IsNotLostWithItsForwarder) {
  TempDir marks;
  WorkerProcess worker(echo());
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
                         [](const auto& step) { return named(step.param); });

}  // namespace
}  // namespace ppx::test
