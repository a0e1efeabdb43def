// Whether a worker has fallen silent: its heartbeat stands still, or it has no control channel.
//
// Time is counted in looks, each at most kMaxLooks intervals long: when the supervisor itself was stopped or
// starved, its gap is not held against the workers. Nobody's clock is compared with anybody's.
#pragma once

#include <algorithm>
#include <cstdint>

#include "common/clock.h"

namespace ppx {

class SilenceWatch {
 public:
  static constexpr int kMaxLooks = 2;

  void restart() { *this = {}; }

  // One look; `elapsed` since the last one, which should be `interval`. True: it is silent for more than
  // `timeout`.
  bool look(uint64_t heartbeat, bool hasChannel, Millis elapsed, Millis interval, Millis timeout) {
    Millis counted = std::min(elapsed, kMaxLooks * interval);
    heartbeatStill_ = heartbeat != lastHeartbeat_ ? 0 : heartbeatStill_ + counted;
    channelMissing_ = hasChannel ? 0 : channelMissing_ + counted;
    lastHeartbeat_ = heartbeat;
    return heartbeatStill_ > timeout || channelMissing_ > timeout;
  }

 private:
  uint64_t lastHeartbeat_ = 0;
  Millis heartbeatStill_ = 0;
  Millis channelMissing_ = 0;
};

}  // namespace ppx
