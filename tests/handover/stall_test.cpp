// How long clients wait while the gateway's processes are restarted: 10,000 connections of which 1,000 send ten messages
// a second each. One table for each kind of upstream: the median of three rounds. PPX_CLIENTS, PPX_ACTIVE and PPX_ROUNDS
// make it smaller. On a machine that lets the clients wait without any restart the figures are printed and not judged.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/examples/worker_process.h"
#include "tests/handover/restart_harness.h"
#include "tests/load/stall_clients.h"

namespace ppx::test {
namespace {

struct Upstream {
  const char* name;
  std::vector<std::string> arguments;
};

void PrintTo(const Upstream& each, std::ostream* out) {
  *out << each.name;
}

struct Figures {
  double moved = 0, seconds = 0, p50 = 0, p99 = 0, max = 0, gone = 0;
};

double milliseconds(load::Nanos time) {
  return static_cast<double>(time) / load::kMillisecond;
}

// Notes when processes end, each by its pidfd.
class Ends {
 public:
  explicit Ends(const std::vector<pid_t>& pids) {
    for (pid_t pid : pids)
      waits_.push_back(std::async(std::launch::async, [pid, start = start_] {
        waitForDeath(pid, 60s);
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      }));
  }
  // The longest that one took from the moment at which its turn came: when the one before it was gone.
  double longestTurn() {
    std::vector<double> ends{0};
    for (auto& wait : waits_) ends.push_back(wait.get());
    std::sort(ends.begin(), ends.end());
    double longest = 0;
    for (size_t i = 1; i < ends.size(); ++i) longest = std::max(longest, ends[i] - ends[i - 1]);
    return longest;
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::vector<std::future<double>> waits_;
};

class Stall : public ::testing::TestWithParam<Upstream> {
 protected:
  std::vector<std::string> command() const {
    std::vector<std::string> words{programPath("paradox-example-echo"), "--quiet"};
    words.insert(words.end(), GetParam().arguments.begin(), GetParam().arguments.end());
    return words;
  }
  // What all clients see from the start of an operation to some time after its end.
  Figures during(const std::function<void()>& operation, const std::vector<pid_t>& old) {
    Figures figures;
    const uint64_t before = lastEvent();
    clients_->runFor(300 * load::kMillisecond);
    (void)clients_->takeStalls();
    whileTalking(*clients_, [&] {
      Ends ends(old);
      figures.seconds = secondsOf(operation);
      figures.gone = ends.longestTurn();
    });
    clients_->runFor(300 * load::kMillisecond);
    const load::Histogram stalls = clients_->takeStalls();
    figures.p50 = milliseconds(stalls.percentile(50));
    figures.p99 = milliseconds(stalls.percentile(99));
    figures.max = milliseconds(stalls.max());
    figures.moved = movedSince(before);
    return figures;
  }
  void measure(const char* what, const std::string& path, const Json& body, const std::vector<pid_t>& old) {
    Figures figures = during(
        [&] {
          Json end = operate(*gateway_, path, body);
          EXPECT_EQ(end.at("state"), "done") << end;
        },
        old);
    note(what, figures);
    EXPECT_EQ(clients_->failed(), 0u) << what << ": " << clients_->firstProblem();
  }
  void note(const std::string& what, const Figures& figures) {
    auto row = std::find_if(rows_.begin(), rows_.end(), [&](const auto& each) { return each.first == what; });
    if (row == rows_.end()) row = rows_.insert(row, {what, {}});
    row->second.push_back(figures);
  }
  double median(const std::vector<Figures>& rounds, double Figures::*figure) const {
    std::vector<double> values;
    for (const Figures& each : rounds) values.push_back(each.*figure);
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
  }
  double worst(const std::vector<Figures>& rounds, double Figures::*figure) const {
    double most = 0;
    for (const Figures& each : rounds) most = std::max(most, each.*figure);
    return most;
  }
  // The first row is that of a second without any operation.
  bool isQuiet() const { return worst(rows_.front().second, &Figures::p99) < 10; }
  void judge() const {
    for (const auto& [what, rounds] : rows_) {
      EXPECT_LT(median(rounds, &Figures::p99), 100) << what;
      EXPECT_LT(worst(rounds, &Figures::max), 1000) << what;
      EXPECT_LT(worst(rounds, &Figures::gone), 5) << what;
    }
  }
  // How many sessions have moved since the events before this one.
  double movedSince(uint64_t event) const {
    double total = 0;
    for (const Json& each : gateway_->rows("/admin/events?follow=0", "events"))
      if (each.at("event") == "forwarder_moved" && each.at("id") > event)
        total += each.at("data").value("moved", 0.0);
    return total;
  }
  uint64_t lastEvent() const {
    const auto all = gateway_->rows("/admin/events?follow=0", "events");
    return all.empty() ? 0 : all.back().at("id").get<uint64_t>();
  }
  void print() const {
    std::printf(
        "%s upstream, %zu connections, %zu active, median of %zu\n%-28s %9s %9s %9s %9s %9s %9s %9s\n",
        GetParam().name, clients_->size(), active_, rows_.front().second.size(), "", "moved", "seconds",
        "p50 ms", "p99 ms", "max ms", "worst ms", "gone s");
    for (const auto& [what, rounds] : rows_)
      std::printf("%-28s %9.0f %9.2f %9.1f %9.1f %9.1f %9.1f %9.2f\n", what.c_str(),
                  median(rounds, &Figures::moved), median(rounds, &Figures::seconds),
                  median(rounds, &Figures::p50), median(rounds, &Figures::p99), median(rounds, &Figures::max),
                  worst(rounds, &Figures::max), worst(rounds, &Figures::gone));
  }
  // Each operation once.
  void round() {
    note("nothing, for a second", during([&] { std::this_thread::sleep_for(1s); }, {}));
    auto forwarders = [&] { return gateway_->workers("forwarder"); };
    measure("restart of the forwarders", "/admin/forwarders/restart", nullptr, forwarders());
    measure("scale to 4 forwarders", "/admin/forwarders/scale", {{"count", 4}}, {});
    const auto four = forwarders();
    measure("scale to 2 forwarders", "/admin/forwarders/scale", {{"count", 2}}, {four[2], four[3]});
    measure("restart of the acceptors", "/admin/acceptors/restart", nullptr, gateway_->workers("acceptor"));
    measure("restart of the prober", "/admin/prober/restart", nullptr, gateway_->workers("prober"));
    measure("upgrade", "/admin/upgrade", nullptr, forwarders());
  }

  const unsigned connections_ = fromEnvironment("PPX_CLIENTS", 10'000);
  const size_t active_ = fromEnvironment("PPX_ACTIVE", 1'000);
  WorkerProcess first_{command()}, second_{command()};
  std::unique_ptr<Gateway> gateway_;
  std::unique_ptr<load::StallClients> clients_;
  std::vector<std::pair<std::string, std::vector<Figures>>> rows_;
};

TEST_P(Stall, OfARestartIsShort) {
  gateway_ = std::make_unique<Gateway>(GatewayOptions{.forwarders = 2,
                                                      .upstreams = {first_.port(), second_.port()},
                                                      .workers = "respawn_backoff_min = \"10ms\"\n",
                                                      .maxSessions = 16'384});
  gateway_->waitForUpstream(first_.port());
  gateway_->waitForUpstream(second_.port());
  auto made = load::StallClients::connect(
      {.load = {.target = {"127.0.0.1", gateway_->port()}, .connections = connections_, .sources = 10},
       .active = active_});
  ASSERT_TRUE(made) << made.error().text;
  clients_ = std::move(*made);
  ASSERT_TRUE(clients_->exchangeAll(30 * load::kSecond)) << clients_->firstProblem();
  ASSERT_EQ(clients_->failed(), 0u) << clients_->firstProblem();
  clients_->runFor(load::kSecond);

  for (unsigned i = 0; i < fromEnvironment("PPX_ROUNDS", 3); ++i) round();

  EXPECT_TRUE(clients_->drain(20 * load::kSecond));
  EXPECT_TRUE(clients_->exchangeAll(30 * load::kSecond)) << "a quiet one is not served any more";
  EXPECT_EQ(clients_->failed(), 0u) << clients_->firstProblem();
  print();
  if (isQuiet())
    judge();
  else
    GTEST_SKIP() << "the machine is too busy to judge the figures";
}

INSTANTIATE_TEST_SUITE_P(Clients, Stall,
                         ::testing::Values(Upstream{"plain", {}}, Upstream{"resume", {"--extensions"}}),
                         [](const auto& each) { return std::string(each.param.name); });

}  // namespace
}  // namespace ppx::test
