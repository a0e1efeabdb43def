// GET /admin/events: server-sent events, or a list.
#include <algorithm>
#include <atomic>
#include <charconv>
#include <memory>

#include "supervisor/admin/admin_server.h"
#include "supervisor/admin/api_values.h"
#include "supervisor/admin/event_log.h"

namespace ppx {
namespace {

constexpr int kMaxListening = 16;  // each has a thread
constexpr size_t kEventsATime = 256;
constexpr Millis kKeepAliveMs = 10'000;
constexpr Millis kStreamMs = 80'000;  // below HttpConnection::kAnswerMs; the listener comes again by itself

ApiJson describe(const Event& event) {
  return {{"id", event.sequence},
          {"time", rfc3339(event.realtimeMs)},
          {"event", event.type},
          {"data", event.data}};
}

std::string frame(const Event& event) {
  return "id: " + std::to_string(event.sequence) + "\nevent: " + event.type +
         "\ndata: " + describe(event).dump(-1, ' ', false, ApiJson::error_handler_t::replace) + "\n\n";
}

// Empty: from the oldest kept. None: no number.
std::optional<uint64_t> sequenceOf(const std::string& text) {
  uint64_t out = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (!text.empty() && (error != std::errc() || end != text.data() + text.size())) return std::nullopt;
  return out;
}

void list(httplib::Response& response, const EventLog& log, uint64_t after) {
  ApiJson events = ApiJson::array();
  for (const Event& event : log.after(after, EventLog::kKept)) events.push_back(describe(event));
  reply(response, 200, {{"events", std::move(events)}, {"last_id", log.last()}});
}

struct Listening {
  explicit Listening(std::shared_ptr<std::atomic<int>> count) : count_(std::move(count)) {}
  ~Listening() { --*count_; }
  std::shared_ptr<std::atomic<int>> count_;
  uint64_t seen = 0;
  Millis end = 0;
};

// One chunk; false: the peer is gone.
bool sendNext(Listening& listening, const EventLog& log, httplib::DataSink& sink) {
  Millis left = listening.end - monotonicMillis();
  if (left <= 0 || log.closed()) {
    sink.done();
    return true;
  }
  bool some = log.wait(listening.seen, std::min(left, kKeepAliveMs));
  std::string text = some ? "" : ":\n\n";
  if (some)
    for (const Event& event : log.after(listening.seen, kEventsATime)) {
      listening.seen = event.sequence;
      text += frame(event);
    }
  return sink.write(text.data(), text.size());
}

void follow(httplib::Response& response, const EventLog& log, uint64_t after,
            const std::shared_ptr<std::atomic<int>>& count) {
  if (++*count > kMaxListening) {
    --*count;
    return replyError(response, 503, "busy", "too many listen to the events already");
  }
  auto listening = std::make_shared<Listening>(count);
  listening->seen = after;
  listening->end = monotonicMillis() + kStreamMs;
  response.set_header("Cache-Control", "no-store");
  response.set_chunked_content_provider(
      "text/event-stream",
      [listening, &log](size_t, httplib::DataSink& sink) { return sendNext(*listening, log, sink); });
}

void show(const httplib::Request& request, httplib::Response& response, const EventLog& log,
          const std::shared_ptr<std::atomic<int>>& count) {
  QueryFields query(request);
  uint32_t follows = query.integer("follow", 1, 0, 1);
  std::string after = query.text("after").value_or(request.get_header_value("Last-Event-ID"));
  auto sequence = sequenceOf(after);
  if (!sequence) query.reject("after", "expected the number of an event");
  if (auto error = query.error()) return replyError(response, *error);
  if (follows == 0) return list(response, log, *sequence);
  follow(response, log, *sequence, count);
}

}  // namespace

void addEventRoute(HttpServer& server, const AdminContext& context) {
  if (context.events == nullptr) return;
  auto count = std::make_shared<std::atomic<int>>(0);
  server.route("GET", "/admin/events", [&context, count](const auto& request, auto& response) {
    show(request, response, *context.events, count);
  });
}

}  // namespace ppx
