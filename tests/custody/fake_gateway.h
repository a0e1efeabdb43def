// What an acceptor needs around it, in the test's own process: a supervisor's end of the control channel with
// the table, the doorbells and one listener; forwarders that take handoffs; and clients.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/control_protocol.h"
#include "common/doorbells.h"
#include "common/handoff_protocol.h"
#include "common/seqpacket.h"
#include "common/session_table.h"
#include "tests/custody/support.h"

namespace ppx::test {

// Serves one worker at a time.
class FakeSupervisor {
 public:
  FakeSupervisor(boost::asio::io_context& io, const std::string& runtimeDir, uint32_t capacity);

  Table& table() { return *table_; }
  Doorbells& doorbells() { return *doorbells_; }
  uint16_t port() const { return port_; }
  uint32_t backlog() const;  // clients that nobody has accepted yet
  bool ready() const { return ready_; }
  bool helloReady() const { return helloReady_; }  // its hello said that it serves already
  bool stopping() const { return stopping_; }
  void setForwarderReady(uint8_t row, bool ready);  // and says so
  void stop(uint32_t deadlineMs);
  void renew() { send(control::Renew{}); }
  std::optional<control::Renewed>& renewed() { return renewed_; }
  void forget() { ready_ = false; }  // the worker; another will come

 private:
  void waitForWorker();
  void receive();
  template <typename T>
  void send(const T& message, std::span<const int> descriptors = {}) {
    EXPECT_TRUE(sendMessage(channel_.native_handle(), bytesOf(message), descriptors));
  }

  boost::asio::io_context& io_;
  std::optional<Table> table_;
  std::optional<Doorbells> doorbells_;
  UniqueFd listener_;  // for clients
  uint16_t port_ = 0;
  boost::asio::posix::stream_descriptor control_;
  boost::asio::posix::stream_descriptor channel_;
  bool ready_ = false;
  bool helloReady_ = false;
  bool stopping_ = false;
  std::optional<control::Renewed> renewed_;
};

// Owns what is handed to its row.
class FakeForwarder {
 public:
  struct Session {
    SlotRef ref;
    UniqueFd socket;
  };
  FakeForwarder(boost::asio::io_context& io, const std::string& runtimeDir, Table& table, WorkerId self);
  ~FakeForwarder() { hangUp(); }

  void setDeaf(bool deaf) { deaf_ = deaf; }            // takes channels, reads nothing
  void hangUp();                                       // closes all its channels
  bool end(size_t index, const Doorbells& doorbells);  // ends a session: its slot is free again
  std::vector<Session> sessions;
  size_t messages = 0;
  size_t lost = 0;  // handed to it, but the slot's word did not say so

 private:
  using Channel = std::shared_ptr<boost::asio::posix::stream_descriptor>;
  void waitForAcceptor();
  void wait(const Channel& channel);
  void receive(const Channel& channel);

  boost::asio::io_context& io_;
  Table& shared_;
  SessionTable table_;
  WorkerId self_;
  boost::asio::posix::stream_descriptor listener_;
  std::vector<Channel> channels_;
  bool deaf_ = false;
};

// A client on the loopback; `from`: its last byte of 127.0.0.x.
UniqueFd connectClient(uint16_t port, uint8_t from = 1);
uint16_t localPort(int socket);
// Whether the other side has reset the connection, within a second.
bool wasReset(int socket);

}  // namespace ppx::test
