#include <algorithm>

#include "tests/load/clients.h"

namespace ppx::load {
namespace {

constexpr Nanos kStartTimeout = 10 * kSecond;

}  // namespace

Result<LoadResult> runEcho(const LoadOptions& options, std::size_t inFlight) {
  auto made = Clients::make(options);
  if (!made) {
    return made.error();
  }
  Clients& clients = **made;
  if (const auto started = clients.startAll(); !started) {
    return started.error();
  }
  const uint64_t window = inFlight * options.messageBytes;
  LoadResult result;
  std::size_t begun = 0;  // connections that have had an echo, or have failed
  Nanos now = nowNanos();
  Nanos countFrom = 0;  // 0: not all connections have begun
  Nanos end = now + kStartTimeout;
  while (now < end && result.failed < options.connections) {
    const auto events = clients.wait(end);
    now = nowNanos();
    for (const epoll_event& event : events) {
      const std::size_t index = event.data.u64;
      VerifiedConnection& link = clients[index];
      if (link.fd() < 0) {
        continue;
      }
      const uint64_t before = link.received() / options.messageBytes;
      link.advance(event.events);
      const uint64_t after = link.received() / options.messageBytes;
      // Whole messages alone are followed by new ones, so never more than the window is under way.
      link.offer(after * options.messageBytes + window - link.offered());
      begun += before == 0 && after > 0;
      if (countFrom != 0 && now >= countFrom) {
        result.done += after - before;
      }
      if (link.state() != LinkState::kOpen) {
        begun += after == 0;
        clients.giveUp(index, result);
      }
    }
    if (countFrom == 0 && begun == options.connections) {
      countFrom = now + options.duration / 10;
      end = countFrom + options.duration;
    }
  }
  if (countFrom == 0) {
    return Error{ETIMEDOUT, "not every connection had an echo: " + std::to_string(begun) + " of " +
                                std::to_string(options.connections)};
  }
  result.elapsed = std::max<Nanos>(now - countFrom, 0);
  return result;
}

}  // namespace ppx::load
