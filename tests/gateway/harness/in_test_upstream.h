// An upstream inside the test process, with hooks: an echo unless told otherwise. Thread-safe; hooks are called by
// gRPC's threads.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/gateway/harness/deadline.h"
#include "tests/gateway/harness/upstream_messages.h"

namespace ppx::test {

enum class Broadcast { kAll = 0, kActive = 1, kNotActive = 2 };

// One stream of one forwarder.
class UpstreamStream {
 public:
  virtual ~UpstreamStream() = default;
  virtual void reply(const std::string& client, const std::string& payload) = 0;
  // False: the stream is ending, and this was not sent.
  virtual bool broadcast(Broadcast to, const std::string& payload) = 0;
  virtual void send(const std::string& undecoded) = 0;  // bytes of a message, right or wrong
  virtual void end(bool orderly = true) = 0;            // after what is queued; else with an error
  virtual const std::map<std::string, std::string>& metadata() const = 0;
};
using StreamRef = std::shared_ptr<UpstreamStream>;

class InTestUpstream {
 public:
  using MessageHook =
      std::function<void(UpstreamStream& stream, const std::string& client, const std::string& payload)>;

  // A stream has been opened, or the gateway has ended its side of it: what is sent from then on goes elsewhere.
  enum class StreamNews { kOpened, kInputEnded };
  using StreamHook = std::function<void(const StreamRef& stream, StreamNews news)>;

  // Every message as it came, in place of the above.
  using RawHook = std::function<void(UpstreamStream& stream, const std::string& message)>;

  explicit InTestUpstream(uint16_t port = 0);
  ~InTestUpstream();
  InTestUpstream(const InTestUpstream&) = delete;
  InTestUpstream& operator=(const InTestUpstream&) = delete;

  uint16_t port() const;
  void onMessage(MessageHook hook);  // empty: echo
  void onRaw(RawHook hook);
  void onStream(StreamHook hook);             // before there are any
  void announceExtensions(uint32_t version);  // in `ready`; default 0: none
  void setReady(bool ready);
  void setLive(bool live);            // false: `live` is answered with live=false
  void setHanging(bool hanging);      // reads nothing more from its streams
  void setEndsAtInputEnd(bool ends);  // default true: ends a stream once the gateway ended its side

  std::vector<StreamRef> streams() const;
  StreamRef anyStream() const;  // throws when there is none
  void waitForStreams(size_t count, Millis within = kPatience);
  void endStreams(bool orderly = true);
  void stop();  // cancels all calls and leaves the port

  // Figures.
  size_t messages() const;
  size_t largestPayload() const;
  std::map<std::string, std::string> received() const;  // all bytes of each client, in order
  size_t clients() const;
  size_t streamsEver() const;
  size_t readyAsked() const;
  std::string clientThatSent(const std::string& bytes) const;  // UUID, or empty
  std::string waitForClientThatSent(const std::string& bytes, Millis within = kPatience);
  void keepBytes(bool keep);  // default true; false: only counts them

  struct State;

 private:
  std::shared_ptr<State> state_;
  struct Server;
  std::unique_ptr<Server> server_;
};

}  // namespace ppx::test
