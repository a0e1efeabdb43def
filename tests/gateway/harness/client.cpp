#include "tests/gateway/harness/client.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <cstring>
#include <random>

namespace ppx::test {
namespace {

[[noreturn]] void fail(const std::string& what) {
  throw std::runtime_error("client: " + what + ": " + std::strerror(errno));
}

sockaddr_in loopback(const char* host, uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  ::inet_pton(AF_INET, host, &address.sin_addr);
  return address;
}

bool waitFor(int fd, short events, const Deadline& deadline) {
  pollfd waiting{fd, events, 0};
  return ::poll(&waiting, 1, deadline.left()) > 0;
}

}  // namespace

Client::Client(uint16_t port, const std::string& source, int receiveBuffer)
    : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
  if (fd_.get() < 0) fail("socket");
  int on = 1;
  ::setsockopt(fd_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  if (receiveBuffer > 0)
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVBUF, &receiveBuffer, sizeof(receiveBuffer));
  if (!source.empty()) {
    sockaddr_in from = loopback(source.c_str(), 0);
    if (::bind(fd_.get(), reinterpret_cast<sockaddr*>(&from), sizeof(from)) != 0) fail("bind");
  }
  sockaddr_in to = loopback("127.0.0.1", port);
  if (::connect(fd_.get(), reinterpret_cast<sockaddr*>(&to), sizeof(to)) == 0) return;
  if (errno != EINPROGRESS) fail("connect");
  if (!waitFor(fd_.get(), POLLOUT, Deadline(kPatience))) fail("connect: no answer");
  socklen_t size = sizeof(errno);
  int error = 0;
  ::getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &error, &size);
  errno = error;
  if (error != 0) fail("connect");
}

size_t Client::sendSome(std::string_view bytes) {
  ssize_t sent = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
  if (sent >= 0) return static_cast<size_t>(sent);
  if (errno == EAGAIN) return 0;
  if (errno == ECONNRESET || errno == EPIPE) end_ = ClientEnd::kReset;
  fail("send");
}

void Client::send(std::string_view bytes) {
  Deadline deadline(kPatience);
  while (!bytes.empty()) {
    size_t sent = sendSome(bytes);
    bytes.remove_prefix(sent);
    if (sent == 0 && !waitFor(fd_.get(), POLLOUT, deadline)) fail("send: the other side takes nothing");
  }
}

std::string Client::receiveSome(size_t atMost, const Deadline& deadline) {
  std::string bytes(std::min<size_t>(atMost, 1 << 18), '\0');
  for (;;) {
    ssize_t got = ::recv(fd_.get(), bytes.data(), bytes.size(), 0);
    if (got > 0) {
      bytes.resize(static_cast<size_t>(got));
      return bytes;
    }
    if (got == 0) {
      end_ = ClientEnd::kFin;
      return {};
    }
    if (errno == ECONNRESET || errno == EPIPE) {
      end_ = ClientEnd::kReset;
      return {};
    }
    if (errno != EAGAIN) fail("recv");
    if (!waitFor(fd_.get(), POLLIN, deadline)) throw std::runtime_error("client: nothing comes");
  }
}

std::string Client::receive(size_t bytes, Millis within) {
  Deadline deadline(within);
  std::string all;
  while (all.size() < bytes) {
    std::string some;
    try {
      some = receiveSome(bytes - all.size(), deadline);
    } catch (const std::exception& error) {
      throw std::runtime_error(std::string(error.what()) + "; " + std::to_string(all.size()) + " bytes of " +
                               std::to_string(bytes));
    }
    if (some.empty())
      throw std::runtime_error("client: " + std::string(end_ == ClientEnd::kFin ? "FIN" : "reset") +
                               " after " + std::to_string(all.size()) + " bytes of " + std::to_string(bytes));
    all += some;
  }
  return all;
}

std::string Client::receiveUntilEnd(Millis within) {
  Deadline deadline(within);
  std::string all;
  for (;;) {
    std::string some = receiveSome(1 << 18, deadline);
    if (some.empty()) return all;
    all += some;
  }
}

std::string Client::receiveLine(Millis within) {
  Deadline deadline(within);
  std::string line;
  while (line.empty() || line.back() != '\n') {
    std::string byte = receiveSome(1, deadline);
    if (byte.empty()) throw std::runtime_error("client: ended after \"" + line + "\"");
    line += byte;
  }
  return line;
}

std::string Client::receiveFor(Millis time) {
  Deadline deadline(time);
  std::string all;
  while (waitFor(fd_.get(), POLLIN, deadline)) {
    std::string some = receiveSome(1 << 18, deadline);
    if (some.empty()) break;
    all += some;
  }
  return all;
}

ClientEnd Client::waitForEnd(Millis within) {
  receiveUntilEnd(within);
  return end_;
}

std::string Client::exchange(std::string_view bytes, Millis within) {
  send(bytes);
  return receive(bytes.size(), within);
}

void Client::waitReadable(Millis within) {
  if (!waitFor(fd_.get(), POLLIN, Deadline(within))) throw std::runtime_error("client: nothing comes");
}

bool Client::isOpen() {
  char byte = 0;
  ssize_t got = ::recv(fd_.get(), &byte, 1, MSG_PEEK);
  return got > 0 || (got < 0 && errno == EAGAIN);
}

void Client::halfClose() {
  if (::shutdown(fd_.get(), SHUT_WR) != 0) fail("shutdown");
}

void Client::reset() {
  linger now{1, 0};
  ::setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &now, sizeof(now));
  fd_.reset();
}

void Client::sendUrgent(char byte) {
  if (::send(fd_.get(), &byte, 1, MSG_OOB | MSG_NOSIGNAL) != 1) fail("send urgent");
}

uint16_t Client::localPort() const {
  sockaddr_in address{};
  socklen_t size = sizeof(address);
  ::getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&address), &size);
  return ntohs(address.sin_port);
}

std::string randomBytes(size_t bytes, uint32_t seed) {
  std::mt19937 random(seed);
  std::string text(bytes, '\0');
  size_t at = 0;
  for (; at + 4 <= bytes; at += 4) {
    uint32_t word = random();
    std::memcpy(text.data() + at, &word, 4);
  }
  for (; at < bytes; ++at) text[at] = static_cast<char>(random());
  return text;
}

}  // namespace ppx::test
