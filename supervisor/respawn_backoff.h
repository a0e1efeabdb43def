// How long a row stays empty after its process died: not at all after useful work, otherwise twice as long
// each time.
#pragma once

#include <algorithm>

#include "common/clock.h"

namespace ppx {

class RespawnBackoff {
 public:
  // Work is useful when it served for so long: a process that gets ready and dies at once must not spin.
  static constexpr Millis kUsefulMs = 1000;

  RespawnBackoff(Millis min, Millis max) : min_(min), max_(max) {}

  // The process served for `servedMs` (0: it never got ready). The wait before the next one.
  Millis afterDeath(Millis servedMs) {
    if (servedMs >= kUsefulMs) {
      next_ = 0;
      return 0;
    }
    next_ = next_ == 0 ? min_ : std::min(max_, next_ * 2);
    return next_;
  }

 private:
  Millis min_, max_;
  Millis next_ = 0;
};

}  // namespace ppx
