"""What scripts/bench measures: each subject is a server on loopback, started and ended here."""

import atexit
import json
import os
import pathlib
import re
import resource
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = ROOT / "build" / "bin"
LOAD = ROOT / "build" / "tests" / "paradox-load"
BROADCASTER = ROOT / "build" / "tests" / "paradox-load-broadcaster"
DESCRIPTORS = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
START_SECONDS = 20

_running = []


class Failure(Exception):
    """A subject that could not be started or measured; the text says why."""


class Program:
    """A process in a session of its own, so that ending it ends what it started too."""

    def __init__(self, command, **options):
        self.name = pathlib.Path(command[0]).name
        self.stderr = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [str(part) for part in command], stdin=subprocess.DEVNULL, stderr=self.stderr,
            start_new_session=True, preexec_fn=raise_file_limit, **options)
        _running.append(self)

    def said(self):
        self.stderr.seek(0)
        lines = self.stderr.read().decode(errors="replace").strip().splitlines()
        return " | ".join(lines[-5:])

    def must_live(self):
        if self.process.poll() is not None:
            raise Failure(f"{self.name} ended with {self.process.returncode}: {self.said()}")

    def end(self):
        if self in _running:
            _running.remove(self)
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()
        self.stderr.close()


def raise_file_limit():
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))


@atexit.register
def end_everything():
    for program in reversed(_running[:]):
        program.end()


def listening(command):
    """Starts what prints `listening on HOST:PORT`; returns it and the port."""
    program = Program(command, stdout=subprocess.PIPE, text=True)
    line = program.process.stdout.readline()
    found = re.search(r"listening on \S*:(\d+)", line)
    if not found:
        program.process.wait(START_SECONDS)
        raise Failure(f"{program.name} does not listen: {program.said()}")
    return program, int(found.group(1))


def until(program, what, ask):
    """Asks until there is an answer, while the program lives, up to the deadline."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        program.must_live()
        try:
            answer = ask()
            if answer:
                return answer
        except (OSError, ValueError, KeyError, IndexError):
            pass
        time.sleep(0.02)
    raise Failure(f"{program.name}: {what} took more than {START_SECONDS} s: {program.said()}")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Subject:
    """name: the column's head; workers: processes or threads of the data plane; measured: whose memory counts."""

    has_table = False  # shared memory that is there from the start

    def __init__(self, name, workers=1):
        self.name, self.workers = name, workers
        self.port, self.measured, self.programs = 0, None, []

    def start(self):
        try:
            self.launch()
        except BaseException:
            self.stop()
            raise

    def launch(self):
        raise NotImplementedError

    def stop(self):
        for program in reversed(self.programs):
            program.end()
        self.programs = []

    def listening(self, command):
        program, port = listening(command)
        self.programs.append(program)
        return program, port

    def memory(self):
        """Anonymous memory in bytes of all processes of what is measured, by program name.

        Without mapped files and shared memory: their proportional sizes are estimates on kernels with large folios.
        HAProxy and the bare echo have no shared memory; the gateway's table is allocated whole at start.
        """
        leader = self.measured.process.pid
        sizes = {}
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                status = (entry / "status").read_text()
                parent = int(re.search(r"^PPid:\s+(\d+)", status, re.M).group(1))
                # The gateway's workers are its children, in sessions of their own.
                if leader not in (parent, os.getsid(int(entry.name))):
                    continue
                name = (entry / "comm").read_text().strip()
            except (OSError, ProcessLookupError):
                continue
            kilobytes = sum(int(size) for size in re.findall(r"^RssAnon:\s+(\d+)", status, re.M))
            sizes[name] = sizes.get(name, 0) + 1024 * kilobytes
        return sizes


class BareEcho(Subject):
    def launch(self):
        self.measured, self.port = self.listening([LOAD, "tcp-echo-server", "--port", 0])


class DirectGrpc(Subject):
    def launch(self):
        self.measured, self.port = self.listening([BIN / "paradox-example-echo", "--quiet", "--port", 0])


class Haproxy(Subject):
    """Debian's HAProxy as a plain TCP relay in front of the bare echo."""

    def launch(self):
        _, echo = self.listening([LOAD, "tcp-echo-server", "--port", 0])
        self.port = free_port()
        self.scratch = tempfile.TemporaryDirectory(prefix="paradox-bench.")
        config = pathlib.Path(self.scratch.name) / "haproxy.cfg"
        config.write_text(f"""\
global
    nbthread {self.workers}
    maxconn {(DESCRIPTORS - 200) // 2}
    no strict-limits
defaults
    mode tcp
    timeout connect 5s
    timeout client 10m
    timeout server 10m
frontend clients
    bind 127.0.0.1:{self.port} backlog 4096
    default_backend echo
backend echo
    # An address of its own: else its TIME_WAITs take all ports of 127.0.0.1, and nobody on this host can bind to
    # port 0 for a minute. Costs it 1 % of its time for a connection.
    server echo 127.0.0.1:{echo} source 127.0.2.1
""")
        program = Program(["/usr/sbin/haproxy", "-db", "-f", config], stdout=subprocess.DEVNULL)
        self.programs.append(program)
        self.measured = program
        until(program, "its listener", lambda: socket.create_connection(("127.0.0.1", self.port), 1).close() or True)

    def stop(self):
        super().stop()
        if hasattr(self, "scratch"):
            self.scratch.cleanup()


class Gateway(Subject):
    """paradoxd with `workers` forwarders in front of one upstream worker."""

    has_table = True

    worker = [BIN / "paradox-example-echo", "--quiet", "--port", 0]

    def launch(self):
        if not (BIN / "paradoxd").exists():
            raise Failure("build/bin/paradoxd is not built")
        _, upstream = self.listening(self.worker)
        self.scratch = tempfile.TemporaryDirectory(prefix="paradox-bench.")
        directory = pathlib.Path(self.scratch.name)
        config = directory / "paradox.toml"
        config.write_text(f"""\
[server]
host = "127.0.0.1"
port = 0
[management_server]
host = "127.0.0.1"
port = 0
log_level = "warn"
[[upstream]]
host = "127.0.0.1"
port = {upstream}
alive_timeout = 30
ready_timeout = 5
[workers]
forwarders = {self.workers}
""")
        runtime = directory / "runtime"
        runtime.mkdir(mode=0o700)
        program = Program([BIN / "paradoxd", "--config", config, "--runtime-dir", runtime], stdout=subprocess.DEVNULL)
        self.programs.append(program)
        self.measured = program
        admin = until(program, "its admin port", lambda: int((runtime / "admin.port").read_text()))
        until(program, "its readiness", lambda: self.get(admin, "/health/ready"))
        self.port = until(program, "its listener's port",
                          lambda: json.loads(self.get(admin, "/admin/status"))["listeners"][0]["port"])

    @staticmethod
    def get(port, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as answer:
            return answer.read()

    def stop(self):
        super().stop()
        if hasattr(self, "scratch"):
            self.scratch.cleanup()


class BroadcastGateway(Gateway):
    worker = [BROADCASTER, "--quiet", "--port", 0]
