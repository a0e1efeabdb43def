// What a worker wants of the custodian and has no answer to: drops and fetches. Nothing is lost with a channel: on the next
// one all of it is sent again.
#pragma once

#include <deque>
#include <span>
#include <unordered_map>

#include "common/custody_message.h"

namespace ppx {

// No channel of its own: next() fills a message, sent() says that it went.
class CustodyRequests {
 public:
  void drop(const custody::Record& record) { drops_.push_back(record); }
  // The same again takes the place of the earlier one.
  void fetch(const custody::Record& record, WorkerId after);

  // A new channel: nothing has been sent on it.
  void startOver();
  // Drops first. False: all is sent.
  bool next(custody::Message& message);
  void sent();  // what next() filled last

  // The custodian answers drops in order. False: it did not.
  bool dropped(std::span<const custody::Record> records);
  // A fetch is over. False: nobody waits for that.
  bool fetched(const custody::Record& record);
  // Its descriptor was lost on the way.
  void fetchAgain(const custody::Record& record);

 private:
  struct Fetch {
    custody::Record record;
    WorkerId after;
  };

  size_t fillDrops(custody::Message& message) const;
  size_t fillFetches(custody::Message& message) const;

  std::deque<custody::Record> drops_;  // oldest first
  size_t dropsSent_ = 0;               // of those, on this channel
  std::unordered_map<uint64_t, Fetch> fetches_;
  std::deque<uint64_t> fetchesToSend_;  // keys; of some the answer may have come meanwhile
  size_t filled_ = 0;                   // drops, or keys, in the message that next() made
  bool filledDrops_ = false;
};

}  // namespace ppx
