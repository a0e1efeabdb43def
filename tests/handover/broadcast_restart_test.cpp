// A worker numbers its broadcasts while all forwarders are restarted in turn, again and again: every client hears every
// number exactly once, in order. PPX_RESTARTS makes it longer.
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "tests/gateway/harness/in_test_upstream.h"
#include "tests/gateway/harness/library_upstream.h"
#include "tests/handover/restart_harness.h"

namespace ppx::test {
namespace {

constexpr size_t kRecord = 8;

std::string record(unsigned number) {
  return fmt::format("{:07d}\n", number);
}

// Clients that only listen but for a byte now and then; each writes down what it hears.
class Listeners {
 public:
  Listeners(uint16_t port, size_t count) : heard_(count) {
    for (size_t i = 0; i < count; ++i) clients_.emplace_back(port);
  }
  // Until each has heard so many numbers, and none for a moment longer.
  bool listen(size_t numbers, Millis within) {
    Deadline deadline(within);
    for (;;) {
      bool all = true;
      for (const std::string& heard : heard_) all = all && heard.size() >= numbers * kRecord;
      if (all) return !hearOnce(100);
      if (deadline.passed()) return false;
      hearOnce(100);
    }
  }
  // Some time's numbers; every third client says something.
  void listenFor(Millis time) {
    for (size_t i = 0; i < clients_.size(); i += 3) clients_[i].sendSome("x");
    for (Deadline deadline(time); !deadline.passed();) hearOnce(deadline.left());
  }
  const std::vector<std::string>& heard() const { return heard_; }

 private:
  bool hearOnce(int waitMs) {
    std::vector<pollfd> waiting;
    for (const Client& client : clients_) waiting.push_back({client.fd(), POLLIN, 0});
    if (::poll(waiting.data(), waiting.size(), waitMs) <= 0) return false;
    for (size_t i = 0; i < waiting.size(); ++i) {
      if (waiting[i].revents == 0) continue;
      char bytes[16 << 10];
      ssize_t got = ::recv(clients_[i].fd(), bytes, sizeof(bytes), 0);
      if (got <= 0) throw std::runtime_error(fmt::format("client {} is closed", i));
      heard_[i].append(bytes, static_cast<size_t>(got));
    }
    return true;
  }

  std::vector<Client> clients_;
  std::vector<std::string> heard_;
};

// A thread that broadcasts 0, 1, 2, ... until it is stopped; `send` waits while it can't.
class Numberer {
 public:
  explicit Numberer(std::function<bool(const std::string&)> send)
      : thread_([this, send = std::move(send)] {
          while (!stopped_ && send(record(count_))) {
            ++count_;
            std::this_thread::sleep_for(1ms);  // its pace
          }
        }) {}
  ~Numberer() { stop(); }
  unsigned stop() {
    stopped_ = true;
    if (thread_.joinable()) thread_.join();
    return count_;
  }

 private:
  std::atomic<bool> stopped_{false};
  unsigned count_ = 0;
  std::thread thread_;
};

// A plain worker that keeps its broadcasts in order: all go over one stream. When the gateway ends that one, it goes on
// with the next that opens, which is opened only when all of the old one was read.
class OneStreamAtATime {
 public:
  void on(const StreamRef& stream, InTestUpstream::StreamNews news) {
    std::lock_guard lock(mutex_);
    if (news == InTestUpstream::StreamNews::kOpened && !current_) current_ = stream;
    if (news == InTestUpstream::StreamNews::kInputEnded && current_ == stream) current_.reset();
    changed_.notify_all();
  }
  bool broadcast(const std::string& text) {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, kPatience, [&] { return current_ != nullptr; })) return false;
    return current_->broadcast(Broadcast::kAll, text);
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  StreamRef current_;
};

class BroadcastRestart : public ::testing::Test {
 protected:
  static constexpr size_t kClients = 40;
  const unsigned restarts_ = fromEnvironment("PPX_RESTARTS", 2);

  void restartWhileNumbering(Gateway& gateway, uint16_t port,
                             const std::function<bool(const std::string&)>& send) {
    gateway.waitForUpstream(port);
    Listeners clients(gateway.port(), kClients);
    gateway.waitForSessions(kClients);
    Numberer numberer(send);
    for (unsigned i = 0; i < restarts_; ++i) {
      auto over =
          std::async(std::launch::async, [&] { return operate(gateway, "/admin/forwarders/restart"); });
      while (over.wait_for(0ms) != std::future_status::ready) clients.listenFor(10ms);
      Json end = over.get();
      EXPECT_EQ(end.at("state"), "done") << end;
    }
    const unsigned count = numberer.stop();
    EXPECT_TRUE(clients.listen(count, kPatience))
        << "not everybody heard " << count << " numbers, and no more";
    heard_ = clients.heard();
    for (unsigned i = 0; i < count; ++i) all_ += record(i);
    EXPECT_GE(count, 10 * restarts_) << "hardly any was sent while they ran";
    std::printf("%u broadcasts to %zu clients during %u rolling restarts\n", count, kClients, restarts_);
  }
  static void expectSame(const std::string& heard, const std::string& all) {
    if (heard == all) return;
    size_t at = static_cast<size_t>(std::mismatch(all.begin(), all.end(), heard.begin(), heard.end()).first -
                                    all.begin()) /
                kRecord;
    ADD_FAILURE() << "not number " << at << " but " << heard.substr(at * kRecord, 5 * kRecord);
  }
  std::vector<std::string> heard_;
  std::string all_;
};

const char* const kFast = "respawn_backoff_min = \"10ms\"\nrespawn_backoff_max = \"50ms\"\n";

TEST_F(BroadcastRestart, AWorkerThatStaysWithAStreamIsHeardOnceAndInOrder) {
  OneStreamAtATime stream;
  InTestUpstream upstream;
  upstream.keepBytes(false);
  upstream.onMessage([](UpstreamStream&, const std::string&, const std::string&) {});
  upstream.onStream([&](const StreamRef& each, auto news) { stream.on(each, news); });
  Gateway gateway({.forwarders = 2, .upstreams = {upstream.port()}, .workers = kFast});
  restartWhileNumbering(gateway, upstream.port(),
                        [&](const std::string& text) { return stream.broadcast(text); });
  for (const std::string& heard : heard_) expectSame(heard, all_);
}

TEST_F(BroadcastRestart, AWorkerThatTakesAnyStreamIsHeardOnce) {
  InTestUpstream upstream;
  upstream.keepBytes(false);
  upstream.onMessage([](UpstreamStream&, const std::string&, const std::string&) {});
  Gateway gateway({.forwarders = 2, .upstreams = {upstream.port()}, .workers = kFast});
  restartWhileNumbering(gateway, upstream.port(), [&](const std::string& text) {
    for (Deadline deadline(kPatience); !deadline.passed();)
      for (const StreamRef& stream : upstream.streams())
        if (stream->broadcast(Broadcast::kAll, text)) return true;
    return false;
  });
  // Two streams are two ways: order is promised over one.
  unsigned otherOrder = 0;
  for (std::string& heard : heard_) {
    ASSERT_EQ(heard.size(), all_.size());
    if (heard != all_) ++otherOrder;
    std::vector<std::string> records;
    for (size_t at = 0; at < heard.size(); at += kRecord) records.push_back(heard.substr(at, kRecord));
    std::sort(records.begin(), records.end());
    std::string sorted;
    for (const std::string& each : records) sorted += each;
    expectSame(sorted, all_);
  }
  std::printf("%u clients heard some in another order\n", otherOrder);
}

TEST_F(BroadcastRestart, AWorkerWithResumeIsHeardOnceAndInOrder) {
  LibraryUpstream upstream;
  upstream.onBytes([](const std::string&, std::string_view) { return true; });
  Gateway gateway({.forwarders = 2, .upstreams = {upstream.port()}, .workers = kFast});
  restartWhileNumbering(gateway, upstream.port(), [&](const std::string& text) {
    return upstream.upstream().broadcast(paradox::upstream::To::kAll, text);
  });
  for (const std::string& heard : heard_) expectSame(heard, all_);
}

}  // namespace
}  // namespace ppx::test
