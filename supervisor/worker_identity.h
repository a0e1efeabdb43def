// Which row a worker has, and how its process is recognised from outside.
#pragma once

#include <string>
#include <vector>

#include "common/worker_role.h"

namespace ppx {

uint8_t firstRowOf(WorkerRole role);

// Of its program; see common/control_protocol.h.
std::vector<std::string> workerArguments(const std::string& runtimeDir, uint8_t row, uint32_t incarnation);

// Whether the process of a pid runs with exactly these arguments now (/proc/PID/cmdline).
bool runsWith(int pid, const std::vector<std::string>& arguments);

}  // namespace ppx
