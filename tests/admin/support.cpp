#include "tests/admin/support.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <unistd.h>

#include <cstring>
#include <fstream>

#include "common/clock.h"

namespace ppx::test {

RawClient::RawClient(uint16_t port) : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0)
    throw std::runtime_error("cannot connect: " + std::string(std::strerror(errno)));
}

bool RawClient::send(const std::string& bytes) {
  size_t sent = 0;
  while (sent < bytes.size()) {
    ssize_t n = ::send(socket_.get(), bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (n <= 0) return false;
    sent += static_cast<size_t>(n);
  }
  return true;
}

Answer RawClient::answer(int withinMs) {
  std::string text;
  Millis deadline = monotonicMillis() + withinMs;
  for (;;) {
    pollfd waiting{socket_.get(), POLLIN, 0};
    if (::poll(&waiting, 1, static_cast<int>(std::max<Millis>(deadline - monotonicMillis(), 0))) <= 0) break;
    char bytes[4096];
    ssize_t n = ::recv(socket_.get(), bytes, sizeof(bytes), 0);
    if (n <= 0) break;
    text.append(bytes, static_cast<size_t>(n));
  }
  Answer answer;
  for (size_t end = text.find("\r\n\r\n"); end != std::string::npos; end = text.find("\r\n\r\n")) {
    answer.headers = text.substr(0, end);
    answer.body = text.substr(end + 4);
    answer.status = std::stoi(answer.headers.substr(9, 3));
    if (answer.status != 100) break;
    text = answer.body;
  }
  return answer;
}

std::string httpText(const std::string& method, const std::string& path, const std::string& body,
                     const std::string& headers) {
  std::string text = method + " " + path + " HTTP/1.1\r\n";
  if (headers.find("Host:") == std::string::npos) text += "Host: localhost\r\n";
  text += headers;
  if (!body.empty()) {
    if (headers.find("Content-Type:") == std::string::npos) text += "Content-Type: application/json\r\n";
    text += "Content-Length: " + std::to_string(body.size()) + "\r\n";
  }
  return text + "\r\n" + body;
}

TableSizes AdminFixture::smallSizes() {
  TableSizes sizes;
  sizes.sessionSlots = 256;
  sizes.inSegments = 256;
  sizes.outSegments = 256;
  sizes.upstreamSlots = 8;
  return sizes;
}

AdminFixture::AdminFixture()
    : table_(std::move(*Table::create(smallSizes()))), doorbells_(std::move(*Doorbells::create())) {
  std::strcpy(table_.pool(0).name, "default");
  std::strcpy(table_.pool(1).name, "games");
  std::strcpy(table_.listener(0).name, "front");
  for (auto* used : {&table_.pool(0).used, &table_.pool(1).used, &table_.listener(0).used}) used->store(1);
  table_.header().sessionCapacity.store(smallSizes().sessionSlots);
  table_.header().drainMaxMs.store(600'000);
  table_.worker(0).incarnation.store(7);
  table_.worker(0).ready.store(1);
  config_.management.port = 0;
  status_.pid = ::getpid();
  status_.version = "1.2.3";
  status_.startedRealtimeMs = realtimeMillis();
  status_.listeners = {{"front", "127.0.0.1", "default", 0, 7999}};
  status_.workers = {{"forwarder-0", WorkerRole::kForwarder, 0, ::getpid(), 7, "ready", 2},
                     {"acceptor-0", WorkerRole::kAcceptor, kFirstAcceptorRow, 0, 0, "dead", 0}};
  status_.sessionCapacity = 256;
  status_.descriptorLimit = 20'000;
  status_.ready = true;
}

AdminFixture::~AdminFixture() {
  server_.reset();
  stopProber_ = true;
  doorbells_.ring(kProberRow);
  if (prober_.joinable()) prober_.join();
}

void AdminFixture::start() {
  AdminContext context{
      table_,
      doorbells_,
      config_,
      "/etc/paradox.toml",
      "/run/paradox",
      [this] {
        std::lock_guard lock(statusMutex_);
        return status_;
      },
      [](std::function<void()> work) { work(); },
      [this](AdminContext::UpstreamChangedHandler handler) { upstreamChanged_ = std::move(handler); }};
  server_ = std::make_unique<AdminServer>(std::move(context));
  if (!peerAddress_.empty())
    server_->setPeerAddress([address = peerAddress_](const httplib::Request&) { return address; });
  auto started = server_->start();
  ASSERT_TRUE(started) << started.error().text;
  port_ = *started;
  prober_ = std::thread([this] { probe(); });
}

// At each ring: gives the health that the test asked for to all that are probing, and, as a forwarder, ends
// the streams of those that drain.
void AdminFixture::probe() {
  while (!stopProber_) {
    pollfd waiting{doorbells_.descriptor(kProberRow), POLLIN, 0};
    ::poll(&waiting, 1, -1);
    doorbells_.answered(table_, kProberRow);
    for (uint32_t i = 0; i < table_.sizes().upstreamSlots; ++i) {
      UpstreamSlot& slot = table_.upstream(i);
      uint64_t life = slot.life.load();
      uint32_t generation = lifeGeneration(life);
      uint64_t none = lifeWord(generation, static_cast<uint8_t>(StreamState::kNone));
      if (lifeState<UpstreamLife>(life) == UpstreamLife::kActive &&
          slot.health.load() == lifeWord(generation, static_cast<uint8_t>(UpstreamHealth::kProbing)) &&
          healthToGive_ != UpstreamHealth::kProbing) {
        slot.health.store(lifeWord(generation, static_cast<uint8_t>(healthToGive_.load())));
        slot.lastReadyMs.store(static_cast<uint64_t>(monotonicMillis()));
        slot.streams[0].store(lifeWord(generation, static_cast<uint8_t>(StreamState::kOpen)));
        upstreamChanged_(i, generation);
      } else if (lifeState<UpstreamLife>(life) == UpstreamLife::kDraining && slot.port.load() != 9) {
        // The one at port 9 never ends its stream.
        slot.streams[0].store(none);
        upstreamChanged_(i, generation);
      }
    }
  }
}

Answer AdminFixture::ask(const std::string& text) const {
  RawClient client(port_);
  client.send(text);
  return client.answer();
}

Json AdminFixture::addReady(const std::string& host, int port) {
  Answer answer = post("/upstream/add", Json{{"host", host}, {"port", port}}.dump());
  EXPECT_EQ(answer.status, 201) << answer.body;
  return answer.json();
}

SlotRef AdminFixture::makeSession(uint32_t upstreamSlot, uint32_t pool, uint8_t forwarder) {
  SessionTable sessions(table_);
  WorkerId acceptor{kFirstAcceptorRow, 3};
  auto ref = sessions.claim(acceptor, 0);
  if (!ref) throw std::runtime_error("no free slot");
  NewSession fresh;
  fresh.pool = static_cast<uint16_t>(pool);
  fresh.peerLow = 0x0000ffff7f000001;  // 127.0.0.1
  fresh.peerPort = 4321;
  sessions.fill(*ref, fresh, random_);
  sessions.handoff(*ref, acceptor, forwarder);
  sessions.own(*ref, {forwarder, 7});
  if (upstreamSlot != kNoUpstream) {
    SessionSlot& slot = table_.session(ref->slot);
    slot.upstream.store(upstreamSlot);
    slot.upstreamGeneration.store(lifeGeneration(table_.upstream(upstreamSlot).life.load()));
  }
  return *ref;
}

void AdminFixture::endSession(SlotRef ref, uint8_t forwarder) {
  SessionTable sessions(table_);
  sessions.beginClosing(ref, {forwarder, 7}, CloseReason::kClientEnd);
  sessions.release(ref, {forwarder, 7});
}

uint64_t residentBytes() {
  std::ifstream statm("/proc/self/statm");
  uint64_t all = 0, resident = 0;
  statm >> all >> resident;
  return resident * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace ppx::test
