#include "forwarder/grpc_stream.h"

#include <algorithm>
#include <utility>

#include "common/clock.h"
#include "common/failpoint.h"
#include "forwarder/upstream_wire.h"

namespace ppx {
namespace {

constexpr char kMethod[] = "/upstream.grpc.service.UpstreamPeerService/bidirectionalStreaming";
// How soon a reply that found no free segment is tried again (the session with the largest backlog ends
// meanwhile), or a read that found too many events.
constexpr std::chrono::milliseconds kRetry{5};

}  // namespace

GrpcStream::GrpcStream(StreamId id, const StreamTarget& target, ReplyRouter& router, StreamEventSink& sink,
                       std::unique_ptr<StreamExtension> extension)
    : id_(id),
      target_(target),
      router_(router),
      sink_(sink),
      extension_(std::move(extension)),
      lastSign_(monotonicMillis()) {}

void GrpcStream::start(grpc::GenericStub& stub, grpc::CompletionQueue& queue,
                       const std::vector<std::pair<std::string, std::string>>& metadata) {
  // The completion thread goes on from here: for a race detector, which does not see into gRPC.
  std::lock_guard lock(mutex_);
  self_ = shared_from_this();
  queue_ = &queue;
  for (const auto& [name, value] : metadata) context_.AddMetadata(name, value);
  call_ = stub.PrepareCall(&context_, kMethod, &queue);
  call_->StartCall(&started_);
}

void GrpcStream::submit(SlotRef session, uint32_t bytes, grpc::ByteBuffer message) {
  std::lock_guard lock(mutex_);
  outgoing_.push_back({session, bytes, std::move(message), false});
}

void GrpcStream::submitNews(grpc::ByteBuffer message) {
  std::lock_guard lock(mutex_);
  if (halfClosing_ || readEnded_) return;
  outgoing_.push_back({{}, 0, std::move(message), true});
}

void GrpcStream::kick() {
  std::lock_guard lock(mutex_);
  writeNextLocked();
}

void GrpcStream::writeNextLocked() {
  if (!open_ || writing_ || readEnded_ || finishing_ || writesDoneSent_) return;
  if (outgoing_.empty()) {
    if (!halfClosing_) return;
    writesDoneSent_ = true;
    writing_ = true;
    call_->WritesDone(&writesDone_);
    return;
  }
  inFlight_ = std::move(outgoing_.front());
  outgoing_.pop_front();
  writing_ = true;
  grpc::WriteOptions options;
  // All but the last of a burst wait for it, so that they travel together.
  if (!outgoing_.empty()) options.set_buffer_hint();
  failpoint("stream.write");
  call_->Write(inFlight_.message, options, &written_);
}

std::vector<SlotRef> GrpcStream::halfClose() {
  std::lock_guard lock(mutex_);
  std::vector<SlotRef> takenBack;
  for (const Outgoing& outgoing : outgoing_)
    if (!outgoing.isNews) takenBack.push_back(outgoing.session);
  std::erase_if(outgoing_, [](const Outgoing& outgoing) { return !outgoing.isNews; });
  halfClosing_ = true;
  writeNextLocked();
  return takenBack;
}

void GrpcStream::cancel() {
  context_.TryCancel();
}

void GrpcStream::onStarted(bool ok) {
  {
    std::lock_guard lock(mutex_);
    readEnded_ = !ok;
  }
  reads_ = ok;
  if (ok) {
    if (extension_ == nullptr) sink_.post({.type = StreamEvent::Type::kOpened, .stream = id_}, true);
    readNext();
    std::lock_guard lock(mutex_);
    open_ = true;
    if (extension_ != nullptr)
      outgoing_.push_front({{}, 0, encodeHello(rfc3339(realtimeMillis()), extension_->hello()), true});
    writeNextLocked();
  }
  finishIfQuiet();
}

void GrpcStream::readNext() {
  incoming_.Clear();
  readsNow_ = !sink_.isFull();
  if (readsNow_)
    call_->Read(&incoming_, &read_);
  else
    retryAlarm_.Set(queue_, std::chrono::system_clock::now() + kRetry, &readAgain_);
}

// With `resume` all that matters is acknowledged.
bool GrpcStream::canLose() const {
  return reads_ && (extension_ == nullptr || (extension_->capabilities() & kResume) == 0);
}

// The sign is the time before this one: gRPC may have left to another thread of its own what it has just read from a
// socket, and that thread, too, has had time since.
Millis GrpcStream::onNothingLeft(Millis now) {
  if (readsNow_) lastSign_.store(std::max(lastSign_.load(), std::exchange(nothingLeftAt_, now)));
  return canLose() ? lastSign_.load() : now;
}

void GrpcStream::onReadAgain(bool) {
  readNext();
}

void GrpcStream::onRead(bool ok) {
  readsNow_ = false;
  if (!ok) {
    reads_ = false;
    {
      std::lock_guard lock(mutex_);
      readEnded_ = true;
    }
    tickAlarm_.Cancel();
    return finishIfQuiet();
  }
  if (!incoming_.TrySingleSlice(&incomingSlice_).ok()) (void)incoming_.DumpToSingleSlice(&incomingSlice_);
  std::string_view bytes(reinterpret_cast<const char*>(incomingSlice_.begin()), incomingSlice_.size());
  if (!decodeOutput(bytes, extension_ != nullptr, reply_)) {
    reply_.target = ReplyTarget::kInvalid;
    reply_.marks.clear();
  }
  cursor_ = {};
  extension_ == nullptr ? deliver() : onExtended();
}

void GrpcStream::fail(std::string reason) {
  if (failure_.empty()) failure_ = std::move(reason);
  context_.TryCancel();
  readNext();
}

void GrpcStream::deliver() {
  LaneWriter* lane = nullptr;
  if (extension_ != nullptr && reply_.sequence != 0) {
    lane = extension_->lane(reply_.lane);
    if (lane == nullptr) return readNext();  // taken by another stream in the middle of it
  }
  if (router_.deliver(reply_, target_.upstream, target_.pool, cursor_, lane)) {
    if (extension_ != nullptr && cursor_.unknown) onUnknownClient();
    if (lane != nullptr) {
      extension_->countPushed(reply_.payload.size());
      if (extension_->isNewsUrgent()) reportPositions();
    }
    return readNext();
  }
  retryAlarm_.Set(queue_, std::chrono::system_clock::now() + kRetry, &retry_);
}

void GrpcStream::onRetry(bool) {
  deliver();
}

void GrpcStream::onWritten(bool ok) {
  {
    std::lock_guard lock(mutex_);
    writing_ = false;
    if (ok && !inFlight_.isNews)
      sink_.post({.type = StreamEvent::Type::kWritten,
                  .stream = id_,
                  .session = inFlight_.session,
                  .bytes = inFlight_.bytes},
                 wakeOnWritten_.exchange(false));
    inFlight_.message.Clear();
    if (!ok) outgoing_.clear();
    if (ok) writeNextLocked();
  }
  finishIfQuiet();
}

void GrpcStream::onWritesDone(bool) {
  {
    std::lock_guard lock(mutex_);
    writing_ = false;
  }
  finishIfQuiet();
}

// Finish is asked for only when nothing else is under way, so that it is the last operation of the stream.
void GrpcStream::finishIfQuiet() {
  std::lock_guard lock(mutex_);
  if (!readEnded_ || writing_ || ticking_ || finishing_) return;
  finishing_ = true;
  call_->Finish(&status_, &finished_);
}

void GrpcStream::onFinished(bool) {
  std::string detail = status_.ok() ? "ended by the upstream"
                                    : std::to_string(status_.error_code()) + " " + status_.error_message();
  if (!failure_.empty()) detail = "ended by us: " + failure_;
  std::shared_ptr<GrpcStream> last = std::move(self_);
  bool handedOver;
  {
    std::lock_guard lock(mutex_);
    handedOver = halfClosing_;
  }
  if (extension_ != nullptr) extension_->releaseAll(handedOver);
  sink_.post({.type = StreamEvent::Type::kEnded,
              .stream = id_,
              .orderly = status_.ok() && failure_.empty(),
              .detail = std::move(detail)},
             true);
}

}  // namespace ppx
