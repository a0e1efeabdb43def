#include "forwarder/stream_extension.h"

#include <algorithm>
#include <utility>

namespace ppx {
namespace {

constexpr Millis kReportMs = 50;
constexpr Millis kIdleMs = 100;
constexpr size_t kMaxInstanceBytes = 128;
// A row whose process died, or whose stream broke, is expected to go on with its lane by itself.
constexpr Millis kOrphanMs = 500;

}  // namespace

StreamExtension::StreamExtension(const Table& table, const WorkerId& self, const Uuid& gateway,
                                 const StreamTarget& target, LaneBook& book)
    : table_(&table),
      self_(self),
      gateway_(gateway),
      upstream_(target.upstream),
      generation_(target.generation),
      book_(&book),
      offered_(static_cast<uint8_t>(kEvents | kClose | (table.hasLanes() ? kResume : 0))) {}

StreamExtension::~StreamExtension() {
  releaseAll(false);
}

GatewayHello StreamExtension::hello() const {
  return {offered_, uuidText(gateway_),
          (offered_ & kResume) != 0 ? number(laneIndex(upstream_, self_.row)) : 0};
}

std::string StreamExtension::accept(const Reply& reply) {
  if (!reply.isHello) return "the stream does not begin with a hello, which `ready` had announced";
  if (accepted_) return "a second hello";
  if (reply.version != kExtensionsVersion)
    return "version " + std::to_string(reply.version) + " of the extensions is not spoken here";
  capabilities_ = reply.capabilities & offered_;
  // An assignment comes with OPENED: without it nobody could tell what an acknowledgement is of.
  if ((capabilities_ & kEvents) == 0) capabilities_ &= static_cast<uint8_t>(~kResume);
  if ((capabilities_ & kResume) != 0 && (reply.instance.empty() || reply.instance.size() > kMaxInstanceBytes))
    return "resume without a usable instance_id";
  instance_ = instanceHash(reply.instance, generation_);
  accepted_ = true;
  return {};
}

LaneWriter* StreamExtension::lane(uint64_t wanted) {
  const uint64_t sought = wanted == 0 ? number(laneIndex(upstream_, self_.row)) : wanted;
  for (Held& held : held_)
    if (number(held.writer.index()) == sought) return &held.writer;
  return nullptr;
}

std::optional<SlotRef> StreamExtension::markedSession(const std::optional<Uuid>& client, uint64_t offset,
                                                      std::string& reason) const {
  if (!client) return std::nullopt;
  SessionTable sessions(*table_);
  std::optional<SlotRef> ref = sessions.findAny(*client);
  if (!ref) return std::nullopt;
  uint64_t received = table_->session(ref->slot).inReceived.load();
  if (offset > received && sessions.word(ref->slot).generation == ref->generation)
    reason = "acknowledges byte " + std::to_string(offset) + " of a client of whom " +
             std::to_string(received) + " have come";
  return ref;
}

bool StreamExtension::tryClaim(uint32_t index) {
  auto writer = LaneWriter::claim(*table_, index, self_, instance_);
  if (!writer) return false;
  auto before = book_->find(index);
  if (before != book_->end() && before->second != this) before->second->forget(index);
  (*book_)[index] = this;
  held_.push_back({*writer});
  return true;
}

void StreamExtension::forget(uint32_t index) {
  std::erase_if(held_, [index](const Held& held) { return held.writer.index() == index; });
}

Millis StreamExtension::tick(Millis now, bool canAttach) {
  if (!accepted_ || (capabilities_ & kResume) == 0) return 0;
  const uint32_t own = laneIndex(upstream_, self_.row);
  if (lane(0) == nullptr) wantOwn(own, canAttach);
  for (size_t i = held_.size(); i-- > 0;) {
    LaneWriter writer = held_[i].writer;
    if (writer.index() == own || !LaneWriter::isWanted(*table_, writer.index())) continue;
    book_->erase(writer.index());
    forget(writer.index());
    writer.release(true);
  }
  if (canAttach && now >= scanAt_) {
    scanAt_ = now + kIdleMs;
    adoptOrphans(now);
  }
  bool busy = lane(0) == nullptr || hasNews();
  return busy ? kReportMs : kIdleMs;
}

void StreamExtension::wantOwn(uint32_t own, bool canAttach) {
  LaneRow& row = table_->lane(own);
  if (canAttach) {
    wants_ = !tryClaim(own);
    row.wanted.store(wants_ ? self_.incarnation : 0);
  } else if (std::exchange(wants_, false)) {
    row.wanted.store(0);  // it may go on with others
  }
}

// What other rows left unfinished with this instance of the upstream.
void StreamExtension::adoptOrphans(Millis now) {
  for (uint8_t row = 0; row < kMaxForwarders; ++row) {
    const uint32_t index = laneIndex(upstream_, row);
    if (row == self_.row || lane(number(index)) != nullptr) continue;
    if (isOrphan(index, now)) tryClaim(index);
  }
}

bool StreamExtension::isOrphan(uint32_t index, Millis now) {
  const LaneRow& row = table_->lane(index);
  if (row.instance.load() != instance_ || LaneWriter::isWanted(*table_, index) ||
      !LaneWriter::isFree(*table_, index)) {
    deadSince_.erase(index);
    return false;
  }
  if (uint64_t released = row.releasedMs.load(); released != 0)
    return static_cast<uint64_t>(now) - released >= static_cast<uint64_t>(kOrphanMs);
  return now - deadSince_.try_emplace(index, now).first->second >= kOrphanMs;
}

bool StreamExtension::hasNews() const {
  return std::any_of(held_.begin(), held_.end(),
                     [](const Held& held) { return !held.attached || held.told != held.writer.pushed(); });
}

std::vector<LanePosition> StreamExtension::news() {
  std::vector<LanePosition> positions;
  for (Held& held : held_) {
    uint64_t pushed = held.writer.pushed();
    if (held.attached && held.told == pushed) continue;
    positions.push_back({number(held.writer.index()), pushed, !held.attached, held.writer.claimNumber()});
    held.attached = true;
    held.told = pushed;
  }
  unreported_ = 0;
  return positions;
}

void StreamExtension::releaseAll(bool handedOver) {
  for (Held& held : held_) {
    book_->erase(held.writer.index());
    held.writer.release(handedOver);
  }
  held_.clear();
}

}  // namespace ppx
