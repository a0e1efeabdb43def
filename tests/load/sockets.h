// The few calls that a load generator makes of sockets: all descriptors are non-blocking and close-on-exec.
#pragma once

#include <netinet/in.h>

#include <cstdint>
#include <string>

#include "common/result.h"
#include "common/unique_fd.h"

namespace ppx::load {

// A numeric IPv4 address and a port.
struct Endpoint {
  std::string host = "127.0.0.1";
  uint16_t port = 0;

  Result<sockaddr_in> address() const;
};

// Begins to connect. The first send() or recv() that does not say EAGAIN tells how it went.
// source 0: the kernel's choice; else the client's address is 127.0.1.<source> (1 to 254), with ports of its own,
// so that one host can hold or churn through more connections than it has ephemeral ports.
Result<UniqueFd> startConnect(const sockaddr_in& to, unsigned source = 0);

// Port 0: any free one.
Result<UniqueFd> listenOn(const Endpoint& at);
Result<uint16_t> portOf(int fd);

// Raises the soft limit of open files to the hard one; returns it.
uint64_t raiseFileLimit();

}  // namespace ppx::load
