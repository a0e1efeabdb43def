// What paradoxctl can do: each command asks the gateway, prints to stdout, and returns the exit code.
#pragma once

#include <string>

#include "supervisor/ctl/gateway_client.h"

namespace ppx::ctl {

enum ExitCode : int { kOk = 0, kRefused = 1, kUsage = 2, kUnreachable = 3, kUnderWay = 4 };

struct Output {
  bool json = false;      // what the gateway said, as it said it
  bool terminal = false;  // aligned, with headings
};

struct UpstreamToAdd {
  std::string address;  // HOST:PORT, [IPv6]:PORT
  std::string pool;     // empty: the gateway's default; so with the timeouts at 0
  double aliveTimeout = 0;
  double readyTimeout = 0;
};

struct SessionFilter {
  std::string pool;
  std::string upstream;
};

int showStatus(const GatewayClient& gateway, const Output& output);
int showUpstreams(const GatewayClient& gateway, const Output& output);
int showSessions(const GatewayClient& gateway, const Output& output, const SessionFilter& filter);
int addUpstream(const GatewayClient& gateway, const Output& output, const UpstreamToAdd& upstream);
int deleteUpstream(const GatewayClient& gateway, const Output& output, const std::string& uuid);
int closeSession(const GatewayClient& gateway, const Output& output, const std::string& uuid);
// Sets the level of all processes, or of those of one role, unless `level` is empty; prints those in use.
int logLevels(const GatewayClient& gateway, const Output& output, const std::string& level,
              const std::string& role);
int showDeaths(const GatewayClient& gateway, const Output& output);
int checkReady(const GatewayClient& gateway, const Output& output);

}  // namespace ppx::ctl
