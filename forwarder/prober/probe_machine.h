// What the prober thinks of one upstream: a transition table of state x event. Pure: time comes in as a
// parameter, what is to be done goes out as a bit set, so every path can be walked in a test.
//
//   Probing --ready: yes--> Proving --live: good--> Ready <--ready: yes-- Checking (forwarders complain)
//      |                       |                      | stream broke            |
//      | no      failed        | broke, timeout       v                         | no, failed
//      v           v           v                   Verifying --ready: yes--> Proving
//   NotReady     Down <--------+----- failed ---------+
//      |           | ready: yes
//      |           v
//      |        Returning --live: good--> Ready      (an upstream that was down proves itself first)
//      +--ready: yes--> Proving                      Polled: has no `live`, `ready` is asked instead
#pragma once

#include <cstdint>
#include <limits>
#include <random>

#include "common/clock.h"
#include "common/upstream_slot.h"

namespace ppx {

enum class ProbeState : uint8_t {
  kProbing,    // new: `ready` is asked for the first time
  kProving,    // in rotation; the live stream is open, its first good answer has not come yet
  kReady,      // in rotation; the live stream answers
  kChecking,   // as kReady, while `ready` is asked again because forwarders' streams fail
  kVerifying,  // in rotation; no live stream: it broke, or this prober is new. `ready` is asked at once
  kPolled,     // in rotation; without a `live` method
  kNotReady,   // said no; asked again with back-off
  kDown,       // silent or unreachable; asked again with back-off
  kReturning,  // was down, says ready; goes into rotation with the first good answer on the live stream
  kGone,
};
inline constexpr int kProbeStates = 10;

enum class ProbeEvent : uint8_t {
  kReadyOk,
  kReadyRefused,  // the answer was no
  kReadyFailed,   // no answer in time, or no connection
  kLiveOk,
  kLiveRefused,
  kLiveTimeout,  // no good answer within alive_timeout
  kStreamBroken,
  kLiveUnimplemented,
  kRetryDue,
  kPingDue,
  kSuspect,  // forwarders report streams that fail
  kGone,
};
inline constexpr int kProbeEvents = 12;

const char* probeStateName(ProbeState state);
// In rotation or not, as the table says it. kGone: kDown.
UpstreamHealth healthOf(ProbeState state);

// What to do after an event, in this order.
namespace probe {
enum Action : uint32_t {
  kNothing = 0,
  kDrop = 1u << 0,     // cancel all calls and forget the channel: the name is resolved anew
  kClose = 1u << 1,    // end the live stream
  kAsk = 1u << 2,      // call `ready`
  kOpen = 1u << 3,     // open the live stream; its first question goes out with it
  kPing = 1u << 4,     // another question on the live stream
  kGood = 1u << 5,     // a proof of life: alive_timeout starts again
  kPublish = 1u << 6,  // healthOf(state()) changed
  // Done by the machine itself.
  kBackOff = 1u << 7,    // ask again after a pause that doubles
  kCalm = 1u << 8,       // the next pause is the shortest again
  kAskSoon = 1u << 9,    // ask at once, but not more often than each kAskSpacing
  kAskLater = 1u << 10,  // ask again after the interval
  kPingLater = 1u << 11,
};
}  // namespace probe

class ProbeMachine {
 public:
  static constexpr Millis kNever = std::numeric_limits<Millis>::max();
  static constexpr Millis kFirstPause = 100, kLongestPause = 5000;
  static constexpr Millis kShortestInterval = 50, kLongestInterval = 5000;
  static constexpr Millis kAskSpacing = 100;

  struct Step {
    ProbeState next;
    uint32_t actions;
  };
  // The table itself.
  static Step transition(ProbeState state, ProbeEvent event);

  // `found`: the health that the table shows. What is kReady stays so while it is verified: a silent prober
  // leaves the last state standing.
  ProbeMachine(UpstreamHealth found, Millis aliveTimeout, Millis now, uint32_t seed);

  // Returns probe::Action bits.
  uint32_t handle(ProbeEvent event, Millis now);
  // When tick() wants to be called, kNever possible; tick() handles one event that is due.
  Millis due() const;
  uint32_t tick(Millis now);

  ProbeState state() const { return state_; }
  Millis interval() const { return interval_; }

 private:
  Millis pause();
  void schedule(uint32_t actions, Millis now);

  ProbeState state_;
  Millis aliveTimeout_, interval_;
  Millis retryAt_, pingAt_ = kNever, aliveBy_ = kNever;
  Millis lastAsk_, lastPing_ = 0;
  int failures_ = 0;
  std::minstd_rand random_;
};

}  // namespace ppx
