// Custody is incomplete until the custodian has as many descriptors as there are sessions, whoever noticed its death.
#include "supervisor/custody_watch.h"

#include <gtest/gtest.h>

#include "common/control_protocol.h"
#include "tests/common/table_testing.h"

namespace ppx {
namespace {

class Watch : public ::testing::Test {
 protected:
  void hold(uint64_t sessions) {
    table_.worker(kCustodianRow).sessions.store(control::kWelcomeDescriptors + kMaxListeners + sessions);
  }
  bool completeWithin(std::chrono::milliseconds most) {
    for (auto end = std::chrono::steady_clock::now() + most;
         !watch_.status().complete() && std::chrono::steady_clock::now() < end;) {
      io_.restart();
      io_.run_one_for(std::chrono::milliseconds(50));
    }
    return watch_.status().complete();
  }

  Table table_ = testing::smallTable();
  SlotRef session_ = testing::owned(table_);
  boost::asio::io_context io_;
  int told_ = 0;
  CustodyWatch watch_{io_, table_, [this] { ++told_; }};
};

TEST_F(Watch, ASupervisorThatFindsAWholeCustodianHasNothingToTell) {
  hold(1);
  watch_.filled();
  EXPECT_TRUE(watch_.status().complete());
  EXPECT_EQ(told_, 0);
}

TEST_F(Watch, ASupervisorThatFindsOneThatIsBeingFilledTellsSoUntilItIsWhole) {
  hold(0);
  watch_.filled();
  EXPECT_FALSE(watch_.status().complete());
  EXPECT_FALSE(completeWithin(std::chrono::milliseconds(100)));
  hold(1);
  EXPECT_TRUE(completeWithin(std::chrono::seconds(10)));
  EXPECT_EQ(told_, 2);
  EXPECT_GT(watch_.status().incompleteSeconds(), 0);
}

TEST_F(Watch, OfADeadCustodianTheFigureDoesNotCountForItsSuccessor) {
  hold(1);
  watch_.filled();
  watch_.lost();
  watch_.filled();
  EXPECT_FALSE(watch_.status().complete());
  hold(1);
  EXPECT_TRUE(completeWithin(std::chrono::seconds(10)));
}

}  // namespace
}  // namespace ppx
