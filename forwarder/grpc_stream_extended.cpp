// GrpcStream: what an extended stream says beside payloads: its hello, marks, questions after clients, positions of lanes.
#include <chrono>

#include "common/clock.h"
#include "forwarder/grpc_stream.h"
#include "forwarder/upstream_wire.h"

namespace ppx {
namespace {

constexpr size_t kMostNews = 64 << 10;  // waiting ones, beyond which nobody is told that a client is unknown

}  // namespace

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

}  // namespace ppx
