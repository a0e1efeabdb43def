// One HTTP connection as cpp-httplib reads and writes it, with what the library lacks: a deadline for the whole
// exchange and a bound on all that the peer may send, headers included. Plain or TLS.
#pragma once

#include <httplib.h>
#include <openssl/ssl.h>

#include <memory>
#include <string>

#include "common/clock.h"

namespace ppx {

class DeadlineStream : public httplib::Stream {
 public:
  struct Limits {
    Millis requestMs = 5'000;    // from the first byte to the last of the request
    Millis exchangeMs = 90'000;  // all of it: an answer may wait for a probe
    size_t requestBytes = 0;
  };
  // The socket stays the caller's. `tls`: none, or the context of the server's certificate.
  DeadlineStream(int socket, SSL_CTX* tls, const Limits& limits);

  // TLS: the handshake. False: there is nothing to serve.
  bool open();
  // Plain: nothing. TLS: says goodbye.
  void finish();

  bool is_readable() const override;
  bool is_writable() const override;
  ssize_t read(char* bytes, size_t size) override;
  ssize_t write(const char* bytes, size_t size) override;
  void get_remote_ip_and_port(std::string& ip, int& port) const override;
  void get_local_ip_and_port(std::string& ip, int& port) const override;
  int socket() const override { return socket_; }

 private:
  struct Freed {
    void operator()(SSL* ssl) const { SSL_free(ssl); }
  };
  bool wait(short events, Millis deadline) const;
  ssize_t tlsStep(int result, Millis deadline) const;

  int socket_;
  std::unique_ptr<SSL, Freed> ssl_;
  Millis requestDeadline_;
  Millis exchangeDeadline_;
  size_t bytesLeft_;
};

// The peer's address as text; v4-mapped addresses as IPv4.
std::string peerAddressText(int socket);

}  // namespace ppx
