// The two messages of the contract to and from bytes, without the generated types: one copy of the payload
// instead of three (proto/upstream.proto has the fields).
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <sys/uio.h>

#include <span>
#include <string_view>

#include "common/uuid.h"
#include "forwarder/reply_router.h"
#include "forwarder/stream_port.h"

namespace ppx {

// An InputStreamRequest. `time` is RFC 3339, at most 64 bytes; pieces are copied. `offset`: kNoOffset leaves it
// out.
grpc::ByteBuffer encodeInput(std::string_view time, const Uuid& client, std::span<const iovec> pieces,
                             uint64_t offset);

// The other InputStreamRequests, of extended streams.
struct GatewayHello {
  uint8_t capabilities = 0;
  std::string gateway;
  uint64_t lane = 0;  // 0: left out
};
struct LanePosition {
  uint64_t lane = 0, sequence = 0;
  bool attach = false;
  uint64_t claim = 0;  // with `attach`
};
grpc::ByteBuffer encodeHello(std::string_view time, const GatewayHello& hello);
grpc::ByteBuffer encodeNews(std::string_view time, const SessionNews& news);
grpc::ByteBuffer encodePositions(std::string_view time, std::span<const LanePosition> positions);

// Cuts an OutputStreamRequest; the payload points into `bytes`. Unknown fields are passed over; on a stream that is
// not `extended` these are all from 10 up. False: not such a message.
bool decodeOutput(std::string_view bytes, bool extended, Reply& reply);

}  // namespace ppx
