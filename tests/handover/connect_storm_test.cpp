// A storm of new clients, from several threads at once, while the processes that take them in are restarted: none is
// refused, none is lost, each is served. PPX_RESTARTS makes it longer.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/gateway/harness/echo_worker.h"
#include "tests/handover/restart_harness.h"

namespace ppx::test {
namespace {

class Storm {
 public:
  Storm(uint16_t port, unsigned threads) {
    for (unsigned i = 0; i < threads; ++i)
      threads_.push_back(std::async(std::launch::async, [this, port, i] { blow(port, i); }));
  }
  ~Storm() {
    over_ = true;
    for (auto& thread : threads_)
      if (thread.valid()) thread.wait();
  }
  // Throws what went wrong with a client. How many were served.
  unsigned end() {
    over_ = true;
    for (auto& thread : threads_) thread.get();
    return served_;
  }
  unsigned served() const { return served_; }
  double longest() const { return longestUs_ / 1e3; }  // ms, from connect() until served

 private:
  void blow(uint16_t port, unsigned thread) {
    constexpr size_t kAtOnce = 8;
    for (unsigned round = 0; !over_; ++round) {
      const double seconds = secondsOf([&] {
        std::vector<Client> clients;
        for (size_t i = 0; i < kAtOnce; ++i) clients.emplace_back(port);
        auto text = [&](size_t i) { return fmt::format("{:02d}.{:07d}.{}", thread, round, i); };
        for (size_t i = 0; i < kAtOnce; ++i) clients[i].send(text(i));
        for (size_t i = 0; i < kAtOnce; ++i) {
          const std::string want = text(i), got = clients[i].receive(want.size());
          if (got != want) throw std::runtime_error("\"" + got + "\" instead of \"" + want + "\"");
          ++served_;
        }
        for (Client& client : clients) client.reset();
      });
      const auto us = static_cast<uint64_t>(seconds * 1e6);
      for (uint64_t longest = longestUs_; us > longest && !longestUs_.compare_exchange_weak(longest, us);) {
      }
    }
  }

  std::atomic<bool> over_{false};
  std::atomic<unsigned> served_{0};
  std::atomic<uint64_t> longestUs_{0};
  std::vector<std::future<void>> threads_;
};

struct Change {
  const char* name;
  std::vector<std::string> paths;
};

void PrintTo(const Change& each, std::ostream* out) {
  *out << each.name;
}

class ConnectStorm : public ::testing::TestWithParam<Change> {};

TEST_P(ConnectStorm, RefusesAndLosesNobody) {
  const unsigned rounds = fromEnvironment("PPX_RESTARTS", 3);
  EchoWorker upstream;
  Gateway gateway({.forwarders = 2, .acceptors = 2, .upstreams = {upstream.port()}});
  gateway.waitForUpstream(upstream.port());
  Storm storm(gateway.port(), 4);
  waitUntil("the storm", [&] { return storm.served() > 100; });
  const unsigned before = storm.served();
  const unsigned enough = before + 50 * rounds;  // for a storm
  const Deadline deadline(kPatience);
  for (unsigned i = 0; i < rounds || (storm.served() <= enough && !deadline.passed()); ++i)
    for (const std::string& path : GetParam().paths) {
      Json end = operate(gateway, path);
      EXPECT_EQ(end.at("state"), "done") << end;
    }
  EXPECT_GT(storm.served(), enough) << "that was no storm";
  const unsigned served = storm.end();
  std::printf("%u clients served during %u rounds, the slowest eight in %.1f ms\n", served, rounds,
              storm.longest());
  EXPECT_EQ(gateway.metric("paradox_refused_total"), 0);
  gateway.waitUntilEmpty();
  gateway.stop();
}

INSTANTIATE_TEST_SUITE_P(WhileRestarting, ConnectStorm,
                         ::testing::Values(Change{"AcceptorsAndProber",
                                                  {"/admin/acceptors/restart", "/admin/prober/restart"}},
                                           Change{"Forwarders", {"/admin/forwarders/restart"}},
                                           Change{"Everything", {"/admin/upgrade"}}),
                         [](const auto& each) { return std::string(each.param.name); });

}  // namespace
}  // namespace ppx::test
