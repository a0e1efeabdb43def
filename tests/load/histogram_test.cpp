#include "tests/load/histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace ppx::load {
namespace {

TEST(Histogram, IsZeroWhenEmpty) {
  const Histogram histogram;
  EXPECT_EQ(histogram.percentile(50), 0);
  EXPECT_EQ(histogram.percentile(100), 0);
  EXPECT_EQ(histogram.max(), 0);
}

TEST(Histogram, IsExactForSmallValues) {
  Histogram histogram;
  for (Nanos value = 1; value <= 100; ++value) {
    histogram.record(value);
  }
  EXPECT_EQ(histogram.percentile(1), 1);
  EXPECT_EQ(histogram.percentile(50), 50);
  EXPECT_EQ(histogram.percentile(99), 99);
  EXPECT_EQ(histogram.percentile(100), 100);
}

TEST(Histogram, StaysWithinHalfAPercentOfTheSortedValues) {
  std::mt19937_64 random(5);
  std::lognormal_distribution<double> latencies(12, 2);
  Histogram histogram;
  std::vector<Nanos> values;
  for (int i = 0; i < 20'000; ++i) {
    values.push_back(static_cast<Nanos>(latencies(random)));
    histogram.record(values.back());
  }
  std::sort(values.begin(), values.end());
  for (const double percent : {1.0, 25.0, 50.0, 90.0, 99.0, 99.9, 100.0}) {
    const auto rank = static_cast<std::size_t>(std::ceil(percent / 100 * static_cast<double>(values.size())));
    const auto exact = static_cast<double>(values[rank - 1]);
    const auto told = static_cast<double>(histogram.percentile(percent));
    EXPECT_GE(told, exact) << percent;
    EXPECT_LE(told, exact * 1.005) << percent;
  }
  EXPECT_EQ(histogram.max(), values.back());
}

TEST(Histogram, BearsTheExtremes) {
  Histogram histogram;
  histogram.record(-5);
  histogram.record(INT64_MAX);
  EXPECT_EQ(histogram.percentile(50), 0);
  EXPECT_EQ(histogram.percentile(100), INT64_MAX);
}

TEST(Histogram, AddsUp) {
  Histogram low;
  Histogram high;
  low.record(10);
  high.record(1'000'000);
  low.add(high);
  EXPECT_EQ(low.count(), 2u);
  EXPECT_EQ(low.percentile(50), 10);
  EXPECT_EQ(low.max(), 1'000'000);
}

}  // namespace
}  // namespace ppx::load
