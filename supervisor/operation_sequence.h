// Several operations as one: each begins when the one before it is done; the first that fails ends it.
#pragma once

#include <deque>
#include <functional>
#include <memory>

#include "supervisor/operation.h"

namespace ppx {

class OperationSequence : public Operation {
 public:
  using Make = std::function<std::unique_ptr<Operation>(const OperationTools&, Finish)>;

  OperationSequence(OperationTools tools, std::deque<Make> parts, Finish finish);
  void begin() override { next(); }
  void advance() override {
    if (part_ && !isOver()) part_->advance();
  }
  void handedOver(uint8_t row, const control::HandedOver& report) override {
    if (part_) part_->handedOver(row, report);
  }
  void tookOver(uint8_t row, const control::TookOver& report) override {
    if (part_) part_->tookOver(row, report);
  }
  void renewed(const control::Renewed& report) override {
    if (part_) part_->renewed(report);
  }
  std::string progress() const override { return part_ ? part_->progress() : ""; }

 private:
  void next();
  void partOver(bool done, const std::string& text);

  std::deque<Make> parts_;
  std::unique_ptr<Operation> part_;
  std::string text_;
};

}  // namespace ppx
