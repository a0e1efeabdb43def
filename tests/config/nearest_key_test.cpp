#include "supervisor/nearest_key.h"

#include <gtest/gtest.h>

#include <string>

namespace ppx {
namespace {

TEST(NearestKey, CountsInsertionsDeletionsReplacementsAndSwaps) {
  EXPECT_EQ(editDistance("listener", "listener"), 0U);
  EXPECT_EQ(editDistance("listner", "listener"), 1U);
  EXPECT_EQ(editDistance("lissener", "listener"), 1U);
  EXPECT_EQ(editDistance("lisetner", "listener"), 1U);
  EXPECT_EQ(editDistance("listeners", "listener"), 1U);
  EXPECT_EQ(editDistance("", "port"), 4U);
  EXPECT_EQ(editDistance("port", ""), 4U);
}

TEST(NearestKey, TakesCaseAndHyphensForTheSame) {
  EXPECT_EQ(editDistance("Alive-Timeout", "alive_timeout"), 0U);
}

TEST(NearestKey, FindsTheNearestAndSaysWhetherItIsClose) {
  const std::vector<std::string_view> keys = {"host", "port", "backlog"};
  EXPECT_EQ(nearestKey("prot", keys).key, "port");
  EXPECT_TRUE(nearestKey("prot", keys).close);
  EXPECT_FALSE(nearestKey("certificate", keys).close);
  EXPECT_FALSE(nearestKey("certificate", keys).key.empty());
}

TEST(NearestKey, BearsNoCandidatesAndEndlessWords) {
  EXPECT_TRUE(nearestKey("x", {}).key.empty());
  EXPECT_FALSE(nearestKey("x", {}).close);
  const std::string longWord(1 << 20, 'a');
  EXPECT_FALSE(nearestKey(longWord, {std::string_view(longWord).substr(0, 64)}).close);
}

}  // namespace
}  // namespace ppx
