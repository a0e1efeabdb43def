// What an audit of custody costs with many idle sessions: how long it takes, and what processor time of the forwarders and
// the custodian, and what a client that talks meanwhile sees of it. Figures, not limits: the machine decides.
// PPX_SESSIONS, PPX_SECONDS.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <regex>

#include "tests/gateway/harness/echo_worker.h"
#include "tests/gateway/harness/gateway.h"

namespace ppx::test {
namespace {

int fromEnvironment(const char* name, int otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::atoi(text);
}

// User and system time of all with that role, in seconds.
double cpuOf(const Gateway& gateway, const std::string& role) {
  double ticks = 0;
  for (pid_t pid : gateway.workers(role)) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
    std::string text((std::istreambuf_iterator<char>(file)), {});
    std::istringstream rest(text.substr(text.rfind(')') + 2));
    std::string word;
    long user = 0, system = 0;
    for (int i = 3; i <= 13; ++i) rest >> word;
    rest >> user >> system;
    ticks += static_cast<double>(user + system);
  }
  return ticks / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

// How long each audit of that log took that says `what`, in ms, sorted.
std::vector<int> durations(const std::string& log, const std::string& what) {
  const std::regex line(what + ".*this took ([0-9]+) ms");
  std::vector<int> took;
  for (std::sregex_iterator i(log.begin(), log.end(), line), end; i != end; ++i)
    took.push_back(std::stoi((*i)[1]));
  std::sort(took.begin(), took.end());
  return took;
}

struct Cost {
  double audits = 0, forwarders = 0, custodian = 0;  // a second; processor seconds a second
  double slowest = 0, p99 = 0;                       // echoes of a client that talks all the time, ms
  std::vector<int> took;                             // ms
};

Cost run(bool audits) {
  const int sessions = fromEnvironment("PPX_SESSIONS", 2000), seconds = fromEnvironment("PPX_SECONDS", 3);
  EchoWorker echo;
  Gateway gateway({.upstreams = {echo.port()},
                   .logLevel = "debug",
                   .maxSessions = 16384,
                   .environment = {{"PPX_FAILPOINTS", audits ? "custody.audit_due=errno:1" : ""}}});
  gateway.waitForUpstream(echo.port());
  std::vector<Client> idle;
  for (int i = 0; i < sessions; ++i) idle.emplace_back(gateway.port());
  gateway.waitForSessions(sessions);
  Client talker(gateway.port());
  talker.exchange("x");
  ::sleep(6);  // until each is old enough to be judged
  Cost cost;
  const std::string before = gateway.log();
  const double done = gateway.metric("paradox_custody_audits_total");
  const double forwarders = cpuOf(gateway, "forwarder"), custodian = cpuOf(gateway, "custodian");
  std::vector<double> echoes;
  for (Deadline end{std::chrono::seconds(seconds)}; !end.passed();) {
    const auto from = std::chrono::steady_clock::now();
    talker.exchange("x");
    echoes.push_back(
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - from).count());
    ::usleep(1000);
  }
  cost.forwarders = (cpuOf(gateway, "forwarder") - forwarders) / seconds;
  cost.custodian = (cpuOf(gateway, "custodian") - custodian) / seconds;
  cost.audits = (gateway.metric("paradox_custody_audits_total") - done) / seconds;
  std::sort(echoes.begin(), echoes.end());
  cost.slowest = echoes.back();
  cost.p99 = echoes[echoes.size() * 99 / 100];
  cost.took = durations(gateway.log().substr(before.size()), "custody: of");
  EXPECT_EQ(gateway.metric("paradox_custody_repaired_total"), 0);
  return cost;
}

TEST(ReconcileCost, OfAnAudit) {
  const Cost without = run(false), with = run(true);
  ASSERT_GT(with.audits, 0);
  ASSERT_FALSE(with.took.empty());
  std::printf("%.1f audits a second; one takes %d ms (median), %d (longest)\n", with.audits,
              with.took[with.took.size() / 2], with.took.back());
  std::printf("processor time of one: %.2f ms of a forwarder, %.2f of the custodian\n",
              1000 * (with.forwarders - without.forwarders) / with.audits,
              1000 * (with.custodian - without.custodian) / with.audits);
  std::printf("an echo meanwhile: p99 %.2f ms, longest %.2f; without audits %.2f, %.2f\n", with.p99,
              with.slowest, without.p99, without.slowest);
}

// Every put was lost.
TEST(ReconcileCost, OfPuttingAllAgain) {
  const int sessions = fromEnvironment("PPX_SESSIONS", 2000);
  EchoWorker echo;
  Gateway gateway({.forwarders = 1,
                   .upstreams = {echo.port()},
                   .maxSessions = 16384,
                   .environment = {{"PPX_FAILPOINTS", "sys.put=errno:1;custody.audit_due=errno:1@80-120"}}});
  gateway.waitForUpstream(echo.port());
  std::vector<Client> idle;
  for (int i = 0; i < sessions; ++i) idle.emplace_back(gateway.port());
  gateway.waitForSessions(sessions);
  waitUntil("all in custody", [&] { return gateway.custody() == sessions; });
  const auto took = durations(gateway.log(), "[1-9][0-9]* were missing");
  ASSERT_FALSE(took.empty());
  std::printf("%.0f were put again, the audit took %d ms\n", gateway.metric("paradox_custody_repaired_total"),
              took.back());
}

}  // namespace
}  // namespace ppx::test
