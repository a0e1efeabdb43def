// The life of a session in its forwarder, as a table: phase x event.
//
//            ask          drained      shut         finished     dropped
//  open      flushing     -            -            -            -
//  flushing  -            lingering    -            dropping     -
//  lingering -            -            -            dropping     -
//  dropping  -            -            -            -            gone
//
//  ask: somebody wants the end (any close reason that is graceful). A reset goes from any phase to dropping:
//  finished. drained: the last byte of output is in the socket, SHUT_WR done. finished: the client's FIN, an
//  error, or a deadline. dropped: the custodian has closed its copy.
#pragma once

#include <cstdint>

namespace ppx {

enum class SessionPhase : uint8_t { kOpen, kFlushing, kLingering, kDropping, kGone };
enum class SessionStep : uint8_t { kAsk, kDrained, kFinished, kDropped };

inline constexpr SessionPhase kNextPhase[5][4] = {
    /* kOpen      */ {SessionPhase::kFlushing, SessionPhase::kOpen, SessionPhase::kDropping,
                      SessionPhase::kOpen},
    /* kFlushing  */
    {SessionPhase::kFlushing, SessionPhase::kLingering, SessionPhase::kDropping, SessionPhase::kFlushing},
    /* kLingering */
    {SessionPhase::kLingering, SessionPhase::kLingering, SessionPhase::kDropping, SessionPhase::kLingering},
    /* kDropping  */
    {SessionPhase::kDropping, SessionPhase::kDropping, SessionPhase::kDropping, SessionPhase::kGone},
    /* kGone      */ {SessionPhase::kGone, SessionPhase::kGone, SessionPhase::kGone, SessionPhase::kGone},
};

constexpr SessionPhase nextPhase(SessionPhase phase, SessionStep step) {
  return kNextPhase[static_cast<size_t>(phase)][static_cast<size_t>(step)];
}

}  // namespace ppx
