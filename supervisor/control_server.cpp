#include "supervisor/control_server.h"

#include <unistd.h>

#include <boost/asio/post.hpp>
#include <chrono>
#include <cstring>

#include "common/log.h"

namespace ppx {
namespace {

namespace asio = boost::asio;

constexpr size_t kMaxPeers = 2 * kWorkerRows;
constexpr size_t kBufferBytes = 512;  // longer than any message of the contract
constexpr int kMessagesATurn = 16;
constexpr std::chrono::seconds kHelloDeadline{5};
constexpr std::chrono::milliseconds kAcceptPause{100};

template <typename T>
bool decode(std::span<const std::byte> bytes, T& out) {
  if (bytes.size() != sizeof(T)) return false;
  std::memcpy(&out, bytes.data(), sizeof(T));
  return true;
}

}  // namespace

ControlPeer::ControlPeer(asio::io_context& io, UniqueFd socket, int pid, Handlers handlers)
    : io_(io), channel_(io, socket.release()), helloTimer_(io), pid_(pid), handlers_(std::move(handlers)) {}

void ControlPeer::start() {
  helloTimer_.expires_after(kHelloDeadline);
  helloTimer_.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
    if (!error && !self->helloSeen_) self->broken("no hello in time");
  });
  waitReadable();
}

void ControlPeer::waitReadable() {
  if (!open_) return;
  channel_.async_wait(asio::posix::stream_descriptor::wait_read,
                      [self = shared_from_this()](const boost::system::error_code& error) {
                        if (!error) self->receive();
                      });
}

void ControlPeer::receive() {
  alignas(8) std::array<std::byte, kBufferBytes> buffer;
  for (int i = 0; i < kMessagesATurn && open_; ++i) {
    auto message = receiveMessage(channel_.native_handle(), buffer);
    if (!message) {
      if (message.error().code == EAGAIN) return waitReadable();
      return broken(nullptr);
    }
    if (message->bytes == 0) return broken(nullptr);
    if (message->bytesLost || message->descriptorsLost ||
        !dispatch(std::span(buffer.data(), message->bytes), std::move(message->descriptors)))
      return broken("what it sent is not in the contract");
  }
  waitReadable();
}

bool ControlPeer::dispatch(std::span<const std::byte> bytes, std::vector<UniqueFd> descriptors) {
  control::Header header{};
  if (bytes.size() < sizeof(header)) return false;
  std::memcpy(&header, bytes.data(), sizeof(header));
  if (header.magic != control::kMagic) return false;
  if (header.version != control::kVersion) {
    reject("it speaks version " + std::to_string(header.version) + " of the control protocol, not " +
           std::to_string(control::kVersion));
    return true;
  }
  if (header.type == control::Type::kHello) {
    control::Hello hello;
    if (helloSeen_ || !decode(bytes, hello) || descriptors.size() != (hello.hasTable != 0 ? 1u : 0u))
      return false;
    hello.build[sizeof(hello.build) - 1] = '\0';
    helloSeen_ = true;
    helloTimer_.cancel();
    std::optional<UniqueFd> memfd;
    if (!descriptors.empty()) memfd = std::move(descriptors.front());
    handlers_.hello(*this, hello, std::move(memfd));
    return true;
  }
  if (!helloSeen_ || !descriptors.empty()) return false;
  if (header.type == control::Type::kReady) {
    if (bytes.size() != sizeof(control::Ready)) return false;
    handlers_.ready(*this);
    return true;
  }
  if (header.type == control::Type::kUpstreamChanged) {
    control::UpstreamChanged changed;
    if (!decode(bytes, changed)) return false;
    handlers_.upstreamChanged(*this, changed);
    return true;
  }
  if (header.type == control::Type::kHandedOver) {
    control::HandedOver report;
    if (!decode(bytes, report)) return false;
    if (handlers_.handedOver) handlers_.handedOver(*this, report);
    return true;
  }
  if (header.type == control::Type::kTookOver) {
    control::TookOver report;
    if (!decode(bytes, report)) return false;
    if (handlers_.tookOver) handlers_.tookOver(*this, report);
    return true;
  }
  if (header.type == control::Type::kRenewed) {
    control::Renewed report;
    if (!decode(bytes, report)) return false;
    report.reason[sizeof(report.reason) - 1] = '\0';
    if (handlers_.renewed) handlers_.renewed(*this, report);
    return true;
  }
  // Stopping: its pidfd will say when it is gone.
  return header.type == control::Type::kStopping && bytes.size() == sizeof(control::Stopping);
}

void ControlPeer::sendBytes(std::span<const std::byte> bytes, std::span<const int> descriptors) {
  if (!open_) return;
  if (Status sent = sendMessage(channel_.native_handle(), bytes, descriptors); !sent) {
    // Not from inside the caller's loop over its rows.
    asio::post(io_, [self = shared_from_this(), why = sent.error().text] { self->broken(why.c_str()); });
  }
}

void ControlPeer::reject(const std::string& reason) {
  logWarn("worker_rejected", {{"worker_pid", pid_}, {"reason", reason}},
          "a process (pid {}) on the control channel is rejected: {}", pid_, reason);
  control::Reject message;
  std::strncpy(message.reason, reason.c_str(), sizeof(message.reason) - 1);
  send(message);
  broken(nullptr);
}

void ControlPeer::close() {
  if (!open_) return;
  auto self = shared_from_this();
  open_ = false;
  boost::system::error_code ignored;
  channel_.close(ignored);
  helloTimer_.cancel();
  handlers_.gone(*this);
}

void ControlPeer::broken(const char* why) {
  if (!open_) return;
  if (why != nullptr) spdlog::warn("the control channel of pid {} is closed: {}", pid_, why);
  auto self = shared_from_this();
  close();
  handlers_.closed(*this);
}

ControlServer::ControlServer(asio::io_context& io, ControlPeer::Handlers handlers)
    : io_(io), handlers_(std::move(handlers)), listener_(io), pause_(io) {
  handlers_.gone = [this](ControlPeer& peer) { peers_.erase(peer.shared_from_this()); };
}

Status ControlServer::listen(const std::string& runtimeDir) {
  auto socket = listenSeqpacket(runtimeDir + "/" + control::kSocketName, kMaxPeers);
  if (!socket) return socket.error();
  listener_.assign(socket->release());
  waitForPeers();
  return Done{};
}

void ControlServer::stop() {
  boost::system::error_code ignored;
  listener_.close(ignored);
  pause_.cancel();
  for (const auto& peer : std::exchange(peers_, {})) peer->close();
}

void ControlServer::waitForPeers() {
  listener_.async_wait(asio::posix::stream_descriptor::wait_read,
                       [this](const boost::system::error_code& error) {
                         if (error) return;
                         if (acceptPeers()) return waitForPeers();
                         pause_.expires_after(kAcceptPause);
                         pause_.async_wait([this](const boost::system::error_code& stopped) {
                           if (!stopped) waitForPeers();
                         });
                       });
}

bool ControlServer::acceptPeers() {
  while (peers_.size() < kMaxPeers) {
    auto socket = acceptSeqpacket(listener_.native_handle());
    if (!socket) {
      if (socket.error().code == ECONNABORTED || socket.error().code == EINTR) continue;
      if (socket.error().code == EAGAIN) return true;
      spdlog::warn("control channel: {}", socket.error().text);
      return false;
    }
    addPeer(std::move(*socket));
  }
  return false;
}

void ControlServer::addPeer(UniqueFd socket) {
  auto credentials = peerCredentials(socket.get());
  if (!credentials || (credentials->uid != 0 && credentials->uid != ::geteuid())) {
    spdlog::warn("a process of another user dialled the supervisor and was refused");
    return;
  }
  auto peer = std::make_shared<ControlPeer>(io_, std::move(socket), credentials->pid, handlers_);
  peers_.insert(peer);
  peer->start();
}

}  // namespace ppx
