// The two messages of the contract to and from bytes, without the generated types: one copy of the payload
// instead of three (proto/upstream.proto has the fields).
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <sys/uio.h>

#include <span>
#include <string_view>

#include "common/uuid.h"
#include "forwarder/reply_router.h"

namespace ppx {

// An InputStreamRequest. `time` is RFC 3339, at most 64 bytes; pieces are copied.
grpc::ByteBuffer encodeInput(std::string_view time, const Uuid& client, std::span<const iovec> pieces);

// Cuts an OutputStreamRequest; the payload points into `bytes`. Unknown fields are passed over. False: not
// such a message.
bool decodeOutput(std::string_view bytes, Reply& reply);

}  // namespace ppx
