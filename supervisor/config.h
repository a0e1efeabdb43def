// The gateway's configuration as plain values: what a file says, with every default filled in.
//
// The supervisor loads it (supervisor/config_loader.h) and hands its children what they need; only a reload
// changes it afterwards. A default-constructed Config is one listener's worth short of a running gateway: parseConfig
// adds the default listener. The keys, their ranges and their help are in supervisor/config_schema.cpp;
// TOML's snake_case key is the member's name in camelCase, byte sizes end in Bytes, durations are
// std::chrono::milliseconds.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "common/log_format.h"

namespace ppx {

// What happens to a session with traffic in doubt when its forwarder is killed.
enum class CrashPolicy : std::uint8_t { kClose, kContinue };
// What happens to a session with traffic in doubt when its upstream dies.
enum class UpstreamLoss : std::uint8_t { kContinue, kClose };
// Whether a session stays with one upstream, or each payload goes to the next.
enum class Routing : std::uint8_t { kSession, kMessage };
// What a new client meets at an admission limit: the backlog, or an immediate end.
enum class AtLimit : std::uint8_t { kWait, kRefuse };
enum class LogLevel : std::uint8_t { kTrace, kDebug, kInfo, kWarn, kError, kOff };

// [server] (a listener named "default" on the pool "default") or one [[listener]].
struct ListenerConfig {
  std::string name = "default";
  std::string host = "127.0.0.1";
  std::uint16_t port = 7999;  // 0: the kernel chooses
  std::string pool = "default";
  CrashPolicy crashPolicy = CrashPolicy::kClose;
  UpstreamLoss upstreamLoss = UpstreamLoss::kContinue;
  Routing routing = Routing::kSession;                 // default: the pool's
  std::chrono::milliseconds idleTimeout{0};            // default: [sessions]'s; 0: off
  std::chrono::milliseconds halfCloseTimeout{10'000};  // default: [sessions]'s
  std::uint32_t backlog = 4096;
  bool operator==(const ListenerConfig&) const = default;
};

// [[pool]]; a pool that a listener or an upstream merely names is here too.
struct PoolConfig {
  std::string name = "default";
  Routing routing = Routing::kSession;
  bool operator==(const PoolConfig&) const = default;
};

// [[upstream]], known from the start; others come through the admin API.
struct UpstreamConfig {
  std::string host = "127.0.0.1";
  std::uint16_t port = 45888;
  std::string pool = "default";
  std::chrono::milliseconds aliveTimeout{30'000};
  std::chrono::milliseconds readyTimeout{5'000};
  bool operator==(const UpstreamConfig&) const = default;
};

// [workers]
struct WorkersConfig {
  std::uint32_t acceptors = 1;
  std::uint32_t forwarders = 2;
  std::chrono::milliseconds heartbeatTimeout{10'000};
  std::chrono::milliseconds barrierTimeout{5'000};
  std::chrono::milliseconds drainMax{600'000};
  std::chrono::milliseconds respawnBackoffMin{100};
  std::chrono::milliseconds respawnBackoffMax{10'000};
  bool operator==(const WorkersConfig&) const = default;
};

// [sessions]
struct SessionsConfig {
  std::uint32_t max = 16384;  // slots in the table
  std::chrono::milliseconds idleTimeout{0};
  std::chrono::milliseconds halfCloseTimeout{10'000};
  std::chrono::milliseconds lingerTimeout{30'000};
  std::chrono::milliseconds lingerGrace{2'000};
  std::chrono::milliseconds activeWindow{60'000};
  std::chrono::milliseconds noUpstreamTimeout{60'000};  // 0: for ever
  std::chrono::milliseconds doubtWindow{5'000};
  std::uint64_t inputWindowBytes = 64 << 10;
  std::uint64_t outputSoftBytes = 1 << 20;
  std::uint64_t outputHardBytes = 16 << 20;
  std::chrono::milliseconds slowClientGrace{10'000};
  std::uint64_t maxReplyBytes = 16 << 20;
  std::uint64_t journalInBytes = 16 << 20;
  std::uint64_t journalOutBytes = 64 << 20;
  std::chrono::milliseconds keepaliveIdle{60'000};      // whole seconds; 0: no keepalive
  std::chrono::milliseconds keepaliveInterval{15'000};  // whole seconds
  std::uint32_t keepaliveCount = 4;
  std::chrono::milliseconds userTimeout{120'000};  // TCP_USER_TIMEOUT; 0: the kernel's own
  bool operator==(const SessionsConfig&) const = default;
};

// [admission]
struct AdmissionConfig {
  std::uint32_t maxSessions = 0;    // 0: what descriptors and slots allow
  std::uint32_t maxPerAddress = 0;  // 0: off
  AtLimit atLimit = AtLimit::kWait;
  bool operator==(const AdmissionConfig&) const = default;
};

// [management_server.tls]; both empty: HTTP, both set: HTTPS.
struct TlsConfig {
  std::string certPath;
  std::string keyPath;
  bool enabled() const { return !certPath.empty(); }
  bool operator==(const TlsConfig&) const = default;
};

// [management_server]
struct ManagementConfig {
  std::string host = "127.0.0.1";
  std::uint16_t port = 8000;  // 0: the kernel chooses
  LogLevel logLevel = LogLevel::kInfo;
  std::string token;  // loadConfig fills it from tokenFile; empty: only loopback peers are served
  std::string tokenFile;
  std::uint32_t threads = 8;
  std::chrono::milliseconds shutdownTimeout{5'000};
  TlsConfig tls;
};

// [log]
struct LogConfig {
  LogLevel level = LogLevel::kInfo;  // default: [management_server]'s log_level
  LogFormat format = LogFormat::kAuto;
  bool operator==(const LogConfig&) const = default;
};

struct Config {
  std::vector<ListenerConfig> listeners;  // never empty once loaded; names are unique
  std::vector<PoolConfig> pools;          // every pool that anything names; "default" is always there
  std::vector<UpstreamConfig> upstreams;
  WorkersConfig workers;
  SessionsConfig sessions;
  AdmissionConfig admission;
  ManagementConfig management;
  LogConfig log;
};

}  // namespace ppx
