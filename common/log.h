// The log of a process: one line an event. To the journal natively, with fields, where stderr is the journal; else to
// stderr as text or JSON. Set up once in main(); then any thread.
//
// What names a session, an upstream, a worker or an operation is logged by logInfo() and its like, with an event's name
// and fields; plain spdlog calls do for the rest and go the same way. At a level that is off nothing is formatted.
// Nothing waits for who reads: what a journal or a pipe does not take in time is lost, and counted in a later line.
#pragma once

#include <spdlog/spdlog.h>

#include <algorithm>
#include <concepts>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "common/log_format.h"
#include "common/uuid.h"

namespace ppx {

// Of a worker: its place in the table, in each of its lines.
struct LogOrigin {
  uint8_t row = 0;
  uint32_t incarnation = 0;
};

// `process` stands in each line, e.g. "forwarder-1". The level is info until setLogLevel().
void startLog(const std::string& process, std::optional<LogOrigin> worker = {});
void setLogLevel(int level);  // spdlog's numbers: 0 trace .. 6 off
void setLogFormat(LogFormat format);
void setLogIncarnation(uint32_t incarnation);  // of a worker that learns its own from the supervisor

// `name` in lower case: "session" is PPX_SESSION in the journal. Text is not copied: it lives until the call is over.
struct LogField {
  using Value = std::variant<std::string_view, uint64_t, Uuid>;
  LogField(std::string_view itsName, std::string_view text) : name(itsName), value(text) {}
  LogField(std::string_view itsName, const Uuid& uuid) : name(itsName), value(uuid) {}
  LogField(std::string_view itsName, std::integral auto number)
      : name(itsName), value(static_cast<uint64_t>(number)) {}
  std::string_view name;
  Value value;
};
using LogFields = std::initializer_list<LogField>;
using LogAt = spdlog::level::level_enum;

// The second half of logEvent(): the level is on.
void writeEvent(LogAt level, std::string_view event, LogFields fields, std::string_view text);

template <typename... Args>
void logEvent(LogAt level, std::string_view event, LogFields fields, fmt::format_string<Args...> text,
              Args&&... args) {
  if (spdlog::should_log(level))
    writeEvent(level, event, fields, fmt::format(text, std::forward<Args>(args)...));
}
template <typename... Args>
void logDebug(std::string_view event, LogFields fields, fmt::format_string<Args...> text, Args&&... args) {
  logEvent(LogAt::debug, event, fields, text, std::forward<Args>(args)...);
}
template <typename... Args>
void logInfo(std::string_view event, LogFields fields, fmt::format_string<Args...> text, Args&&... args) {
  logEvent(LogAt::info, event, fields, text, std::forward<Args>(args)...);
}
template <typename... Args>
void logWarn(std::string_view event, LogFields fields, fmt::format_string<Args...> text, Args&&... args) {
  logEvent(LogAt::warn, event, fields, text, std::forward<Args>(args)...);
}
template <typename... Args>
void logError(std::string_view event, LogFields fields, fmt::format_string<Args...> text, Args&&... args) {
  logEvent(LogAt::err, event, fields, text, std::forward<Args>(args)...);
}

}  // namespace ppx

template <>
struct fmt::formatter<ppx::Uuid> {
  constexpr auto parse(fmt::format_parse_context& context) { return context.begin(); }
  auto format(const ppx::Uuid& uuid, fmt::format_context& context) const {
    char text[ppx::kUuidTextBytes];
    ppx::writeUuidText(uuid, text);
    return std::copy_n(text, sizeof(text), context.out());
  }
};
