// What an upstream remembers: sessions with their marks, lanes with the replies that the gateway has not
// acknowledged, and what waits for the handler. Knows no gRPC but its messages.
//
//   stream's thread                   handler's thread              ticker's thread
//   take() --> tasks ---------------> handler --> lanes             marks, each 50 ms
//     positions, marks at once          |
//   next() <-- lanes, control <---------'
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "upstream.pb.h"
#include "upstream/cpp/upstream.h"

namespace paradox::upstream {

using Input = ::upstream::grpc::service::InputStreamRequest;
using Output = ::upstream::grpc::service::OutputStreamRequest;
using Clock = std::chrono::steady_clock;

struct Lane;

// One stream as the core sees it; all but the two functions under the core's mutex.
struct Stream {
  // Called without the mutex, from any thread: there may be something to write, or to read again.
  std::function<void()> kick;
  std::function<void()> readOn;

  bool helloComes = false;  // its metadata say so
  uint64_t id = 0;          // never reused
  Clock::time_point openedAt;
  enum class Mode { kFresh, kPlain, kExtended };
  Mode mode = Mode::kFresh;
  std::string gateway;
  bool events = false, resume = false;
  std::shared_ptr<Lane> own;
  std::vector<std::shared_ptr<Lane>> lanes;  // that go over it
  struct Control {
    std::shared_ptr<const Output> message;
    uint64_t after = 0;  // not before the replies of `own` below this number
  };
  std::deque<Control> control;
  std::size_t waiting = 0;  // bytes of tasks
  bool held = false;        // not read for the sake of `waiting`
  bool inputEnded = false;  // the gateway has ended its side, and all of it was handled
  bool gone = false;
};
using StreamPtr = std::shared_ptr<Stream>;

struct Reply {
  std::shared_ptr<const Output> message;
  std::size_t bytes = 0;
};

// Replies in the order of their numbers. Entries go when the gateway has acknowledged them (a plain lane: when they
// are written).
struct Lane {
  uint64_t number = 0;  // 0: plain
  std::deque<Reply> entries;
  uint64_t acknowledged = 0;  // entries.front() has the next number
  uint64_t next = 1;
  std::size_t written = 0;  // of entries, over the present stream
  std::size_t bytes = 0;
  uint64_t limit = UINT64_MAX;  // the stream ends before this number
  StreamPtr stream;             // that it goes over now
  uint64_t claim = 0;           // the gateway's number of that attachment
  Clock::time_point orphanedAt;
  bool dead = false;
};
using LanePtr = std::shared_ptr<Lane>;

class Core : public std::enable_shared_from_this<Core> {
 public:
  Core(Handler& handler, Options options);
  void start();
  void stop();

  // For streams. `take`: an error ends the stream with that text. False from `mayRead`: readOn() will be called.
  void opened(const StreamPtr& stream);
  std::optional<std::string> take(const StreamPtr& stream, Input& message);
  bool mayRead(const StreamPtr& stream);
  void inputEnded(const StreamPtr& stream);
  void gone(const StreamPtr& stream);
  // The next message to write; null: none now. `finished`: and none will come, the stream may end.
  std::shared_ptr<const Output> next(const StreamPtr& stream, bool& finished);

  bool send(const std::string* client, std::optional<To> to, std::string_view bytes, CloseMode mode,
            bool closes);
  void handled(const std::string& client, std::size_t bytes);
  bool isFull(const std::string& client);

 private:
  struct Session {
    LanePtr home;  // of the stream that it was last heard of
    LanePtr last;  // of its last reply
    uint64_t lastNumber = 0;
    uint64_t received = 0;      // offset up to which its input was taken
    uint64_t given = 0;         // ... and given to the handler
    uint64_t handled = 0;       // ... and dealt with
    uint64_t told = 0;          // ... and the gateway told so
    uint64_t announcedOn = 0;   // Stream::id; 0: never announced
    uint64_t announcement = 0;  // the gateway's number of the last OPENED
    uint32_t assignment = 0;    // that `received` and `handled` are of; 0: none
    bool ended = false;
    bool plain = false;  // nobody will tell of its end
    Clock::time_point heardAt;
  };
  struct Task {
    enum class Kind { kOpened, kBytes, kEnd, kMoved, kClosed, kInputEnded, kRoom } kind = Kind::kBytes;
    std::string client = {};
    Opened opened = {};
    std::string text = {};  // bytes, or the reason
    uint64_t offset = 0;
    uint32_t assignment = 0;  // of the session then
    StreamPtr stream = {};    // kInputEnded; kBytes: that the bytes count for, if they have no offset
  };
  struct Draft {  // a reply that a handler's call made
    Output message;
    std::size_t bytes = 0;
  };
  using Lock = std::unique_lock<std::mutex>;

  std::optional<std::string> takeHello(const StreamPtr& stream, const Input& message);
  void takeEvent(const StreamPtr& stream, Input& message);
  void takeOpened(const StreamPtr& stream, const Input& message);
  void takePositions(const StreamPtr& stream, const Input& message);
  void takePayload(const StreamPtr& stream, Input& message);
  void takeListed(const StreamPtr& stream);
  void endSession(const std::string& client, const std::string& reason);
  void giveUp(const std::string& client);
  StreamPtr heirOf(const Stream& over) const;
  void addTask(Task task);
  LanePtr laneFor(Session* session);
  LanePtr anyLane();
  static bool flows(const Lane& lane);
  static bool mayTake(const Lane& lane);
  bool put(Lock& lock, const std::string* client, Draft draft, uint64_t acknowledged, uint32_t assignment);
  void trim(Lane& lane, uint64_t acknowledged);
  void roomCame();
  void askAfterClients(const StreamPtr& stream, const std::function<bool(const Session&)>& wanted);
  void detach(const LanePtr& lane);
  void attach(const LanePtr& lane, const StreamPtr& stream);
  void noteGiven(const Task& bytes);
  void noteHandled(const std::string& client, Session& session, std::size_t bytes);
  void markDue(const std::string& client, const Session& session);
  void letIn(const StreamPtr& stream, std::size_t bytes);
  void sendMarks(const StreamPtr& only);
  void handle(Task& task);
  void finishCall(const Task* bytes, bool done);
  void runHandler();
  void runTicker();
  void expire();
  void kickLater(const StreamPtr& stream) { kicks_.insert(stream); }
  void unlockAndKick(Lock& lock);

  Handler& handler_;
  const Options options_;
  const std::string instance_;

  mutable std::mutex mutex_;
  std::condition_variable tasksCome_, roomComes_, ticks_;
  std::unordered_map<std::string, Session> sessions_;
  std::map<std::pair<std::string, uint64_t>, LanePtr> lanes_;  // by gateway and number
  std::set<StreamPtr> streams_, kicks_, readers_;
  // Clients of lanes that were dropped: to come again they are not new. The oldest are forgotten.
  std::unordered_set<std::string> givenUp_;
  std::deque<std::string> givenUpInOrder_;
  std::deque<Task> tasks_;
  std::set<std::string> marksDue_;
  std::atomic<bool> askedForRoom_{false};
  LanePtr broadcastLane_;  // of the last broadcast that was not a handler's
  uint64_t broadcastNumber_ = 0;
  int blocked_ =
      0;  // calls that wait for room: meanwhile everything is read, since what they wait for is among it
  uint64_t nextStream_ = 1;
  bool stopping_ = false;
  Clock::time_point expireAt_;
  std::thread handlerThread_, tickerThread_;
  std::atomic<std::thread::id> handlerId_{};

  // The handler's thread only.
  bool inHandler_ = false;
  const std::string* current_ = nullptr;
  uint32_t currentAssignment_ = 0;
  std::vector<std::pair<std::string, Draft>> drafts_;
  std::size_t draftBytes_ = 0;
};

}  // namespace paradox::upstream
