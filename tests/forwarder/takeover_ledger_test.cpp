#include "forwarder/takeover_ledger.h"

#include <gtest/gtest.h>

#include <numeric>

namespace ppx {
namespace {

class TakeoverLedgerTest : public testing::Test {
 protected:
  std::vector<control::TookOver> sent_;
  bool flows_ = false;
  TakeoverLedger ledger_{[this](const control::TookOver& figures) { sent_.push_back(figures); },
                         [this](SlotRef) { return flows_; }};
};

TEST(TakeoverLedgerBuckets, AreTwoAPowerOfTwo) {
  EXPECT_EQ(TakeoverLedger::stallBucket(0), 0u);
  EXPECT_EQ(TakeoverLedger::stallBucket(4), 4u);
  EXPECT_EQ(TakeoverLedger::stallBucket(5), 4u);
  EXPECT_EQ(TakeoverLedger::stallBucket(6), 5u);
  EXPECT_EQ(TakeoverLedger::stallBucket(8), 6u);
  EXPECT_EQ(TakeoverLedger::stallBucket(~0ull), control::kStallBuckets - 1);
}

TEST_F(TakeoverLedgerTest, ASessionStallsUntilItFlowsAgain) {
  ledger_.expect({1, 1}, {3, 30}, true);
  ledger_.taken({1, 1}, {.inputBytes = 5, .outputBytes = 7, .quietSinceUs = 1});
  ledger_.look();
  ledger_.tick();
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(sent_[0].sessions, 1u);
  EXPECT_EQ(sent_[0].inputBytes, 5u);
  EXPECT_EQ(sent_[0].outputBytes, 7u);
  EXPECT_EQ(sent_[0].maxStallUs, 0u) << "it stalls still";
  flows_ = true;
  ledger_.look();
  ASSERT_EQ(sent_.size(), 2u);
  EXPECT_GT(sent_[1].maxStallUs, 0u);
  EXPECT_EQ(std::accumulate(std::begin(sent_[1].stalls), std::end(sent_[1].stalls), 0u), 1u);
}

TEST_F(TakeoverLedgerTest, PlannedAndCrashedAreKeptApartAndNothingIsSentTwice) {
  ledger_.expect({1, 1}, {3, 30}, true);
  ledger_.expect({2, 1}, {3, 30}, false);
  ledger_.lost({2, 1});
  ledger_.tick();
  ledger_.tick();
  ASSERT_EQ(sent_.size(), 2u);
  EXPECT_EQ(sent_[0].waiting, 1u);
  EXPECT_EQ(sent_[1].closed, 1u);
  EXPECT_EQ(sent_[1].planned, 0);
}

}  // namespace
}  // namespace ppx
