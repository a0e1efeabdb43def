// One client connection to something that echoes: sends a seeded random stream, checks each byte that comes back.
//
//   received <= sent <= offered        all three count bytes since the start
//
// Non-blocking and edge-triggered: after each event of its descriptor call advance(). It never sends more than was
// offered, so whoever drives it decides about pace and window. Single-threaded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "common/unique_fd.h"
#include "tests/load/random_stream.h"

namespace ppx::load {

enum class LinkState : uint8_t {
  kOpen,
  kEnded,       // the other side's FIN, with everything echoed before it checked
  kReset,       // refused, reset or timed out: see problem()
  kMismatched,  // a byte that is not the one that was sent, or more bytes than were sent
};

class VerifiedConnection {
 public:
  VerifiedConnection(UniqueFd fd, uint64_t seed) : fd_(std::move(fd)), stream_(seed) {}

  // Allows so many bytes more to be sent, and sends what goes.
  void offer(uint64_t bytes);
  // Reads what has come, but no more than `most` bytes of it, and sends what is offered. `events` are epoll's:
  // without EPOLLRDHUP, EPOLLHUP and EPOLLERR among them a short read is taken for the last one.
  void advance(uint32_t events, uint64_t most = UINT64_MAX);
  // No more offers: once everything is sent the other side gets a FIN.
  void finishSending();
  void close() { fd_.reset(); }

  int fd() const { return fd_.get(); }
  LinkState state() const { return state_; }
  const std::string& problem() const { return problem_; }  // for a person, if reset or mismatched
  uint64_t offered() const { return offered_; }
  uint64_t sent() const { return sent_; }
  uint64_t received() const { return received_; }

 private:
  void sendOffered();
  void receive(bool toTheEnd, uint64_t most);
  void check(const char* bytes, std::size_t size);
  void fail(const char* what, int code);

  UniqueFd fd_;
  RandomStream stream_;
  uint64_t offered_ = 0;
  uint64_t sent_ = 0;
  uint64_t received_ = 0;
  LinkState state_ = LinkState::kOpen;
  bool finishing_ = false;
  bool finSent_ = false;
  std::string problem_;
};

}  // namespace ppx::load
