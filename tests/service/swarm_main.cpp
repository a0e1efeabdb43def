// paradox-load-swarm PORT CLIENTS WINDOW: verified full-duplex clients (duplex_swarm.h) for tests that are not C++. They
// talk without a pause until it is told otherwise, by lines on stdin; each line is answered by one line of JSON:
//   stats    how they are at this moment
//   drain    nothing new is sent, and each has had back what it sent; then they go on
//   ends     nothing but waiting for the other side to end each of them
// The end of stdin ends it.
#include <poll.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/load/duplex_swarm.h"
#include "tests/load/timing.h"

namespace {

using namespace ppx::load;

constexpr Nanos kSlice = 20 * kMillisecond;
constexpr Nanos kDeadline = 20 * kSecond;

void tell(const SwarmStats& stats, bool inTime) {
  nlohmann::json line{{"in_time", inTime},
                      {"open", stats.open},
                      {"ended", stats.ended},
                      {"reset", stats.reset},
                      {"mismatched", stats.mismatched},
                      {"intact", stats.intact},
                      {"bytes_echoed", stats.bytesEchoed},
                      {"longest_pause_ms", stats.longestPause / kMillisecond},
                      {"first_problem", stats.firstProblem}};
  std::printf("%s\n", line.dump().c_str());
  std::fflush(stdout);
}

bool obey(DuplexSwarm& swarm, const std::string& order) {
  bool inTime = true;
  if (order == "drain")
    inTime = swarm.drain(kDeadline);
  else if (order == "ends")
    inTime = swarm.runUntilEnd(kDeadline);
  else if (order != "stats")
    return false;
  tell(swarm.stats(), inTime);
  return true;
}

// False: stdin has ended.
bool readOrders(std::string& pending) {
  pollfd waiting{STDIN_FILENO, POLLIN, 0};
  if (::poll(&waiting, 1, 0) <= 0) return true;
  char bytes[256];
  const ssize_t got = ::read(STDIN_FILENO, bytes, sizeof(bytes));
  if (got <= 0) return false;
  pending.append(bytes, static_cast<std::size_t>(got));
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 64;
  SwarmOptions options;
  options.target = {"127.0.0.1", static_cast<uint16_t>(std::atoi(argv[1]))};
  options.connections = std::strtoull(argv[2], nullptr, 10);
  options.windowBytes = std::strtoull(argv[3], nullptr, 10);
  auto swarm = DuplexSwarm::connect(options);
  if (!swarm) {
    std::fprintf(stderr, "%s\n", swarm.error().text.c_str());
    return 1;
  }
  std::string pending;
  while (readOrders(pending)) {
    for (std::size_t end = pending.find('\n'); end != std::string::npos; end = pending.find('\n')) {
      if (!obey(**swarm, pending.substr(0, end))) return 64;
      pending.erase(0, end + 1);
    }
    (*swarm)->runFor(kSlice);
  }
  return 0;
}
