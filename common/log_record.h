// One line of the log, and its three forms. No I/O, no state.
#pragma once

#include <string>

#include "common/clock.h"
#include "common/log.h"

namespace ppx {

struct LogProcess {
  std::string name;                 // "forwarder-1"
  std::optional<LogOrigin> worker;  // none: the supervisor
  int pid = 0;
};

struct LogRecord {
  Millis realtimeMs = 0;
  LogAt level = LogAt::info;
  std::string_view event;  // empty: it has none
  LogFields fields;
  std::string_view text;
};

// The longest text of a line: peers have a say in it.
inline constexpr size_t kMaxLogText = 8192;

// 2024-05-01T12:00:00.123Z info forwarder-1[4711] the text. One line, without its end; control characters are escaped.
std::string textLine(const LogProcess& process, const LogRecord& record);
// {"time":...,"level":...,"process":...,"pid":...,"event":...,<fields>,"message":...}. A worker's lines have "worker",
// "row" and "incarnation": its own, unless fields name another worker. Valid UTF-8, whatever the text is.
std::string jsonLine(const LogProcess& process, const LogRecord& record);
// A datagram of the journal's native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): MESSAGE, PRIORITY,
// SYSLOG_IDENTIFIER, PPX_EVENT, PPX_<FIELD>. The identifier is the name of the program, and its number.
std::string journalEntry(const LogProcess& process, const LogRecord& record);

}  // namespace ppx
