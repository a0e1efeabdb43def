#include "examples/common/probes.h"

#include <string>

#include "examples/common/time_text.h"

namespace ppx::examples {
namespace {

using ::upstream::grpc::service::LiveResult;

// One Empty, one LiveResult, in turn: a prober that does not read is not read from.
class LiveStream final : public grpc::ServerBidiReactor<google::protobuf::Empty, LiveResult> {
 public:
  LiveStream() { StartRead(&request_); }

  void OnReadDone(bool ok) override {
    if (!ok) {
      Finish(grpc::Status::OK);
      return;
    }
    result_.set_time(std::string(timeText()));
    result_.set_live(true);
    StartWrite(&result_);
  }

  void OnWriteDone(bool ok) override {
    if (!ok) {
      Finish(grpc::Status::CANCELLED);
      return;
    }
    StartRead(&request_);
  }

  void OnDone() override { delete this; }

 private:
  google::protobuf::Empty request_;
  LiveResult result_;
};

}  // namespace

grpc::ServerUnaryReactor* Probes::ready(grpc::CallbackServerContext* context, const google::protobuf::Empty*,
                                        ::upstream::grpc::service::ReadyResult* result) {
  result->set_time(std::string(timeText()));
  result->set_ready(true);
  auto* reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

grpc::ServerBidiReactor<google::protobuf::Empty, LiveResult>* Probes::live(grpc::CallbackServerContext*) {
  return new LiveStream;
}

}  // namespace ppx::examples
