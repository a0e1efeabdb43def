// What a successor makes of a slot and the kernel's word.
#include "forwarder/takeover.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include "tests/forwarder/session_bench.h"

namespace ppx {
namespace {

class Reconcile : public testing::Test {
 protected:
  // A session that has had five bytes and sent four.
  void SetUp() override {
    bench_.readyUpstream(0);
    session_ = &bench_.connect(client_);
    ASSERT_EQ(::send(client_.get(), "hello", 5, MSG_NOSIGNAL), 5);
    ASSERT_TRUE(bench_.runUntil([&] { return slot().inReceived.load() == 5; }));
    bench_.push(*session_, "okay");
    ASSERT_TRUE(bench_.runUntil([&] { return slot().outSent.load() == 4; }));
    ASSERT_EQ(receiveExactly(client_.get(), 4), "okay");
  }
  SessionSlot& slot() { return session_->slot(); }
  Takeover::Reconciled reconcile() {
    return Takeover::reconcile(bench_.table(), bench_.journal(), *session_, {});
  }

  UniqueFd client_;
  SessionBench bench_;
  Session* session_ = nullptr;
};

TEST_F(Reconcile, BelievesTheKernelWhereTheSlotIsBehindIt) {
  slot().inReceived.store(2);
  const auto found = reconcile();
  EXPECT_TRUE(found.alive);
  EXPECT_TRUE(found.mismatch);
  EXPECT_FALSE(found.contradicts);
  EXPECT_EQ(slot().inReceived.load(), 5u);
}

TEST_F(Reconcile, ASlotThatClaimsMoreInputThanTheKernelGaveIsAContradictionAndEndsNoProcess) {
  slot().inReceived.store(6);
  const auto found = reconcile();
  EXPECT_TRUE(found.contradicts);
  EXPECT_FALSE(found.alive);
  slot().inReceived.store(5);
}

TEST_F(Reconcile, OutputThatTheKernelTookAndNobodyCommittedIsOneToo) {
  slot().outStamped.store(3);
  slot().outSent.store(3);
  const auto found = reconcile();
  EXPECT_TRUE(found.contradicts);
  EXPECT_FALSE(found.alive);
  slot().outStamped.store(4);
  slot().outSent.store(4);
}

}  // namespace
}  // namespace ppx
