// Starting, checking, stopping: what a person at the shell sees.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <thread>

#include "tests/examples/worker_process.h"
#include "tests/gateway/harness/gateway.h"
#include "tests/gateway/harness/in_test_upstream.h"

namespace ppx::test {
namespace {

TEST(Operations, TheOriginalProjectsFileIsGood) {
  Outcome outcome = runToEnd({programPath("paradoxd"), "--check", "--config",
                              std::string(PPX_SOURCE_DIR) + "/examples/config/original.toml"});
  EXPECT_EQ(outcome.exitCode, 0) << outcome.errorText;
}

TEST(Operations, AWrongFileIsRefusedWithWhatIsWrongAndWhere) {
  TempDir dir;
  std::string file = dir.file("wrong.toml", "[server]\nport = \"80a\"\n[[listner]]\n");
  for (bool check : {true, false}) {
    std::vector<std::string> argv = {programPath("paradoxd"), "--config", file, "--runtime-dir",
                                     dir.path() + "/run"};
    if (check) argv.push_back("--check");
    Outcome outcome = runToEnd(argv);
    EXPECT_EQ(outcome.exitCode, 78) << outcome.errorText;
    EXPECT_NE(outcome.errorText.find("wrong.toml:2:"), std::string::npos) << outcome.errorText;
    EXPECT_NE(outcome.errorText.find("did you mean \"listener\"?"), std::string::npos) << outcome.errorText;
  }
}

TEST(Operations, AFileThatIsNotThereIsNamed) {
  Outcome outcome = runToEnd({programPath("paradoxd"), "--config", "/nonexistent/x.toml"});
  EXPECT_EQ(outcome.exitCode, 78) << outcome.errorText;
  EXPECT_NE(outcome.errorText.find("/nonexistent/x.toml"), std::string::npos) << outcome.errorText;
}

TEST(Operations, TwoGatewaysLiveSideBySide) {
  InTestUpstream first, second;
  first.onMessage([](UpstreamStream& s, const std::string& c, const std::string&) { s.reply(c, "1"); });
  second.onMessage([](UpstreamStream& s, const std::string& c, const std::string&) { s.reply(c, "2"); });
  Gateway one({.upstreams = {first.port()}}), two({.upstreams = {second.port()}});
  Client ofOne(one.port()), ofTwo(two.port());
  ofOne.send("?");
  ofTwo.send("?");
  EXPECT_EQ(ofOne.receive(1), "1");
  EXPECT_EQ(ofTwo.receive(1), "2");
  one.stop();
  ofTwo.send("?");
  EXPECT_EQ(ofTwo.receive(1), "2");
  two.stop();
}

TEST(Operations, ASecondSupervisorIsToldWhoHasTheDirectory) {
  Gateway gateway;
  TempDir dir;
  std::string config = dir.file("other.toml", "[server]\nport = 0\n[management_server]\nport = 0\n");
  Outcome outcome =
      runToEnd({programPath("paradoxd"), "--config", config, "--runtime-dir", gateway.runtimeDir()});
  EXPECT_NE(outcome.exitCode, 0);
  EXPECT_NE(outcome.errorText.find(std::to_string(gateway.pid())), std::string::npos) << outcome.errorText;
  EXPECT_EQ(gateway.get("/health/ready").status, 200);
  gateway.stop();
}

TEST(Operations, APortThatIsTakenIsNamed) {
  Gateway gateway;
  TempDir dir;
  std::string port = std::to_string(gateway.port());
  std::string config =
      dir.file("other.toml", "[server]\nport = " + port + "\n[management_server]\nport = 0\n");
  Outcome outcome =
      runToEnd({programPath("paradoxd"), "--config", config, "--runtime-dir", dir.path() + "/run"});
  EXPECT_NE(outcome.exitCode, 0);
  EXPECT_NE(outcome.errorText.find(port), std::string::npos) << outcome.errorText;
  EXPECT_TRUE(processesWith(dir.path() + "/run").empty());
}

TEST(Operations, StopsCleanlyAtCtrlC) {
  Gateway gateway;
  gateway.stop(SIGINT);
}

TEST(Operations, CtrlCToTheWholeProcessGroupIsCleanToo) {
  Gateway gateway;
  ::kill(-gateway.pid(), SIGINT);  // what a terminal does
  gateway.stop(SIGINT);
}

TEST(Operations, AStopEndsTwoHundredClientsInOrder) {
  InTestUpstream upstream;
  Gateway gateway({.upstreams = {upstream.port()}});
  upstream.waitForStreams(2);
  std::vector<Client> clients;
  uint16_t port = gateway.port();
  for (int i = 0; i < 200; ++i) clients.emplace_back(port);
  for (Client& client : clients) client.send("x");
  for (Client& client : clients) EXPECT_EQ(client.receive(1), "x");
  std::thread clientSide([&] {
    for (Client& client : clients) {
      EXPECT_EQ(client.waitForEnd(), ClientEnd::kFin);
      client.close();
    }
  });
  try {
    gateway.stop();
  } catch (const std::exception& error) {
    ADD_FAILURE() << error.what();
  }
  clientSide.join();
}

TEST(Operations, AStopIsNotHeldUpByClientsThatNeverEnd) {
  InTestUpstream upstream;
  Gateway gateway({.upstreams = {upstream.port()}});
  upstream.waitForStreams(2);
  std::vector<Client> clients;
  for (int i = 0; i < 20; ++i) clients.emplace_back(gateway.port());
  for (Client& client : clients) EXPECT_EQ(client.exchange("x"), "x");
  double seconds = secondsOf([&] { gateway.stop(); });
  EXPECT_LT(seconds, 10);
  for (Client& client : clients) EXPECT_EQ(client.waitForEnd(), ClientEnd::kFin);
}

TEST(Operations, AKeyOfAnotherCertificateIsAConfigurationError) {
  TempDir one, other;
  makeCertificate(one);
  makeCertificate(other);
  std::string config =
      one.file("tls.toml",
               "[server]\nport = 0\n[management_server]\nport = 0\n[management_server.tls]\n"
               "cert_path = \"" +
                   one.path() + "/cert.pem\"\nkey_path = \"" + other.path() + "/key.pem\"\n");
  Outcome outcome =
      runToEnd({programPath("paradoxd"), "--config", config, "--runtime-dir", one.path() + "/run"});
  EXPECT_EQ(outcome.exitCode, 78) << outcome.errorText;
  EXPECT_NE(outcome.errorText.find("management_server.tls.key_path"), std::string::npos) << outcome.errorText;
  EXPECT_TRUE(processesWith(one.path() + "/run").empty());
}

TEST(Operations, TheAdminApiSpeaksHttps) {
  Gateway gateway({.tls = true});
  EXPECT_EQ(gateway.get("/health/live").status, 200);
  EXPECT_GT(gateway.port(), 0);
}

TEST(Operations, TheStatusNamesPortsWorkersAndCapacity) {
  Gateway gateway({.forwarders = 3, .acceptors = 2, .maxSessions = 100});
  Json status = gateway.status();
  EXPECT_EQ(gateway.workers("forwarder").size(), 3u);
  EXPECT_EQ(gateway.workers("acceptor").size(), 2u);
  EXPECT_EQ(gateway.workers("prober").size(), 1u);
  EXPECT_EQ(gateway.workers("custodian").size(), 1u);
  EXPECT_NE(gateway.port(), 0);
}

TEST(Operations, TheCapacityIsSaidAtTheStart) {
  Gateway gateway({.maxSessions = 321});
  EXPECT_NE(gateway.log().find("321"), std::string::npos) << gateway.log();
}

}  // namespace
}  // namespace ppx::test
