// Which row a worker has, and how its process is recognised from outside.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/session_table.h"
#include "common/worker_role.h"

namespace ppx {

uint8_t firstRowOf(WorkerRole role);
WorkerRole roleOfRow(uint8_t row);  // kNone: it is nobody's

// Of its program; see common/control_protocol.h.
std::vector<std::string> externalArguments(
    const std::string& runtimeDir);  // of a custodian that others start
std::vector<std::string> workerArguments(const std::string& runtimeDir, uint8_t row, uint32_t incarnation);

// A forwarder or an acceptor that is started as the planned successor of a living one.
void addPredecessor(std::vector<std::string>& arguments, uint8_t row, uint32_t incarnation);

// Whether the process of a pid runs with exactly these arguments now (/proc/PID/cmdline), and perhaps a
// predecessor's.
bool runsWith(int pid, const std::vector<std::string>& arguments);
// Pids of workers that a supervisor of this directory started, whoever's they are by now.
std::vector<int> workersOf(const std::string& runtimeDir);
// Whose planned successor the process was started as.
std::optional<WorkerId> predecessorOf(int pid);

}  // namespace ppx
