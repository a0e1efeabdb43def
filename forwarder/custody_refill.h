// A new custodian knows nothing: each forwarder gives it the sessions that it owns, again.
#pragma once

#include <functional>
#include <vector>

#include "common/clock.h"
#include "common/custody_client.h"
#include "forwarder/session_set.h"

namespace ppx {

// The Asio thread.
class CustodyRefill {
 public:
  explicit CustodyRefill(CustodyClient& custody) : custody_(&custody) {}

  // The channel to the custodian came up or broke.
  void onConnected(bool connected, const SessionSet* sessions);
  // The channel takes more.
  void goOn(const SessionSet& sessions);
  // A session came from its acceptor. If that was before the channel to this custodian came up, its descriptor may have
  // been put into one that died before it read that.
  void onServed(Session& session);
  // A session came from another forwarder, which may have had no channel to this custodian yet.
  void onMoved(Session& session);

  // Nothing waits to be put.
  bool complete() const { return next_ >= waiting_.size(); }

 private:
  void put(Session& session);

  CustodyClient* custody_;
  std::vector<SlotRef> waiting_;  // from next_ on: still to be put
  size_t next_ = 0;
  Millis connectedAt_ = 0;
  bool isSuccessor_ = false;  // the custodian, of one that this forwarder knew
};

}  // namespace ppx
