// GET /admin/log, PUT /admin/log: how much each kind of process logs, at run time.
#include <algorithm>
#include <iterator>

#include "common/log_settings.h"
#include "supervisor/admin/admin_server.h"
#include "supervisor/admin/api_values.h"

namespace ppx {
namespace {

// By spdlog's numbers. `critical` is what a process says as it ends; who asks for it gets `error`, as in the file.
constexpr std::string_view kLevels[] = {"trace", "debug", "info", "warn", "error", "critical", "off"};
constexpr char kAsConfigured[] = "configured";
constexpr std::pair<const char*, WorkerRole> kRoles[] = {{"supervisor", WorkerRole::kNone},
                                                         {"forwarder", WorkerRole::kForwarder},
                                                         {"acceptor", WorkerRole::kAcceptor},
                                                         {"prober", WorkerRole::kProber},
                                                         {"custodian", WorkerRole::kCustodian}};
constexpr const char* kFormats[] = {"auto", "text", "json"};

std::string_view levelName(uint8_t level) {
  return kLevels[std::min<size_t>(level, std::size(kLevels) - 1)];
}

void show(httplib::Response& response, const AdminContext& context) {
  LogSettings settings =
      LogSettings::from(context.table.header().logging.load()).value_or(LogSettings::same(LogAt::info, {}));
  ApiJson levels = ApiJson::object();
  for (const auto& [name, role] : kRoles) levels[name] = levelName(settings.of(role));
  reply(response, 200,
        {{"levels", std::move(levels)},
         {"configured", levelName(settings.configured)},
         {"format", kFormats[std::min<size_t>(static_cast<size_t>(settings.format), 2)]}});
}

// A word that there is not becomes the body's error.
LogChange changeOf(JsonBody& body) {
  LogChange change;
  std::string level = body.requiredText("level"), role = body.text("role", "");
  if (level == "critical") level = "error";
  if (level != kAsConfigured) {
    auto found = std::find(std::begin(kLevels), std::end(kLevels), level);
    if (found == std::end(kLevels))
      body.reject("level", "trace, debug, info, warn, error, off or configured");
    change.level = static_cast<uint8_t>(found - std::begin(kLevels));
  }
  if (!role.empty()) {
    auto found = std::find_if(std::begin(kRoles), std::end(kRoles),
                              [&](const auto& each) { return role == each.first; });
    if (found == std::end(kRoles))
      body.reject("role", "supervisor, forwarder, acceptor, prober or custodian");
    else
      change.role = found->second;
  }
  return change;
}

void set(const httplib::Request& request, httplib::Response& response, const AdminContext& context) {
  JsonBody body(request.body);
  LogChange change = changeOf(body);
  if (auto error = body.error()) return replyError(response, *error);
  if (!context.changeLog) return replyError(response, 503, "not_serving", "no levels to set here");
  OperationAnswer answer = context.changeLog(change);
  if (answer.status >= 300) return replyError(response, answer.status, answer.code, answer.text);
  show(response, context);
}

}  // namespace

void addLogRoutes(HttpServer& server, const AdminContext& context) {
  server.route("GET", "/admin/log", [&](const auto&, auto& response) { show(response, context); });
  server.route("PUT", "/admin/log",
               [&](const auto& request, auto& response) { set(request, response, context); });
}

}  // namespace ppx
