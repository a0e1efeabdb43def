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
  // A session came. Its acceptor has put it into custody, but perhaps into one that died before it read that: also before
  // this forwarder had a channel at all.
  void onServed(Session& session);

  // Nothing waits to be put.
  bool complete() const { return next_ >= waiting_.size(); }

 private:
  CustodyClient* custody_;
  std::vector<SlotRef> waiting_;  // from next_ on: still to be put
  size_t next_ = 0;
  Millis doubtUntil_ = 0;  // a handoff that is served before then may have been put into the last custodian
};

}  // namespace ppx
