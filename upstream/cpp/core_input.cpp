// What streams bring: the hello, where lanes stand, what becomes of sessions, and their bytes, each once.
#include <algorithm>
#include <utility>

#include "upstream/cpp/core.h"
#include "upstream/cpp/core_parts.h"

namespace paradox::upstream {
namespace {

constexpr uint32_t kVersion = 1;

}  // namespace

std::optional<std::string> Core::takeHello(const StreamPtr& stream, const Input& message) {
  if (!message.has_hello()) {
    stream->mode = Stream::Mode::kPlain;
    stream->own = std::make_shared<Lane>();
  } else {
    const wire::Hello& hello = message.hello();
    if (hello.version() != kVersion)
      return "version " + std::to_string(hello.version()) + " of the extensions is not spoken here";
    stream->mode = Stream::Mode::kExtended;
    stream->gateway = hello.instance_id();
    auto reply = std::make_shared<Output>();
    reply->set_time(timeText());
    wire::Hello& mine = *reply->mutable_hello();
    mine.set_version(kVersion);
    mine.set_instance_id(instance_);
    for (const std::string& name : hello.capabilities()) {
      if (name != "events" && name != "close" && name != "resume") continue;
      stream->events = stream->events || name == "events";
      stream->resume = stream->resume || (name == "resume" && hello.lane() != 0);
      mine.add_capabilities(name);
    }
    stream->control.push_back({reply, 0});
    kickLater(stream);
    if (stream->resume) {
      // It goes over this stream once the gateway has said where it stands.
      LanePtr& lane = lanes_[{stream->gateway, hello.lane()}];
      if (!lane) {
        lane = std::make_shared<Lane>();
        lane->orphanedAt = Clock::now();
      }
      lane->number = hello.lane();
      stream->own = lane;
      return std::nullopt;
    }
    stream->own = std::make_shared<Lane>();
  }
  stream->own->stream = stream;
  stream->lanes.push_back(stream->own);
  roomCame();
  return std::nullopt;
}

void Core::takeEvent(const StreamPtr& stream, Input& message) {
  const std::string& client = message.client_uuid();
  auto found = sessions_.find(client);
  switch (message.event().kind()) {
    case wire::SessionEvent::KIND_OPENED:
      return takeOpened(stream, message);
    case wire::SessionEvent::KIND_END:
      if (found == sessions_.end() || found->second.ended) return;
      found->second.ended = true;
      return addTask({.kind = Task::Kind::kEnd, .client = client});
    case wire::SessionEvent::KIND_CLOSED:
      return endSession(client, message.event().reason());
    case wire::SessionEvent::KIND_MOVED:
      // What came before is still this upstream's to answer.
      if (found != sessions_.end())
        addTask({.kind = Task::Kind::kMoved, .client = client, .assignment = found->second.assignment});
      return;
    case wire::SessionEvent::KIND_LISTED:
      return takeListed(stream);
    default:
      return;
  }
}

void Core::takeOpened(const StreamPtr& stream, const Input& message) {
  const wire::SessionEvent& event = message.event();
  auto before = sessions_.find(message.client_uuid());
  // Out of date: from a forwarder that is dead, whose stream was read behind that of whoever has the session now.
  if (before != sessions_.end() && event.announcement() != 0 &&
      event.announcement() < before->second.announcement)
    return;
  // Another instance has had it meanwhile: what was taken of it before is that one's to answer, or was.
  if (before != sessions_.end() && before->second.assignment != 0 && event.assignment() != 0 &&
      before->second.assignment != event.assignment())
    endSession(message.client_uuid(), "moved");
  auto [found, isNew] = sessions_.try_emplace(message.client_uuid());
  Session& session = found->second;
  session.home = stream->own;
  session.announcedOn = stream->id;
  session.announcement = event.announcement();
  session.assignment = event.assignment();
  session.plain = false;
  session.heardAt = Clock::now();
  if (isNew) {
    session.received = session.handled = session.told = event.offset();
    const bool continued = event.continued() || givenUp_.erase(found->first) > 0;
    return addTask({.kind = Task::Kind::kOpened,
                    .client = found->first,
                    .opened = {event.peer(), event.listener(), continued, event.offset()}});
  }
  // Said once more, over a new stream. What we have of its input and the gateway does not know of is told again.
  session.told = std::min(session.told, event.offset());
  if (session.handled > session.told) {
    marksDue_.insert(found->first);
    ticks_.notify_one();
  }
}

// Whom the gateway did not announce on a stream's start is not there any more, or another forwarder has it and its word
// has not come yet.
void Core::takeListed(const StreamPtr& stream) {
  askAfterClients(stream, [&](const Session& session) {
    return session.home == stream->own && session.announcedOn != stream->id;
  });
}

void Core::endSession(const std::string& client, const std::string& reason) {
  auto found = sessions_.find(client);
  if (found == sessions_.end()) return;
  Task task;  // member by member: GCC 12 at -O3 warns of the designated form
  task.kind = Task::Kind::kClosed;
  task.client = client;
  task.text = reason;
  sessions_.erase(found);
  marksDue_.erase(task.client);
  addTask(std::move(task));
}

void Core::takePositions(const StreamPtr& stream, const Input& message) {
  for (const wire::LanePosition& position : message.lanes()) {
    LanePtr& lane = lanes_[{stream->gateway, position.lane()}];
    if (!lane) {
      lane = std::make_shared<Lane>();
      lane->number = position.lane();
      lane->orphanedAt = Clock::now();
    }
    if (lane->next <= position.sequence() && lane->entries.empty()) {
      // It has come further than we remember: a lane that we gave up.
      lane->acknowledged = position.sequence();
      lane->next = position.sequence() + 1;
    }
    trim(*lane, position.sequence());
    // Streams are read in no order among one another: an attachment that is out of date may come last.
    if (!position.attach() || (position.claim() != 0 && position.claim() < lane->claim)) continue;
    lane->claim = position.claim();
    attach(lane, stream);
    // From a forwarder that is gone: an end that only that one knew of was told to nobody.
    if (lane != stream->own)
      askAfterClients(stream, [&](const Session& session) { return session.home == lane; });
  }
}

void Core::takePayload(const StreamPtr& stream, Input& message) {
  const bool numbered = stream->resume && message.has_offset();
  // Such a client has been announced before, and is gone: what is read of it now was sent by a forwarder that is dead.
  if (numbered && !sessions_.contains(message.client_uuid())) return;
  auto [found, isNew] = sessions_.try_emplace(message.client_uuid());
  Session& session = found->second;
  session.heardAt = Clock::now();
  if (isNew) {
    session.plain = true;
    addTask({.kind = Task::Kind::kOpened, .client = found->first});
  }
  if (!numbered) session.home = stream->own;
  std::string bytes = std::move(*message.mutable_payload());
  if (numbered) {
    const uint64_t offset = message.offset(), end = offset + bytes.size();
    if (end <= session.received) {  // a repetition
      session.told = std::min(session.told, offset);
      if (session.handled > session.told) marksDue_.insert(found->first);
      ticks_.notify_one();
      return;
    }
    if (offset < session.received) bytes.erase(0, session.received - offset);
    if (offset > session.received) {
      // Another upstream had it meanwhile.
      session.handled += offset - session.received;
      session.received = offset;
    }
  }
  stream->waiting += numbered ? 0 : bytes.size();
  const uint64_t offset = session.received;
  session.received += bytes.size();
  addTask({.kind = Task::Kind::kBytes,
           .client = found->first,
           .text = std::move(bytes),
           .offset = offset,
           .assignment = session.assignment,
           .stream = numbered ? nullptr : stream});
}

}  // namespace paradox::upstream
