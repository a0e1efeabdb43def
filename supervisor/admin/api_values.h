// What the routes share: answers, and the table's rows as values for them.
#pragma once

#include <httplib.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "common/session_table.h"
#include "common/table.h"
#include "supervisor/admin/json_body.h"

namespace ppx {

using ApiJson = nlohmann::ordered_json;

void reply(httplib::Response& response, int status, const ApiJson& body);
void replyError(httplib::Response& response, const FieldError& error);  // 400

// The UUID that the route's pattern caught; none: answered with 400.
std::optional<Uuid> uuidOfPath(const httplib::Request& request, httplib::Response& response);

std::optional<uint32_t> findPool(const Table& table, const std::string& name);
std::string poolName(const Table& table, uint32_t row);
std::string listenerName(const Table& table, uint32_t row);
std::vector<std::string> poolNames(const Table& table);

// Seconds with milliseconds since a monotonic time; null when that is 0.
ApiJson secondsSince(uint64_t monotonicMs);

// A session as its slot said at one moment.
struct SessionView {
  SlotRef ref;
  SlotWord word;
  Uuid uuid;
  std::string peer;  // address:port
  uint16_t listener = 0;
  uint16_t pool = 0;
  uint32_t upstream = kNoUpstream;
  uint32_t upstreamGeneration = 0;
  uint64_t lastInMs = 0, lastOutMs = 0, acceptedMs = 0, acceptedRealtimeMs = 0;
  uint64_t inReceived = 0, inWritten = 0, inAcked = 0, outStamped = 0, outSent = 0;
  uint32_t flags = 0, takeovers = 0;
  CloseReason closeReason = CloseReason::kNone;
  std::optional<CloseReason> closeRequested;
};

// None: the slot has no session now, or it changed hands while it was read.
std::optional<SessionView> readSession(const Table& table, uint32_t slot);

// How many sessions each upstream slot has now.
std::vector<uint32_t> sessionsPerUpstream(const Table& table);
// One past the highest slot that was ever claimed.
uint32_t sessionSlotsInUse(const Table& table);

}  // namespace ppx
