#include "supervisor/worker_lifecycle.h"

#include <array>

namespace ppx {
namespace {

using S = WorkerState;
using A = WorkerAction;
using Row = std::array<WorkerTransition, kWorkerEvents>;

// clang-format off
constexpr std::array<Row, kWorkerStates> kTransitions{{
    // kAbsent
    Row{{{S::kAbsent, A::kSpawn},            // spawn due
         {S::kStarting, A::kNone},           // spawned
         {S::kDead, A::kBackOff},            // spawn failed
         {S::kAbsent, A::kReject},           // hello
         {S::kAbsent, A::kCloseChannel},     // ready
         {S::kAbsent, A::kNone},             // channel closed
         {S::kAbsent, A::kNone},             // silent
         {S::kAbsent, A::kNone},             // died
         {S::kAbsent, A::kNone},           // stop ordered
         {S::kAbsent, A::kNone},             // leave ordered
         {S::kAbsent, A::kNone}}},           // stay ordered
    // kStarting
    Row{{{S::kStarting, A::kNone},
         {S::kStarting, A::kNone},
         {S::kStarting, A::kNone},
         {S::kGreeted, A::kWelcome},
         {S::kStarting, A::kCloseChannel},   // readiness without a hello
         {S::kStarting, A::kNone},
         {S::kStarting, A::kKill},
         {S::kDead, A::kBury},
         {S::kStopping, A::kAskToStop},
         {S::kLeaving, A::kWithdraw},        // leave ordered
         {S::kStarting, A::kNone}}},           // stay ordered
    // kGreeted
    Row{{{S::kGreeted, A::kNone},
         {S::kGreeted, A::kNone},
         {S::kGreeted, A::kNone},
         {S::kGreeted, A::kWelcome},         // it dialled again
         {S::kReady, A::kAnnounce},
         {S::kGreeted, A::kNone},            // it dials again, or falls silent
         {S::kGreeted, A::kKill},
         {S::kDead, A::kBury},
         {S::kStopping, A::kAskToStop},
         {S::kGreeted, A::kNone},            // leave ordered
         {S::kGreeted, A::kNone}}},           // stay ordered
    // kReady
    Row{{{S::kReady, A::kNone},
         {S::kReady, A::kNone},
         {S::kReady, A::kNone},
         {S::kReady, A::kWelcome},
         {S::kReady, A::kNone},
         {S::kReady, A::kNone},              // it serves on without a channel
         {S::kReady, A::kKill},
         {S::kDead, A::kBury},
         {S::kStopping, A::kAskToStop},
         {S::kLeaving, A::kWithdraw},        // leave ordered
         {S::kReady, A::kNone}}},           // stay ordered
    // kStopping
    Row{{{S::kStopping, A::kNone},
         {S::kStopping, A::kNone},
         {S::kStopping, A::kNone},
         {S::kStopping, A::kAskToStop},      // it was starting when it was told
         {S::kStopping, A::kNone},
         {S::kStopping, A::kNone},
         {S::kStopping, A::kNone},           // its deadline counts now
         {S::kAbsent, A::kBuryForGood},
         {S::kStopping, A::kNone},
         {S::kStopping, A::kNone},           // leave ordered
         {S::kStopping, A::kNone}}},           // stay ordered
    // kDead
    Row{{{S::kDead, A::kSpawn},
         {S::kStarting, A::kNone},
         {S::kDead, A::kBackOff},
         {S::kDead, A::kReject},
         {S::kDead, A::kCloseChannel},
         {S::kDead, A::kNone},
         {S::kDead, A::kNone},
         {S::kDead, A::kNone},
         {S::kAbsent, A::kNone},
         {S::kDead, A::kNone},               // leave ordered
         {S::kDead, A::kNone}}},           // stay ordered
    // kLeaving
    Row{{{S::kLeaving, A::kNone},
         {S::kLeaving, A::kNone},
         {S::kLeaving, A::kNone},
         {S::kLeaving, A::kWelcome},
         {S::kLeaving, A::kNone},
         {S::kLeaving, A::kNone},            // it goes on without a channel
         {S::kLeaving, A::kKill},
         {S::kAbsent, A::kBuryForGood},
         {S::kStopping, A::kAskToStop},
         {S::kLeaving, A::kNone},
         {S::kReady, A::kAnnounce}}},
}};
// clang-format on

}  // namespace

WorkerTransition workerTransition(WorkerState state, WorkerEvent event) {
  return kTransitions[static_cast<size_t>(state)][static_cast<size_t>(event)];
}

const char* workerStateName(WorkerState state) {
  switch (state) {
    case WorkerState::kAbsent:
      return "absent";
    case WorkerState::kStarting:
      return "starting";
    case WorkerState::kGreeted:
      return "greeted";
    case WorkerState::kReady:
      return "ready";
    case WorkerState::kStopping:
      return "stopping";
    case WorkerState::kDead:
      return "dead";
    case WorkerState::kLeaving:
      return "leaving";
  }
  return "unknown";
}

}  // namespace ppx
