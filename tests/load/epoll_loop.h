// epoll with a deadline in nanoseconds. Descriptors are watched edge-triggered, for everything, once and for all:
// whoever gets an event reads and writes until EAGAIN. Single-threaded.
#pragma once

#include <sys/epoll.h>

#include <array>
#include <cstdint>
#include <span>

#include "common/unique_fd.h"
#include "tests/load/timing.h"

namespace ppx::load {

class EpollLoop {
 public:
  EpollLoop();  // aborts if the system has no descriptor left

  // The tag comes back with each event. A descriptor leaves by being closed.
  void watch(int fd, uint64_t tag);
  // Level-triggered and for input alone: listeners, signals, standard input.
  void watchInput(int fd, uint64_t tag);

  // Readable when one of the watched is: an epoll may be watched by another.
  int fd() const { return epoll_.get(); }

  // Waits for events until the deadline; none, if it passed first. Valid until the next call.
  std::span<const epoll_event> wait(Nanos deadline);

 private:
  void add(int fd, uint32_t events, uint64_t tag);

  UniqueFd epoll_;
  std::array<epoll_event, 512> events_;
};

}  // namespace ppx::load
