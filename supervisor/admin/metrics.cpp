// GET /metrics: the figures of the table and of the processes.
#include <unistd.h>

#include <cstdio>
#include <fstream>

#include "common/clock.h"
#include "supervisor/admin/admin_server.h"
#include "supervisor/admin/api_values.h"
#include "supervisor/admin/metrics_text.h"
#include "supervisor/admin/obituary_book.h"
#include "supervisor/admin/session_census.h"

namespace ppx {
namespace {

using Labels = MetricsText::Labels;

struct WorkerFigure {
  const char* name;
  const char* help;
  Atomic<uint64_t> WorkerRow::*figure;
};

// Counters of the worker rows; they go on over restarts of the process.
constexpr WorkerFigure kWorkerCounters[] = {
    {"paradox_accepted_total", "Connections accepted.", &WorkerRow::accepted},
    {"paradox_refused_total", "Connections refused at a limit.", &WorkerRow::refused},
    {"paradox_handed_off_total", "Sessions handed to a forwarder.", &WorkerRow::handedOff},
    {"paradox_accept_pauses_total", "Pauses for want of descriptors or memory.", &WorkerRow::acceptPauses},
    {"paradox_client_bytes_in_total", "Bytes from clients.", &WorkerRow::bytesIn},
    {"paradox_client_bytes_out_total", "Bytes to clients.", &WorkerRow::bytesOut},
    {"paradox_messages_in_total", "Payloads to upstreams.", &WorkerRow::messagesIn},
    {"paradox_messages_out_total", "Replies from upstreams.", &WorkerRow::messagesOut},
    {"paradox_broadcasts_total", "Broadcasts from upstreams.", &WorkerRow::broadcasts},
    {"paradox_broadcast_copies_total", "Sessions that broadcasts reached.", &WorkerRow::broadcastCopies},
    {"paradox_replies_unknown_total", "Replies to clients that are not there.", &WorkerRow::repliesUnknown},
    {"paradox_replies_malformed_total", "Replies without a usable target.", &WorkerRow::repliesMalformed},
    {"paradox_stream_failures_total", "Streams to upstreams that broke.", &WorkerRow::streamFailures},
    {"paradox_sessions_moved_total", "Sessions moved to another upstream.", &WorkerRow::sessionsMoved},
    {"paradox_sessions_in_doubt_total",
     "Sessions with a plain upstream that had traffic on a stream which a crash or a lost upstream broke.",
     &WorkerRow::inDoubt},
};

struct UpstreamFigure {
  const char* name;
  const char* help;
  Atomic<uint64_t> UpstreamSlot::*figure;
};

constexpr UpstreamFigure kUpstreamCounters[] = {
    {"paradox_upstream_sessions_assigned_total", "Sessions ever given to it.",
     &UpstreamSlot::sessionsAssigned},
    {"paradox_upstream_messages_in_total", "Payloads sent to it.", &UpstreamSlot::messagesIn},
    {"paradox_upstream_messages_out_total", "Replies from it.", &UpstreamSlot::messagesOut},
    {"paradox_upstream_bytes_in_total", "Bytes sent to it.", &UpstreamSlot::bytesIn},
    {"paradox_upstream_bytes_out_total", "Bytes from it.", &UpstreamSlot::bytesOut},
    {"paradox_upstream_broadcasts_total", "Broadcasts from it.", &UpstreamSlot::broadcasts},
};

Labels labelsOf(const WorkerStatus& worker) {
  return {{"role", workerRoleName(worker.role)}, {"row", std::to_string(worker.row)}};
}

// Resident memory; none: the process is gone.
std::optional<uint64_t> residentBytes(int pid) {
  if (pid <= 0) return std::nullopt;
  std::ifstream statm("/proc/" + std::to_string(pid) + "/statm");
  uint64_t all = 0, resident = 0;
  if (!(statm >> all >> resident)) return std::nullopt;
  return resident * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

void addSessions(MetricsText& text, const Table& table, const SupervisorStatus& status) {
  const SessionCensus sessions = countSessions(table);
  text.gauge("paradox_sessions", "Session slots in use, by state.");
  for (SlotState state : {SlotState::kClaimed, SlotState::kHandoff, SlotState::kOwned, SlotState::kClosing})
    text.sample(uint64_t{sessions.in(state)}, {{"state", slotStateName(state)}});
  text.gauge(
      "paradox_sessions_unserved",
      "Those that no forwarder serves at the moment: on their way after accept, in a move, after a crash.");
  text.sample(uint64_t{sessions.unserved});
  text.gauge("paradox_session_capacity", "Sessions that are admitted at a time.");
  text.sample(uint64_t{status.sessionCapacity});
  text.gauge("paradox_custody_descriptors",
             "Descriptors that the custodian holds: clients, listeners, doorbells, the table.");
  text.sample(table.worker(kCustodianRow).sessions.load());
  text.gauge("paradox_custody_incomplete",
             "1 from the custodian's death until its successor holds every descriptor.");
  text.sample(uint64_t{!status.custody.complete()});
  text.counter("paradox_custody_incomplete_seconds_total", "How long that was, in all.");
  text.sample(status.custody.incompleteSeconds());
}

void addCloseReasons(MetricsText& text, const Table& table) {
  text.counter("paradox_sessions_closed_total", "Sessions that ended, by reason.");
  for (size_t reason = 1; reason < static_cast<size_t>(CloseReason::kCount); ++reason) {
    uint64_t sum = 0;
    for (uint32_t row = 0; row < kWorkerRows; ++row) sum += table.worker(row).closed[reason].load();
    const CloseReasonInfo& info = closeReasonInfo(static_cast<CloseReason>(reason));
    text.sample(sum, {{"reason", std::string(info.name)}, {"error", info.isError ? "true" : "false"}});
  }
}

void addJournal(MetricsText& text, const Table& table) {
  uint64_t freeIn = 0, freeOut = 0;
  uint32_t inSegments = table.sizes().inSegments;
  for (uint32_t i = 0; i < table.segmentCount(); ++i)
    if (SegmentWord::decode(table.segment(i).word.load(std::memory_order_relaxed)).kind == SegmentKind::kFree)
      ++(i < inSegments ? freeIn : freeOut);
  text.gauge("paradox_journal_segments_free", "Free segments of the journal.");
  text.sample(freeIn, {{"direction", "in"}});
  text.sample(freeOut, {{"direction", "out"}});
  text.gauge("paradox_journal_segments", "Segments of the journal.");
  text.sample(uint64_t{inSegments}, {{"direction", "in"}});
  text.sample(uint64_t{table.sizes().outSegments}, {{"direction", "out"}});
}

void addCustodyAudits(MetricsText& text, const Table& table, const SupervisorStatus& status) {
  std::vector<const WorkerStatus*> forwarders;
  for (const WorkerStatus& worker : status.workers)
    if (worker.role == WorkerRole::kForwarder) forwarders.push_back(&worker);
  text.counter("paradox_custody_audits_total", "Times that a forwarder reconciled custody and the table.");
  for (const WorkerStatus* worker : forwarders)
    text.sample(table.worker(worker->row).custodyAudits.load(), labelsOf(*worker));
  text.counter("paradox_custody_repaired_total",
               "Descriptors that were missing from custody and were put again, or stale and were dropped.");
  for (const WorkerStatus* worker : forwarders) {
    const WorkerRow& row = table.worker(worker->row);
    Labels labels = labelsOf(*worker);
    labels.emplace_back("kind", "missing");
    text.sample(row.custodyMissing.load(), labels);
    labels.back().second = "stale";
    text.sample(row.custodyStale.load(), labels);
  }
}

void addWorkers(MetricsText& text, const Table& table, const SupervisorStatus& status) {
  for (const WorkerFigure& figure : kWorkerCounters) {
    text.counter(figure.name, figure.help);
    for (const WorkerStatus& worker : status.workers)
      text.sample((table.worker(worker.row).*figure.figure).load(), labelsOf(worker));
  }
  addCustodyAudits(text, table, status);
  text.gauge("paradox_worker_sessions", "Sessions (custodian: descriptors) that the process holds.");
  for (const WorkerStatus& worker : status.workers)
    text.sample(table.worker(worker.row).sessions.load(), labelsOf(worker));
  text.gauge("paradox_worker_ready", "1 while the process serves.");
  for (const WorkerStatus& worker : status.workers)
    text.sample(uint64_t{worker.state == "ready"}, labelsOf(worker));
  text.counter("paradox_worker_restarts_total", "Processes that took the place of another one.");
  for (const WorkerStatus& worker : status.workers) text.sample(uint64_t{worker.restarts}, labelsOf(worker));
  text.gauge("paradox_worker_heartbeat_age_seconds", "Since the last heartbeat.");
  for (const WorkerStatus& worker : status.workers) {
    ApiJson age = secondsSince(table.worker(worker.row).heartbeatMs.load());
    if (!age.is_null()) text.sample(age.get<double>(), labelsOf(worker));
  }
}

void addMemory(MetricsText& text, const SupervisorStatus& status) {
  text.gauge("paradox_resident_bytes", "Resident memory of the process, with its share of the table.");
  if (auto bytes = residentBytes(status.pid)) text.sample(*bytes, {{"role", "supervisor"}});
  for (const WorkerStatus& worker : status.workers)
    if (auto bytes = residentBytes(worker.pid)) text.sample(*bytes, labelsOf(worker));
}

void addDeaths(MetricsText& text, const ObituaryBook* book) {
  if (book == nullptr) return;
  const ObituaryBook::Totals totals = book->totals();
  text.counter("paradox_worker_deaths_total", "Processes that ended without a plan, by role and cause.");
  for (const auto& [key, count] : totals.deaths)
    text.sample(count, {{"role", key.first}, {"cause", key.second}});
  text.counter("paradox_crash_sessions_total", "Sessions of forwarders that died: what came of them.");
  text.sample(totals.outcome.wentOn, {{"outcome", "went_on"}});
  text.sample(totals.outcome.closed, {{"outcome", "closed"}});
  text.counter("paradox_crash_sessions_in_doubt_total", "Of those, sessions that were in doubt.");
  text.sample(totals.outcome.inDoubt);
  text.counter("paradox_crash_carried_bytes_total",
               "Bytes of theirs in the journal that a successor gave on.");
  text.sample(totals.outcome.bytesCarriedIn, {{"direction", "in"}});
  text.sample(totals.outcome.bytesCarriedOut, {{"direction", "out"}});
  text.counter("paradox_crash_in_doubt_bytes_total", "Bytes of theirs that were in doubt, at most.");
  text.sample(totals.outcome.bytesInDoubt);
  text.histogram("paradox_crash_recovery_seconds",
                 "From the death of a forwarder until the last of its sessions could move again.");
  text.buckets(ObituaryBook::kRecoveryBounds, totals.recoveries, totals.recoverySeconds);
}

struct UpstreamRow {
  const UpstreamSlot* slot;
  UpstreamState state;
  uint32_t sessions;
  Labels labels;
};

std::vector<UpstreamRow> upstreamRows(const Table& table, const UpstreamRegistry& registry) {
  std::vector<uint32_t> sessions = sessionsPerUpstream(table);
  std::vector<UpstreamRow> rows;
  for (const UpstreamRef& upstream : registry.list()) {
    const UpstreamSlot& slot = table.upstream(upstream.slot);
    std::string host = slot.host;
    if (host.find(':') != std::string::npos) host = "[" + host + "]";
    rows.push_back({&slot,
                    upstreamState(slot),
                    sessions[upstream.slot],
                    {{"uuid", uuidText(upstream.uuid)},
                     {"address", host + ":" + std::to_string(slot.port.load())},
                     {"pool", poolName(table, slot.pool.load())}}});
  }
  return rows;
}

void addUpstreams(MetricsText& text, const std::vector<UpstreamRow>& rows) {
  text.gauge("paradox_upstreams", "Upstreams by state.");
  for (UpstreamState state : kUpstreamStates) {
    uint64_t count = 0;
    for (const UpstreamRow& row : rows) count += row.state == state;
    text.sample(count, {{"state", upstreamStateName(state)}});
  }
  text.gauge("paradox_upstream_ready", "1 while it is ready.");
  for (const UpstreamRow& row : rows) text.sample(uint64_t{row.state == UpstreamState::kReady}, row.labels);
  text.gauge("paradox_upstream_sessions", "Sessions that it has now.");
  for (const UpstreamRow& row : rows) text.sample(uint64_t{row.sessions}, row.labels);
  text.counter("paradox_upstream_times_down_total", "Times that it was taken out.");
  for (const UpstreamRow& row : rows) text.sample(uint64_t{row.slot->timesDown.load()}, row.labels);
  for (const UpstreamFigure& figure : kUpstreamCounters) {
    text.counter(figure.name, figure.help);
    for (const UpstreamRow& row : rows) text.sample((row.slot->*figure.figure).load(), row.labels);
  }
}

std::string metricsText(const AdminContext& context, const UpstreamRegistry& registry) {
  const Table& table = context.table;
  SupervisorStatus status = context.status();
  MetricsText text;
  text.gauge("paradox_info", "The version that runs.");
  text.sample(uint64_t{1}, {{"version", status.version}});
  text.gauge("paradox_uptime_seconds", "Since the supervisor started.");
  text.sample(static_cast<double>(realtimeMillis() - status.startedRealtimeMs) / 1000);
  addSessions(text, table, status);
  addCloseReasons(text, table);
  addJournal(text, table);
  addWorkers(text, table, status);
  addDeaths(text, context.obituaries);
  addMemory(text, status);
  addUpstreams(text, upstreamRows(table, registry));
  return text.take();
}

}  // namespace

void addMetricsRoute(HttpServer& server, const AdminContext& context, const UpstreamRegistry& registry) {
  server.route("GET", "/metrics", [&](const auto&, auto& response) {
    response.set_content(metricsText(context, registry), "text/plain; version=0.0.4; charset=utf-8");
  });
}

}  // namespace ppx
