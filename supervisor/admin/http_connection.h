// One HTTP connection, plain or TLS: first gathered without blocking until the head of its request is whole,
// then served as cpp-httplib's stream. It adds what the library lacks: deadlines for the head, the body and
// the answer, and a bound on all that the peer may send.
#pragma once

#include <httplib.h>
#include <openssl/ssl.h>

#include <memory>
#include <string>

#include "common/clock.h"
#include "common/unique_fd.h"

namespace ppx {

class HttpConnection : public httplib::Stream {
 public:
  static constexpr size_t kMaxHeadBytes = 32 << 10;
  static constexpr Millis kHeadMs = 5'000;     // from the accept to the end of the head
  static constexpr Millis kBodyMs = 5'000;     // from there to the end of the body
  static constexpr Millis kWriteMs = 10'000;   // the peer takes nothing of the answer for so long
  static constexpr Millis kAnswerMs = 90'000;  // all of the answer, and what it waits for
  static constexpr Millis kFarewellMs = 300;   // for the peer to close first

  // A non-blocking socket. `tls`: null for plain. When `stopBell` is readable nothing waits any more.
  HttpConnection(UniqueFd socket, SSL_CTX* tls, int stopBell);

  // One thread gathers, then another one serves.
  enum class Head { kWanted, kWhole, kTooLarge, kBroken };
  Head gather();
  short wantedEvents() const { return wanted_; }  // of poll(), when kWanted
  Millis headDeadline() const { return headDeadline_; }

  // After the head: how much body may be read, and its deadline begins.
  void expectBody(size_t bytes);
  // Sends what can be sent at once; for a peer that is not served.
  void sayOnce(const std::string& text);
  // Says that no more comes, and waits a little for the peer's end: closing with unread input would reset the
  // connection and could take the answer with it.
  void finish();

  bool is_readable() const override;
  bool is_writable() const override;
  ssize_t read(char* bytes, size_t size) override;
  ssize_t write(const char* bytes, size_t size) override;
  void get_remote_ip_and_port(std::string& ip, int& port) const override;
  void get_local_ip_and_port(std::string& ip, int& port) const override;
  int socket() const override { return socket_.get(); }

 private:
  struct Freed {
    void operator()(SSL* ssl) const { SSL_free(ssl); }
  };
  // Bytes, 0 at the peer's end, kAgain (wanted_ says for what), -1.
  ssize_t receiveSome(char* bytes, size_t size);
  ssize_t sendSome(const char* bytes, size_t size);
  ssize_t tlsOutcome(int result);
  bool wait(short events, Millis deadline) const;

  UniqueFd socket_;
  std::unique_ptr<SSL, Freed> ssl_;
  int stopBell_;
  bool handshaken_;
  short wanted_;
  Millis headDeadline_;
  Millis bodyDeadline_ = 0;
  Millis answerDeadline_ = 0;
  std::string buffer_;  // gathered, not yet read: from `taken_` on
  size_t taken_ = 0;
  size_t bodyLeft_ = 0;
};

}  // namespace ppx
