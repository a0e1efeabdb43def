#include "forwarder/upstream_wire.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>
#include <grpc/slice.h>

#include <climits>
#include <cstring>

namespace ppx {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;
using google::protobuf::io::CodedOutputStream;

constexpr uint8_t bytesTag(int field) {
  return static_cast<uint8_t>(field << 3 | 2);
}

constexpr uint8_t varintTag(int field) {
  return static_cast<uint8_t>(field << 3);
}

// Small messages, seldom sent.
class Writer {
 public:
  Writer& text(int field, std::string_view value) {
    number(static_cast<uint64_t>(field) << 3 | 2);
    number(value.size());
    bytes_ += value;
    return *this;
  }
  Writer& varint(int field, uint64_t value) {
    number(static_cast<uint64_t>(field) << 3);
    number(value);
    return *this;
  }
  std::string_view bytes() const { return bytes_; }
  grpc::ByteBuffer message() const {
    grpc::Slice slice(bytes_);
    return grpc::ByteBuffer(&slice, 1);
  }

 private:
  void number(uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_ += static_cast<char>(value | 0x80);
    bytes_ += static_cast<char>(value);
  }
  std::string bytes_;
};

// A length-delimited field as a view of the stream's buffer.
bool readBytes(CodedInputStream& in, std::string_view& out) {
  uint32_t length = 0;
  if (!in.ReadVarint32(&length)) return false;
  const void* data = nullptr;
  int available = 0;
  if (length == 0) {
    out = {};
    return true;
  }
  if (!in.GetDirectBufferPointer(&data, &available) || length > static_cast<uint32_t>(available))
    return false;
  out = {static_cast<const char*>(data), length};
  return in.Skip(static_cast<int>(length));
}

ReplyTarget broadcastTarget(uint64_t value) {
  switch (value) {
    case 0:
      return ReplyTarget::kAll;
    case 1:
      return ReplyTarget::kActive;
    case 2:
      return ReplyTarget::kNotActive;
    default:
      return ReplyTarget::kInvalid;
  }
}

bool decodeHello(std::string_view bytes, Reply& reply) {
  CodedInputStream in(reinterpret_cast<const uint8_t*>(bytes.data()), static_cast<int>(bytes.size()));
  reply.isHello = true;
  while (uint32_t tag = in.ReadTag()) {
    std::string_view name;
    if (tag == varintTag(1)) {
      if (!in.ReadVarint32(&reply.version)) return false;
    } else if (tag == bytesTag(2)) {
      if (!readBytes(in, name)) return false;
      reply.capabilities |= capabilityBit(name);
    } else if (tag == bytesTag(3)) {
      if (!readBytes(in, reply.instance)) return false;
    } else if (!WireFormatLite::SkipField(&in, tag)) {
      return false;
    }
  }
  return in.ConsumedEntireMessage();
}

bool decodeMark(std::string_view bytes, Reply& reply) {
  CodedInputStream in(reinterpret_cast<const uint8_t*>(bytes.data()), static_cast<int>(bytes.size()));
  Reply::Mark mark;
  while (uint32_t tag = in.ReadTag()) {
    std::string_view uuid;
    if (tag == bytesTag(1)) {
      if (!readBytes(in, uuid)) return false;
      mark.client = parseUuid(uuid);
    } else if (tag == varintTag(2)) {
      if (!in.ReadVarint64(&mark.offset)) return false;
    } else if (tag == varintTag(3)) {
      if (!in.ReadVarint32(&mark.assignment)) return false;
    } else if (!WireFormatLite::SkipField(&in, tag)) {
      return false;
    }
  }
  if (reply.marks.size() == kMaxMarks) return false;
  reply.marks.push_back(mark);
  return in.ConsumedEntireMessage();
}

// A field from 10 up.
bool decodeExtension(CodedInputStream& in, uint32_t tag, Reply& reply) {
  std::string_view bytes;
  uint64_t value = 0;
  switch (tag) {
    case 11 << 3 | 2:
      return readBytes(in, bytes) && decodeHello(bytes, reply);
    case 12 << 3:
      return in.ReadVarint64(&reply.sequence);
    case 13 << 3:
      return in.ReadVarint64(&reply.lane);
    case 14 << 3:
      return in.ReadVarint64(&reply.acknowledged);
    case 15 << 3 | 2:
      return readBytes(in, bytes) && decodeMark(bytes, reply);
    case 16 << 3:
      if (!in.ReadVarint64(&value)) return false;
      reply.close = value <= 2 ? static_cast<ReplyClose>(value) : ReplyClose::kInvalid;
      return true;
    case 17 << 3:
      return in.ReadVarint32(&reply.assignment);
    default:
      return WireFormatLite::SkipField(&in, tag);
  }
}

}  // namespace

grpc::ByteBuffer encodeHello(std::string_view time, const GatewayHello& hello) {
  Writer inner;
  inner.varint(1, kExtensionsVersion);
  for (uint8_t bit : {kEvents, kClose, kResume})
    if ((hello.capabilities & bit) != 0) inner.text(2, capabilityName(bit));
  inner.text(3, hello.gateway);
  if (hello.lane != 0) inner.varint(4, hello.lane);
  return Writer().text(1, time).text(11, inner.bytes()).message();
}

grpc::ByteBuffer encodeNews(std::string_view time, const SessionNews& news) {
  Writer inner, outer;
  inner.varint(1, static_cast<uint64_t>(news.kind));
  if (news.kind == SessionNews::Kind::kOpened) {
    inner.text(2, news.peer).text(3, news.listener);
    if (news.continued) inner.varint(4, 1);
    inner.varint(5, news.offset);
    if (news.assignment != 0) inner.varint(7, news.assignment).varint(8, news.announcement);
  }
  if (news.kind == SessionNews::Kind::kClosed) inner.text(6, news.reason);
  outer.text(1, time);
  if (news.kind != SessionNews::Kind::kListed) outer.text(2, uuidText(news.client));
  return outer.text(12, inner.bytes()).message();
}

grpc::ByteBuffer encodePositions(std::string_view time, std::span<const LanePosition> positions) {
  Writer outer;
  outer.text(1, time);
  for (const LanePosition& position : positions) {
    Writer inner;
    inner.varint(1, position.lane).varint(2, position.sequence);
    if (position.attach) inner.varint(3, 1).varint(4, position.claim);
    outer.text(13, inner.bytes());
  }
  return outer.message();
}

grpc::ByteBuffer encodeInput(std::string_view time, const Uuid& client, std::span<const iovec> pieces,
                             uint64_t offset) {
  size_t payload = 0;
  for (const iovec& piece : pieces) payload += piece.iov_len;
  uint32_t payload32 = static_cast<uint32_t>(payload);
  size_t total =
      2 + time.size() + 2 + kUuidTextBytes + 1 + CodedOutputStream::VarintSize32(payload32) + payload;
  if (offset != kNoOffset) total += 1 + CodedOutputStream::VarintSize64(offset);
  grpc_slice slice = grpc_slice_malloc(total);
  uint8_t* at = GRPC_SLICE_START_PTR(slice);
  *at++ = bytesTag(1);
  *at++ = static_cast<uint8_t>(time.size());
  std::memcpy(at, time.data(), time.size());
  at += time.size();
  *at++ = bytesTag(2);
  *at++ = kUuidTextBytes;
  writeUuidText(client, reinterpret_cast<char*>(at));
  at += kUuidTextBytes;
  *at++ = bytesTag(3);
  at = CodedOutputStream::WriteVarint32ToArray(payload32, at);
  for (const iovec& piece : pieces) {
    std::memcpy(at, piece.iov_base, piece.iov_len);
    at += piece.iov_len;
  }
  if (offset != kNoOffset) {
    *at++ = varintTag(10);
    at = CodedOutputStream::WriteVarint64ToArray(offset, at);
  }
  grpc::Slice owned(slice, grpc::Slice::STEAL_REF);
  return grpc::ByteBuffer(&owned, 1);
}

bool decodeOutput(std::string_view bytes, bool extended, Reply& reply) {
  reply = Reply();
  if (bytes.size() > INT_MAX) return false;
  CodedInputStream in(reinterpret_cast<const uint8_t*>(bytes.data()), static_cast<int>(bytes.size()));
  in.SetTotalBytesLimit(INT_MAX);
  while (uint32_t tag = in.ReadTag()) {
    if (tag == bytesTag(2)) {
      std::string_view uuid;
      if (!readBytes(in, uuid)) return false;
      reply.target = ReplyTarget::kClient;
      reply.client = parseUuid(uuid);
    } else if (tag == (3 << 3 | 0)) {
      uint64_t value = 0;
      if (!in.ReadVarint64(&value)) return false;
      reply.target = broadcastTarget(value);
    } else if (tag == bytesTag(4)) {
      if (!readBytes(in, reply.payload)) return false;
    } else if (!(extended ? decodeExtension(in, tag, reply) : WireFormatLite::SkipField(&in, tag))) {
      return false;
    }
  }
  return in.ConsumedEntireMessage();
}

}  // namespace ppx
