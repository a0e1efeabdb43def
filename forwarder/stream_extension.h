// The extensions on one stream: its hello, its lanes and how far the upstream has been told they are. The
// completion thread.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "common/clock.h"
#include "forwarder/lane_writer.h"
#include "forwarder/upstream_wire.h"

namespace ppx {

class StreamExtension;

// Which stream of this process has which lane: a new stream takes the lane of one that is not over yet.
using LaneBook = std::map<uint32_t, StreamExtension*>;

class StreamExtension {
 public:
  StreamExtension(const Table& table, const WorkerId& self, const Uuid& gateway, const StreamTarget& target,
                  LaneBook& book);
  ~StreamExtension();

  GatewayHello hello() const;
  // The upstream's. Empty: accepted; else why the stream has to end.
  std::string accept(const Reply& reply);
  bool accepted() const { return accepted_; }
  uint8_t capabilities() const { return capabilities_; }
  uint64_t instance() const { return instance_; }

  // The lane of that number, 0 being the stream's own; null: not over this stream, or not any more.
  LaneWriter* lane(uint64_t number);
  // The session that a mark or a reply names; none: not one of ours. `reason`, if set: the offset is none that can be
  // acknowledged, and the stream has to end for it.
  std::optional<SlotRef> markedSession(const std::optional<Uuid>& client, uint64_t offset,
                                       std::string& reason) const;

  // Takes lanes that nobody has, and gives back those that their row wants again. When to call it again. `canAttach`: the
  // stream is not half-closed, so that the upstream can be told of a lane that is taken; else none is.
  Millis tick(Millis now, bool canAttach);
  // What the upstream is to be told: positions that changed.
  std::vector<LanePosition> news();
  bool hasNews() const;
  void countPushed(size_t bytes) { unreported_ += bytes; }
  bool isNewsUrgent() const { return unreported_ >= kReportBytes; }
  // The stream is over. `handedOver`: another forwarder is to go on with the lanes.
  void releaseAll(bool handedOver);

 private:
  struct Held {
    LaneWriter writer;
    uint64_t told = 0;
    bool attached = false;  // the upstream has been told to send it here
  };
  static constexpr size_t kReportBytes = 64 << 10;

  bool tryClaim(uint32_t index);
  void wantOwn(uint32_t own, bool canAttach);
  void adoptOrphans(Millis now);
  bool isOrphan(uint32_t index, Millis now);
  void forget(uint32_t index);
  uint64_t number(uint32_t index) const { return laneNumber(index, generation_); }

  const Table* table_;
  WorkerId self_;
  Uuid gateway_;
  uint32_t upstream_, generation_;
  LaneBook* book_;
  bool accepted_ = false;
  bool wants_ = false;  // its own lane, which another process still has
  uint8_t offered_, capabilities_ = 0;
  uint64_t instance_ = 0;
  std::vector<Held> held_;
  std::map<uint32_t, Millis> deadSince_;  // lanes whose owner was seen dead
  Millis scanAt_ = 0;
  size_t unreported_ = 0;
};

}  // namespace ppx
