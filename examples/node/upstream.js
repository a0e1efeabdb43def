// What every upstream in Node needs around its own logic: the contract, probes, options, a server.
'use strict';
const path = require('path');
const { Transform } = require('stream');
const { parseArgs } = require('util');
const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');

const proto = path.join(__dirname, '../../proto/upstream.proto');
const { UpstreamPeerService } = grpc.loadPackageDefinition(
  protoLoader.loadSync(proto, { keepCase: true, enums: String, oneofs: true })).upstream.grpc.service;

const now = () => new Date().toISOString();
const to = (clientUuid, payload) => ({ time: now(), client_uuid: clientUuid, payload: Buffer.from(payload) });
const toAll = (payload) => ({ time: now(), broadcast: 'BROADCAST_ALL', payload: Buffer.from(payload) });

// answer(request) gives the messages that answer one payload. The pipes do the rest: a gateway that does not read
// is not read from, and the stream ends after the last answer.
function replies(call, answer) {
  call.on('error', () => {});
  call.pipe(new Transform({
    objectMode: true,
    transform(request, _, done) {
      for (const message of answer(request)) this.push(message);
      done();
    },
  })).pipe(call);
}

function serve(answer) {
  const { values } = parseArgs({ options: {
    host: { type: 'string', default: '127.0.0.1' },
    port: { type: 'string', default: '45888' }, // 0: any free one
  } });
  const server = new grpc.Server({ 'grpc.so_reuseport': 0 });
  server.addService(UpstreamPeerService.service, {
    bidirectionalStreaming: (call) => replies(call, answer),
    ready: (call, done) => done(null, { time: now(), ready: true }),
    live: (call) => replies(call, () => [{ time: now(), live: true }]),
  });
  const address = `${values.host}:${values.port}`;
  server.bindAsync(address, grpc.ServerCredentials.createInsecure(), (error, port) => {
    if (error) {
      console.error(`cannot listen on ${address}: ${error.message}`);
      process.exit(1);
    }
    console.log(`listening on ${values.host}:${port}`);
  });
  // Streams may be open: the gateway moves its sessions.
  for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => process.exit(0));
}

module.exports = { serve, to, toAll };
