// Processes that work on one table are killed with SIGKILL at random instants and at named failpoints. After
// each kill the others pause, the table is checked, and a successor takes over. PPX_KILLS and PPX_SEED order
// other numbers of kills and another run.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>

#include "common/failpoint.h"
#include "tests/common/table_actor.h"
#include "tests/common/table_testing.h"

namespace ppx::testing {
namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kFailpoints[] = {
    "table.claiming",   "table.claimed",   "table.closing",   "table.releasing", "table.released",
    "journal.claiming", "journal.claimed", "journal.freed",   "mailbox.filled",  "mailbox.link",
    "mailbox.linked",   "mailbox.taken",   "mailbox.stamped", "mailbox.opening", "mailbox.sent",
    "mailbox.freeing",  "actor.filled",    "actor.owned",     "actor.reclaimed", "actor.sent",
    "actor.received",   "actor.passed",    "actor.moving",    "actor.finished",  "lane.claimed",
    "lane.aimed",       "lane.pushed",     "lane.done",       "actor.replied",   "actor.acknowledged"};

void* sharedMemory(size_t bytes) {
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  return memory == MAP_FAILED ? nullptr : memory;
}

class KillStress : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_NE(arena_, nullptr); }
  void TearDown() override {
    for (pid_t child : pids_)
      if (child > 0) {
        ::kill(child, SIGKILL);
        ::waitpid(child, nullptr, 0);
      }
    ::munmap(arena_, sizeof(Arena));
  }

  // What a child does until it is killed.
  [[noreturn]] void work(const WorkerId& id, uint64_t seed, const std::string& failpoints) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    armFailpoints(failpoints);
    TableActor actor(table_, *arena_, id, seed);
    actor.recover();
    for (;;) {
      uint32_t round = arena_->pauseRound.load();
      if (round == 0) {
        actor.step();
        continue;
      }
      arena_->paused[id.row].store(round);
      ::usleep(20);
    }
  }

  void start(uint8_t row) {
    WorkerId id = nextIncarnation(table_, row);
    std::string failpoints;
    byFailpoint_[row] = random_() % 2 == 0;
    if (byFailpoint_[row])
      failpoints = std::string(kFailpoints[random_() % std::size(kFailpoints)]) + "=kill@" +
                   std::to_string(1 + random_() % (random_() % 2 == 0 ? 4 : 60));
    uint64_t seed = random_();
    pids_[row] = ::fork();
    ASSERT_GE(pids_[row], 0);
    if (pids_[row] == 0) work(id, seed, failpoints);
  }

  // Notes that the row's process is dead, if it is; it must have died by SIGKILL.
  bool reap(uint8_t row, bool wait) {
    if (pids_[row] <= 0) return true;
    int status = 0;
    if (::waitpid(pids_[row], &status, wait ? 0 : WNOHANG) != pids_[row]) return false;
    pids_[row] = 0;
    ++kills_;
    if (!wait) ++atFailpoints_;  // nobody else has killed it
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
      ADD_FAILURE() << "an actor ended by itself, status " << status;
      broken_ = true;
    }
    return true;
  }

  void killOne() {
    uint8_t row = static_cast<uint8_t>(random_() % kActorRows);
    auto now = Clock::now();
    auto until = now + std::chrono::microseconds(byFailpoint_[row] ? 4000 : random_() % 1500);
    while (Clock::now() < until) {
      if (byFailpoint_[row] && reap(row, false)) return;
      if (byFailpoint_[row]) ::usleep(50);
    }
    ::kill(pids_[row], SIGKILL);
    reap(row, true);
  }

  void pauseOthers() {
    arena_->pauseRound.store(++round_);
    auto deadline = Clock::now() + std::chrono::seconds(20);
    for (uint8_t row = 0; row < kActorRows; ++row)
      while (!reap(row, false) && arena_->paused[row].load() != round_) {
        ASSERT_LT(Clock::now(), deadline) << "an actor hangs";
        ::usleep(20);
      }
  }

  std::array<bool, kActorRows> dead() const {
    std::array<bool, kActorRows> out{};
    for (size_t row = 0; row < kActorRows; ++row) out[row] = pids_[row] == 0;
    return out;
  }

  Table table_ = std::move(*Table::create(kActorTable));
  Arena* arena_ = static_cast<Arena*>(sharedMemory(sizeof(Arena)));
  uint64_t seed_ = environmentNumber("PPX_SEED", std::random_device()());
  std::mt19937_64 random_{seed_};
  std::array<pid_t, kActorRows> pids_{};
  std::array<bool, kActorRows> byFailpoint_{};
  uint32_t round_ = 0;
  uint64_t kills_ = 0, atFailpoints_ = 0, leaksSeen_ = 0;
  bool broken_ = false;
};

TEST_F(KillStress, NothingIsOwnedTwiceLostOrDoubled) {
  const uint64_t wanted = environmentNumber("PPX_KILLS", 1000);
  std::printf("seed %llu\n", static_cast<unsigned long long>(seed_));
  std::fflush(stdout);
  for (uint8_t row = 0; row < kActorRows; ++row) start(row);
  while (kills_ < wanted && !broken_ && !HasFatalFailure()) {
    killOne();
    pauseOthers();
    if (broken_ || HasFatalFailure()) break;
    auto gone = dead();
    leaksSeen_ += checkTable(table_, *arena_, gone);
    for (uint8_t row = 0; row < kActorRows; ++row)
      if (gone[row]) fence(table_, *arena_, row);
    arena_->pauseRound.store(0);
    for (uint8_t row = 0; row < kActorRows; ++row)
      if (gone[row]) start(row);
  }
  for (uint8_t row = 0; row < kActorRows; ++row)
    if (pids_[row] > 0) {
      ::kill(pids_[row], SIGKILL);
      reap(row, true);
    }
  ASSERT_FALSE(broken_);
  windUp(table_, *arena_, seed_);
  std::printf("%llu kills, %llu of them at failpoints; segments leaked at the checks: %llu\n",
              static_cast<unsigned long long>(kills_), static_cast<unsigned long long>(atFailpoints_),
              static_cast<unsigned long long>(leaksSeen_));
  printCounters(*arena_);
  EXPECT_GE(kills_, wanted);
  EXPECT_GT(arena_->counters.verified.load(), kills_ / 10);
}

}  // namespace
}  // namespace ppx::testing
