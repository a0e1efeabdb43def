// One client session in the forwarder that owns it: its socket, its input window and its outbox. The Asio
// thread.
//
// Created when the forwarder owns the slot and has the descriptor; destroyed when the slot is released. It
// holds little, since there are thousands of idle ones: what is in the slot is not kept twice.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/basic_stream_descriptor.hpp>
#include <memory>

#include "common/clock.h"
#include "common/custody_protocol.h"
#include "common/mail_outbox.h"
#include "forwarder/input_window.h"
#include "forwarder/session_phase.h"
#include "forwarder/stream_port.h"

namespace ppx {

class Session;

// What a session asks of its forwarder.
class SessionHost {
 public:
  virtual ~SessionHost() = default;
  virtual const Table& table() const = 0;
  virtual Journal& journal() = 0;
  virtual const WorkerId& self() const = 0;
  virtual WorkerRow& figures() = 0;
  virtual Session* find(SlotRef ref) = 0;
  // There is input for the upstream, or room in it is asked for.
  virtual void inputWaits(Session& session) = 0;
  // How many bytes may wait for this session's upstream: 0 while it has none, little while that one is
  // behind.
  virtual uint32_t inputAllowance(const Session& session) const = 0;
  // The input journal was full; the session is to be asked to read again when segments are free.
  virtual void journalFull(Session& session) = 0;
  // It begins to end: nothing more goes to or comes from its upstream.
  virtual void leaving(Session& session, CloseReason reason) = 0;
  // Its descriptor is out of epoll: the custodian is to drop its copy, then onDropped() is called.
  virtual void dropCustody(Session& session) = 0;
  // It is released and may be destroyed after this call.
  virtual void gone(Session& session) = 0;
};

class Session {
 public:
  using Socket = boost::asio::posix::basic_stream_descriptor<boost::asio::io_context::executor_type>;

  Session(SessionHost& host, boost::asio::io_context& io, SlotRef ref, UniqueFd socket);

  // Begins to serve: collects mail that came before, arms the socket.
  void start();
  // The slot has news: mail, or somebody asks for the end.
  void onNews();
  // Deadlines: idle, half-close, grace, linger. Called a few times a second; `all` about once: a session that
  // has no deadline but the idle one then looks at it, so that thousands of idle ones cost little.
  void onTick(Millis now, bool all);
  // Room in the upstream or in the journal again.
  void resumeReading();
  void onDropped();
  // Another process died: frees what it had claimed for this session's mailbox and not linked (Journal::outSegmentsOf()).
  void reclaimMail(std::span<const uint32_t> segments);

  // Ends it. Graceful: what is queued goes out first, then our FIN, then it lingers for the client's.
  void end(CloseReason reason);
  // At once, with a reset.
  void abort(CloseReason reason);

  // After a take-over of a session that was ending already: goes on with that. Or has an end of it, at once.
  void resumeClosing();
  void abortClosing(CloseReason reason);

  // After a take-over of a session whose client is gone: what it had sent goes to the upstream first, for linger_timeout at
  // most. False: nothing of that waits.
  bool outliveClient();

  // Input for the upstream; the links call these.
  uint64_t inputWaiting() const;                     // received and not yet submitted
  uint32_t gatherInput(std::vector<iovec>& pieces);  // up to one payload, to be submitted; returns its bytes
  void submitted(StreamId stream, uint32_t bytes);
  void written(StreamId stream, uint32_t bytes);
  // A planned move: what gRPC has of it will be written by the stream that it is on, which lives on.
  void leaveInFlight();
  // Out of epoll; nothing of the slot changes. The session is to be destroyed.
  UniqueFd depart();
  void takenBack(StreamId stream);  // what was submitted there was not taken: it waits again
  // An upstream with `resume`: what it has not acknowledged stays in the journal, and is sent again by rewind().
  bool resumes() const { return (flags() & kSessionResumes) != 0; }
  void acknowledged(uint64_t offset);
  // After a take-over, before its windows are rebuilt: a predecessor's reply implies it.
  void inheritAcknowledged(uint64_t offset);
  // Something of it was on its way to or from a plain upstream within doubt_window: should the stream have broken,
  // nobody can prove that it arrived. `lastSign`: when who had it was last heard of (monotonic).
  bool isInDoubt(Millis lastSign) const;
  void rewind();
  // Its upstream has announced the extensions, and nothing is sent before its hello: so nothing comes into doubt.
  void expectResume();
  // The upstream that it has now, over a stream that is open.
  void setCapabilities(uint8_t capabilities);
  // Input goes to that instance from now on, after setCapabilities(). What the one before has answered so far counts; what it
  // answers from now on does not (MailOutbox::collect).
  void serveBy(uint64_t instance);
  bool wasAnnounced() const { return (flags() & kSessionAnnounced) != 0; }
  void setAnnounced() { setFlag(kSessionAnnounced); }
  uint64_t nextAnnouncement() { return slot().announcements.fetch_add(1) + 1; }
  bool isContinued() const { return (flags() & kSessionContinued) != 0; }
  void setContinued() { setFlag(kSessionContinued); }

  SlotRef ref() const { return ref_; }
  SessionSlot& slot() const;
  const ListenerRow& settings() const;
  SessionPhase phase() const { return phase_; }
  StreamId inFlightOn() const { return stream_; }
  uint32_t upstream() const { return slot().upstream.load(std::memory_order_relaxed); }
  void setUpstream(uint32_t upstream, uint32_t generation);
  Millis waitingSince() const { return waitingSince_; }
  void setWaitingSince(Millis now) { waitingSince_ = now; }
  int descriptor() { return socket_.native_handle(); }
  custody::Record custodyRecord() const;
  InputWindow& input() { return input_; }
  MailOutbox& outbox() { return outbox_; }
  bool inputEnded() const { return inputEnded_; }
  bool waitsInQueue = false;  // mark of the queue of the host that it waits in
  bool endAnnounced =
      false;  // the upstream of the present stream has been told that the client ended its input

 private:
  static constexpr uint32_t kMaxPayloadBytes = 64 << 10;  // submitted at once, and read at a time

  uint32_t flags() const { return slot().flags.load(std::memory_order_relaxed); }
  void setFlag(uint32_t flag);
  void collectMail();
  uint32_t inputRoom() const;
  bool wantsRead() const;
  void arm();
  void onReadable();
  void onWritable();
  void onHangUp();
  bool hungUp();
  void readInput();
  void discardInput();
  void onInputEnd();
  void flush();
  void onFlushed();
  void advance(SessionStep step, CloseReason reason = CloseReason::kNone);
  void leaveOpen(CloseReason reason);
  void takeUpClosing();
  void enterDropping();
  void tickOpen(Millis now);
  void tickEnding(Millis now);
  void checkBacklog(Millis now);
  void socketFailed(int error);

  SessionHost& host_;
  Socket socket_;
  UniqueFd dropped_;  // the descriptor once it is out of epoll
  SlotRef ref_;
  InputWindow input_;
  MailOutbox outbox_;
  StreamId stream_ = 0;    // where the payload in flight went
  uint32_t inFlight_ = 0;  // its bytes
  uint32_t readHint_ = kSegmentBytes;
  SessionPhase phase_ = SessionPhase::kOpen;
  bool reading_ : 1 = false;  // waits of these kinds are armed
  bool writing_ : 1 = false;
  bool watching_ : 1 = false;
  bool inFull_ : 1 = false;
  bool inputEnded_ : 1 = false;  // as the slot's flag
  bool clientGone_ : 1 = false;  // outliveClient()
  bool pollsHangUp_ : 1 =
      false;  // urgent data would wake a wait for hang-ups all the time: the tick looks instead
  Millis waitingSince_ = 0;  // without an upstream since; 0: it has one
  Millis slowSince_ = 0;     // backlog above the soft bound since
  Millis endingSince_ = 0;   // this phase of the end began, or made progress
  Millis drainedSince_ = 0;  // lingering: the kernel's queue is empty since
  Millis lastActivity_ = 0;
};

}  // namespace ppx
