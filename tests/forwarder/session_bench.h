// A forwarder's sessions without its process: a table, real TCP connections, links over a port that records.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "common/doorbells.h"
#include "forwarder/session_set.h"
#include "forwarder/upstream_links.h"

namespace ppx {

class RecordingPort : public StreamPort {
 public:
  struct Payload {
    StreamId stream;
    SlotRef session;
    std::string bytes;
    uint64_t offset = kNoOffset;
  };

  void prepare(const StreamTarget&) override {}
  StreamId open(const StreamTarget& target) override;
  void submit(StreamId stream, SlotRef session, const Uuid&, std::span<const iovec> pieces,
              uint64_t offset) override;
  void announce(StreamId stream, const SessionNews& what) override { news.push_back({stream, what}); }
  void kick(StreamId stream) override;
  void wakeOnWritten(StreamId) override {}
  std::vector<SlotRef> halfClose(StreamId stream) override;
  void cancel(StreamId stream) override { cancelled.push_back(stream); }
  void collect(std::vector<StreamEvent>& out) override;
  Millis lastSeenAtWork() const override { return monotonicMillis(); }
  Millis lastSignOf(StreamId) const override { return lastSign != 0 ? lastSign : monotonicMillis(); }
  Millis readUpTo() const override { return monotonicMillis(); }

  void opened(StreamId stream, uint8_t capabilities = 0, uint64_t instance = 1) {
    events.push_back({.type = StreamEvent::Type::kOpened,
                      .stream = stream,
                      .capabilities = capabilities,
                      .instance = instance});
  }
  void ended(StreamId stream, bool orderly) {
    events.push_back(
        {.type = StreamEvent::Type::kEnded, .stream = stream, .orderly = orderly, .detail = "told so"});
  }
  void marked(StreamId stream, SlotRef session, uint64_t offset, uint32_t assignment = 0) {
    events.push_back({.type = StreamEvent::Type::kMarked,
                      .stream = stream,
                      .session = session,
                      .offset = offset,
                      .assignment = assignment});
  }
  // The oldest payload of the stream is written.
  void written(StreamId stream);

  std::map<StreamId, uint32_t> upstreamOf;
  std::vector<Payload> queued;  // submitted, not yet written
  std::vector<StreamEvent> events;
  std::vector<std::pair<StreamId, SessionNews>> news;
  std::vector<StreamId> halfClosed, cancelled;
  StreamId last = 0;
  Millis lastSign = 0;  // of each stream; 0: now
};

class SessionBench : public SessionHost {
 public:
  explicit SessionBench(TableSizes sizes = {
                            .sessionSlots = 64, .inSegments = 1024, .outSegments = 4096, .upstreamSlots = 8});

  // A connected client; the session is served at once.
  Session& connect(UniqueFd& client, uint16_t listener = 0);
  void readyUpstream(uint32_t upstream);
  void setUpstream(uint32_t upstream, UpstreamLife life, UpstreamHealth health);
  // Lets the loop run until `done` or a deadline; false: the deadline.
  bool runUntil(const std::function<bool()>& done, int deadlineMs = 5000);
  void push(Session& session, std::string_view bytes);

  const Table& table() const override { return table_; }
  Journal& journal() override { return journal_; }
  const WorkerId& self() const override { return self_; }
  WorkerRow& figures() override { return table_.worker(0); }
  Session* find(SlotRef ref) override { return sessions.find(ref); }
  void inputWaits(Session& session) override { links.pump(session); }
  uint32_t inputAllowance(const Session& session) const override { return links.inputAllowance(session); }
  void journalFull(Session&) override { ++journalFullCount; }
  void leaving(Session& session, CloseReason reason) override { links.left(session.slot(), reason); }
  void dropCustody(Session& session) override { dropping.push_back(session.ref()); }
  void gone(Session& session) override { sessions.erase(session.ref()); }
  void dropAll();  // the custodian answers

 private:
  Table table_;
  WorkerId self_{0, 1};
  Journal journal_;
  boost::asio::io_context io_;
  RandomSource random_;

 public:
  RecordingPort port;
  SessionSet sessions;
  std::vector<std::pair<uint32_t, uint32_t>> ended;  // reports of the links
  UpstreamLinks links;
  std::vector<SlotRef> dropping;
  int journalFullCount = 0;
};

// Blocking with a deadline, for the client's end.
std::string receiveExactly(int socket, size_t bytes);
std::string receiveUntilEnd(int socket);  // "RESET" at the end when it was one

}  // namespace ppx
