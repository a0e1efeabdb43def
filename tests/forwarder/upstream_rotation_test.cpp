#include "forwarder/upstream_rotation.h"

#include <gtest/gtest.h>

#include <map>

namespace ppx {
namespace {

class UpstreamRotationTest : public testing::Test {
 protected:
  void ready(uint32_t upstream, uint32_t pool = 0) {
    UpstreamSlot& slot = table_.upstream(upstream);
    slot.pool.store(pool);
    slot.health.store(lifeWord(0, static_cast<uint8_t>(UpstreamHealth::kReady)));
    slot.life.store(lifeWord(0, static_cast<uint8_t>(UpstreamLife::kActive)));
    table_.header().upstreamEpoch.fetch_add(1);
  }
  void down(uint32_t upstream) {
    table_.upstream(upstream).health.store(lifeWord(0, static_cast<uint8_t>(UpstreamHealth::kDown)));
    table_.header().upstreamEpoch.fetch_add(1);
  }
  static bool any(uint32_t) { return true; }

  Table table_ =
      std::move(*Table::create({.sessionSlots = 8, .inSegments = 8, .outSegments = 8, .upstreamSlots = 16}));
};

TEST_F(UpstreamRotationTest, IsExactOverSeveralForwarders) {
  for (uint32_t i = 0; i < 7; ++i) ready(i * 2);
  UpstreamRotation forwarders[] = {UpstreamRotation(table_), UpstreamRotation(table_),
                                   UpstreamRotation(table_)};
  std::map<uint32_t, int> counts;
  for (int turn = 0; turn < 1000; ++turn) ++counts[*forwarders[turn * turn % 3].next(0, any)];
  ASSERT_EQ(counts.size(), 7u);
  auto [least, most] = std::minmax_element(counts.begin(), counts.end(),
                                           [](const auto& a, const auto& b) { return a.second < b.second; });
  EXPECT_LE(most->second - least->second, 1);
}

TEST_F(UpstreamRotationTest, SeesUpstreamsComeAndGo) {
  UpstreamRotation rotation(table_);
  EXPECT_FALSE(rotation.next(0, any).has_value());
  ready(3);
  EXPECT_EQ(rotation.next(0, any), 3u);
  down(3);
  EXPECT_FALSE(rotation.any(0));
}

TEST_F(UpstreamRotationTest, PoolsAreApart) {
  ready(1, 0);
  ready(2, 1);
  UpstreamRotation rotation(table_);
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(rotation.next(0, any), 1u);
    EXPECT_EQ(rotation.next(1, any), 2u);
  }
}

TEST_F(UpstreamRotationTest, OneThatIsNotUsableHereGivesItsTurnToTheNext) {
  for (uint32_t i = 0; i < 3; ++i) ready(i);
  UpstreamRotation rotation(table_);
  for (int i = 0; i < 9; ++i)
    EXPECT_NE(*rotation.next(0, [](uint32_t upstream) { return upstream != 1; }), 1u);
  EXPECT_FALSE(rotation.next(0, [](uint32_t) { return false; }).has_value());
}

}  // namespace
}  // namespace ppx
