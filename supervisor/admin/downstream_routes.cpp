// GET /downstream, GET /downstream/<uuid>, POST /downstream/<uuid>/close.
#include "common/clock.h"
#include "supervisor/admin/admin_server.h"
#include "supervisor/admin/api_values.h"

namespace ppx {
namespace {

constexpr uint32_t kDefaultPage = 100;
constexpr uint32_t kLargestPage = 1000;

ApiJson upstreamText(const Table& table, const SessionView& session) {
  if (session.upstream >= table.sizes().upstreamSlots) return nullptr;
  const UpstreamSlot& slot = table.upstream(session.upstream);
  Uuid uuid{slot.uuidHigh.load(), slot.uuidLow.load()};
  if (lifeGeneration(slot.life.load()) != session.upstreamGeneration) return nullptr;
  return uuidText(uuid);
}

ApiJson closeText(CloseReason reason) {
  if (reason == CloseReason::kNone) return nullptr;
  return std::string(closeReasonInfo(reason).name);
}

// The forwarder's row; none while an acceptor or nobody in particular has it.
ApiJson workerOf(const SessionView& session) {
  if (session.word.worker >= kFirstAcceptorRow) return nullptr;
  return session.word.worker;
}

ApiJson toJson(const Table& table, const SessionView& session) {
  return {{"uuid", uuidText(session.uuid)},
          {"peer", session.peer},
          {"listener", listenerName(table, session.listener)},
          {"pool", poolName(table, session.pool)},
          {"upstream", upstreamText(table, session)},
          {"forwarder", workerOf(session)},
          {"state", slotStateName(session.word.state)},
          {"accepted_at", rfc3339(static_cast<Millis>(session.acceptedRealtimeMs))},
          {"age_seconds", secondsSince(session.acceptedMs)},
          {"last_in_seconds_ago", secondsSince(session.lastInMs)},
          {"last_out_seconds_ago", secondsSince(session.lastOutMs)},
          {"bytes",
           {{"in_received", session.inReceived},
            {"in_written", session.inWritten},
            {"in_acked", session.inAcked},
            {"out_committed", session.outStamped},
            {"out_sent", session.outSent}}},
          {"input_ended", (session.flags & kSessionInputEnded) != 0},
          {"output_ended", (session.flags & kSessionOutputEnded) != 0},
          {"takeovers", session.takeovers},
          {"close_requested", closeText(session.closeRequested.value_or(CloseReason::kNone))},
          {"close_reason", closeText(session.closeReason)}};
}

struct Filter {
  std::optional<UpstreamRef> upstream;
  std::optional<uint32_t> pool;

  bool takes(const SessionView& session) const {
    if (pool && session.pool != *pool) return false;
    return !upstream ||
           (session.upstream == upstream->slot && session.upstreamGeneration == upstream->generation);
  }
};

struct Page {
  Filter filter;
  uint32_t limit = kDefaultPage;
  uint32_t from = 0;  // slot
};

std::optional<Page> readPage(const httplib::Request& request, httplib::Response& response, const Table& table,
                             const UpstreamRegistry& registry) {
  QueryFields query(request);
  Page page;
  page.limit = query.integer("limit", kDefaultPage, 1, kLargestPage);
  page.from = query.integer("cursor", 0, 0, table.sizes().sessionSlots);
  if (auto pool = query.text("pool")) {
    page.filter.pool = findPool(table, *pool);
    if (!page.filter.pool) query.reject("pool", "a pool of the configuration");
  }
  if (auto text = query.text("upstream")) {
    std::optional<Uuid> uuid = parseUuid(*text);
    if (uuid) page.filter.upstream = registry.find(*uuid);
    if (!page.filter.upstream) query.reject("upstream", "the UUID of an upstream that is there");
  }
  if (auto error = query.error()) {
    replyError(response, *error);
    return std::nullopt;
  }
  return page;
}

// Pages go by slots: a session that stays is in exactly one page, whatever comes and goes meanwhile.
void list(const httplib::Request& request, httplib::Response& response, const Table& table,
          const UpstreamRegistry& registry) {
  auto page = readPage(request, response, table, registry);
  if (!page) return;
  ApiJson sessions = ApiJson::array();
  ApiJson next = nullptr;
  uint32_t slots = sessionSlotsInUse(table);
  for (uint32_t slot = page->from; slot < slots; ++slot) {
    auto session = readSession(table, slot);
    if (!session || !page->filter.takes(*session)) continue;
    if (sessions.size() == page->limit) {
      next = std::to_string(slot);
      break;
    }
    sessions.push_back(toJson(table, *session));
  }
  reply(response, 200, {{"downstreams", std::move(sessions)}, {"next_cursor", next}});
}

std::optional<SlotRef> findSession(const httplib::Request& request, httplib::Response& response,
                                   const Table& table) {
  auto uuid = uuidOfPath(request, response);
  if (!uuid) return std::nullopt;
  auto ref = SessionTable(table).findAny(*uuid);
  if (!ref) replyError(response, 404, "no_such_session", "no session has this UUID");
  return ref;
}

void show(const httplib::Request& request, httplib::Response& response, const Table& table) {
  auto ref = findSession(request, response, table);
  if (!ref) return;
  auto session = readSession(table, ref->slot);
  if (!session || session->ref != *ref)
    return replyError(response, 404, "no_such_session", "the session has just ended");
  reply(response, 200, toJson(table, *session));
}

// Graceful: what is committed is still sent.
void close(const httplib::Request& request, httplib::Response& response, const Table& table,
           const Doorbells& doorbells) {
  auto ref = findSession(request, response, table);
  if (!ref) return;
  SessionTable(table).requestClose(*ref, CloseReason::kAdmin);
  doorbells.ringSlot(table, ref->slot);
  reply(response, 202, {{"uuid", request.matches[1].str()}, {"state", "closing"}});
}

}  // namespace

void addDownstreamRoutes(HttpServer& server, const AdminContext& context, const UpstreamRegistry& registry) {
  const Table& table = context.table;
  const Doorbells& doorbells = context.doorbells;
  server.route("GET", "/downstream",
               [&](const auto& request, auto& response) { list(request, response, table, registry); });
  server.route("GET", "/downstream/*",
               [&](const auto& request, auto& response) { show(request, response, table); });
  server.route("POST", "/downstream/*/close",
               [&](const auto& request, auto& response) { close(request, response, table, doorbells); });
}

}  // namespace ppx
