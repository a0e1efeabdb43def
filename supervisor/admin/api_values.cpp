#include "supervisor/admin/api_values.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "common/clock.h"
#include "common/peer_text.h"
#include "supervisor/admin/http_server.h"

namespace ppx {
namespace {

constexpr int kReadAttempts = 4;

bool isSession(SlotState state) {
  return state != SlotState::kFree && state != SlotState::kClaimed;
}

CloseReason closeReasonOf(uint32_t value) {
  return value < static_cast<uint32_t>(CloseReason::kCount) ? static_cast<CloseReason>(value)
                                                            : CloseReason::kInternal;
}

template <size_t N>
std::string nameText(const char (&name)[N]) {
  return std::string(name, strnlen(name, N));
}

SessionView copySession(const Table& table, uint32_t index, const SlotWord& word) {
  const SessionSlot& slot = table.session(index);
  SessionView view;
  view.ref = {index, word.generation};
  view.word = word;
  view.uuid = {slot.uuidHigh.load(), slot.uuidLow.load()};
  view.peer = peerText(slot.peerHigh.load(), slot.peerLow.load(), slot.peerPort.load());
  view.listener = slot.listener.load();
  view.pool = slot.pool.load();
  view.upstream = slot.upstream.load();
  view.upstreamGeneration = slot.upstreamGeneration.load();
  view.lastInMs = slot.lastInMs.load();
  view.lastOutMs = slot.lastOutMs.load();
  view.acceptedMs = slot.acceptedMs.load();
  view.acceptedRealtimeMs = slot.acceptedRealtimeMs.load();
  view.inReceived = slot.inReceived.load();
  view.inWritten = slot.inWritten.load();
  view.inAcked = slot.inAcked.load();
  view.outStamped = slot.outStamped.load();
  view.outSent = slot.outSent.load();
  view.flags = slot.flags.load();
  view.takeovers = slot.takeovers.load();
  view.closeReason = closeReasonOf(slot.closeReason.load());
  view.closeRequested = SessionTable(table).closeRequested(view.ref);
  return view;
}

}  // namespace

void reply(httplib::Response& response, int status, const ApiJson& body) {
  response.status = status;
  response.set_content(body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n",
                       "application/json");
}

void replyError(httplib::Response& response, const FieldError& error) {
  replyError(response, 400, error.code, error.message, error.field);
}

std::optional<Uuid> uuidOfPath(const httplib::Request& request, httplib::Response& response) {
  std::optional<Uuid> uuid = parseUuid(request.matches[1].str());
  if (!uuid) replyError(response, 400, "bad_uuid", "expected a UUIDv4 in the path", "uuid");
  return uuid;
}

std::optional<uint32_t> findPool(const Table& table, const std::string& name) {
  for (uint32_t row = 0; row < kMaxPools; ++row)
    if (table.pool(row).used.load() != 0 && nameText(table.pool(row).name) == name) return row;
  return std::nullopt;
}

std::string poolName(const Table& table, uint32_t row) {
  return row < kMaxPools ? nameText(table.pool(row).name) : std::string();
}

std::string listenerName(const Table& table, uint32_t row) {
  return row < kMaxListeners ? nameText(table.listener(row).name) : std::string();
}

std::vector<std::string> poolNames(const Table& table) {
  std::vector<std::string> names;
  for (uint32_t row = 0; row < kMaxPools; ++row)
    if (table.pool(row).used.load() != 0) names.push_back(nameText(table.pool(row).name));
  return names;
}

ApiJson secondsSince(uint64_t monotonicMs) {
  if (monotonicMs == 0) return nullptr;
  Millis age = monotonicMillis() - static_cast<Millis>(monotonicMs);
  return static_cast<double>(std::max<Millis>(age, 0)) / 1000;
}

std::optional<SessionView> readSession(const Table& table, uint32_t index) {
  const Atomic<uint64_t>& word = table.session(index).word;
  for (int attempt = 0; attempt < kReadAttempts; ++attempt) {
    uint64_t before = word.load();
    SlotWord decoded = SlotWord::decode(before);
    if (!isSession(decoded.state)) return std::nullopt;
    SessionView view = copySession(table, index, decoded);
    if (word.load() == before) return view;
  }
  return std::nullopt;
}

uint32_t sessionSlotsInUse(const Table& table) {
  return std::min(table.header().sessionHighWater.load(), table.sizes().sessionSlots);
}

std::vector<uint32_t> sessionsPerUpstream(const Table& table) {
  std::vector<uint32_t> counts(table.sizes().upstreamSlots);
  uint32_t slots = sessionSlotsInUse(table);
  for (uint32_t i = 0; i < slots; ++i) {
    const SessionSlot& slot = table.session(i);
    if (!isSession(SlotWord::decode(slot.word.load()).state)) continue;
    uint32_t upstream = slot.upstream.load();
    if (upstream >= counts.size()) continue;
    if (slot.upstreamGeneration.load() == lifeGeneration(table.upstream(upstream).life.load()))
      ++counts[upstream];
  }
  return counts;
}

}  // namespace ppx
