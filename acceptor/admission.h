// Who may come in: slots below the session capacity, and so many sessions per address. What it refuses it
// counts.
#pragma once

#include <optional>

#include "acceptor/client_socket.h"
#include "common/doorbells.h"
#include "common/session_table.h"

namespace ppx {

class Admission {
 public:
  Admission(const Table& table, const Doorbells& doorbells, WorkerId self);

  // A slot for one more session. None: the gateway is full.
  std::optional<SlotRef> claim();
  // When full: refuse (true) or leave new clients in the backlog.
  bool refusesWhenFull() const;
  // From here on our doorbell rings when a slot is released. Look again afterwards: one may have been before.
  void askForSlot();
  // A claimed slot back.
  void giveBack(SlotRef ref);

  // Never 0. The same for all acceptors; nobody can find addresses that collide.
  uint32_t addressTag(const PeerAddress& peer) const;
  // To be asked after the slot with this tag was filled: so two acceptors never let one too many in.
  bool tooManyFrom(uint32_t addressTag) const;

 private:
  const Table& table_;
  const Doorbells& doorbells_;
  SessionTable sessions_;
  WorkerId self_;
  uint32_t nextSlot_;
};

}  // namespace ppx
