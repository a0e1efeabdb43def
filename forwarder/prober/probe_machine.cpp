#include "forwarder/prober/probe_machine.h"

#include <algorithm>
#include <array>

namespace ppx {
namespace {

using namespace probe;
using S = ProbeState;
using Step = ProbeMachine::Step;
using Row = std::array<Step, kProbeEvents>;

constexpr uint32_t kGiveUp = kDrop | kBackOff;
constexpr uint32_t kAnswered = kGood | kCalm | kPingLater;

// One row a state; the cells in the order of ProbeEvent:
//   readyOk, readyRefused, readyFailed | liveOk, liveRefused, liveTimeout, streamBroken, liveUnimplemented |
//   retryDue, pingDue, suspect, gone
// clang-format off
constexpr std::array<Row, kProbeStates> kTable{{
    /* kProbing */
    {{{S::kProving, kOpen}, {S::kNotReady, kBackOff}, {S::kDown, kGiveUp},
      {S::kProbing, 0}, {S::kProbing, 0}, {S::kProbing, 0},
      {S::kProbing, 0}, {S::kProbing, 0},
      {S::kProbing, kAsk}, {S::kProbing, 0}, {S::kProbing, 0}, {S::kGone, kDrop}}},
    /* kProving */
    {{{S::kProving, 0}, {S::kProving, 0}, {S::kProving, 0},
      {S::kReady, kAnswered}, {S::kProving, kPingLater}, {S::kDown, kGiveUp},
      {S::kDown, kGiveUp}, {S::kPolled, kClose | kGood | kAskLater},
      {S::kProving, 0}, {S::kProving, kPing}, {S::kProving, 0}, {S::kGone, kDrop}}},
    /* kReady */
    {{{S::kReady, 0}, {S::kReady, 0}, {S::kReady, 0},
      {S::kReady, kAnswered}, {S::kReady, kPingLater}, {S::kDown, kGiveUp},
      {S::kVerifying, kDrop | kAskSoon}, {S::kPolled, kClose | kGood | kAskLater},
      {S::kReady, 0}, {S::kReady, kPing}, {S::kChecking, kAsk}, {S::kGone, kDrop}}},
    /* kChecking */
    {{{S::kReady, 0}, {S::kNotReady, kClose | kBackOff}, {S::kDown, kGiveUp},
      {S::kChecking, kAnswered}, {S::kChecking, kPingLater}, {S::kDown, kGiveUp},
      {S::kVerifying, kDrop | kAskSoon}, {S::kPolled, kClose | kGood | kAskLater},
      {S::kChecking, 0}, {S::kChecking, kPing}, {S::kChecking, 0}, {S::kGone, kDrop}}},
    /* kVerifying */
    {{{S::kProving, kOpen}, {S::kNotReady, kBackOff}, {S::kDown, kGiveUp},
      {S::kVerifying, 0}, {S::kVerifying, 0}, {S::kDown, kGiveUp},
      {S::kVerifying, 0}, {S::kVerifying, 0},
      {S::kVerifying, kAsk}, {S::kVerifying, 0}, {S::kVerifying, 0}, {S::kGone, kDrop}}},
    /* kPolled */
    {{{S::kPolled, kGood | kCalm | kAskLater}, {S::kNotReady, kBackOff}, {S::kVerifying, kDrop | kAskSoon},
      {S::kPolled, 0}, {S::kPolled, 0}, {S::kDown, kGiveUp},
      {S::kPolled, 0}, {S::kPolled, 0},
      {S::kPolled, kAsk}, {S::kPolled, 0}, {S::kPolled, kAskSoon}, {S::kGone, kDrop}}},
    /* kNotReady */
    {{{S::kProving, kOpen}, {S::kNotReady, kBackOff}, {S::kDown, kGiveUp},
      {S::kNotReady, 0}, {S::kNotReady, 0}, {S::kNotReady, 0},
      {S::kNotReady, 0}, {S::kNotReady, 0},
      {S::kNotReady, kAsk}, {S::kNotReady, 0}, {S::kNotReady, 0}, {S::kGone, kDrop}}},
    /* kDown */
    {{{S::kReturning, kOpen}, {S::kNotReady, kBackOff}, {S::kDown, kGiveUp},
      {S::kDown, 0}, {S::kDown, 0}, {S::kDown, 0},
      {S::kDown, 0}, {S::kDown, 0},
      {S::kDown, kAsk}, {S::kDown, 0}, {S::kDown, 0}, {S::kGone, kDrop}}},
    /* kReturning */
    {{{S::kReturning, 0}, {S::kReturning, 0}, {S::kReturning, 0},
      {S::kReady, kAnswered}, {S::kReturning, kPingLater}, {S::kDown, kGiveUp},
      {S::kDown, kGiveUp}, {S::kPolled, kClose | kGood | kAskLater},
      {S::kReturning, 0}, {S::kReturning, kPing}, {S::kReturning, 0}, {S::kGone, kDrop}}},
    /* kGone */
    {{{S::kGone, 0}, {S::kGone, 0}, {S::kGone, 0},
      {S::kGone, 0}, {S::kGone, 0}, {S::kGone, 0},
      {S::kGone, 0}, {S::kGone, 0},
      {S::kGone, 0}, {S::kGone, 0}, {S::kGone, 0}, {S::kGone, 0}}},
}};
// clang-format on

ProbeState firstState(UpstreamHealth found) {
  switch (found) {
    case UpstreamHealth::kReady:
      return S::kVerifying;
    case UpstreamHealth::kDown:
      return S::kDown;
    case UpstreamHealth::kNotReady:
      return S::kNotReady;
    case UpstreamHealth::kProbing:
      break;
  }
  return S::kProbing;
}

}  // namespace

const char* probeStateName(ProbeState state) {
  constexpr const char* kNames[kProbeStates] = {"probing", "proving",   "ready", "checking",  "verifying",
                                                "polled",  "not ready", "down",  "returning", "gone"};
  return kNames[static_cast<size_t>(state)];
}

UpstreamHealth healthOf(ProbeState state) {
  switch (state) {
    case S::kProbing:
      return UpstreamHealth::kProbing;
    case S::kProving:
    case S::kReady:
    case S::kChecking:
    case S::kVerifying:
    case S::kPolled:
      return UpstreamHealth::kReady;
    case S::kNotReady:
      return UpstreamHealth::kNotReady;
    case S::kDown:
    case S::kReturning:
    case S::kGone:
      break;
  }
  return UpstreamHealth::kDown;
}

ProbeMachine::Step ProbeMachine::transition(ProbeState state, ProbeEvent event) {
  return kTable[static_cast<size_t>(state)][static_cast<size_t>(event)];
}

ProbeMachine::ProbeMachine(UpstreamHealth found, Millis aliveTimeout, Millis now, uint32_t seed)
    : state_(firstState(found)),
      aliveTimeout_(aliveTimeout),
      interval_(std::clamp(aliveTimeout / 3, kShortestInterval, kLongestInterval)),
      retryAt_(now),
      lastAsk_(now - kAskSpacing),
      random_(seed) {
  if (state_ == S::kVerifying) aliveBy_ = now + aliveTimeout_;
}

uint32_t ProbeMachine::handle(ProbeEvent event, Millis now) {
  Step step = transition(state_, event);
  uint32_t actions = step.actions;
  if (healthOf(step.next) != healthOf(state_) && step.next != S::kGone) actions |= kPublish;
  state_ = step.next;
  schedule(actions, now);
  return actions;
}

void ProbeMachine::schedule(uint32_t actions, Millis now) {
  if ((actions & kDrop) != 0) retryAt_ = kNever;
  if ((actions & (kDrop | kClose)) != 0) pingAt_ = kNever;
  if ((actions & kCalm) != 0) failures_ = 0;
  if ((actions & kBackOff) != 0) {
    retryAt_ = now + pause();
    aliveBy_ = kNever;
  }
  if ((actions & kAskSoon) != 0) retryAt_ = std::max(now, lastAsk_ + kAskSpacing);
  if ((actions & kAskLater) != 0) retryAt_ = now + interval_;
  if ((actions & kAsk) != 0) {
    retryAt_ = kNever;
    lastAsk_ = now;
  }
  if ((actions & (kOpen | kGood)) != 0) aliveBy_ = now + aliveTimeout_;
  if ((actions & (kOpen | kPing)) != 0) {
    lastPing_ = now;
    pingAt_ = kNever;
  }
  // An upstream that answers more than it was asked is not asked more often.
  if ((actions & kPingLater) != 0) pingAt_ = std::max(now, lastPing_ + interval_);
  if (state_ == S::kGone) aliveBy_ = kNever;
}

// Between half of the nominal pause and all of it, so that many upstreams that fell together do not return
// together.
Millis ProbeMachine::pause() {
  Millis nominal = std::min(kLongestPause, kFirstPause << std::min(failures_, 10));
  ++failures_;
  return nominal / 2 + std::uniform_int_distribution<Millis>(0, nominal / 2)(random_);
}

Millis ProbeMachine::due() const {
  return std::min({retryAt_, pingAt_, aliveBy_});
}

uint32_t ProbeMachine::tick(Millis now) {
  if (aliveBy_ <= now) {
    aliveBy_ = kNever;
    return handle(ProbeEvent::kLiveTimeout, now);
  }
  if (retryAt_ <= now) {
    retryAt_ = kNever;
    return handle(ProbeEvent::kRetryDue, now);
  }
  if (pingAt_ <= now) {
    pingAt_ = kNever;
    return handle(ProbeEvent::kPingDue, now);
  }
  return kNothing;
}

}  // namespace ppx
