// What sessions see of the streams to upstreams. Implemented with gRPC (grpc_streams.h), and by fakes in
// tests.
//
// Called on the Asio thread only. Events are collected there too; the port rings `wake` when something
// happened that should not wait for the next turn.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/slot_word.h"
#include "common/uuid.h"
#include "forwarder/extensions.h"

namespace ppx {

using StreamId = uint64_t;  // never reused within a process; 0: none

struct StreamTarget {
  uint32_t upstream = 0;  // slot and its life
  uint32_t generation = 0;
  uint32_t pool = 0;
  std::string host;
  uint32_t port = 0;
  bool extended = false;  // its `ready` announced the extensions: the stream begins with a hello each way
};

inline constexpr uint64_t kNoOffset = ~0ull;

struct StreamEvent {
  enum class Type : uint8_t {
    kOpened,   // with an extended target: the upstream has said hello; `capabilities` are granted
    kWritten,  // the payload of `session`, `bytes` long, was taken by gRPC
    kMarked,   // the upstream has dealt with the input of `session` up to `offset`
    kEnded,    // the last event of a stream; payloads without kWritten were not taken
  };
  Type type = Type::kOpened;
  StreamId stream = 0;
  SlotRef session = {};
  uint32_t bytes = 0;
  bool orderly = false;     // kEnded: the upstream ended it with OK
  std::string detail = {};  // kEnded: the status, for the log
  uint64_t offset = 0;      // kMarked
  uint8_t capabilities = 0;
  uint32_t assignment = 0;  // kMarked: that it is of; 0: not said
  uint64_t instance = 0;    // kOpened, with `resume`: a hash of the upstream's
};

class StreamPort {
 public:
  virtual ~StreamPort() = default;

  // A stream there will be opened before long: connects in advance.
  virtual void prepare(const StreamTarget& target) = 0;
  virtual StreamId open(const StreamTarget& target) = 0;
  // Queues one payload (copied). The stream starts to write at kick(), called once at the end of a turn.
  // `offset`: of its first byte, for an upstream with `resume`; else kNoOffset.
  virtual void submit(StreamId stream, SlotRef session, const Uuid& uuid, std::span<const iovec> pieces,
                      uint64_t offset) = 0;
  // Queues news behind what was submitted; only where `events` was granted.
  virtual void announce(StreamId stream, const SessionNews& news) = 0;
  virtual void kick(StreamId stream) = 0;
  // The next kWritten of this stream rings; for sessions that wait for it.
  virtual void wakeOnWritten(StreamId stream) = 0;
  // Half-closes: the upstream finishes what it has and ends the stream. Returns whose payloads were taken
  // back from the queue; one may be in flight and is answered by kWritten or, at the latest, kEnded.
  virtual std::vector<SlotRef> halfClose(StreamId stream) = 0;
  // For an upstream that is down. kEnded follows.
  virtual void cancel(StreamId stream) = 0;
  virtual void collect(std::vector<StreamEvent>& events) = 0;
  // Monotonic: when what works on the streams beside this thread was last seen to. Several times a second if all is well.
  virtual Millis lastSeenAtWork() const = 0;
  // Monotonic: the last time known at which the stream had not broken and what had come over it was read. What a broken
  // stream has lost is judged from there, however late its end is noticed. Also in the turn that collects its kEnded; of a
  // stream that is gone: now.
  virtual Millis lastSignOf(StreamId stream) const = 0;
  // The same of all streams at once, those apart that lose nothing when they break (`resume`).
  virtual Millis readUpTo() const = 0;
};

}  // namespace ppx
