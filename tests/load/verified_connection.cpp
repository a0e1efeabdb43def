#include "tests/load/verified_connection.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace ppx::load {
namespace {

constexpr std::size_t kChunk = 64 << 10;

// Scratch, shared by all connections of a thread: ten thousand of them hold no buffers.
std::array<char, kChunk>& scratch() {
  alignas(64) static thread_local std::array<char, kChunk> bytes;
  return bytes;
}

bool wouldBlock(int code) {
  return code == EAGAIN || code == EWOULDBLOCK || code == EINPROGRESS;
}

}  // namespace

void VerifiedConnection::offer(uint64_t bytes) {
  offered_ += bytes;
  if (state_ == LinkState::kOpen) {
    sendOffered();
  }
}

void VerifiedConnection::advance(uint32_t events, uint64_t most) {
  // What came before a reset is still to be read, so reading goes first.
  if (state_ == LinkState::kOpen) {
    receive((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0, most);
  }
  if (state_ == LinkState::kOpen) {
    sendOffered();
  }
}

void VerifiedConnection::finishSending() {
  finishing_ = true;
  if (state_ == LinkState::kOpen) {
    sendOffered();
  }
}

void VerifiedConnection::sendOffered() {
  auto& bytes = scratch();
  while (sent_ < offered_) {
    const auto size = static_cast<std::size_t>(std::min<uint64_t>(offered_ - sent_, bytes.size()));
    stream_.fill(sent_, bytes.data(), size);
    const ssize_t done = ::send(fd_.get(), bytes.data(), size, MSG_NOSIGNAL);
    if (done < 0) {
      if (!wouldBlock(errno)) {
        fail("send", errno);
      }
      return;
    }
    sent_ += static_cast<uint64_t>(done);
  }
  if (finishing_ && !finSent_) {
    finSent_ = ::shutdown(fd_.get(), SHUT_WR) == 0;
  }
}

void VerifiedConnection::receive(bool toTheEnd, uint64_t most) {
  auto& bytes = scratch();
  while (state_ == LinkState::kOpen && most > 0) {
    const auto room = static_cast<std::size_t>(std::min<uint64_t>(most, bytes.size()));
    const ssize_t done = ::recv(fd_.get(), bytes.data(), room, 0);
    if (done < 0) {
      if (!wouldBlock(errno)) {
        fail("recv", errno);
      }
      return;
    }
    if (done == 0) {
      state_ = LinkState::kEnded;
      return;
    }
    check(bytes.data(), static_cast<std::size_t>(done));
    most -= static_cast<uint64_t>(done);
    if (!toTheEnd && static_cast<std::size_t>(done) < room) {
      return;  // drained; whatever comes later is another edge
    }
  }
}

void VerifiedConnection::check(const char* bytes, std::size_t size) {
  // Bytes that were never sent are wrong even if they are the stream's next ones.
  const auto owed = static_cast<std::size_t>(std::min<uint64_t>(size, sent_ - received_));
  const std::size_t right = stream_.match(received_, bytes, owed);
  received_ += right;
  if (right < size) {
    state_ = LinkState::kMismatched;
    problem_ = (right < owed ? "wrong byte at offset " : "more than was sent, at offset ") +
               std::to_string(received_);
  }
}

void VerifiedConnection::fail(const char* what, int code) {
  state_ = LinkState::kReset;
  problem_ =
      std::string(what) + ": " + std::strerror(code) + " after " + std::to_string(received_) + " bytes";
}

}  // namespace ppx::load
