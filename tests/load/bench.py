"""scripts/bench: one table of all subjects, measured in turn within one run, medians over the rounds.

In each round every subject is measured before any is measured again, so a machine that is busy for a while is busy
for all. No figure fails the run; one that could not be had is a dash, with the reason below the table.
"""

import argparse
import json
import signal
import statistics
import subprocess
import sys

from subjects import (BareEcho, BroadcastGateway, DESCRIPTORS, DirectGrpc, Failure, Gateway, Haproxy, LOAD, Program)

SESSIONS = min(10_000, (DESCRIPTORS - 1000) // 2)  # HAProxy holds two descriptors a session
LISTENERS = 5_000
SLOT_BYTES = 256  # of the gateway's table, allocated at start, so no process grows by it


class Bench:
    def __init__(self, options):
        self.options = options
        self.figures = {}  # (measure, subject) -> list
        self.notes = []

    def note(self, text):
        if text not in self.notes:
            self.notes.append(text)
            print(f"  note: {text}", file=sys.stderr)

    def record(self, measure, subject, value):
        self.figures.setdefault((measure, subject.name), []).append(value)

    def median(self, measure, name):
        values = self.figures.get((measure, name))
        return statistics.median(values) if values else None

    def load(self, subject, mode, *arguments):
        """One run of the load generator; None, with a note, if it measured nothing to be trusted."""
        command = [str(part) for part in (LOAD, mode, "--port", subject.port, *arguments)]
        ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
        if ran.returncode != 0:
            self.note(f"{subject.name}, {mode}: {ran.stderr.strip()}")
            return None
        result = json.loads(ran.stdout)
        if result["failed"] or result.get("missing") or result.get("doubled"):
            self.note(f"{subject.name}, {mode}: {result['failed']} connections failed, "
                      f"{result.get('missing', 0)} messages missing, {result.get('doubled', 0)} doubled "
                      f"({result.get('first_problem', '')})")
        return result

    def speed(self, subject):
        seconds = ("--seconds", self.options.seconds)
        grpc = isinstance(subject, DirectGrpc)
        for in_flight in (1, 16):
            result = self.load(subject, "grpc-echo" if grpc else "echo", "--in-flight", in_flight, *seconds)
            if result:
                self.record(f"echo{in_flight}", subject, result["per_second"])
        if grpc:
            return
        result = self.load(subject, "paced", "--rate", 2000, *seconds)
        if result:
            self.record("p50", subject, result["p50_us"])
            self.record("p99", subject, result["p99_us"])
        result = self.load(subject, "connect", "--sources", 100, *seconds)
        if result:
            self.record("connect", subject, result["per_second"])

    def memory(self, subject):
        """A subject just started, warmed up so that what it allocates once is there before."""
        if not self.load(subject, "echo", "--seconds", 0.3):
            return
        before = subject.memory()
        idle = Program([LOAD, "idle", "--port", subject.port, "--connections", SESSIONS, "--sources", 10],
                       stdout=subprocess.PIPE, text=True)
        try:
            line = idle.process.stdout.readline()
            if not line:
                idle.process.wait()
                self.note(f"{subject.name}, idle: {idle.said()}")
                return
            sessions = json.loads(line)["open"]
            after = subject.memory()
        finally:
            idle.end()
        growth = {name: (size - before.get(name, 0)) / sessions for name, size in after.items()}
        slot = SLOT_BYTES if subject.has_table else 0
        self.record("memory", subject, sum(growth.values()) + slot)
        if len(growth) > 1:
            parts = ", ".join(f"{name} {size:.0f}" for name, size in sorted(growth.items()))
            self.notes.append(f"{subject.name}, bytes per idle session by program: {parts}" +
                              (f"; table {slot}" if slot else ""))

    def broadcast(self, subject):
        result = self.load(subject, "broadcast", "--connections", LISTENERS, "--sources", 10, "--rounds", 20)
        if result:
            self.record("broadcast50", subject, result["p50_us"] / 1000)
            self.record("broadcast_max", subject, result["max_us"] / 1000)

    def on_fresh(self, subject, measure):
        try:
            subject.start()
            measure(subject)
        except Failure as failure:
            self.note(f"{subject.name}: {failure}")
        finally:
            subject.stop()

    def run(self, subjects, broadcasters):
        for subject in subjects:
            if not isinstance(subject, DirectGrpc):
                print(f"memory of {subject.name}", file=sys.stderr)
                self.on_fresh(subject, self.memory)
        for subject in broadcasters:
            print(f"broadcast through {subject.name}", file=sys.stderr)
            self.on_fresh(subject, self.broadcast)
        started = []
        try:
            for subject in subjects:
                try:
                    subject.start()
                    started.append(subject)
                except Failure as failure:
                    self.note(f"{subject.name}: {failure}")
            for number in range(self.options.rounds):
                for subject in started:
                    print(f"round {number + 1} of {self.options.rounds}: {subject.name}", file=sys.stderr)
                    try:
                        self.speed(subject)
                        subject.measured.must_live()
                    except (Failure, subprocess.TimeoutExpired) as failure:
                        self.note(f"{subject.name}: {failure}")
        finally:
            for subject in started:
                subject.stop()


ROWS = [  # measure, label, decimals
    ("echo1", "echo 64 B, 50 clients, 1 in flight: messages/s", 0),
    ("echo16", "echo 64 B, 50 clients, 16 in flight: messages/s", 0),
    ("p50", "2,000 messages/s: p50, µs from when due", 0),
    ("p99", "2,000 messages/s: p99, µs from when due", 0),
    ("connect", "connect + echo + close: per second", 0),
    ("memory", f"user-space bytes per idle session, of {SESSIONS:,}", 0),
    ("broadcast50", f"broadcast to {LISTENERS:,}: p50 until all have it, ms", 1),
    ("broadcast_max", f"broadcast to {LISTENERS:,}: worst of 20, ms", 1),
]


def print_table(bench, subjects, workers):
    def cell(value, decimals):
        return "-" if value is None else f"{value:,.{decimals}f}"

    def ratio(measure, ours, theirs):
        a, b = bench.median(measure, ours), bench.median(measure, theirs)
        return "-" if a is None or not b else f"{a / b:.2f}"

    pairs = []
    for n in workers:
        pairs.append((f"ours {n} / HAProxy {n}", f"ours x{n}", f"HAProxy x{n}"))
    pairs.append((f"ours {workers[-1]} / gRPC", f"ours x{workers[-1]}", "direct gRPC"))
    rows = [["", *(subject.name for subject in subjects), *(label for label, _, _ in pairs)]]
    for measure, label, decimals in ROWS:
        rows.append([label, *(cell(bench.median(measure, subject.name), decimals) for subject in subjects),
                     *(ratio(measure, ours, theirs) for _, ours, theirs in pairs)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for number, row in enumerate(rows):
        print("| " + " | ".join(text.ljust(width) if i == 0 else text.rjust(width)
                                for i, (text, width) in enumerate(zip(row, widths))) + " |")
        if number == 0:
            print("|" + "|".join("-" * (width + 2) if i == 0 else "-" * (width + 1) + ":"
                                 for i, width in enumerate(widths)) + "|")


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="two rounds of one second")
    parser.add_argument("--seconds", type=float, default=2, help="of each measurement")
    parser.add_argument("--workers", default="1,2", help="numbers of forwarders, and of HAProxy's threads beside them")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 2, 1
    workers = [int(number) for number in options.workers.split(",")]

    # Ctrl-C and SIGTERM unwind through every `finally`, and what is left ends at exit.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    subjects = [BareEcho("bare TCP echo"), DirectGrpc("direct gRPC")]
    for n in workers:
        subjects += [Haproxy(f"HAProxy x{n}", n), Gateway(f"ours x{n}", n)]
    bench = Bench(options)
    bench.run(subjects, [BroadcastGateway(f"ours x{n}", n) for n in workers])

    print_table(bench, subjects, workers)
    print(f"\nMedians of {options.rounds} rounds of {options.seconds:g} s each, all subjects in turn in every round; the "
          "load runs on the same cores.\nxN: N forwarders, N threads of HAProxy. Bytes and broadcast are measured once, "
          "on subjects just started; bytes are the growth of\nanonymous memory over all the "
          "subject's processes, and of the gateway also the slot in its table; the upstream worker or echo server behind is not counted.")
    for note in bench.notes:
        print(f"- {note}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
