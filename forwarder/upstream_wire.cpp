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

}  // namespace

grpc::ByteBuffer encodeInput(std::string_view time, const Uuid& client, std::span<const iovec> pieces) {
  size_t payload = 0;
  for (const iovec& piece : pieces) payload += piece.iov_len;
  uint32_t payload32 = static_cast<uint32_t>(payload);
  size_t total =
      2 + time.size() + 2 + kUuidTextBytes + 1 + CodedOutputStream::VarintSize32(payload32) + payload;
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
  grpc::Slice owned(slice, grpc::Slice::STEAL_REF);
  return grpc::ByteBuffer(&owned, 1);
}

bool decodeOutput(std::string_view bytes, Reply& reply) {
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
    } else if (!WireFormatLite::SkipField(&in, tag)) {
      return false;
    }
  }
  return in.ConsumedEntireMessage();
}

}  // namespace ppx
