#include "supervisor/ctl/commands.h"

#include <fmt/format.h>

#include <charconv>
#include <cstdio>
#include <optional>

#include "supervisor/ctl/text_table.h"

namespace ppx::ctl {
namespace {

// The value of a field as a person reads it; "-" for null and for what is not there.
std::string cell(const Json& row, const char* field) {
  auto found = row.find(field);
  if (found == row.end() || found->is_null()) return "-";
  return found->is_string() ? found->get<std::string>() : found->dump();
}

void print(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
}

std::string errorText(const Answer& answer) {
  if (answer.body.is_object() && answer.body.contains("error")) return cell(answer.body["error"], "message");
  return "status " + std::to_string(answer.status);
}

// Unreachable and refused are the same for all commands. None: go on with the answer.
std::optional<int> failed(const Result<Answer>& answer, const Output& output) {
  if (!answer) {
    std::fprintf(stderr, "paradoxctl: %s\n", answer.error().text.c_str());
    return kUnreachable;
  }
  if (answer.value().ok()) return std::nullopt;
  if (output.json) print(answer.value().text);
  std::fprintf(stderr, "paradoxctl: the gateway says: %s\n", errorText(answer.value()).c_str());
  return kRefused;
}

// An empty list leaves a person in doubt whether the program did anything; a pipe gets no rows.
std::string listing(const std::string& text, const Json& rows, const Output& output) {
  return rows.empty() && output.terminal ? "none\n" : text;
}

// A command whose answer needs one line.
int printed(const Result<Answer>& answer, const Output& output, const std::string& text) {
  print(output.json ? answer.value().text : text + "\n");
  return kOk;
}

std::string listenersText(const Json& status, bool aligned) {
  TextTable table({"LISTENER", "ADDRESS", "POOL"});
  for (const Json& row : status.value("listeners", Json::array()))
    table.add({cell(row, "name"), cell(row, "host") + ":" + cell(row, "port"), cell(row, "pool")});
  return table.text(aligned);
}

std::string workersText(const Json& status, bool aligned) {
  TextTable table({"PROCESS", "ROW", "PID", "STATE", "RESTARTS", "SESSIONS"});
  for (const Json& row : status.value("workers", Json::array()))
    table.add({cell(row, "name"), cell(row, "row"), cell(row, "pid"), cell(row, "state"),
               cell(row, "restarts"), cell(row, "sessions")});
  return table.text(aligned);
}

std::string countsText(const Json& counts) {
  std::string out;
  for (const auto& [name, count] : counts.items()) {
    if (!out.empty()) out += ", ";
    out += count.dump() + " " + name;
  }
  return out;
}

// Whether a process that dies now takes sessions with it.
std::string custodyText(const Json& custody) {
  return fmt::format("custody: {}, {} descriptors\n",
                     custody.value("complete", false)
                         ? "complete"
                         : "INCOMPLETE (a forwarder that dies now takes sessions with it)",
                     cell(custody, "descriptors"));
}

// "host:port" or "[host]:port"; none: not so.
std::optional<Json> parseAddress(const std::string& text) {
  size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0) return std::nullopt;
  std::string host = text.substr(0, colon);
  bool brackets = host.front() == '[' && host.back() == ']';
  if (brackets) host = host.substr(1, host.size() - 2);
  if (host.empty() || (!brackets && host.find(':') != std::string::npos)) return std::nullopt;
  uint16_t port = 0;
  const char* end = text.data() + text.size();
  auto [stopped, wrong] = std::from_chars(text.data() + colon + 1, end, port);
  if (wrong != std::errc() || stopped != end || port == 0) return std::nullopt;
  return Json{{"host", host}, {"port", port}};
}

std::string sessionsPath(const SessionFilter& filter, const std::string& cursor) {
  std::string path = "/downstream?limit=1000";
  if (!filter.pool.empty()) path += "&pool=" + filter.pool;
  if (!filter.upstream.empty()) path += "&upstream=" + filter.upstream;
  return cursor.empty() ? path : path + "&cursor=" + cursor;
}

}  // namespace

int showStatus(const GatewayClient& gateway, const Output& output) {
  auto answer = gateway.get("/admin/status");
  if (auto code = failed(answer, output)) return *code;
  const Json& status = answer->body;
  if (output.json) return printed(answer, output, {});
  Json sessions = status.value("sessions", Json::object());
  print(fmt::format("paradoxd {}, pid {}, up {} s, {}\n", cell(status, "version"), cell(status, "pid"),
                    cell(status, "uptime_seconds"), status.value("ready", false) ? "ready" : "not ready"));
  print(fmt::format("sessions: {} open of {}", cell(sessions, "open"), cell(sessions, "capacity")));
  if (sessions.value("unserved", 0) > 0)
    print(fmt::format(", {} on their way to a forwarder", cell(sessions, "unserved")));
  print("\n");
  print(custodyText(status.value("custody", Json::object())));
  print("upstreams: " + countsText(status.value("upstreams", Json::object())) + "\n");
  if (output.terminal) print("\n");
  print(listenersText(status, output.terminal));
  if (output.terminal) print("\n");
  print(workersText(status, output.terminal));
  return kOk;
}

int showUpstreams(const GatewayClient& gateway, const Output& output) {
  auto answer = gateway.get("/upstream");
  if (auto code = failed(answer, output)) return *code;
  TextTable table({"UUID", "ADDRESS", "POOL", "STATE", "SESSIONS", "MESSAGES IN", "MESSAGES OUT", "DOWN"});
  for (const Json& row : answer->body.value("upstreams", Json::array()))
    table.add({cell(row, "uuid"), cell(row, "host") + ":" + cell(row, "port"), cell(row, "pool"),
               cell(row, "state"), cell(row, "sessions"), cell(row, "messages_in"), cell(row, "messages_out"),
               cell(row, "times_down")});
  print(output.json ? answer->text : table.text(output.terminal));
  return kOk;
}

int showSessions(const GatewayClient& gateway, const Output& output, const SessionFilter& filter) {
  TextTable table({"UUID", "PEER", "LISTENER", "POOL", "STATE", "AGE", "BYTES IN", "BYTES OUT", "UPSTREAM"});
  Json all = Json::array();
  std::string cursor;
  do {
    auto answer = gateway.get(sessionsPath(filter, cursor));
    if (auto code = failed(answer, output)) return *code;
    for (const Json& row : answer->body.value("downstreams", Json::array())) {
      Json bytes = row.value("bytes", Json::object());
      table.add({cell(row, "uuid"), cell(row, "peer"), cell(row, "listener"), cell(row, "pool"),
                 cell(row, "state"), cell(row, "age_seconds"), cell(bytes, "in_received"),
                 cell(bytes, "out_sent"), cell(row, "upstream")});
      if (output.json) all.push_back(row);
    }
    cursor = cell(answer->body, "next_cursor");
  } while (cursor != "-");
  print(output.json ? Json{{"downstreams", std::move(all)}}.dump() + "\n" : table.text(output.terminal));
  return kOk;
}

int addUpstream(const GatewayClient& gateway, const Output& output, const UpstreamToAdd& upstream) {
  std::optional<Json> body = parseAddress(upstream.address);
  if (!body) {
    std::fprintf(stderr, "paradoxctl: expected HOST:PORT or [IPv6]:PORT, found %s\n",
                 upstream.address.c_str());
    return kUsage;
  }
  if (!upstream.pool.empty()) (*body)["pool"] = upstream.pool;
  if (upstream.aliveTimeout > 0) (*body)["alive_timeout"] = upstream.aliveTimeout;
  if (upstream.readyTimeout > 0) (*body)["ready_timeout"] = upstream.readyTimeout;
  auto answer = gateway.post("/upstream/add", body->dump());
  if (auto code = failed(answer, output)) return *code;
  return printed(answer, output,
                 cell(answer->body, "uuid") + (output.terminal ? "  " : "\t") + cell(answer->body, "state"));
}

int deleteUpstream(const GatewayClient& gateway, const Output& output, const std::string& uuid) {
  auto answer = gateway.post("/upstream/delete/" + uuid);
  if (auto code = failed(answer, output)) return *code;
  return printed(answer, output, uuid + " is draining");
}

int closeSession(const GatewayClient& gateway, const Output& output, const std::string& uuid) {
  auto answer = gateway.post("/downstream/" + uuid + "/close");
  if (auto code = failed(answer, output)) return *code;
  return printed(answer, output, uuid + " is closing");
}

int logLevels(const GatewayClient& gateway, const Output& output, const std::string& level,
              const std::string& role) {
  Json wanted{{"level", level}};
  if (!role.empty()) wanted["role"] = role;
  auto answer = level.empty() ? gateway.get("/admin/log") : gateway.put("/admin/log", wanted.dump());
  if (auto code = failed(answer, output)) return *code;
  TextTable table({"PROCESSES", "LEVEL"});
  const Json levels = answer.value().body.value("levels", Json::object());
  for (const auto& [name, now] : levels.items())
    table.add({name, now.is_string() ? now.get<std::string>() : now.dump()});
  print(output.json ? answer->text : table.text(output.terminal));
  return kOk;
}

int showDeaths(const GatewayClient& gateway, const Output& output) {
  auto answer = gateway.get("/admin/obituaries");
  if (auto code = failed(answer, output)) return *code;
  TextTable table({"TIME", "PROCESS", "PID", "CAUSE", "HOW", "SESSIONS", "WENT ON", "CLOSED", "IN DOUBT",
                   "BYTES CARRIED", "BYTES IN DOUBT", "RECOVERED IN", "LAST WORDS"});
  const Json deaths = answer->body.value("obituaries", Json::array());
  for (const Json& row : deaths) {
    const Json sessions = row.value("sessions", Json::object()),
               carried = row.value("bytes_carried", Json::object());
    const Json seconds = row.value("recovery", Json::object()).value("seconds", Json());
    table.add({cell(row, "time"), cell(row, "worker"), cell(row, "pid"), cell(row, "cause"), cell(row, "how"),
               cell(sessions, "had"), cell(sessions, "went_on"), cell(sessions, "closed"),
               cell(sessions, "in_doubt"),
               carried.empty() ? "-" : cell(carried, "in") + "+" + cell(carried, "out"),
               cell(row, "bytes_in_doubt"),
               seconds.is_number() ? fmt::format("{:.1f} ms", seconds.get<double>() * 1000) : "-",
               cell(row, "last_words")});
  }
  print(output.json ? answer->text : listing(table.text(output.terminal), deaths, output));
  return kOk;
}

int checkReady(const GatewayClient& gateway, const Output& output) {
  auto answer = gateway.get("/health/ready");
  if (!answer) return *failed(answer, output);
  print(output.json ? answer->text : answer->ok() ? "ready\n" : "not ready\n");
  return answer->ok() ? kOk : kRefused;
}

}  // namespace ppx::ctl
