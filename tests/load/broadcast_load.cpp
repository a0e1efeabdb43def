#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "tests/load/epoll_loop.h"
#include "tests/load/loads.h"
#include "tests/load/random_stream.h"

namespace ppx::load {
namespace {

constexpr Nanos kWarmUpTimeout = 60 * kSecond;
constexpr Nanos kProbeTime = 500 * kMillisecond;  // a probe that not all have by then is followed by another
constexpr Nanos kRoundTimeout = 10 * kSecond;

struct Listener {
  UniqueFd fd;
  std::vector<char> part;  // of a message that has not come whole
  uint64_t lastRound = 0;  // of the last whole message
};

// A message: its round's number, then random bytes that belong to the number.
class BroadcastRun {
 public:
  explicit BroadcastRun(const LoadOptions& options)
      : options_(options), size_(std::max<std::size_t>(options.messageBytes, 16)) {}

  Status connect() {
    const auto address = options_.target.address();
    if (!address) {
      return address.error();
    }
    for (std::size_t i = 0; i < options_.connections; ++i) {
      auto fd = startConnect(address.value(),
                             options_.sources == 0 ? 0 : static_cast<unsigned>(1 + i % options_.sources));
      if (!fd) {
        return fd.error();
      }
      loop_.watch(fd->get(), i);
      listeners_.push_back(Listener{std::move(*fd), {}, 0});
    }
    return Done{};
  }

  // A client is a session, and gets broadcasts, some time after its connect(): probe until one reaches all.
  Status warmUp() {
    const Nanos end = nowNanos() + kWarmUpTimeout;
    while (nowNanos() < end) {
      playRound(kProbeTime);
      if (reached_ + result_.failed == listeners_.size()) {
        result_.doubled = 0;
        return Done{};
      }
    }
    return Error{ETIMEDOUT, "a broadcast reached " + std::to_string(reached_) + " of " +
                                std::to_string(listeners_.size()) + " clients"};
  }

  BroadcastResult measure(std::size_t rounds) {
    const Nanos start = nowNanos();
    for (std::size_t i = 0; i < rounds; ++i) {
      const Nanos took = playRound(kRoundTimeout);
      result_.untilAll.record(took);
      result_.done += reached_;
      result_.missing += listeners_.size() - reached_;
    }
    result_.elapsed = nowNanos() - start;
    return std::move(result_);
  }

 private:
  Nanos playRound(Nanos timeout) {
    ++round_;
    reached_ = 0;
    const auto message = makeMessage(round_);
    const Nanos start = nowNanos();
    bool sent = false;
    Nanos now = start;
    while (now < start + timeout && reached_ + result_.failed < listeners_.size()) {
      // Until the sender is connected its send() says EAGAIN, and the event that ends that brings us here again.
      sent = sent || ::send(listeners_[0].fd.get(), message.data(), message.size(), MSG_NOSIGNAL) ==
                         static_cast<ssize_t>(message.size());
      for (const epoll_event& event : loop_.wait(start + timeout)) {
        receive(listeners_[event.data.u64]);
      }
      now = nowNanos();
    }
    return now - start;
  }

  std::vector<char> makeMessage(uint64_t round) const {
    std::vector<char> message(size_);
    std::memcpy(message.data(), &round, sizeof round);
    RandomStream(round).fill(0, message.data() + sizeof round, size_ - sizeof round);
    return message;
  }

  void receive(Listener& listener) {
    static std::array<char, 64 << 10> bytes;
    while (listener.fd) {
      const ssize_t got = ::recv(listener.fd.get(), bytes.data(), bytes.size(), 0);
      if (got < 0 && (errno == EAGAIN || errno == EINPROGRESS)) {
        return;
      }
      if (got <= 0) {
        fail(listener, got == 0 ? "ended by the server" : std::strerror(errno));
        return;
      }
      listener.part.insert(listener.part.end(), bytes.data(), bytes.data() + got);
      takeMessages(listener);
    }
  }

  void takeMessages(Listener& listener) {
    std::size_t used = 0;
    for (; listener.part.size() - used >= size_; used += size_) {
      uint64_t round = 0;
      const char* message = listener.part.data() + used;
      std::memcpy(&round, message, sizeof round);
      const std::size_t random = size_ - sizeof round;
      if (RandomStream(round).match(0, message + sizeof round, random) != random) {
        fail(listener, "a wrong byte in a broadcast");
        return;
      }
      result_.doubled += round <= listener.lastRound;
      reached_ += round == round_ && listener.lastRound < round_;
      listener.lastRound = std::max(listener.lastRound, round);
    }
    listener.part.erase(listener.part.begin(), listener.part.begin() + static_cast<std::ptrdiff_t>(used));
  }

  void fail(Listener& listener, const char* why) {
    ++result_.failed;
    if (result_.firstProblem.empty()) {
      result_.firstProblem = why;
    }
    listener.fd.reset();
  }

  const LoadOptions& options_;
  const std::size_t size_;
  EpollLoop loop_;
  std::vector<Listener> listeners_;
  uint64_t round_ = 0;
  std::size_t reached_ = 0;  // by this round's message
  BroadcastResult result_;
};

}  // namespace

Result<BroadcastResult> runBroadcast(const LoadOptions& options, std::size_t rounds) {
  BroadcastRun run(options);
  if (const auto connected = run.connect(); !connected) {
    return connected.error();
  }
  if (const auto warm = run.warmUp(); !warm) {
    return warm.error();
  }
  return run.measure(rounds);
}

}  // namespace ppx::load
