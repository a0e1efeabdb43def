#include "supervisor/custody_keeper.h"

#include <fcntl.h>
#include <unistd.h>

#include <chrono>

#include "common/control_protocol.h"
#include "common/log.h"
#include "common/seqpacket.h"
#include "supervisor/worker_identity.h"

namespace ppx {
namespace {

using custody::Kind;
using custody::Record;

constexpr uint32_t kDoorbells = control::kWelcomeDescriptors - 1;
constexpr std::chrono::seconds kInheritanceDeadline{5};
static_assert(1 + kMaxListeners + kDoorbells <= custody::kMaxRecords);

Record record(Kind kind, uint32_t slot) {
  Record out;
  out.kind = kind;
  out.slot = slot;
  out.generation = kSupervisorGeneration;
  return out;
}

}  // namespace

CustodyKeeper::CustodyKeeper(boost::asio::io_context& io, const std::string& runtimeDir, uint32_t incarnation,
                             const Table& table, const Doorbells& doorbells, const ListenerSockets& sockets)
    : table_(table),
      doorbells_(doorbells),
      sockets_(sockets),
      nothing_(::open("/dev/null", O_RDONLY | O_CLOEXEC)),
      client_(io, runtimeDir, WorkerId{kSupervisorRow, incarnation},
              {.connected =
                   [this](bool connected) {
                     if (connected) fill();
                   },
               .drained = {},
               .putDone = [this](std::span<const Record> records) { acknowledged(records); },
               .dropDone =
                   [this](std::span<const Record> records) {
                     undropped_ -= std::min(undropped_, records.size());
                     if (undropped_ == 0 && droppedDone_) std::exchange(droppedDone_, {})();
                   },
               .give = {},
               .missing = {},
               .listed = {}}) {}

// One message: it is whole or not at all, and the channel is fresh.
void CustodyKeeper::fill() {
  std::vector<Record> records{record(Kind::kTable, 0)};
  std::vector<int> descriptors{table_.memfd()};
  uint32_t index = 0;
  for (int bell : doorbells_.all()) {
    records.push_back(record(Kind::kDoorbell, index++));
    descriptors.push_back(bell);
  }
  for (uint32_t row = 0; row < kMaxListeners && !dropped_; ++row) {
    auto found = sockets_.find(row);
    records.push_back(record(Kind::kListener, row));
    descriptors.push_back(found != sockets_.end() ? found->second.socket.get() : nothing_.get());
  }
  unanswered_ = records.size();
  if (!client_.put(records, descriptors)) spdlog::warn("the custodian takes nothing; dialling it again");
}

void CustodyKeeper::acknowledged(std::span<const Record> records) {
  for (const Record& each : records)
    if (each.failed != 0)
      spdlog::error("the custodian could not hold a descriptor of the supervisor's (kind {}, {})",
                    static_cast<int>(each.kind), each.slot);
  unanswered_ -= std::min(unanswered_, records.size());
  if (unanswered_ == 0 && filled_) filled_();
}

void CustodyKeeper::dropListeners(std::function<void()> done) {
  dropped_ = true;
  droppedDone_ = std::move(done);
  undropped_ = kMaxListeners;
  for (uint32_t row = 0; row < kMaxListeners; ++row) client_.drop(record(Kind::kListener, row));
}

std::optional<int> externalCustodianIn(const std::string& runtimeDir) {
  auto channel = dialSeqpacket(runtimeDir + "/" + custody::kSocketName);
  if (!channel) return std::nullopt;
  auto listener = peerCredentials(channel->get());
  if (!listener || !runsWith(listener->pid, externalArguments(runtimeDir))) return std::nullopt;
  return listener->pid;
}

Result<Inheritance> fetchInheritance(const std::string& runtimeDir) {
  if (auto probe = dialSeqpacket(runtimeDir + "/" + custody::kSocketName); !probe)
    return Error{ENOENT, "no custodian is there"};
  boost::asio::io_context io(1);
  Inheritance out;
  out.doorbells.resize(kDoorbells);
  size_t open = 1 + kDoorbells + kMaxListeners;
  auto answered = [&] {
    if (--open == 0) io.stop();
  };
  CustodyClient::Handlers handlers;
  handlers.give = [&](const Record& each, UniqueFd descriptor) {
    if (each.kind == Kind::kTable) out.table = std::move(descriptor);
    if (each.kind == Kind::kDoorbell && each.slot < kDoorbells)
      out.doorbells[each.slot] = std::move(descriptor);
    if (each.kind == Kind::kListener) out.listeners[each.slot] = std::move(descriptor);
    answered();
  };
  handlers.missing = [&](const Record&) { answered(); };
  CustodyClient client(io, runtimeDir, WorkerId{kSupervisorRow, kIncarnationMask}, std::move(handlers));
  std::vector<Record> wanted{record(Kind::kTable, 0)};
  for (uint32_t i = 0; i < kDoorbells; ++i) wanted.push_back(record(Kind::kDoorbell, i));
  for (uint32_t i = 0; i < kMaxListeners; ++i) wanted.push_back(record(Kind::kListener, i));
  client.fetch(wanted, WorkerId{});
  client.start();
  io.run_for(kInheritanceDeadline);
  client.stop();
  if (open != 0) return Error{ETIMEDOUT, "the custodian in " + runtimeDir + " does not answer"};
  if (!out.table) return Error{ENODATA, "the custodian in " + runtimeDir + " has no table"};
  for (const UniqueFd& bell : out.doorbells)
    if (!bell) return Error{ENODATA, "the custodian in " + runtimeDir + " lacks doorbells"};
  return out;
}

}  // namespace ppx
