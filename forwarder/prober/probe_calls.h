// The gRPC side of one probe: a channel of its own, the unary `ready` and the bidirectional `live`. All of it
// is called, and calls back, on the Asio thread.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <string>

#include "common/clock.h"
#include "forwarder/prober/call_gate.h"
#include "forwarder/prober/probe_machine.h"
#include "upstream.grpc.pb.h"

namespace ppx {

class LiveCall;
class ReadyCall;

// Shared only so that late callbacks can tell that it is gone; its owner drops it with drop() first.
class ProbeCalls : public std::enable_shared_from_this<ProbeCalls> {
 public:
  // One of kReady* or kLive* or kStreamBroken; `detail` says why for a person, empty when all is well.
  using Handler = std::function<void(ProbeEvent event, const std::string& detail)>;

  ProbeCalls(std::shared_ptr<CallGate> gate, std::string target, Handler handler);
  ~ProbeCalls();

  void askReady(Millis timeout);  // replaces a question that is under way
  void openLive();                // asks its first question
  void pingLive();
  void closeLive();
  // Cancels everything and forgets the channel; nothing of what was under way calls back.
  void drop();
  // Version of the extensions that the last good answer to `ready` announced; 0: none.
  uint32_t extensions() const { return extensions_; }

 private:
  friend class LiveCall;
  friend class ReadyCall;
  using Service = upstream::grpc::service::UpstreamPeerService;

  Service::Stub& stub();
  void cancelReady();
  // From the calls, posted. An identity of a call that is not the present one is late.
  void readyDone(uint64_t call, ProbeEvent event, uint32_t extensions, const std::string& detail);
  void liveAnswered(uint64_t call, bool live);
  void liveEnding(uint64_t call);
  void liveDone(uint64_t call, const grpc::Status& status);

  std::shared_ptr<CallGate> gate_;
  std::string target_;
  Handler handler_;
  std::unique_ptr<Service::Stub> stub_;
  std::shared_ptr<ReadyCall> ready_;
  LiveCall* live_ = nullptr;  // deletes itself after its last callback; held while this is set
  uint64_t readyId_ = 0, liveId_ = 0, nextId_ = 1;
  uint32_t extensions_ = 0;
};

}  // namespace ppx
