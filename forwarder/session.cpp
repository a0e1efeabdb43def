#include "forwarder/session.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>

#include "common/failpoint.h"
#include "forwarder/in_hand.h"

namespace ppx {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr size_t kSendPieces = 64;
constexpr uint64_t kSendPerTurn = 1 << 20;  // then the others have their turn
constexpr int kReadsPerTurn = 4;

}  // namespace

Session::Session(SessionHost& host, boost::asio::io_context& io, SlotRef ref, UniqueFd socket)
    : host_(host), socket_(io.get_executor(), socket.release()), ref_(ref), lastActivity_(monotonicMillis()) {
  SessionSlot& s = slot();
  uint64_t acknowledged = 0;
  outbox_.attach(host.table(), ref, &acknowledged);
  inheritAcknowledged(acknowledged);
  inputEnded_ = (flags() & kSessionInputEnded) != 0;
  if (s.lastPassedMs.load(kRelaxed) == kPassing)
    s.lastPassedMs.store(static_cast<uint64_t>(lastActivity_), kRelaxed);
}

SessionSlot& Session::slot() const {
  return host_.table().session(ref_.slot);
}

const ListenerRow& Session::settings() const {
  return host_.table().listener(slot().listener.load(kRelaxed));
}

void Session::setFlag(uint32_t flag) {
  slot().flags.store(flags() | flag, kRelaxed);
}

void Session::setUpstream(uint32_t upstream, uint32_t generation) {
  slot().upstreamGeneration.store(generation, kRelaxed);
  slot().upstream.store(upstream, kRelaxed);
}

custody::Record Session::custodyRecord() const {
  custody::Record record;
  record.slot = ref_.slot;
  record.generation = ref_.generation;
  record.uuidHigh = slot().uuidHigh.load(kRelaxed);
  record.uuidLow = slot().uuidLow.load(kRelaxed);
  return record;
}

void Session::start() {
  onNews();
  if (phase_ == SessionPhase::kOpen && inputWaiting() > 0) host_.inputWaits(*this);
  arm();
}

// One wait of each kind at most; each names the session by its reference, since it may be gone when it fires.
void Session::arm() {
  if (phase_ >= SessionPhase::kDropping || clientGone_) return;
  auto wait = [this](auto kind, auto handler) {
    socket_.async_wait(kind, [&host = host_, ref = ref_, handler](const boost::system::error_code& error) {
      if (error) return;
      Session* session = host.find(ref);
      // Its socket may be gone: a wait that had ended before is not cancelled any more.
      if (session != nullptr && session->phase_ < SessionPhase::kDropping) {
        InHand inHand(host.figures(), ref);
        (session->*handler)();
      }
    });
  };
  if (!reading_ && wantsRead()) {
    reading_ = true;
    wait(Socket::wait_read, &Session::onReadable);
  }
  if (!writing_ && outbox_.pending(host_.table()) > 0) {
    writing_ = true;
    wait(Socket::wait_write, &Session::onWritable);
  }
  // Without another wait a hang-up would go unseen.
  if (!reading_ && !writing_ && !watching_) {
    watching_ = true;
    wait(Socket::wait_error, &Session::onHangUp);
  }
}

bool Session::wantsRead() const {
  if (inputEnded()) return false;
  if (phase_ != SessionPhase::kOpen) return true;  // to be thrown away, so that our FIN can be answered
  // Who does not take what we have for him is not asked for more.
  if (inFull_ || outbox_.pending(host_.table()) > settings().outputSoftBytes.load(kRelaxed)) return false;
  return inputRoom() > 0;
}

// Bytes that may be read now.
uint32_t Session::inputRoom() const {
  const SessionSlot& s = slot();
  uint64_t received = s.inReceived.load(kRelaxed);
  uint64_t waiting = received - s.inWritten.load(kRelaxed);
  uint64_t allowance = host_.inputAllowance(*this);
  uint64_t room = allowance > waiting ? allowance - waiting : 0;
  if (resumes()) {
    uint64_t unacknowledged = received - s.inAcked.load(kRelaxed);
    room = std::min(room, unacknowledged < kMaxUnacknowledged ? kMaxUnacknowledged - unacknowledged : 0);
  }
  return static_cast<uint32_t>(room);
}

void Session::onReadable() {
  reading_ = false;
  if (phase_ == SessionPhase::kOpen)
    readInput();
  else
    discardInput();
  arm();
}

void Session::readInput() {
  bool any = false;
  for (int turn = 0; turn < kReadsPerTurn && wantsRead(); ++turn) {
    InputWindow::Received got =
        input_.receive(host_.table(), host_.journal(), ref_, descriptor(), std::min(readHint_, inputRoom()));
    if (got.outcome == InputWindow::Outcome::kBytes) {
      any = true;
      host_.figures().bytesIn.fetch_add(got.bytes, kRelaxed);
      if (got.more) {
        readHint_ = std::min(readHint_ * 4, kMaxPayloadBytes);
        continue;
      }
      if (got.bytes < readHint_ / 4) readHint_ = std::max(readHint_ / 2, kSegmentBytes);
    } else if (got.outcome == InputWindow::Outcome::kEnd) {
      onInputEnd();
      host_.inputWaits(*this);  // its end is news
    } else if (got.outcome == InputWindow::Outcome::kNoSegments) {
      inFull_ = true;
      host_.journalFull(*this);
    } else if (got.outcome != InputWindow::Outcome::kEmpty) {
      return socketFailed(got.error);
    }
    break;
  }
  if (!any) return;
  lastActivity_ = monotonicMillis();
  slot().lastInMs.store(static_cast<uint64_t>(lastActivity_), kRelaxed);
  host_.inputWaits(*this);
}

void Session::onInputEnd() {
  setFlag(kSessionInputEnded);
  inputEnded_ = true;
  lastActivity_ = monotonicMillis();
}

void Session::onWritable() {
  writing_ = false;
  flush();
  arm();
}

void Session::onHangUp() {
  watching_ = false;
  if (!hungUp()) {
    watching_ = pollsHangUp_ = true;
    return;
  }
  int error = 0;
  socklen_t size = sizeof(error);
  ::getsockopt(descriptor(), SOL_SOCKET, SO_ERROR, &error, &size);
  socketFailed(error == 0 ? ECONNRESET : error);
}

bool Session::hungUp() {
  pollfd state{descriptor(), 0, 0};
  return ::poll(&state, 1, 0) > 0 && (state.revents & (POLLERR | POLLHUP)) != 0;
}

void Session::onNews() {
  if (phase_ >= SessionPhase::kLingering) return;
  collectMail();
  flush();
  if (phase_ != SessionPhase::kOpen) return;
  if (auto reason = SessionTable(host_.table()).closeRequested(ref_)) {
    if (*reason == CloseReason::kOverflow || *reason == CloseReason::kRefused ||
        *reason == CloseReason::kUpstreamReset)
      abort(*reason);
    else
      end(*reason);
  }
  arm();
}

void Session::collectMail() {
  uint64_t offset = 0;
  if (outbox_.collect(host_.table(), &offset) > 0)
    slot().lastOutMs.store(static_cast<uint64_t>(monotonicMillis()), kRelaxed);
  if (offset != 0) acknowledged(offset);
}

void Session::reclaimMail(std::span<const uint32_t> segments) {
  uint64_t offset = 0;
  outbox_.reclaimUnreachable(host_.table(), host_.journal(), segments, &offset);
  if (offset != 0) acknowledged(offset);
  onNews();
}

void Session::flush() {
  if (clientGone_) return;
  const Table& table = host_.table();
  uint64_t sentNow = 0;
  std::array<iovec, kSendPieces> pieces;
  while (sentNow < kSendPerTurn) {
    size_t count = outbox_.gather(table, pieces.data(), pieces.size());
    if (count == 0) break;
    msghdr header{};
    header.msg_iov = pieces.data();
    header.msg_iovlen = count;
    failpoint("session.send");
    ssize_t sent = ::sendmsg(descriptor(), &header, MSG_NOSIGNAL | MSG_DONTWAIT);
    failpoint("session.sent");
    if (sent < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN || errno == EWOULDBLOCK) break;
      return socketFailed(errno);
    }
    outbox_.consume(table, host_.journal(), static_cast<uint64_t>(sent));
    sentNow += static_cast<uint64_t>(sent);
  }
  Millis now = monotonicMillis();
  if (sentNow > 0) {
    lastActivity_ = endingSince_ = now;
    slot().lastOutMs.store(static_cast<uint64_t>(now), kRelaxed);
    host_.figures().bytesOut.fetch_add(sentNow, kRelaxed);
  }
  if (phase_ == SessionPhase::kFlushing && outbox_.pending(table) == 0) return onFlushed();
  if (phase_ == SessionPhase::kOpen) checkBacklog(now);
}

void Session::checkBacklog(Millis now) {
  const ListenerRow& limits = settings();
  uint64_t backlog = outbox_.pending(host_.table());
  if (backlog > limits.outputHardBytes.load(kRelaxed)) return abort(CloseReason::kOverflow);
  if (backlog <= limits.outputSoftBytes.load(kRelaxed))
    slowSince_ = 0;
  else if (slowSince_ == 0)
    slowSince_ = now;
}

UniqueFd Session::depart() {
  PPX_INVARIANT(phase_ == SessionPhase::kOpen && inFlight_ == 0);
  return UniqueFd(socket_.release());
}

void Session::resumeReading() {
  inFull_ = false;
  if (phase_ == SessionPhase::kOpen) arm();
}

}  // namespace ppx
