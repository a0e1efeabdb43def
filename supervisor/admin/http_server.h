// cpp-httplib's requests, routing and answers behind a hardened front: each connection carries one request,
// bodies come plain and with a length only, a taken port is an error, errors are JSON.
//
// Debian's 0.11.4 lets chunked and compressed bodies pass the payload bound, does not bound headers, gives an
// idle connection a thread for as long as it likes, sets SO_REUSEPORT, accepts without CLOEXEC, and stops
// accepting for ever at an error that passes. Hence refuseBody(), HttpConnection and RequestGatherer.
#pragma once

#include <httplib.h>
#include <openssl/ssl.h>

#include <memory>
#include <string>
#include <vector>

#include "common/result.h"
#include "common/unique_fd.h"
#include "supervisor/admin/request_gatherer.h"
#include "supervisor/admin/request_pool.h"

namespace ppx {

struct HttpServerOptions {
  std::string host;
  uint16_t port = 0;
  uint32_t threads = 8;
  std::string certPath;  // both empty: HTTP
  std::string keyPath;
};

class HttpServer : public httplib::Server {
 public:
  // Runs before a request's body is read; true: answered.
  using Gate = std::function<bool(const httplib::Request&, httplib::Response&)>;
  using Route = std::function<void(const httplib::Request&, httplib::Response&)>;

  explicit HttpServer(HttpServerOptions options);
  ~HttpServer() override;

  // Binds and serves on threads of its own; the port in use. Routes and the gate are set before.
  Result<uint16_t> start();
  void stop();
  void setGate(Gate gate) { gate_ = std::move(gate); }
  uint16_t port() const { return port_; }
  // `pattern`: the whole path; a `*` in it stands for one segment, which is request.matches[1].
  void route(const std::string& method, const std::string& pattern, Route handler);

 private:
  struct Freed {
    void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
  };
  Status loadCertificate();
  Status listenOn();
  void serve(HttpConnection& connection);
  void handOn(std::unique_ptr<HttpConnection> connection, bool tooLarge);
  void setHandlers();
  bool refuse(const httplib::Request& request, httplib::Response& response) const;
  bool refuseBody(const httplib::Request& request, httplib::Response& response) const;
  bool refusePath(const httplib::Request& request, httplib::Response& response) const;

  struct KnownRoute {
    std::string method;
    std::string pattern;
  };

  HttpServerOptions options_;
  Gate gate_;
  std::vector<KnownRoute> routes_;
  std::unique_ptr<SSL_CTX, Freed> tls_;
  UniqueFd listener_;
  UniqueFd stopBell_;
  uint16_t port_ = 0;
  std::unique_ptr<RequestPool> pool_;
  RequestGatherer gatherer_;
};

// {"error":{"code","message","field"}}; `field` only where one is to blame.
void replyError(httplib::Response& response, int status, const std::string& code, const std::string& message,
                const std::string& field = {});

}  // namespace ppx
