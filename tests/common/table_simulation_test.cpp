// A million steps of actors on one table, in one process, in an order that a seed decides: at each failpoint an
// actor may die, or stall while others run. PPX_SEED repeats a run, PPX_STEPS makes it longer.
#include <gtest/gtest.h>

#include <memory>

#include "common/failpoint.h"
#include "tests/common/table_actor.h"
#include "tests/common/table_testing.h"

namespace ppx::testing {
namespace {

struct Died {};

class Simulation {
 public:
  explicit Simulation(uint64_t seed) : random_(seed) {
    for (uint8_t row = 0; row < kActorRows; ++row) renew(row);
    current = this;
    setFailpointHook([](std::string_view name) { current->atFailpoint(name); });
  }
  ~Simulation() { setFailpointHook(nullptr); }

  void stepOne() {
    uint8_t row = static_cast<uint8_t>(random_() % kActorRows);
    if (busy_[row]) return;  // stalls further out
    busy_[row] = true;
    ++depth_;
    bool died = false;
    try {
      if (fresh_[row]) {
        actors_[row]->recover();
        fresh_[row] = false;
      } else {
        actors_[row]->step();
      }
      if (random_() % 200 == 0) died = true;
    } catch (const Died&) {
      died = true;
    }
    --depth_;
    busy_[row] = false;
    if (!died) return;
    ++deaths_;
    fence(table_, *arena_, row);
    renew(row);
  }

  void check() {
    std::array<bool, kActorRows> dead{};
    leaks_ += checkTable(table_, *arena_, dead);
  }
  void finish(uint64_t seed) {
    setFailpointHook(nullptr);
    windUp(table_, *arena_, seed);
    std::printf("%llu deaths, %llu stalls; segments leaked at the checks: %llu\n",
                static_cast<unsigned long long>(deaths_), static_cast<unsigned long long>(stalls_),
                static_cast<unsigned long long>(leaks_));
    printCounters(*arena_);
  }
  uint64_t steps() const { return arena_->counters.steps.load(); }
  const Counters& counters() const { return arena_->counters; }

 private:
  void renew(uint8_t row) {
    actors_[row] = std::make_unique<TableActor>(table_, *arena_, nextIncarnation(table_, row), random_());
    fresh_[row] = true;
  }

  void atFailpoint(std::string_view name) {
    uint64_t what = random_() % 4000;
    if (what < 4) throw Died();
    // Not within collect(): its list is one for all actors of a thread.
    bool mayStall = name != "mailbox.stamped" && name != "mailbox.taken";
    if (what >= 100 || !mayStall || depth_ > 2) return;
    ++stalls_;
    for (uint64_t i = random_() % 60; i > 0; --i) stepOne();
  }

  static inline Simulation* current = nullptr;
  Table table_ = std::move(*Table::create(kActorTable));
  std::unique_ptr<Arena> arena_ = std::make_unique<Arena>();
  std::mt19937_64 random_;
  std::array<std::unique_ptr<TableActor>, kActorRows> actors_;
  std::array<bool, kActorRows> busy_{}, fresh_{};
  int depth_ = 0;
  uint64_t deaths_ = 0, stalls_ = 0, leaks_ = 0;
};

TEST(TableSimulation, AMillionStepsLoseAndDoubleNothing) {
  uint64_t seed = environmentNumber("PPX_SEED", std::random_device()());
  uint64_t steps = environmentNumber("PPX_STEPS", 1'000'000);
  std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  std::fflush(stdout);
  Simulation simulation(seed);
  for (uint64_t i = 0; simulation.steps() < steps; ++i) {
    simulation.stepOne();
    if (i % 64 == 0) simulation.check();
  }
  simulation.finish(seed);
  EXPECT_GT(simulation.counters().verified.load(), steps / 1000);
}

}  // namespace
}  // namespace ppx::testing
