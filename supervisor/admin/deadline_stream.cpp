#include "supervisor/admin/deadline_stream.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

namespace ppx {
namespace {

constexpr ssize_t kRetry = -2;

void addressText(const sockaddr_storage& address, std::string& ip, int& port) {
  char text[INET6_ADDRSTRLEN] = {};
  if (address.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    inet_ntop(AF_INET, &v4.sin_addr, text, sizeof(text));
    port = ntohs(v4.sin_port);
  } else if (address.ss_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
    if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr))
      inet_ntop(AF_INET, &v6.sin6_addr.s6_addr[12], text, sizeof(text));
    else
      inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof(text));
    port = ntohs(v6.sin6_port);
  }
  ip = text;
}

}  // namespace

std::string peerAddressText(int socket) {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  std::string ip;
  int port = 0;
  if (::getpeername(socket, reinterpret_cast<sockaddr*>(&address), &size) == 0)
    addressText(address, ip, port);
  return ip;
}

DeadlineStream::DeadlineStream(int socket, SSL_CTX* tls, const Limits& limits)
    : socket_(socket),
      requestDeadline_(monotonicMillis() + limits.requestMs),
      exchangeDeadline_(monotonicMillis() + limits.exchangeMs),
      bytesLeft_(limits.requestBytes) {
  if (tls == nullptr) return;
  ssl_.reset(SSL_new(tls));
  if (ssl_ != nullptr) SSL_set_fd(ssl_.get(), socket);
}

bool DeadlineStream::wait(short events, Millis deadline) const {
  for (;;) {
    Millis left = deadline - monotonicMillis();
    if (left <= 0) return false;
    pollfd state{socket_, events, 0};
    int ready = ::poll(&state, 1, static_cast<int>(left));
    if (ready > 0) return true;
    if (ready == 0 || errno != EINTR) return false;
  }
}

// The outcome of an SSL call: bytes, kRetry after it waited for the socket, or -1.
ssize_t DeadlineStream::tlsStep(int result, Millis deadline) const {
  if (result > 0) return result;
  int why = SSL_get_error(ssl_.get(), result);
  if (why == SSL_ERROR_ZERO_RETURN) return 0;
  if (why == SSL_ERROR_WANT_READ) return wait(POLLIN, deadline) ? kRetry : -1;
  if (why == SSL_ERROR_WANT_WRITE) return wait(POLLOUT, deadline) ? kRetry : -1;
  return -1;
}

bool DeadlineStream::open() {
  if (ssl_ == nullptr) return true;
  ssize_t step = kRetry;
  while (step == kRetry) step = tlsStep(SSL_accept(ssl_.get()), requestDeadline_);
  return step > 0;
}

void DeadlineStream::finish() {
  if (ssl_ != nullptr) SSL_shutdown(ssl_.get());
}

bool DeadlineStream::is_readable() const {
  return wait(POLLIN, requestDeadline_);
}
bool DeadlineStream::is_writable() const {
  return wait(POLLOUT, exchangeDeadline_);
}

ssize_t DeadlineStream::read(char* bytes, size_t size) {
  size = std::min(size, bytesLeft_);
  if (size == 0) return -1;  // more than any request of ours has
  ssize_t got = kRetry;
  while (got == kRetry) {
    if (ssl_ != nullptr) {
      got = tlsStep(SSL_read(ssl_.get(), bytes, static_cast<int>(size)), requestDeadline_);
      continue;
    }
    got = ::recv(socket_, bytes, size, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) got = wait(POLLIN, requestDeadline_) ? kRetry : -1;
  }
  if (got > 0) bytesLeft_ -= static_cast<size_t>(got);
  return got;
}

ssize_t DeadlineStream::write(const char* bytes, size_t size) {
  ssize_t sent = kRetry;
  while (sent == kRetry) {
    if (ssl_ != nullptr) {
      sent = tlsStep(SSL_write(ssl_.get(), bytes, static_cast<int>(size)), exchangeDeadline_);
      continue;
    }
    sent = ::send(socket_, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && (errno == EAGAIN || errno == EINTR))
      sent = wait(POLLOUT, exchangeDeadline_) ? kRetry : -1;
  }
  return sent;
}

void DeadlineStream::get_remote_ip_and_port(std::string& ip, int& port) const {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  if (::getpeername(socket_, reinterpret_cast<sockaddr*>(&address), &size) == 0)
    addressText(address, ip, port);
}

void DeadlineStream::get_local_ip_and_port(std::string& ip, int& port) const {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  if (::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size) == 0)
    addressText(address, ip, port);
}

}  // namespace ppx
