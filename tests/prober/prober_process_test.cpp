// The prober against an upstream in another process, which is killed and stopped.
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <string>

#include "tests/prober/prober_bed.h"
#include "tests/prober/scripted_upstream.h"

namespace ppx::test {
namespace {

using H = UpstreamHealth;

// Ends with the test, however that ends: at the end of its input.
class UpstreamProcess {
 public:
  explicit UpstreamProcess(uint32_t port = 0) {
    std::array<int, 2> in{}, out{};
    if (::pipe2(in.data(), O_CLOEXEC) != 0 || ::pipe2(out.data(), O_CLOEXEC) != 0) std::abort();
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    std::string address = ownLoopback() + ":" + std::to_string(port), program = PPX_SCRIPTED_UPSTREAM;
    char* arguments[] = {program.data(), address.data(), nullptr};
    if (::posix_spawn(&pid_, program.c_str(), &actions, nullptr, arguments, environ) != 0) std::abort();
    posix_spawn_file_actions_destroy(&actions);
    ::close(in[0]);
    ::close(out[1]);
    input_ = UniqueFd(in[1]);
    UniqueFd output(out[0]);
    std::array<char, 16> line{};
    if (::read(output.get(), line.data(), line.size() - 1) > 0)
      port_ = static_cast<uint32_t>(std::strtoul(line.data(), nullptr, 10));
  }
  ~UpstreamProcess() { kill(); }

  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  void stop() const { ::kill(pid_, SIGSTOP); }
  void resume() const { ::kill(pid_, SIGCONT); }
  uint32_t port() const { return port_; }

 private:
  pid_t pid_ = -1;
  UniqueFd input_;
  uint32_t port_ = 0;
};

TEST(ProberProcess, AKilledUpstreamIsDownLongBeforeAliveTimeoutAndComesBackByItself) {
  auto upstream = std::make_unique<UpstreamProcess>();
  uint32_t port = upstream->port();
  ASSERT_NE(port, 0u);
  ProberBed bed;
  bed.startProber();
  bed.add(0, ownLoopback(), port, {30'000, 30'000});
  ASSERT_TRUE(bed.waitHealth(0, H::kReady));
  ASSERT_TRUE(bed.waitProof(0));
  Millis begin = monotonicMillis();
  upstream->kill();
  ASSERT_TRUE(bed.waitHealth(0, H::kDown));
  RecordProperty("downAfterMs", static_cast<int>(monotonicMillis() - begin));
  EXPECT_LT(monotonicMillis() - begin, 5000);
  EXPECT_EQ(bed.row(0).timesDown.load(), 1u);
  upstream = std::make_unique<UpstreamProcess>(port);
  ASSERT_EQ(upstream->port(), port);
  EXPECT_TRUE(bed.waitHealth(0, H::kReady));
}

TEST(ProberProcess, AStoppedUpstreamIsDownAfterAliveTimeoutAndReadyAfterItGoesOn) {
  UpstreamProcess upstream;
  ASSERT_NE(upstream.port(), 0u);
  ProberBed bed;
  bed.startProber();
  bed.add(0, ownLoopback(), upstream.port(), {400, 300});
  ASSERT_TRUE(bed.waitHealth(0, H::kReady));
  Millis begin = monotonicMillis();
  upstream.stop();
  ASSERT_TRUE(bed.waitHealth(0, H::kDown));
  Millis took = monotonicMillis() - begin;
  RecordProperty("downAfterMs", static_cast<int>(took));
  EXPECT_LT(took, 3000);  // 400 on an idle machine
  upstream.resume();
  EXPECT_TRUE(bed.waitHealth(0, H::kReady));
  EXPECT_EQ(bed.row(0).timesDown.load(), 1u);
}

TEST(ProberProcess, ASuccessorFindsOutThatAReadyUpstreamWasKilledMeanwhile) {
  UpstreamProcess upstream;
  ProberBed bed;
  bed.startProber();
  bed.add(0, ownLoopback(), upstream.port(), {30'000, 30'000});
  ASSERT_TRUE(bed.waitHealth(0, H::kReady));
  bed.stopProber();
  upstream.kill();
  EXPECT_EQ(bed.health(0), H::kReady);
  bed.startProber();
  EXPECT_TRUE(bed.waitHealth(0, H::kDown));
}

}  // namespace
}  // namespace ppx::test
