#include "supervisor/custodian_renewal.h"

#include <chrono>

namespace ppx {
namespace {

// Its own check of the program may take five seconds.
constexpr std::chrono::seconds kDeadline{15};

}  // namespace

CustodianRenewal::CustodianRenewal(OperationTools tools, Finish finish)
    : Operation(std::move(tools), std::move(finish)), deadline_(tools_.io) {}

void CustodianRenewal::begin() {
  WorkerView custodian = tools_.workers.view(kCustodianRow);
  incarnation_ = custodian.incarnation;
  if (custodian.state != WorkerState::kReady || !tools_.workers.send(kCustodianRow, control::Renew{}))
    return over(false, "the custodian is not ready");
  deadline_.expires_after(kDeadline);
  deadline_.async_wait([this](const boost::system::error_code& error) {
    if (!error && !isOver()) end(false, "the custodian has not answered in time");
  });
}

void CustodianRenewal::advance() {
  if (isOver()) return;
  WorkerView now = tools_.workers.view(kCustodianRow);
  if (now.incarnation != incarnation_ && now.state == WorkerState::kReady)
    end(true, "the custodian died over its change; the forwarders fill another one");
}

void CustodianRenewal::renewed(const control::Renewed& report) {
  if (isOver()) return;
  if (report.done == 0) return end(false, std::string("the custodian stays as it is: ") + report.reason);
  end(true, "the custodian changed over");
}

void CustodianRenewal::end(bool done, const std::string& text) {
  deadline_.cancel();
  if (done) {
    WorkerView now = tools_.workers.view(kCustodianRow);
    tools_.events.append("worker_restarted", {{"worker", now.name}, {"by", now.name}, {"pid", now.pid}});
  }
  over(done, text);
}

}  // namespace ppx
