#include "common/close_reason.h"

namespace ppx {
namespace {

constexpr CloseReasonInfo kInfos[] = {
#define PPX_CLOSE_REASON_INFO(name, key, error, text) {key, error, text},
    PPX_CLOSE_REASONS(PPX_CLOSE_REASON_INFO)
#undef PPX_CLOSE_REASON_INFO
};

}  // namespace

const CloseReasonInfo& closeReasonInfo(CloseReason reason) {
  size_t index = static_cast<size_t>(reason);
  return kInfos[index < std::size(kInfos) ? index : 0];
}

}  // namespace ppx
