#include "supervisor/ctl/operation_commands.h"

#include <chrono>
#include <cstdio>
#include <thread>

#include "common/clock.h"

namespace ppx::ctl {
namespace {

using namespace std::chrono_literals;

constexpr auto kLook = 100ms;
constexpr Millis kSilenceMs = 15'000;  // of a gateway whose supervisor is being replaced

void print(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

// One line that is written over on a terminal, a line for each step on a pipe.
class ProgressLine {
 public:
  explicit ProgressLine(const Output& output) : output_(output) {}
  void show(const std::string& text) {
    if (output_.json || text.empty() || text == last_) return;
    last_ = text;
    print(output_.terminal ? "\r\033[K" + text : text + "\n");
  }
  void clear() const {
    if (output_.terminal && !last_.empty()) print("\r\033[K");
  }

 private:
  const Output& output_;
  std::string last_;
};

int unreachable(const Error& error) {
  std::fprintf(stderr, "paradoxctl: %s\n", error.text.c_str());
  return kUnreachable;
}

int refused(const Answer& answer, const Output& output) {
  if (output.json) print(answer.text);
  std::string why = "status " + std::to_string(answer.status);
  if (answer.body.is_object() && answer.body.contains("error"))
    why = answer.body["error"].value("message", why);
  std::fprintf(stderr, "paradoxctl: the gateway says: %s\n", why.c_str());
  return answer.status == 409 ? kUnderWay : kRefused;
}

int ended(const Json& operation, const Answer& answer, const Output& output) {
  bool done = operation.value("state", "") == "done";
  std::string text = operation.value("name", "") + ": " + operation.value("text", "") + "\n";
  if (output.json)
    print(answer.text);
  else if (done)
    print(text);
  if (!done) std::fprintf(stderr, "paradoxctl: failed: %s", text.c_str());
  return done ? kOk : kRefused;
}

int followOperation(const GatewayClient& gateway, const Output& output, uint64_t id) {
  ProgressLine line(output);
  for (Millis heard = monotonicMillis();;) {
    auto answer = gateway.get("/admin/operation");
    if (!answer || !answer->ok()) {
      if (monotonicMillis() - heard > kSilenceMs)
        return answer ? refused(*answer, output) : unreachable(answer.error());
      std::this_thread::sleep_for(kLook);
      continue;
    }
    heard = monotonicMillis();
    Json operation = answer->body.value("operation", Json::object());
    uint64_t now = operation.value("id", uint64_t{0});
    if (now != id) {
      line.clear();
      std::fprintf(stderr, "paradoxctl: the gateway knows of the operation no more\n");
      return kRefused;
    }
    if (operation.value("state", "") != "running") {
      line.clear();
      return ended(operation, *answer, output);
    }
    line.show(operation.value("progress", ""));
    std::this_thread::sleep_for(kLook);
  }
}

int start(const GatewayClient& gateway, const Output& output, const std::string& path,
          const std::string& body = {}) {
  auto answer = gateway.post(path, body);
  if (!answer) return unreachable(answer.error());
  if (!answer->ok()) return refused(*answer, output);
  return followOperation(gateway, output,
                         answer->body.value("operation", Json::object()).value("id", uint64_t{0}));
}

}  // namespace

int restart(const GatewayClient& gateway, const Output& output, const std::string& what) {
  constexpr std::string_view kForwarder = "forwarder-";
  if (what == "forwarders" || what == "acceptors" || what == "prober" || what == "custodian")
    return start(gateway, output, "/admin/" + what + "/restart");
  std::string number = what.starts_with(kForwarder) ? what.substr(kForwarder.size()) : "";
  if (!number.empty() && number.find_first_not_of("0123456789") == std::string::npos)
    return start(gateway, output, "/admin/forwarders/" + number + "/restart");
  std::fprintf(stderr,
               "paradoxctl: expected forwarders, acceptors, prober, custodian or forwarder-N, found %s\n",
               what.c_str());
  return kUsage;
}

int scale(const GatewayClient& gateway, const Output& output, int count) {
  return start(gateway, output, "/admin/forwarders/scale", Json{{"count", count}}.dump());
}

int upgrade(const GatewayClient& gateway, const Output& output) {
  return start(gateway, output, "/admin/upgrade");
}

int reload(const GatewayClient& gateway, const Output& output) {
  auto answer = gateway.post("/admin/reload");
  if (!answer) return unreachable(answer.error());
  if (!answer->ok()) return refused(*answer, output);
  Json changed = answer->body.value("changed", Json::array());
  if (output.json) print(answer->text);
  for (const Json& each : changed)
    if (!output.json) print(each.get<std::string>() + "\n");
  if (changed.empty() && !output.json) print("nothing has changed\n");
  Json operation = answer->body.value("operation", Json());
  if (!operation.is_object()) return kOk;
  return followOperation(gateway, output, operation.value("id", uint64_t{0}));
}

int showEvents(const GatewayClient& gateway, const Output& output, bool follow) {
  for (uint64_t last = 0;;) {
    auto answer = gateway.get("/admin/events?follow=0&after=" + std::to_string(last));
    if (!answer) return unreachable(answer.error());
    if (!answer->ok()) return refused(*answer, output);
    for (const Json& event : answer->body.value("events", Json::array()))
      print(output.json
                ? event.dump() + "\n"
                : event.value("time", "") + (output.terminal ? "  " : "\t") + event.value("event", "") +
                      (output.terminal ? "  " : "\t") + event.value("data", Json()).dump() + "\n");
    if (!follow && output.terminal && !output.json && answer->body.value("events", Json::array()).empty())
      print("none\n");
    last = answer->body.value("last_id", last);
    if (!follow) return kOk;
    std::this_thread::sleep_for(kLook);
  }
}

}  // namespace ppx::ctl
