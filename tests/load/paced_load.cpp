#include <algorithm>
#include <deque>
#include <vector>

#include "tests/load/clients.h"

namespace ppx::load {
namespace {

constexpr Nanos kSettle = 200 * kMillisecond;  // for the connections, before the first message is due
constexpr Nanos kLateAnswers = 10 * kSecond;   // how long the last answers are waited for

class PacedRun {
 public:
  PacedRun(Clients& clients, const LoadOptions& options, double rate)
      : clients_(clients),
        options_(options),
        interval_(static_cast<double>(kSecond) / rate),
        total_(static_cast<uint64_t>(rate * static_cast<double>(options.duration) / kSecond)),
        due_(options.connections) {}

  PacedResult run() {
    const Nanos start = nowNanos() + kSettle;
    const Nanos end = start + options_.duration + kLateAnswers;
    Nanos now = nowNanos();
    while (now < end && result_.done < total_ && result_.failed < options_.connections) {
      const auto events = clients_.wait(nextMessage_ < total_ ? dueTime(start, nextMessage_) : end);
      now = nowNanos();
      for (const epoll_event& event : events) {
        advance(event.data.u64, event.events);
      }
      sendWhatIsDue(start, nowNanos());
    }
    if (result_.done < total_ && result_.firstProblem.empty()) {
      result_.firstProblem = std::to_string(total_ - result_.done) + " messages had no answer";
    }
    result_.elapsed = now - start;
    return std::move(result_);
  }

 private:
  Nanos dueTime(Nanos start, uint64_t message) const {
    return start + static_cast<Nanos>(interval_ * static_cast<double>(message));
  }

  void sendWhatIsDue(Nanos start, Nanos now) {
    for (; nextMessage_ < total_ && dueTime(start, nextMessage_) <= now; ++nextMessage_) {
      const std::size_t index = nextMessage_ % options_.connections;
      if (clients_[index].fd() >= 0) {
        due_[index].push_back(dueTime(start, nextMessage_));
        clients_[index].offer(options_.messageBytes);
      }
    }
  }

  void advance(std::size_t index, uint32_t events) {
    VerifiedConnection& link = clients_[index];
    if (link.fd() < 0) {
      return;
    }
    const uint64_t before = link.received() / options_.messageBytes;
    link.advance(events);
    const Nanos now = nowNanos();
    for (uint64_t i = before; i < link.received() / options_.messageBytes; ++i) {
      result_.latency.record(now - due_[index].front());
      due_[index].pop_front();
      ++result_.done;
    }
    if (link.state() != LinkState::kOpen) {
      clients_.giveUp(index, result_);
    }
  }

  Clients& clients_;
  const LoadOptions& options_;
  const double interval_;
  const uint64_t total_;
  std::vector<std::deque<Nanos>> due_;  // of each connection's messages under way
  uint64_t nextMessage_ = 0;
  PacedResult result_;
};

}  // namespace

Result<PacedResult> runPaced(const LoadOptions& options, double rate) {
  auto clients = Clients::make(options);
  if (!clients) {
    return clients.error();
  }
  if (const auto started = (*clients)->startAll(); !started) {
    return started.error();
  }
  return PacedRun(**clients, options, rate).run();
}

}  // namespace ppx::load
