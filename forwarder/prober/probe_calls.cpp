#include "forwarder/prober/probe_calls.h"

#include <atomic>

namespace ppx {
namespace {

using google::protobuf::Empty;
using upstream::grpc::service::LiveResult;
using upstream::grpc::service::ReadyResult;
using upstream::grpc::service::UpstreamPeerService;

constexpr int kMaxAnswerBytes = 64 * 1024;
constexpr int kResolveSpacingMs = 1000;

std::shared_ptr<grpc::Channel> makeChannel(const std::string& target) {
  grpc::ChannelArguments arguments;
  // A pool of its own: with the global one a "new" channel would take over the old one's connection and its
  // back-off.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_ENABLE_CHANNELZ, 0);
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  arguments.SetInt(GRPC_ARG_DNS_MIN_TIME_BETWEEN_RESOLUTIONS_MS, kResolveSpacingMs);
  arguments.SetInt(GRPC_ARG_DNS_ARES_QUERY_TIMEOUT_MS, 2000);  // by default two minutes
  arguments.SetInt(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
  arguments.SetMaxReceiveMessageSize(kMaxAnswerBytes);
  return grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), arguments);
}

// gRPC 1.51 takes its threads for callbacks down with the last channel that used them, and now and then aborts
// in that ("prior > 0" in grpc_cq_internal_unref): one upstream that goes down would be enough. So a channel
// that leads nowhere is kept for ever. Pinned by the ProberProcess tests, which have no server of their own.
void keepCallbackThreads() {
  struct Keeper {
    std::unique_ptr<UpstreamPeerService::Stub> stub =
        UpstreamPeerService::NewStub(grpc::CreateChannel("", nullptr));
    grpc::ClientContext context;
    Empty question;
    ReadyResult answer;
    Keeper() {
      stub->async()->ready(&context, &question, &answer, [](const grpc::Status&) {});
    }
  };
  // volatile: the pointer stays in memory, where a leak checker finds it.
  [[maybe_unused]] static Keeper* volatile keeper = new Keeper;
}

std::string describe(const grpc::Status& status) {
  if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) return "no answer in time";
  // The peer writes this text: bounded, and on one line.
  std::string text = status.error_message().substr(0, 200);
  for (char& c : text)
    if (static_cast<unsigned char>(c) < ' ') c = ' ';
  return "status " + std::to_string(status.error_code()) + (text.empty() ? "" : ", " + text);
}

}  // namespace

class ReadyCall : public std::enable_shared_from_this<ReadyCall> {
 public:
  ReadyCall(std::shared_ptr<CallGate> gate, std::weak_ptr<ProbeCalls> owner, uint64_t id)
      : gate_(std::move(gate)), owner_(std::move(owner)), id_(id) {}

  void start(UpstreamPeerService::Stub& stub, Millis timeout) {
    context_.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(timeout));
    gate_->begun();
    stub.async()->ready(&context_, &question_, &answer_,
                        [self = shared_from_this()](grpc::Status status) { self->done(status); });
  }
  void cancel() { context_.TryCancel(); }

 private:
  void done(const grpc::Status& status) {
    ProbeEvent event = !status.ok()      ? ProbeEvent::kReadyFailed
                       : answer_.ready() ? ProbeEvent::kReadyOk
                                         : ProbeEvent::kReadyRefused;
    std::string detail;
    if (event == ProbeEvent::kReadyFailed) detail = "`ready` failed: " + describe(status);
    if (event == ProbeEvent::kReadyRefused) detail = "`ready` says no";
    gate_->post([owner = owner_, id = id_, event, extensions = answer_.extensions(), detail] {
      if (auto calls = owner.lock()) calls->readyDone(id, event, extensions, detail);
    });
    gate_->ended();
  }

  std::shared_ptr<CallGate> gate_;
  std::weak_ptr<ProbeCalls> owner_;
  uint64_t id_;
  grpc::ClientContext context_;
  Empty question_;
  ReadyResult answer_;
};

// Deletes itself in OnDone. A hold keeps it until the Asio thread lets go: so its operations may be started
// from there.
class LiveCall : public grpc::ClientBidiReactor<Empty, LiveResult> {
 public:
  LiveCall(std::shared_ptr<CallGate> gate, std::weak_ptr<ProbeCalls> owner, uint64_t id)
      : gate_(std::move(gate)), owner_(std::move(owner)), id_(id) {}

  void start(UpstreamPeerService::Stub& stub) {
    gate_->begun();
    stub.async()->live(&context_, this);
    AddHold();
    ping();
    StartRead(&answer_);
    StartCall();
  }
  // At most one write is under way; one more may wait for it.
  void ping() {
    if (writes_.exchange(kOneMore) == kIdle) {
      writes_ = kWriting;
      StartWrite(&question_);
    }
  }
  void readNext() { StartRead(&answer_); }
  void letGo() { RemoveHold(); }  // not touched afterwards
  void cancel() {
    context_.TryCancel();
    RemoveHold();
  }

 private:
  enum Writes : int { kIdle, kWriting, kOneMore };

  void OnReadDone(bool ok) override {
    bool live = ok && answer_.live();
    gate_->post([owner = owner_, id = id_, ok, live] {
      auto calls = owner.lock();
      if (!calls) return;
      if (ok)
        calls->liveAnswered(id, live);
      else
        calls->liveEnding(id);
    });
  }
  void OnWriteDone(bool ok) override {
    int expected = kWriting;
    if (writes_.compare_exchange_strong(expected, kIdle) || !ok) return;
    writes_ = kWriting;
    StartWrite(&question_);
  }
  void OnDone(const grpc::Status& status) override {
    gate_->post([owner = owner_, id = id_, status] {
      if (auto calls = owner.lock()) calls->liveDone(id, status);
    });
    auto gate = std::move(gate_);
    delete this;
    gate->ended();
  }

  std::shared_ptr<CallGate> gate_;
  std::weak_ptr<ProbeCalls> owner_;
  uint64_t id_;
  grpc::ClientContext context_;
  Empty question_;
  LiveResult answer_;
  std::atomic<int> writes_{kIdle};
};

ProbeCalls::ProbeCalls(std::shared_ptr<CallGate> gate, std::string target, Handler handler)
    : gate_(std::move(gate)), target_(std::move(target)), handler_(std::move(handler)) {
  keepCallbackThreads();
}

ProbeCalls::~ProbeCalls() {
  drop();
}

ProbeCalls::Service::Stub& ProbeCalls::stub() {
  if (!stub_) stub_ = Service::NewStub(makeChannel(target_));
  return *stub_;
}

void ProbeCalls::askReady(Millis timeout) {
  cancelReady();
  readyId_ = nextId_++;
  ready_ = std::make_shared<ReadyCall>(gate_, weak_from_this(), readyId_);
  ready_->start(stub(), timeout);
}

void ProbeCalls::openLive() {
  closeLive();
  liveId_ = nextId_++;
  live_ = new LiveCall(gate_, weak_from_this(), liveId_);
  live_->start(stub());
}

void ProbeCalls::pingLive() {
  if (live_ != nullptr) live_->ping();
}

void ProbeCalls::cancelReady() {
  if (ready_) ready_->cancel();
  ready_.reset();
  readyId_ = 0;
}

void ProbeCalls::closeLive() {
  if (live_ != nullptr) live_->cancel();
  live_ = nullptr;
  liveId_ = 0;
}

void ProbeCalls::drop() {
  cancelReady();
  closeLive();
  stub_.reset();
}

void ProbeCalls::readyDone(uint64_t call, ProbeEvent event, uint32_t extensions, const std::string& detail) {
  if (call != readyId_) return;
  extensions_ = extensions;
  ready_.reset();
  readyId_ = 0;
  handler_(event, detail);
}

void ProbeCalls::liveAnswered(uint64_t call, bool live) {
  if (call != liveId_ || live_ == nullptr) return;
  handler_(live ? ProbeEvent::kLiveOk : ProbeEvent::kLiveRefused, live ? "" : "`live` says no");
  // Read on only now: an upstream that answers without being asked is read no faster than it is handled.
  if (call == liveId_ && live_ != nullptr) live_->readNext();
}

void ProbeCalls::liveEnding(uint64_t call) {
  if (call != liveId_ || live_ == nullptr) return;
  live_->letGo();
  live_ = nullptr;
}

void ProbeCalls::liveDone(uint64_t call, const grpc::Status& status) {
  if (call != liveId_) return;
  liveId_ = 0;
  if (status.error_code() == grpc::StatusCode::UNIMPLEMENTED)
    return handler_(ProbeEvent::kLiveUnimplemented, "");
  handler_(ProbeEvent::kStreamBroken,
           status.ok() ? "the upstream ended its live stream" : "the live stream broke: " + describe(status));
}

}  // namespace ppx
