// An upstream with `resume` and the forwarder that carries its reply die together: another instance of the upstream goes
// on where the last one was acknowledged, and what a reply implied goes with the reply.
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <filesystem>

#include "tests/gateway/harness/echo_worker.h"
#include "tests/gateway/harness/gateway.h"

namespace ppx::test {
namespace {

std::vector<std::string> resumeEcho() {
  return {programPath("paradox-example-echo"), "--quiet", "--extensions"};
}

class ResumeFailover : public ::testing::TestWithParam<const char*> {
 protected:
  // The forwarder stands still at that step until its upstream is another instance, then it is killed.
  void replaceBoth() {
    const std::string step = GetParam();
    waitUntil("the step " + step, [&] { return std::filesystem::exists(marks_.path() + "/" + step); });
    const pid_t stopped = gateway_.worker("forwarder");
    const uint16_t port = upstream_->port();
    upstream_.reset();
    upstream_.emplace(resumeEcho(), port);
    ::kill(stopped, SIGKILL);
    gateway_.waitForSuccessor("forwarder", stopped);
  }

  TempDir marks_;
  std::optional<WorkerProcess> upstream_{std::in_place, resumeEcho()};
  Gateway gateway_{{.forwarders = 1,
                    .upstreams = {upstream_->port()},
                    .workers = "respawn_backoff_min = \"10ms\"\nrespawn_backoff_max = \"20ms\"\n",
                    .environment = {{"PPX_FAILPOINTS", std::string(GetParam()) + "=stop@1"},
                                    {"PPX_FAILPOINTS_ONLY", "paradox-forwarder"},
                                    {"PPX_FAILPOINTS_ONCE", marks_.path()}}}};
};

TEST_P(ResumeFailover, AnswersOnce) {
  gateway_.waitForUpstream(upstream_->port());
  Client client(gateway_.port());
  client.send("a");
  replaceBoth();
  EXPECT_EQ(client.receive(1), "a");
  EXPECT_EQ(client.exchange("b"), "b") << "answered twice";
  EXPECT_EQ(client.exchange("c"), "c");
  client.close();
  gateway_.waitUntilEmpty();
  EXPECT_EQ(gateway_.journalSegments(), 0);
}

INSTANTIATE_TEST_SUITE_P(Steps, ResumeFailover,
                         ::testing::Values("session.received", "stream.write", "reply.push", "lane.aimed",
                                           "mailbox.filled", "mailbox.link", "mailbox.linked",
                                           "mailbox.taken", "mailbox.stamped", "lane.pushed", "lane.done",
                                           "session.acknowledged", "session.send", "session.sent",
                                           "mailbox.sent", "mailbox.freeing"),
                         [](const auto& step) {
                           std::string name = step.param;
                           std::replace(name.begin(), name.end(), '.', '_');
                           return name;
                         });

}  // namespace
}  // namespace ppx::test
