// POST /upstream/add, POST /upstream/delete/<uuid>, GET /upstream, GET /upstream/<uuid>.
#include <algorithm>
#include <cctype>

#include "common/clock.h"
#include "supervisor/admin/admin_server.h"
#include "supervisor/admin/api_values.h"

namespace ppx {
namespace {

constexpr size_t kMaxHostTextBytes = 253;  // of a name in DNS
constexpr double kShortestTimeoutS = 0.1;
constexpr double kLongestAliveS = 86'400;
constexpr double kLongestReadyS = 3'600;

const char* streamStateName(StreamState state) {
  switch (state) {
    case StreamState::kNone:
      return "none";
    case StreamState::kConnecting:
      return "connecting";
    case StreamState::kOpen:
      return "open";
    case StreamState::kDraining:
      return "draining";
    case StreamState::kFailing:
      return "failing";
  }
  return "unknown";
}

std::string quotedList(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "\"" : ", \"") + name + "\"";
  return out;
}

ApiJson identity(const UpstreamSlot& slot, const UpstreamRef& upstream, const Table& table) {
  return {{"uuid", uuidText(upstream.uuid)},
          {"state", upstreamStateName(upstreamState(slot))},
          {"host", slot.host},
          {"port", slot.port.load()},
          {"pool", poolName(table, slot.pool.load())},
          {"alive_timeout", static_cast<double>(slot.aliveTimeoutMs.load()) / 1000},
          {"ready_timeout", static_cast<double>(slot.readyTimeoutMs.load()) / 1000}};
}

// The stream of each forwarder that has a process.
ApiJson streamsOf(const UpstreamSlot& slot, uint32_t generation, const Table& table) {
  ApiJson streams = ApiJson::array();
  for (uint8_t row = 0; row < kMaxForwarders; ++row) {
    if (table.worker(row).incarnation.load() == 0) continue;
    uint64_t word = slot.streams[row].load();
    StreamState state =
        lifeGeneration(word) == generation ? lifeState<StreamState>(word) : StreamState::kNone;
    streams.push_back({{"forwarder", row},
                       {"state", streamStateName(state)},
                       {"failures_in_a_row", slot.streamFailures[row].load()}});
  }
  return streams;
}

ApiJson details(const UpstreamSlot& slot, const UpstreamRef& upstream, const Table& table,
                uint32_t sessions) {
  ApiJson out = identity(slot, upstream, table);
  out["registered_at"] = rfc3339(static_cast<Millis>(slot.registeredRealtimeMs.load()));
  out["sessions"] = sessions;
  out["sessions_assigned"] = slot.sessionsAssigned.load();
  out["messages_in"] = slot.messagesIn.load();
  out["messages_out"] = slot.messagesOut.load();
  out["bytes_in"] = slot.bytesIn.load();
  out["bytes_out"] = slot.bytesOut.load();
  out["broadcasts"] = slot.broadcasts.load();
  out["last_ready_seconds_ago"] = secondsSince(slot.lastReadyMs.load());
  out["last_live_seconds_ago"] = secondsSince(slot.lastLiveMs.load());
  out["ready_failures"] = slot.readyFailures.load();
  out["times_down"] = slot.timesDown.load();
  out["draining_seconds"] = secondsSince(slot.drainSinceMs.load());
  out["streams"] = streamsOf(slot, upstream.generation, table);
  return out;
}

// While a row is read it may be freed and taken again.
bool stillThere(const UpstreamSlot& slot, const UpstreamRef& upstream) {
  uint64_t life = slot.life.load();
  return lifeGeneration(life) == upstream.generation && lifeState<UpstreamLife>(life) != UpstreamLife::kFree;
}

std::optional<UpstreamRequest> readRequest(const std::string& text, const Table& table,
                                           httplib::Response& response) {
  JsonBody body(text);
  UpstreamRequest request;
  request.host = body.requiredText("host");
  if (!isHostSyntax(request.host))
    body.reject("host", "a host name or an IP address (IPv6 without brackets)");
  request.port = static_cast<uint16_t>(body.requiredInteger("port", 1, 65535));
  request.aliveTimeoutMs = body.seconds("alive_timeout", 30, kShortestTimeoutS, kLongestAliveS);
  request.readyTimeoutMs = body.seconds("ready_timeout", 5, kShortestTimeoutS, kLongestReadyS);
  std::optional<uint32_t> pool = findPool(table, body.text("pool", "default"));
  if (!pool) body.reject("pool", "a pool of the configuration (" + quotedList(poolNames(table)) + ")");
  request.pool = pool.value_or(0);
  if (auto error = body.error()) {
    replyError(response, *error);
    return std::nullopt;
  }
  return request;
}

void add(const httplib::Request& http, httplib::Response& response, const Table& table,
         UpstreamRegistry& registry) {
  auto request = readRequest(http.body, table, response);
  if (!request) return;
  AddOutcome outcome = registry.add(*request);
  if (outcome.kind == AddOutcome::Kind::kFull)
    return replyError(response, 503, "upstreams_full",
                      "the table has room for " + std::to_string(table.sizes().upstreamSlots) +
                          " upstreams, and all are there or being drained");
  const UpstreamSlot& slot = table.upstream(outcome.upstream.slot);
  if (outcome.kind == AddOutcome::Kind::kAlreadyThere) {
    replyError(response, 409, "upstream_exists",
               "this upstream is there already; one that is draining must be gone first");
    ApiJson body = ApiJson::parse(response.body);
    body["uuid"] = uuidText(outcome.upstream.uuid);
    body["state"] = upstreamStateName(upstreamState(slot));
    return reply(response, 409, body);
  }
  bool ready = registry.waitReady(outcome.upstream);
  ApiJson body = identity(slot, outcome.upstream, table);
  if (!stillThere(slot, outcome.upstream)) {
    body = {{"uuid", uuidText(outcome.upstream.uuid)}, {"state", "removed"}};
    ready = false;
  }
  reply(response, ready ? 201 : 202, body);
}

void remove(const httplib::Request& http, httplib::Response& response, UpstreamRegistry& registry) {
  auto uuid = uuidOfPath(http, response);
  if (!uuid) return;
  if (!registry.remove(*uuid))
    return replyError(response, 404, "no_such_upstream", "no upstream has this UUID");
  reply(response, 202, {{"uuid", uuidText(*uuid)}, {"state", "draining"}});
}

void list(httplib::Response& response, const Table& table, const UpstreamRegistry& registry) {
  std::vector<uint32_t> sessions = sessionsPerUpstream(table);
  ApiJson upstreams = ApiJson::array();
  for (const UpstreamRef& upstream : registry.list()) {
    const UpstreamSlot& slot = table.upstream(upstream.slot);
    ApiJson row = details(slot, upstream, table, sessions[upstream.slot]);
    if (stillThere(slot, upstream)) upstreams.push_back(std::move(row));
  }
  reply(response, 200, {{"upstreams", std::move(upstreams)}});
}

void show(const httplib::Request& http, httplib::Response& response, const Table& table,
          const UpstreamRegistry& registry) {
  auto uuid = uuidOfPath(http, response);
  if (!uuid) return;
  if (auto upstream = registry.find(*uuid)) {
    const UpstreamSlot& slot = table.upstream(upstream->slot);
    ApiJson row = details(slot, *upstream, table, sessionsPerUpstream(table)[upstream->slot]);
    if (stillThere(slot, *upstream)) return reply(response, 200, row);
  }
  replyError(response, 404, "no_such_upstream", "no upstream has this UUID");
}

}  // namespace

bool isHostSyntax(const std::string& host) {
  return !host.empty() && host.size() <= kMaxHostTextBytes &&
         std::all_of(host.begin(), host.end(), [](unsigned char c) {
           return c < 0x80 && (std::isalnum(c) != 0 || std::string_view(".-_:%").find(static_cast<char>(c)) !=
                                                           std::string_view::npos);
         });
}

void addUpstreamRoutes(HttpServer& server, const AdminContext& context, UpstreamRegistry& registry) {
  const Table& table = context.table;
  server.route("POST", "/upstream/add",
               [&](const auto& request, auto& response) { add(request, response, table, registry); });
  server.route("POST", "/upstream/delete/*",
               [&](const auto& request, auto& response) { remove(request, response, registry); });
  server.route("GET", "/upstream", [&](const auto&, auto& response) { list(response, table, registry); });
  server.route("GET", "/upstream/*",
               [&](const auto& request, auto& response) { show(request, response, table, registry); });
}

}  // namespace ppx
