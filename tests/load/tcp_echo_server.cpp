#include "tests/load/tcp_echo_server.h"

#include <sys/eventfd.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

namespace ppx::load {
namespace {

constexpr uint64_t kListenerTag = UINT64_MAX;
constexpr uint64_t kStopTag = UINT64_MAX - 1;

}  // namespace

Result<std::unique_ptr<TcpEchoServer>> TcpEchoServer::listen(const Endpoint& at) {
  auto listener = listenOn(at);
  if (!listener) {
    return listener.error();
  }
  const auto port = portOf(listener->get());
  if (!port) {
    return port.error();
  }
  UniqueFd stop(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!stop) {
    return systemError("eventfd");
  }
  return std::unique_ptr<TcpEchoServer>(
      new TcpEchoServer(std::move(*listener), std::move(stop), port.value()));
}

TcpEchoServer::TcpEchoServer(UniqueFd listener, UniqueFd stop, uint16_t port)
    : listener_(std::move(listener)), stop_(std::move(stop)), port_(port) {
  loop_.watchInput(listener_.get(), kListenerTag);
  loop_.watchInput(stop_.get(), kStopTag);
}

void TcpEchoServer::stop() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t done = ::write(stop_.get(), &one, sizeof one);
}

void TcpEchoServer::run(int stopFd) {
  if (stopFd >= 0) {
    loop_.watchInput(stopFd, kStopTag);
  }
  while (true) {
    for (const epoll_event& event : loop_.wait(nowNanos() + 3600 * kSecond)) {
      switch (event.data.u64) {
        case kStopTag:
          return;
        case kListenerTag:
          acceptAll();
          break;
        default:
          serve(event.data.u64);
      }
    }
  }
}

void TcpEchoServer::acceptAll() {
  while (true) {
    UniqueFd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!fd) {
      return;
    }
    if (free_.empty()) {
      free_.push_back(clients_.size());
      clients_.emplace_back();
    }
    const uint64_t index = free_.back();
    free_.pop_back();
    loop_.watch(fd.get(), index);
    clients_[index].fd = std::move(fd);
  }
}

void TcpEchoServer::serve(uint64_t index) {
  Client& client = clients_[index];
  if (client.fd && !echo(client)) {
    client = Client{};
    free_.push_back(index);
  }
}

bool TcpEchoServer::echo(Client& client) {
  alignas(64) static thread_local std::array<char, 64 << 10> bytes;
  while (true) {
    while (!client.unsent.empty()) {
      const ssize_t sent = ::send(client.fd.get(), client.unsent.data(), client.unsent.size(), MSG_NOSIGNAL);
      if (sent < 0) {
        return errno == EAGAIN;
      }
      client.unsent.erase(0, static_cast<std::size_t>(sent));
    }
    if (client.ended) {
      return false;
    }
    const ssize_t got = ::recv(client.fd.get(), bytes.data(), bytes.size(), 0);
    if (got < 0) {
      return errno == EAGAIN;
    }
    client.ended = got == 0;
    const ssize_t sent =
        got > 0 ? ::send(client.fd.get(), bytes.data(), static_cast<std::size_t>(got), MSG_NOSIGNAL) : 0;
    if (sent < 0 && errno != EAGAIN) {
      return false;
    }
    const ssize_t taken = sent < 0 ? 0 : sent;
    client.unsent.assign(bytes.data() + taken, static_cast<std::size_t>(got - taken));
  }
}

}  // namespace ppx::load
