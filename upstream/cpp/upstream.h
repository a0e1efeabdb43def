// A library for upstreams of ParadoxPlex in C++: the contract with its extensions (docs/PROTOCOL.md). A worker
// says what it does with a client's coming, its bytes, the end of its input and its going; acknowledgement,
// re-sending and de-duplication are done here.
//
//   struct Echo : Handler {
//     bool onBytes(const std::string& client, std::string_view bytes, uint64_t) override {
//       upstream->send(client, bytes);
//       return true;
//     }
//   };
//   Upstream upstream(handler);  builder.RegisterService(&upstream.service());
//
// With a gateway that speaks the extensions, bytes to and from a client are exact while this process lives, over
// crashes and restarts of any process of the gateway. A gateway that does not is served by the plain contract: then
// the first bytes of a client are its opening, nobody tells of its end, and close() does nothing.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace paradox::upstream {

enum class To { kAll, kActive, kNotActive };
enum class CloseMode { kFlush, kNow };

struct Opened {
  std::string peer;        // "192.0.2.1:4711"; empty with the plain contract
  std::string listener;    // the name of the gateway's listener
  bool continued = false;  // another upstream, or an earlier life of this one, may have had it
  uint64_t offset =
      0;  // of the first byte that comes; below what the other one saw if that was not acknowledged
};

// Called by one thread of the library, one call at a time. Calls may block: input waits in the gateway meanwhile.
class Handler {
 public:
  virtual ~Handler() = default;
  virtual void onOpened(const std::string& /*client*/, const Opened&) {}
  // True: dealt with, together with what the call sent to this client. False: the gateway keeps the bytes until
  // handled() is called; with 256 KiB of them it reads no further from this client.
  virtual bool onBytes(const std::string& client, std::string_view bytes, uint64_t offset) = 0;
  // The client sends no more.
  virtual void onEnd(const std::string& /*client*/) {}
  // Nothing more comes from it or reaches it. `reason`: one of the gateway's; "moved": it goes on with another
  // upstream; "unknown": it ended while nobody could tell.
  virtual void onClosed(const std::string& /*client*/, const std::string& /*reason*/) {}
  // Some client for which isFull() was true has room again.
  virtual void onRoom() {}
};

struct Options {
  std::size_t replayBytes = 8 << 20;  // unacknowledged replies of one stream; then send() blocks
  std::size_t inputBytes =
      4 << 20;  // input of one plain stream that waits for the handler; then it is not read
  // A stream that is gone, and nobody comes to go on with it: what it was to carry is dropped, its clients are closed.
  std::chrono::milliseconds orphanTimeout{60'000};
  // Plain contract: a client that is silent for so long is taken for gone.
  std::chrono::milliseconds plainIdleTimeout{3'600'000};
};

class Core;

class Upstream {
 public:
  explicit Upstream(Handler& handler, Options options = {});
  ~Upstream();  // after the server
  Upstream(const Upstream&) = delete;
  Upstream& operator=(const Upstream&) = delete;

  // Answers `ready` and `live` too.
  grpc::Service& service();

  // Any thread. They block while the replay buffer is full, but not in a handler for what one call sends. False:
  // there is nobody to send it to.
  bool send(const std::string& client, std::string_view bytes);
  bool broadcast(To to, std::string_view bytes);
  bool close(const std::string& client, CloseMode mode);

  // After onBytes() returned false: so many more bytes of the client are dealt with.
  void handled(const std::string& client, std::size_t bytes);
  // send() would block now.
  bool isFull(const std::string& client);

 private:
  class Service;
  std::shared_ptr<Core> core_;
  std::unique_ptr<Service> service_;
};

}  // namespace paradox::upstream
