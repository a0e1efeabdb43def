// The gRPC target of an upstream's host and port.
#pragma once

#include <cstdint>
#include <string>

namespace ppx {

// A name, an IPv4 or IPv6 address, or `unix:/path` (the port is not used).
std::string upstreamTarget(const std::string& host, uint32_t port);
// The same for people: host:port, [v6]:port, unix:/path.
std::string upstreamLabel(const std::string& host, uint32_t port);

}  // namespace ppx
