// A custodian that a service manager starts, not the supervisor.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/custody_protocol.h"
#include "supervisor/exit_codes.h"
#include "supervisor/spawner.h"
#include "tests/supervisor/daemon.h"
#include "tests/supervisor/small_config.h"

namespace ppx::test {
namespace {

using ::testing::Each;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr int kDeadlineMs = 20'000;

class ExternalCustodian : public ::testing::Test {
 protected:
  ExternalCustodian() : daemon(smallConfig()) { ::mkdir(daemon.runtimeDir().c_str(), 0700); }

  Process startCustodian() {
    auto process = spawn(PPX_BIN_DIR "/paradox-custodian", {"--runtime-dir", daemon.runtimeDir()});
    EXPECT_TRUE(process.ok());
    return std::move(*process);
  }
  // How it ended.
  static std::string end(const Process& process) {
    pollfd waiting{process.pidfd.get(), POLLIN, 0};
    return ::poll(&waiting, 1, kDeadlineMs) == 1 ? reap(process) : "it lives";
  }
  static void kill(const Process& process) {
    killNow(process);
    end(process);
  }
  int custodianPid() { return static_cast<int>(daemon.table().worker(kCustodianRow).pid.load()); }
  bool hasSocket() { return ::access((daemon.runtimeDir() + "/" + custody::kSocketName).c_str(), F_OK) == 0; }

  Daemon daemon;
};

TEST_F(ExternalCustodian, IsWaitedForAndLeavesAtTheOrderlyStop) {
  daemon.start({"--external-custodian"});
  ASSERT_FALSE(daemon.waitFor("sessions; ").empty());
  Process custodian = startCustodian();
  ASSERT_TRUE(daemon.serves()) << daemon.said();
  EXPECT_EQ(custodianPid(), custodian.pid);
  EXPECT_EQ(daemon.stop(), kExitOrderly);
  EXPECT_EQ(end(custodian), "exit code 0");
  EXPECT_FALSE(hasSocket());
  EXPECT_TRUE(daemon.everybodyGone());
}

TEST_F(ExternalCustodian, IsFoundAgainAfterEverybodyElseWasKilled) {
  Process custodian = startCustodian();
  daemon.start({"--external-custodian"});
  ASSERT_TRUE(daemon.serves()) << daemon.said();
  Table before = daemon.table();
  EXPECT_EQ(daemon.stop(SIGKILL), -SIGKILL);
  for (uint8_t row = 0; row < kCustodianRow; ++row)
    if (int pid = static_cast<int>(before.worker(row).pid.load()); pid != 0) ::kill(pid, SIGKILL);

  daemon.startBeside();  // without the option: that one is there says enough
  ASSERT_TRUE(daemon.serves()) << daemon.said();
  Table after = daemon.table();
  EXPECT_EQ(after.header().gatewayId[0], before.header().gatewayId[0]);
  EXPECT_EQ(custodianPid(), custodian.pid);
  EXPECT_EQ(daemon.stop(), kExitOrderly);
  EXPECT_EQ(end(custodian), "exit code 0");
}

TEST_F(ExternalCustodian, HasASuccessorWhenItIsKilled) {
  Process first = startCustodian();
  daemon.start({"--external-custodian"});
  ASSERT_TRUE(daemon.serves()) << daemon.said();
  kill(first);
  Process second = startCustodian();
  ASSERT_THAT(daemon.waitForAll({"custodian is ready (pid " + std::to_string(second.pid),
                                 "the custodian holds what a successor needs"}),
              Each(Not(IsEmpty())))
      << daemon.said();
  EXPECT_EQ(daemon.stop(), kExitOrderly);
  EXPECT_EQ(end(second), "exit code 0");
}

TEST(ExternalCustodianAlone, KeepsItsSocketWhenAStartFails) {
  TakenPort taken;
  Daemon daemon(taken.config());
  ::mkdir(daemon.runtimeDir().c_str(), 0700);
  auto custodian = spawn(PPX_BIN_DIR "/paradox-custodian", {"--runtime-dir", daemon.runtimeDir()});
  ASSERT_TRUE(custodian.ok());
  std::string socket = daemon.runtimeDir() + "/" + custody::kSocketName;
  while (::access(socket.c_str(), F_OK) != 0 && !isDead(*custodian)) ::poll(nullptr, 0, 1);
  EXPECT_EQ(runDaemon(daemon, {"--external-custodian"}).code, kExitTryAgain);
  EXPECT_EQ(::access(socket.c_str(), F_OK), 0);
  killNow(*custodian);
}

TEST_F(ExternalCustodian, SecondOneIsRefused) {
  Process first = startCustodian();
  daemon.start({"--external-custodian"});
  ASSERT_TRUE(daemon.serves()) << daemon.said();
  EXPECT_EQ(end(startCustodian()), "exit code 75");
  EXPECT_EQ(custodianPid(), first.pid);
  EXPECT_EQ(daemon.stop(), kExitOrderly);
  EXPECT_EQ(end(first), "exit code 0");
}

}  // namespace
}  // namespace ppx::test
