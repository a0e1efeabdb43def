// The accept loop: accept -> claim a slot -> fill it -> custody -> handoff. It accepts only while every step
// after it can be taken, and pauses otherwise: clients wait in the listener's backlog.
//
//   reason to pause   until
//   custody           the custodian's channel is up and takes puts
//   forwarders        a ready forwarder has room
//   full              a slot is released: our doorbell rings
//   resources         a back-off (no descriptors or memory at accept)
//   pending           all that was accepted is handed off
//   stopping          never
//
// All of it runs on the thread of its io_context: functions are called there, and `left` is.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "acceptor/admission.h"
#include "acceptor/client_socket.h"
#include "acceptor/handoff_sender.h"
#include "acceptor/rate_limit.h"
#include "common/custody_client.h"

namespace ppx {

class Acceptor {
 public:
  Acceptor(boost::asio::io_context& io, const std::string& runtimeDir, WorkerId self, Table& table,
           Doorbells& doorbells);
  ~Acceptor();

  // The whole list; row i belongs to socket i. Replaces what there was.
  void setListeners(std::vector<UniqueFd> sockets, const std::vector<uint8_t>& rows);
  // After a change among the processes (the table has it): connects to the custodian, if need be, and to forwarders that
  // are ready.
  void peersChanged();
  // Accepts no more; calls `left` when all that was accepted is handed off, at the latest after `deadline`.
  void stop(std::chrono::milliseconds deadline, std::function<void()> left);

 private:
  struct Listener {
    Listener(boost::asio::io_context& io, int socket, uint8_t listenerRow)
        : descriptor(io, socket), row(listenerRow) {}
    boost::asio::posix::stream_descriptor descriptor;
    uint8_t row;
    bool waiting = false;
  };
  enum Pause : uint32_t {
    kCustody = 1,
    kForwarders = 2,
    kFull = 4,
    kResources = 8,
    kPending = 16,
    kStopping = 32
  };
  enum class Turn { kGoOn, kOver };
  // So many clients at most are lost with an acceptor that is killed in between.
  static constexpr int kAcceptsATurn = 16;
  static_assert(kAcceptsATurn <= custody::kMaxRecords);

  void pause(Pause reason) { paused_ |= reason; }
  void resume(uint32_t reasons);
  void closeListeners();
  void arm(const std::shared_ptr<Listener>& listener);
  void onReadable(const std::shared_ptr<Listener>& listener);
  bool mayAccept();
  Turn acceptOne(Listener& listener);
  Turn onAcceptError(Listener& listener, const Error& error);
  Turn onFull(Listener& listener);
  void admit(Listener& listener, SlotRef ref, AcceptedClient client);
  void refuse(UniqueFd socket, SlotRef ref, const char* why);
  void countRefused();
  void progress();
  bool putPending();
  void putAgain();
  bool refusePending(SlotRef ref);
  void onPutDone(std::span<const custody::Record> records);
  void waitForDoorbell();
  void leaveIfDone();

  boost::asio::io_context& io_;
  WorkerId self_;
  Table& table_;
  Doorbells& doorbells_;
  WorkerRow& figures_;
  SessionTable sessions_;
  RandomSource random_;
  Admission admission_;
  CustodyClient custody_;
  HandoffSender handoff_;
  std::vector<std::shared_ptr<Listener>> listeners_;
  std::vector<PendingSession> pending_;  // at most one turn's
  uint32_t paused_ = 0;
  boost::asio::posix::stream_descriptor doorbell_;
  boost::asio::steady_timer resourceTimer_;
  std::chrono::milliseconds resourceDelay_;
  boost::asio::steady_timer stopTimer_;
  std::function<void()> left_;
  RateLimit resourceLog_, refusedLog_, custodyLog_;
};

}  // namespace ppx
