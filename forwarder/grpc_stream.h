// One gRPC stream to one upstream. Its completions come on the port's completion thread; everything else is
// called on the Asio thread. At most one write is in flight (two abort in gRPC), and one read.
//
//   starting --ok--> open --halfClose--> half-closed
//      |              |                     |
//      +--------------+--- read ended ------+--> finishing --status--> ended (kEnded, the last event)
#pragma once

#include <grpcpp/alarm.h>
#include <grpcpp/generic/generic_stub.h>

#include <atomic>
#include <deque>
#include <memory>
#include <mutex>

#include "forwarder/reply_router.h"
#include "forwarder/stream_extension.h"
#include "forwarder/stream_port.h"

namespace ppx {

// Where a stream's events go; called from the completion thread and from the Asio thread.
class StreamEventSink {
 public:
  virtual ~StreamEventSink() = default;
  virtual void post(StreamEvent event, bool wake) = 0;
  // So many events wait that what makes more of them is not read: nobody may fill our memory with marks.
  virtual bool isFull() const = 0;
};

class GrpcStream : public std::enable_shared_from_this<GrpcStream> {
 public:
  // `extension`: for an extended target.
  GrpcStream(StreamId id, const StreamTarget& target, ReplyRouter& router, StreamEventSink& sink,
             std::unique_ptr<StreamExtension> extension);

  // `metadata` names gateway and forwarder. The completion queue outlives the stream.
  void start(grpc::GenericStub& stub, grpc::CompletionQueue& queue,
             const std::vector<std::pair<std::string, std::string>>& metadata);
  void submit(SlotRef session, uint32_t bytes, grpc::ByteBuffer message);
  void submitNews(grpc::ByteBuffer message);  // in its turn, without an event
  void kick();
  void wakeOnWritten() { wakeOnWritten_.store(true); }
  std::vector<SlotRef> halfClose();
  void cancel();
  const StreamTarget& target() const { return target_; }
  // stream_port.h; any thread.
  Millis lastSign() const { return lastSign_.load(); }
  // Completion thread: at this time nothing had come that is not read yet, of any stream. Returns until when this one
  // has lost nothing, whatever becomes of it: the last sign, or `now` if it cannot lose anything.
  Millis onNothingLeft(Millis now);

  // A completion queue's tag: which operation of which stream.
  struct Operation {
    GrpcStream* stream;
    void (GrpcStream::*done)(bool ok);
  };

 private:
  struct Outgoing {
    SlotRef session;
    uint32_t bytes = 0;
    grpc::ByteBuffer message;
    bool isNews = false;
  };

  void onStarted(bool ok);
  void onRead(bool ok);
  void onRetry(bool ok);
  void onReadAgain(bool ok);
  void onWritten(bool ok);
  void onWritesDone(bool ok);
  void onFinished(bool ok);
  void onTick(bool ok);
  void deliver();
  void onExtended();
  void onHello();
  bool takeMarks();
  void onUnknownClient();
  bool canWrite();  // what is queued now still goes out
  void reportPositions();
  void fail(std::string reason);
  void readNext();
  bool canLose() const;
  void writeNextLocked();
  void finishIfQuiet();

  const StreamId id_;
  const StreamTarget target_;
  ReplyRouter& router_;
  StreamEventSink& sink_;
  grpc::CompletionQueue* queue_ = nullptr;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> call_;
  std::shared_ptr<GrpcStream> self_;  // while an operation is under way
  Operation started_{this, &GrpcStream::onStarted}, read_{this, &GrpcStream::onRead},
      retry_{this, &GrpcStream::onRetry}, readAgain_{this, &GrpcStream::onReadAgain},
      written_{this, &GrpcStream::onWritten}, writesDone_{this, &GrpcStream::onWritesDone},
      finished_{this, &GrpcStream::onFinished}, tick_{this, &GrpcStream::onTick};

  // Completion thread only.
  bool reads_ = false;     // from its start to its end
  bool readsNow_ = false;  // a read is under way: what comes is not held up by what came before
  Millis nothingLeftAt_ = 0;
  grpc::ByteBuffer incoming_;
  grpc::Slice incomingSlice_;
  Reply reply_;
  ReplyRouter::Cursor cursor_;
  grpc::Alarm retryAlarm_;  // of a delivery, or of a read
  grpc::Status status_;
  std::unique_ptr<StreamExtension> extension_;
  grpc::Alarm tickAlarm_;
  std::string failure_;  // why we ended it

  std::atomic<Millis> lastSign_;
  std::mutex mutex_;  // what follows
  std::deque<Outgoing> outgoing_;
  Outgoing inFlight_;
  bool open_ = false;
  bool writing_ = false;
  bool halfClosing_ = false;
  bool writesDoneSent_ = false;
  bool readEnded_ = false;
  bool finishing_ = false;
  bool ticking_ = false;  // the alarm is set
  std::atomic<bool> wakeOnWritten_{false};
};

}  // namespace ppx
