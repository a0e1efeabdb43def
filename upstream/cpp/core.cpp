#include "upstream/cpp/core.h"

#include <algorithm>
#include <ctime>
#include <random>
#include <utility>

namespace paradox::upstream {
namespace {

namespace wire = ::upstream::grpc::service;
using std::chrono::milliseconds;

constexpr uint32_t kVersion = 1;
constexpr milliseconds kMarkEvery{50};
constexpr uint64_t kMarkBytes = 64 << 10;
constexpr int kMarksAMessage = 256;
constexpr std::size_t kOverhead = 256;        // counted for each reply beside its bytes
constexpr std::size_t kDraftBytes = 1 << 20;  // of one call of a handler, before they are sent while it runs
constexpr milliseconds kExpireEvery{1000};

std::string randomId() {
  std::random_device random;
  std::string text;
  for (int i = 0; i < 32; ++i) text += "0123456789abcdef"[random() % 16];
  return text;
}

std::string now() {
  std::timespec at{};
  ::clock_gettime(CLOCK_REALTIME_COARSE, &at);
  std::tm parts{};
  ::gmtime_r(&at.tv_sec, &parts);
  char text[40];
  std::size_t size = std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &parts);
  std::snprintf(text + size, sizeof(text) - size, ".%03ldZ", at.tv_nsec / 1'000'000);
  return text;
}

wire::OutputStreamRequest::Broadcast broadcastOf(To to) {
  return to == To::kAll      ? wire::OutputStreamRequest::BROADCAST_ALL
         : to == To::kActive ? wire::OutputStreamRequest::BROADCAST_ACTIVE
                             : wire::OutputStreamRequest::BROADCAST_NOT_ACTIVE;
}

}  // namespace

Core::Core(Handler& handler, Options options)
    : handler_(handler), options_(options), instance_(randomId()), expireAt_(Clock::now() + kExpireEvery) {}

void Core::start() {
  handlerThread_ = std::thread([this] { runHandler(); });
  tickerThread_ = std::thread([this] { runTicker(); });
}

void Core::stop() {
  {
    Lock lock(mutex_);
    stopping_ = true;
  }
  tasksCome_.notify_all();
  roomComes_.notify_all();
  ticks_.notify_all();
  handlerThread_.join();
  tickerThread_.join();
}

// Who has something to write, or may read again, is told without the mutex.
void Core::unlockAndKick(Lock& lock) {
  std::set<StreamPtr> writers = std::exchange(kicks_, {}), readers = std::exchange(readers_, {});
  lock.unlock();
  for (const StreamPtr& stream : writers) stream->kick();
  for (const StreamPtr& stream : readers) stream->readOn();
}

// --- what streams bring ---

void Core::opened(const StreamPtr& stream) {
  Lock lock(mutex_);
  stream->id = nextStream_++;
  stream->openedAt = Clock::now();
  streams_.insert(stream);
}

std::optional<std::string> Core::take(const StreamPtr& stream, Input& message) {
  Lock lock(mutex_);
  std::optional<std::string> error;
  const bool fresh = stream->mode == Stream::Mode::kFresh;
  if (message.has_hello() || fresh) {
    if (!fresh)
      error = "a second hello";
    else
      error = takeHello(stream, message);
  }
  if (!error && !message.has_hello()) {
    if (message.lanes_size() > 0) takePositions(stream, message);
    if (message.has_event())
      takeEvent(stream, message);
    else if (!message.client_uuid().empty() && !message.payload().empty())
      takePayload(stream, message);
  }
  unlockAndKick(lock);
  return error;
}

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
    reply->set_time(now());
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
  // Another instance has had it meanwhile: what was taken of it before is that one's to answer, or was.
  auto before = sessions_.find(message.client_uuid());
  if (before != sessions_.end() && before->second.assignment != 0 && event.assignment() != 0 &&
      before->second.assignment != event.assignment())
    endSession(message.client_uuid(), "moved");
  auto [found, isNew] = sessions_.try_emplace(message.client_uuid());
  Session& session = found->second;
  session.home = stream->own;
  session.announcedOn = stream->id;
  session.assignment = event.assignment();
  session.plain = false;
  session.heardAt = Clock::now();
  if (isNew) {
    session.received = session.handled = session.told = event.offset();
    return addTask({.kind = Task::Kind::kOpened,
                    .client = found->first,
                    .opened = {event.peer(), event.listener(), event.continued(), event.offset()}});
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

// The gateway answers a mark of a client that it does not know with its closing, and others not at all.
void Core::askAfterClients(const StreamPtr& stream, const std::function<bool(const Session&)>& wanted) {
  std::shared_ptr<Output> question;
  auto send = [&] {
    if (!question) return;
    question->set_time(now());
    stream->control.push_back({std::move(question), 0});
    question.reset();
    kickLater(stream);
  };
  for (const auto& [client, session] : sessions_) {
    if (session.plain || !wanted(session)) continue;
    if (!question) question = std::make_shared<Output>();
    wire::InputMark& mark = *question->add_marks();
    mark.set_client_uuid(client);
    mark.set_offset(session.told);
    if (session.assignment != 0) mark.set_assignment(session.assignment);
    if (question->marks_size() >= kMarksAMessage) send();
  }
  send();
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
    if (!position.attach()) continue;
    detach(lane);
    lane->stream = stream;
    lane->written = 0;
    lane->limit = UINT64_MAX;
    stream->lanes.push_back(lane);
    kickLater(stream);
    roomCame();
    // From a forwarder that is gone: an end that only that one knew of was told to nobody.
    if (lane != stream->own)
      askAfterClients(stream, [&](const Session& session) { return session.home == lane; });
  }
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

void Core::detach(const LanePtr& lane) {
  if (lane->stream) std::erase(lane->stream->lanes, lane);
  lane->stream.reset();
  lane->orphanedAt = Clock::now();
}

void Core::takePayload(const StreamPtr& stream, Input& message) {
  const bool numbered = stream->resume && message.has_offset();
  auto [found, isNew] = sessions_.try_emplace(message.client_uuid());
  Session& session = found->second;
  session.heardAt = Clock::now();
  if (isNew) {
    session.plain = true;
    if (numbered) session.received = session.handled = session.told = message.offset();
    addTask(
        {.kind = Task::Kind::kOpened, .client = found->first, .opened = {{}, {}, false, session.received}});
  }
  session.home = stream->own;
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

void Core::addTask(Task task) {
  tasks_.push_back(std::move(task));
  if (tasks_.size() == 1) tasksCome_.notify_one();
}

bool Core::mayRead(const StreamPtr& stream) {
  Lock lock(mutex_);
  stream->held = stream->waiting >= options_.inputBytes && blocked_ == 0;
  return !stream->held;
}

void Core::letIn(const StreamPtr& stream, std::size_t bytes) {
  stream->waiting -= std::min(stream->waiting, bytes);
  if (!stream->held || stream->waiting > options_.inputBytes / 2) return;
  stream->held = false;
  readers_.insert(stream);
}

// What came before this is handled first, so that its replies go before the stream ends.
void Core::inputEnded(const StreamPtr& stream) {
  Lock lock(mutex_);
  addTask({.kind = Task::Kind::kInputEnded, .stream = stream});
}

void Core::gone(const StreamPtr& stream) {
  Lock lock(mutex_);
  stream->gone = true;
  streams_.erase(stream);
  for (const LanePtr& lane : std::vector<LanePtr>(stream->lanes)) {
    detach(lane);
    if (lane->number == 0) lane->dead = true;
  }
  stream->control.clear();
  roomCame();
}

// --- what streams take ---

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

// --- what the worker sends ---

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
    draft.message.set_time(now());
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

bool Core::send(const std::string* client, std::optional<To> to, std::string_view bytes, CloseMode mode,
                bool closes) {
  Draft draft;
  draft.bytes = bytes.size();
  if (client != nullptr)
    draft.message.set_client_uuid(*client);
  else
    draft.message.set_broadcast(broadcastOf(*to));
  draft.message.set_payload(bytes.data(), bytes.size());
  if (closes) draft.message.set_close(mode == CloseMode::kNow ? wire::CLOSE_NOW : wire::CLOSE_FLUSH);
  if (std::this_thread::get_id() == handlerId_.load() && inHandler_) {
    drafts_.emplace_back(client == nullptr ? std::string() : *client, std::move(draft));
    draftBytes_ += bytes.size();
    if (draftBytes_ >= kDraftBytes) finishCall(nullptr, false);
    return true;
  }
  Lock lock(mutex_);
  const bool taken = put(lock, client, std::move(draft), 0, 0);
  unlockAndKick(lock);
  return taken;
}

void Core::handled(const std::string& client, std::size_t bytes) {
  Lock lock(mutex_);
  auto found = sessions_.find(client);
  if (found != sessions_.end()) noteHandled(client, found->second, bytes);
  unlockAndKick(lock);
}

void Core::noteHandled(const std::string& client, Session& session, std::size_t bytes) {
  session.handled = std::min(session.handled + bytes, session.received);
  const StreamPtr stream = session.home ? session.home->stream : nullptr;
  if (stream && !stream->resume)
    letIn(stream, bytes);
  else
    markDue(client, session);
}

void Core::markDue(const std::string& client, const Session& session) {
  if (session.handled <= session.told) return;
  marksDue_.insert(client);
  const StreamPtr stream = session.home ? session.home->stream : nullptr;
  if (session.handled - session.told >= kMarkBytes && stream && stream->resume)
    sendMarks(stream);
  else if (marksDue_.size() == 1)
    ticks_.notify_one();
}

bool Core::isFull(const std::string& client) {
  Lock lock(mutex_);
  auto found = sessions_.find(client);
  LanePtr lane = laneFor(found == sessions_.end() ? nullptr : &found->second);
  if (lane != nullptr && lane->bytes < options_.replayBytes) return false;
  askedForRoom_ = true;
  return true;
}

// To the gateway: what is dealt with. `only`: of the clients of that stream; null: of all.
void Core::sendMarks(const StreamPtr& only) {
  std::map<StreamPtr, std::shared_ptr<Output>> messages;
  auto flush = [this](const StreamPtr& stream, std::shared_ptr<Output>& message) {
    if (!message) return;
    message->set_time(now());
    stream->control.push_back({message, stream->own->next});
    kickLater(stream);
    message.reset();
  };
  for (auto at = marksDue_.begin(); at != marksDue_.end();) {
    auto found = sessions_.find(*at);
    const bool lives = found != sessions_.end() && found->second.home && found->second.home->stream &&
                       found->second.home->stream->resume;
    if (lives && only && found->second.home->stream != only) {
      ++at;
      continue;
    }
    if (lives) {
      Session& session = found->second;
      auto& message = messages[session.home->stream];
      if (!message) message = std::make_shared<Output>();
      wire::InputMark& mark = *message->add_marks();
      mark.set_client_uuid(*at);
      mark.set_offset(session.handled);
      if (session.assignment != 0) mark.set_assignment(session.assignment);
      session.told = session.handled;
      if (message->marks_size() >= kMarksAMessage) flush(session.home->stream, message);
    }
    at = marksDue_.erase(at);  // one without a stream is told when it is announced again
  }
  for (auto& [stream, message] : messages) flush(stream, message);
}

// --- the handler's thread ---

void Core::runHandler() {
  handlerId_ = std::this_thread::get_id();
  std::deque<Task> batch;
  for (;;) {
    {
      Lock lock(mutex_);
      tasksCome_.wait(lock, [this] { return stopping_ || !tasks_.empty(); });
      if (stopping_) return;
      batch.swap(tasks_);
    }
    for (Task& task : batch) handle(task);
    batch.clear();
  }
}

void Core::handle(Task& task) {
  if (task.kind == Task::Kind::kInputEnded) {
    Lock lock(mutex_);
    sendMarks(task.stream);
    for (const LanePtr& lane : task.stream->lanes) lane->limit = lane->next;
    task.stream->inputEnded = true;
    kickLater(task.stream);
    return unlockAndKick(lock);
  }
  if (task.kind == Task::Kind::kMoved) {
    Lock lock(mutex_);
    auto found = sessions_.find(task.client);
    if (found != sessions_.end() && found->second.assignment == task.assignment)
      endSession(task.client, "moved");
    return unlockAndKick(lock);
  }
  const bool ofClient = task.kind != Task::Kind::kRoom;
  current_ = ofClient ? &task.client : nullptr;
  currentAssignment_ = task.assignment;
  inHandler_ = true;
  bool done = true;
  switch (task.kind) {
    case Task::Kind::kOpened:
      handler_.onOpened(task.client, task.opened);
      break;
    case Task::Kind::kBytes:
      done = handler_.onBytes(task.client, task.text, task.offset);
      break;
    case Task::Kind::kEnd:
      handler_.onEnd(task.client);
      break;
    case Task::Kind::kClosed:
      handler_.onClosed(task.client, task.text);
      break;
    default:
      handler_.onRoom();
  }
  inHandler_ = false;
  finishCall(task.kind == Task::Kind::kBytes ? &task : nullptr, done);
  current_ = nullptr;
}

// What the call sent goes out; the last of it to the client itself says that its bytes are dealt with, so that both
// happen or neither.
void Core::finishCall(const Task* bytes, bool done) {
  const bool dealtWith = bytes != nullptr && done;
  if (drafts_.empty() && !dealtWith) return;
  auto drafts = std::exchange(drafts_, {});
  draftBytes_ = 0;
  std::size_t last = drafts.size();
  if (dealtWith)
    for (std::size_t i = 0; i < drafts.size(); ++i)
      if (drafts[i].first == bytes->client && !drafts[i].second.message.payload().empty()) last = i;
  Lock lock(mutex_);
  for (std::size_t i = 0; i < drafts.size(); ++i) {
    auto& [client, draft] = drafts[i];
    // A broadcast goes where the replies to the client go that is being dealt with: it sees both in order.
    const std::string* target = client.empty() ? current_ : &client;
    const bool isAnswer = current_ != nullptr && client == *current_;
    put(lock, target, std::move(draft), i == last ? bytes->offset + bytes->text.size() : 0,
        isAnswer ? currentAssignment_ : 0);
  }
  if (dealtWith) {
    auto found = sessions_.find(bytes->client);
    if (found != sessions_.end() && found->second.assignment == bytes->assignment) {
      Session& session = found->second;
      session.handled = std::min(session.handled + bytes->text.size(), session.received);
      if (!bytes->stream) markDue(bytes->client, session);
    }
    if (bytes->stream) letIn(bytes->stream, bytes->text.size());
  }
  unlockAndKick(lock);
}

// --- the ticker's thread ---

void Core::runTicker() {
  Lock lock(mutex_);
  while (!stopping_) {
    ticks_.wait_for(lock, kExpireEvery, [this] { return stopping_ || !marksDue_.empty(); });
    if (stopping_) return;
    if (!marksDue_.empty()) {
      // Others join meanwhile.
      lock.unlock();
      std::this_thread::sleep_for(kMarkEvery);
      lock.lock();
      sendMarks(nullptr);
    }
    if (Clock::now() >= expireAt_) expire();
    unlockAndKick(lock);
    lock.lock();
  }
}

void Core::expire() {
  const auto at = Clock::now();
  expireAt_ = at + kExpireEvery;
  // A hello would have come at once: it may be needed for replies before its first payload.
  for (const StreamPtr& stream : streams_) {
    if (stream->mode != Stream::Mode::kFresh || at - stream->openedAt < kExpireEvery) continue;
    takeHello(stream, Input());
  }
  std::erase_if(lanes_, [&](const auto& each) {
    const LanePtr& lane = each.second;
    if (lane->stream || at - lane->orphanedAt < options_.orphanTimeout) return false;
    lane->dead = true;
    return true;
  });
  std::vector<std::pair<std::string, std::string>> over;
  for (const auto& [client, session] : sessions_) {
    if (session.plain && at - session.heardAt >= options_.plainIdleTimeout)
      over.emplace_back(client, "silent for too long");
    else if (!session.plain && session.home && session.home->dead)
      over.emplace_back(client, "the gateway is gone");
  }
  for (const auto& [client, reason] : over) endSession(client, reason);
}

}  // namespace paradox::upstream
