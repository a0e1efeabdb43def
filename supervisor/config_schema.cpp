#include "supervisor/config_schema.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <type_traits>

namespace ppx {
namespace {

template <class S, class M>
S sectionOf(M S::*);
template <class S, class M>
M memberOf(M S::*);

template <auto kMember>
constexpr ConfigField field() {
  using Section = decltype(sectionOf(kMember));
  using Member = decltype(memberOf(kMember));
  ConfigField result{};
  if constexpr (std::is_same_v<Member, std::string>) {
    result.set = [](void* s, const ConfigValue& v) {
      static_cast<Section*>(s)->*kMember = std::get<std::string>(v);
    };
    result.get = [](const void* s) { return ConfigValue(static_cast<const Section*>(s)->*kMember); };
  } else if constexpr (std::is_same_v<Member, std::chrono::milliseconds>) {
    result.set = [](void* s, const ConfigValue& v) {
      static_cast<Section*>(s)->*kMember = Member(std::get<std::int64_t>(v));
    };
    result.get = [](const void* s) {
      return ConfigValue(std::int64_t{(static_cast<const Section*>(s)->*kMember).count()});
    };
  } else {
    result.set = [](void* s, const ConfigValue& v) {
      static_cast<Section*>(s)->*kMember = static_cast<Member>(std::get<std::int64_t>(v));
    };
    result.get = [](const void* s) {
      return ConfigValue(static_cast<std::int64_t>(static_cast<const Section*>(s)->*kMember));
    };
  }
  return result;
}

// The words in the order of their enumerations.
constexpr std::array<std::string_view, 2> kCrashPolicies = {"close", "continue"};
constexpr std::array<std::string_view, 2> kUpstreamLosses = {"continue", "close"};
constexpr std::array<std::string_view, 2> kRoutings = {"session", "message"};
constexpr std::array<std::string_view, 2> kAtLimits = {"wait", "refuse"};
constexpr std::array<std::string_view, 6> kLogLevels = {"trace", "debug", "info", "warn", "error", "off"};

constexpr std::array<std::string_view, 3> kLogFormats = {"auto", "text", "json"};

constexpr ValueRule text(ValueKind kind) {
  return {kind, 0, 0, {}};
}
constexpr ValueRule integer(std::int64_t min, std::int64_t max) {
  return {ValueKind::kInteger, min, max, {}};
}
constexpr ValueRule bytes(std::int64_t min, std::int64_t max) {
  return {ValueKind::kBytes, min, max, {}};
}
constexpr ValueRule duration(std::int64_t min, std::int64_t max) {
  return {ValueKind::kDuration, min, max, {}};
}
constexpr ValueRule wholeSeconds(std::int64_t min, std::int64_t max) {
  return {ValueKind::kWholeSeconds, min, max, {}};
}
constexpr ValueRule choice(std::span<const std::string_view> words) {
  return {ValueKind::kChoice, 0, 0, words};
}

constexpr std::int64_t kSecond = 1000;
constexpr std::int64_t kMinute = 60 * kSecond;
constexpr std::int64_t kHour = 60 * kMinute;
constexpr std::int64_t kDay = 24 * kHour;
constexpr std::int64_t kKiB = 1 << 10;
constexpr std::int64_t kMiB = 1 << 20;
constexpr std::int64_t kGiB = 1 << 30;

constexpr ValueRule kListenPort = integer(0, 65535);

// The rows from kServerKeys on are also those of [server].
using L = ListenerConfig;
constexpr std::size_t kServerKeys = 2;
constexpr KeySpec kListener[] = {
    {"name", field<&L::name>(), text(ValueKind::kName),
     "what the admin API, the metrics and the logs call it; unique"},
    {"pool", field<&L::pool>(), text(ValueKind::kName), "the upstreams that serve its sessions"},
    {"host", field<&L::host>(), text(ValueKind::kHost),
     "the address to listen on; `0.0.0.0` for all of IPv4"},
    {"port", field<&L::port>(), kListenPort, "0: the kernel chooses, `GET /admin/status` tells"},
    {"crash_policy", field<&L::crashPolicy>(), choice(kCrashPolicies),
     "what a killed forwarder does to sessions whose traffic is in doubt"},
    {"upstream_loss", field<&L::upstreamLoss>(), choice(kUpstreamLosses),
     "what a dead upstream does to sessions whose traffic is in doubt"},
    {"routing", field<&L::routing>(), choice(kRoutings),
     "`session`: one upstream serves a session while it lasts; `message`: each payload goes to the next one",
     "its pool's `routing`"},
    {"idle_timeout", field<&L::idleTimeout>(), duration(0, 365 * kDay),
     "as in `[sessions]`, for this listener", "`sessions.idle_timeout`"},
    {"half_close_timeout", field<&L::halfCloseTimeout>(), duration(0, kDay),
     "as in `[sessions]`, for this listener", "`sessions.half_close_timeout`"},
    {"backlog", field<&L::backlog>(), integer(1, 65535),
     "connections that the kernel keeps for accept(); `net.core.somaxconn` bounds it too"},
};

using P = PoolConfig;
constexpr KeySpec kPool[] = {
    {"name", field<&P::name>(), text(ValueKind::kName), "what listeners and upstreams call it; unique"},
    {"routing", field<&P::routing>(), choice(kRoutings), "the default of its listeners"},
};

using U = UpstreamConfig;
constexpr KeySpec kUpstream[] = {
    {"host", field<&U::host>(), text(ValueKind::kHost),
     "the worker's address; names are resolved again when it is lost"},
    {"port", field<&U::port>(), integer(1, 65535), "the worker's gRPC port"},
    {"pool", field<&U::pool>(), text(ValueKind::kName), "whose sessions it serves"},
    {"alive_timeout", field<&U::aliveTimeout>(), duration(100, kDay),
     "without a good answer to `live` for so long, it is taken out and its sessions move"},
    {"ready_timeout", field<&U::readyTimeout>(), duration(100, kHour),
     "how long one question `ready` may take"},
};

using W = WorkersConfig;
constexpr KeySpec kWorkers[] = {
    {"acceptors", field<&W::acceptors>(), integer(1, 15), "processes that accept clients"},
    {"forwarders", field<&W::forwarders>(), integer(1, 31), "processes that carry sessions"},
    {"heartbeat_timeout", field<&W::heartbeatTimeout>(), duration(kSecond, kHour),
     "a process that is silent for so long is taken for hung, and killed"},
    {"barrier_timeout", field<&W::barrierTimeout>(), duration(100, kHour),
     "how long a session that moves waits for its old upstream to have read everything"},
    {"drain_max", field<&W::drainMax>(), duration(kSecond, 7 * kDay),
     "how long a process or an upstream that leaves may go on delivering replies"},
    {"respawn_backoff_min", field<&W::respawnBackoffMin>(), duration(10, kHour),
     "wait before a process that died before any useful work starts again; doubled each time"},
    {"respawn_backoff_max", field<&W::respawnBackoffMax>(), duration(10, kHour), "the longest such wait"},
};

using S = SessionsConfig;
constexpr KeySpec kSessions[] = {
    {"max", field<&S::max>(), integer(1, 1 << 20), "slots in the table: clients at a time"},
    {"idle_timeout", field<&S::idleTimeout>(), duration(0, 365 * kDay),
     "a session without a byte either way for so long ends; 0: never"},
    {"half_close_timeout", field<&S::halfCloseTimeout>(), duration(0, kDay),
     "after a client's end of input, how long its session waits for more output"},
    {"linger_timeout", field<&S::lingerTimeout>(), duration(0, kHour),
     "how long a session that ends may take to deliver what is queued"},
    {"linger_grace", field<&S::lingerGrace>(), duration(0, kHour),
     "once all is acknowledged, how long to wait for the client's own end"},
    {"active_window", field<&S::activeWindow>(), duration(100, 365 * kDay),
     "a client that sent a byte within it is ACTIVE for broadcasts"},
    {"no_upstream_timeout", field<&S::noUpstreamTimeout>(), duration(0, 365 * kDay),
     "how long clients are kept, unread, while no upstream is ready; 0: for ever"},
    {"doubt_window", field<&S::doubtWindow>(), duration(0, kHour),
     "traffic on a broken stream within it is in doubt"},
    {"input_window_bytes", field<&S::inputWindowBytes>(), bytes(4 * kKiB, 16 * kMiB),
     "unsent input that a session may hold before its client is not read"},
    {"output_soft_bytes", field<&S::outputSoftBytes>(), bytes(4 * kKiB, 4 * kGiB),
     "queued output above which `slow_client_grace` runs", "1MiB, or `output_hard_bytes` if that is less"},
    {"output_hard_bytes", field<&S::outputHardBytes>(), bytes(64 * kKiB, 4 * kGiB),
     "queued output at which the session ends"},
    {"slow_client_grace", field<&S::slowClientGrace>(), duration(0, kDay),
     "how long a client may stay above the soft bound"},
    {"max_reply_bytes", field<&S::maxReplyBytes>(), bytes(64 * kKiB, kGiB),
     "the largest reply of an upstream", "16MiB, or `output_hard_bytes` if that is less"},
    {"journal_in_bytes", field<&S::journalInBytes>(), bytes(64 * kKiB, 16 * kGiB),
     "shared memory for input of all sessions; when it is full, clients are not read"},
    {"journal_out_bytes", field<&S::journalOutBytes>(), bytes(64 * kKiB, 64 * kGiB),
     "shared memory for output of all sessions; when it is full, the largest backlog ends"},
    {"keepalive_idle", field<&S::keepaliveIdle>(), wholeSeconds(0, 32767 * kSecond),
     "silence before the kernel asks whether a client is there; 0: it does not"},
    {"keepalive_interval", field<&S::keepaliveInterval>(), wholeSeconds(kSecond, 32767 * kSecond),
     "time between such questions"},
    {"keepalive_count", field<&S::keepaliveCount>(), integer(1, 127),
     "unanswered ones after which it is gone"},
    {"user_timeout", field<&S::userTimeout>(), duration(0, kDay),
     "how long sent bytes may stay unacknowledged (`TCP_USER_TIMEOUT`); 0: the kernel's default"},
};

using A = AdmissionConfig;
constexpr KeySpec kAdmission[] = {
    {"max_sessions", field<&A::maxSessions>(), integer(0, 1 << 20),
     "clients at a time; 0: as many as slots and descriptors allow"},
    {"max_per_address", field<&A::maxPerAddress>(), integer(0, 1 << 20),
     "clients at a time of one address; 0: any"},
    {"at_limit", field<&A::atLimit>(), choice(kAtLimits),
     "`wait`: new clients wait in the backlog; `refuse`: they are closed at once"},
};

using M = ManagementConfig;
constexpr KeySpec kManagement[] = {
    {"host", field<&M::host>(), text(ValueKind::kHost), "the admin API's address"},
    {"port", field<&M::port>(), kListenPort, "its port; 0: the kernel chooses"},
    {"log_level", field<&M::logLevel>(), choice(kLogLevels),
     "the default of `log.level`; `normal` (info) and `critical` (error) are taken too"},
    {"token", field<&M::token>(), text(ValueKind::kToken),
     "what `Authorization: Bearer` must carry; without one only loopback peers are served"},
    {"token_file", field<&M::tokenFile>(), text(ValueKind::kPath),
     "a file with the token instead, closed to everybody else"},
    {"threads", field<&M::threads>(), integer(1, 256), "requests that are served at a time"},
    {"shutdown_timeout", field<&M::shutdownTimeout>(), duration(0, kHour),
     "how long requests may take to finish when the gateway stops"},
};

using T = TlsConfig;
constexpr KeySpec kTls[] = {
    {"cert_path", field<&T::certPath>(), text(ValueKind::kPath),
     "certificate chain (PEM) for HTTPS; both empty: HTTP"},
    {"key_path", field<&T::keyPath>(), text(ValueKind::kPath), "its private key (PEM)"},
};

using G = LogConfig;
constexpr KeySpec kLog[] = {
    {"level", field<&G::level>(), choice(kLogLevels),
     "how much every process logs; `PUT /admin/log` sets it at run time", "`management_server.log_level`"},
    {"format", field<&G::format>(), choice(kLogFormats),
     "`auto`: with fields where stderr is systemd's journal, else text; `text`, `json`: to stderr, one line "
     "an event"},
};

void* openListener(Config& c) {
  return &c.listeners.emplace_back();
}
void* openPool(Config& c) {
  return &c.pools.emplace_back();
}
void* openUpstream(Config& c) {
  return &c.upstreams.emplace_back();
}
void* openWorkers(Config& c) {
  return &c.workers;
}
void* openSessions(Config& c) {
  return &c.sessions;
}
void* openAdmission(Config& c) {
  return &c.admission;
}
void* openManagement(Config& c) {
  return &c.management;
}
void* openTls(Config& c) {
  return &c.management.tls;
}

void* openLog(Config& c) {
  return &c.log;
}

const SectionSpec kSections[] = {
    {"server", 1, std::span(kListener).subspan(kServerKeys), &openListener},
    {"listener", 32, kListener, &openListener},
    {"pool", 32, kPool, &openPool},
    {"upstream", 1024, kUpstream, &openUpstream},
    {"workers", 1, kWorkers, &openWorkers},
    {"sessions", 1, kSessions, &openSessions},
    {"admission", 1, kAdmission, &openAdmission},
    {"management_server", 1, kManagement, &openManagement},
    {"management_server.tls", 1, kTls, &openTls},
    {"log", 1, kLog, &openLog},
};

}  // namespace

std::span<const SectionSpec> configSections() {
  return kSections;
}

const SectionSpec* findSection(std::string_view name) {
  const auto found = std::find_if(std::begin(kSections), std::end(kSections),
                                  [&](const SectionSpec& section) { return section.name == name; });
  return found == std::end(kSections) ? nullptr : &*found;
}

const KeySpec* findKey(const SectionSpec& section, std::string_view name) {
  const auto found = std::find_if(section.keys.begin(), section.keys.end(),
                                  [&](const KeySpec& key) { return key.name == name; });
  return found == section.keys.end() ? nullptr : &*found;
}

std::string defaultText(const SectionSpec& section, const KeySpec& key) {
  if (!key.defaultNote.empty()) return std::string(key.defaultNote);
  Config defaults;
  return valueText(key.rule, key.field.get(section.open(defaults)));
}

std::string kindText(const ValueRule& rule) {
  const auto range = [&](std::string_view kind) {
    const ValueRule plain{rule.kind, 0, 0, {}};
    return fmt::format("{}, {} to {}", kind, valueText(plain, rule.min), valueText(plain, rule.max));
  };
  switch (rule.kind) {
    case ValueKind::kPath:
      return "file";
    case ValueKind::kToken:
      return "token";
    case ValueKind::kHost:
      return "host";
    case ValueKind::kName:
      return "name";
    case ValueKind::kInteger:
      return range("integer");
    case ValueKind::kBytes:
      return range("size");
    case ValueKind::kDuration:
      return range("time");
    case ValueKind::kWholeSeconds:
      return range("time in whole seconds");
    case ValueKind::kChoice:
      break;
  }
  std::string words;
  for (const std::string_view word : rule.choices)
    words += fmt::format("{}`\"{}\"`", words.empty() ? "" : ", ", word);
  return words;
}

}  // namespace ppx
