// Many connections to an echo, of which some send a message at even distances whatever the server does: how long each
// of these is kept waiting while something happens behind the server. Every byte is checked. One thread at a time.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "tests/load/clients.h"
#include "tests/load/histogram.h"

namespace ppx::load {

struct StallOptions {
  LoadOptions load;                  // connections in all, of what size a message is
  std::size_t active = 1;            // the first so many of them
  Nanos every = 100 * kMillisecond;  // a message of each
};

class StallClients {
 public:
  static Result<std::unique_ptr<StallClients>> connect(const StallOptions& options);

  // Each connection, active or not, has one message echoed. False: not all, in that time.
  bool exchangeAll(Nanos timeout);
  // The active ones send.
  void runFor(Nanos time);
  // Nothing new is sent; everything under way has come back. False: not in that time.
  bool drain(Nanos timeout);

  // Of each active connection the longest wait since the last call: from the instant at which a message was due to its
  // whole echo, or to now.
  Histogram takeStalls();

  std::size_t size() const { return clients_->size(); }
  std::size_t failed() const { return result_.failed; }  // refused, reset, ended, or with a wrong byte
  const std::string& firstProblem() const { return result_.firstProblem; }

 private:
  explicit StallClients(const StallOptions& options) : options_(options) {}
  template <typename Done>
  bool run(Nanos until, bool sends, const Done& done);
  void sendWhatIsDue(Nanos now);
  void send(std::size_t index, Nanos due);
  void advance(std::size_t index, uint32_t events);

  StallOptions options_;
  std::unique_ptr<Clients> clients_;
  std::vector<std::deque<Nanos>> due_;  // of each connection's messages under way
  std::vector<Nanos> longest_;          // of each active one
  std::size_t underWay_ = 0;            // messages
  Nanos start_ = 0;                     // when message 0 was due
  uint64_t next_ = 0;                   // message, in turn over the active ones
  LoadResult result_;
};

}  // namespace ppx::load
