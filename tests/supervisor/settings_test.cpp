#include <gtest/gtest.h>
#include <sys/socket.h>

#include "common/session_table.h"
#include "supervisor/listener_sockets.h"
#include "supervisor/settings_publisher.h"
#include "supervisor/table_setup.h"

namespace ppx {
namespace {

Config smallConfig() {
  Config config;
  config.listeners.push_back({});
  config.pools.push_back({});
  config.sessions.max = 64;
  config.sessions.journalInBytes = 64 << 10;
  config.sessions.journalOutBytes = 128 << 10;
  return config;
}

TEST(TableSetup, TakesTheSizesOfTheConfiguration) {
  TableSizes sizes = tableSizes(smallConfig());
  EXPECT_EQ(sizes.sessionSlots, 64u);
  EXPECT_EQ(sizes.inSegments, 128u);
  EXPECT_EQ(sizes.outSegments, 256u);
  EXPECT_GE(sizes.upstreamSlots, 1024u);
}

TEST(TableSetup, SaysWhatIsBeyondTheTable) {
  Config config = smallConfig();
  EXPECT_TRUE(beyondTheTable(config).empty());
  config.sessions.journalOutBytes = 64ull << 30;
  config.listeners.resize(33);
  auto errors = beyondTheTable(config);
  ASSERT_EQ(errors.size(), 2u);
  EXPECT_EQ(errors[0], "listener: at most 32, found 33");
  EXPECT_EQ(errors[1],
            "sessions.journal_in_bytes + sessions.journal_out_bytes: at most 8589933568, found 68719542272");
}

TEST(SessionCapacity, IsWhatTheNarrowestLimitAllows) {
  Config config = smallConfig();
  config.workers.forwarders = 2;
  EXPECT_EQ(sessionCapacity(config, 16384, 20000).sessions, 16384u);
  EXPECT_EQ(sessionCapacity(config, 65536, 20000).sessions, 19744u);
  EXPECT_EQ(sessionCapacity(config, 65536, 1100).sessions, 152u);  // two forwarders of 76
  EXPECT_EQ(sessionCapacity(config, 65536, 512).sessions, 0u);
  config.admission.maxSessions = 100;
  EXPECT_EQ(sessionCapacity(config, 16384, 20000).sessions, 100u);
  EXPECT_EQ(sessionCapacity(config, 16384, 20000).text(),
            "the limit of 20000 open files a process allows 19744 sessions; 100 are admitted at a time (by "
            "admission.max_sessions)");
}

TEST(SettingsPublisher, GivesTheDefaultPoolRowZero) {
  Config config = smallConfig();
  config.pools = {{"feed", Routing::kSession}, {"default", Routing::kSession}};
  auto table = createTable(config);
  ASSERT_TRUE(table.ok());
  SettingsPublisher publisher(*table);
  ASSERT_TRUE(publisher.publishSettings(config, 64));
  EXPECT_EQ(publisher.poolRow("default"), 0u);
  EXPECT_EQ(publisher.poolRow("feed"), 1u);
  EXPECT_EQ(table->header().sessionCapacity.load(), 64u);
  EXPECT_EQ(table->header().heartbeatTimeoutMs.load(), 10'000u);
}

TEST(SettingsPublisher, KeepsListenersInTheirRows) {
  Config config = smallConfig();
  auto table = createTable(config);
  ASSERT_TRUE(table.ok());
  SettingsPublisher publisher(*table);
  ASSERT_TRUE(publisher.publishSettings(config, 64));
  ListenerConfig one, two;
  one.name = "one";
  two.name = "two";
  two.routing = Routing::kMessage;
  publisher.publishListener(*publisher.rowForListener("one"), one, config, 7001);
  publisher.publishListener(*publisher.rowForListener("two"), two, config, 7002);
  EXPECT_EQ(*publisher.rowForListener("one"), 0u);
  EXPECT_EQ(*publisher.rowForListener("two"), 1u);
  EXPECT_EQ(table->listener(1).routeByMessage.load(), 1u);
  EXPECT_EQ(table->listener(1).port.load(), 7002u);
  EXPECT_EQ(table->listener(1).keepaliveIdleS.load(), 60u);
  publisher.retireListener(0);
  EXPECT_EQ(*publisher.rowForListener("one"), 0u);
  EXPECT_EQ(*publisher.rowForListener("two"), 1u);
  EXPECT_EQ(*publisher.rowForListener("three"), 2u);
}

TEST(SettingsPublisher, GivesARemovedListenersRowAwayOnlyWhenItsSessionsAreGone) {
  Config config = smallConfig();
  auto table = createTable(config);
  ASSERT_TRUE(table.ok());
  SettingsPublisher publisher(*table);
  ASSERT_TRUE(publisher.publishSettings(config, 64));
  ListenerConfig listener;
  for (uint32_t i = 0; i < kMaxListeners; ++i) {
    listener.name = "listener " + std::to_string(i);
    publisher.publishListener(*publisher.rowForListener(listener.name), listener, config, 7000);
  }
  config.listeners = {listener};
  config.listeners[0].name = "one more";
  EXPECT_FALSE(publisher.hasRoomForListeners(config));
  SessionTable sessions(*table);
  const WorkerId acceptor{kFirstAcceptorRow, 1};
  auto served = sessions.claim(acceptor, 0);
  ASSERT_TRUE(served);
  table->session(served->slot).listener.store(5);
  publisher.retireListener(5);
  EXPECT_FALSE(publisher.hasRoomForListeners(config));
  EXPECT_FALSE(publisher.rowForListener("one more"));
  EXPECT_EQ(publisher.rowForListener("listener 5"), 5u);
  ASSERT_TRUE(sessions.release(*served, acceptor));
  EXPECT_TRUE(publisher.hasRoomForListeners(config));
  ASSERT_EQ(publisher.rowForListener("one more"), 5u);
  publisher.publishListener(5, config.listeners[0], config, 7000);
  EXPECT_STREQ(table->listener(5).name, "one more");
  EXPECT_FALSE(publisher.rowForListener("listener 5"));
}

TEST(ListenerSockets, ReportTheChosenPortAndKeepUrgentDataInline) {
  ListenerConfig config;
  config.port = 0;
  auto listener = openListener(config);
  ASSERT_TRUE(listener.ok()) << listener.error().text;
  EXPECT_NE(listener->port, 0);
  int value = 0;
  socklen_t size = sizeof(value);
  ::getsockopt(listener->socket.get(), SOL_SOCKET, SO_OOBINLINE, &value, &size);
  EXPECT_EQ(value, 1);
  ::getsockopt(listener->socket.get(), SOL_SOCKET, SO_REUSEPORT, &value, &size);
  EXPECT_EQ(value, 0);
}

TEST(ListenerSockets, NameTheListenerWhosePortIsTaken) {
  ListenerConfig config;
  config.port = 0;
  auto first = openListener(config);
  ASSERT_TRUE(first.ok());
  config.port = first->port;
  config.name = "second";
  auto second = openListener(config);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, EADDRINUSE);
  EXPECT_EQ(second.error().text, "listener \"second\" on 127.0.0.1:" + std::to_string(first->port) +
                                     ": bind: Address already in use");
}

TEST(ListenerSockets, ResolveHostNames) {
  ListenerConfig config;
  config.host = "localhost";
  config.port = 0;
  EXPECT_TRUE(openListener(config).ok());
}

TEST(ListenerSockets, AdoptOnlyListeningSockets) {
  ListenerConfig config;
  config.port = 0;
  auto listener = openListener(config);
  ASSERT_TRUE(listener.ok());
  uint16_t port = listener->port;
  auto adopted = adoptListener(std::move(listener->socket));
  ASSERT_TRUE(adopted.ok());
  EXPECT_EQ(adopted->port, port);
  EXPECT_FALSE(adoptListener(UniqueFd(::socket(AF_INET, SOCK_STREAM, 0))).ok());
}

}  // namespace
}  // namespace ppx
