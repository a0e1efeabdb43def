#include "session_bench.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <chrono>

#include "common/mail_pusher.h"

namespace ppx {

StreamId RecordingPort::open(const StreamTarget& target) {
  upstreamOf[++last] = target.upstream;
  return last;
}

void RecordingPort::submit(StreamId stream, SlotRef session, const Uuid&, std::span<const iovec> pieces,
                           uint64_t offset) {
  Payload payload{stream, session, {}, offset};
  for (const iovec& piece : pieces)
    payload.bytes.append(static_cast<const char*>(piece.iov_base), piece.iov_len);
  queued.push_back(std::move(payload));
}

void RecordingPort::kick(StreamId) {}

std::vector<SlotRef> RecordingPort::halfClose(StreamId stream) {
  halfClosed.push_back(stream);
  std::vector<SlotRef> back;
  std::erase_if(queued, [&](const Payload& payload) {
    if (payload.stream != stream) return false;
    back.push_back(payload.session);
    return true;
  });
  return back;
}

void RecordingPort::collect(std::vector<StreamEvent>& out) {
  out.clear();
  out.swap(events);
  for (const StreamEvent& event : out)
    if (event.type == StreamEvent::Type::kEnded)
      std::erase_if(queued, [&](const Payload& payload) { return payload.stream == event.stream; });
}

void RecordingPort::written(StreamId stream) {
  for (size_t i = 0; i < queued.size(); ++i) {
    if (queued[i].stream != stream) continue;
    events.push_back({.type = StreamEvent::Type::kWritten,
                      .stream = stream,
                      .session = queued[i].session,
                      .bytes = static_cast<uint32_t>(queued[i].bytes.size())});
    queued.erase(queued.begin() + static_cast<std::ptrdiff_t>(i));
    return;
  }
}

SessionBench::SessionBench(TableSizes sizes)
    : table_(std::move(*Table::create(sizes))),
      journal_(table_, self_),
      sessions(sizes.sessionSlots),
      links(table_, self_, port, sessions, [this](uint32_t u, uint32_t g) { ended.emplace_back(u, g); }) {
  ListenerRow& row = table_.listener(0);
  row.halfCloseTimeoutMs.store(60'000);
  row.lingerTimeoutMs.store(5'000);
  row.lingerGraceMs.store(100);
  row.noUpstreamTimeoutMs.store(60'000);
  row.slowClientGraceMs.store(10'000);
  row.outputSoftBytes.store(256 << 10);
  row.outputHardBytes.store(16 << 20);
  row.inputWindowBytes.store(64 << 10);
  row.used.store(1);
  table_.header().barrierTimeoutMs.store(60'000);
  table_.header().drainMaxMs.store(60'000);
  table_.header().doubtWindowMs.store(5'000);
}

namespace {

std::pair<UniqueFd, UniqueFd> tcpPair() {
  UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  PPX_INVARIANT(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), size) == 0);
  PPX_INVARIANT(::listen(listener.get(), 8) == 0);
  ::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size);
  UniqueFd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  PPX_INVARIANT(::connect(client.get(), reinterpret_cast<sockaddr*>(&address), size) == 0);
  UniqueFd server(::accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  int on = 1;
  ::setsockopt(server.get(), SOL_SOCKET, SO_OOBINLINE, &on, sizeof(on));
  return {std::move(client), std::move(server)};
}

bool readable(int socket) {
  pollfd state{socket, POLLIN, 0};
  return ::poll(&state, 1, 5000) > 0;
}

}  // namespace

Session& SessionBench::connect(UniqueFd& client, uint16_t listener) {
  auto [ours, theirs] = tcpPair();
  client = std::move(ours);
  SessionTable table(table_);
  SlotRef ref = *table.claim({kFirstAcceptorRow, 9}, 0);
  NewSession session;
  session.listener = listener;
  table.fill(ref, session, random_);
  PPX_INVARIANT(table.handoff(ref, {kFirstAcceptorRow, 9}, self_.row) && table.own(ref, self_));
  Session& made = sessions.insert(std::make_unique<Session>(*this, io_, ref, std::move(theirs)));
  links.assign(made);
  made.start();
  return made;
}

void SessionBench::setUpstream(uint32_t upstream, UpstreamLife life, UpstreamHealth health) {
  UpstreamSlot& slot = table_.upstream(upstream);
  slot.health.store(lifeWord(0, static_cast<uint8_t>(health)));
  slot.life.store(lifeWord(0, static_cast<uint8_t>(life)));
  table_.header().upstreamEpoch.fetch_add(1);
  links.sync();
}

void SessionBench::readyUpstream(uint32_t upstream) {
  setUpstream(upstream, UpstreamLife::kActive, UpstreamHealth::kReady);
  port.opened(port.last);
  links.collect();
}

bool SessionBench::runUntil(const std::function<bool()>& done, int deadlineMs) {
  Millis deadline = monotonicMillis() + deadlineMs;
  while (!done()) {
    if (monotonicMillis() > deadline) return false;
    io_.restart();
    io_.run_one_for(std::chrono::milliseconds(10));
    links.collect();
    Millis now = monotonicMillis();
    sessions.forEach([now](Session& session) { session.onTick(now, true); });
  }
  return true;
}

void SessionBench::push(Session& session, std::string_view bytes) {
  MailPusher pusher(table_, journal_);
  iovec piece{const_cast<char*>(bytes.data()), bytes.size()};
  PPX_INVARIANT(pusher.push(session.ref(), {&piece, 1}) == PushResult::kPushed);
  session.onNews();
}

void SessionBench::dropAll() {
  std::vector<SlotRef> now;
  now.swap(dropping);
  for (const SlotRef& ref : now)
    if (Session* session = find(ref)) session->onDropped();
}

std::string receiveExactly(int socket, size_t bytes) {
  std::string out;
  char buffer[65536];
  while (out.size() < bytes && readable(socket)) {
    ssize_t got = ::recv(socket, buffer, std::min(sizeof(buffer), bytes - out.size()), 0);
    if (got <= 0) break;
    out.append(buffer, static_cast<size_t>(got));
  }
  return out;
}

std::string receiveUntilEnd(int socket) {
  std::string out;
  char buffer[65536];
  while (readable(socket)) {
    ssize_t got = ::recv(socket, buffer, sizeof(buffer), 0);
    if (got < 0) return out + "RESET";
    if (got == 0) return out;
    out.append(buffer, static_cast<size_t>(got));
  }
  return out + "TIMEOUT";
}

}  // namespace ppx
