// Processes are recognised from outside, while others come and go.
#include "supervisor/worker_identity.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>

namespace ppx {
namespace {

// One that ends between the opening and the reading of its file in /proc cannot be read.
TEST(WorkerIdentity, OutlivesTheEndOfAProcessThatItReads) {
  std::atomic<bool> over{false};
  std::atomic<pid_t> latest{::getpid()};
  std::thread mortals([&] {
    while (!over) {
      const pid_t pid = ::fork();
      if (pid == 0) ::_exit(0);
      latest = pid;
      ::waitpid(pid, nullptr, 0);
    }
  });
  for (int i = 0; i < 20'000; ++i) EXPECT_FALSE(runsWith(latest, {"--row"}));
  over = true;
  mortals.join();
  EXPECT_TRUE(workersOf("/nonexistent").empty());
}

}  // namespace
}  // namespace ppx
