// Streams as they come and go, and the two threads beside theirs.
#include "upstream/cpp/core.h"

#include <random>
#include <utility>

#include "upstream/cpp/core_parts.h"

namespace paradox::upstream {
namespace {

constexpr milliseconds kExpireEvery{1000};
constexpr std::size_t kMostGivenUp = 100'000;

std::string randomId() {
  std::random_device random;
  std::string text;
  for (int i = 0; i < 32; ++i) text += "0123456789abcdef"[random() % 16];
  return text;
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

void Core::addTask(Task task) {
  tasks_.push_back(std::move(task));
  if (tasks_.size() == 1) tasksCome_.notify_one();
}

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
  // Whom it was the last to announce may have been gone by then: this may have been read behind its row's next stream.
  if (const StreamPtr heir = heirOf(*stream))
    askAfterClients(heir, [&](const Session& session) {
      return session.home == stream->own && session.announcedOn == stream->id;
    });
  unlockAndKick(lock);
}

// The stream that has the lane of one that is over, or is about to get it. Null: whoever gets it asks by itself.
StreamPtr Core::heirOf(const Stream& over) const {
  if (over.own == nullptr || over.own->stream) return over.own ? over.own->stream : nullptr;
  for (const StreamPtr& stream : streams_)
    if (stream->own == over.own) return stream;
  return nullptr;
}

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
    if (stream->helloComes || stream->mode != Stream::Mode::kFresh || at - stream->openedAt < kExpireEvery)
      continue;
    takeHello(stream, Input());
  }
  std::erase_if(lanes_, [&](const auto& each) {
    const LanePtr& lane = each.second;
    if (lane->stream || at - lane->orphanedAt < options_.orphanTimeout) return false;
    lane->dead = true;
    return true;
  });
  std::vector<std::string> silent, orphans;
  for (const auto& [client, session] : sessions_) {
    if (session.plain && at - session.heardAt >= options_.plainIdleTimeout)
      silent.push_back(client);
    else if (!session.plain && session.home && session.home->dead)
      orphans.push_back(client);
  }
  for (const std::string& client : silent) endSession(client, "silent for too long");
  for (const std::string& client : orphans) giveUp(client);
}

void Core::giveUp(const std::string& client) {
  endSession(client, "the gateway is gone");
  if (givenUp_.insert(client).second) givenUpInOrder_.push_back(client);
  while (givenUpInOrder_.size() > kMostGivenUp) {
    givenUp_.erase(givenUpInOrder_.front());
    givenUpInOrder_.pop_front();
  }
}

}  // namespace paradox::upstream
