// An acceptor at its limits: of slots, of clients of one address, of descriptors.
#include "tests/custody/acceptor_process.h"

namespace ppx {
namespace {

using std::chrono::milliseconds;
using test::AcceptorProcess;
using test::runUntil;

TEST_F(AcceptorProcess, WaitsForASlotWhenFull) {
  supervisor.table().header().sessionCapacity = 10;
  startAll();
  connect(15);
  ASSERT_TRUE(runUntil(io, [&] { return handed() == 10; }));
  settle();
  EXPECT_EQ(handed(), 10u);
  auto cpu = test::cpuTime(acceptor.pid());
  settle();
  EXPECT_LE((test::cpuTime(acceptor.pid()) - cpu).count(), 20);
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(forwarders[i % 2]->end(0, supervisor.doorbells()));
    ASSERT_TRUE(runUntil(io, [&] { return handed() == 10; })) << "after " << i;
  }
  EXPECT_EQ(figures().accepted, 15u);
  EXPECT_EQ(figures().refused, 0u);
}

TEST_F(AcceptorProcess, RefusesWhenFullIfToldTo) {
  supervisor.table().header().sessionCapacity = 10;
  supervisor.table().header().refuseAtLimit = 1;
  startAll();
  connect(15);
  ASSERT_TRUE(runUntil(io, [&] { return handed() == 10 && figures().refused == 5; }));
  for (size_t i = 10; i < 15; ++i) EXPECT_TRUE(test::wasReset(clients[i].get()));
  EXPECT_EQ(closed(CloseReason::kRefused), 5u);
  EXPECT_EQ(slotsIn(SlotState::kOwned), 10u);
}

TEST_F(AcceptorProcess, RefusesTooManyOfOneAddress) {
  supervisor.table().header().maxPerAddress = 3;
  startAll();
  connect(5);
  ASSERT_TRUE(runUntil(io, [&] { return handed() == 3 && figures().refused == 2; }));
  EXPECT_TRUE(test::wasReset(clients[3].get()) && test::wasReset(clients[4].get()));
  connect(2, 2);
  ASSERT_TRUE(runUntil(io, [&] { return handed() == 5; }));
  EXPECT_EQ(slotsIn(SlotState::kClaimed), 0u);
  ASSERT_TRUE(forwarders[0]->end(0, supervisor.doorbells()));  // one of the first address
  connect(1);
  EXPECT_TRUE(runUntil(io, [&] { return handed() == 5; }));
}

// What counts is how often it tries, not how long it takes.
TEST_F(AcceptorProcess, RunsOutOfDescriptorsWithoutSpinning) {
  startAll("sys.accept4=errno:24");
  connect(20);
  ASSERT_TRUE(runUntil(io, [&] { return figures().acceptPauses >= 2; }));
  runUntil(
      io, [] { return false; }, milliseconds(600));
  EXPECT_LE(figures().acceptPauses, 20u);  // after 0, 10, 30, 70, 150, 310, 630 ms; one that spins: thousands
  EXPECT_LE(test::cpuTime(acceptor.pid()).count(), 100);
  EXPECT_EQ(slotsIn(SlotState::kClaimed), 0u);
}

TEST_F(AcceptorProcess, AcceptsAgainWhenThereAreDescriptors) {
  startAll("sys.accept4=errno:24@1-3");
  connect(20);
  ASSERT_TRUE(runUntil(io, [&] { return handed() == 20; }));
  EXPECT_EQ(figures().acceptPauses, 3u);
}

// 64 doorbells and the like leave room for few clients at a time.
TEST_F(AcceptorProcess, ServesAllWithHardlyAnyDescriptors) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "UBSan opens a pipe to look at memory, and reports what it cannot look at";
#endif
  startAll("", 75);
  acceptor.signal(SIGSTOP);
  connect(300);
  acceptor.signal(SIGCONT);
  ASSERT_TRUE(runUntil(io, [&] { return handed() == 300; }));
  EXPECT_GT(figures().acceptPauses, 0u);
}

}  // namespace
}  // namespace ppx
