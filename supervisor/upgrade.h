// The pieces of an upgrade of the supervisor: asking the new program whether it can, the note that outlives
// the exec, and the exec.
//
//   old image:  paradoxd --check --check-table 3 says yes -> admin API's requests end -> note -> exec
//   new image:  the lock is handed on -> adoption, as after a crash -> serving -> the note says: roll the workers
//
// A restart by systemd leaves the same note for the process that comes next.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "common/program_image.h"
#include "common/result.h"
#include "supervisor/runtime_dir.h"

namespace ppx {

inline constexpr char kRollNoteName[] = "roll";

// Runs `file --check --config CONFIG --check-table TABLE` to its end. Error: what it said, or why it cannot be
// run. Blocks for at most some seconds. Any thread.
Status checkProgram(const std::string& file, const std::string& configFile, int tableMemfd);

struct RollNote {
  uint64_t operation = 0;  // its number
  uint64_t lastEvent = 0;
  std::string name;  // of the operation
};
Status writeRollNote(const RuntimeDir& dir, const RollNote& note);
std::optional<RollNote> readRollNote(const RuntimeDir& dir);
void removeRollNote(const RuntimeDir& dir);

// Replaces this process's program. Returns only when that failed; everything is as before then. Signals that
// paradoxd listens for wait until the new image listens.
Error replaceProgram(const ProgramImage& image, const RuntimeDir& dir);
// In the new image, once it listens.
void unblockSignals();

}  // namespace ppx
