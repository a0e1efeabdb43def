// Doorbells: one eventfd per row of a forwarder, an acceptor, the prober. They belong to the row, so a
// successor hears what was rung for the process before it. The supervisor makes them; the Welcome carries
// them to every worker.
#pragma once

#include <vector>

#include "common/session_table.h"
#include "common/table.h"
#include "common/unique_fd.h"

namespace ppx {

class Doorbells {
 public:
  static Result<Doorbells> create();
  // In the order of control::Welcome: forwarders, acceptors, prober.
  static Result<Doorbells> fromDescriptors(std::vector<UniqueFd> descriptors);

  int descriptor(uint8_t row) const;
  std::vector<int> all() const;  // in the order of control::Welcome

  // Wakes the process of a row. Any thread.
  void ring(uint8_t row) const;
  // Marks the slot in the dirty set of whoever owns it now and wakes that forwarder, once for many marks.
  void ringSlot(const Table& table, uint32_t slot) const;
  // After its descriptor became readable, before it looks at its dirty set: the next mark rings again.
  void answered(const Table& table, uint8_t row) const;
  // After a slot was released: wakes acceptors that wait for one.
  void slotReleased(const Table& table) const;
  // After a worker was fenced: whatever it was about to ring. It may have died between a push and the mark,
  // the mark and its summary, the mark and the bell, a release and its bell. Marks every session for its
  // owner and wakes all forwarders and acceptors. The supervisor calls it, once a death.
  void workerDied(const Table& table) const;
  // After a change of upstreams or settings: wakes all forwarders and the prober.
  void ringAll() const;

 private:
  std::vector<UniqueFd> bells_;
};

}  // namespace ppx
