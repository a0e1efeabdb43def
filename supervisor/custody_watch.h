// How long custody was incomplete: from the custodian's death until its successor holds the supervisor's descriptors and a
// copy of each session's again. Meanwhile a killed forwarder may take sessions with it. The supervisor's loop only.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>

#include "common/clock.h"
#include "common/table.h"
#include "supervisor/admin_context.h"

namespace ppx {

class CustodyWatch {
 public:
  // `changed`: it is complete again, or no more.
  CustodyWatch(boost::asio::io_context& io, const Table& table, std::function<void()> changed)
      : table_(table), changed_(std::move(changed)), timer_(io) {}

  void lost();    // the custodian is dead, and nobody is in its row
  void filled();  // its successor, or the one that this supervisor has found, holds what the supervisor has
  const CustodyStatus& status() const { return status_; }

 private:
  bool complete() const;
  void look();

  const Table& table_;
  std::function<void()> changed_;
  boost::asio::steady_timer timer_;
  CustodyStatus status_;
};

}  // namespace ppx
