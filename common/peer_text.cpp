#include "common/peer_text.h"

#include <arpa/inet.h>
#include <endian.h>

#include <cstring>

namespace ppx {

std::string peerText(uint64_t high, uint64_t low, uint32_t port) {
  high = htobe64(high);
  low = htobe64(low);
  in6_addr address;
  std::memcpy(&address.s6_addr[0], &high, sizeof(high));
  std::memcpy(&address.s6_addr[8], &low, sizeof(low));
  char text[INET6_ADDRSTRLEN] = {};
  const bool v4 = IN6_IS_ADDR_V4MAPPED(&address);
  v4 ? inet_ntop(AF_INET, &address.s6_addr[12], text, sizeof(text))
     : inet_ntop(AF_INET6, &address, text, sizeof(text));
  std::string whole = v4 ? "" : "[";
  whole += text;
  whole += v4 ? ":" : "]:";
  return whole += std::to_string(port);
}

}  // namespace ppx
