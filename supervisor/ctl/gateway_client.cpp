#include "supervisor/ctl/gateway_client.h"

#include <httplib.h>

#include <fstream>
#include <functional>
#include <regex>

#include "supervisor/runtime_dir.h"

namespace ppx::ctl {
namespace {

constexpr time_t kConnectSeconds = 5;
constexpr time_t kAnswerSeconds = 75;  // an upstream that is added may take a minute to become ready

std::string withoutSpaceAtTheEnd(std::string text) {
  text.erase(text.find_last_not_of(" \t\r\n") + 1);
  return text;
}

// The library throws for a scheme that it does not know, and takes a wrong port for none.
bool isUrl(const std::string& text) {
  static const std::regex kForm(R"(https?://([^/:\s\[\]]+|\[[0-9a-fA-F:.]+\])(:([0-9]{1,5}))?/?)");
  std::smatch parts;
  if (!std::regex_match(text, parts, kForm)) return false;
  if (!parts[3].matched) return true;
  const int port = std::stoi(parts[3]);
  return port >= 1 && port <= 65535;
}

std::string reasonOf(httplib::Error error) {
  switch (error) {
    case httplib::Error::Connection:
      return "nobody takes the connection";
    case httplib::Error::ConnectionTimeout:
      return "no connection within " + std::to_string(kConnectSeconds) + " s";
    case httplib::Error::Read:
      return "the connection ended without an answer (is it HTTPS?)";
    case httplib::Error::SSLServerVerification:
      return "its certificate is not trusted (--ca-file, --insecure)";
    default:
      return httplib::to_string(error);
  }
}

}  // namespace

Result<std::string> urlOfRuntimeDir(const std::string& dir) {
  std::string file = dir + "/" + kAdminPortFileName;
  std::ifstream in(file);
  int port = 0;
  if (!in) return systemError("no gateway lives in " + dir + " (" + file + ")");
  if (!(in >> port) || port < 1 || port > 65535) return Error{0, file + " does not hold a port"};
  return "http://localhost:" + std::to_string(port);
}

Result<GatewayClient> GatewayClient::open(const Target& target) {
  if (!isUrl(target.url)) return Error{0, target.url + " is not a URL of the kind http://HOST:PORT"};
  std::string token = target.token;
  if (token.empty() && !target.tokenFile.empty()) {
    std::ifstream in(target.tokenFile);
    if (!in || !std::getline(in, token)) return systemError("cannot read the token in " + target.tokenFile);
    token = withoutSpaceAtTheEnd(token);
  }
  return GatewayClient(target, token);
}

static Result<Answer> exchange(const Target& target, const std::string& token,
                               const std::function<httplib::Result(httplib::Client&)>& request) {
  httplib::Client http(target.url);
  http.set_connection_timeout(kConnectSeconds);
  http.set_read_timeout(kAnswerSeconds);
  if (target.insecure) http.enable_server_certificate_verification(false);
  if (!target.caFile.empty()) http.set_ca_cert_path(target.caFile);
  if (!token.empty()) http.set_default_headers({{"Authorization", "Bearer " + token}});
  httplib::Result result = request(http);
  if (!result) {
    return Error{0, "no answer from " + target.url + ": " + reasonOf(result.error())};
  }
  return Answer{result->status, result->body, Json::parse(result->body, nullptr, false)};
}

Result<Answer> GatewayClient::get(const std::string& path) const {
  return exchange(target_, token_, [&](httplib::Client& http) { return http.Get(path); });
}

Result<Answer> GatewayClient::put(const std::string& path, const std::string& body) const {
  return exchange(target_, token_,
                  [&](httplib::Client& http) { return http.Put(path, body, "application/json"); });
}

Result<Answer> GatewayClient::post(const std::string& path, const std::string& body) const {
  return exchange(target_, token_, [&](httplib::Client& http) {
    return body.empty() ? http.Post(path) : http.Post(path, body, "application/json");
  });
}

}  // namespace ppx::ctl
