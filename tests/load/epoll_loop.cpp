#include "tests/load/epoll_loop.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>

namespace ppx::load {
namespace {

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::abort();
}

}  // namespace

EpollLoop::EpollLoop() : epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
  if (!epoll_) {
    fail("epoll_create1");
  }
}

void EpollLoop::watch(int fd, uint64_t tag) {
  add(fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, tag);
}

void EpollLoop::watchInput(int fd, uint64_t tag) {
  add(fd, EPOLLIN, tag);
}

void EpollLoop::add(int fd, uint32_t events, uint64_t tag) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = tag;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
    fail("epoll_ctl");
  }
}

std::span<const epoll_event> EpollLoop::wait(Nanos deadline) {
  const Nanos left = std::max<Nanos>(deadline - nowNanos(), 0);
  const timespec timeout{left / kSecond, left % kSecond};
  const int count = ::epoll_pwait2(epoll_.get(), events_.data(), events_.size(), &timeout, nullptr);
  if (count < 0 && errno != EINTR) {
    fail("epoll_pwait2");
  }
  return {events_.data(), static_cast<std::size_t>(std::max(count, 0))};
}

}  // namespace ppx::load
