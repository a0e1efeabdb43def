// Why a session ended: one table with name, counter index, whether it counts as an error, and text.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace ppx {

// The order is part of the table's layout: append only.
#define PPX_CLOSE_REASONS(X)                                                                            \
  X(None, "none", false, "still open")                                                                  \
  X(ClientEnd, "client_end", false, "the client ended its input and was answered")                      \
  X(ClientReset, "client_reset", true, "the client reset the connection")                               \
  X(ClientTimeout, "client_timeout", true, "the client's host stopped answering")                       \
  X(Idle, "idle", false, "no byte in either direction for idle_timeout")                                \
  X(HalfCloseTimeout, "half_close_timeout", false,                                                      \
    "no output for half_close_timeout after the client ended its input")                                \
  X(Admin, "admin", false, "ended through the admin API")                                               \
  X(Shutdown, "shutdown", false, "the gateway was stopped")                                             \
  X(SlowClient, "slow_client", true, "output above the soft bound for slow_client_grace")               \
  X(Overflow, "overflow", true, "output above the hard bound, or the journal was full")                 \
  X(NoUpstream, "no_upstream", true, "no upstream was ready for no_upstream_timeout")                   \
  X(UpstreamLoss, "upstream_loss", true, "its upstream died and upstream_loss is \"close\"")            \
  X(InDoubt, "in_doubt", true, "traffic on a stream that a crash broke, and crash_policy is \"close\"") \
  X(Poison, "poison", true, "three forwarders died with it within a minute")                            \
  X(CustodyLost, "custody_lost", true, "no process held its descriptor any more")                       \
  X(Refused, "refused", true, "refused at a limit")                                                     \
  X(Internal, "internal", true, "a system call failed that should not")                                 \
  X(Upstream, "upstream", false, "the upstream closed it")                                              \
  X(UpstreamReset, "upstream_reset", false, "the upstream closed it at once")

enum class CloseReason : uint8_t {
#define PPX_CLOSE_REASON_VALUE(name, key, error, text) k##name,
  PPX_CLOSE_REASONS(PPX_CLOSE_REASON_VALUE)
#undef PPX_CLOSE_REASON_VALUE
      kCount
};

inline constexpr size_t kCloseReasonCapacity = 32;  // counters in a worker row
static_assert(static_cast<size_t>(CloseReason::kCount) <= kCloseReasonCapacity);

struct CloseReasonInfo {
  std::string_view name;
  bool isError;
  std::string_view text;
};

const CloseReasonInfo& closeReasonInfo(CloseReason reason);

}  // namespace ppx
