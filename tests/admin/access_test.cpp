// Who may use the API: loopback without a token, bearers of the token otherwise; and TLS.
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "tests/admin/support.h"

namespace ppx::test {
namespace {

using Access = AdminFixture;

Answer withToken(const AdminFixture&, uint16_t port, const std::string& header) {
  RawClient client(port);
  client.send(httpText("GET", "/upstream", {}, header));
  return client.answer();
}

TEST(LoopbackAddress, IsTheWholeNetAndBothFamilies) {
  for (const char* address : {"127.0.0.1", "127.9.8.7", "::1"}) EXPECT_TRUE(isLoopback(address)) << address;
  for (const char* address : {"", "10.0.0.1", "128.0.0.1", "::2", "fe80::1", "1270.0.0.1", "::ffff:10.0.0.1"})
    EXPECT_FALSE(isLoopback(address)) << address;
}

TEST_F(Access, PeersFromElsewhereGet403WithHowToSetAToken) {
  peerAddress_ = "10.1.2.3";
  start();
  Answer answer = get("/upstream");
  EXPECT_EQ(answer.status, 403);
  EXPECT_EQ(answer.errorCode(), "forbidden");
  EXPECT_NE(answer.errorText().find("set management_server.token"), std::string::npos);
  EXPECT_EQ(post("/upstream/add", R"({"host":"a","port":1})").status, 403);
  EXPECT_EQ(get("/health/live").status, 200);
}

TEST_F(Access, NamesThatPointHereFromElsewhereAreNotServed) {
  start();
  auto host = [&](const std::string& name) {
    return ask(httpText("GET", "/upstream", {}, "Host: " + name + "\r\n")).status;
  };
  for (const char* own : {"localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000", "[::1]"})
    EXPECT_EQ(host(own), 200) << own;
  for (const char* other : {"evil.example", "evil.example:8000", "localhost.evil.example"})
    EXPECT_EQ(host(other), 403) << other;
}

TEST_F(Access, ATokenOpensAndNothingElseDoes) {
  config_.management.token = "s3cret";
  peerAddress_ = "10.1.2.3";
  start();
  EXPECT_EQ(withToken(*this, port_, "Authorization: Bearer s3cret\r\n").status, 200);
  EXPECT_EQ(withToken(*this, port_, "Host: gateway.example\r\nAuthorization: Bearer s3cret\r\n").status, 200);
  for (const char* wrong : {"", "Authorization: Bearer s3cre\r\n", "Authorization: Bearer s3cret2\r\n",
                            "Authorization: bearer\r\n", "Authorization: Basic s3cret\r\n"}) {
    Answer answer = withToken(*this, port_, wrong);
    EXPECT_EQ(answer.status, 401) << wrong;
    EXPECT_EQ(answer.errorText(), "send the token as \"Authorization: Bearer TOKEN\"");
    EXPECT_NE(answer.headers.find("WWW-Authenticate: Bearer"), std::string::npos);
  }
  EXPECT_EQ(get("/health/live").status, 200);
  EXPECT_EQ(get("/health/ready").status, 200);
  EXPECT_EQ(get("/metrics").status, 401);
}

class Tls : public AdminFixture {
 protected:
  Tls() : dir_(std::filesystem::temp_directory_path() / ("ppx-admin-tls-" + std::to_string(::getpid()))) {
    std::filesystem::create_directory(dir_);
    std::string command =
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
        " -subj /CN=localhost -keyout " +
        path("key.pem") + " -out " + path("cert.pem") + " 2>/dev/null";
    EXPECT_EQ(std::system(command.c_str()), 0);
    config_.management.tls = {path("cert.pem"), path("key.pem")};
  }
  ~Tls() override { std::filesystem::remove_all(dir_); }
  std::string path(const char* name) const { return (dir_ / name).string(); }
  std::string startError() {
    AdminServer server({table_, doorbells_, config_, "", "", [this] { return status_; }, nullptr, nullptr});
    auto started = server.start();
    return started ? "" : started.error().text;
  }

  std::filesystem::path dir_;
};

TEST_F(Tls, ServesHttps) {
  start();
  httplib::SSLClient client("127.0.0.1", port_);
  client.enable_server_certificate_verification(false);
  auto health = client.Get("/health/live");
  ASSERT_TRUE(health);
  EXPECT_EQ(health->status, 200);
  auto added = client.Post("/upstream/add", R"({"host":"a","port":1})", "application/json");
  ASSERT_TRUE(added);
  EXPECT_EQ(added->status, 201);
}

TEST_F(Tls, PlainAndSilentPeersHoldNobodyUp) {
  start();
  RawClient plain(port_), silent(port_);
  plain.send(httpText("GET", "/health/live"));
  EXPECT_EQ(plain.answer(2000).status, 0);
  httplib::SSLClient client("127.0.0.1", port_);
  client.enable_server_certificate_verification(false);
  EXPECT_TRUE(client.Get("/health/live"));
}

TEST_F(Tls, AWrongCertificateSaysWhichFileIsWrong) {
  config_.management.tls.certPath = path("absent.pem");
  EXPECT_EQ(startError().rfind("management_server.tls.cert_path: " + path("absent.pem") + ": ", 0), 0u)
      << startError();
  config_.management.tls = {path("cert.pem"), path("cert.pem")};
  EXPECT_EQ(startError().rfind("management_server.tls.key_path: " + path("cert.pem") + ": ", 0), 0u);
  std::ofstream(path("junk.pem")) << "junk";
  config_.management.tls = {path("junk.pem"), path("key.pem")};
  EXPECT_NE(startError().find("cert_path"), std::string::npos);
}

}  // namespace
}  // namespace ppx::test
