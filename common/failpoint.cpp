#include "common/failpoint.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace ppx {
namespace {

enum class Action { kKill, kStop, kHang, kExit, kErrno };

struct Failpoint {
  std::string name;
  Action action = Action::kKill;
  int argument = 0;
  long from = 1, to = -1;  // which passes; to < 0: all from `from` on
  std::atomic<long> passes{0};
};

[[noreturn]] void refuse(std::string_view entry) {
  std::fprintf(stderr, "PPX_FAILPOINTS: cannot read \"%.*s\"\n", static_cast<int>(entry.size()),
               entry.data());
  std::_Exit(64);
}

long number(std::string_view text, std::string_view entry) {
  long value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) refuse(entry);
  return value;
}

void parseEntry(std::string_view entry, Failpoint& out) {
  size_t equals = entry.find('=');
  if (equals == std::string_view::npos) refuse(entry);
  out.name = entry.substr(0, equals);
  std::string_view action = entry.substr(equals + 1);
  if (size_t at = action.find('@'); at != std::string_view::npos) {
    std::string_view range = action.substr(at + 1);
    action = action.substr(0, at);
    size_t dash = range.find('-');
    out.from = number(range.substr(0, dash), entry);
    out.to = dash == std::string_view::npos ? out.from : number(range.substr(dash + 1), entry);
  }
  if (size_t colon = action.find(':'); colon != std::string_view::npos) {
    out.argument = static_cast<int>(number(action.substr(colon + 1), entry));
    action = action.substr(0, colon);
  }
  if (action == "kill")
    out.action = Action::kKill;
  else if (action == "stop")
    out.action = Action::kStop;
  else if (action == "hang")
    out.action = Action::kHang;
  else if (action == "exit")
    out.action = Action::kExit;
  else if (action == "errno")
    out.action = Action::kErrno;
  else
    refuse(entry);
}

using Registry = std::vector<Failpoint*>;  // each lives as long as the process

void parseInto(Registry& points, std::string_view rest) {
  while (!rest.empty()) {
    size_t semicolon = rest.find(';');
    std::string_view entry = rest.substr(0, semicolon);
    rest = semicolon == std::string_view::npos ? "" : rest.substr(semicolon + 1);
    if (entry.empty()) continue;
    points.push_back(new Failpoint);
    parseEntry(entry, *points.back());
  }
}

Registry& registry() {
  static Registry& points = *[] {
    auto* parsed = new Registry;  // never destroyed: threads pass failpoints while the process exits
    const char* text = std::getenv("PPX_FAILPOINTS");
    const char* program = std::getenv("PPX_FAILPOINTS_ONLY");
    if (text != nullptr && (program == nullptr || std::string_view(program) == program_invocation_short_name))
      parseInto(*parsed, text);
    return parsed;
  }();
  return points;
}

FailpointHook hook = nullptr;

bool isFirst(const std::string& name) {
  static const char* const directory = std::getenv("PPX_FAILPOINTS_ONCE");
  if (directory == nullptr) return true;
  const int mark =
      ::open((std::string(directory) + "/" + name).c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
  if (mark >= 0) ::close(mark);
  return mark >= 0;
}

}  // namespace

bool failpointsArmed = !registry().empty();

void armFailpoints(std::string_view text) {
  parseInto(registry(), text);
  failpointsArmed = !registry().empty() || hook != nullptr;
}

void setFailpointHook(FailpointHook to) {
  hook = to;
  failpointsArmed = !registry().empty() || hook != nullptr;
}

int failpointSlow(std::string_view name) {
  int simulated = 0;
  if (hook != nullptr) hook(name);
  for (Failpoint* point : registry()) {
    if (point->name != name) continue;
    long pass = ++point->passes;
    if (pass < point->from || (point->to >= 0 && pass > point->to)) continue;
    if (point->action != Action::kErrno && !isFirst(point->name)) continue;
    switch (point->action) {
      case Action::kKill:
        ::kill(::getpid(), SIGKILL);
        break;
      case Action::kStop:
        ::raise(SIGSTOP);  // this thread here, the others soon
        break;
      case Action::kHang:
        for (;;) ::pause();
      case Action::kExit:
        std::_Exit(point->argument);
      case Action::kErrno:
        simulated = point->argument;
        break;
    }
  }
  return simulated;
}

}  // namespace ppx
