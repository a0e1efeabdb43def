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

// The kernel is no witness of a connection that is reset: what was noted is passed on, and then it is over.
class ReconcileReset : public Reconcile {
 protected:
  void SetUp() override {
    Reconcile::SetUp();
    session_->rewind();
    bench_.port.queued.clear();
    linger now{1, 0};
    ASSERT_EQ(::setsockopt(client_.get(), SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
    client_.reset();
    ASSERT_FALSE(reconcile().alive);
  }
  bool ended() const {
    return bench_.dropping == std::vector<SlotRef>{session_->ref()} &&
           session_->slot().closeReason.load() == static_cast<uint32_t>(CloseReason::kClientReset);
  }
};

TEST_F(ReconcileReset, WhatAGoneClientHadSentIsPassedOnFirst) {
  ASSERT_TRUE(session_->outliveClient());
  session_->start();
  ASSERT_EQ(bench_.port.queued.size(), 1u);
  EXPECT_EQ(bench_.port.queued[0].bytes, "hello");
  session_->onTick(monotonicMillis(), false);
  EXPECT_FALSE(ended()) << "it is on its way";
  bench_.port.written(bench_.port.last);
  bench_.links.collect();
  session_->onTick(monotonicMillis(), false);
  EXPECT_TRUE(ended());
}

TEST_F(ReconcileReset, AGoneClientIsNotOutlivedForEver) {
  ASSERT_TRUE(session_->outliveClient());
  session_->start();
  session_->onTick(monotonicMillis() + 5'001, false);
  EXPECT_TRUE(ended());
}

TEST_F(ReconcileReset, AGoneClientThatLeftNothingIsNotOutlived) {
  bench_.links.pump(*session_);
  bench_.port.written(bench_.port.last);
  bench_.links.collect();
  EXPECT_FALSE(session_->outliveClient());
}

}  // namespace
}  // namespace ppx
