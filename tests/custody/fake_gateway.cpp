#include "tests/custody/fake_gateway.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <cstring>

#include "common/seqpacket.h"

namespace ppx::test {
namespace {

constexpr auto kReadable = boost::asio::posix::stream_descriptor::wait_read;
constexpr int kBacklog = 4096;

sockaddr_in loopback(uint16_t port, uint8_t last = 1) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(0x7f000000u | last);
  return address;
}

UniqueFd listenTcp(uint16_t& port) {
  UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  int one = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_OOBINLINE, &one, sizeof(one));
  sockaddr_in address = loopback(0);
  EXPECT_EQ(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  EXPECT_EQ(::listen(socket.get(), kBacklog), 0);
  port = localPort(socket.get());
  return socket;
}

}  // namespace

FakeSupervisor::FakeSupervisor(boost::asio::io_context& io, const std::string& runtimeDir, uint32_t capacity)
    : io_(io), control_(io), channel_(io) {
  TableSizes sizes;
  sizes.sessionSlots = 4096;
  sizes.inSegments = sizes.outSegments = 256;
  sizes.upstreamSlots = 16;
  auto table = Table::create(sizes);
  auto doorbells = Doorbells::create();
  EXPECT_TRUE(table && doorbells);
  table_.emplace(std::move(*table));
  doorbells_.emplace(std::move(*doorbells));
  table_->header().sessionCapacity = capacity;
  ListenerRow& row = table_->listener(3);
  row.pool = 2;
  row.keepaliveIdleS = 77;
  row.keepaliveIntervalS = 7;
  row.keepaliveCount = 4;
  row.userTimeoutMs = 12345;
  row.used = 1;
  listener_ = listenTcp(port_);
  auto control = listenSeqpacket(runtimeDir + "/" + control::kSocketName);
  EXPECT_TRUE(control);
  control_.assign(control->release());
  waitForWorker();
}

uint32_t FakeSupervisor::backlog() const {
  tcp_info info{};
  socklen_t size = sizeof(info);
  EXPECT_EQ(::getsockopt(listener_.get(), IPPROTO_TCP, TCP_INFO, &info, &size), 0);
  return info.tcpi_unacked;  // of a listener: the length of its queue
}

void FakeSupervisor::waitForWorker() {
  control_.async_wait(kReadable, [this](const boost::system::error_code& error) {
    if (error) return;
    if (auto socket = acceptSeqpacket(control_.native_handle())) {
      boost::system::error_code ignored;
      channel_.close(ignored);
      channel_.assign(socket->release());
      receive();
    }
    waitForWorker();
  });
}

void FakeSupervisor::receive() {
  alignas(8) std::array<std::byte, 512> buffer;
  for (;;) {
    auto message = receiveMessage(channel_.native_handle(), buffer);
    if (!message && message.error().code == EAGAIN) break;
    if (!message || message->bytes < sizeof(control::Header)) {
      boost::system::error_code ignored;
      channel_.close(ignored);
      return;
    }
    control::Header header{.type = control::Type::kHello};
    std::memcpy(&header, buffer.data(), sizeof(header));
    if (header.type == control::Type::kHello) {
      control::Hello hello;
      std::memcpy(&hello, buffer.data(), sizeof(hello));
      helloReady_ = hello.ready != 0 && hello.hasTable != 0;
      std::vector<int> descriptors{table_->memfd()};
      for (int bell : doorbells_->all()) descriptors.push_back(bell);
      send(control::Welcome{}, descriptors);
      control::Listeners listeners;
      listeners.count = 1;
      listeners.rows[0] = 3;
      int socket = listener_.get();
      send(listeners, std::span(&socket, 1));
    }
    if (header.type == control::Type::kRenewed) {
      renewed_.emplace();
      std::memcpy(&*renewed_, buffer.data(), sizeof(*renewed_));
    }
    ready_ = ready_ || header.type == control::Type::kReady;
    stopping_ = stopping_ || header.type == control::Type::kStopping;
  }
  channel_.async_wait(kReadable, [this](const boost::system::error_code& error) {
    if (!error) receive();
  });
}

void FakeSupervisor::setForwarderReady(uint8_t row, bool ready) {
  table_->worker(row).ready = ready ? 1 : 0;
  if (channel_.is_open()) send(control::PeersChanged{});
}

void FakeSupervisor::stop(uint32_t deadlineMs) {
  control::Stop stop;
  stop.deadlineMs = deadlineMs;
  send(stop);
}

FakeForwarder::FakeForwarder(boost::asio::io_context& io, const std::string& runtimeDir, Table& table,
                             WorkerId self)
    : io_(io), shared_(table), table_(table), self_(self), listener_(io) {
  auto socket = listenSeqpacket(runtimeDir + "/" + handoff::socketName(self.row));
  EXPECT_TRUE(socket);
  listener_.assign(socket->release());
  waitForAcceptor();
}

void FakeForwarder::waitForAcceptor() {
  listener_.async_wait(kReadable, [this](const boost::system::error_code& error) {
    if (error) return;
    if (auto socket = acceptSeqpacket(listener_.native_handle())) {
      channels_.push_back(std::make_shared<boost::asio::posix::stream_descriptor>(io_, socket->release()));
      wait(channels_.back());
    }
    waitForAcceptor();
  });
}

void FakeForwarder::wait(const Channel& channel) {
  channel->async_wait(kReadable, [this, channel](const boost::system::error_code& error) {
    if (!error && !deaf_) receive(channel);
  });
}

void FakeForwarder::receive(const Channel& channel) {
  struct {
    handoff::Head head{.type = handoff::Type::kHandoff};
    handoff::Record records[handoff::kMaxRecords];
  } in;
  for (;;) {
    auto message = receiveMessage(channel->native_handle(), std::as_writable_bytes(std::span(&in, 1)));
    if (!message && message.error().code == EAGAIN) break;
    if (!message || message->bytes == 0) return;
    ++messages;
    EXPECT_EQ(in.head.magic, handoff::kMagic);
    EXPECT_EQ(message->bytes, sizeof(in.head) + in.head.count * sizeof(handoff::Record));
    EXPECT_EQ(message->descriptors.size(), in.head.count);
    for (size_t i = 0; i < in.head.count; ++i) {
      SlotRef ref{in.records[i].slot, in.records[i].generation};
      if (table_.own(ref, self_))
        sessions.push_back({ref, std::move(message->descriptors[i])});
      else
        ++lost;
    }
    handoff::Head done{.type = handoff::Type::kHandoffDone, .count = in.head.count};
    [[maybe_unused]] Status ignored = sendMessage(channel->native_handle(), bytesOf(done));
  }
  wait(channel);
}

void FakeForwarder::hangUp() {
  boost::system::error_code ignored;
  for (auto& channel : channels_) channel->close(ignored);
  channels_.clear();
}

bool FakeForwarder::end(size_t index, const Doorbells& doorbells) {
  Session session = std::move(sessions.at(index));
  sessions.erase(sessions.begin() + static_cast<std::ptrdiff_t>(index));
  session.socket.reset();
  bool released =
      table_.beginClosing(session.ref, self_, CloseReason::kClientEnd) && table_.release(session.ref, self_);
  doorbells.slotReleased(shared_);
  return released;
}

UniqueFd connectClient(uint16_t port, uint8_t from) {
  UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  // No port of its own at bind, and no TIME_WAIT at the end: the thousands of a run do not use up the host's ports.
  int one = 1;
  linger now{1, 0};
  ::setsockopt(socket.get(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
  ::setsockopt(socket.get(), SOL_SOCKET, SO_LINGER, &now, sizeof(now));
  sockaddr_in own = loopback(0, from), peer = loopback(port);
  EXPECT_EQ(::bind(socket.get(), reinterpret_cast<sockaddr*>(&own), sizeof(own)), 0);
  EXPECT_EQ(::connect(socket.get(), reinterpret_cast<sockaddr*>(&peer), sizeof(peer)), 0);
  return socket;
}

uint16_t localPort(int socket) {
  sockaddr_in address{};
  socklen_t size = sizeof(address);
  ::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size);
  return ntohs(address.sin_port);
}

bool wasReset(int socket) {
  pollfd poll{socket, POLLIN, 0};
  char byte = 0;
  return ::poll(&poll, 1, 1000) == 1 && ::recv(socket, &byte, 1, 0) < 0 && errno == ECONNRESET;
}

}  // namespace ppx::test
