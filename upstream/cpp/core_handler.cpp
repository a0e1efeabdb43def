// The handler's calls, and what they send.
#include <algorithm>
#include <utility>

#include "upstream/cpp/core.h"
#include "upstream/cpp/core_parts.h"

namespace paradox::upstream {
namespace {

constexpr std::size_t kDraftBytes = 1 << 20;  // of one call of a handler, before they are sent while it runs

wire::OutputStreamRequest::Broadcast broadcastOf(To to) {
  return to == To::kAll      ? wire::OutputStreamRequest::BROADCAST_ALL
         : to == To::kActive ? wire::OutputStreamRequest::BROADCAST_ACTIVE
                             : wire::OutputStreamRequest::BROADCAST_NOT_ACTIVE;
}

}  // namespace

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
      noteGiven(task);
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

}  // namespace paradox::upstream
