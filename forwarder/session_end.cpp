// How a session ends (session_phase.h). A copy of the socket elsewhere hides close(), so every end is said to
// the kernel before: SHUT_WR for an orderly one, connect(AF_UNSPEC) for a reset.
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <array>

#include "common/failpoint.h"
#include "common/log.h"
#include "forwarder/session.h"

namespace ppx {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr int kDiscardsPerTurn = 16;

void reset(int socket) {
  sockaddr unspecified{};
  unspecified.sa_family = AF_UNSPEC;
  // Fails only where there is no connection left to reset.
  [[maybe_unused]] int ignored = ::connect(socket, &unspecified, sizeof(unspecified));
}

int unsentBytes(int socket) {
  int bytes = 0;
  return ::ioctl(socket, SIOCOUTQ, &bytes) == 0 ? bytes : 0;
}

bool due(Millis since, Millis now, uint32_t timeoutMs) {
  return since != 0 && now - since >= timeoutMs;
}

}  // namespace

void Session::end(CloseReason reason) {
  if (phase_ != SessionPhase::kOpen) return;
  advance(SessionStep::kAsk, reason);
  flush();
  arm();
}

void Session::resumeClosing() {
  takeUpClosing();
  outbox_.collect(host_.table());
  flush();
  arm();
}

void Session::abortClosing(CloseReason reason) {
  slot().closeReason.store(static_cast<uint32_t>(reason), kRelaxed);
  takeUpClosing();
  abort(reason);
}

void Session::takeUpClosing() {
  phase_ = SessionPhase::kFlushing;
  endingSince_ = monotonicMillis();
  host_.leaving(*this, static_cast<CloseReason>(slot().closeReason.load(kRelaxed)));
  input_.discard(host_.table(), host_.journal());
  MailOutbox::close(host_.table(), ref_.slot);
}

void Session::abort(CloseReason reason) {
  if (phase_ >= SessionPhase::kDropping) return;
  reset(descriptor());
  advance(SessionStep::kFinished, reason);
}

void Session::socketFailed(int error) {
  CloseReason reason = CloseReason::kInternal;
  if (error == ECONNRESET || error == EPIPE)
    reason = CloseReason::kClientReset;
  else if (error == ETIMEDOUT || error == EHOSTUNREACH || error == ENETUNREACH)
    reason = CloseReason::kClientTimeout;
  else
    logError("socket_failed", {{"session", SessionTable(host_.table()).uuid(ref_.slot)}}, "session {}: {}",
             SessionTable(host_.table()).uuid(ref_.slot),
             systemError("the client's socket failed", error).text);
  if (phase_ < SessionPhase::kDropping) advance(SessionStep::kFinished, reason);
}

void Session::advance(SessionStep step, CloseReason reason) {
  SessionPhase before = phase_;
  SessionPhase after = nextPhase(before, step);
  if (after == before) return;
  if (before == SessionPhase::kOpen) leaveOpen(reason);
  phase_ = after;
  endingSince_ = monotonicMillis();
  if (after == SessionPhase::kDropping) enterDropping();
}

void Session::leaveOpen(CloseReason reason) {
  const Table& table = host_.table();
  bool ours = SessionTable(table).beginClosing(ref_, host_.self(), reason);
  PPX_INVARIANT(ours);
  host_.leaving(*this, reason);
  failpoint("session.closing");
  outbox_.collect(table);  // what came before the mailbox closed still goes out
  input_.discard(table, host_.journal());
}

void Session::onFlushed() {
  failpoint("session.shutdown");
  ::shutdown(descriptor(), SHUT_WR);
  setFlag(kSessionOutputEnded);
  advance(SessionStep::kDrained);
  if (inputEnded()) advance(SessionStep::kFinished);
}

void Session::discardInput() {
  std::array<char, 16384> waste;
  for (int turn = 0; turn < kDiscardsPerTurn; ++turn) {
    ssize_t got = ::recv(descriptor(), waste.data(), waste.size(), MSG_DONTWAIT);
    if (got > 0) continue;
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got < 0) return socketFailed(errno);
    onInputEnd();
    if (phase_ == SessionPhase::kLingering) advance(SessionStep::kFinished);
    return;
  }
}

void Session::enterDropping() {
  dropped_.reset(socket_.release());  // out of epoll, which a copy elsewhere would keep it in
  failpoint("session.dropping");
  host_.dropCustody(*this);
}

void Session::onDropped() {
  if (phase_ != SessionPhase::kDropping) return;
  const Table& table = host_.table();
  phase_ = nextPhase(phase_, SessionStep::kDropped);
  dropped_.reset();
  failpoint("session.closed");
  input_.discard(table, host_.journal());
  outbox_.discard(table, host_.journal());
  uint32_t reason = slot().closeReason.load(kRelaxed);
  host_.figures().closed[reason % kCloseReasonCapacity].fetch_add(1, kRelaxed);
  const std::string_view name = closeReasonInfo(static_cast<CloseReason>(reason)).name;
  const Uuid uuid = SessionTable(table).uuid(ref_.slot);
  logDebug("session_ended", {{"session", uuid}, {"reason", name}}, "session {}: ended: {}", uuid, name);
  bool ours = SessionTable(table).release(ref_, host_.self());
  PPX_INVARIANT(ours);
  host_.gone(*this);
}

void Session::onTick(Millis now, bool all) {
  if (phase_ == SessionPhase::kOpen) {
    if (all || slowSince_ != 0 || waitingSince_ != 0 || inputEnded_ || pollsHangUp_ || clientGone_)
      tickOpen(now);
  } else if (phase_ < SessionPhase::kDropping) {
    tickEnding(now);
  }
}

bool Session::outliveClient() {
  clientGone_ = inputWaiting() > 0;
  endingSince_ = monotonicMillis();
  return clientGone_;
}

void Session::tickOpen(Millis now) {
  if (clientGone_) {
    const SessionSlot& s = slot();
    if (s.inAcked.load(kRelaxed) == s.inReceived.load(kRelaxed) ||
        due(endingSince_, now, settings().lingerTimeoutMs.load(kRelaxed)))
      abort(CloseReason::kClientReset);
    return;
  }
  if (pollsHangUp_ && hungUp()) return onHangUp();
  // A message that was sent and stayed because a lane still named it.
  if (!outbox_.empty() && outbox_.pending(host_.table()) == 0)
    outbox_.consume(host_.table(), host_.journal(), 0);
  const ListenerRow& limits = settings();
  uint32_t idle = limits.idleTimeoutMs.load(kRelaxed);
  uint32_t noUpstream = limits.noUpstreamTimeoutMs.load(kRelaxed);
  if (due(slowSince_, now, limits.slowClientGraceMs.load(kRelaxed))) return abort(CloseReason::kSlowClient);
  if (noUpstream != 0 && due(waitingSince_, now, noUpstream)) return end(CloseReason::kNoUpstream);
  bool quiet = outbox_.pending(host_.table()) == 0;
  if (inputEnded() && quiet && (flags() & kSessionUpstreamCloses) == 0 &&
      due(lastActivity_, now, limits.halfCloseTimeoutMs.load(kRelaxed)))
    return end(slot().outSent.load(kRelaxed) > 0 ? CloseReason::kClientEnd : CloseReason::kHalfCloseTimeout);
  if (idle != 0 && due(lastActivity_, now, idle)) end(CloseReason::kIdle);
}

void Session::tickEnding(Millis now) {
  const ListenerRow& limits = settings();
  uint32_t linger = limits.lingerTimeoutMs.load(kRelaxed);
  if (due(endingSince_, now, linger)) {
    // The client takes nothing more, or never ends its side.
    if (phase_ == SessionPhase::kFlushing || unsentBytes(descriptor()) > 0) reset(descriptor());
    return advance(SessionStep::kFinished);
  }
  if (phase_ != SessionPhase::kLingering) return;
  if (unsentBytes(descriptor()) > 0)
    drainedSince_ = 0;
  else if (drainedSince_ == 0)
    drainedSince_ = now;
  if (due(drainedSince_, now, limits.lingerGraceMs.load(kRelaxed))) advance(SessionStep::kFinished);
}

}  // namespace ppx
