// The planned change of the custodian: it becomes the program on disk within its process, and drops nothing
// (custodian/renewal.h). A program that cannot do that is not begun with. When the custodian dies over it, the
// usual successor is waited for.
#pragma once

#include <boost/asio/steady_timer.hpp>

#include "supervisor/operation.h"

namespace ppx {

class CustodianRenewal : public Operation {
 public:
  CustodianRenewal(OperationTools tools, Finish finish);
  void begin() override;
  void advance() override;
  void renewed(const control::Renewed& report) override;
  std::string progress() const override { return "custodian: going on as the program on disk"; }

 private:
  void end(bool done, const std::string& text);

  boost::asio::steady_timer deadline_;
  uint64_t incarnation_ = 0;
};

}  // namespace ppx
