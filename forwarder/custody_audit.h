// Reconciles custody with the table, now and then. Whatever went wrong before, a put that was lost or a drop that never came,
// afterwards
//   - each session that this forwarder serves is in custody: what is missing is put again;
//   - custody holds nothing of a life that is over, which would keep a dead client's connection half open: what is stale is
//     dropped. One forwarder does that for all.
// Either is a fault somewhere: counted in the worker's row, and logged.
//
//   idle --begin--> listing --end of the list--> asking <--all answered--> putting
//     ^                                            | no suspect is left
//     '--------------------------------------------' or, from anywhere, the channel broke, or it took too long
//
// A list is not a picture of one instant, so it only makes suspects. Each is asked for by itself, and the answer counts:
//   missing   it was served here before the list was asked for, all puts of this process went before that by the same
//             channel, and its acceptor's has had kPatience; it is served still, and custody says that it is missing.
//   stale     its slot's word, read after the record came, is in a later generation. A slot is released after custody has
//             confirmed the drop, and generations only grow. Asked for after that look, custody still gives it.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "common/clock.h"
#include "common/custody_protocol.h"
#include "common/session_table.h"

namespace ppx {

// The Asio thread. Looks at a few hundred records in a turn.
class CustodyAudit {
 public:
  struct Handlers {
    std::function<bool()> list;  // as CustodyClient::list()
    // The session in that slot, if it is served here and custody is not about to drop it.
    std::function<std::optional<SlotRef>(uint32_t slot)> served;
    // Its descriptor is asked for already, by who takes it over: left alone.
    std::function<bool(uint32_t slot)> awaited;
    std::function<void(std::span<const custody::Record>)> fetch;  // onAnswer() for each
    std::function<bool(std::span<const SlotRef>)> put;            // onPutDone(); false: not now
    std::function<void(const custody::Record&)> drop;
  };
  static constexpr Millis kPatienceMs = 5000;  // so long an acceptor's put may be on its way
  static constexpr Millis kDeadlineMs = 10'000;

  CustodyAudit(const Table& table, WorkerRow& figures, Handlers handlers)
      : table_(&table), figures_(&figures), handlers_(std::move(handlers)) {}

  // All that this process has to put into custody has been sent. False: one is under way, or the list could not be sent.
  bool begin(Millis now, bool dropsStale);
  void tick(Millis now);
  void onBroken();  // the channel to the custodian
  void onListed(std::span<const custody::Record> records);
  void onAnswer(SlotRef ref, bool held);
  void onPutDone(std::span<const custody::Record> records);
  bool idle() const { return step_ == Step::kIdle; }

 private:
  enum class Step : uint8_t { kIdle, kListing, kAsking, kPutting };
  struct Suspect {
    custody::Record record;
    bool stale;
  };
  struct Found {
    size_t listed = 0, missing = 0, refused = 0, stale = 0;
  };

  std::optional<SlotRef> servedLong(uint32_t slot) const;
  void askNext();
  void putMissing();
  void tell(const custody::Record& record, const char* kind);
  void finish(Millis now);

  const Table* table_;
  WorkerRow* figures_;
  Handlers handlers_;
  Step step_ = Step::kIdle;
  Millis begunAt_ = 0;
  bool dropsStale_ = false;
  std::vector<bool> expected_;  // by slot: served since before the list, and not in it so far
  uint32_t cursor_ = 0;         // from there on expected_ is still to be asked for
  std::vector<custody::Record> stale_;
  std::vector<Suspect> asked_;  // one message's worth, not answered yet
  std::vector<SlotRef> putting_;
  bool putSent_ = false;
  Found found_;
};

}  // namespace ppx
