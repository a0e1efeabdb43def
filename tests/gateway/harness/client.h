// A blocking TCP client with deadlines. Everything throws std::runtime_error when it cannot be done in time.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/unique_fd.h"
#include "tests/gateway/harness/deadline.h"

namespace ppx::test {

enum class ClientEnd { kNone, kFin, kReset };

class Client {
 public:
  // `source`: the client's own address, any of 127/8. `receiveBuffer`: SO_RCVBUF, 0 leaves it.
  explicit Client(uint16_t port, const std::string& source = "", int receiveBuffer = 0);

  void send(std::string_view bytes);
  // What the kernel takes now, without waiting.
  size_t sendSome(std::string_view bytes);
  std::string receive(size_t bytes, Millis within = kPatience);             // exactly so many
  std::string receiveUntilEnd(Millis within = kPatience);                   // and how it ended is in end()
  std::string receiveLine(Millis within = kPatience);                       // with its newline
  std::string receiveFor(Millis time);                                      // what comes in that time
  ClientEnd waitForEnd(Millis within = kPatience);                          // reads and discards
  std::string exchange(std::string_view bytes, Millis within = kPatience);  // with an echo
  void waitReadable(Millis within = kPatience);
  bool isOpen();  // neither FIN nor reset has come, as far as one can see now

  void halfClose();
  void reset();  // closes it with a RST
  void sendUrgent(char byte);
  void close() { fd_.reset(); }
  ClientEnd end() const { return end_; }
  uint16_t localPort() const;
  int fd() const { return fd_.get(); }

 private:
  // Bytes of one recv(); empty at the end, which is noted.
  std::string receiveSome(size_t atMost, const Deadline& deadline);

  UniqueFd fd_;
  ClientEnd end_ = ClientEnd::kNone;
};

// Bytes that do not repeat soon, the same for the same seed.
std::string randomBytes(size_t bytes, uint32_t seed);

}  // namespace ppx::test
