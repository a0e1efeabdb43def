// Writes the obituaries: collects what the takers of a dead worker's sessions report, until all are served or the time
// is over, then tells the log, the event stream and the book. The supervisor's loop only.
//
// The book is a small file in the runtime directory too: an upgraded supervisor, and one that follows a killed one, go on
// with it. What was still being collected then is told of as it was known, `interrupted`.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <list>

#include "common/table.h"
#include "supervisor/admin/event_log.h"
#include "supervisor/admin/obituary_book.h"
#include "supervisor/obituary.h"
#include "supervisor/runtime_dir.h"

namespace ppx {

class Obituaries {
 public:
  Obituaries(boost::asio::io_context& io, const Table& table, const RuntimeDir& dir, EventLog& events,
             ObituaryBook& book);

  // Reads the file that a predecessor left.
  void start();
  void died(WorkerDeath death);
  // From the process in that row; planned ones are nothing to it.
  void tookOver(uint8_t row, const control::TookOver& report);

 private:
  struct Open {
    uint64_t id = 0;
    Obituary obituary;
    boost::asio::steady_timer deadline;
  };
  struct Sample {
    Millis at = 0;
    std::array<uint64_t, kMaxForwarders> bytesIn{};
  };

  void publish(Open& open);
  void save();
  void count();
  std::optional<uint64_t> inputInDoubt(const WorkerDeath& death) const;

  boost::asio::io_context& io_;
  const Table& table_;
  const RuntimeDir& dir_;
  EventLog& events_;
  ObituaryBook& book_;
  std::list<Open> open_;
  std::deque<Sample> samples_;  // of the forwarders' input, back to the beginning of the doubt window
  boost::asio::steady_timer sampleTimer_;
};

}  // namespace ppx
