// The echo of one message, made on the wire's bytes: parsing into objects and back costs more than the rest.
#pragma once

#include <grpcpp/support/byte_buffer.h>

#include <cstddef>

namespace ppx::examples {

// From an InputStreamRequest's bytes to an OutputStreamRequest's: the same client and payload, our time.
// False if they are not such a message. A long payload is shared, not copied. Any thread.
bool makeEcho(const grpc::ByteBuffer& request, grpc::ByteBuffer& reply);

}  // namespace ppx::examples
