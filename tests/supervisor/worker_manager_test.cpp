// What paradoxd does with workers that die, hang or never get anywhere.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>

#include "common/clock.h"
#include "supervisor/exit_codes.h"
#include "supervisor/spawner.h"
#include "tests/supervisor/daemon.h"
#include "tests/supervisor/small_config.h"

namespace ppx::test {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

TEST(Workers, AKilledOneIsStartedAgainInItsRowAndTheOthersHearOfIt) {
  Daemon daemon(smallConfig());
  daemon.start();
  int forwarder = pidIn(daemon.waitFor("forwarder-0 is ready"));
  ASSERT_TRUE(daemon.serves());
  Table table = daemon.table();
  uint64_t before = table.worker(kFirstForwarderRow).incarnation.load();
  ASSERT_EQ(static_cast<int>(table.worker(kFirstForwarderRow).pid.load()), forwarder);
  ::kill(forwarder, SIGKILL);
  const auto lines = daemon.waitForAll(
      {"forwarder-0 is ready", "heard that row 0 incarnation " + std::to_string(before) + " died"});
  EXPECT_THAT(lines, Each(Not(IsEmpty())));
  const int successor = pidIn(lines[0]);
  EXPECT_NE(successor, 0);
  EXPECT_NE(successor, forwarder);
  EXPECT_GT(table.worker(kFirstForwarderRow).incarnation.load(), before);
  EXPECT_EQ(table.worker(kFirstForwarderRow).restarts.load(), 1u);
  EXPECT_EQ(table.worker(kFirstForwarderRow).ready.load(), 1u);
  EXPECT_EQ(daemon.stop(), kExitOrderly);
  EXPECT_TRUE(daemon.everybodyGone());
}

TEST(Workers, OneThatDiesAtOnceIsNotStartedInACircle) {
  Daemon daemon(smallConfig("respawn_backoff_min = '100ms'\n"), {"PPX_FAKE_prober=exit"});
  const Millis start = monotonicMillis();
  daemon.start();
  for (int wait : {100, 200, 400, 800})
    ASSERT_FALSE(daemon.waitFor("prober is started again in " + std::to_string(wait) + " ms").empty());
  EXPECT_GE(monotonicMillis() - start, 700);
  EXPECT_THAT(daemon.said(), HasSubstr("died: exit code 3"));
  EXPECT_EQ(daemon.stop(), kExitOrderly);
  EXPECT_TRUE(daemon.everybodyGone());
}

TEST(Workers, AHungOneIsKilledAndItsRowChangesOnlyAfterItsDeath) {
  Daemon daemon(smallConfig("heartbeat_timeout = '1s'\n"));
  daemon.start();
  int pid = pidIn(daemon.waitFor("forwarder-1 is ready"));
  ASSERT_TRUE(daemon.serves());
  Table table = daemon.table();
  auto process = openProcess(pid);
  ASSERT_TRUE(process.ok());
  WorkerRow& row = table.worker(kFirstForwarderRow + 1);
  uint64_t before = row.incarnation.load();
  ::kill(pid, SIGSTOP);
  Millis end = monotonicMillis() + 20'000;
  for (bool dead = false; !dead && monotonicMillis() < end;) {
    uint64_t now = row.incarnation.load();
    pollfd waiting{process->pidfd.get(), POLLIN, 0};
    dead = ::poll(&waiting, 1, 1) > 0;
    if (!dead) {
      ASSERT_EQ(now, before);
    }
  }
  ASSERT_TRUE(isDead(*process));
  EXPECT_FALSE(daemon.waitFor("forwarder-1 (pid " + std::to_string(pid) + ") is silent: killing it").empty());
  EXPECT_FALSE(daemon.waitFor("forwarder-1 is ready").empty());
  EXPECT_GT(row.incarnation.load(), before);
  EXPECT_EQ(daemon.stop(), kExitOrderly);
  EXPECT_TRUE(daemon.everybodyGone());
}

TEST(Workers, ASupervisorThatWasStoppedKillsNobody) {
  Daemon daemon(smallConfig("heartbeat_timeout = '3s'\n"));
  daemon.start();
  int forwarder = pidIn(daemon.waitFor("forwarder-0 is ready"));
  ASSERT_TRUE(daemon.serves());
  Table table = daemon.table();
  ::kill(daemon.pid(), SIGSTOP);
  // As long as a hung worker would have had: watched by the beats of a living one.
  Millis end = monotonicMillis() + 4000;
  while (monotonicMillis() < end) ::poll(nullptr, 0, 50);
  ::kill(daemon.pid(), SIGCONT);
  ::kill(forwarder, SIGKILL);
  ASSERT_FALSE(daemon.waitFor("forwarder-0 is ready").empty());
  EXPECT_THAT(daemon.said(), Not(HasSubstr("is silent")));
  EXPECT_EQ(daemon.stop(), kExitOrderly);
}

TEST(Workers, ACustodianThatDiedIsFilledAgain) {
  Daemon daemon(smallConfig());
  daemon.start();
  int custodian = pidIn(daemon.waitFor("custodian is ready"));
  ASSERT_TRUE(daemon.serves());
  ::kill(custodian, SIGKILL);
  ASSERT_THAT(daemon.waitForAll({"custodian is ready", "the custodian holds what a successor needs"}),
              Each(Not(IsEmpty())));
  Table table = daemon.table();
  EXPECT_EQ(table.worker(kCustodianRow).restarts.load(), 1u);
  EXPECT_EQ(daemon.stop(), kExitOrderly);
  EXPECT_TRUE(daemon.everybodyGone());
}

}  // namespace
}  // namespace ppx::test
