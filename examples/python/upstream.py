"""What every upstream in Python needs around its own logic: stubs, probes, options, a server.

Uses Debian's python3-grpcio and python3-protobuf. The stubs are made from proto/upstream.proto at the first start,
by protoc and the plugin of protobuf-compiler-grpc, into $PPX_PYTHON_STUBS (default: build/python-stubs in the source
tree, ~/.cache/paradoxplex for an installed copy).
"""
import argparse
import datetime
import hashlib
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
from concurrent import futures

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROTO = ROOT / 'proto' / 'upstream.proto'
CACHE = pathlib.Path(os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache') / 'paradoxplex'
# A package's files are older than the stubs of the version before it, so those go by the contract's text.
INSTALLED = CACHE / hashlib.sha256(PROTO.read_bytes()).hexdigest()[:16]
MADE = ROOT / 'build' / 'python-stubs' if (ROOT / 'CMakeLists.txt').exists() else INSTALLED
STUBS = pathlib.Path(os.environ.get('PPX_PYTHON_STUBS', MADE))
FILES = ('upstream_pb2.py', 'upstream_pb2_grpc.py')


def make_stubs():
    if all((STUBS / f).exists() and (STUBS / f).stat().st_mtime >= PROTO.stat().st_mtime for f in FILES):
        return
    STUBS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=STUBS) as work:
        subprocess.run(['protoc', f'-I{PROTO.parent}', f'--python_out={work}', f'--grpc_out={work}',
                        '--plugin=protoc-gen-grpc=/usr/bin/grpc_python_plugin', str(PROTO)], check=True)
        for name in FILES:  # renamed into place: several workers may start at once
            os.replace(pathlib.Path(work) / name, STUBS / name)


make_stubs()
sys.path.insert(0, str(STUBS))
sys.dont_write_bytecode = True
import grpc  # noqa: E402
from upstream_pb2 import InputStreamRequest, LiveResult, OutputStreamRequest, ReadyResult  # noqa: E402,F401
from upstream_pb2_grpc import UpstreamPeerServiceServicer, add_UpstreamPeerServiceServicer_to_server  # noqa: E402


def now():
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec='milliseconds').replace('+00:00', 'Z')


def to(client, payload):
    return OutputStreamRequest(time=now(), client_uuid=client, payload=payload)


def to_all(payload):
    return OutputStreamRequest(time=now(), broadcast=OutputStreamRequest.BROADCAST_ALL, payload=payload)


def serve(answer):
    """answer(request) gives the messages that answer one payload; it may be called by several threads."""

    class Upstream(UpstreamPeerServiceServicer):
        def bidirectionalStreaming(self, requests, context):
            for request in requests:
                yield from answer(request)

        def ready(self, request, context):
            return ReadyResult(time=now(), ready=True)

        def live(self, requests, context):
            for _ in requests:
                yield LiveResult(time=now(), live=True)

    parser = argparse.ArgumentParser()
    parser.add_argument('--host', default='127.0.0.1')
    parser.add_argument('--port', type=int, default=45888, help='0: any free one')
    options = parser.parse_args()
    stops = (signal.SIGTERM, signal.SIGINT)
    signal.pthread_sigmask(signal.SIG_BLOCK, stops)  # before threads exist

    # Each open stream holds a thread: one for each forwarder of the gateway, one for the prober.
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=64), options=[
        ('grpc.so_reuseport', 0),
        ('grpc.http2.max_ping_strikes', 0),
        ('grpc.keepalive_permit_without_calls', 1),
    ])
    add_UpstreamPeerServiceServicer_to_server(Upstream(), server)
    try:
        port = server.add_insecure_port(f'{options.host}:{options.port}')
    except RuntimeError:
        port = 0
    if port == 0:
        sys.exit(f'cannot listen on {options.host}:{options.port}')
    server.start()
    print(f'listening on {options.host}:{port}', flush=True)
    signal.sigwait(stops)
    os._exit(0)  # streams may be open: the gateway moves its sessions
