// A session and its upstream: input that is submitted, written, acknowledged or taken back; what the upstream can do.
#include <algorithm>

#include "common/failpoint.h"
#include "forwarder/session.h"

namespace ppx {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;

}  // namespace

uint64_t Session::inputWaiting() const {
  return slot().inReceived.load(kRelaxed) - slot().inWritten.load(kRelaxed) - inFlight_;
}

uint32_t Session::gatherInput(std::vector<iovec>& pieces) {
  uint32_t bytes = static_cast<uint32_t>(std::min<uint64_t>(inputWaiting(), kMaxPayloadBytes));
  input_.gather(host_.table(), slot().inWritten.load(kRelaxed) + inFlight_, bytes, pieces);
  slot().lastPassedMs.store(kPassing, kRelaxed);
  return bytes;
}

void Session::submitted(StreamId stream, uint32_t bytes) {
  PPX_INVARIANT(inFlight_ == 0);
  stream_ = stream;
  inFlight_ = bytes;
}

bool Session::isInDoubt(Millis lastSign) const {
  const SessionSlot& s = slot();
  // A forwarder of an earlier version notes only what it reads.
  const uint64_t passed = s.lastPassedMs.load(kRelaxed);
  const uint64_t last =
      std::max(passed != 0 ? passed : s.lastInMs.load(kRelaxed), s.lastOutMs.load(kRelaxed));
  if (last == 0 || resumes()) return false;
  return passed == kPassing || lastSign - static_cast<Millis>(last) <
                                   static_cast<Millis>(host_.table().header().doubtWindowMs.load(kRelaxed));
}

void Session::written(StreamId stream, uint32_t bytes) {
  if (stream != stream_ || bytes != inFlight_) return;
  takenBack(stream);
  if (phase_ != SessionPhase::kOpen) return;
  SessionSlot& s = slot();
  uint64_t offset = s.inWritten.load(kRelaxed) + bytes;
  if (resumes()) {
    s.inWritten.store(offset, kRelaxed);
    return arm();
  }
  s.inAcked.store(offset, kRelaxed);
  s.inWritten.store(offset, kRelaxed);
  input_.release(host_.table(), host_.journal(), offset, s.inReceived.load(kRelaxed));
  arm();
}

void Session::takenBack(StreamId stream) {
  if (stream != stream_) return;
  if (inFlight_ != 0) slot().lastPassedMs.store(static_cast<uint64_t>(monotonicMillis()), kRelaxed);
  stream_ = 0;
  inFlight_ = 0;
}

void Session::leaveInFlight() {
  if (resumes()) return takenBack(stream_);  // it is sent again from the mark
  written(stream_, inFlight_);
}

void Session::acknowledged(uint64_t offset) {
  SessionSlot& s = slot();
  uint64_t received = s.inReceived.load(kRelaxed);
  if (phase_ != SessionPhase::kOpen || !resumes() || offset <= s.inAcked.load(kRelaxed) || offset > received)
    return;
  s.inAcked.store(offset);
  if (offset > s.inWritten.load(kRelaxed) + inFlight_) {
    // It was sent over an earlier stream, and rewound since.
    takenBack(stream_);
    s.inWritten.store(offset, kRelaxed);
  }
  failpoint("session.acknowledged");
  input_.release(host_.table(), host_.journal(), offset, received);
  arm();
}

// Who sent the reply may have died before it noted what that implies.
void Session::inheritAcknowledged(uint64_t offset) {
  SessionSlot& s = slot();
  if (resumes() && offset > s.inAcked.load(kRelaxed) && offset <= s.inReceived.load(kRelaxed))
    s.inAcked.store(offset);
}

// What is in flight over a stream that is over no longer counts, should it be reported yet.
void Session::rewind() {
  takenBack(stream_);
  slot().inWritten.store(slot().inAcked.load(kRelaxed), kRelaxed);
}

void Session::expectResume() {
  if (inFlight_ == 0 && !resumes()) setFlag(kSessionResumes);
}

void Session::setCapabilities(uint8_t capabilities) {
  uint32_t granted = 0;
  if ((capabilities & kResume) != 0) granted |= kSessionResumes;
  // It is told of the client's end, and ends the session when it has answered.
  if ((capabilities & (kEvents | kClose)) == (kEvents | kClose)) granted |= kSessionUpstreamCloses;
  const uint32_t before = flags();
  const uint32_t after = (before & ~(kSessionResumes | kSessionUpstreamCloses)) | granted;
  if ((before & kSessionResumes) != 0) {
    collectMail();
    rewind();
  }
  if (before != after) slot().flags.store(after, kRelaxed);
  endAnnounced = false;
}

void Session::serveBy(uint64_t instance) {
  SessionSlot& s = slot();
  const uint64_t before = s.servedBy.load(kRelaxed);
  if (before == instance) return;
  // Noted first: should this process die here, the one before is told so of a session that it knows.
  if (before != 0 && (wasAnnounced() || s.inAcked.load(kRelaxed) != 0)) setContinued();
  s.assignment.fetch_add(1);
  s.servedBy.store(instance);
}

}  // namespace ppx
