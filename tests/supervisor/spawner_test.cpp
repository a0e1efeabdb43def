#include "supervisor/spawner.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <filesystem>

namespace ppx {
namespace {

bool waitDead(const Process& process) {
  pollfd waiting{process.pidfd.get(), POLLIN, 0};
  return ::poll(&waiting, 1, 10'000) > 0;
}

TEST(Spawner, ReportsWhyAProgramDoesNotRun) {
  auto missing = spawn("/nonexistent/paradox-forwarder", {});
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().code, ENOENT);
  EXPECT_EQ(missing.error().text, "running /nonexistent/paradox-forwarder: No such file or directory");
}

TEST(Spawner, TellsHowAProcessEnded) {
  auto process = spawn("/bin/sh", {"-c", "exit 7"});
  ASSERT_TRUE(process.ok());
  ASSERT_TRUE(waitDead(*process));
  EXPECT_TRUE(isDead(*process));
  EXPECT_EQ(reap(*process), "exit code 7");
}

TEST(Spawner, KillsThroughThePidfd) {
  auto process = spawn("/bin/sleep", {"60"});
  ASSERT_TRUE(process.ok());
  EXPECT_FALSE(isDead(*process));
  killNow(*process);
  ASSERT_TRUE(waitDead(*process));
  EXPECT_EQ(reap(*process), "signal 9 (Killed)");
}

// A descriptor that a worker inherits by accident keeps ports and locks alive.
TEST(Spawner, PassesNoDescriptorOn) {
  UniqueFd leak(::open("/dev/null", O_RDONLY));  // not close-on-exec
  auto process = spawn("/bin/sh", {"-c", "test ! -e /proc/self/fd/" + std::to_string(leak.get())});
  ASSERT_TRUE(process.ok());
  ASSERT_TRUE(waitDead(*process));
  EXPECT_EQ(reap(*process), "exit code 0");
}

TEST(Spawner, GivesASessionOfItsOwnAndDefaultSignals) {
  ::signal(SIGPIPE, SIG_IGN);
  auto process = spawn("/bin/sleep", {"60"});
  ASSERT_TRUE(process.ok());
  EXPECT_EQ(::getsid(process->pid), process->pid);
  ::kill(process->pid, SIGPIPE);
  ASSERT_TRUE(waitDead(*process));
  EXPECT_EQ(reap(*process), "signal 13 (Broken pipe)");
}

}  // namespace
}  // namespace ppx
