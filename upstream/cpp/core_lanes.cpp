// Replies in their lanes: over which each goes, what is written, and what the gateway has of them.
#include <algorithm>
#include <utility>

#include "upstream/cpp/core.h"
#include "upstream/cpp/core_parts.h"

namespace paradox::upstream {
namespace {

constexpr std::size_t kOverhead = 256;  // counted for each reply beside its bytes

}  // namespace

std::shared_ptr<const Output> Core::next(const StreamPtr& stream, bool& finished) {
  Lock lock(mutex_);
  finished = false;
  const Lane* own = stream->own.get();
  if (!stream->control.empty()) {
    const Stream::Control& first = stream->control.front();
    if (own == nullptr || own->number == 0 || first.after <= own->acknowledged + own->written + 1) {
      auto message = first.message;
      stream->control.pop_front();
      return message;
    }
  }
  for (const LanePtr& lane : stream->lanes) {
    if (lane->written >= lane->entries.size() || lane->acknowledged + lane->written + 1 >= lane->limit)
      continue;
    auto message = lane->entries[lane->written].message;
    if (lane->number != 0) {
      ++lane->written;
    } else {
      // Nobody acknowledges it.
      ++lane->written;
      trim(*lane, lane->acknowledged + 1);
    }
    return message;
  }
  finished = stream->inputEnded;
  return nullptr;
}

// It goes over its own stream, which the gateway has not half-closed.
bool Core::flows(const Lane& lane) {
  return lane.stream && lane.stream->own.get() == &lane && lane.limit == UINT64_MAX;
}

// What comes after the end of the gateway's side waits in a numbered lane for its next stream; a plain lane has none.
bool Core::mayTake(const Lane& lane) {
  return !lane.dead && (lane.number != 0 || lane.limit == UINT64_MAX);
}

LanePtr Core::anyLane() {
  for (const StreamPtr& stream : streams_)
    if (stream->own && flows(*stream->own)) return stream->own;
  for (const StreamPtr& stream : streams_)
    if (stream->own && mayTake(*stream->own)) return stream->own;
  return nullptr;
}

// Replies to one client, and broadcasts, stay in one lane until all of them are acknowledged (plain: until its stream has
// ended): so they cannot overtake one another. Null: they wait.
LanePtr Core::laneFor(Session* session) {
  if (session == nullptr) {
    const LanePtr& last = broadcastLane_;
    if (last && !last->dead) {
      if (flows(*last) || (last->number != 0 && broadcastNumber_ > last->acknowledged)) return last;
      if (!mayTake(*last)) return nullptr;
    }
    return anyLane();
  }
  if (session->last && session->last->number != 0 && !session->last->dead &&
      session->lastNumber > session->last->acknowledged)
    return session->last;
  if (session->home && !session->home->dead) return mayTake(*session->home) ? session->home : nullptr;
  LanePtr lane = anyLane();
  if (lane && lane->number == 0) session->home = lane;
  return lane;
}

// `assignment`: of the input that this answers; 0: it answers none, or nobody counts them. False: nobody is to have it.
bool Core::put(Lock& lock, const std::string* client, Draft draft, uint64_t acknowledged,
               uint32_t assignment) {
  const auto deadline = Clock::now() + options_.orphanTimeout;
  for (;;) {
    auto found = client == nullptr ? sessions_.end() : sessions_.find(*client);
    Session* session = found == sessions_.end() ? nullptr : &found->second;
    if (assignment != 0 && (session == nullptr || session->assignment != assignment)) return false;
    LanePtr lane = laneFor(session);
    if (stopping_ || (lane == nullptr && Clock::now() >= deadline)) return false;
    if (lane == nullptr || lane->bytes >= options_.replayBytes) {
      ++blocked_;
      for (const StreamPtr& stream : streams_)
        if (std::exchange(stream->held, false)) readers_.insert(stream);
      unlockAndKick(lock);
      lock.lock();
      roomComes_.wait_for(lock, kMarkEvery);
      --blocked_;
      continue;
    }
    if (draft.message.close() != wire::CLOSE_NONE && lane->number == 0 &&
        (lane->stream == nullptr || lane->stream->mode != Stream::Mode::kExtended))
      return false;
    draft.message.set_time(timeText());
    if (session != nullptr) session->heardAt = Clock::now();
    if (client == nullptr) {
      broadcastLane_ = lane;
      broadcastNumber_ = lane->next;
    }
    if (lane->number != 0) {
      draft.message.set_lane(lane->number);
      draft.message.set_sequence(lane->next);
      if (session != nullptr) {
        session->last = lane;
        session->lastNumber = lane->next;
        if (acknowledged > session->told) {
          draft.message.set_acknowledged(acknowledged);
          if (session->assignment != 0) draft.message.set_assignment(session->assignment);
          session->told = acknowledged;
          if (session->handled <= acknowledged) marksDue_.erase(*client);
        }
      }
    }
    ++lane->next;
    lane->bytes += draft.bytes + kOverhead;
    lane->entries.push_back({std::make_shared<Output>(std::move(draft.message)), draft.bytes + kOverhead});
    if (lane->stream) kickLater(lane->stream);
    return true;
  }
}

bool Core::isFull(const std::string& client) {
  Lock lock(mutex_);
  auto found = sessions_.find(client);
  LanePtr lane = laneFor(found == sessions_.end() ? nullptr : &found->second);
  if (lane != nullptr && lane->bytes < options_.replayBytes) return false;
  askedForRoom_ = true;
  return true;
}

void Core::trim(Lane& lane, uint64_t acknowledged) {
  while (!lane.entries.empty() && lane.acknowledged < acknowledged) {
    lane.bytes -= lane.entries.front().bytes;
    lane.entries.pop_front();
    ++lane.acknowledged;
    if (lane.written > 0) --lane.written;
  }
  if (lane.bytes <= options_.replayBytes / 2) roomCame();
}

void Core::roomCame() {
  roomComes_.notify_all();
  if (askedForRoom_.exchange(false)) addTask({.kind = Task::Kind::kRoom});
}

void Core::attach(const LanePtr& lane, const StreamPtr& stream) {
  detach(lane);
  lane->stream = stream;
  lane->written = 0;
  lane->limit = UINT64_MAX;
  stream->lanes.push_back(lane);
  kickLater(stream);
  roomCame();
  // What was dealt with while it had no stream is told now.
  for (const auto& [client, session] : sessions_)
    if (session.home == lane && session.handled > session.told) marksDue_.insert(client);
  ticks_.notify_one();
}

void Core::detach(const LanePtr& lane) {
  if (lane->stream) std::erase(lane->stream->lanes, lane);
  lane->stream.reset();
  lane->orphanedAt = Clock::now();
}

}  // namespace paradox::upstream
