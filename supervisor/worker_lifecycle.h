// The life of a worker row as the supervisor sees it: state x event -> state and action. The actions are
// worker_manager's; nothing here knows of processes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ppx {

enum class WorkerState : uint8_t {
  kAbsent,    // no process, none wanted now
  kStarting,  // a process runs, it has not said hello to this supervisor
  kGreeted,   // it has been welcomed
  kReady,     // it serves
  kStopping,  // it was told to stop, or will be as soon as it says hello
  kDead,      // its process is dead; the next one waits for its time
  kLeaving,   // it serves, gives what it has to others, and ends by itself
};
inline constexpr size_t kWorkerStates = 7;

enum class WorkerEvent : uint8_t {
  kSpawnDue,       // wanted, and its back-off is over
  kSpawned,        // exec worked
  kSpawnFailed,    // fork or exec did not
  kHello,          // a valid hello of the process in the row
  kReady,          // it announced that it serves
  kChannelClosed,  // its control channel broke
  kSilent,         // no heartbeat, or no hello, within its time
  kDied,           // its pidfd says so
  kStopOrdered,    // no process is wanted in the row any more
  kLeaveOrdered,   // nor this one, once it has given away what it has
  kStayOrdered,    // it is wanted after all
};
inline constexpr size_t kWorkerEvents = 11;

enum class WorkerAction : uint8_t {
  kNone,
  kSpawn,         // fork and exec, then kSpawned or kSpawnFailed
  kBackOff,       // arm the time of the next try
  kWelcome,       // answer the hello
  kReject,        // answer the hello: not you
  kAnnounce,      // readiness, to all others
  kKill,          // SIGKILL; nothing else changes before it is dead
  kBury,          // its death, to all others; arm the time of the next
  kBuryForGood,   // its death, to all others
  kAskToStop,     // Stop on its channel, if there is one
  kCloseChannel,  // it broke the contract
  kWithdraw,      // unreadiness, to all others
};

struct WorkerTransition {
  WorkerState next;
  WorkerAction action;
};

WorkerTransition workerTransition(WorkerState state, WorkerEvent event);
const char* workerStateName(WorkerState state);

}  // namespace ppx
