#include "forwarder/input_window.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "common/failpoint.h"

namespace ppx {
namespace {

constexpr size_t kMaxPieces = 129;  // 64 KiB that start in the middle of a segment

}  // namespace

InputWindow::Received InputWindow::receive(const Table& table, Journal& journal, SlotRef ref, int socket,
                                           uint32_t limit) {
  Atomic<uint64_t>& received = table.session(ref.slot).inReceived;
  uint64_t offset = received.load(std::memory_order_relaxed);
  std::array<iovec, kMaxPieces> pieces;
  std::array<uint32_t, kMaxPieces> claimed;
  std::array<uint64_t, kMaxPieces> starts;  // stream offset of the first byte that goes into claimed[i]
  size_t pieceCount = 0, claimCount = 0;
  uint64_t end = offset + limit;
  uint64_t at = offset;
  if (at % kSegmentBytes != 0 && last_ != kNoSegment) {
    size_t room = std::min<uint64_t>(kSegmentBytes - at % kSegmentBytes, limit);
    pieces[pieceCount++] = {journal.data(last_) + at % kSegmentBytes, room};
    at += room;
  }
  while (at < end && pieceCount < kMaxPieces) {
    uint32_t segment = journal.claimIn(ref, at / kSegmentBytes);
    if (segment == kNoSegment) break;
    size_t position = at % kSegmentBytes;
    size_t room = std::min<uint64_t>(kSegmentBytes - position, end - at);
    starts[claimCount] = at;
    claimed[claimCount++] = segment;
    pieces[pieceCount++] = {journal.data(segment) + position, room};
    at += room;
  }
  if (pieceCount == 0) return {Outcome::kNoSegments, 0, false, 0};

  failpoint("session.receive");
  ssize_t got = 0;
  int error = failpoint("sys.recv");
  if (error == 0) {
    msghdr header{};
    header.msg_iov = pieces.data();
    header.msg_iovlen = pieceCount;
    do {
      got = ::recvmsg(socket, &header, MSG_DONTWAIT);
    } while (got < 0 && errno == EINTR);
    if (got < 0) error = errno;
  }
  failpoint("session.received");
  uint64_t reached = offset + (error == 0 ? static_cast<uint64_t>(got) : 0);
  // A segment that got no byte goes back; those before it are ours, in order.
  if (first_ == kNoSegment) firstOffset_ = offset / kSegmentBytes * kSegmentBytes;
  for (size_t i = 0; i < claimCount; ++i) {
    if (starts[i] < reached)
      link(table, claimed[i]);
    else
      journal.freeOwned(claimed[i]);
  }
  if (error == EAGAIN || error == EWOULDBLOCK) return {Outcome::kEmpty, 0, false, 0};
  if (error == ECONNRESET || error == EPIPE) return {Outcome::kReset, 0, false, error};
  if (error != 0) return {Outcome::kError, 0, false, error};
  if (got == 0) return {Outcome::kEnd, 0, false, 0};
  received.store(reached, std::memory_order_release);
  return {Outcome::kBytes, static_cast<uint32_t>(got), reached == at, 0};
}

void InputWindow::link(const Table& table, uint32_t segment) {
  table.segment(segment).next.store(kNoSegment, std::memory_order_relaxed);
  if (last_ == kNoSegment)
    first_ = segment;
  else
    table.segment(last_).next.store(segment, std::memory_order_relaxed);
  last_ = segment;
}

void InputWindow::gather(const Table& table, uint64_t from, uint32_t limit,
                         std::vector<iovec>& pieces) const {
  pieces.clear();
  uint32_t segment = first_;
  uint64_t start = firstOffset_;
  for (; segment != kNoSegment && limit > 0; start += kSegmentBytes) {
    if (from < start + kSegmentBytes) {
      uint64_t position = from - start;
      uint32_t count = static_cast<uint32_t>(std::min<uint64_t>(kSegmentBytes - position, limit));
      pieces.push_back({table.segmentData(segment) + position, count});
      from += count;
      limit -= count;
    }
    segment = table.segment(segment).next.load(std::memory_order_relaxed);
  }
}

uint32_t InputWindow::dropFirst(const Table& table, Journal& journal) {
  uint32_t segment = first_;
  first_ = table.segment(segment).next.load(std::memory_order_relaxed);
  if (first_ == kNoSegment) last_ = kNoSegment;
  firstOffset_ += kSegmentBytes;
  journal.freeOwned(segment);
  return first_;
}

void InputWindow::release(const Table& table, Journal& journal, uint64_t offset, uint64_t received) {
  while (first_ != kNoSegment && (firstOffset_ + kSegmentBytes <= offset || offset == received))
    dropFirst(table, journal);
}

void InputWindow::discard(const Table& table, Journal& journal) {
  while (first_ != kNoSegment) dropFirst(table, journal);
}

void InputWindow::adopt(const Table& table, uint32_t segment, uint64_t firstOffset) {
  if (first_ == kNoSegment) firstOffset_ = firstOffset;
  link(table, segment);
}

}  // namespace ppx
