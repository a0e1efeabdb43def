// The steps by which one forwarder's sessions move to others: step x event -> step and action. The actions
// are forwarder_move's; nothing here knows of processes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ppx {

enum class MoveStep : uint8_t {
  kStarting,   // a successor is being started; the source serves on untouched
  kHanding,    // the source hands its sessions over
  kReturning,  // the way back: the successor gives back what it has
  kDone,
  kFailed,
};
inline constexpr size_t kMoveSteps = 5;

enum class MoveEvent : uint8_t {
  kTargetsReady,   // for the first time, or again after a death
  kTargetGivenUp,  // it died too often
  kMoved,          // the source has none left, and the targets serve them
  kSourceGone,     // its process is dead
  kReturned,       // the successor has none left, or is dead
  kLate,           // nothing has moved for the step's deadline
};
inline constexpr size_t kMoveEvents = 6;

enum class MoveAction : uint8_t {
  kNone,
  kHandOver,  // the source is chosen no more; it is told to hand over
  kReport,    // what moved
  kDismiss,   // the successor goes; nothing has changed
  kHandBack,  // the source is chosen again, the successor told to hand back
  kGiveUp,    // whatever the successor still has goes to the source as after a crash
};

struct MoveTransition {
  MoveStep next;
  MoveAction action;
};

MoveTransition moveTransition(MoveStep step, MoveEvent event);
const char* moveStepName(MoveStep step);

}  // namespace ppx
