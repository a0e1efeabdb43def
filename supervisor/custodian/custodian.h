// The custodian: holds a second copy of every descriptor that must outlive its user, and gives it to whoever
// goes on with it. The protocol is common/custody_protocol.h. Peers are processes of root or of our own user.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/result.h"
#include "supervisor/custodian/custody_peer.h"
#include "supervisor/custodian/custody_store.h"

namespace ppx {

class Custodian {
 public:
  // `descriptorLimit`: of the process; some are set aside for channels. `heldChanged`: after each turn, with
  // how many descriptors are held.
  Custodian(boost::asio::io_context& io, std::string runtimeDir, uint64_t descriptorLimit,
            std::function<void(size_t)> heldChanged);
  ~Custodian();

  // Listens on <runtime>/custody.sock.
  Status listen();
  // Instead of listen(): goes on where the program before this one was, and owns its descriptors.
  void succeed(const Succession& before);
  // All that a successor needs; it is still this one's.
  Succession handOn();
  size_t held() const { return store_.held(); }

 private:
  struct WaitingFetch {
    CustodyPeer* peer;
    std::vector<custody::Record> records;
    WorkerId after;
  };

  void waitForPeers();
  void acceptPeers();
  void addPeer(UniqueFd socket);
  CustodyPeer::Handlers peerHandlers();
  void onFetch(CustodyPeer& peer, std::vector<custody::Record> records, WorkerId after);
  void onEnded(CustodyPeer& peer);
  void serveSoon();
  void serveFetches();
  bool stillTalks(const WorkerId& worker, const CustodyPeer& asker) const;

  boost::asio::io_context& io_;
  std::string runtimeDir_;
  std::function<void(size_t)> heldChanged_;
  boost::asio::posix::stream_descriptor listener_;
  boost::asio::steady_timer acceptTimer_;
  CustodyStore store_;
  std::vector<std::shared_ptr<CustodyPeer>> peers_;
  std::vector<WaitingFetch> fetches_;  // in the order in which they came
  bool servePosted_ = false;
};

}  // namespace ppx
