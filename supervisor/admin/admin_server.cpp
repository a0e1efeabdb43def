#include "supervisor/admin/admin_server.h"

#include <arpa/inet.h>
#include <openssl/crypto.h>

#include "supervisor/admin/event_log.h"

namespace ppx {
namespace {

// A name that a page of another site could have pointed here (DNS rebinding) is neither of these.
bool isOwnHost(std::string host) {
  if (size_t colon = host.rfind(':');
      colon != std::string::npos && host.find(']', colon) == std::string::npos)
    host.resize(colon);
  if (!host.empty() && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  if (host.empty() || host == "localhost") return true;
  in6_addr ignored;
  return inet_pton(AF_INET, host.c_str(), &ignored) == 1 || inet_pton(AF_INET6, host.c_str(), &ignored) == 1;
}

HttpServerOptions optionsFrom(const ManagementConfig& config) {
  HttpServerOptions options;
  options.host = config.host;
  options.port = config.port;
  options.threads = config.threads;
  options.certPath = config.tls.certPath;
  options.keyPath = config.tls.keyPath;
  return options;
}

}  // namespace

bool isLoopback(const std::string& address) {
  return address.rfind("127.", 0) == 0 || address == "::1";
}

AdminServer::AdminServer(AdminContext context)
    : context_(std::move(context)),
      registry_(context_.table, context_.doorbells),
      server_(optionsFrom(context_.config.management)),
      peerAddress_([](const httplib::Request& request) { return request.remote_addr; }) {
  server_.setGate([this](const httplib::Request& request, httplib::Response& response) {
    return gate(request, response);
  });
  addUpstreamRoutes(server_, context_, registry_);
  addDownstreamRoutes(server_, context_, registry_);
  addStatusRoutes(server_, context_, registry_);
  addMetricsRoute(server_, context_, registry_);
  addOperationRoutes(server_, context_);
  addEventRoute(server_, context_);
  addLogRoutes(server_, context_);
  addObituaryRoute(server_, context_);
  if (context_.onUpstreamChanged)
    context_.onUpstreamChanged(
        [this](uint32_t upstream, uint32_t generation) { registry_.changed(upstream, generation); });
}

AdminServer::~AdminServer() {
  stop();
}

Result<uint16_t> AdminServer::start() {
  return server_.start();
}
void AdminServer::stop() {
  registry_.stopWaiting();
  if (context_.events != nullptr) context_.events->close();
  server_.stop();
}

void AdminServer::setPeerAddress(std::function<std::string(const httplib::Request&)> peerAddress) {
  peerAddress_ = std::move(peerAddress);
}

bool AdminServer::gate(const httplib::Request& request, httplib::Response& response) const {
  if (request.path.rfind("/health/", 0) == 0) return false;
  if (!authorized(request, response)) return true;
  // A form of another site's page can only send the simple types.
  bool hasBody = request.has_header("Content-Length") && request.get_header_value("Content-Length") != "0";
  if (request.method != "GET" && hasBody &&
      request.get_header_value("Content-Type").rfind("application/json", 0) != 0) {
    replyError(response, 415, "unsupported_type", "send the body with Content-Type: application/json");
    return true;
  }
  return false;
}

bool AdminServer::authorized(const httplib::Request& request, httplib::Response& response) const {
  const std::string& token = context_.config.management.token;
  if (token.empty()) {
    if (isLoopback(peerAddress_(request)) && isOwnHost(request.get_header_value("Host"))) return true;
    replyError(
        response, 403, "forbidden",
        "without a token only loopback peers are served: set management_server.token or token_file, and send "
        "it as \"Authorization: Bearer TOKEN\"");
    return false;
  }
  std::string given = request.get_header_value("Authorization");
  std::string wanted = "Bearer " + token;
  // In constant time: how far a guess was right does not show.
  if (given.size() == wanted.size() && CRYPTO_memcmp(given.data(), wanted.data(), wanted.size()) == 0)
    return true;
  response.set_header("WWW-Authenticate", "Bearer");
  replyError(response, 401, "unauthorized", "send the token as \"Authorization: Bearer TOKEN\"");
  return false;
}

}  // namespace ppx
