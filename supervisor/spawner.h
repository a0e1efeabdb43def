// Starts a program: fork and exec, nothing else in between. The child gets a session of its own (Ctrl-C in
// the supervisor's terminal is not for it), no descriptor but stdin from /dev/null, stdout and stderr,
// default signal handlers and an empty mask, and the supervisor's environment without NOTIFY_SOCKET.
#pragma once

#include <string>
#include <vector>

#include "common/result.h"
#include "common/unique_fd.h"

namespace ppx {

// A process by a descriptor that can't come to mean another one.
struct Process {
  int pid = 0;
  UniqueFd pidfd;  // readable once it is dead
};

// Returns when the program runs. Errors: what fork or exec said, e.g. ENOENT.
Result<Process> spawn(const std::string& program, const std::vector<std::string>& arguments);

// A process that is not our child. The caller checks afterwards that the pid still is the one that it meant.
Result<Process> openProcess(int pid);
bool isDead(const Process& process);
bool awaitDeath(const Process& process, int mostMs);  // false: it lives
void killNow(const Process& process);                 // SIGKILL
void terminate(const Process& process);               // SIGTERM
// After it is dead, before it is reaped: it crashed, as far as its end tells. SIGKILL is somebody else's doing.
bool hasCrashed(const Process& process);
// The same: its exit code was 0, or it is not known.
bool endedWell(const Process& process);
// After it is dead: reaps it if it was our child. How it ended, for people ("exit code 1", "signal 9
// (Killed)").
std::string reap(const Process& process);

}  // namespace ppx
