// Planned operations from the command line: they are started, followed to their end, and their outcome is the
// exit code.
#pragma once

#include <string>

#include "supervisor/ctl/commands.h"

namespace ppx::ctl {

// `what`: forwarders, acceptors, prober, or one forwarder as `status` and the log call it (forwarder-3).
int restart(const GatewayClient& gateway, const Output& output, const std::string& what);
int scale(const GatewayClient& gateway, const Output& output, int count);
// Also while the API changes hands.
int upgrade(const GatewayClient& gateway, const Output& output);
// Prints what has changed, and waits for the forwarders where their number has.
int reload(const GatewayClient& gateway, const Output& output);
// Those that are kept; with `follow` also what comes, until it is interrupted.
int showEvents(const GatewayClient& gateway, const Output& output, bool follow);

}  // namespace ppx::ctl
