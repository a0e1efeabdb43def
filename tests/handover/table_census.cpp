#include "tests/handover/table_census.h"

#include <fcntl.h>

#include <filesystem>

#include "common/journal.h"
#include "common/mail_head.h"

namespace ppx::test {

namespace fs = std::filesystem;

Table tableOf(const Gateway& gateway) {
  for (const auto& entry : fs::directory_iterator("/proc/" + std::to_string(gateway.pid()) + "/fd")) {
    std::error_code error;
    if (!fs::read_symlink(entry.path(), error).string().starts_with("/memfd:paradoxplex-table")) continue;
    auto table = Table::map(UniqueFd(::open(entry.path().c_str(), O_RDWR | O_CLOEXEC)));
    if (!table) throw std::runtime_error(table.error().text);
    return std::move(*table);
  }
  throw std::runtime_error("paradoxd has no table");
}

Census census(const Gateway& gateway, const Table& table) {
  Census counts;
  for (uint32_t i = 0; i < table.sizes().sessionSlots; ++i) {
    const SessionSlot& slot = table.session(i);
    const SlotState state = SlotWord::decode(slot.word.load()).state;
    ++counts[std::string("slots ") + slotStateName(state)];
    const MailHead head = MailHead::decode(slot.mailHead.load());
    counts["slots with mail"] += takesMail(state) && head.ticket != slot.mailFreed.load();
  }
  Journal(table, {}).forEachUsed([&](uint32_t, const SegmentWord& word) {
    ++counts["segments of kind " + std::to_string(static_cast<int>(word.kind))];
  });
  if (table.hasLanes())
    for (uint32_t i = 0; i < laneCount(table.sizes()); ++i)
      counts["lanes"] += table.lane(i).owner.load() != 0;
  for (uint32_t row = 0; row < kWorkerRows; ++row)
    counts["worker rows"] += table.worker(row).incarnation.load() != 0;
  counts["descriptors of the supervisor"] = descriptorsOf(gateway.pid());
  for (const char* role : {"custodian", "acceptor", "prober", "forwarder"})
    for (pid_t pid : gateway.workers(role))
      counts[std::string("descriptors of the ") + role + "s"] += descriptorsOf(pid);
  return counts;
}

}  // namespace ppx::test
