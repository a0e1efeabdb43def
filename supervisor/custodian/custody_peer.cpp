#include "supervisor/custodian/custody_peer.h"

#include <algorithm>
#include <chrono>

#include "common/failpoint.h"
#include "common/log.h"
#include "common/seqpacket.h"

namespace ppx {
namespace {

using custody::Message;
using custody::Record;
using custody::Type;

constexpr int kMessagesATurn = 16;
constexpr size_t kMaxAnswers = 64;       // waiting; beyond that it is not read
constexpr size_t kMaxOpenFetches = 512;  // messages that wait for a dead worker's end; 128,000 records
constexpr std::chrono::milliseconds kRetry{10};  // the kernel's limit of descriptors under way

}  // namespace

CustodyPeer::CustodyPeer(boost::asio::io_context& io, UniqueFd socket, CustodyStore& store, Handlers handlers)
    : channel_(io, socket.release()), retry_(io), store_(store), handlers_(std::move(handlers)) {}

CustodyPeer::CustodyPeer(boost::asio::io_context& io, const Succession::Peer& before, CustodyStore& store,
                         Handlers handlers)
    : CustodyPeer(io, UniqueFd(before.channel), store, std::move(handlers)) {
  worker_ = before.worker;
  introduced_ = before.introduced;
  deaf_ = before.deaf;
  answers_.assign(before.answers.begin(), before.answers.end());
}

Succession::Peer CustodyPeer::handOn() {
  return {channel_.native_handle(), introduced_, deaf_, worker_, {answers_.begin(), answers_.end()}};
}

void CustodyPeer::start() {
  flush();
  waitReadable();
}

void CustodyPeer::close() {
  boost::system::error_code ignored;
  ended_ = true;
  channel_.close(ignored);
  retry_.cancel();
}

void CustodyPeer::end(const char* complaint) {
  if (ended_) return;
  if (complaint != nullptr)
    logWarn("peer_disconnected", {{"peer_row", worker_.row}, {"peer_incarnation", worker_.incarnation}},
            "a peer (row {}, incarnation {}) is disconnected: {}", worker_.row, worker_.incarnation,
            complaint);
  close();
  handlers_.ended(*this);
}

void CustodyPeer::waitReadable() {
  if (ended_ || readWaiting_) return;
  readWaiting_ = true;
  channel_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                      [self = shared_from_this()](const boost::system::error_code& error) {
                        self->readWaiting_ = false;
                        if (!error) self->receive();
                      });
}

void CustodyPeer::receive() {
  if (ended_) return;
  for (int i = 0; i < kMessagesATurn && !ended_; ++i) {
    if (answers_.size() >= kMaxAnswers) {
      readPaused_ = true;
      break;
    }
    auto message = receiveMessage(channel_.native_handle(), incoming_.buffer());
    if (!message) {
      const int code = message.error().code;
      if (code == EAGAIN) break;
      end(message.error().text.c_str());
    } else if (message->bytes == 0) {
      end(nullptr);
    } else if (!dispatch(std::move(*message))) {
      end("it does not keep to the protocol");
    }
  }
  handlers_.changed();
  if (!readPaused_) waitReadable();
}

bool CustodyPeer::dispatch(ReceivedMessage message) {
  if (message.bytesLost || !incoming_.wellFormed(message.bytes)) return false;
  auto records = incoming_.list();
  if (!std::all_of(records.begin(), records.end(), CustodyStore::valid)) return false;
  const Type type = incoming_.head.type;
  if (introduced_ == (type == Type::kHello)) return false;
  if (type != Type::kPut && !message.descriptors.empty()) return false;
  switch (type) {
    case Type::kHello:
      worker_ = incoming_.worker();
      introduced_ = true;
      return records.empty();
    case Type::kPut:
      return onPut(std::move(message.descriptors), message.descriptorsLost);
    case Type::kDrop:
      onDrop();
      return true;
    case Type::kFetch:
      return onFetch();
    case Type::kList:
      answers_.push_back({Type::kListed, {}});
      flush();
      return true;
    default:
      return false;
  }
}

// Descriptors come in the order of the records; what the kernel drops at our limit is the tail.
bool CustodyPeer::onPut(std::vector<UniqueFd> descriptors, bool lost) {
  auto records = incoming_.list();
  if (descriptors.size() > records.size() || (descriptors.size() < records.size() && !lost)) return false;
  for (size_t i = 0; i < records.size(); ++i) {
    const bool kept = i < descriptors.size() && store_.put(records[i], std::move(descriptors[i]));
    records[i].failed = kept ? 0 : 1;
  }
  failpoint("custodian.put");
  answer(Type::kPutDone);
  return true;
}

void CustodyPeer::onDrop() {
  for (const Record& record : incoming_.list()) store_.drop(record);
  failpoint("custodian.dropped");
  answer(Type::kDropDone);
}

bool CustodyPeer::onFetch() {
  if (openFetches_ >= kMaxOpenFetches) return false;
  ++openFetches_;
  auto records = incoming_.list();
  handlers_.fetch(*this, {records.begin(), records.end()}, incoming_.worker());
  return true;
}

void CustodyPeer::answerFetch(std::vector<Record> records) {
  failpoint("custodian.fetch");
  --openFetches_;
  answers_.push_back({Type::kGive, std::move(records)});
  flush();
}

// Without a copy as long as the peer keeps up.
void CustodyPeer::answer(Type type) {
  incoming_.head.type = type;
  if (answers_.empty() && send(incoming_) != Sent::kLater) return;
  auto records = incoming_.list();
  answers_.push_back({type, {records.begin(), records.end()}});
}

// In order, but for a list, which is long: each of its parts lets what else there is go first.
void CustodyPeer::flush() {
  if (writeWaiting_) return;
  while (!answers_.empty() && !ended_) {
    Sent sent = deaf_ ? Sent::kDone : sendAnswer(answers_.front());
    if (sent == Sent::kLater) return;
    if (sent == Sent::kDone)
      answers_.pop_front();
    else if (answers_.front().type == Type::kListed)
      std::rotate(answers_.begin(), answers_.begin() + 1, answers_.end());
  }
  if (readPaused_) {
    readPaused_ = false;
    waitReadable();
  }
}

CustodyPeer::Sent CustodyPeer::sendAnswer(Answer& answer) {
  if (answer.type == Type::kGive) return sendGive(answer);
  if (answer.type == Type::kListed) return sendListed(answer);
  return send(Message(answer.type, answer.records));
}

// Looked up at the last moment: a drop may have come since it was asked.
CustodyPeer::Sent CustodyPeer::sendGive(Answer& answer) {
  Message give(Type::kGive, {});
  std::vector<Record> missing;
  std::vector<int> descriptors;
  for (const Record& record : answer.records) {
    int held = store_.find(record);
    if (held < 0) {
      missing.push_back(record);
    } else {
      give.records[give.head.count++] = record;
      descriptors.push_back(held);
    }
  }
  if (!descriptors.empty() && send(give, descriptors) == Sent::kLater) return Sent::kLater;
  if (missing.empty()) return Sent::kDone;
  answer.type = Type::kMissing;
  answer.records = std::move(missing);
  return Sent::kMore;
}

CustodyPeer::Sent CustodyPeer::sendListed(Answer& answer) {
  Message listed(Type::kListed, {});
  uint64_t cursor = answer.cursor;
  listed.head.count = static_cast<uint16_t>(store_.list(cursor, listed.records));
  if (listed.head.count == 0) return send(Message(Type::kListEnd, {}));
  if (send(listed) == Sent::kLater) return Sent::kLater;
  answer.cursor = cursor;
  return Sent::kMore;
}

CustodyPeer::Sent CustodyPeer::send(const Message& message, std::span<const int> descriptors) {
  if (deaf_ || ended_) return Sent::kDone;
  if (writeWaiting_) return Sent::kLater;
  Status sent = sendMessage(channel_.native_handle(), message.wire(), descriptors);
  if (sent) return Sent::kDone;
  switch (sent.error().code) {
    case EAGAIN:
      waitWritable();
      return Sent::kLater;
    case ETOOMANYREFS:
    case ENOMEM:
    case ENOBUFS:
      waitAWhile();
      return Sent::kLater;
    default:
      deaf_ = true;
      return Sent::kDone;
  }
}

void CustodyPeer::waitWritable() {
  writeWaiting_ = true;
  channel_.async_wait(boost::asio::posix::stream_descriptor::wait_write,
                      [self = shared_from_this()](const boost::system::error_code& error) {
                        self->writeWaiting_ = false;
                        if (!error) self->flush();
                      });
}

void CustodyPeer::waitAWhile() {
  writeWaiting_ = true;
  retry_.expires_after(kRetry);
  retry_.async_wait([self = shared_from_this()](const boost::system::error_code& error) {
    self->writeWaiting_ = false;
    if (!error) self->flush();
  });
}

}  // namespace ppx
