#include "forwarder/grpc_stream.h"

#include "common/failpoint.h"
#include "forwarder/upstream_wire.h"

namespace ppx {
namespace {

constexpr char kMethod[] = "/upstream.grpc.service.UpstreamPeerService/bidirectionalStreaming";
// How soon a reply that found no free segment is tried again; the session with the largest backlog ends
// meanwhile.
constexpr int kRetryMs = 5;

}  // namespace

GrpcStream::GrpcStream(StreamId id, const StreamTarget& target, ReplyRouter& router, StreamEventSink& sink)
    : id_(id), target_(target), router_(router), sink_(sink) {}

void GrpcStream::start(grpc::GenericStub& stub, grpc::CompletionQueue& queue,
                       const std::vector<std::pair<std::string, std::string>>& metadata) {
  self_ = shared_from_this();
  queue_ = &queue;
  for (const auto& [name, value] : metadata) context_.AddMetadata(name, value);
  call_ = stub.PrepareCall(&context_, kMethod, &queue);
  call_->StartCall(&started_);
}

void GrpcStream::submit(SlotRef session, uint32_t bytes, grpc::ByteBuffer message) {
  std::lock_guard lock(mutex_);
  outgoing_.push_back({session, bytes, std::move(message)});
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
  for (const Outgoing& outgoing : outgoing_) takenBack.push_back(outgoing.session);
  outgoing_.clear();
  halfClosing_ = true;
  writeNextLocked();
  return takenBack;
}

void GrpcStream::cancel() {
  context_.TryCancel();
}

void GrpcStream::onStarted(bool ok) {
  if (!ok) {
    std::lock_guard lock(mutex_);
    readEnded_ = true;
  } else {
    sink_.post({StreamEvent::Type::kOpened, id_, {}, 0, false, {}}, true);
    readNext();
    std::lock_guard lock(mutex_);
    open_ = true;
    writeNextLocked();
  }
  finishIfQuiet();
}

void GrpcStream::readNext() {
  incoming_.Clear();
  call_->Read(&incoming_, &read_);
}

void GrpcStream::onRead(bool ok) {
  if (!ok) {
    {
      std::lock_guard lock(mutex_);
      readEnded_ = true;
    }
    return finishIfQuiet();
  }
  if (!incoming_.TrySingleSlice(&incomingSlice_).ok()) (void)incoming_.DumpToSingleSlice(&incomingSlice_);
  std::string_view bytes(reinterpret_cast<const char*>(incomingSlice_.begin()), incomingSlice_.size());
  if (!decodeOutput(bytes, reply_)) reply_.target = ReplyTarget::kInvalid;
  cursor_ = {};
  deliver();
}

void GrpcStream::deliver() {
  if (router_.deliver(reply_, target_.upstream, target_.pool, cursor_)) return readNext();
  retryAlarm_.Set(queue_, std::chrono::system_clock::now() + std::chrono::milliseconds(kRetryMs), &retry_);
}

void GrpcStream::onRetry(bool) {
  deliver();
}

void GrpcStream::onWritten(bool ok) {
  {
    std::lock_guard lock(mutex_);
    writing_ = false;
    if (ok)
      sink_.post({StreamEvent::Type::kWritten, id_, inFlight_.session, inFlight_.bytes, false, {}},
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
  if (!readEnded_ || writing_ || finishing_) return;
  finishing_ = true;
  call_->Finish(&status_, &finished_);
}

void GrpcStream::onFinished(bool) {
  std::string detail = status_.ok() ? "ended by the upstream"
                                    : std::to_string(status_.error_code()) + " " + status_.error_message();
  std::shared_ptr<GrpcStream> last = std::move(self_);
  sink_.post({StreamEvent::Type::kEnded, id_, {}, 0, status_.ok(), std::move(detail)}, true);
}

}  // namespace ppx
