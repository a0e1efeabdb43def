// paradox-forwarder: owns sessions and carries their bytes between clients and upstreams. paradoxd starts it.
#include "common/log.h"
#include "forwarder/forwarder.h"
#include "forwarder/grpc_streams.h"

int main(int argc, char** argv) {
  ppx::WorkerIdentity identity = ppx::parseWorkerArguments(ppx::WorkerRole::kForwarder, argc, argv);
  ppx::startLog("forwarder-" + std::to_string(identity.id.row),
                ppx::LogOrigin{identity.id.row, identity.id.incarnation});
  boost::asio::io_context io(1);
  ppx::Forwarder forwarder(io, identity, [&](const ppx::Table& table, ppx::ReplyRouter& router, auto wake) {
    ppx::GrpcStreams::Options options;
    options.self = identity.id;
    options.gateway = {table.header().gatewayId[0], table.header().gatewayId[1]};
    options.maxReplyBytes = table.header().maxReplyBytes.load();
    options.table = &table;
    return std::make_unique<ppx::GrpcStreams>(options, router, std::move(wake));
  });
  forwarder.start();
  io.run();
  return 1;  // it leaves through ControlClient::leave()
}
