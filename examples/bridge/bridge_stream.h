// A gateway's stream at the bridge: hands everything to the bridge's one thread.
#pragma once

#include <chrono>
#include <memory>

#include "examples/common/probes.h"
#include "examples/common/stream_pump.h"

namespace ppx::examples {

class Bridge;

class BridgeStream final : public StreamPump<InputMessage, OutputMessage> {
 public:
  enum class Life { kOpen, kEnding, kGone };

  explicit BridgeStream(Bridge& bridge) : bridge_(bridge) {}

  // The bridge's thread only.
  Life life = Life::kOpen;
  std::chrono::steady_clock::time_point goneAt;

 protected:
  bool onPayload(InputMessage& message) override;
  void onInputEnd() override;
  void onUncongested() override;
  void onGone() override;

 private:
  std::shared_ptr<BridgeStream> self() { return std::static_pointer_cast<BridgeStream>(shared_from_this()); }

  Bridge& bridge_;
};

}  // namespace ppx::examples
