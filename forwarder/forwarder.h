// The forwarder process without its gRPC: owns sessions, carries their bytes between sockets, journal and
// streams.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>

#include "common/control_client.h"
#include "common/custody_client.h"
#include "forwarder/custody_audit.h"
#include "forwarder/custody_refill.h"
#include "forwarder/handoff_receiver.h"
#include "forwarder/handover.h"
#include "forwarder/reply_router.h"
#include "forwarder/session_set.h"
#include "forwarder/takeover.h"
#include "forwarder/upstream_links.h"

namespace ppx {

// One Asio thread runs all of it, but for the ReplyRouter, which the port's thread uses.
class Forwarder : public SessionHost {
 public:
  // Makes the port once the table is there; `wake` may be called from any thread.
  using PortFactory = std::function<std::unique_ptr<StreamPort>(const Table&, ReplyRouter& router,
                                                                std::function<void()> wake)>;

  Forwarder(boost::asio::io_context& io, WorkerIdentity identity, PortFactory makePort);
  ~Forwarder();
  void start();

  // SessionHost, for the sessions.
  const Table& table() const override;
  Journal& journal() override;
  const WorkerId& self() const override { return identity_.id; }
  WorkerRow& figures() override;
  Session* find(SlotRef ref) override;
  void inputWaits(Session& session) override;
  uint32_t inputAllowance(const Session& session) const override;
  void journalFull(Session& session) override;
  void leaving(Session& session, CloseReason reason) override;
  void dropCustody(Session& session) override;
  void gone(Session& session) override;

 private:
  // What exists once the table is there.
  struct Serving;

  void onWelcome(Table& table, Doorbells& doorbells);
  void onStop(uint32_t deadlineMs);
  void adopt(SlotRef ref, UniqueFd socket);
  void resume(SlotRef ref, UniqueFd socket, bool planned);
  void endPoison(SlotRef ref, UniqueFd socket);
  bool noteDoubt(const Session& session);
  bool hasGiver(uint32_t slot) const;
  bool isFirstReady() const;
  Handover::Handlers handoverHandlers();
  void takeBack(std::vector<Handover::Owned> sessions);
  void serve(SlotRef ref, UniqueFd socket);
  void loseDescriptor(SlotRef ref);
  void onGive(const custody::Record& record, UniqueFd socket);
  void onMissing(const custody::Record& record);
  void listenDoorbell();
  void answerDoorbell();
  void turnEnds();
  void tick();
  void noteLife();
  bool streamsWork() const;
  void onWorkerDied(const control::WorkerDied& died);
  void reclaimLostMail();
  void maintain(Millis now);
  void auditCustody(Millis now);
  CustodyAudit::Handlers auditHandlers();
  void leaveIfEmpty();

  boost::asio::io_context& io_;
  WorkerIdentity identity_;
  PortFactory makePort_;
  ControlClient control_;
  CustodyClient custody_;
  CustodyRefill refill_;
  HandoffReceiver handoff_;
  boost::asio::posix::stream_descriptor doorbell_;
  boost::asio::steady_timer tickTimer_;
  std::unique_ptr<Serving> serving_;
  bool turnPosted_ = false;
  bool stopping_ = false;
};

}  // namespace ppx
