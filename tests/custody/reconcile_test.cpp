// Custody and the table are reconciled by the forwarders of a whole gateway. Here an audit begins at each tick instead of
// once a minute (failpoint custody.audit_due).
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <future>
#include <random>

#include "tests/custody/custodian_peer.h"
#include "tests/gateway/harness/echo_worker.h"
#include "tests/gateway/harness/gateway.h"
#include "tests/handover/restart_harness.h"
#include "tests/handover/table_census.h"

namespace ppx::test {
namespace {

constexpr WorkerId kStranger{40, 4000};  // no process of the gateway's
constexpr char kAuditsAllTheTime[] = "custody.audit_due=errno:1";
constexpr char kQuickRespawn[] = "respawn_backoff_min = \"10ms\"\nrespawn_backoff_max = \"50ms\"\n";
constexpr char kGoOn[] = "crash_policy = \"continue\"\n";

double repaired(const Gateway& gateway, const std::string& kind) {
  return gateway.metric("paradox_custody_repaired_total",
                        std::vector<std::string>(1, "kind=\"" + kind + "\""));
}

void waitForAudits(const Gateway& gateway, double more) {
  const double before = gateway.metric("paradox_custody_audits_total");
  waitUntil("audits", [&] { return gateway.metric("paradox_custody_audits_total") >= before + more; });
}

void replace(const Gateway& gateway, const std::string& role) {
  const pid_t pid = gateway.worker(role);
  ::kill(pid, SIGKILL);
  gateway.waitForSuccessor(role, pid);
  waitUntil("a whole gateway", [&] { return gateway.isWhole(); });
}

SlotRef slotOf(const Gateway& gateway, const Table& table, const Client& client) {
  auto uuid = parseUuid(gateway.downstreamOf(client).at("uuid").get<std::string>());
  auto ref = SessionTable(table).find(uuid.value());
  if (!ref) throw std::runtime_error("the session has no slot");
  return *ref;
}

// A connection of the test's own: {client, the other end}.
std::pair<UniqueFd, UniqueFd> connection() {
  UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  auto* any = reinterpret_cast<sockaddr*>(&address);
  UniqueFd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (::bind(listener.get(), any, size) != 0 || ::listen(listener.get(), 1) != 0 ||
      ::getsockname(listener.get(), any, &size) != 0 || ::connect(client.get(), any, size) != 0)
    throw std::runtime_error("no connection");
  return {std::move(client), UniqueFd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC))};
}

bool sees(int socket, short event, int milliseconds) {
  pollfd poll{socket, event, 0};
  return ::poll(&poll, 1, milliseconds) == 1 && (poll.revents & event) != 0;
}

TEST(Reconcile, ASessionThatIsMissingFromCustodyIsPutAgain) {
  EchoWorker echo;
  Gateway gateway(
      {.forwarders = 1,
       .upstreams = {echo.port()},
       .workers = kQuickRespawn,
       .listener = kGoOn,
       .environment = {{"PPX_FAILPOINTS", std::string("sys.put=errno:1@1;") + kAuditsAllTheTime}}});
  gateway.waitForUpstream(echo.port());
  Client lost(gateway.port());
  EXPECT_EQ(lost.exchange("x"), "x");
  ASSERT_EQ(gateway.custody(), 0) << "its put was left out";
  Client other(gateway.port());
  EXPECT_EQ(other.exchange("x"), "x");
  waitUntil("both in custody", [&] { return gateway.custody() == 2; });
  // The custodian has it a moment before the forwarder hears so.
  waitUntil("the count", [&] { return repaired(gateway, "missing") == 1; });
  EXPECT_EQ(repaired(gateway, "stale"), 0);
  EXPECT_NE(gateway.log().find("was missing"), std::string::npos);
  replace(gateway, "forwarder");  // its only other holder
  EXPECT_EQ(lost.exchange("y"), "y");
  EXPECT_EQ(other.exchange("y"), "y");
  waitForAudits(gateway, 3);
  EXPECT_EQ(repaired(gateway, "missing"), 1) << "once";
  lost.close();
  other.close();
  gateway.waitUntilEmpty();
  gateway.stop();
}

TEST(Reconcile, AStaleCopyIsDroppedAndItsClientSeesTheEnd) {
  EchoWorker echo;
  Gateway gateway({.upstreams = {echo.port()},
                   .workers = kQuickRespawn,
                   .environment = {{"PPX_FAILPOINTS", kAuditsAllTheTime}}});
  gateway.waitForUpstream(echo.port());
  Table table = tableOf(gateway);
  Client stays(gateway.port()), leaves(gateway.port());
  EXPECT_EQ(stays.exchange("x"), "x");
  EXPECT_EQ(leaves.exchange("x"), "x");
  const SlotRef living = slotOf(gateway, table, stays), gone = slotOf(gateway, table, leaves);
  gateway.closeDownstream(gateway.downstreamOf(leaves).at("uuid"));
  leaves.waitForEnd();
  leaves.close();
  gateway.waitForSessions(1);
  // The next custodian does not know that it was dropped.
  replace(gateway, "custodian");
  CustodianPeer peer(gateway.runtimeDir(), kStranger);
  auto [staleClient, stale] = connection();
  auto [livingClient, livingCopy] = connection();
  custody::Record records[1];
  records[0].slot = gone.slot;
  records[0].generation = gone.generation;
  const int descriptors[] = {stale.get()};
  ASSERT_TRUE(peer.ask(custody::Message(custody::Type::kPut, records), descriptors));
  stale.reset();
  EXPECT_TRUE(sees(staleClient.get(), POLLRDHUP, 10'000)) << "the copy lies with the custodian still";
  waitUntil("the count", [&] { return repaired(gateway, "stale") == 1; });
  EXPECT_NE(gateway.log().find("was stale"), std::string::npos);

  // What belongs to a life that goes on is not touched, whoever has put it there.
  records[0].slot = living.slot;
  records[0].generation = living.generation;
  const int others[] = {livingCopy.get()};
  ASSERT_TRUE(peer.ask(custody::Message(custody::Type::kPut, records), others));
  livingCopy.reset();
  waitForAudits(gateway, 6);
  EXPECT_FALSE(sees(livingClient.get(), POLLRDHUP, 0));
  EXPECT_EQ(stays.exchange("y"), "y");
  EXPECT_EQ(repaired(gateway, "stale"), 1);
  EXPECT_EQ(repaired(gateway, "missing"), 0);
  EXPECT_EQ(gateway.custody(), 1);
  stays.close();
  gateway.waitUntilEmpty();
  gateway.stop();
}

// Clients that come, talk and leave, one after the other.
class Comers {
 public:
  Comers(uint16_t port, int threads) {
    for (int i = 0; i < threads; ++i)
      threads_.push_back(std::async(std::launch::async, [this, port] {
        while (!over_) {
          try {
            Client client(port);
            served_ += client.exchange("x", 3s) == "x";
          } catch (const std::exception&) {  // with an acceptor that was killed before it was in custody
          }
        }
      }));
  }
  ~Comers() { end(); }
  void end() {
    over_ = true;
    for (auto& thread : threads_)
      if (thread.valid()) thread.get();
  }
  size_t served() const { return served_; }

 private:
  std::atomic<bool> over_{false};
  std::atomic<size_t> served_{0};
  std::vector<std::future<void>> threads_;
};

// Processes die, hang and are restarted as planned. PPX_SECONDS makes it longer, PPX_SEED repeats the choice of who is killed.
TEST(Reconcile, AStormOfClientsKillsAndRestartsIsNoFault) {
  const char *seconds = std::getenv("PPX_SECONDS"), *wanted = std::getenv("PPX_SEED");
  const unsigned seed =
      wanted == nullptr ? std::random_device()() : static_cast<unsigned>(std::stoul(wanted));
  std::printf("PPX_SEED=%u\n", seed);
  std::mt19937 random(seed);
  WorkerProcess echo({programPath("paradox-example-echo"), "--quiet", "--extensions"});
  Gateway gateway({.forwarders = 4,
                   .acceptors = 2,
                   .upstreams = {echo.port()},
                   .workers = kQuickRespawn,
                   .environment = {{"PPX_FAILPOINTS", kAuditsAllTheTime}}});
  gateway.waitForUpstream(echo.port());
  std::vector<Client> residents;
  for (int i = 0; i < 50; ++i) residents.emplace_back(gateway.port());
  for (Client& client : residents) EXPECT_EQ(client.exchange("x"), "x");
  Comers comers(gateway.port(), 4);
  const Deadline end(std::chrono::seconds(seconds == nullptr ? 8 : std::atoi(seconds)));
  int strikes = 0;
  for (; !end.passed(); ++strikes) {
    const std::array blows{"forwarder",
                           "custodian",
                           "acceptor",
                           "hang",
                           "/admin/forwarders/restart",
                           "/admin/custodian/restart"};
    const std::string role = blows[random() % blows.size()];
    if (role.starts_with("/")) {
      const Json operation = operate(gateway, role);
      EXPECT_EQ(operation.at("state"), "done") << operation;
    } else if (role == "hang") {  // puts and drops wait, and the list with them
      const pid_t pid = gateway.worker("custodian");
      ::kill(pid, SIGSTOP);
      ::poll(nullptr, 0, 300);
      ::kill(pid, SIGCONT);
    } else {
      auto pids = gateway.workers(role);
      const pid_t pid = pids.at(random() % pids.size());
      ::kill(pid, SIGKILL);
      waitUntil("its death to be seen", [&] {
        const auto living = gateway.workers(role);
        return std::find(living.begin(), living.end(), pid) == living.end();
      });
    }
    waitUntil("a whole gateway", [&] { return gateway.isWhole(); });
  }
  comers.end();
  gateway.waitForSessions(static_cast<double>(residents.size()));
  waitUntil("custody of the residents only", [&] { return gateway.custody() == gateway.sessions(); });
  waitForAudits(gateway, 20);
  std::printf("%d strikes, %zu clients served, %.0f audits\n", strikes, comers.served(),
              gateway.metric("paradox_custody_audits_total"));
  EXPECT_GT(comers.served(), 200u) << "that was no storm";
  EXPECT_GT(gateway.metric("paradox_custody_audits_total"), 50);
  EXPECT_EQ(repaired(gateway, "missing"), 0);
  EXPECT_EQ(repaired(gateway, "stale"), 0);
  for (Client& client : residents) EXPECT_EQ(client.exchange("y"), "y");
  residents.clear();
  gateway.waitUntilEmpty();
  gateway.stop();
}

}  // namespace
}  // namespace ppx::test
