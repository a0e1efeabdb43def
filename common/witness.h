// What the kernel says of a connection: how many bytes the gateway has taken from it and given to it, since
// accept.
//
//   consumed = tcpi_bytes_received - SIOCINQ - (1 if the peer's FIN is counted)
//   sent     = tcpi_bytes_acked + SIOCOUTQ - (1 if our FIN is counted)
//
// Each relative to the baseline, the same figures before the first byte was taken or given. TCP_INFO, the
// queues and TCP_INFO again are read until both readings agree. FIN terms come from tcpi_state of that
// reading. Source of the formula: tcp_get_info(), tcp_ioctl() of Linux; measured in shared/DESIGN.md,
// section 6.
#pragma once

#include <cstdint>

#include "common/result.h"

namespace ppx {

struct Witness {
  uint64_t consumed = 0;  // without baseline
  uint64_t sent = 0;
  uint8_t state = 0;  // TCP_ESTABLISHED ...; with TCP_CLOSE the figures mean nothing
  bool peerFin = false;
  bool ourFin = false;
  bool usable() const;
};

// Only while nobody else reads or writes the socket. Error EAGAIN: the readings did not settle.
Result<Witness> readWitness(int socket);

}  // namespace ppx
