// The benchmark's ways of using a server, one function each; all block, in the calling thread, with an epoll of
// their own. Every byte that comes back is checked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "common/result.h"
#include "tests/load/histogram.h"
#include "tests/load/sockets.h"
#include "tests/load/timing.h"

namespace ppx::load {

struct LoadOptions {
  Endpoint target;
  std::size_t connections = 50;
  std::size_t messageBytes = 64;
  Nanos duration = 5 * kSecond;
  uint64_t seed = 1;
  unsigned sources = 0;  // client addresses to spread over, see startConnect()
};

// What all modes tell: a run with failures is no measurement.
struct LoadResult {
  uint64_t done = 0;       // messages echoed, connections completed: what the mode counts
  Nanos elapsed = 0;       // the time in which they were counted
  std::size_t failed = 0;  // connections refused, reset, ended early, or with a wrong byte
  std::string firstProblem;

  double perSecond() const {
    return elapsed > 0 ? static_cast<double>(done) * kSecond / static_cast<double>(elapsed) : 0;
  }
};

// Each connection keeps `inFlight` messages under way. Counted once every connection has had its first echo and a
// tenth of the time has passed.
Result<LoadResult> runEcho(const LoadOptions& options, std::size_t inFlight);

struct PacedResult : LoadResult {
  Histogram latency;  // from the instant at which a message was due, sent late or not, to its whole echo
};

// `rate` messages a second in all, at even distances, over the connections in turn, whatever the server does.
Result<PacedResult> runPaced(const LoadOptions& options, double rate);

// Connect, echo one message, close; each connection's place is taken by the next.
Result<LoadResult> runConnect(const LoadOptions& options);

// Opens the connections (each echoes one message, so each is known to be served), tells through `opened`, and holds
// them until `stopFd` is readable. `failed` counts those that were lost meanwhile.
Result<LoadResult> runIdle(const LoadOptions& options, int stopFd,
                           const std::function<void(std::size_t)>& opened);

struct BroadcastResult : LoadResult {
  Histogram untilAll;       // of each round: from sending to the last client's whole message
  std::size_t missing = 0;  // messages that had not come when a round timed out
  std::size_t doubled = 0;  // messages that came again
};

// Behind the server stands paradox-load-broadcaster: what one client sends, all get. `done` counts messages received.
Result<BroadcastResult> runBroadcast(const LoadOptions& options, std::size_t rounds);

}  // namespace ppx::load
