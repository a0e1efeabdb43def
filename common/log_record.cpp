#include "common/log_record.h"

#include <algorithm>
#include <cstring>

namespace ppx {
namespace {

constexpr std::string_view kWords[] = {"trace", "debug", "info", "warn", "error", "critical", "off"};
constexpr std::string_view kReplacement = "\xef\xbf\xbd";  // U+FFFD

// syslog(3)'s.
char priority(LogAt level) {
  switch (level) {
    case LogAt::critical:
      return '2';
    case LogAt::err:
      return '3';
    case LogAt::warn:
      return '4';
    case LogAt::info:
      return '6';
    default:
      return '7';
  }
}

std::string_view bounded(std::string_view text) {
  return text.substr(0, kMaxLogText);
}

// All fields of a line: its own, then those of the process that the line does not give another value.
template <typename Each>
void forEachField(const LogProcess& process, const LogRecord& record, Each&& each) {
  for (const LogField& field : record.fields) each(field);
  bool ofAnother = std::any_of(record.fields.begin(), record.fields.end(),
                               [](const LogField& field) { return field.name == "worker"; });
  if (!process.worker || ofAnother) return;
  each(LogField("worker", process.name));
  each(LogField("row", process.worker->row));
  each(LogField("incarnation", process.worker->incarnation));
}

std::string valueText(const LogField::Value& value) {
  if (auto* text = std::get_if<std::string_view>(&value)) return std::string(bounded(*text));
  if (auto* number = std::get_if<uint64_t>(&value)) return std::to_string(*number);
  return uuidText(std::get<Uuid>(value));
}

// How many bytes the UTF-8 character at the start of `text` has; 0: it is none.
size_t characterBytes(std::string_view text) {
  auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  auto tail = [&](size_t i) { return (byte(i) & 0xc0) == 0x80; };
  unsigned first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first < 0xe0) return tail(1) ? 2 : 0;
  if (first >= 0xe0 && first < 0xf0) {
    bool fits = first == 0xe0 ? byte(1) >= 0xa0 : first != 0xed || byte(1) < 0xa0;  // overlong; surrogates
    return fits && tail(1) && tail(2) ? 3 : 0;
  }
  if (first >= 0xf0 && first < 0xf5) {
    bool fits = first == 0xf0 ? byte(1) >= 0x90 : first != 0xf4 || byte(1) < 0x90;
    return fits && tail(1) && tail(2) && tail(3) ? 4 : 0;
  }
  return 0;
}

void appendJsonString(std::string& out, std::string_view text) {
  out += '"';
  while (!text.empty()) {
    auto first = static_cast<unsigned char>(text.front());
    size_t bytes = characterBytes(text);
    if (bytes == 0)
      out += kReplacement;
    else if (first == '"' || first == '\\')
      out.append("\\").append(1, text.front());
    else if (first < 0x20 || first == 0x7f)
      out += fmt::format("\\u{:04x}", first);
    else
      out += text.substr(0, bytes);
    text.remove_prefix(std::max<size_t>(bytes, 1));
  }
  out += '"';
}

void appendJson(std::string& out, std::string_view name, std::string_view text) {
  out += out.empty() ? "{" : ",";
  appendJsonString(out, name);
  out += ':';
  appendJsonString(out, text);
}

void appendJson(std::string& out, std::string_view name, uint64_t number) {
  out.append(",\"").append(name).append("\":").append(std::to_string(number));
}

// A value of one line as NAME=value; one with line breaks by its length.
void appendEntry(std::string& out, std::string_view name, std::string_view value) {
  out += name;
  if (value.find('\n') == std::string_view::npos) {
    out.append("=").append(value).append("\n");
    return;
  }
  char length[8];
  for (size_t i = 0; i < sizeof(length); ++i) length[i] = static_cast<char>(value.size() >> (8 * i) & 0xff);
  out.append("\n").append(length, sizeof(length)).append(value).append("\n");
}

std::string journalName(std::string_view name) {
  std::string out = "PPX_";
  for (char each : name) out += each >= 'a' && each <= 'z' ? static_cast<char>(each - 'a' + 'A') : each;
  return out;
}

}  // namespace

std::string textLine(const LogProcess& process, const LogRecord& record) {
  auto name = spdlog::level::to_string_view(record.level);
  std::string out = fmt::format("{} {} {}[{}] ", rfc3339(record.realtimeMs),
                                std::string_view(name.data(), name.size()), process.name, process.pid);
  for (char each : bounded(record.text)) {
    auto byte = static_cast<unsigned char>(each);
    if (byte == '\n')
      out += "\\n";
    else if ((byte < 0x20 && byte != '\t') || byte == 0x7f)
      out += fmt::format("\\x{:02x}", byte);
    else
      out += each;
  }
  return out;
}

std::string jsonLine(const LogProcess& process, const LogRecord& record) {
  std::string out;
  appendJson(out, "time", rfc3339(record.realtimeMs));
  appendJson(out, "level", kWords[record.level]);
  appendJson(out, "process", process.name);
  appendJson(out, "pid", static_cast<uint64_t>(process.pid));
  if (!record.event.empty()) appendJson(out, "event", record.event);
  forEachField(process, record, [&](const LogField& field) {
    if (auto* number = std::get_if<uint64_t>(&field.value)) return appendJson(out, field.name, *number);
    appendJson(out, field.name, valueText(field.value));
  });
  appendJson(out, "message", bounded(record.text));
  return out + "}";
}

std::string journalEntry(const LogProcess& process, const LogRecord& record) {
  std::string out;
  appendEntry(out, "MESSAGE", bounded(record.text));
  appendEntry(out, "PRIORITY", std::string(1, priority(record.level)));
  appendEntry(out, "SYSLOG_IDENTIFIER", process.worker ? "paradox-" + process.name : process.name);
  if (!record.event.empty()) appendEntry(out, "PPX_EVENT", record.event);
  forEachField(process, record, [&](const LogField& field) {
    appendEntry(out, journalName(field.name), valueText(field.value));
  });
  return out;
}

}  // namespace ppx
