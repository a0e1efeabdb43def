// Marks: how far input is dealt with, where no reply says so, and the question after clients.
#include <algorithm>
#include <utility>

#include "upstream/cpp/core.h"
#include "upstream/cpp/core_parts.h"

namespace paradox::upstream {
namespace {

constexpr uint64_t kMarkBytes = 64 << 10;
constexpr int kMarksAMessage = 256;

}  // namespace

// The gateway answers a mark of a client that it does not know with its closing, and others not at all.
void Core::askAfterClients(const StreamPtr& stream, const std::function<bool(const Session&)>& wanted) {
  std::shared_ptr<Output> question;
  auto send = [&] {
    if (!question) return;
    question->set_time(timeText());
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

void Core::handled(const std::string& client, std::size_t bytes) {
  Lock lock(mutex_);
  auto found = sessions_.find(client);
  if (found != sessions_.end()) noteHandled(client, found->second, bytes);
  unlockAndKick(lock);
}

void Core::noteGiven(const Task& bytes) {
  Lock lock(mutex_);
  auto found = sessions_.find(bytes.client);
  if (found != sessions_.end() && found->second.assignment == bytes.assignment)
    found->second.given = bytes.offset + bytes.text.size();
}

// What the handler has not been given it cannot have dealt with: those are bytes of an earlier assignment.
void Core::noteHandled(const std::string& client, Session& session, std::size_t bytes) {
  session.handled = std::max(session.handled, std::min(session.handled + bytes, session.given));
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

// To the gateway: what is dealt with. `only`: of the clients of that stream; null: of all.
void Core::sendMarks(const StreamPtr& only) {
  std::map<StreamPtr, std::shared_ptr<Output>> messages;
  auto flush = [this](const StreamPtr& stream, std::shared_ptr<Output>& message) {
    if (!message) return;
    message->set_time(timeText());
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
    at = marksDue_.erase(at);  // one whose lane has no stream is told when it has one again
  }
  for (auto& [stream, message] : messages) flush(stream, message);
}

}  // namespace paradox::upstream
