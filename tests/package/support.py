"""What the tests of an installation share: the tree installed once for each process, and gateways out of it."""
import atexit
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

SOURCE = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get('PPX_BUILD_DIR', SOURCE / 'build'))
DEADLINE = 20  # seconds that anything may take


def run(*command, **options):
    """The finished process; its output is text. A failure says what it printed."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, stdin=subprocess.DEVNULL,
                          timeout=options.pop('timeout', DEADLINE), **options)
    if done.returncode != 0:
        raise AssertionError(f'{command}: exit code {done.returncode}\n{done.stdout}{done.stderr}')
    return done


def scratch():
    """A directory that goes when this process ends; unless something is mounted in it: what is there is not ours to remove."""
    path = pathlib.Path(tempfile.mkdtemp(prefix='ppx-package.'))

    def remove():
        mounts = [line.split()[4] for line in pathlib.Path('/proc/self/mountinfo').read_text().splitlines()]
        if not any(mount.startswith(f'{path}/') for mount in mounts):
            shutil.rmtree(path, ignore_errors=True)

    atexit.register(remove)
    return path


def install(prefix='/usr', root=None):
    """The tree installed under a directory of its own: that directory."""
    root = root or scratch()
    run('cmake', '--install', BUILD, '--prefix', prefix, env=os.environ | {'DESTDIR': str(root)})
    return root


def until(what, condition):
    """Asks 50 times a second until it is true."""
    end = time.monotonic() + DEADLINE
    while not (answer := condition()):
        if time.monotonic() > end:
            raise AssertionError(f'{what}: not within {DEADLINE} s')
        time.sleep(0.02)
    return answer


def processes_with(word):
    """Pids of the living whose command line has the word."""
    found = []
    for folder in pathlib.Path('/proc').glob('[0-9]*'):
        try:
            if word in (folder / 'cmdline').read_bytes().decode(errors='replace').split('\0'):
                found.append(int(folder.name))
        except OSError:
            pass
    return found


class Started:
    """A process of the test, in a group of its own that is killed with all it left when the test ends."""

    def __init__(self, *command, **options):
        self.output = tempfile.TemporaryFile('w+')
        self.process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL,
                                        stdout=self.output, stderr=subprocess.STDOUT, start_new_session=True, **options)
        atexit.register(self.kill)

    def text(self):
        self.output.seek(0)
        return self.output.read()

    def running(self):
        """True; if it has ended, that fails with what it said."""
        if self.process.poll() is not None:
            raise AssertionError(f'it ended with {self.process.returncode}: {self.text()}')
        return True

    def wait_for(self, pattern):
        return until(pattern, lambda: self.running() and re.search(pattern, self.text()))

    def stop(self):
        """Its exit code after SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE)

    def kill(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


class Gateway:
    """The gateway of an installation (its bin directory), in the foreground, on ports that the kernel chose."""

    def __init__(self, bin_dir, config, environment=None, tls=False):
        self.scheme = 'https' if tls else 'http'
        self.bin = pathlib.Path(bin_dir)
        self.folder = scratch()
        self.runtime = self.folder / 'runtime'
        file = self.folder / 'paradox.toml'
        file.write_text(config)
        self.daemon = Started(self.bin / 'paradoxd', '--config', file, '--runtime-dir', self.runtime, env=environment)
        atexit.register(self.kill_workers)
        until('ready', lambda: self.is_ready())

    def is_ready(self):
        try:
            return self.daemon.running() and self.get('/health/ready')['ready']
        except (OSError, ValueError):
            return False

    @property
    def url(self):
        return f'{self.scheme}://localhost:{int((self.runtime / "admin.port").read_text())}'

    def get(self, path):
        try:
            trusting = ssl._create_unverified_context()
            with urllib.request.urlopen(self.url + path, timeout=DEADLINE, context=trusting) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            return json.load(error)

    def connect(self):
        port = self.get('/admin/status')['listeners'][0]['port']
        return socket.create_connection(('127.0.0.1', port), timeout=DEADLINE)

    def processes(self):
        return processes_with(str(self.runtime))

    def kill_workers(self):
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
