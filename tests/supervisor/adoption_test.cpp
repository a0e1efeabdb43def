// A supervisor that was killed: the next one goes on with the table, the listeners and the workers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include "supervisor/exit_codes.h"
#include "supervisor/spawner.h"
#include "tests/supervisor/daemon.h"
#include "tests/supervisor/small_config.h"

namespace ppx::test {
namespace {

using ::testing::HasSubstr;

std::vector<std::pair<uint32_t, uint64_t>> processesIn(const Table& table) {
  std::vector<std::pair<uint32_t, uint64_t>> out;
  for (uint8_t row = 0; row < kWorkerRows; ++row)
    out.emplace_back(table.worker(row).pid.load(), table.worker(row).incarnation.load());
  return out;
}

TEST(Adoption, KeepsTableListenersAndWorkers) {
  Daemon daemon(smallConfig());
  daemon.start();
  ASSERT_TRUE(daemon.serves());
  Table before = daemon.table();
  auto processes = processesIn(before);
  uint32_t port = before.listener(0).port.load();
  EXPECT_EQ(daemon.stop(SIGKILL), -SIGKILL);

  daemon.startBeside();
  ASSERT_TRUE(daemon.serves()) << daemon.said();
  Table after = daemon.table();
  EXPECT_EQ(after.header().gatewayId[0], before.header().gatewayId[0]);
  EXPECT_EQ(processesIn(after), processes);
  EXPECT_EQ(after.listener(0).port.load(), port);
  EXPECT_THAT(daemon.said(), HasSubstr("workers of a predecessor"));
  EXPECT_EQ(daemon.stop(), kExitOrderly);
  EXPECT_TRUE(daemon.everybodyGone());
}

TEST(Adoption, FillsTheRowsOfThoseWhoDiedMeanwhile) {
  Daemon daemon(smallConfig());
  daemon.start();
  ASSERT_TRUE(daemon.serves());
  Table table = daemon.table();
  auto processes = processesIn(table);
  EXPECT_EQ(daemon.stop(SIGKILL), -SIGKILL);
  auto forwarder = openProcess(static_cast<int>(processes[1].first));
  ASSERT_TRUE(forwarder.ok());
  killNow(*forwarder);

  daemon.startBeside();
  ASSERT_FALSE(daemon.waitFor("forwarder-1 is ready").empty()) << daemon.said();
  auto now = processesIn(daemon.table());
  EXPECT_NE(now[1].first, processes[1].first);
  EXPECT_GT(now[1].second, processes[1].second);
  now[1] = processes[1];
  EXPECT_EQ(now, processes);
  EXPECT_EQ(daemon.stop(), kExitOrderly);
  EXPECT_TRUE(daemon.everybodyGone());
}

TEST(Adoption, KillsAnAdoptedWorkerThatHangs) {
  Daemon daemon(smallConfig("heartbeat_timeout = '1s'\n"));
  daemon.start();
  ASSERT_TRUE(daemon.serves());
  auto processes = processesIn(daemon.table());
  EXPECT_EQ(daemon.stop(SIGKILL), -SIGKILL);
  ::kill(static_cast<int>(processes[0].first), SIGSTOP);

  daemon.startBeside();
  EXPECT_FALSE(
      daemon.waitFor("forwarder-0 (pid " + std::to_string(processes[0].first) + ") is silent").empty());
  ASSERT_FALSE(daemon.waitFor("forwarder-0 is ready").empty()) << daemon.said();
  EXPECT_GT(processesIn(daemon.table())[0].second, processes[0].second);
  EXPECT_EQ(daemon.stop(), kExitOrderly);
  EXPECT_TRUE(daemon.everybodyGone());
}

TEST(Adoption, SurvivesManyDeathsInARow) {
  Daemon daemon(smallConfig());
  daemon.start();
  ASSERT_TRUE(daemon.serves());
  auto processes = processesIn(daemon.table());
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(daemon.stop(SIGKILL), -SIGKILL);
    daemon.startBeside();
    ASSERT_TRUE(daemon.serves()) << i << daemon.said();
  }
  EXPECT_EQ(processesIn(daemon.table()), processes);
  EXPECT_EQ(daemon.stop(), kExitOrderly);
  EXPECT_TRUE(daemon.everybodyGone());
}

}  // namespace
}  // namespace ppx::test
