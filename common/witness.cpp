#include "common/witness.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cstring>

namespace ppx {
namespace {

// netinet/tcp.h, which has the states, does not go together with linux/tcp.h, which has the byte counters.
enum TcpState : uint8_t {
  kEstablished = 1,
  kFinWait1 = 4,
  kFinWait2 = 5,
  kTimeWait = 6,
  kClose = 7,
  kCloseWait = 8,
  kLastAck = 9,
  kClosing = 11,
};

Status readInfo(int socket, tcp_info& info) {
  std::memset(&info, 0, sizeof(info));
  socklen_t size = sizeof(info);
  if (::getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return systemError("TCP_INFO");
  return Done{};
}

bool agree(const tcp_info& a, const tcp_info& b) {
  return a.tcpi_state == b.tcpi_state && a.tcpi_bytes_received == b.tcpi_bytes_received &&
         a.tcpi_bytes_acked == b.tcpi_bytes_acked;
}

}  // namespace

bool Witness::usable() const {
  return state != kClose && state != kTimeWait;
}

Result<Witness> readWitness(int socket) {
  constexpr int kReadings = 4096;  // of a client that nobody reads from: it stops when the window is full
  tcp_info before{}, after{};
  for (int reading = 0; reading < kReadings; ++reading) {
    int unread = 0, unsent = 0;
    if (auto done = readInfo(socket, before); !done) return done.error();
    if (::ioctl(socket, SIOCINQ, &unread) != 0) return systemError("SIOCINQ");
    if (::ioctl(socket, SIOCOUTQ, &unsent) != 0) return systemError("SIOCOUTQ");
    if (auto done = readInfo(socket, after); !done) return done.error();
    if (!agree(before, after)) continue;
    Witness w;
    w.state = after.tcpi_state;
    w.peerFin = w.state == kCloseWait || w.state == kLastAck || w.state == kClosing;
    w.ourFin = w.state == kFinWait1 || w.state == kFinWait2 || w.state == kClosing || w.state == kLastAck;
    w.consumed = after.tcpi_bytes_received - static_cast<uint64_t>(unread) - (w.peerFin ? 1 : 0);
    w.sent = after.tcpi_bytes_acked + static_cast<uint64_t>(unsent) - (w.ourFin ? 1 : 0);
    return w;
  }
  return Error{EAGAIN, "the kernel's counters did not settle"};
}

}  // namespace ppx
