#include <algorithm>

#include "tests/load/clients.h"

namespace ppx::load {
namespace {

constexpr uint64_t kStopTag = UINT64_MAX;
constexpr std::size_t kStartingAtOnce =
    256;  // below every backlog: no SYN is dropped and repeated a second later
constexpr Nanos kNoProgress = 30 * kSecond;

}  // namespace

Result<LoadResult> runIdle(const LoadOptions& options, int stopFd,
                           const std::function<void(std::size_t)>& opened) {
  auto made = Clients::make(options);
  if (!made) {
    return made.error();
  }
  Clients& clients = **made;
  clients.loop().watchInput(stopFd, kStopTag);
  LoadResult result;
  Nanos lastProgress = nowNanos();
  bool told = false;
  while (true) {
    while (clients.size() < options.connections &&
           clients.size() - result.done - result.failed < kStartingAtOnce) {
      if (const auto started = clients.start(clients.size()); !started) {
        return started.error();
      }
    }
    for (const epoll_event& event : clients.wait(told ? INT64_MAX : lastProgress + kNoProgress)) {
      if (event.data.u64 == kStopTag) {
        return result;
      }
      VerifiedConnection& link = clients[event.data.u64];
      if (link.fd() < 0) {
        continue;
      }
      const uint64_t before = link.received();
      link.advance(event.events);
      if (link.offered() == 0) {
        link.offer(options.messageBytes);
      }
      if (before < options.messageBytes && link.received() == options.messageBytes) {
        ++result.done;
        lastProgress = nowNanos();
      }
      if (link.state() != LinkState::kOpen) {
        clients.giveUp(event.data.u64, result);
      }
    }
    if (!told && result.done + result.failed >= options.connections) {
      told = true;
      opened(result.done);
    }
    if (!told && nowNanos() > lastProgress + kNoProgress) {
      return Error{ETIMEDOUT, "only " + std::to_string(result.done) + " of " +
                                  std::to_string(options.connections) + " connections were served"};
    }
  }
}

}  // namespace ppx::load
