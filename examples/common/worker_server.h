// A worker's life: block signals, listen, say so, wait for SIGTERM or SIGINT, leave.
#pragma once

#include <grpcpp/grpcpp.h>

#include "examples/common/options.h"

namespace ppx::examples {

// At the top of main, before any thread exists: threads inherit the mask, so the signals reach serve() only.
void blockStopSignals();

// Prints `listening on HOST:PORT` on stdout once calls are taken. At SIGTERM or SIGINT the process ends with
// 0 without waiting for streams: an upstream may go at any time, and the gateway moves its sessions. Returns
// only if the address can't be had: the exit code, with the reason on stderr.
int serve(const WorkerOptions& options, grpc::Service& service);

}  // namespace ppx::examples
