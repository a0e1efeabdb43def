// The streams of a forwarder over gRPC: one channel an upstream, one completion queue with one thread for
// all.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <map>
#include <thread>
#include <unordered_map>

#include "common/clock.h"
#include "forwarder/grpc_stream.h"

namespace ppx {

class GrpcStreams : public StreamPort, public StreamEventSink {
 public:
  struct Options {
    WorkerId self;
    Uuid gateway;
    uint32_t maxReplyBytes = 0;
    const Table* table = nullptr;  // for the lanes
  };
  // `wake` is called from the completion thread: an event should be collected soon. The process ends with
  // _exit, so the thread is never joined; the object lives until then.
  GrpcStreams(const Options& options, ReplyRouter& router, std::function<void()> wake);
  ~GrpcStreams() override;

  void prepare(const StreamTarget& target) override;
  StreamId open(const StreamTarget& target) override;
  void submit(StreamId stream, SlotRef session, const Uuid& uuid, std::span<const iovec> pieces,
              uint64_t offset) override;
  void announce(StreamId stream, const SessionNews& news) override;
  void kick(StreamId stream) override;
  void wakeOnWritten(StreamId stream) override;
  std::vector<SlotRef> halfClose(StreamId stream) override;
  void cancel(StreamId stream) override;
  void collect(std::vector<StreamEvent>& events) override;
  void post(StreamEvent event, bool wake) override;  // StreamEventSink: any thread
  bool isFull() const override { return full_.load(); }
  Millis lastSeenAtWork() const override { return workedAt_.load(); }
  Millis lastSignOf(StreamId stream) const override;
  Millis readUpTo() const override { return readUpTo_.load(); }

  static constexpr size_t kMostEvents = 64 << 10;

 private:
  struct Peer {  // an upstream's channel, for one life of its slot
    uint32_t generation = 0;
    std::shared_ptr<grpc::Channel> channel;
    std::unique_ptr<grpc::GenericStub> stub;
  };

  void run();
  Millis onNothingLeft(Millis now);
  Peer& peerOf(const StreamTarget& target);
  GrpcStream* find(StreamId stream) const;
  std::string_view now();

  Options options_;
  LaneBook lanes_;  // the completion thread's
  ReplyRouter& router_;
  std::function<void()> wake_;
  grpc::CompletionQueue queue_;
  std::map<uint32_t, Peer> peers_;
  std::mutex streamsMutex_;  // of changes to streams_, and of looks at it from the completion thread
  std::unordered_map<StreamId, std::shared_ptr<GrpcStream>> streams_;
  std::vector<StreamId> ended_;  // of the last collect(): gone at the next
  StreamId nextStream_ = 1;
  Millis timeAt_ = -1;
  std::string time_;

  std::mutex eventMutex_;
  std::vector<StreamEvent> events_;
  std::atomic<bool> eventsWaiting_{false}, full_{false};

  // Orders what open() makes before its completions: for a race detector, which does not see into gRPC's queue.
  std::atomic<uint64_t> opened_{0};
  std::atomic<Millis> workedAt_, readUpTo_;  // the completion thread
  std::thread thread_;
};

}  // namespace ppx
