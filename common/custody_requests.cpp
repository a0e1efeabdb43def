#include "common/custody_requests.h"

#include <algorithm>

namespace ppx {
namespace {

using custody::Message;
using custody::Record;
using custody::Type;

uint64_t keyOf(const Record& record) {
  return static_cast<uint64_t>(record.kind) << 60 | static_cast<uint64_t>(record.slot & 0x0fffffff) << 32 |
         record.generation;
}

}  // namespace

void CustodyRequests::fetch(const Record& record, WorkerId after) {
  fetches_.insert_or_assign(keyOf(record), Fetch{record, after});
  fetchesToSend_.push_back(keyOf(record));
}

void CustodyRequests::startOver() {
  dropsSent_ = 0;
  fetchesToSend_.clear();
  for (const auto& [key, fetch] : fetches_) fetchesToSend_.push_back(key);
}

bool CustodyRequests::next(Message& message) {
  filledDrops_ = dropsSent_ < drops_.size();
  if (filledDrops_) {
    filled_ = fillDrops(message);
    return true;
  }
  while (!fetchesToSend_.empty()) {
    filled_ = fillFetches(message);
    if (message.head.count != 0) return true;
    sent();  // all of them were answered meanwhile
  }
  return false;
}

void CustodyRequests::sent() {
  if (filledDrops_)
    dropsSent_ += filled_;
  else
    fetchesToSend_.erase(fetchesToSend_.begin(),
                         fetchesToSend_.begin() + static_cast<std::ptrdiff_t>(filled_));
  filled_ = 0;
}

size_t CustodyRequests::fillDrops(Message& message) const {
  message.head = {.type = Type::kDrop};
  const size_t count = std::min<size_t>(custody::kMaxRecords, drops_.size() - dropsSent_);
  std::copy_n(drops_.begin() + static_cast<std::ptrdiff_t>(dropsSent_), count, message.records);
  message.head.count = static_cast<uint16_t>(count);
  return count;
}

// One message for all in a row that wait for the same dead worker. Returns how many keys it stands for.
size_t CustodyRequests::fillFetches(Message& message) const {
  message.head = {.type = Type::kFetch};
  size_t taken = 0;
  WorkerId after;
  for (uint64_t key : fetchesToSend_) {
    auto found = fetches_.find(key);
    if (found != fetches_.end()) {
      if (message.head.count != 0 && found->second.after != after) break;
      after = found->second.after;
      message.records[message.head.count++] = found->second.record;
    }
    ++taken;
    if (message.head.count == custody::kMaxRecords) break;
  }
  message.head.row = after.row;
  message.head.incarnation = after.incarnation;
  return taken;
}

bool CustodyRequests::dropped(std::span<const Record> records) {
  if (records.size() > dropsSent_ ||
      !std::equal(records.begin(), records.end(), drops_.begin(), custody::sameKey))
    return false;
  drops_.erase(drops_.begin(), drops_.begin() + static_cast<std::ptrdiff_t>(records.size()));
  dropsSent_ -= records.size();
  return true;
}

bool CustodyRequests::fetched(const Record& record) {
  return fetches_.erase(keyOf(record)) != 0;
}

void CustodyRequests::fetchAgain(const Record& record) {
  fetchesToSend_.push_back(keyOf(record));
}

}  // namespace ppx
