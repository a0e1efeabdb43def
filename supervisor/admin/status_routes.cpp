// GET /admin/status, GET /health/live, GET /health/ready.
#include "common/clock.h"
#include "supervisor/admin/admin_server.h"
#include "supervisor/admin/api_values.h"
#include "supervisor/admin/session_census.h"

namespace ppx {
namespace {

// By state; every state is there.
ApiJson countUpstreams(const Table& table, const UpstreamRegistry& registry) {
  ApiJson counts = ApiJson::object();
  for (UpstreamState state : kUpstreamStates) counts[upstreamStateName(state)] = 0u;
  for (const UpstreamRef& upstream : registry.list()) {
    ApiJson& count = counts[upstreamStateName(upstreamState(table.upstream(upstream.slot)))];
    count = count.get<uint32_t>() + 1;
  }
  return counts;
}

ApiJson listenersOf(const SupervisorStatus& status) {
  ApiJson out = ApiJson::array();
  for (const ListenerStatus& listener : status.listeners)
    out.push_back(
        {{"name", listener.name}, {"host", listener.host}, {"port", listener.port}, {"pool", listener.pool}});
  return out;
}

// A row whose worker is gone and not to be followed by another.
constexpr std::string_view kNobody = "absent";

ApiJson workersOf(const SupervisorStatus& status, const Table& table) {
  ApiJson out = ApiJson::array();
  for (const WorkerStatus& worker : status.workers) {
    if (worker.state == kNobody) continue;
    const WorkerRow& row = table.worker(worker.row);
    out.push_back({{"name", worker.name},
                   {"role", workerRoleName(worker.role)},
                   {"row", worker.row},
                   {"pid", worker.pid == 0 ? ApiJson() : ApiJson(worker.pid)},
                   {"incarnation", worker.incarnation},
                   {"state", worker.state},
                   {"restarts", worker.restarts},
                   {"sessions", row.sessions.load()},
                   {"heartbeat_seconds_ago", secondsSince(row.heartbeatMs.load())}});
  }
  return out;
}

// Serving: acceptors take clients and a forwarder is there to carry them. An upstream need not be ready:
// clients wait for one.
bool isServing(const SupervisorStatus& status) {
  bool forwarder = false;
  for (const WorkerStatus& worker : status.workers)
    forwarder = forwarder || (worker.role == WorkerRole::kForwarder && worker.state == "ready");
  return status.ready && forwarder && !status.draining;
}

void show(httplib::Response& response, const AdminContext& context, const UpstreamRegistry& registry,
          uint16_t port) {
  SupervisorStatus status = context.status();
  const SessionCensus sessions = countSessions(context.table);
  reply(response, 200,
        {{"version", status.version},
         {"pid", status.pid},
         {"uptime_seconds", static_cast<double>(realtimeMillis() - status.startedRealtimeMs) / 1000},
         {"ready", isServing(status)},
         {"draining", status.draining},
         {"config_file", context.configFile},
         {"runtime_dir", context.runtimeDir},
         {"listeners", listenersOf(status)},
         {"admin", {{"host", context.config.management.host}, {"port", port}}},
         {"workers", workersOf(status, context.table)},
         {"sessions",
          {{"open", sessions.open()},
           {"unserved", sessions.unserved},
           {"capacity", status.sessionCapacity},
           {"descriptor_limit", status.descriptorLimit}}},
         {"custody",
          {{"complete", status.custody.complete()},
           {"incomplete_seconds_total", status.custody.incompleteSeconds()},
           {"descriptors", context.table.worker(kCustodianRow).sessions.load()}}},
         {"upstreams", countUpstreams(context.table, registry)}});
}

void ready(httplib::Response& response, const AdminContext& context, const UpstreamRegistry& registry) {
  SupervisorStatus status = context.status();
  bool serving = isServing(status);
  reply(response, serving ? 200 : 503,
        {{"ready", serving},
         {"draining", status.draining},
         {"upstreams_ready", countUpstreams(context.table, registry)["ready"]}});
}

}  // namespace

void addStatusRoutes(HttpServer& server, const AdminContext& context, const UpstreamRegistry& registry) {
  server.route("GET", "/admin/status",
               [&](const auto&, auto& response) { show(response, context, registry, server.port()); });
  server.route("GET", "/health/ready",
               [&](const auto&, auto& response) { ready(response, context, registry); });
  server.route("GET", "/health/live", [](const auto&, auto& response) {
    reply(response, 200, {{"live", true}});
  });
}

}  // namespace ppx
