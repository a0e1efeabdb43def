// The admin API: an HTTP server with the gateway's routes, and who may use them. Threads of its own.
#pragma once

#include <memory>

#include "supervisor/admin/http_server.h"
#include "supervisor/admin/upstream_registry.h"
#include "supervisor/admin_context.h"

namespace ppx {

class AdminServer {
 public:
  explicit AdminServer(AdminContext context);
  ~AdminServer();

  // Binds, serves; the port in use. The error names what is wrong with address or certificate.
  Result<uint16_t> start();
  void stop();
  UpstreamRegistry& upstreams() { return registry_; }

  // Who asks: for tests, which have only loopback. Before start().
  void setPeerAddress(std::function<std::string(const httplib::Request&)> peerAddress);

 private:
  bool gate(const httplib::Request& request, httplib::Response& response) const;
  bool authorized(const httplib::Request& request, httplib::Response& response) const;

  AdminContext context_;
  UpstreamRegistry registry_;
  HttpServer server_;
  std::function<std::string(const httplib::Request&)> peerAddress_;
};

bool isLoopback(const std::string& address);

// Host names and addresses as the configuration takes them; IPv6 without brackets.
bool isHostSyntax(const std::string& host);

// The routes, by subject.
void addUpstreamRoutes(HttpServer& server, const AdminContext& context, UpstreamRegistry& registry);
void addDownstreamRoutes(HttpServer& server, const AdminContext& context, const UpstreamRegistry& registry);
void addStatusRoutes(HttpServer& server, const AdminContext& context, const UpstreamRegistry& registry);
void addOperationRoutes(HttpServer& server, const AdminContext& context);
void addLogRoutes(HttpServer& server, const AdminContext& context);
void addEventRoute(HttpServer& server, const AdminContext& context);
void addObituaryRoute(HttpServer& server, const AdminContext& context);
void addMetricsRoute(HttpServer& server, const AdminContext& context, const UpstreamRegistry& registry);

}  // namespace ppx
