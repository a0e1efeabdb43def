#include "tests/load/clients.h"

namespace ppx::load {

Result<LoadResult> runConnect(const LoadOptions& options) {
  auto made = Clients::make(options);
  if (!made) {
    return made.error();
  }
  Clients& clients = **made;
  if (const auto started = clients.startAll(); !started) {
    return started.error();
  }
  LoadResult result;
  Nanos now = nowNanos();
  const Nanos countFrom = now + options.duration / 10;
  const Nanos end = countFrom + options.duration;
  while (now < end) {
    const auto events = clients.wait(end);
    now = nowNanos();
    for (const epoll_event& event : events) {
      const std::size_t index = event.data.u64;
      VerifiedConnection& link = clients[index];
      link.advance(event.events);
      if (link.offered() == 0) {
        link.offer(options.messageBytes);
      }
      const bool complete = link.received() == options.messageBytes;
      if (complete) {
        result.done += now >= countFrom;
        link.close();
      } else if (link.state() != LinkState::kOpen) {
        clients.giveUp(index, result);
      } else {
        continue;
      }
      // Here the old descriptor is gone, and with it any event that it might still have had.
      if (const auto started = clients.start(index); !started) {
        return started.error();
      }
    }
  }
  result.elapsed = now - countFrom;
  return result;
}

}  // namespace ppx::load
