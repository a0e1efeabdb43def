// Carries one reply of an upstream into the mailboxes of the sessions that it names, whoever owns them.
#pragma once

#include <optional>
#include <string_view>

#include "common/doorbells.h"
#include "common/mailbox.h"

namespace ppx {

enum class ReplyTarget : uint8_t { kNone, kClient, kAll, kActive, kNotActive, kInvalid };

struct Reply {
  ReplyTarget target = ReplyTarget::kNone;
  std::optional<Uuid> client;  // for kClient; none: not a UUIDv4
  std::string_view payload;    // lives as long as the message it was cut from
};

// Any thread; one for each stream's thread is enough. Never blocks.
class ReplyRouter {
 public:
  ReplyRouter(const Table& table, const Doorbells& doorbells, Journal& journal, const WorkerId& self);

  // Where a delivery stands, so that it can go on when segments are free again.
  struct Cursor {
    uint32_t nextSlot = 0;  // of a broadcast
    bool counted = false;
  };
  // True: done (delivered, or counted and dropped). False: no segment was free; the session with the largest
  // backlog was asked to end, and the call is to be repeated with the same cursor a little later.
  bool deliver(const Reply& reply, uint32_t upstream, uint32_t pool, Cursor& cursor);

 private:
  void count(const Reply& reply, uint32_t upstream);
  bool deliverToClient(const Reply& reply);
  bool broadcast(const Reply& reply, uint32_t pool, Cursor& cursor);
  bool wanted(const SessionSlot& slot, ReplyTarget target, uint64_t activeSinceMs) const;
  void endLargestBacklog();

  const Table* table_;
  const Doorbells* doorbells_;
  SessionTable sessions_;
  MailPusher pusher_;
  WorkerRow* figures_;
};

}  // namespace ppx
