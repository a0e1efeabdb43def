// POST /admin/forwarders/..., GET /admin/operation: planned operations.
#include <charconv>

#include "supervisor/admin/admin_server.h"
#include "supervisor/admin/api_values.h"

namespace ppx {
namespace {

ApiJson timeOrNull(Millis realtimeMs) {
  return realtimeMs == 0 ? ApiJson() : ApiJson(static_cast<double>(realtimeMs) / 1000);
}

ApiJson describe(const OperationStatus& operation) {
  return {{"id", operation.id},
          {"name", operation.name},
          {"state", operationStateName(operation.state)},
          {"progress", operation.progress},
          {"text", operation.text},
          {"started", timeOrNull(operation.startedRealtimeMs)},
          {"ended", timeOrNull(operation.endedRealtimeMs)}};
}

void start(httplib::Response& response, const AdminContext& context, const OperationRequest& request) {
  if (!context.operate) return replyError(response, 503, "not_serving", "no operations here");
  OperationAnswer answer = context.operate(request);
  if (answer.status >= 300) return replyError(response, answer.status, answer.code, answer.text);
  reply(response, answer.status, {{"operation", describe(answer.operation)}});
}

void restartOne(const httplib::Request& request, httplib::Response& response, const AdminContext& context) {
  std::string text = request.matches[1];
  OperationRequest wanted{.kind = OperationRequest::Kind::kRestartForwarder};
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), wanted.number);
  if (error != std::errc() || end != text.data() + text.size() || wanted.number >= kMaxForwarders)
    return replyError(response, 404, "not_found", "no forwarder has the number " + text);
  start(response, context, wanted);
}

void scale(const httplib::Request& request, httplib::Response& response, const AdminContext& context) {
  JsonBody body(request.body);
  int64_t count = body.requiredInteger("count", 1, kMaxForwarders - 1);
  if (auto error = body.error()) return replyError(response, *error);
  start(response, context,
        {.kind = OperationRequest::Kind::kScaleForwarders, .number = static_cast<uint32_t>(count)});
}

void reload(httplib::Response& response, const AdminContext& context) {
  if (!context.operate) return replyError(response, 503, "not_serving", "no operations here");
  OperationAnswer answer = context.operate({.kind = OperationRequest::Kind::kReload});
  if (answer.status >= 300) return replyError(response, answer.status, answer.code, answer.text);
  bool scales = answer.operation.state == OperationStatus::State::kRunning;
  reply(response, 200,
        {{"changed", answer.changed}, {"operation", scales ? describe(answer.operation) : ApiJson()}});
}

constexpr std::pair<const char*, OperationRequest::Kind> kPlain[] = {
    {"/admin/forwarders/restart", OperationRequest::Kind::kRestartForwarders},
    {"/admin/acceptors/restart", OperationRequest::Kind::kRestartAcceptors},
    {"/admin/prober/restart", OperationRequest::Kind::kRestartProber},
    {"/admin/custodian/restart", OperationRequest::Kind::kRestartCustodian},
    {"/admin/upgrade", OperationRequest::Kind::kUpgrade}};

}  // namespace

void addOperationRoutes(HttpServer& server, const AdminContext& context) {
  server.route("GET", "/admin/operation", [&](const auto&, auto& response) {
    reply(response, 200, {{"operation", describe(context.status().operation)}});
  });
  for (const auto& [path, kind] : kPlain)
    server.route("POST", path, [&context, kind = kind](const auto&, auto& response) {
      start(response, context, {.kind = kind});
    });
  server.route("POST", "/admin/reload", [&](const auto&, auto& response) { reload(response, context); });
  server.route("POST", "/admin/forwarders/scale",
               [&](const auto& request, auto& response) { scale(request, response, context); });
  server.route("POST", "/admin/forwarders/*/restart",
               [&](const auto& request, auto& response) { restartOne(request, response, context); });
}

}  // namespace ppx
