#include "common/custody_client.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <vector>

#include "common/custody_connection.h"
#include "common/custody_requests.h"

namespace ppx {

using custody::Message;
using custody::Record;
using custody::Type;
using Verdict = CustodyConnection::Verdict;

namespace {

// A session that is given is taken over at once, one that is listed only looked at. The sessions that are served already
// have their turn in between.
constexpr size_t kWorkOfGiven = 4;
constexpr size_t kWorkATurn = kWorkOfGiven * custody::kMaxRecords;

}  // namespace

struct CustodyClient::State : std::enable_shared_from_this<State> {
  State(boost::asio::io_context& loop, std::string path, WorkerId self, Handlers calls);

  void onUp();
  void onDown();
  void onRoom();
  Verdict receive(const Message& message, std::vector<UniqueFd> descriptors);
  bool dispatch(const Message& message, std::vector<UniqueFd> descriptors);
  void onPutDone(std::span<const Record> records);
  bool onDropDone(std::span<const Record> records);
  bool onGive(std::span<const Record> records, std::vector<UniqueFd> descriptors);
  void onMissing(std::span<const Record> records);
  bool onListed(std::span<const Record> records);
  void flushSoon();
  void flush();
  void tellDrained();
  bool stillOn(uint64_t dial) const { return channel->up() && channel->dials() == dial; }

  boost::asio::io_context& io;
  Handlers handlers;
  std::shared_ptr<CustodyConnection> channel;
  CustodyRequests requests;
  bool flushPosted = false;
  bool putRefused = false;
  bool listing = false;
  size_t unacknowledged = 0;  // descriptors put and not answered
  size_t work = 0;            // since others had their turn
};

CustodyClient::State::State(boost::asio::io_context& loop, std::string path, WorkerId self, Handlers calls)
    : io(loop),
      handlers(std::move(calls)),
      channel(std::make_shared<CustodyConnection>(
          loop, std::move(path), self,
          CustodyConnection::Handlers{.up = [this] { onUp(); },
                                      .down = [this] { onDown(); },
                                      .message =
                                          [this](const Message& message, std::vector<UniqueFd> descriptors) {
                                            return receive(message, std::move(descriptors));
                                          },
                                      .room = [this] { onRoom(); }})) {}

void CustodyClient::State::onUp() {
  requests.startOver();
  flush();
  putRefused = false;
  if (handlers.connected) handlers.connected(true);
}

void CustodyClient::State::onDown() {
  unacknowledged = 0;
  listing = false;
  if (handlers.connected) handlers.connected(false);
}

void CustodyClient::State::onRoom() {
  flush();
  tellDrained();
}

Verdict CustodyClient::State::receive(const Message& message, std::vector<UniqueFd> descriptors) {
  auto alive = shared_from_this();  // a handler may destroy the client
  if (message.head.type == Type::kGive) work += kWorkOfGiven * message.head.count;
  if (message.head.type == Type::kListed) work += message.head.count;
  if (!dispatch(message, std::move(descriptors))) return Verdict::kUnreadable;
  if (work < kWorkATurn) return Verdict::kNext;
  work = 0;
  return Verdict::kEnough;
}

bool CustodyClient::State::dispatch(const Message& message, std::vector<UniqueFd> descriptors) {
  switch (message.head.type) {
    case Type::kPutDone:
      onPutDone(message.list());
      return true;
    case Type::kDropDone:
      return onDropDone(message.list());
    case Type::kGive:
      return onGive(message.list(), std::move(descriptors));
    case Type::kMissing:
      onMissing(message.list());
      return true;
    case Type::kListed:
      return message.head.count != 0 && onListed(message.list());
    case Type::kListEnd:
      return onListed({});
    default:
      return false;
  }
}

void CustodyClient::State::onPutDone(std::span<const Record> records) {
  unacknowledged -= std::min(unacknowledged, records.size());
  if (handlers.putDone) handlers.putDone(records);
  tellDrained();
}

bool CustodyClient::State::onDropDone(std::span<const Record> records) {
  if (!requests.dropped(records)) return false;
  if (handlers.dropDone) handlers.dropDone(records);
  return true;
}

bool CustodyClient::State::onGive(std::span<const Record> records, std::vector<UniqueFd> descriptors) {
  if (descriptors.size() > records.size()) return false;
  const uint64_t dial = channel->dials();
  for (size_t i = 0; i < records.size() && stillOn(dial); ++i) {
    if (i >= descriptors.size()) {  // we are at our descriptor limit: ask again
      requests.fetchAgain(records[i]);
      channel->retryLater();
    } else if (requests.fetched(records[i]) && handlers.give) {
      handlers.give(records[i], std::move(descriptors[i]));
    }
  }
  return true;
}

void CustodyClient::State::onMissing(std::span<const Record> records) {
  const uint64_t dial = channel->dials();
  for (const Record& record : records) {
    if (!stillOn(dial)) return;
    if (requests.fetched(record) && handlers.missing) handlers.missing(record);
  }
}

bool CustodyClient::State::onListed(std::span<const Record> records) {
  if (!listing) return false;
  listing = !records.empty();
  if (handlers.listed) handlers.listed(records);
  return true;
}

void CustodyClient::State::flushSoon() {
  if (flushPosted || !channel->up()) return;
  flushPosted = true;
  boost::asio::post(io, [state = shared_from_this()] {
    state->flushPosted = false;
    state->flush();
  });
}

void CustodyClient::State::flush() {
  Message message;
  while (channel->takesMore() && requests.next(message) && channel->send(message)) requests.sent();
}

void CustodyClient::State::tellDrained() {
  if (!putRefused || !channel->takesMore()) return;
  if (unacknowledged > custody::kMaxUnacknowledged / 2) return;
  putRefused = false;
  if (handlers.drained) handlers.drained();
}

CustodyClient::CustodyClient(boost::asio::io_context& io, std::string runtimeDir, WorkerId self,
                             Handlers handlers)
    : state_(
          std::make_shared<State>(io, runtimeDir + "/" + custody::kSocketName, self, std::move(handlers))) {}

CustodyClient::~CustodyClient() {
  stop();
}

void CustodyClient::start() {
  state_->channel->dial();
}

void CustodyClient::stop() {
  state_->channel->stop();
}

bool CustodyClient::connected() const {
  return state_->channel->up();
}

bool CustodyClient::canPut(size_t count) const {
  if (state_->channel->takesMore() && state_->unacknowledged + count <= custody::kMaxUnacknowledged)
    return true;
  state_->putRefused = true;
  return false;
}

bool CustodyClient::put(std::span<const Record> records, std::span<const int> descriptors) {
  PPX_INVARIANT(records.size() == descriptors.size() && records.size() <= custody::kMaxRecords);
  if (!canPut(records.size())) return false;
  if (!state_->channel->send(Message(Type::kPut, records), descriptors)) {
    state_->putRefused = true;
    return false;
  }
  state_->unacknowledged += records.size();
  return true;
}

void CustodyClient::drop(const Record& record) {
  state_->requests.drop(record);
  state_->flushSoon();
}

void CustodyClient::fetch(std::span<const Record> records, WorkerId after) {
  for (const Record& record : records) state_->requests.fetch(record, after);
  state_->flushSoon();
}

bool CustodyClient::list() {
  if (state_->listing || !state_->channel->send(Message(Type::kList, {}))) return false;
  state_->listing = true;
  return true;
}

}  // namespace ppx
