#include "forwarder/prober/probe_machine.h"

#include <gtest/gtest.h>

#include <array>
#include <set>
#include <vector>

namespace ppx {
namespace {

using E = ProbeEvent;
using S = ProbeState;
using H = UpstreamHealth;

constexpr Millis kAlive = 900;  // interval 300

ProbeMachine fresh(H found = H::kProbing) {
  return ProbeMachine(found, kAlive, 1000, 1);
}

// The shortest way to each state.
const std::vector<E>& wayTo(S state) {
  static const std::array<std::vector<E>, kProbeStates> kWays = {{
      {E::kRetryDue},
      {E::kRetryDue, E::kReadyOk},
      {E::kRetryDue, E::kReadyOk, E::kLiveOk},
      {E::kRetryDue, E::kReadyOk, E::kLiveOk, E::kSuspect},
      {E::kRetryDue, E::kReadyOk, E::kLiveOk, E::kStreamBroken},
      {E::kRetryDue, E::kReadyOk, E::kLiveUnimplemented},
      {E::kRetryDue, E::kReadyRefused},
      {E::kRetryDue, E::kReadyFailed},
      {E::kRetryDue, E::kReadyFailed, E::kRetryDue, E::kReadyOk},
      {E::kGone},
  }};
  return kWays[static_cast<size_t>(state)];
}

ProbeMachine inState(S state, Millis now) {
  ProbeMachine machine(H::kProbing, kAlive, now, 1);
  for (E event : wayTo(state)) machine.handle(event, now);
  EXPECT_EQ(machine.state(), state);
  return machine;
}

// One letter a state: p probing, v proving, R ready, C checking, V verifying, P polled, n not ready, D down,
// r returning, X gone. Columns as ProbeEvent.
constexpr char kLetters[] = "pvRCVPnDrX";
constexpr const char* kNext[kProbeStates] = {
    //  readyOk Refused Failed | liveOk Refused Timeout Broken Unimplemented | retry ping suspect gone
    "vnDpppppp"
    "ppX",  // probing
    "vvvRvDDPv"
    "vvX",  // proving
    "RRRRRDVPR"
    "RCX",  // ready
    "RnDCCDVPC"
    "CCX",  // checking
    "vnDVVDVVV"
    "VVX",  // verifying
    "PnVPPDPPP"
    "PPX",  // polled
    "vnDnnnnnn"
    "nnX",  // not ready
    "rnDDDDDDD"
    "DDX",  // down
    "rrrRrDDPr"
    "rrX",  // returning
    "XXXXXXXXX"
    "XXX",  // gone
};

TEST(ProbeMachine, GoesWhereTheTableSaysInEveryStateOnEveryEvent) {
  for (int s = 0; s < kProbeStates; ++s)
    for (int e = 0; e < kProbeEvents; ++e) {
      ProbeMachine machine = inState(static_cast<S>(s), 5000);
      machine.handle(static_cast<E>(e), 5001);
      EXPECT_EQ(kLetters[static_cast<int>(machine.state())], kNext[s][e])
          << probeStateName(static_cast<S>(s)) << " on event " << e;
    }
}

TEST(ProbeMachine, PublishesExactlyTheChangesOfHealth) {
  for (int s = 0; s < kProbeStates; ++s)
    for (int e = 0; e < kProbeEvents; ++e) {
      ProbeMachine machine = inState(static_cast<S>(s), 5000);
      H before = healthOf(machine.state());
      bool published = (machine.handle(static_cast<E>(e), 5001) & probe::kPublish) != 0;
      bool changed = healthOf(machine.state()) != before && machine.state() != S::kGone;
      EXPECT_EQ(published, changed) << probeStateName(static_cast<S>(s)) << " on event " << e;
    }
}

TEST(ProbeMachine, WhatGoesDownDropsItsChannelAndComesBackLater) {
  for (int s = 0; s < kProbeStates; ++s)
    for (int e = 0; e < kProbeEvents; ++e) {
      ProbeMachine::Step step = ProbeMachine::transition(static_cast<S>(s), static_cast<E>(e));
      if (step.next != S::kDown || (static_cast<S>(s) == S::kDown && step.actions == 0)) continue;
      if (static_cast<E>(e) == E::kRetryDue) continue;
      EXPECT_TRUE(step.actions & probe::kDrop) << s << " " << e;
      EXPECT_TRUE(step.actions & probe::kBackOff) << s << " " << e;
    }
}

// Whatever happens, in any order, something is under way or due: a question, a stream that is watched, a
// pause.
TEST(ProbeMachine, IsNeverStuckOverAMillionRandomEvents) {
  std::mt19937 random(20240501);
  Millis now = 1000;
  ProbeMachine machine = fresh();
  bool asking = false, live = false;
  std::set<S> seen;
  for (int i = 0; i < 1'000'000; ++i) {
    now += random() % 40;
    uint32_t actions = 0;
    E event = static_cast<E>(random() % (kProbeEvents - 1));
    bool ready = event <= E::kReadyFailed;
    bool stream = event >= E::kLiveOk && event <= E::kLiveUnimplemented && event != E::kLiveTimeout;
    if (event == E::kSuspect && random() % 8 != 0) continue;
    if (event == E::kLiveUnimplemented && random() % 64 != 0) continue;
    if ((ready && !asking) || (stream && !live)) continue;
    if (event == E::kLiveTimeout || event == E::kRetryDue || event == E::kPingDue) {
      actions = machine.tick(now);
    } else {
      if (ready) asking = false;
      if (event == E::kStreamBroken || event == E::kLiveUnimplemented) live = false;
      actions = machine.handle(event, now);
    }
    if (actions & probe::kDrop) asking = live = false;
    if (actions & probe::kClose) live = false;
    if (actions & probe::kAsk) asking = true;
    if (actions & probe::kOpen) live = true;
    seen.insert(machine.state());
    ASSERT_TRUE(asking || machine.due() != ProbeMachine::kNever)
        << probeStateName(machine.state()) << " at step " << i;
    bool inRotation = healthOf(machine.state()) == H::kReady;
    // In rotation there is always a deadline after which it is not, unless proofs of life come.
    if (inRotation) {
      ASSERT_LE(machine.due(), now + kAlive) << probeStateName(machine.state());
    }
    if (live) {
      ASSERT_LE(machine.due(), now + kAlive) << probeStateName(machine.state());
    }
  }
  EXPECT_EQ(seen.size(), static_cast<size_t>(kProbeStates - 1));
}

TEST(ProbeMachine, AsksAtOnce) {
  for (H found : {H::kProbing, H::kReady, H::kDown, H::kNotReady}) {
    ProbeMachine machine = fresh(found);
    EXPECT_EQ(healthOf(machine.state()), found);
    EXPECT_EQ(machine.due(), 1000);
    EXPECT_EQ(machine.tick(1000), probe::kAsk);
    EXPECT_EQ(healthOf(machine.state()), found);
  }
}

TEST(ProbeMachine, AsksTheLiveStreamThreeTimesWithinItsTimeout) {
  ProbeMachine machine = inState(S::kReady, 5000);
  EXPECT_EQ(machine.interval(), 300);
  EXPECT_EQ(machine.due(), 5300);
  EXPECT_EQ(machine.tick(5299), probe::kNothing);
  EXPECT_EQ(machine.tick(5300), probe::kPing);
  EXPECT_EQ(machine.due(), 5900);  // the alive timeout: no answer yet
  machine.handle(E::kLiveOk, 5350);
  EXPECT_EQ(machine.due(), 5600);
  EXPECT_EQ(ProbeMachine(H::kReady, 60'000, 0, 1).interval(), 5000);
  EXPECT_EQ(ProbeMachine(H::kReady, 60, 0, 1).interval(), 50);
}

TEST(ProbeMachine, ARefusalOnTheLiveStreamIsNoProofOfLife) {
  ProbeMachine machine = inState(S::kReady, 5000);
  machine.tick(5300);
  EXPECT_FALSE(machine.handle(E::kLiveRefused, 5310) & probe::kGood);
  machine.tick(5600);
  machine.handle(E::kLiveRefused, 5610);
  EXPECT_EQ(machine.due(), 5900);
  machine.tick(5900);
  EXPECT_EQ(machine.state(), S::kDown);
}

TEST(ProbeMachine, AnswersNobodyAskedForMakeNoMoreQuestions) {
  ProbeMachine machine = inState(S::kReady, 5000);
  for (Millis now = 5000; now < 5300; ++now) machine.handle(E::kLiveOk, now);
  EXPECT_EQ(machine.due(), 5300);
}

TEST(ProbeMachine, ABrokenLiveStreamIsVerifiedAtOnceAndARefusalTakesItDown) {
  ProbeMachine machine = inState(S::kReady, 5000);
  EXPECT_TRUE(machine.handle(E::kStreamBroken, 7000) & probe::kDrop);
  EXPECT_EQ(healthOf(machine.state()), H::kReady);
  EXPECT_EQ(machine.due(), 5900);  // the proof of life of 5000 counts until then
  EXPECT_EQ(inState(S::kReady, 6500).handle(E::kStreamBroken, 7000) & probe::kPublish, 0u);
  ProbeMachine second = inState(S::kReady, 6500);
  second.handle(E::kStreamBroken, 7000);
  EXPECT_EQ(second.due(), 7000);
  EXPECT_EQ(second.tick(7000), probe::kAsk);
  EXPECT_TRUE(second.handle(E::kReadyFailed, 7001) & probe::kPublish);
  EXPECT_EQ(second.state(), S::kDown);
}

TEST(ProbeMachine, AnUpstreamThatEndsItsStreamAfterEachAnswerIsNotAskedInATightLoop) {
  ProbeMachine machine = inState(S::kReady, 5000);
  int asks = 0;
  for (Millis now = 5000; now < 6000; ++now) {
    if ((machine.tick(now) & probe::kAsk) == 0) {
      if (machine.state() == S::kReady) machine.handle(E::kStreamBroken, now);
      continue;
    }
    ++asks;
    machine.handle(E::kReadyOk, now);
    machine.handle(E::kLiveOk, now);
    EXPECT_EQ(healthOf(machine.state()), H::kReady);
    machine.handle(E::kStreamBroken, now);
  }
  EXPECT_GE(asks, 5);
  EXPECT_LE(asks, 11);
}

TEST(ProbeMachine, BacksOffFromATenthOfASecondToFiveSeconds) {
  ProbeMachine machine = fresh();
  Millis now = 1000;
  machine.tick(now);
  Millis nominal = 100;
  for (int i = 0; i < 12; ++i) {
    machine.handle(E::kReadyFailed, now);
    Millis pause = machine.due() - now;
    EXPECT_GE(pause, nominal / 2);
    EXPECT_LE(pause, nominal);
    nominal = std::min<Millis>(nominal * 2, 5000);
    now = machine.due();
    EXPECT_EQ(machine.tick(now), probe::kAsk);
  }
  // Only a proof of life makes the pauses short again, not the word `ready` alone.
  machine.handle(E::kReadyOk, now);
  machine.handle(E::kStreamBroken, now);
  EXPECT_GE(machine.due() - now, 2500);
  now = machine.due();
  machine.tick(now);
  machine.handle(E::kReadyOk, now);
  machine.handle(E::kLiveOk, now);
  machine.tick(now + kAlive);
  EXPECT_EQ(machine.state(), S::kDown);
  EXPECT_LE(machine.due() - (now + kAlive), 100);
}

TEST(ProbeMachine, WithoutALiveMethodReadyIsAskedEachInterval) {
  ProbeMachine machine = inState(S::kPolled, 5000);
  EXPECT_EQ(machine.due(), 5300);
  EXPECT_EQ(machine.tick(5300), probe::kAsk);
  EXPECT_EQ(machine.due(), 5900);
  EXPECT_TRUE(machine.handle(E::kReadyOk, 5310) & probe::kGood);
  EXPECT_EQ(machine.due(), 5610);
  machine.tick(5610);
  machine.tick(6210);  // hangs
  EXPECT_EQ(machine.state(), S::kDown);
}

TEST(ProbeMachine, WhatIsGoneAsksNothing) {
  for (int s = 0; s < kProbeStates; ++s) {
    ProbeMachine machine = inState(static_cast<S>(s), 5000);
    uint32_t actions = machine.handle(E::kGone, 5001);
    if (static_cast<S>(s) != S::kGone) {
      EXPECT_EQ(actions, probe::kDrop);
    }
    EXPECT_EQ(machine.due(), ProbeMachine::kNever);
  }
}

}  // namespace
}  // namespace ppx
