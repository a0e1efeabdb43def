// Carries one reply of an upstream into the mailboxes of the sessions that it names, whoever owns them.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "common/doorbells.h"
#include "common/mail_pusher.h"
#include "forwarder/lane_writer.h"

namespace ppx {

enum class ReplyTarget : uint8_t { kNone, kClient, kAll, kActive, kNotActive, kInvalid };

enum class ReplyClose : uint8_t { kNone = 0, kFlush = 1, kNow = 2, kInvalid = 3 };

struct Reply {
  ReplyTarget target = ReplyTarget::kNone;
  std::optional<Uuid> client;  // for kClient; none: not a UUIDv4
  std::string_view payload;    // lives as long as the message it was cut from

  // Extensions; on a plain stream nobody looks at them.
  struct Mark {
    std::optional<Uuid> client;
    uint64_t offset = 0;
    uint32_t assignment = 0;
  };
  bool isHello = false;
  uint32_t version = 0;
  uint8_t capabilities = 0;
  std::string_view instance;
  uint64_t sequence = 0, lane = 0, acknowledged = 0;
  uint32_t assignment = 0;  // that `acknowledged` is of
  ReplyClose close = ReplyClose::kNone;
  std::vector<Mark> marks;
};

// Any thread; one for each stream's thread is enough. Never blocks.
class ReplyRouter {
 public:
  ReplyRouter(const Table& table, const Doorbells& doorbells, Journal& journal, const WorkerId& self);

  // Where a delivery stands, so that it can go on when segments are free again.
  struct Cursor {
    uint32_t nextSlot = 0;  // of a broadcast
    bool counted = false;
    bool unknown = false;  // afterwards: its client is not one of ours, or not any more
  };
  // True: done (delivered, or counted and dropped). False: no segment was free; the session with the largest
  // backlog was asked to end, and the call is to be repeated with the same cursor a little later.
  // `lane`: that of a numbered reply whose turn it is. A crash on the way, and the same call by whoever goes on
  // with the lane, bring it to each session once.
  bool deliver(const Reply& reply, uint32_t upstream, uint32_t pool, Cursor& cursor,
               LaneWriter* lane = nullptr);
  // What an extended stream sent and nobody can use.
  void countMalformed();

 private:
  void count(const Reply& reply, uint32_t upstream);
  bool deliverOnce(const Reply& reply, uint32_t pool, Cursor& cursor, LaneWriter* lane);
  bool deliverToClient(const Reply& reply, Cursor& cursor, LaneWriter* lane);
  bool broadcast(const Reply& reply, uint32_t pool, Cursor& cursor, LaneWriter* lane);
  PushResult push(const Reply& reply, SlotRef ref, LaneWriter* lane);
  void closeClient(const Reply& reply, SlotRef ref);
  bool wanted(const SessionSlot& slot, ReplyTarget target, uint64_t activeSinceMs) const;
  void endLargestBacklog();

  const Table* table_;
  const Doorbells* doorbells_;
  SessionTable sessions_;
  MailPusher pusher_;
  WorkerRow* figures_;
};

}  // namespace ppx
