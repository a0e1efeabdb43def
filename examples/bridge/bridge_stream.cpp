#include "examples/bridge/bridge_stream.h"

#include <boost/asio/post.hpp>
#include <string>
#include <utility>

#include "examples/bridge/bridge.h"

namespace ppx::examples {

// Not dealt with before the bridge says so with resumeReading(): one payload of a stream is on its way at a
// time.
bool BridgeStream::onPayload(InputMessage& message) {
  boost::asio::post(bridge_.io(), [stream = self(), client = std::move(*message.mutable_client_uuid()),
                                   payload = std::move(*message.mutable_payload())]() mutable {
    stream->bridge_.onPayload(stream, client, std::move(payload));
  });
  return false;
}

void BridgeStream::onInputEnd() {
  boost::asio::post(bridge_.io(), [stream = self()] { stream->bridge_.onInputEnd(stream); });
}

void BridgeStream::onUncongested() {
  boost::asio::post(bridge_.io(), [stream = self()] { stream->bridge_.resumeReplies(); });
}

void BridgeStream::onGone() {
  boost::asio::post(bridge_.io(), [stream = self()] { stream->bridge_.onGone(stream); });
}

}  // namespace ppx::examples
