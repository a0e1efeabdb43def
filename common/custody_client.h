// A worker's channel to the custodian (custody_protocol.h). Redials for ever; while there is no custodian,
// puts wait (acceptors pause) and drops are kept and sent again. Runs on the worker's Asio thread.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

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
  };

  CustodyClient(boost::asio::io_context& io, std::string runtimeDir, WorkerId self, Handlers handlers);
  void start();
  void stop();

  bool connected() const { return connected_; }
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

 private:
  struct State;
  void dial();
  void broken();
  void flush();
  void receive();
  // (the implementation may change the private part)

  boost::asio::io_context& io_;
  std::string runtimeDir_;
  WorkerId self_;
  Handlers handlers_;
  bool connected_ = false;
};

}  // namespace ppx
