// The supervisor's end of the control channels (control_protocol.h): accepts, reads, checks the form of what
// comes, sends. Who may say what is worker_manager's to decide. The supervisor's loop only.
//
// A peer that sends what is not in the contract, does not say hello in time, or does not read what it is
// sent, loses its channel; a true worker dials again and is told everything anew.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "common/control_protocol.h"
#include "common/seqpacket.h"

namespace ppx {

// One channel. Handlers may close it; it lives on until they have returned.
class ControlPeer : public std::enable_shared_from_this<ControlPeer> {
 public:
  struct Handlers {
    std::function<void(ControlPeer&, const control::Hello&, std::optional<UniqueFd> memfd)> hello;
    std::function<void(ControlPeer&)> ready;
    std::function<void(ControlPeer&, const control::UpstreamChanged&)> upstreamChanged;
    std::function<void(ControlPeer&, const control::HandedOver&)> handedOver;
    std::function<void(ControlPeer&, const control::TookOver&)> tookOver;
    std::function<void(ControlPeer&, const control::Renewed&)> renewed;
    std::function<void(ControlPeer&)> closed;  // it broke; not after close()
    std::function<void(ControlPeer&)> gone;    // ControlServer's own: it broke or was closed
  };

  ControlPeer(boost::asio::io_context& io, UniqueFd socket, int pid, Handlers handlers);
  void start();

  int pid() const { return pid_; }  // of SO_PEERCRED
  template <typename T>
  void send(const T& message, std::span<const int> descriptors = {}) {
    sendBytes(bytesOf(message), descriptors);
  }
  void reject(const std::string& reason);  // and closes
  void close();

  // The row that its hello was accepted for; worker_manager's.
  std::optional<uint8_t> row;

 private:
  void waitReadable();
  void receive();
  bool dispatch(std::span<const std::byte> bytes, std::vector<UniqueFd> descriptors);
  void sendBytes(std::span<const std::byte> bytes, std::span<const int> descriptors);
  void broken(const char* why);

  boost::asio::io_context& io_;
  boost::asio::posix::stream_descriptor channel_;
  boost::asio::steady_timer helloTimer_;
  int pid_;
  Handlers handlers_;
  bool open_ = true;
  bool helloSeen_ = false;
};

class ControlServer {
 public:
  ControlServer(boost::asio::io_context& io, ControlPeer::Handlers handlers);
  // Listens on <runtimeDir>/control.sock; peers of other users are refused.
  Status listen(const std::string& runtimeDir);
  void stop();

 private:
  void waitForPeers();
  bool acceptPeers();  // false: better not at once again
  void addPeer(UniqueFd socket);

  boost::asio::io_context& io_;
  ControlPeer::Handlers handlers_;
  boost::asio::posix::stream_descriptor listener_;
  boost::asio::steady_timer pause_;
  std::set<std::shared_ptr<ControlPeer>> peers_;
};

}  // namespace ppx
