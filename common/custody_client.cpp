#include "common/custody_client.h"

#include <algorithm>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <deque>
#include <unordered_map>
#include <vector>

#include "common/custody_message.h"
#include "common/log.h"
#include "common/seqpacket.h"

namespace ppx {
namespace asio = boost::asio;
using custody::Message;
using custody::Record;
using custody::Type;
using std::chrono::milliseconds;

namespace {

constexpr int kMessagesATurn = 32;
constexpr milliseconds kFirstRedial{10};
constexpr milliseconds kLastRedial{1000};
constexpr milliseconds kRetry{10};  // the kernel's limit of descriptors under way, or our own of open ones

uint64_t keyOf(const Record& record) {
  return static_cast<uint64_t>(record.kind) << 60 | static_cast<uint64_t>(record.slot & 0x0fffffff) << 32 |
         record.generation;
}

}  // namespace

struct CustodyClient::State : std::enable_shared_from_this<State> {
  struct Fetch {
    Record record;
    WorkerId after;
  };

  State(asio::io_context& loop, std::string socketPath, WorkerId worker, Handlers calls)
      : io(loop),
        path(std::move(socketPath)),
        self(worker),
        handlers(std::move(calls)),
        channel(loop),
        redialTimer(loop),
        retryTimer(loop) {}

  void dial();
  void redialLater();
  void broken();
  void breakSoon();
  void waitReadable();
  void waitWritable();
  void receive();
  bool dispatch(std::vector<UniqueFd> descriptors);
  void onPutDone();
  bool onDropDone();
  void onGive(std::vector<UniqueFd> descriptors);
  void onMissing();
  void flushSoon();
  void flush();
  bool flushDrops();
  bool flushFetches();
  bool send(const Message& message);
  void retryLater();
  void tellDrained();

  asio::io_context& io;
  std::string path;
  WorkerId self;
  Handlers handlers;
  asio::posix::stream_descriptor channel;
  asio::steady_timer redialTimer;
  asio::steady_timer retryTimer;
  milliseconds redialDelay = kFirstRedial;
  uint64_t dials = 0;  // names the channel: what was waiting on an earlier one is stale
  bool connected = false;
  bool stopped = false;
  bool flushPosted = false;
  bool waitingWritable = false;
  bool retrying = false;
  bool putRefused = false;
  size_t unacknowledged = 0;                    // descriptors put and not answered
  std::deque<Record> drops;                     // all that are not answered, oldest first
  size_t dropsSent = 0;                         // of those, on this channel; it answers in order
  std::unordered_map<uint64_t, Fetch> fetches;  // all that are not answered
  std::deque<uint64_t> fetchesToSend;
  Message incoming;
};

void CustodyClient::State::dial() {
  if (stopped || connected) return;
  auto socket = dialSeqpacket(path);
  if (!socket) return redialLater();
  channel.assign(socket->release());
  ++dials;
  if (!sendMessage(channel.native_handle(), Message(Type::kHello, {}, self).wire())) {
    boost::system::error_code ignored;
    channel.close(ignored);
    return redialLater();
  }
  connected = true;
  redialDelay = kFirstRedial;
  redialTimer.cancel();
  dropsSent = 0;
  fetchesToSend.clear();
  for (const auto& [key, fetch] : fetches) fetchesToSend.push_back(key);
  waitReadable();
  flush();
  putRefused = false;
  if (handlers.connected) handlers.connected(true);
}

void CustodyClient::State::redialLater() {
  redialTimer.expires_after(redialDelay);
  redialDelay = std::min(redialDelay * 2, kLastRedial);
  redialTimer.async_wait([state = shared_from_this()](const boost::system::error_code& error) {
    if (!error) state->dial();
  });
}

void CustodyClient::State::broken() {
  if (!connected || stopped) return;
  boost::system::error_code ignored;
  channel.close(ignored);
  connected = false;
  waitingWritable = false;
  unacknowledged = 0;
  redialLater();
  if (handlers.connected) handlers.connected(false);
}

// From inside a call of the user's: its handlers are called later.
void CustodyClient::State::breakSoon() {
  asio::post(io, [state = shared_from_this(), dial = dials] {
    if (dial == state->dials) state->broken();
  });
}

void CustodyClient::State::waitReadable() {
  channel.async_wait(asio::posix::stream_descriptor::wait_read,
                     [state = shared_from_this(), dial = dials](const boost::system::error_code& error) {
                       if (!error && dial == state->dials && state->connected) state->receive();
                     });
}

void CustodyClient::State::waitWritable() {
  if (waitingWritable) return;
  waitingWritable = true;
  channel.async_wait(asio::posix::stream_descriptor::wait_write,
                     [state = shared_from_this(), dial = dials](const boost::system::error_code& error) {
                       if (error || dial != state->dials || !state->connected) return;
                       state->waitingWritable = false;
                       state->flush();
                       state->tellDrained();
                     });
}

void CustodyClient::State::receive() {
  size_t given = 0;
  for (int i = 0; i < kMessagesATurn; ++i) {
    auto message = receiveMessage(channel.native_handle(), incoming.buffer());
    if (!message) {
      if (message.error().code == EAGAIN) return waitReadable();
      return broken();
    }
    if (message->bytes == 0) return broken();
    const uint64_t dial = dials;
    if (!incoming.wellFormed(message->bytes) || !dispatch(std::move(message->descriptors))) {
      spdlog::warn("the custodian sent what cannot be read; dialling again");
      return broken();
    }
    if (!connected || dial != dials) return;  // a handler stopped us
    // That many sessions were taken over: those that are served already have their turn before the next.
    if (incoming.head.type == Type::kGive && (given += incoming.head.count) >= custody::kMaxRecords) break;
  }
  waitReadable();
}

bool CustodyClient::State::dispatch(std::vector<UniqueFd> descriptors) {
  switch (incoming.head.type) {
    case Type::kPutDone:
      onPutDone();
      return true;
    case Type::kDropDone:
      return onDropDone();
    case Type::kGive:
      if (descriptors.size() > incoming.head.count) return false;
      onGive(std::move(descriptors));
      return true;
    case Type::kMissing:
      onMissing();
      return true;
    default:
      return false;
  }
}

void CustodyClient::State::onPutDone() {
  unacknowledged -= std::min<size_t>(unacknowledged, incoming.head.count);
  if (handlers.putDone) handlers.putDone(incoming.list());
  tellDrained();
}

bool CustodyClient::State::onDropDone() {
  auto records = incoming.list();
  if (records.size() > dropsSent ||
      !std::equal(records.begin(), records.end(), drops.begin(), custody::sameKey))
    return false;
  drops.erase(drops.begin(), drops.begin() + static_cast<std::ptrdiff_t>(records.size()));
  dropsSent -= records.size();
  if (handlers.dropDone) handlers.dropDone(records);
  return true;
}

void CustodyClient::State::onGive(std::vector<UniqueFd> descriptors) {
  auto records = incoming.list();
  const uint64_t dial = dials;
  for (size_t i = 0; i < records.size() && connected && dial == dials; ++i) {
    if (i >= descriptors.size()) {  // we are at our descriptor limit: ask again
      fetchesToSend.push_back(keyOf(records[i]));
      retryLater();
    } else if (fetches.erase(keyOf(records[i])) != 0 && handlers.give) {
      handlers.give(records[i], std::move(descriptors[i]));
    }
  }
}

void CustodyClient::State::onMissing() {
  const uint64_t dial = dials;
  for (const Record& record : incoming.list()) {
    if (!connected || dial != dials) return;
    if (fetches.erase(keyOf(record)) != 0 && handlers.missing) handlers.missing(record);
  }
}

void CustodyClient::State::flushSoon() {
  if (flushPosted || !connected) return;
  flushPosted = true;
  asio::post(io, [state = shared_from_this()] {
    state->flushPosted = false;
    state->flush();
  });
}

void CustodyClient::State::flush() {
  if (!connected || waitingWritable || retrying) return;
  if (flushDrops()) flushFetches();
}

bool CustodyClient::State::flushDrops() {
  while (dropsSent < drops.size()) {
    Message message(Type::kDrop, {});
    size_t count = std::min<size_t>(custody::kMaxRecords, drops.size() - dropsSent);
    std::copy_n(drops.begin() + static_cast<std::ptrdiff_t>(dropsSent), count, message.records);
    message.head.count = static_cast<uint16_t>(count);
    if (!send(message)) return false;
    dropsSent += count;
  }
  return true;
}

// One message for all in a row that wait for the same dead worker.
bool CustodyClient::State::flushFetches() {
  while (!fetchesToSend.empty()) {
    Message message(Type::kFetch, {});
    size_t taken = 0;
    WorkerId after;
    for (uint64_t key : fetchesToSend) {
      auto found = fetches.find(key);
      if (found != fetches.end()) {
        if (message.head.count != 0 && found->second.after != after) break;
        after = found->second.after;
        message.records[message.head.count++] = found->second.record;
      }
      ++taken;
      if (message.head.count == custody::kMaxRecords) break;
    }
    message.head.row = after.row;
    message.head.incarnation = after.incarnation;
    if (message.head.count != 0 && !send(message)) return false;
    fetchesToSend.erase(fetchesToSend.begin(), fetchesToSend.begin() + static_cast<std::ptrdiff_t>(taken));
  }
  return true;
}

bool CustodyClient::State::send(const Message& message) {
  Status sent = sendMessage(channel.native_handle(), message.wire());
  if (sent) return true;
  if (sent.error().code == EAGAIN)
    waitWritable();
  else
    breakSoon();
  return false;
}

void CustodyClient::State::retryLater() {
  if (retrying) return;
  retrying = true;
  retryTimer.expires_after(kRetry);
  retryTimer.async_wait([state = shared_from_this()](const boost::system::error_code& error) {
    if (error) return;
    state->retrying = false;
    state->flush();
    state->tellDrained();
  });
}

void CustodyClient::State::tellDrained() {
  if (!putRefused || !connected || waitingWritable || retrying) return;
  if (unacknowledged > custody::kMaxUnacknowledged / 2) return;
  putRefused = false;
  if (handlers.drained) handlers.drained();
}

CustodyClient::CustodyClient(asio::io_context& io, std::string runtimeDir, WorkerId self, Handlers handlers)
    : state_(
          std::make_shared<State>(io, runtimeDir + "/" + custody::kSocketName, self, std::move(handlers))) {}

CustodyClient::~CustodyClient() {
  stop();
}

void CustodyClient::start() {
  state_->dial();
}

void CustodyClient::stop() {
  boost::system::error_code ignored;
  state_->stopped = true;
  state_->connected = false;
  state_->channel.close(ignored);
  state_->redialTimer.cancel();
  state_->retryTimer.cancel();
}

bool CustodyClient::connected() const {
  return state_->connected;
}

bool CustodyClient::canPut(size_t count) const {
  if (state_->connected && !state_->waitingWritable && !state_->retrying &&
      state_->unacknowledged + count <= custody::kMaxUnacknowledged)
    return true;
  state_->putRefused = true;
  return false;
}

bool CustodyClient::put(std::span<const Record> records, std::span<const int> descriptors) {
  PPX_INVARIANT(records.size() == descriptors.size() && records.size() <= custody::kMaxRecords);
  if (!canPut(records.size())) return false;
  Status sent =
      sendMessage(state_->channel.native_handle(), Message(Type::kPut, records).wire(), descriptors);
  if (sent) {
    state_->unacknowledged += records.size();
    return true;
  }
  state_->putRefused = true;
  if (sent.error().code == EAGAIN)
    state_->waitWritable();
  else if (sent.error().code == ETOOMANYREFS)
    state_->retryLater();
  else
    state_->breakSoon();
  return false;
}

void CustodyClient::drop(const Record& record) {
  state_->drops.push_back(record);
  state_->flushSoon();
}

void CustodyClient::fetch(std::span<const Record> records, WorkerId after) {
  for (const Record& record : records) {
    state_->fetches.insert_or_assign(keyOf(record), State::Fetch{record, after});
    state_->fetchesToSend.push_back(keyOf(record));
  }
  state_->flushSoon();
}

}  // namespace ppx
