// The actors of the kill stress as threads of one process: for ThreadSanitizer.
#include <gtest/gtest.h>

#include <memory>
#include <thread>

#include "tests/common/table_actor.h"
#include "tests/common/table_testing.h"

namespace ppx::testing {
namespace {

TEST(TableThreads, WorkOnOneTableWithoutARace) {
  uint64_t seed = environmentNumber("PPX_SEED", std::random_device()());
  std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  Table table = std::move(*Table::create(kActorTable));
  auto arena = std::make_unique<Arena>();
  {
    std::vector<std::jthread> threads;
    for (uint8_t row = 0; row < kActorRows; ++row)
      threads.emplace_back([&, row, id = nextIncarnation(table, row)] {
        TableActor actor(table, *arena, id, seed + row);
        for (uint64_t i = environmentNumber("PPX_STEPS", 100'000) / kActorRows; i > 0; --i) actor.step();
      });
  }
  EXPECT_EQ(checkTable(table, *arena, {}), 0u);  // nobody died: nothing leaked
  windUp(table, *arena, seed);
  printCounters(*arena);
}

}  // namespace
}  // namespace ppx::testing
