// Which upstream gets what, and what clients notice when upstreams come and go.
#include <gtest/gtest.h>
#include <signal.h>

#include <thread>

#include "tests/examples/worker_process.h"
#include "tests/gateway/harness/echo_worker.h"
#include "tests/gateway/harness/gateway.h"
#include "tests/gateway/harness/in_test_upstream.h"
#include "tests/load/duplex_swarm.h"

namespace ppx::test {
namespace {

using Upstreams = std::vector<std::unique_ptr<InTestUpstream>>;

Upstreams makeUpstreams(size_t count) {
  Upstreams upstreams;
  for (size_t i = 0; i < count; ++i) upstreams.push_back(std::make_unique<InTestUpstream>());
  return upstreams;
}

std::vector<uint16_t> portsOf(const Upstreams& upstreams) {
  std::vector<uint16_t> ports;
  for (const auto& upstream : upstreams) ports.push_back(upstream->port());
  return ports;
}

void waitForStreams(const Upstreams& upstreams, size_t each) {
  for (const auto& upstream : upstreams) upstream->waitForStreams(each);
}

std::vector<size_t> clientsOf(const Upstreams& upstreams) {
  std::vector<size_t> counts;
  for (const auto& upstream : upstreams) counts.push_back(upstream->clients());
  return counts;
}

std::vector<Client> connectAll(const Gateway& gateway, size_t count) {
  uint16_t port = gateway.port();
  std::vector<Client> clients;
  for (size_t i = 0; i < count; ++i) clients.emplace_back(port);
  return clients;
}

void greet(std::vector<Client>& clients) {
  for (Client& client : clients) client.send("x");
  for (Client& client : clients) EXPECT_EQ(client.receive(1), "x");
}

TEST(Routing, TakesEachUpstreamInTurnOverAllForwarders) {
  Upstreams upstreams = makeUpstreams(4);
  Gateway gateway({.forwarders = 3, .upstreams = portsOf(upstreams)});
  waitForStreams(upstreams, 3);
  std::vector<Client> all;
  std::vector<size_t> before(upstreams.size());
  for (size_t batch : {7u, 40u, 81u, 20u}) {
    std::vector<Client> clients = connectAll(gateway, batch);
    greet(clients);
    std::vector<size_t> now = clientsOf(upstreams), fresh;
    for (size_t i = 0; i < now.size(); ++i) fresh.push_back(now[i] - before[i]);
    before = now;
    auto [least, most] = std::minmax_element(fresh.begin(), fresh.end());
    EXPECT_LE(*most - *least, 1u) << "batch of " << batch << ": " << ::testing::PrintToString(fresh);
    for (Client& client : clients) all.push_back(std::move(client));
  }
  greet(all);
  EXPECT_EQ(clientsOf(upstreams), before) << "a session changed its upstream without need";
}

TEST(Routing, NamesGatewayAndForwarderInTheStreamsMetadata) {
  InTestUpstream upstream;
  Gateway gateway({.upstreams = {upstream.port()}});
  upstream.waitForStreams(2);
  std::set<std::string> forwarders, gateways;
  for (const StreamRef& stream : upstream.streams()) {
    forwarders.insert(stream->metadata().at("paradoxplex-forwarder"));
    gateways.insert(stream->metadata().at("paradoxplex-gateway"));
  }
  EXPECT_EQ(forwarders.size(), 2u);
  EXPECT_EQ(gateways.size(), 1u);
}

TEST(Routing, ByMessageSendsEachPayloadToTheNext) {
  Upstreams upstreams = makeUpstreams(4);
  Gateway gateway({.upstreams = portsOf(upstreams), .listener = "routing = \"message\""});
  waitForStreams(upstreams, 2);
  Client client(gateway.port());
  for (int i = 0; i < 20; ++i) EXPECT_EQ(client.exchange("m"), "m");
  for (const auto& upstream : upstreams) EXPECT_EQ(upstream->messages(), 5u);
}

TEST(Routing, MovesTheSessionsOfAKilledUpstream) {
  EchoWorker first, second;
  Gateway gateway({.upstreams = {first.port(), second.port()}});
  gateway.waitForUpstream(first.port());
  gateway.waitForUpstream(second.port());
  std::vector<Client> clients = connectAll(gateway, 40);
  greet(clients);
  first.kill(SIGKILL);
  gateway.waitForUpstreamLost(first.port());
  greet(clients);  // all still there, all answered
  std::vector<Client> more = connectAll(gateway, 10);
  greet(more);
}

TEST(Routing, MovesTheSessionsOfAStoppedUpstreamInTimeAndTakesItBack) {
  EchoWorker stopped, well;
  Gateway gateway({.upstreams = {stopped.port(), well.port()}, .upstreamAlive = 3s});
  gateway.waitForUpstream(stopped.port());
  gateway.waitForUpstream(well.port());
  std::vector<Client> clients = connectAll(gateway, 20);
  greet(clients);
  std::vector<Client*> ofStopped, ofWell;
  for (Client& client : clients) {
    std::string uuid = gateway.downstreamOf(client).at("upstream").get<std::string>();
    (uuid == gateway.upstreamUuid(stopped.port()) ? ofStopped : ofWell).push_back(&client);
  }
  ASSERT_EQ(ofStopped.size(), 10u);
  stopped.kill(SIGSTOP);
  for (Client* client : ofStopped) client->send("1");  // it may swallow these
  double worst = 0;
  bool out = false;
  double seconds = secondsOf([&] {
    Deadline deadline(kPatience);
    while (!out && !deadline.passed()) {
      for (Client* client : ofWell) worst = std::max(worst, secondsOf([&] { client->exchange("w"); }));
      out = gateway.upstream(stopped.port()).at("state") == "down";
    }
  });
  EXPECT_TRUE(out);
  EXPECT_LT(seconds, 12.0);
  EXPECT_LT(worst, 2.0) << "sessions of another upstream paused";
  // What is sent before its forwarder has heard of it may still go to the stopped one.
  for (Client* client : ofStopped)
    waitUntil("its session moves", [&] {
      return gateway.downstreamOf(*client).at("upstream") == gateway.upstreamUuid(well.port());
    });
  for (Client* client : ofStopped) {
    client->send("2");
    std::string answer = client->receive(1);
    if (answer == "1") answer = client->receive(1);
    EXPECT_EQ(answer, "2");
  }
  stopped.kill(SIGCONT);
  gateway.waitForUpstream(stopped.port());
  std::vector<Client> more = connectAll(gateway, 10);
  greet(more);
  int there = 0;
  for (Client& client : more)
    there += gateway.downstreamOf(client).at("upstream") == gateway.upstreamUuid(stopped.port());
  EXPECT_EQ(there, 5);
  for (Client& client : clients) EXPECT_TRUE(client.isOpen());
}

TEST(Routing, TakesOutAnUpstreamThatSaysItIsNotAlive) {
  Upstreams upstreams = makeUpstreams(2);
  Gateway gateway({.upstreams = portsOf(upstreams), .upstreamAlive = 3s});
  waitForStreams(upstreams, 2);
  std::vector<Client> clients = connectAll(gateway, 10);
  greet(clients);
  upstreams[0]->setLive(false);
  gateway.waitForUpstreamLost(upstreams[0]->port());
  greet(clients);
  EXPECT_EQ(upstreams[1]->clients(), 10u);
  upstreams[0]->setLive(true);
  gateway.waitForUpstream(upstreams[0]->port());
}

TEST(Routing, DeletesAnUpstreamWithoutLosingAByte) {
  EchoWorker first, second, third;
  Gateway gateway({.upstreams = {first.port(), second.port(), third.port()}});
  for (uint16_t port : {first.port(), second.port(), third.port()}) gateway.waitForUpstream(port);
  auto swarm = load::DuplexSwarm::connect({.target = {"127.0.0.1", gateway.port()}, .connections = 60});
  ASSERT_TRUE(swarm) << swarm.error().text;
  (*swarm)->runFor(500 * load::kMillisecond);
  for (uint16_t port : {first.port(), second.port()}) {
    gateway.deleteUpstream(port);
    (*swarm)->runFor(700 * load::kMillisecond);
  }
  EXPECT_TRUE((*swarm)->drain(20 * load::kSecond));
  load::SwarmStats stats = (*swarm)->stats();
  EXPECT_EQ(stats.intact, 60u) << stats.firstProblem << " open " << stats.open << " reset " << stats.reset;
  EXPECT_EQ(stats.open, 60u);
  EXPECT_GT(stats.bytesEchoed, 1u << 20);
  gateway.waitForUpstreamGone(first.port());
  gateway.waitForUpstreamGone(second.port());
  EXPECT_EQ(gateway.getJson("/upstream").at("upstreams").size(), 1u);
}

TEST(Routing, ReopensAStreamThatTheUpstreamEnded) {
  InTestUpstream upstream;
  Gateway gateway({.upstreams = {upstream.port()}});
  upstream.waitForStreams(2);
  std::vector<Client> clients = connectAll(gateway, 10);
  greet(clients);
  for (int i = 0; i < 3; ++i) {
    size_t ever = upstream.streamsEver();
    upstream.endStreams();
    waitUntil("new streams", [&] { return upstream.streamsEver() == ever + 2; });
    greet(clients);
  }
  EXPECT_EQ(gateway.upstream(upstream.port()).at("state"), "ready");
  // What is sent while there is no stream, again and again, waits for the next one.
  for (int i = 0; i < 10; ++i) {
    upstream.endStreams();
    for (int part = 0; part < 5; ++part) {
      for (Client& client : clients) client.send(".");
      std::this_thread::sleep_for(10ms);  // a pace: before, while and after there is a stream
    }
  }
  // By the last stream that ended nobody knows whether more is read; what comes over the next ones is.
  const std::vector<StreamRef> before = upstream.streams();
  upstream.endStreams();
  waitUntil("new streams", [&] {
    const std::vector<StreamRef> now = upstream.streams();
    return now.size() == 2 && std::ranges::find_first_of(now, before) == now.end();
  });
  for (Client& client : clients) client.send("!");
  for (Client& client : clients) {
    std::string all;
    while (all.empty() || all.back() != '!') all += client.receive(1);
  }
}

TEST(Routing, GoesOnAfterAStreamThatBroke) {
  InTestUpstream upstream;
  Gateway gateway({.upstreams = {upstream.port()}});
  upstream.waitForStreams(2);
  std::vector<Client> clients = connectAll(gateway, 10);
  greet(clients);
  size_t ever = upstream.streamsEver();
  upstream.endStreams(false);
  waitUntil("new streams", [&] { return upstream.streamsEver() >= ever + 2; });
  greet(clients);
}

TEST(Routing, ClientsWaitForAnUpstream) {
  InTestUpstream upstream;
  Gateway gateway;
  std::vector<Client> clients = connectAll(gateway, 10);
  std::string bytes = randomBytes(50000, 8);
  for (Client& client : clients) client.send(bytes);
  gateway.waitForSessions(10);
  for (Client& client : clients) EXPECT_TRUE(client.isOpen());
  gateway.addUpstream(upstream.port());
  for (Client& client : clients) EXPECT_TRUE(client.receive(bytes.size()) == bytes);
}

TEST(Routing, ClientsWaitWhileTheOnlyUpstreamIsAway) {
  auto upstream = std::make_unique<InTestUpstream>();
  uint16_t port = upstream->port();
  Gateway gateway({.upstreams = {port}});
  upstream->waitForStreams(2);
  std::vector<Client> clients = connectAll(gateway, 10);
  greet(clients);
  upstream.reset();
  gateway.waitForUpstreamLost(port);
  for (Client& client : clients) client.send("later");
  upstream = std::make_unique<InTestUpstream>(port);
  for (Client& client : clients) EXPECT_EQ(client.receive(5), "later");
}

TEST(Routing, EndsClientsThatWaitedTooLongForAnUpstream) {
  Gateway gateway({.sessions = "no_upstream_timeout = \"1s\""});
  Client client(gateway.port());
  client.send("hello");
  double seconds = secondsOf([&] { EXPECT_NE(client.waitForEnd(), ClientEnd::kNone); });
  EXPECT_GT(seconds, 0.8);
  EXPECT_LT(seconds, 5);
  client.close();
  gateway.waitUntilEmpty();
  EXPECT_EQ(gateway.closed("no_upstream"), 1);
}

TEST(Routing, EndsSessionsInDoubtWhenUpstreamLossSaysSo) {
  EchoWorker dying, staying;
  Gateway gateway({.upstreams = {dying.port(), staying.port()}, .listener = "upstream_loss = \"close\""});
  gateway.waitForUpstream(dying.port());
  gateway.waitForUpstream(staying.port());
  std::vector<Client> clients = connectAll(gateway, 10);
  greet(clients);
  dying.kill(SIGKILL);
  waitUntil("the ends", [&] { return gateway.closed("upstream_loss") == 5; });
  int open = 0;
  for (Client& client : clients) open += client.isOpen();
  EXPECT_EQ(open, 5);
}

TEST(Routing, OneSlowUpstreamPausesOnlyItsOwnSessions) {
  Upstreams upstreams = makeUpstreams(2);
  Gateway gateway({.forwarders = 1, .upstreams = portsOf(upstreams)});
  waitForStreams(upstreams, 1);
  std::vector<Client> clients = connectAll(gateway, 8);
  greet(clients);
  std::string slowUuid = gateway.upstreamUuid(upstreams[0]->port());
  std::vector<Client*> slow, quick;
  for (Client& client : clients)
    (gateway.downstreamOf(client).at("upstream") == slowUuid ? slow : quick).push_back(&client);
  ASSERT_EQ(slow.size(), 4u);
  upstreams[0]->setHanging(true);
  std::string bytes = randomBytes(48 << 20, 9);
  std::vector<size_t> sent(slow.size());
  double worst = 0;
  Deadline deadline(3s);
  while (!deadline.passed()) {
    for (size_t i = 0; i < slow.size(); ++i)
      sent[i] += slow[i]->sendSome(std::string_view(bytes).substr(sent[i]));
    for (Client* client : quick) worst = std::max(worst, secondsOf([&] { client->exchange("q"); }));
  }
  EXPECT_LT(worst, 2.0);
  for (size_t i = 0; i < slow.size(); ++i) EXPECT_LT(sent[i], bytes.size()) << "no backpressure";
  upstreams[0]->setHanging(false);
  for (size_t i = 0; i < slow.size(); ++i) EXPECT_TRUE(slow[i]->receive(sent[i]) == bytes.substr(0, sent[i]));
}

}  // namespace
}  // namespace ppx::test
