"""A library for upstreams of ParadoxPlex in Python: the contract with its extensions (docs/PROTOCOL.md).

    class Echo(Handler):
        def on_bytes(self, client, data, offset):
            self.upstream.send(client, data)

    serve(Echo())

A worker says what it does with a client's coming, its bytes, the end of its input and its going; acknowledgement,
re-sending and de-duplication are done here. With a gateway that speaks the extensions, bytes to and from a client are
exact while this process lives, over crashes and restarts of any process of the gateway. A gateway that does not is
served by the plain contract: then a client's first bytes are its opening, nobody tells of its end, close() does nothing.

Uses Debian's python3-grpcio and python3-protobuf; the stubs are made from proto/upstream.proto at the first start, by
protoc and the plugin of protobuf-compiler-grpc, into $PPX_PYTHON_STUBS (default: build/python-stubs in the source tree,
~/.cache/paradoxplex for an installed copy).
"""
import argparse
import collections
import datetime
import hashlib
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
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
import upstream_pb2 as wire  # noqa: E402
from upstream_pb2_grpc import UpstreamPeerServiceServicer, add_UpstreamPeerServiceServicer_to_server  # noqa: E402

VERSION = 1
CAPABILITIES = ('events', 'close', 'resume')
ALL, ACTIVE, NOT_ACTIVE = (wire.OutputStreamRequest.BROADCAST_ALL, wire.OutputStreamRequest.BROADCAST_ACTIVE,
                           wire.OutputStreamRequest.BROADCAST_NOT_ACTIVE)
MARK_SECONDS, MARK_BYTES, MARKS_A_MESSAGE = 0.05, 64 << 10, 256
REPLAY_BYTES = 8 << 20  # unacknowledged replies of one lane; then send() waits
INPUT_BYTES = 4 << 20  # input of one plain stream that waits for the handler; then it is not read
ORPHAN_SECONDS = 60  # a lane that nobody goes on with is dropped, its clients are closed
MOST_GIVEN_UP = 100_000  # of those clients, remembered: to come again they are not new
PLAIN_IDLE_SECONDS = 3600  # plain contract: a client that is silent for so long is taken for gone
OVERHEAD = 256  # counted for each reply beside its bytes


def now():
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec='milliseconds').replace('+00:00', 'Z')


Opened = collections.namedtuple('Opened', 'peer listener continued offset')


class Handler:
    """Called by one thread, one call at a time. Set: self.upstream."""

    upstream = None

    def on_opened(self, client, opened):
        """opened.continued: another upstream, or an earlier life of this one, may have had it; opened.offset: where it
        stands."""

    def on_bytes(self, client, data, offset):
        """False: not dealt with yet; upstream.handled() acknowledges it later. Anything else: done."""

    def on_end(self, client):
        """The client sends no more."""

    def on_closed(self, client, reason):
        """Nothing more comes from it or reaches it."""


class Lane:
    def __init__(self, number=0):
        self.number = number  # 0: plain, nobody acknowledges
        self.entries = collections.deque()  # (message, bytes); the first has number acknowledged + 1
        self.acknowledged, self.next, self.written, self.bytes = 0, 1, 0, 0
        self.limit = None  # the stream ends before this number
        self.stream = None
        self.claim = 0  # the gateway's number of that attachment
        self.orphaned = time.monotonic()
        self.dead = False

    def due(self):
        return self.written < len(self.entries) and (
            self.limit is None or self.acknowledged + self.written + 1 < self.limit)

    def flows(self):
        """It goes over its own stream, which the gateway has not half-closed."""
        return self.stream is not None and self.stream.own is self and self.limit is None

    def may_take(self):
        """What comes after the end of the gateway's side waits for the lane's next stream; a plain lane has none."""
        return not self.dead and (self.number != 0 or self.limit is None)


class Stream:
    def __init__(self):
        self.fresh, self.events, self.resume, self.gateway = True, False, False, ''
        self.own, self.lanes = None, []
        self.control = collections.deque()  # (message, not before this number of the own lane)
        self.waiting = 0  # bytes without an offset that wait for the handler
        self.input_ended = self.gone = False
        self.error = None


class Session:
    def __init__(self, offset, plain):
        self.home = self.last = None  # lanes: of the stream it was last heard of, of its last reply
        self.last_number = 0
        self.received = self.given = self.handled = self.told = offset  # given: to the handler
        self.announced_on = None
        self.assignment = 0  # that `received` and `handled` are of; 0: none
        self.announcement = 0  # the gateway's number of the last OPENED
        self.ended, self.plain, self.heard = False, plain, time.monotonic()


class Upstream:
    def __init__(self, handler):
        self._handler, self._instance = handler, uuid.uuid4().hex
        self._lock = threading.RLock()
        self._tasks_come, self._room, self._writable = (threading.Condition(self._lock) for _ in range(3))
        self._sessions, self._lanes, self._streams = {}, {}, []
        self._tasks, self._due = collections.deque(), set()
        self._given_up = {}  # clients, in order
        self._blocked = 0  # calls that wait for room: meanwhile everything is read
        self._broadcast = None, 0  # lane and number of the last broadcast that was not a handler's
        self._drafts = self._current = None  # of the handler's call under way
        handler.upstream = self
        self._worker = threading.Thread(target=self._run_handler, daemon=True)
        self._worker.start()
        threading.Thread(target=self._run_ticker, daemon=True).start()

    # --- for the worker; any thread ---

    def send(self, client, data):
        """Waits while the replay buffer is full, but not in a handler. False: there is nobody to send it to."""
        return self._put_or_draft(client, wire.OutputStreamRequest(client_uuid=client, payload=data))

    def broadcast(self, data, to=ALL):
        return self._put_or_draft(None, wire.OutputStreamRequest(broadcast=to, payload=data))

    def close(self, client, at_once=False):
        kind = wire.CLOSE_NOW if at_once else wire.CLOSE_FLUSH
        return self._put_or_draft(client, wire.OutputStreamRequest(client_uuid=client, close=kind))

    def handled(self, client, count):
        """After on_bytes() returned False: so many more bytes of the client are dealt with."""
        with self._lock:
            if session := self._sessions.get(client):
                # What the handler has not been given it cannot have dealt with: those are bytes of an earlier assignment.
                session.handled = max(session.handled, min(session.handled + count, session.given))
                self._mark_due(client, session)

    # --- what streams bring ---

    def _take(self, stream, message):
        with self._lock:
            if message.HasField('hello') or stream.fresh:
                if not stream.fresh:
                    raise ValueError('a second hello')
                stream.fresh = False
                self._take_hello(stream, message)
            for position in message.lanes:
                self._take_position(stream, position)
            if message.HasField('event'):
                self._take_event(stream, message.client_uuid, message.event)
            elif message.client_uuid and message.payload:
                self._take_payload(stream, message)

    def _take_hello(self, stream, message):
        if not message.HasField('hello'):
            stream.own = Lane()
        else:
            hello = message.hello
            if hello.version != VERSION:
                raise ValueError(f'version {hello.version} of the extensions is not spoken here')
            names = [name for name in CAPABILITIES if name in hello.capabilities]
            stream.gateway, stream.events = hello.instance_id, 'events' in names
            stream.resume = 'resume' in names and hello.lane != 0
            mine = wire.Hello(version=VERSION, capabilities=names, instance_id=self._instance)
            stream.control.append((wire.OutputStreamRequest(time=now(), hello=mine), 0))
            self._writable.notify_all()
            if stream.resume:
                # It goes over this stream once the gateway has said where it stands.
                stream.own = self._lane(stream.gateway, hello.lane)
                return
            stream.own = Lane()
        stream.own.stream = stream
        stream.lanes.append(stream.own)

    def _lane(self, gateway, number):
        return self._lanes.setdefault((gateway, number), Lane(number))

    def _take_position(self, stream, position):
        lane = self._lane(stream.gateway, position.lane)
        if lane.next <= position.sequence and not lane.entries:
            lane.acknowledged, lane.next = position.sequence, position.sequence + 1
        self._trim(lane, position.sequence)
        # Streams are read in no order among one another: an attachment that is out of date may come last.
        if position.attach and not 0 < position.claim < lane.claim:
            self._detach(lane)
            lane.stream, lane.written, lane.limit, lane.claim = stream, 0, None, position.claim
            stream.lanes.append(lane)
            self._writable.notify_all()
            self._room.notify_all()
            # What was dealt with while it had no stream is told now.
            self._due.update(client for client, session in self._sessions.items()
                             if session.home is lane and session.handled > session.told)
            if lane is not stream.own:
                # From a forwarder that is gone: an end that only that one knew of was told to nobody.
                self._ask_after(stream, lambda session: session.home is lane)

    def _ask_after(self, stream, wanted):
        """The gateway answers a mark of a client that it does not know with its closing, and others not at all."""
        marks = [wire.InputMark(client_uuid=client, offset=session.told, assignment=session.assignment)
                 for client, session in self._sessions.items() if not session.plain and wanted(session)]
        for start in range(0, len(marks), MARKS_A_MESSAGE):
            question = wire.OutputStreamRequest(time=now(), marks=marks[start:start + MARKS_A_MESSAGE])
            stream.control.append((question, 0))
        self._writable.notify_all()

    def _trim(self, lane, acknowledged):
        while lane.entries and lane.acknowledged < acknowledged:
            lane.bytes -= lane.entries.popleft()[1]
            lane.acknowledged += 1
            lane.written = max(0, lane.written - 1)
        if lane.bytes <= REPLAY_BYTES // 2:
            self._room.notify_all()

    def _detach(self, lane):
        if lane.stream:
            lane.stream.lanes.remove(lane)
        lane.stream, lane.orphaned = None, time.monotonic()

    def _take_event(self, stream, client, event):
        session = self._sessions.get(client)
        if event.kind == wire.SessionEvent.KIND_OPENED:
            self._take_opened(stream, client, session, event)
        elif event.kind == wire.SessionEvent.KIND_END:
            if session and not session.ended:
                session.ended = True
                self._task('end', client)
        elif event.kind == wire.SessionEvent.KIND_CLOSED:
            self._end(client, event.reason)
        elif event.kind == wire.SessionEvent.KIND_MOVED:
            if session:  # what came before is still this upstream's to answer
                self._task('moved', client, session.assignment)
        elif event.kind == wire.SessionEvent.KIND_LISTED:
            # Whom the gateway did not announce on a stream's start is not there any more, or another forwarder has it and
            # its word has not come yet.
            self._ask_after(stream, lambda other: other.home is stream.own and other.announced_on is not stream)

    def _take_opened(self, stream, client, session, event):
        if session and 0 < event.announcement < session.announcement:
            # Out of date: from a forwarder that is dead, whose stream was read behind that of whoever has the session now.
            return
        if session and session.assignment and event.assignment and session.assignment != event.assignment:
            # Another instance has had it meanwhile: what was taken of it before is that one's to answer, or was.
            self._end(client, 'moved')
            session = None
        if session is None:
            self._sessions[client] = session = Session(event.offset, False)
            continued = event.continued or self._given_up.pop(client, None) is not None
            self._task('opened', client, Opened(event.peer, event.listener, continued, event.offset))
        session.home, session.announced_on, session.plain = stream.own, stream, False
        session.assignment, session.announcement = event.assignment, event.announcement
        # Said once more, over a new stream: what we have of its input and the gateway does not know of is told again.
        session.told = min(session.told, event.offset)
        if session.handled > session.told:
            self._due.add(client)

    def _end(self, client, reason):
        if self._sessions.pop(client, None):
            self._due.discard(client)
            self._task('closed', client, reason)

    def _take_payload(self, stream, message):
        client, data = message.client_uuid, message.payload
        numbered = stream.resume and message.HasField('offset')
        session = self._sessions.get(client)
        if session is None:
            if numbered:
                # It was announced before and is gone: what is read of it now was sent by a forwarder that is dead.
                return
            session = self._sessions[client] = Session(0, True)
            self._task('opened', client, Opened('', '', False, 0))
        session.heard = time.monotonic()
        if numbered:
            offset, end = message.offset, message.offset + len(data)
            if end <= session.received:  # a repetition
                session.told = min(session.told, offset)
                if session.handled > session.told:
                    self._due.add(client)
                return
            if offset < session.received:
                data = data[session.received - offset:]
            elif offset > session.received:  # another upstream had it meanwhile
                session.handled += offset - session.received
                session.received = offset
        else:
            session.home = stream.own
            stream.waiting += len(data)
        offset = session.received
        session.received += len(data)
        self._task('bytes', client, data, offset, None if numbered else stream, session.assignment)

    def _task(self, *task):
        self._tasks.append(task)
        self._tasks_come.notify()

    def _gone(self, stream):
        with self._lock:
            stream.gone = True
            self._streams.remove(stream)
            for lane in list(stream.lanes):
                self._detach(lane)
                lane.dead = lane.number == 0
            self._writable.notify_all()
            self._room.notify_all()
            # Whom it was the last to announce may have been gone by then: this may have been read behind its row's next
            # stream. Where there is none yet, whoever gets the lane asks by itself.
            heirs = [each for each in self._streams if stream.own and each.own is stream.own]
            heir = stream.own.stream if stream.own and stream.own.stream else next(iter(heirs), None)
            if heir:
                self._ask_after(heir, lambda session: session.home is stream.own and session.announced_on is stream)

    # --- what streams take ---

    def _next(self, stream):
        """The next message to write, after waiting for one; None: the stream ends."""
        with self._lock:
            while not stream.gone and stream.error is None:
                own = stream.own
                if stream.control:
                    message, after = stream.control[0]
                    if own is None or own.number == 0 or after <= own.acknowledged + own.written + 1:
                        stream.control.popleft()
                        return message
                for lane in stream.lanes:
                    if lane.due():
                        message = lane.entries[lane.written][0]
                        lane.written += 1
                        if lane.number == 0:
                            self._trim(lane, lane.acknowledged + 1)
                        return message
                if stream.input_ended:
                    return None
                self._writable.wait()
            return None

    # --- what the worker sends ---

    def _any_lane(self):
        usable = [s.own for s in self._streams if s.own and s.own.may_take()]
        return next((lane for lane in usable if lane.flows()), usable[0] if usable else None)

    def _lane_for(self, session):
        """Replies to one client, and broadcasts, stay in one lane until all of them are acknowledged (plain: until its
        stream has ended): so they cannot overtake one another. None: they wait."""
        if session is None:
            last, number = self._broadcast
            if last and not last.dead:
                if last.flows() or last.number and number > last.acknowledged:
                    return last
                if not last.may_take():
                    return None
            return self._any_lane()
        last = session.last
        if last and last.number and not last.dead and session.last_number > last.acknowledged:
            return last
        if session.home and not session.home.dead:
            return session.home if session.home.may_take() else None
        lane = self._any_lane()
        if lane and lane.number == 0:
            session.home = lane
        return lane

    def _put_or_draft(self, client, message):
        if self._drafts is not None and threading.current_thread() is self._worker:
            self._drafts.append((client, message))
            return True
        with self._lock:
            return self._put(client, message, 0)

    def _put(self, client, message, acknowledged, assignment=0):
        """`assignment`: of the input that this answers; 0: it answers none, or nobody counts them."""
        deadline = time.monotonic() + ORPHAN_SECONDS
        while True:
            session = self._sessions.get(client)
            if assignment and (session is None or session.assignment != assignment):
                return False
            lane = self._lane_for(session)
            if lane and lane.bytes < REPLAY_BYTES:
                break
            if lane is None and time.monotonic() >= deadline:
                return False
            self._blocked += 1
            self._room.notify_all()  # who does not read for the sake of the handler reads now
            self._room.wait(MARK_SECONDS)
            self._blocked -= 1
        if message.close and lane.number == 0 and not (lane.stream and lane.stream.events):
            return False
        message.time = now()
        if client is None:
            self._broadcast = lane, lane.next
        if lane.number:
            message.lane, message.sequence = lane.number, lane.next
            if session:
                session.last, session.last_number = lane, lane.next
                if acknowledged > session.told:
                    message.acknowledged = session.told = acknowledged
                    message.assignment = session.assignment
                    if session.handled <= acknowledged:
                        self._due.discard(client)
        lane.next += 1
        size = len(message.payload) + OVERHEAD
        lane.bytes += size
        lane.entries.append((message, size))
        self._writable.notify_all()
        return True

    def _mark_due(self, client, session):
        if session.handled <= session.told:
            return
        self._due.add(client)
        stream = session.home.stream if session.home else None
        if stream and stream.resume and session.handled - session.told >= MARK_BYTES:
            self._send_marks(stream)

    def _send_marks(self, only=None):
        marks = {}
        for client in list(self._due):
            session = self._sessions.get(client)
            stream = session.home.stream if session and session.home else None
            if only and stream is not only:
                continue
            self._due.discard(client)  # one whose lane has no stream is told when it has one again
            if stream and stream.resume:
                marks.setdefault(stream, []).append(
                    wire.InputMark(client_uuid=client, offset=session.handled, assignment=session.assignment))
                session.told = session.handled
        for stream, list_ in marks.items():
            for at in range(0, len(list_), MARKS_A_MESSAGE):
                message = wire.OutputStreamRequest(time=now(), marks=list_[at:at + MARKS_A_MESSAGE])
                stream.control.append((message, stream.own.next))
        if marks:
            self._writable.notify_all()

    # --- threads ---

    def _run_handler(self):
        while True:
            with self._lock:
                while not self._tasks:
                    self._tasks_come.wait()
                task = self._tasks.popleft()
            self._handle(*task)

    def _handle(self, kind, client, what=None, offset=0, stream=None, assignment=0):
        if kind == 'input_ended':
            with self._lock:
                self._send_marks(client)
                for lane in client.lanes:
                    lane.limit = lane.next
                client.input_ended = True
                self._writable.notify_all()
            return
        if kind == 'moved':
            with self._lock:
                if (session := self._sessions.get(client)) and session.assignment == what:
                    self._end(client, 'moved')
            return
        self._drafts, self._current, done = [], client, True
        try:
            if kind == 'opened':
                self._handler.on_opened(client, what)
            elif kind == 'bytes':
                self._note_given(client, offset + len(what), assignment)
                done = self._handler.on_bytes(client, what, offset) is not False
            elif kind == 'end':
                self._handler.on_end(client)
            else:
                self._handler.on_closed(client, what)
        except Exception:  # the worker is its own master; the next call may do
            sys.excepthook(*sys.exc_info())
        drafts, self._drafts = self._drafts, None
        with self._lock:
            self._finish_call(client, what, offset, stream, drafts, kind == 'bytes' and done, assignment)

    def _note_given(self, client, end, assignment):
        with self._lock:
            if (session := self._sessions.get(client)) and session.assignment == assignment:
                session.given = end

    def _finish_call(self, client, data, offset, stream, drafts, done, assignment):
        """What the call sent goes out; the last of it to the client itself says that its bytes are dealt with."""
        last = max((i for i, (to, m) in enumerate(drafts) if to == client and m.payload), default=-1) if done else -1
        for i, (to, message) in enumerate(drafts):
            # A broadcast goes where the replies to the client go that is being dealt with: it sees both in order.
            self._put(client if to is None else to, message, offset + len(data) if i == last else 0,
                      assignment if to == client else 0)
        if stream:
            stream.waiting -= len(data)
            self._room.notify_all()
        session = self._sessions.get(client)
        if done and session and session.assignment == assignment:
            session.handled = min(session.handled + len(data), session.received)
            if stream is None:
                self._mark_due(client, session)

    def _run_ticker(self):
        expire_at = time.monotonic() + 1
        while True:
            time.sleep(MARK_SECONDS)
            with self._lock:
                if self._due:
                    self._send_marks()
                if time.monotonic() >= expire_at:
                    expire_at = time.monotonic() + 1
                    self._expire(time.monotonic())

    def _expire(self, at):
        for key, lane in list(self._lanes.items()):
            if lane.stream is None and at - lane.orphaned >= ORPHAN_SECONDS:
                lane.dead = True
                del self._lanes[key]
        for client, session in list(self._sessions.items()):
            if session.plain and at - session.heard >= PLAIN_IDLE_SECONDS:
                self._end(client, 'silent for too long')
            elif not session.plain and session.home and session.home.dead:
                self._end(client, 'the gateway is gone')
                self._given_up[client] = True
                while len(self._given_up) > MOST_GIVEN_UP:
                    del self._given_up[next(iter(self._given_up))]

    # --- gRPC ---

    def _read(self, stream, requests):
        try:
            for message in requests:
                self._take(stream, message)
                with self._lock:
                    while stream.waiting >= INPUT_BYTES and not self._blocked and not stream.gone:
                        self._room.wait()
        except ValueError as error:
            with self._lock:
                stream.error = str(error)
                self._writable.notify_all()
            return
        except Exception:  # the call is over: cancelled, or its connection is lost
            return
        with self._lock:
            # What came before this is handled first, so that its replies go before the stream ends.
            self._task('input_ended', stream)

    def _stream(self, requests, context):
        stream = Stream()
        with self._lock:
            self._streams.append(stream)
        def over():
            self._gone(stream)
        if not context.add_callback(over):
            over()
            return
        threading.Thread(target=self._read, args=(stream, requests), daemon=True).start()
        while message := self._next(stream):
            yield message
        if stream.error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, stream.error)


class _Service(UpstreamPeerServiceServicer):
    def __init__(self, upstream):
        self._upstream = upstream

    def bidirectionalStreaming(self, requests, context):
        yield from self._upstream._stream(requests, context)

    def ready(self, request, context):
        return wire.ReadyResult(time=now(), ready=True, extensions=VERSION)

    def live(self, requests, context):
        for _ in requests:
            yield wire.LiveResult(time=now(), live=True)


def serve(handler):
    """Runs the worker until SIGTERM or SIGINT: --host, --port (0: any free one; the line on stdout says which)."""
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
    add_UpstreamPeerServiceServicer_to_server(_Service(Upstream(handler)), server)
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
