// Direct gRPC, without a gateway: a client of the plain upstream contract, as the gateway's forwarders are one. What
// the benchmark sets the gateway against. The only part of the load generator that knows gRPC.
#pragma once

#include <cstddef>

#include "tests/load/loads.h"

namespace ppx::load {

// `options.connections` clients in name, spread over `streams` streams on channels of their own; each keeps
// `inFlight` messages under way and checks what comes back. Counted as in runEcho().
Result<LoadResult> runGrpcEcho(const LoadOptions& options, std::size_t inFlight, std::size_t streams);

}  // namespace ppx::load
