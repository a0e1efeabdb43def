// A test that is killed leaves nothing behind: no process of its gateway, which would outlive its supervisor, and no file.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <sstream>

#include "common/unique_fd.h"
#include "tests/gateway/harness/processes.h"

namespace ppx::test {
namespace {

namespace fs = std::filesystem;

// A process of its own that runs held_gateway, to its one line.
struct HeldGateway {
  HeldGateway() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) std::abort();
    UniqueFd read(ends[0]), write(ends[1]);
    pid = ::fork();
    if (pid == 0) {
      ::dup2(write.get(), STDOUT_FILENO);
      ::execl(PPX_HELD_GATEWAY, PPX_HELD_GATEWAY, nullptr);
      ::_exit(127);
    }
    write.reset();
    std::string line;
    char byte = 0;
    while (byte != '\n' && ::read(read.get(), &byte, 1) == 1) line += byte;
    std::istringstream(line) >> folder >> runtimeDir >> worker;
  }
  ~HeldGateway() {
    if (pid > 0) killAndWait();
  }
  void killAndWait() {
    ::kill(pid, SIGKILL);
    ::waitpid(std::exchange(pid, -1), nullptr, 0);
  }
  pid_t pid, worker = -1;
  std::string folder, runtimeDir;
};

TEST(TestGuard, LeavesNothingOfATestThatIsKilled) {
  HeldGateway held;
  ASSERT_FALSE(held.runtimeDir.empty()) << "the gateway did not start";
  ASSERT_EQ(processesWith(held.runtimeDir).size(), 6u);  // the supervisor and its workers
  ASSERT_TRUE(isAlive(held.worker));
  ASSERT_TRUE(fs::exists(held.runtimeDir));
  auto before = std::chrono::steady_clock::now();
  held.killAndWait();
  waitUntil("the end of all processes", [&] { return processesWith(held.runtimeDir).empty(); });
  waitForDeath(held.worker);
  waitUntil("the end of all files", [&] { return !fs::exists(held.folder); });
  std::printf("gone after %lld ms\n",
              static_cast<long long>(
                  std::chrono::duration_cast<Millis>(std::chrono::steady_clock::now() - before).count()));
}

TEST(TestGuard, IsNoChildOfTheTest) {
  // ctest kills a test's children with it.
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);
  EXPECT_EQ(errno, ECHILD);
}

}  // namespace
}  // namespace ppx::test
