// A worker's end of one bidirectional stream: hands payloads on one at a time, and writes what it is given in
// order, in bursts, with bounded memory.
//
//   gateway --> StartRead --> onPayload()          reading stops while more than kBacklogBytes wait to be
//   gateway <-- StartWrite <-- queue <-- send()    written, so a gateway that does not read is not read from
//
// At end of input onInputEnd() is called; finish() then ends the stream with OK after the last queued
// message. Callbacks come from gRPC's threads, onPayload() never twice at once. send(), resumeReading() and
// finish() may be called from any thread by whoever holds the shared_ptr. In and Out: messages or
// grpc::ByteBuffer.
#pragma once

#include <grpcpp/grpcpp.h>

#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <utility>

namespace ppx::examples {

template <class In, class Out>
class StreamPump : public grpc::ServerBidiReactor<In, Out>,
                   public std::enable_shared_from_this<StreamPump<In, Out>> {
 public:
  static constexpr std::size_t kBacklogBytes = 1 << 20;
  static constexpr std::size_t kMessageOverhead = 256;  // counted for each message beside its bytes

  // Gives the reactor to gRPC: it lives until the call is done. The pump must be owned by a shared_ptr.
  grpc::ServerBidiReactor<In, Out>* launch() {
    self_ = this->shared_from_this();
    // Without it a first write with a buffer hint would never complete.
    this->StartSendInitialMetadata();
    reading_ = true;
    this->StartRead(&input_);
    return this;
  }

  // False: the stream is ending, the message is dropped.
  bool send(Out&& message, std::size_t bytes) {
    std::unique_lock lock(mutex_);
    if (finishing_ || broken_) {
      return false;
    }
    queue_.emplace_back();
    queue_.back().message.Swap(&message);  // a ByteBuffer has no move
    queue_.back().bytes = bytes + kMessageOverhead;
    queuedBytes_ += bytes + kMessageOverhead;
    step(lock);
    return true;
  }

  // After an onPayload() that returned false.
  void resumeReading() {
    std::unique_lock lock(mutex_);
    held_ = false;
    step(lock);
  }

  void finish() {
    std::unique_lock lock(mutex_);
    finishing_ = true;
    step(lock);
  }

 protected:
  // False: the payload is not dealt with yet; the next one comes after resumeReading().
  virtual bool onPayload(In& message) = 0;
  virtual void onInputEnd() { finish(); }
  // The backlog fell from kBacklogBytes or more to half of it.
  virtual void onUncongested() {}
  // The stream is over; nothing is called after this.
  virtual void onGone() {}

 private:
  struct Queued {
    Out message;
    std::size_t bytes = 0;
  };

  void OnReadDone(bool ok) final {
    if (!ok) {
      {
        std::unique_lock lock(mutex_);
        reading_ = false;
        inputEnded_ = true;
        if (broken_) {
          step(lock);
          return;
        }
      }
      onInputEnd();
      return;
    }
    {
      std::unique_lock lock(mutex_);
      held_ = true;
      reading_ = false;
      delivering_ = true;
    }
    const bool done = onPayload(input_);
    std::unique_lock lock(mutex_);
    delivering_ = false;
    held_ = held_ && !done;
    step(lock);
  }

  void OnWriteDone(bool ok) final {
    bool uncongested = false;
    {
      std::unique_lock lock(mutex_);
      const std::size_t before = queuedBytes_;
      queuedBytes_ -= queue_.front().bytes;
      queue_.pop_front();
      wasCongested_ = wasCongested_ || before >= kBacklogBytes;
      if (wasCongested_ && queuedBytes_ <= kBacklogBytes / 2) {
        wasCongested_ = false;
        uncongested = true;
      }
      writing_ = false;
      broken_ = broken_ || !ok;
      // The pump must outlive the call below, and a step may be its last.
      if (!uncongested) {
        step(lock);
        return;
      }
      lock.unlock();
    }
    const auto self = this->shared_from_this();
    {
      std::unique_lock lock(mutex_);
      step(lock);
    }
    onUncongested();
  }

  void OnCancel() final {
    std::unique_lock lock(mutex_);
    broken_ = true;
    step(lock);
  }

  void OnDone() final {
    onGone();
    self_.reset();
  }

  // Starts whatever may start now. Decides under the lock and acts without it: each flag that it sets keeps
  // the call alive until the operation behind it has been started and is done.
  void step(std::unique_lock<std::mutex>& lock) {
    if (broken_ && !writing_) {
      queue_.clear();
      queuedBytes_ = 0;
    }
    const bool write = !writing_ && !queue_.empty();
    const bool read = !reading_ && !held_ && !delivering_ && !inputEnded_ && !broken_ && !finishing_ &&
                      queuedBytes_ < kBacklogBytes;
    const bool end =
        (finishing_ || broken_) && !finished_ && !writing_ && !write && !reading_ && !delivering_;
    const Out* next = write ? &queue_.front().message : nullptr;
    const bool more = queue_.size() > 1;
    writing_ = writing_ || write;
    reading_ = reading_ || read;
    finished_ = finished_ || end;
    const bool isBroken = broken_;
    lock.unlock();

    if (write) {
      grpc::WriteOptions options;
      if (more) {
        options.set_buffer_hint();
      }
      this->StartWrite(next, options);
    }
    if (read) {
      this->StartRead(&input_);
    }
    if (end) {
      this->Finish(isBroken ? grpc::Status::CANCELLED : grpc::Status::OK);
    }
  }

  mutable std::mutex mutex_;
  std::shared_ptr<StreamPump> self_;
  In input_;
  std::deque<Queued> queue_;  // the front one is being written while writing_
  std::size_t queuedBytes_ = 0;
  bool reading_ = false;     // a read is in flight
  bool delivering_ = false;  // onPayload() runs
  bool held_ = false;        // the last payload is not dealt with
  bool writing_ = false;
  bool inputEnded_ = false;
  bool finishing_ = false;
  bool broken_ = false;  // cancelled, or the connection is lost
  bool finished_ = false;
  bool wasCongested_ = false;
};

}  // namespace ppx::examples
