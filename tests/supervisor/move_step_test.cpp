#include "supervisor/move_step.h"

#include <gtest/gtest.h>

#include "supervisor/move_figures.h"

namespace ppx {
namespace {

using S = MoveStep;
using E = MoveEvent;
using A = MoveAction;

void expect(S from, E event, S to, A action) {
  MoveTransition got = moveTransition(from, event);
  EXPECT_EQ(got.next, to) << moveStepName(from) << ", event " << int(event);
  EXPECT_EQ(got.action, action) << moveStepName(from) << ", event " << int(event);
}

TEST(MoveStep, NothingIsTouchedBeforeTheSuccessorIsReady) {
  expect(S::kStarting, E::kTargetsReady, S::kHanding, A::kHandOver);
  expect(S::kStarting, E::kLate, S::kFailed, A::kDismiss);
  expect(S::kStarting, E::kTargetGivenUp, S::kFailed, A::kDismiss);
  expect(S::kStarting, E::kSourceGone, S::kDone, A::kDismiss);
}

TEST(MoveStep, EachEndOfAHandoverHasAWay) {
  expect(S::kHanding, E::kTargetsReady, S::kHanding, A::kHandOver);
  expect(S::kHanding, E::kMoved, S::kDone, A::kReport);
  expect(S::kHanding, E::kSourceGone, S::kDone, A::kReport);
  expect(S::kHanding, E::kTargetGivenUp, S::kReturning, A::kHandBack);
  expect(S::kHanding, E::kLate, S::kReturning, A::kHandBack);
  expect(S::kReturning, E::kReturned, S::kFailed, A::kGiveUp);
  expect(S::kReturning, E::kLate, S::kFailed, A::kGiveUp);
}

TEST(MoveStep, WhatIsOverStaysOver) {
  for (S end : {S::kDone, S::kFailed})
    for (size_t event = 0; event < kMoveEvents; ++event) expect(end, static_cast<E>(event), end, A::kNone);
}

TEST(MoveFigures, AddsUpThoseWhoTook) {
  MoveFigures figures;
  control::TookOver one, two;
  one.sessions = 99;
  one.stalls[20] = 99;  // 1.0 to 1.4 ms
  one.maxStallUs = 1200;
  two.sessions = 1;
  two.stalls[30] = 1;  // 32.8 to 46.3 ms
  two.maxStallUs = 40'000;
  two.inputBytes = 7;
  figures.add(1, 10, one);
  figures.add(2, 11, two);
  EXPECT_EQ(figures.served(), 100u);
  EXPECT_EQ(figures.maxStallUs(), 40'000u);
  EXPECT_EQ(figures.stallUs(0.5), 1448u);
  EXPECT_EQ(figures.stallUs(0.99), 1448u);
  EXPECT_EQ(figures.stallUs(1), 40'000u);
  EXPECT_EQ(figures.json()["bytes_carried"]["in"], 7);
  one.sessions = 50;  // a later report replaces the earlier
  figures.add(1, 10, one);
  EXPECT_EQ(figures.served(), 51u);
}

}  // namespace
}  // namespace ppx
