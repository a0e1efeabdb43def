// What good files mean.
#include "tests/config/config_testing.h"

namespace ppx {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(ConfigFile, AnEmptyOneIsTheDefaultGateway) {
  const Config config = goodConfig("");
  ASSERT_EQ(config.listeners.size(), 1U);
  EXPECT_EQ(config.listeners[0].name, "default");
  EXPECT_EQ(config.listeners[0].host, "127.0.0.1");
  EXPECT_EQ(config.listeners[0].port, 7999);
  EXPECT_EQ(config.listeners[0].pool, "default");
  EXPECT_EQ(config.listeners[0].halfCloseTimeout, seconds(10));
  ASSERT_EQ(config.pools.size(), 1U);
  EXPECT_EQ(config.pools[0].name, "default");
  EXPECT_TRUE(config.upstreams.empty());
  EXPECT_EQ(config.management.host, "127.0.0.1");
  EXPECT_EQ(config.management.port, 8000);
  EXPECT_EQ(config.sessions.max, 16384U);
  EXPECT_EQ(config.sessions.maxReplyBytes, 16U << 20);
}

TEST(ConfigFile, ServerAndListenersStandBesideEachOther) {
  const Config config = goodConfig(R"(
[[listener]]
name = "feed"
port = 0
pool = "feed"
[server]
port = 0
[[listener]]
name = "game"
port = 0
)");
  ASSERT_EQ(config.listeners.size(), 3U);
  EXPECT_EQ(config.listeners[0].name, "default");
  EXPECT_EQ(config.listeners[1].name, "feed");
  EXPECT_EQ(config.listeners[1].pool, "feed");
  EXPECT_EQ(config.listeners[2].name, "game");
  EXPECT_EQ(config.listeners[2].pool, "default");
}

TEST(ConfigFile, WithListenersThereIsNoDefaultOne) {
  const Config config = goodConfig("[[listener]]\nname = 'feed'\nport = 1234");
  ASSERT_EQ(config.listeners.size(), 1U);
  EXPECT_EQ(config.listeners[0].port, 1234);
}

TEST(ConfigFile, PortZeroIsAllowedAnyNumberOfTimes) {
  const Config config =
      goodConfig("[server]\nport = 0\n[[listener]]\nname = 'a'\nport = 0\n[management_server]\nport = 0");
  EXPECT_EQ(config.listeners[1].port, 0);
  EXPECT_EQ(config.management.port, 0);
}

TEST(ConfigFile, TheSamePortOnTwoAddressesIsAllowed) {
  EXPECT_EQ(goodConfig("[server]\nhost = '127.0.0.1'\n[[listener]]\nname = 'a'\nhost = '127.0.0.2'")
                .listeners.size(),
            2U);
}

TEST(ConfigFile, ListenersInheritTheSessionsTimeouts) {
  const Config config = goodConfig(R"(
[[listener]]
name = "a"
port = 0
idle_timeout = 1
[[listener]]
name = "b"
port = 0
[sessions]
idle_timeout = "1h"
half_close_timeout = 2.5
)");
  EXPECT_EQ(config.listeners[0].idleTimeout, seconds(1));
  EXPECT_EQ(config.listeners[1].idleTimeout, seconds(3600));
  EXPECT_EQ(config.listeners[0].halfCloseTimeout, milliseconds(2500));
}

TEST(ConfigFile, ListenersInheritThePoolsRouting) {
  const Config config = goodConfig(R"(
[[listener]]
name = "a"
port = 0
pool = "feed"
[[listener]]
name = "b"
port = 0
pool = "feed"
routing = "session"
[[pool]]
name = "feed"
routing = "message"
)");
  EXPECT_EQ(config.listeners[0].routing, Routing::kMessage);
  EXPECT_EQ(config.listeners[1].routing, Routing::kSession);
}

TEST(ConfigFile, PoolsExistAsSoonAsTheyAreNamed) {
  const Config config = goodConfig(
      "[server]\n[[listener]]\nname='a'\nport=0\npool='one'\n[[upstream]]\npool='two'\n[[upstream]]\nport=1");
  std::vector<std::string> names;
  for (const PoolConfig& pool : config.pools) names.push_back(pool.name);
  EXPECT_THAT(names, testing::UnorderedElementsAre("default", "one", "two"));
}

TEST(ConfigFile, BoundsThatTheFileDoesNotSetFollowTheHardBound) {
  const Config config = goodConfig("[sessions]\noutput_hard_bytes = '512KiB'");
  EXPECT_EQ(config.sessions.outputSoftBytes, 512U << 10);
  EXPECT_EQ(config.sessions.maxReplyBytes, 512U << 10);
}

TEST(ConfigFile, EnumerationsAreWords) {
  const Config config = goodConfig(R"(
[server]
crash_policy = "continue"
upstream_loss = "close"
routing = "message"
[admission]
at_limit = "refuse"
)");
  EXPECT_EQ(config.listeners[0].crashPolicy, CrashPolicy::kContinue);
  EXPECT_EQ(config.listeners[0].upstreamLoss, UpstreamLoss::kClose);
  EXPECT_EQ(config.listeners[0].routing, Routing::kMessage);
  EXPECT_EQ(config.admission.atLimit, AtLimit::kRefuse);
}

TEST(ConfigFile, TlsIsOnWhenBothFilesAreNamed) {
  const Config config = goodConfig("[management_server.tls]\ncert_path = 'c.pem'\nkey_path = 'k.pem'");
  EXPECT_TRUE(config.management.tls.enabled());
  EXPECT_EQ(config.management.tls.certPath, "c.pem");
  EXPECT_EQ(config.management.tls.keyPath, "k.pem");
}

}  // namespace
}  // namespace ppx
