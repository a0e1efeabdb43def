#include "tests/storm/stalls.h"

#include <signal.h>

#include <chrono>
#include <map>
#include <random>
#include <vector>

#include "tests/gateway/harness/processes.h"

namespace ppx::test {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr int kTurnMs = 10;
constexpr milliseconds kLook(100);  // for new processes
// A stall takes half of the longest on average; twice that from one to the next makes a third of the time.
constexpr double kChance = 1.0 * kTurnMs / Stalls::kLongestStallMs;

class Staller {
 public:
  Staller(std::string word, unsigned seed) : word_(std::move(word)), random_(seed) {}
  ~Staller() {
    for (const auto& [pid, until] : stalled_) ::kill(pid, SIGCONT);
  }

  void turn(Clock::time_point now) {
    std::erase_if(stalled_, [now](const auto& each) {
      const auto& [pid, until] = each;
      if (until <= now) ::kill(pid, SIGCONT);
      return until <= now;
    });
    if (now >= lookAt_) {
      pids_ = processesWith(word_);
      lookAt_ = now + kLook;
    }
    std::bernoulli_distribution stalls(kChance);
    std::uniform_int_distribution<int> howLong(1, Stalls::kLongestStallMs);
    for (pid_t pid : pids_)
      if (!stalled_.contains(pid) && stalls(random_) && ::kill(pid, SIGSTOP) == 0)
        stalled_[pid] = now + milliseconds(howLong(random_));
  }

 private:
  std::string word_;
  std::mt19937 random_;
  std::map<pid_t, Clock::time_point> stalled_;  // until when
  std::vector<pid_t> pids_;
  Clock::time_point lookAt_;
};

}  // namespace

Stalls::Stalls(std::string word, unsigned seed)
    : thread_([word = std::move(word), seed](const std::stop_token& stop) {
        Staller staller(word, seed);
        while (!stop.stop_requested()) {
          staller.turn(Clock::now());
          std::this_thread::sleep_for(milliseconds(kTurnMs));
        }
      }) {}

}  // namespace ppx::test
