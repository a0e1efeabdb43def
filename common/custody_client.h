// A worker's channel to the custodian (custody_protocol.h). Redials for ever; while there is no custodian,
// puts wait (acceptors pause) and drops are kept and sent again. Runs on the worker's Asio thread.
#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "common/custody_protocol.h"
#include "common/session_table.h"
#include "common/unique_fd.h"

namespace ppx {

class CustodyClient {
 public:
  struct Handlers {
    // The channel came up (again) or broke.
    std::function<void(bool connected)> connected;
    // Room for more puts again, after canPut() was false.
    std::function<void()> drained;
    // Held by the custodian; `failed` of a record: it could not.
    std::function<void(std::span<const custody::Record>)> putDone;
    std::function<void(std::span<const custody::Record>)> dropDone;
    std::function<void(const custody::Record&, UniqueFd)> give;
    std::function<void(const custody::Record&)> missing;
    // What list() asked for, in parts; an empty one: that was all.
    std::function<void(std::span<const custody::Record>)> listed;
  };

  CustodyClient(boost::asio::io_context& io, std::string runtimeDir, WorkerId self, Handlers handlers);
  ~CustodyClient();
  CustodyClient(const CustodyClient&) = delete;
  CustodyClient& operator=(const CustodyClient&) = delete;

  // Dials. Again while it waits to redial: dials at once (somebody said that the custodian is back).
  void start();
  // Closes the channel and calls no handler any more.
  void stop();

  bool connected() const;
  // Whether that many may be put now; after a false `drained` or `connected` tells when to ask again.
  bool canPut(size_t count) const;
  // Puts copies; the caller keeps its own descriptors. At most kMaxRecords. False: the channel cannot take it
  // now and nothing was sent.
  bool put(std::span<const custody::Record> records, std::span<const int> descriptors);
  // Gathered and sent in batches at the end of the current turn of the loop; repeated after a redial until
  // answered.
  void drop(const custody::Record& record);
  // Asks for descriptors; answered by give/missing; repeated after a redial until answered. `after`: a dead
  // worker whose channel the custodian has to read to its end first (incarnation 0: none).
  void fetch(std::span<const custody::Record> records, WorkerId after);
  // Asks what the custodian holds, of all kinds; what was put before is in it. Puts and drops that come while it is
  // listed may be in it or not. False: not sent, since one is under way, or the channel takes nothing now. Over with the
  // channel: not repeated after a redial.
  bool list();

 private:
  struct State;
  std::shared_ptr<State> state_;  // what waits in the loop may outlive the client
};

}  // namespace ppx
