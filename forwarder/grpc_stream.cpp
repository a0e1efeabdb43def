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
constexpr size_t kMostNews = 64 << 10;  // waiting ones, beyond which nobody is told that a client is unknown

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

void GrpcStream::onExtended() {
  if (!extension_->accepted() || reply_.isHello) return onHello();
  const uint8_t capabilities = extension_->capabilities();
  if (!takeMarks()) return;
  if (reply_.target == ReplyTarget::kNone && !reply_.marks.empty() && reply_.sequence == 0) return readNext();
  // What was not agreed on is nothing that can be used.
  bool usable = reply_.close == ReplyClose::kNone ||
                (reply_.close != ReplyClose::kInvalid && (capabilities & kClose) != 0 &&
                 reply_.target == ReplyTarget::kClient);
  if ((capabilities & kResume) == 0) {
    reply_.sequence = reply_.lane = reply_.acknowledged = 0;
  } else if (reply_.sequence == 0) {
    usable = false;
  }
  if (!usable) {
    router_.countMalformed();
    reply_.target = ReplyTarget::kInvalid;
    if (reply_.sequence == 0) return readNext();
  }
  if (reply_.sequence != 0) {
    LaneWriter* lane = extension_->lane(reply_.lane);
    // Given back meanwhile: whoever has it now is sent this again. Or it is a repetition.
    if (lane == nullptr || reply_.sequence <= lane->pushed()) return readNext();
    if (reply_.sequence != lane->pushed() + 1)
      return fail("reply " + std::to_string(reply_.sequence) + " follows " + std::to_string(lane->pushed()));
  }
  deliver();
}

void GrpcStream::onHello() {
  std::string refusal = extension_->accept(reply_);
  if (!refusal.empty()) return fail(std::move(refusal));
  sink_.post({.type = StreamEvent::Type::kOpened,
              .stream = id_,
              .capabilities = extension_->capabilities(),
              .instance = extension_->instance()},
             true);
  {
    std::lock_guard lock(mutex_);
    ticking_ = true;
  }
  onTick(true);
  readNext();
}

// False: the stream ends.
bool GrpcStream::takeMarks() {
  // Without `resume` a mark is nothing but a question whether the client is still there.
  const bool resumes = (extension_->capabilities() & kResume) != 0;
  if (!resumes) reply_.acknowledged = 0;
  if (reply_.acknowledged != 0)
    reply_.marks.push_back({reply_.client, reply_.acknowledged, reply_.assignment});
  for (size_t i = 0; i < reply_.marks.size(); ++i) {
    std::string reason;
    std::optional<SlotRef> ref =
        extension_->markedSession(reply_.marks[i].client, resumes ? reply_.marks[i].offset : 0, reason);
    if (!reason.empty()) {
      fail(std::move(reason));
      return false;
    }
    // That of a reply travels with the reply into its mailbox.
    const bool ofReply = reply_.acknowledged != 0 && i + 1 == reply_.marks.size() && !reply_.payload.empty();
    if (ref && resumes && !ofReply)
      sink_.post({.type = StreamEvent::Type::kMarked,
                  .stream = id_,
                  .session = *ref,
                  .offset = reply_.marks[i].offset,
                  .assignment = reply_.marks[i].assignment},
                 i + 1 == reply_.marks.size());
    if (!ref && reply_.marks[i].client && !ofReply) {
      std::optional<Uuid> client = reply_.client;
      reply_.client = reply_.marks[i].client;
      onUnknownClient();
      reply_.client = client;
    }
  }
  return true;
}

// Whoever still speaks of a client that is gone is told so: its end may have been lost with a forwarder.
void GrpcStream::onUnknownClient() {
  if ((extension_->capabilities() & kEvents) == 0) return;
  SessionNews news;
  news.kind = SessionNews::Kind::kClosed;
  news.client = *reply_.client;
  news.reason = "unknown";
  std::lock_guard lock(mutex_);
  if (halfClosing_ || readEnded_ || outgoing_.size() >= kMostNews) return;
  outgoing_.push_back({{}, 0, encodeNews(rfc3339(realtimeMillis()), news), true});
  writeNextLocked();
}

bool GrpcStream::canWrite() {
  std::lock_guard lock(mutex_);
  return !halfClosing_ && !readEnded_;
}

void GrpcStream::reportPositions() {
  if (!canWrite()) return;
  std::vector<LanePosition> positions = extension_->news();
  if (positions.empty()) return;
  std::lock_guard lock(mutex_);
  if (halfClosing_ || readEnded_) return;
  outgoing_.push_back({{}, 0, encodePositions(rfc3339(realtimeMillis()), positions), true});
  writeNextLocked();
}

void GrpcStream::onTick(bool) {
  Millis next = extension_->tick(monotonicMillis(), canWrite());
  reportPositions();
  {
    std::lock_guard lock(mutex_);
    ticking_ = next != 0 && !readEnded_;
  }
  if (ticking_)
    tickAlarm_.Set(queue_, std::chrono::system_clock::now() + std::chrono::milliseconds(next), &tick_);
  else
    finishIfQuiet();
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
