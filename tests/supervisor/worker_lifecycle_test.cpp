#include "supervisor/worker_lifecycle.h"

#include <gtest/gtest.h>

#include "supervisor/respawn_backoff.h"
#include "supervisor/silence_watch.h"

namespace ppx {
namespace {

using S = WorkerState;
using E = WorkerEvent;
using A = WorkerAction;

constexpr S kAll[] = {S::kAbsent, S::kStarting, S::kGreeted, S::kReady, S::kStopping, S::kDead, S::kLeaving};
constexpr S kLiving[] = {S::kStarting, S::kGreeted, S::kReady, S::kStopping, S::kLeaving};

void expect(S from, E event, S to, A action) {
  WorkerTransition got = workerTransition(from, event);
  EXPECT_EQ(got.next, to) << workerStateName(from) << ", event " << int(event);
  EXPECT_EQ(got.action, action) << workerStateName(from) << ", event " << int(event);
}

TEST(WorkerLifecycle, CoversEachStateAndEvent) {
  struct Cell {
    S next;
    A action;
  };
  const Cell expected[kWorkerStates][kWorkerEvents] = {
      {{S::kAbsent, A::kSpawn},
       {S::kStarting, A::kNone},
       {S::kDead, A::kBackOff},
       {S::kAbsent, A::kReject},
       {S::kAbsent, A::kCloseChannel},
       {S::kAbsent, A::kNone},
       {S::kAbsent, A::kNone},
       {S::kAbsent, A::kNone},
       {S::kAbsent, A::kNone},
       {S::kAbsent, A::kNone},
       {S::kAbsent, A::kNone}},
      {{S::kStarting, A::kNone},
       {S::kStarting, A::kNone},
       {S::kStarting, A::kNone},
       {S::kGreeted, A::kWelcome},
       {S::kStarting, A::kCloseChannel},
       {S::kStarting, A::kNone},
       {S::kStarting, A::kKill},
       {S::kDead, A::kBury},
       {S::kStopping, A::kAskToStop},
       {S::kLeaving, A::kWithdraw},
       {S::kStarting, A::kNone}},
      {{S::kGreeted, A::kNone},
       {S::kGreeted, A::kNone},
       {S::kGreeted, A::kNone},
       {S::kGreeted, A::kWelcome},
       {S::kReady, A::kAnnounce},
       {S::kGreeted, A::kNone},
       {S::kGreeted, A::kKill},
       {S::kDead, A::kBury},
       {S::kStopping, A::kAskToStop},
       {S::kGreeted, A::kNone},
       {S::kGreeted, A::kNone}},
      {{S::kReady, A::kNone},
       {S::kReady, A::kNone},
       {S::kReady, A::kNone},
       {S::kReady, A::kWelcome},
       {S::kReady, A::kNone},
       {S::kReady, A::kNone},
       {S::kReady, A::kKill},
       {S::kDead, A::kBury},
       {S::kStopping, A::kAskToStop},
       {S::kLeaving, A::kWithdraw},
       {S::kReady, A::kNone}},
      {{S::kStopping, A::kNone},
       {S::kStopping, A::kNone},
       {S::kStopping, A::kNone},
       {S::kStopping, A::kAskToStop},
       {S::kStopping, A::kNone},
       {S::kStopping, A::kNone},
       {S::kStopping, A::kNone},
       {S::kAbsent, A::kBuryForGood},
       {S::kStopping, A::kNone},
       {S::kStopping, A::kNone},
       {S::kStopping, A::kNone}},
      {{S::kDead, A::kSpawn},
       {S::kStarting, A::kNone},
       {S::kDead, A::kBackOff},
       {S::kDead, A::kReject},
       {S::kDead, A::kCloseChannel},
       {S::kDead, A::kNone},
       {S::kDead, A::kNone},
       {S::kDead, A::kNone},
       {S::kAbsent, A::kNone},
       {S::kDead, A::kNone},
       {S::kDead, A::kNone}},
      {{S::kLeaving, A::kNone},
       {S::kLeaving, A::kNone},
       {S::kLeaving, A::kNone},
       {S::kLeaving, A::kWelcome},
       {S::kLeaving, A::kNone},
       {S::kLeaving, A::kNone},
       {S::kLeaving, A::kKill},
       {S::kAbsent, A::kBuryForGood},
       {S::kStopping, A::kAskToStop},
       {S::kLeaving, A::kNone},
       {S::kReady, A::kAnnounce}},
  };
  for (size_t s = 0; s < kWorkerStates; ++s)
    for (size_t e = 0; e < kWorkerEvents; ++e)
      expect(static_cast<S>(s), static_cast<E>(e), expected[s][e].next, expected[s][e].action);
}

TEST(WorkerLifecycle, NeverSpawnsBesideALivingProcess) {
  for (S state : kLiving) EXPECT_NE(workerTransition(state, E::kSpawnDue).action, A::kSpawn);
}

TEST(WorkerLifecycle, OnlyDeathBuries) {
  for (S state : kAll)
    for (size_t e = 0; e < kWorkerEvents; ++e) {
      A action = workerTransition(state, static_cast<E>(e)).action;
      if (action == A::kBury || action == A::kBuryForGood) {
        EXPECT_EQ(static_cast<E>(e), E::kDied);
      }
    }
}

TEST(WorkerLifecycle, NothingStartsAgainAfterAStop) {
  for (S state : kAll) {
    S stopped = workerTransition(state, E::kStopOrdered).next;
    S dead = workerTransition(stopped, E::kDied).next;
    EXPECT_EQ(dead, S::kAbsent) << workerStateName(state);
  }
}

TEST(RespawnBackoff, DoublesUpToItsMostAndForgetsAfterUsefulWork) {
  RespawnBackoff backoff(100, 350);
  EXPECT_EQ(backoff.afterDeath(0), 100);
  EXPECT_EQ(backoff.afterDeath(0), 200);
  EXPECT_EQ(backoff.afterDeath(0), 350);
  EXPECT_EQ(backoff.afterDeath(RespawnBackoff::kUsefulMs - 1), 350);
  EXPECT_EQ(backoff.afterDeath(RespawnBackoff::kUsefulMs), 0);
  EXPECT_EQ(backoff.afterDeath(0), 100);
}

TEST(SilenceWatch, CallsAStandingHeartbeatSilence) {
  SilenceWatch watch;
  EXPECT_FALSE(watch.look(1, true, 100, 100, 250));
  EXPECT_FALSE(watch.look(1, true, 100, 100, 250));
  EXPECT_FALSE(watch.look(1, true, 100, 100, 250));
  EXPECT_TRUE(watch.look(1, true, 100, 100, 250));
  EXPECT_FALSE(watch.look(2, true, 100, 100, 250));
}

TEST(SilenceWatch, CallsAMissingChannelSilence) {
  SilenceWatch watch;
  uint64_t beat = 1;
  EXPECT_FALSE(watch.look(beat++, false, 100, 100, 250));
  EXPECT_FALSE(watch.look(beat++, false, 100, 100, 250));
  EXPECT_TRUE(watch.look(beat++, false, 100, 100, 250));
}

TEST(SilenceWatch, DiscountsTheSupervisorsOwnGaps) {
  SilenceWatch watch;
  EXPECT_FALSE(watch.look(1, true, 100, 100, 1000));
  EXPECT_FALSE(watch.look(1, true, 3'600'000, 100, 1000));
  EXPECT_FALSE(watch.look(1, true, 100, 100, 1000));
}

}  // namespace
}  // namespace ppx
