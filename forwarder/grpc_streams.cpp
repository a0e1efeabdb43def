#include "forwarder/grpc_streams.h"

#include <algorithm>

#include "common/log.h"
#include "forwarder/upstream_target.h"
#include "forwarder/upstream_wire.h"

namespace ppx {
namespace {

constexpr Millis kLookMs = 50, kIdleLookMs = 200;  // without a stream
constexpr int kMinReceiveBytes = 4 << 20;
constexpr int kReceiveSlackBytes = 64 << 10;  // a message's other fields

grpc::ChannelArguments channelArguments(uint32_t maxReplyBytes) {
  grpc::ChannelArguments arguments;
  int receive = std::max(kMinReceiveBytes, static_cast<int>(maxReplyBytes)) + kReceiveSlackBytes;
  arguments.SetMaxReceiveMessageSize(receive);  // a message above it would end the stream that all share
  arguments.SetMaxSendMessageSize(-1);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  arguments.SetInt(GRPC_ARG_DNS_MIN_TIME_BETWEEN_RESOLUTIONS_MS, 1000);
  arguments.SetInt(GRPC_ARG_DNS_ARES_QUERY_TIMEOUT_MS, 2000);  // by default two minutes
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50);
  // The least that an attempt to connect may take, whatever the name says: on a machine that is overloaded an upstream needs
  // long to answer, and to give up too early makes more of the work that it is overloaded with.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 3000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000);
  return arguments;
}

// In the past too: then the queue only looks.
gpr_timespec inMillis(Millis time) {
  return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(time, GPR_TIMESPAN));
}

}  // namespace

GrpcStreams::GrpcStreams(const Options& options, ReplyRouter& router, std::function<void()> wake)
    : options_(options),
      router_(router),
      wake_(std::move(wake)),
      workedAt_(monotonicMillis()),
      readUpTo_(workedAt_.load()),
      thread_([this] { run(); }) {}

GrpcStreams::~GrpcStreams() {
  for (auto& [id, stream] : streams_) stream->cancel();
  queue_.Shutdown();
  thread_.join();
}

// Between events it looks at least every `kLookMs` whether there are any: that there is none is proof of what has been read.
void GrpcStreams::run() {
  void* tag = nullptr;
  bool ok = false;
  for (Millis lookAt = 0;;) {
    const Millis now = monotonicMillis();
    workedAt_.store(now);
    switch (queue_.AsyncNext(&tag, &ok, inMillis(lookAt - now))) {
      case grpc::CompletionQueue::SHUTDOWN:
        return;
      case grpc::CompletionQueue::TIMEOUT:
        // Not when it returned: this thread may have had to wait for its turn since.
        lookAt = onNothingLeft(std::max(now, lookAt));
        break;
      case grpc::CompletionQueue::GOT_EVENT: {
        (void)opened_.load(std::memory_order_acquire);
        auto* operation = static_cast<GrpcStream::Operation*>(tag);
        (operation->stream->*operation->done)(ok);
        break;
      }
    }
  }
}

// When to look again.
Millis GrpcStreams::onNothingLeft(Millis now) {
  Millis oldest = now;
  bool idle = true;
  {
    std::lock_guard lock(streamsMutex_);
    idle = streams_.empty();
    for (auto& [id, stream] : streams_) oldest = std::min(oldest, stream->onNothingLeft(now));
  }
  readUpTo_.store(oldest);
  return now + (idle ? kIdleLookMs : kLookMs);
}

GrpcStreams::Peer& GrpcStreams::peerOf(const StreamTarget& target) {
  Peer& peer = peers_[target.upstream];
  if (peer.stub == nullptr || peer.generation != target.generation) {
    peer.generation = target.generation;
    peer.channel = grpc::CreateCustomChannel(upstreamTarget(target.host, target.port),
                                             grpc::InsecureChannelCredentials(),
                                             channelArguments(options_.maxReplyBytes));
    peer.stub = std::make_unique<grpc::GenericStub>(peer.channel);
  }
  return peer;
}

void GrpcStreams::prepare(const StreamTarget& target) {
  (void)peerOf(target).channel->GetState(true);
}

StreamId GrpcStreams::open(const StreamTarget& target) {
  StreamId id = nextStream_++;
  std::unique_ptr<StreamExtension> extension;
  if (target.extended)
    extension =
        std::make_unique<StreamExtension>(*options_.table, options_.self, options_.gateway, target, lanes_);
  auto stream = std::make_shared<GrpcStream>(id, target, router_, *this, std::move(extension));
  {
    std::lock_guard lock(streamsMutex_);
    streams_.emplace(id, stream);
  }
  std::vector<std::pair<std::string, std::string>> metadata{
      {"paradoxplex-gateway", uuidText(options_.gateway)},
      {"paradoxplex-forwarder", std::to_string(options_.self.row)},
      {"paradoxplex-incarnation", std::to_string(options_.self.incarnation)}};
  opened_.fetch_add(1, std::memory_order_release);
  if (target.extended) metadata.emplace_back("paradoxplex-extensions", std::to_string(kExtensionsVersion));
  stream->start(*peerOf(target).stub, queue_, metadata);
  return id;
}

GrpcStream* GrpcStreams::find(StreamId stream) const {
  auto found = streams_.find(stream);
  return found == streams_.end() ? nullptr : found->second.get();
}

Millis GrpcStreams::lastSignOf(StreamId stream) const {
  const GrpcStream* found = find(stream);
  return found != nullptr ? found->lastSign() : monotonicMillis();
}

std::string_view GrpcStreams::now() {
  Millis at = realtimeMillis();
  if (at != timeAt_) {
    timeAt_ = at;
    time_ = rfc3339(at);
  }
  return time_;
}

void GrpcStreams::submit(StreamId stream, SlotRef session, const Uuid& uuid, std::span<const iovec> pieces,
                         uint64_t offset) {
  GrpcStream* found = find(stream);
  PPX_INVARIANT(found != nullptr);
  size_t bytes = 0;
  for (const iovec& piece : pieces) bytes += piece.iov_len;
  found->submit(session, static_cast<uint32_t>(bytes), encodeInput(now(), uuid, pieces, offset));
}

void GrpcStreams::announce(StreamId stream, const SessionNews& news) {
  if (GrpcStream* found = find(stream)) found->submitNews(encodeNews(now(), news));
}

void GrpcStreams::kick(StreamId stream) {
  if (GrpcStream* found = find(stream)) found->kick();
}

void GrpcStreams::wakeOnWritten(StreamId stream) {
  if (GrpcStream* found = find(stream)) found->wakeOnWritten();
  // The event may have come just before: then nobody would ring.
  if (eventsWaiting_.load()) wake_();
}

std::vector<SlotRef> GrpcStreams::halfClose(StreamId stream) {
  GrpcStream* found = find(stream);
  return found != nullptr ? found->halfClose() : std::vector<SlotRef>();
}

void GrpcStreams::cancel(StreamId stream) {
  if (GrpcStream* found = find(stream)) found->cancel();
}

void GrpcStreams::post(StreamEvent event, bool wake) {
  {
    std::lock_guard lock(eventMutex_);
    events_.push_back(std::move(event));
    eventsWaiting_.store(true);
    if (events_.size() >= kMostEvents) wake = !full_.exchange(true) || wake;
  }
  if (wake) wake_();
}

void GrpcStreams::collect(std::vector<StreamEvent>& events) {
  events.clear();
  // Gone only now: who went through the last events could still submit to a stream that ended further on in
  // them.
  if (!ended_.empty()) {
    std::lock_guard lock(streamsMutex_);
    for (StreamId stream : ended_) streams_.erase(stream);
    ended_.clear();
  }
  if (!eventsWaiting_.load()) return;
  {
    std::lock_guard lock(eventMutex_);
    events.swap(events_);
    eventsWaiting_.store(false);
    full_.store(false);
  }
  for (const StreamEvent& event : events) {
    if (event.type != StreamEvent::Type::kEnded) continue;
    ended_.push_back(event.stream);
    // A lost connection: the next stream gets a channel of its own, so that the name is resolved again at once. An old
    // channel asks again only after a while, and goes on with the old address until then.
    GrpcStream* ended = find(event.stream);
    if (ended != nullptr && !event.orderly) peers_.erase(ended->target().upstream);
  }
}

}  // namespace ppx
