#include "supervisor/move_step.h"

#include <array>

namespace ppx {
namespace {

using S = MoveStep;
using A = MoveAction;
using Row = std::array<MoveTransition, kMoveEvents>;

// clang-format off
constexpr std::array<Row, kMoveSteps> kTransitions{{
    // kStarting
    Row{{{S::kHanding, A::kHandOver},     // targets ready
         {S::kFailed, A::kDismiss},       // target given up
         {S::kStarting, A::kNone},        // moved
         {S::kDone, A::kDismiss},         // source gone: its row's next process is the restart
         {S::kStarting, A::kNone},        // returned
         {S::kFailed, A::kDismiss}}},     // late
    // kHanding
    Row{{{S::kHanding, A::kHandOver},     // a target died and is there again
         {S::kReturning, A::kHandBack},
         {S::kDone, A::kReport},
         {S::kDone, A::kReport},          // the targets took the rest as after any crash
         {S::kHanding, A::kNone},
         {S::kReturning, A::kHandBack}}},
    // kReturning
    Row{{{S::kReturning, A::kNone},
         {S::kReturning, A::kNone},
         {S::kReturning, A::kNone},
         {S::kReturning, A::kNone},       // its row's next process takes them
         {S::kFailed, A::kGiveUp},
         {S::kFailed, A::kGiveUp}}},
    // kDone
    Row{{{S::kDone, A::kNone}, {S::kDone, A::kNone}, {S::kDone, A::kNone}, {S::kDone, A::kNone},
         {S::kDone, A::kNone}, {S::kDone, A::kNone}}},
    // kFailed
    Row{{{S::kFailed, A::kNone}, {S::kFailed, A::kNone}, {S::kFailed, A::kNone}, {S::kFailed, A::kNone},
         {S::kFailed, A::kNone}, {S::kFailed, A::kNone}}},
}};
// clang-format on

}  // namespace

MoveTransition moveTransition(MoveStep step, MoveEvent event) {
  return kTransitions[static_cast<size_t>(step)][static_cast<size_t>(event)];
}

const char* moveStepName(MoveStep step) {
  switch (step) {
    case MoveStep::kStarting:
      return "starting";
    case MoveStep::kHanding:
      return "handing over";
    case MoveStep::kReturning:
      return "handing back";
    case MoveStep::kDone:
      return "done";
    case MoveStep::kFailed:
      return "failed";
  }
  return "unknown";
}

}  // namespace ppx
