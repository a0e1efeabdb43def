#include "examples/echo/echo_message.h"

#include <grpcpp/support/slice.h>

#include <algorithm>
#include <cstdint>
#include <string_view>

#include "examples/common/time_text.h"

namespace ppx::examples {
namespace {

constexpr std::uint8_t kLengthDelimited = 2;
constexpr std::size_t kShareFrom = 2048;  // copying less is cheaper than a second slice
constexpr std::size_t kMaxVarint = 10;

constexpr std::uint8_t tagOf(int field) {
  return static_cast<std::uint8_t>(field << 3 | kLengthDelimited);
}

class WireReader {
 public:
  WireReader(const std::uint8_t* begin, const std::uint8_t* end) : at_(begin), end_(end) {}

  bool isAtEnd() const { return at_ == end_; }

  bool varint(std::uint64_t& value) {
    value = 0;
    for (unsigned shift = 0; shift < 7 * kMaxVarint && at_ != end_; shift += 7) {
      const std::uint8_t byte = *at_++;
      value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) {
        return true;
      }
    }
    return false;
  }

  bool bytes(std::uint64_t length, std::string_view& value) {
    if (length > static_cast<std::uint64_t>(end_ - at_)) {
      return false;
    }
    value = {reinterpret_cast<const char*>(at_), static_cast<std::size_t>(length)};
    at_ += length;
    return true;
  }

  // A field that we don't know.
  bool skip(unsigned wireType) {
    std::uint64_t number = 0;
    std::string_view ignored;
    switch (wireType) {
      case 0:
        return varint(number);
      case 1:
        return bytes(8, ignored);
      case kLengthDelimited:
        return varint(number) && bytes(number, ignored);
      case 5:
        return bytes(4, ignored);
      default:
        return false;
    }
  }

 private:
  const std::uint8_t* at_;
  const std::uint8_t* end_;
};

bool parseRequest(const grpc::Slice& wire, std::string_view& client, std::string_view& payload) {
  WireReader reader(wire.begin(), wire.end());
  while (!reader.isAtEnd()) {
    std::uint64_t tag = 0;
    std::uint64_t length = 0;
    if (!reader.varint(tag)) {
      return false;
    }
    if (tag == tagOf(2) || tag == tagOf(3)) {
      std::string_view& field = tag == tagOf(2) ? client : payload;
      if (!reader.varint(length) || !reader.bytes(length, field)) {
        return false;
      }
    } else if (!reader.skip(static_cast<unsigned>(tag & 7))) {
      return false;
    }
  }
  return true;
}

std::size_t varintSize(std::uint64_t value) {
  std::size_t size = 1;
  for (; value >= 0x80; value >>= 7) {
    ++size;
  }
  return size;
}

std::uint8_t* putLength(std::uint8_t* out, int field, std::uint64_t length) {
  *out++ = tagOf(field);
  for (; length >= 0x80; length >>= 7) {
    *out++ = static_cast<std::uint8_t>(length | 0x80);
  }
  *out++ = static_cast<std::uint8_t>(length);
  return out;
}

std::uint8_t* putField(std::uint8_t* out, int field, std::string_view value) {
  out = putLength(out, field, value.size());
  return std::copy(value.begin(), value.end(), out);
}

std::size_t fieldSize(std::string_view value) {
  return 1 + varintSize(value.size()) + value.size();
}

}  // namespace

bool makeEcho(const grpc::ByteBuffer& request, grpc::ByteBuffer& reply) {
  grpc::Slice wire;
  if (!request.TrySingleSlice(&wire).ok() && !request.DumpToSingleSlice(&wire).ok()) {
    return false;
  }
  std::string_view client;
  std::string_view payload;
  if (!parseRequest(wire, client, payload)) {
    return false;
  }
  const std::string_view time = timeText();
  const bool share = payload.size() >= kShareFrom;
  const std::size_t headSize =
      fieldSize(time) + fieldSize(client) + fieldSize(payload) - (share ? payload.size() : 0);

  grpc_slice head = grpc_slice_malloc(headSize);
  std::uint8_t* out = GRPC_SLICE_START_PTR(head);
  out = putField(out, 1, time);
  out = putField(out, 2, client);
  if (!share) {
    putField(out, 4, payload);
    const grpc::Slice whole(head, grpc::Slice::STEAL_REF);
    grpc::ByteBuffer(&whole, 1).Swap(&reply);
    return true;
  }
  putLength(out, 4, payload.size());
  const auto offset =
      static_cast<std::size_t>(reinterpret_cast<const std::uint8_t*>(payload.data()) - wire.begin());
  const grpc::Slice parts[] = {grpc::Slice(head, grpc::Slice::STEAL_REF),
                               wire.sub(offset, offset + payload.size())};
  grpc::ByteBuffer(parts, 2).Swap(&reply);
  return true;
}

}  // namespace ppx::examples
