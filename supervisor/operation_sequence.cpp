#include "supervisor/operation_sequence.h"

#include <boost/asio/post.hpp>

namespace ppx {

OperationSequence::OperationSequence(OperationTools tools, std::deque<Make> parts, Finish finish)
    : Operation(std::move(tools), std::move(finish)), parts_(std::move(parts)) {}

void OperationSequence::next() {
  if (isOver()) return;
  if (parts_.empty()) return over(true, text_);
  Make make = std::move(parts_.front());
  parts_.pop_front();
  part_ = make(tools_, [this](bool done, const std::string& text) { partOver(done, text); });
  part_->begin();
}

void OperationSequence::partOver(bool done, const std::string& text) {
  text_ += (text_.empty() ? "" : "; ") + text;
  if (!done) return over(false, text_);
  // The part is still on the stack.
  boost::asio::post(tools_.io, [this] { next(); });
}

}  // namespace ppx
