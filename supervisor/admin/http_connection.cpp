#include "supervisor/admin/http_connection.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace ppx {
namespace {

constexpr ssize_t kAgain = -2;
constexpr size_t kFarewellBytes = 256 << 10;

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

HttpConnection::HttpConnection(UniqueFd socket, SSL_CTX* tls, int stopBell)
    : socket_(std::move(socket)),
      stopBell_(stopBell),
      handshaken_(tls == nullptr),
      wanted_(POLLIN),
      headDeadline_(monotonicMillis() + kHeadMs) {
  if (tls == nullptr) return;
  ssl_.reset(SSL_new(tls));
  if (ssl_ == nullptr) return;
  SSL_set_fd(ssl_.get(), socket_.get());
  SSL_set_accept_state(ssl_.get());
}

bool HttpConnection::wait(short events, Millis deadline) const {
  for (;;) {
    Millis left = std::max<Millis>(deadline - monotonicMillis(), 0);
    pollfd waiting[2] = {{socket_.get(), events, 0}, {stopBell_, POLLIN, 0}};
    int ready = ::poll(waiting, 2, static_cast<int>(left));
    if (ready < 0 && errno == EINTR) continue;
    return ready > 0 && waiting[0].revents != 0;
  }
}

ssize_t HttpConnection::tlsOutcome(int result) {
  if (result > 0) return result;
  int why = SSL_get_error(ssl_.get(), result);
  if (why == SSL_ERROR_ZERO_RETURN) return 0;
  if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE) return -1;
  wanted_ = why == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT;
  return kAgain;
}

ssize_t HttpConnection::receiveSome(char* bytes, size_t size) {
  if (ssl_ != nullptr) {
    ERR_clear_error();
    return tlsOutcome(SSL_read(ssl_.get(), bytes, static_cast<int>(size)));
  }
  ssize_t got = ::recv(socket_.get(), bytes, size, MSG_DONTWAIT);
  wanted_ = POLLIN;
  return got < 0 && (errno == EAGAIN || errno == EINTR) ? kAgain : got;
}

ssize_t HttpConnection::sendSome(const char* bytes, size_t size) {
  if (ssl_ != nullptr) {
    ERR_clear_error();
    return tlsOutcome(SSL_write(ssl_.get(), bytes, static_cast<int>(size)));
  }
  ssize_t sent = ::send(socket_.get(), bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);
  wanted_ = POLLOUT;
  return sent < 0 && (errno == EAGAIN || errno == EINTR) ? kAgain : sent;
}

HttpConnection::Head HttpConnection::gather() {
  if (!handshaken_) {
    if (ssl_ == nullptr) return Head::kBroken;
    ERR_clear_error();
    ssize_t step = tlsOutcome(SSL_do_handshake(ssl_.get()));
    if (step == kAgain) return Head::kWanted;
    if (step <= 0) return Head::kBroken;
    handshaken_ = true;
  }
  for (;;) {
    char bytes[4096];
    ssize_t got = receiveSome(bytes, sizeof(bytes));
    if (got == kAgain) return Head::kWanted;
    if (got <= 0) return Head::kBroken;
    // The end of the head may lie across two reads.
    size_t from = buffer_.size() < 3 ? 0 : buffer_.size() - 3;
    buffer_.append(bytes, static_cast<size_t>(got));
    if (buffer_.find("\r\n\r\n", from) != std::string::npos) return Head::kWhole;
    if (buffer_.size() > kMaxHeadBytes) return Head::kTooLarge;
  }
}

void HttpConnection::expectBody(size_t bytes) {
  Millis now = monotonicMillis();
  bodyLeft_ = bytes;
  bodyDeadline_ = now + kBodyMs;
  answerDeadline_ = now + kAnswerMs;
}

void HttpConnection::sayOnce(const std::string& text) {
  if (handshaken_) sendSome(text.data(), text.size());
}

void HttpConnection::finish() {
  if (ssl_ != nullptr && handshaken_) {
    ERR_clear_error();
    SSL_shutdown(ssl_.get());
  }
  ::shutdown(socket_.get(), SHUT_WR);
  Millis deadline = monotonicMillis() + kFarewellMs;
  char bytes[16 << 10];
  for (size_t discarded = 0; discarded < kFarewellBytes;) {
    ssize_t got = ::recv(socket_.get(), bytes, sizeof(bytes), MSG_DONTWAIT);
    if (got > 0) discarded += static_cast<size_t>(got);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) return;
    if (got < 0 && !wait(POLLIN, deadline)) return;
  }
}

bool HttpConnection::is_readable() const {
  return taken_ < buffer_.size() || wait(POLLIN, bodyDeadline_);
}

bool HttpConnection::is_writable() const {
  return wait(POLLOUT, answerDeadline_);
}

ssize_t HttpConnection::read(char* bytes, size_t size) {
  if (size_t left = buffer_.size() - taken_; left > 0) {
    size = std::min(size, left);
    std::memcpy(bytes, buffer_.data() + taken_, size);
    taken_ += size;
    bodyLeft_ -= std::min(bodyLeft_, size);
    return static_cast<ssize_t>(size);
  }
  size = std::min(size, bodyLeft_);
  if (size == 0) return 0;
  for (;;) {
    ssize_t got = receiveSome(bytes, size);
    if (got > 0) bodyLeft_ -= static_cast<size_t>(got);
    if (got != kAgain) return got;
    if (!wait(wanted_, bodyDeadline_)) return -1;
  }
}

ssize_t HttpConnection::write(const char* bytes, size_t size) {
  Millis deadline = monotonicMillis() + kWriteMs;
  if (answerDeadline_ != 0) deadline = std::min(deadline, answerDeadline_);
  for (;;) {
    ssize_t sent = sendSome(bytes, size);
    if (sent != kAgain) return sent;
    if (!wait(wanted_, deadline)) return -1;
  }
}

void HttpConnection::get_remote_ip_and_port(std::string& ip, int& port) const {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  if (::getpeername(socket_.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0)
    addressText(address, ip, port);
}

void HttpConnection::get_local_ip_and_port(std::string& ip, int& port) const {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  if (::getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0)
    addressText(address, ip, port);
}

}  // namespace ppx
