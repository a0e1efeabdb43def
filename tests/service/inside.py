"""inside.py SCENARIO: what service_test.py has done on a machine of its own. Fails by an exception, with the journal."""
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import urllib.request

from support import DEADLINE, Started, run, until

CONFIG = pathlib.Path('/etc/paradoxplex/paradox.toml')
RUNTIME = pathlib.Path('/run/paradoxplex')
CLIENTS, ADMIN, WORKER = 7999, 8000, 45889
PROGRAMS = ('paradoxd', 'paradox-acceptor', 'paradox-custodian', 'paradox-forwarder', 'paradox-prober')
SWARM, WINDOW = int(os.environ.get('PPX_CLIENTS', 500)), 512


def systemctl(*words):
    return run('systemctl', *words).stdout.strip()


def main_pid():
    return int(systemctl('show', '-P', 'MainPID', 'paradoxd.service'))


def get(path):
    with urllib.request.urlopen(f'http://localhost:{ADMIN}{path}', timeout=DEADLINE) as answer:
        return json.load(answer)


def serves():
    try:
        return get('/health/ready')['ready']
    except OSError:
        return False


def programs():
    """pid -> file of everything of the gateway, with " (deleted)" where another is in its place."""
    found = {}
    for folder in pathlib.Path('/proc').glob('[0-9]*'):
        try:
            program = os.readlink(folder / 'exe')
        except OSError:
            continue
        if program.split('/')[-1].removesuffix(' (deleted)') in PROGRAMS:
            found[int(folder.name)] = program
    return found


def processes():
    """pid -> name of everything of the gateway."""
    return {pid: program.split('/')[-1].removesuffix(' (deleted)') for pid, program in programs().items()}


def install():
    """What is built, as `cmake --install` puts it; units are not enabled."""
    subprocess.run(['cp', '-a', '/mnt/root/.', '/'], check=True)
    run('systemd-sysusers', 'paradoxplex.conf')
    systemctl('daemon-reload')


def start(*units):
    systemctl('start', *(units or ('paradoxd.service',)))
    until('the gateway serves', serves)


def start_worker(kind, *options):
    worker = Started(f'/usr/bin/paradox-example-{kind}', '--port', WORKER, *options)
    worker.wait_for('listening on')
    run('curl', '-fsS', '-X', 'POST', f'http://localhost:{ADMIN}/upstream/add', '-H', 'Content-Type: application/json',
        '-d', f'{{"host":"127.0.0.1","port":{WORKER},"alive_timeout":30,"ready_timeout":5}}')
    return worker


def start_echo():
    """A worker with `resume`: nothing that passes through may be lost, doubled or reordered."""
    return start_worker('echo', '--extensions')


def operation_is_over():
    return serves() and get('/admin/operation')['operation']['state'] != 'running'


class Swarm:
    """Full-duplex clients that check each byte, without a pause (swarm_main.cpp)."""

    def __init__(self, count=SWARM, port=CLIENTS):
        self.count = count
        self.process = subprocess.Popen(['/mnt/paradox-load-swarm', str(port), str(count), str(WINDOW)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        until('all of them talk', lambda: self.ask('stats')['bytes_echoed'] > count * WINDOW)

    def ask(self, order):
        self.process.stdin.write(f'{order}\n')
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def check(self):
        """Each is open, and each byte has come back."""
        said = self.ask('drain')
        assert said['in_time'] and said['open'] == said['intact'] == self.count, said
        return said

    def moves(self):
        """They have talked on from here."""
        before = self.ask('stats')['bytes_echoed']
        until('they talk on', lambda: self.ask('stats')['bytes_echoed'] > before + self.count * WINDOW)


class Storm:
    """New clients all the time, each for one answer. Any that is refused or cut off is told of at the end."""

    def __init__(self, threads=2):
        self.stopping, self.served, self.problems = threading.Event(), 0, []
        self.threads = [threading.Thread(target=self.storm) for _ in range(threads)]

    def storm(self):
        while not self.stopping.is_set():
            try:
                with socket.create_connection(('127.0.0.1', CLIENTS), timeout=DEADLINE) as client:
                    client.sendall(b'hello\n')
                    answer = b''
                    while len(answer) < 6 and (piece := client.recv(6)):
                        answer += piece
                assert answer == b'hello\n', answer
                self.served += 1
            except (OSError, AssertionError) as error:
                self.problems.append(repr(error))
                return

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for thread in self.threads:
            thread.join()
        assert not self.problems, self.problems


def restart():
    install()
    start()
    start_echo()
    swarm = Swarm()
    times = int(os.environ.get('PPX_RESTARTS', 10))
    usual = sorted(processes().values())
    with Storm() as storm:
        for number in range(times):
            workers = set(processes())
            systemctl('restart', 'paradoxd.service')
            until('the gateway serves', serves)
            before = storm.served
            until('new clients are served', lambda: storm.problems or storm.served > before + 5)
            swarm.moves()
            if number in (0, times - 1):
                until('the workers are renewed', operation_is_over)
                kept = {name for pid, name in processes().items() if pid in workers}
                assert kept <= {'paradox-custodian'}, kept
                assert sorted(processes().values()) == usual, processes()
                assert get('/admin/operation')['operation']['state'] == 'done', get('/admin/operation')
    print('restarts:', times, 'new clients meanwhile:', storm.served, swarm.check())


def stop():
    """Each client gets what is on its way, then a FIN, and nothing is left."""
    install()
    start()
    start_echo()
    swarm = Swarm()
    others = [socket.create_connection(('127.0.0.1', CLIENTS), timeout=DEADLINE) for _ in range(20)]
    swarm.check()
    stopping = subprocess.Popen(['systemctl', 'stop', 'paradoxd.service'])
    said = swarm.ask('ends')
    assert said['in_time'] and said['ended'] == swarm.count and said['mismatched'] == 0, said
    for client in others:
        assert client.recv(1) == b''
    assert stopping.wait(DEADLINE) == 0
    assert processes() == {}, processes()
    assert systemctl('show', '-P', 'Result', 'paradoxd.service') == 'success'
    assert not list(RUNTIME.iterdir()), list(RUNTIME.iterdir())
    start()
    assert socket.create_connection(('127.0.0.1', CLIENTS), timeout=DEADLINE)


def crashes():
    """What does not end the gateway: a reload, and its main process killed again and again."""
    install()
    start()
    start_echo()
    swarm = Swarm()
    with Storm() as storm:
        CONFIG.write_text(CONFIG.read_text() + '\n[admission]\nmax_sessions = 4000\n')
        systemctl('reload', 'paradoxd.service')
        until('the reload is in the journal', lambda: 'taken into use: admission' in run(
            'journalctl', '-u', 'paradoxd', '-o', 'cat').stdout)
        swarm.moves()
        workers = set(processes()) - {main_pid()}
        for _ in range(5):
            old = main_pid()
            os.kill(old, signal.SIGKILL)
            until('another main process', lambda: main_pid() not in (0, old))
            until('the gateway serves', serves)
            before = storm.served
            until('new clients are served', lambda: storm.problems or storm.served > before + 5)
            swarm.moves()
        assert workers == set(processes()) - {main_pid()}
    print('kills of the main process: 5, new clients meanwhile:', storm.served, swarm.check())


def custodian_pid():
    return int(systemctl('show', '-P', 'MainPID', 'paradox-custodian.service'))


def descriptors_in_custody():
    with urllib.request.urlopen(f'http://localhost:{ADMIN}/metrics', timeout=DEADLINE) as answer:
        return int(float(re.search(r'(?m)^paradox_custody_descriptors (\S+)$', answer.read().decode())[1]))


def kill_all():
    """Every process of the service at once: custody outlives it, and new forwarders go on with all clients."""
    install()
    start()
    start_echo()
    swarm = Swarm()
    swarm.moves()
    custodian, others = custodian_pid(), {}
    for _ in range(int(os.environ.get('PPX_KILLS', 3))):
        others = set(processes()) - {custodian}
        systemctl('kill', '--signal=KILL', 'paradoxd.service')
        until('another main process', lambda: main_pid() not in others | {0})
        until('the gateway serves', serves)
        swarm.moves()
        assert custodian_pid() == custodian
        assert not others & set(processes())
    print('kills of everything:', swarm.check())
    # The other way round: custody dies, comes again by itself, and is filled again.
    held = descriptors_in_custody()
    assert held > swarm.count
    os.kill(custodian, signal.SIGKILL)
    until('another custodian', lambda: custodian_pid() not in (0, custodian))
    until('it is ready', lambda: any(each['pid'] == custodian_pid() and each['state'] == 'ready'
                                     for each in get('/admin/status')['workers']))
    until('it has all of them', lambda: descriptors_in_custody() >= held)
    systemctl('kill', '--signal=KILL', 'paradoxd.service')
    swarm.moves()
    print('custody refilled:', swarm.check())
    # Nobody takes it away from a gateway that runs.
    until('the gateway serves', serves)
    custodian = custodian_pid()
    for order in ('restart', 'stop'):
        assert subprocess.run(['systemctl', order, 'paradox-custodian.service'], capture_output=True).returncode != 0
    assert custodian_pid() == custodian
    swarm.check()
    systemctl('stop', 'paradoxd.service')
    assert swarm.ask('ends')['ended'] == swarm.count
    assert processes() == {}, processes()
    assert systemctl('show', '-P', 'ActiveState', 'paradox-custodian.service') == 'inactive'


def custody_lost():
    """Custodian and main process at once: the clients are lost, the gateway is not."""
    install()
    start()
    start_echo()
    client = socket.create_connection(('127.0.0.1', CLIENTS), timeout=DEADLINE)
    old = set(processes())
    for pid in (custodian_pid(), main_pid()):
        os.kill(pid, signal.SIGKILL)
    until('the gateway serves with new processes', lambda: serves() and not old & set(processes()))
    with contextlib.suppress(ConnectionResetError):
        assert client.recv(1) == b''
    assert socket.create_connection(('127.0.0.1', CLIENTS), timeout=DEADLINE)


SOCKET = """[Socket]
ListenStream=127.0.0.1:{port}
FileDescriptorName={name}
Service=paradoxd.service
"""


def listening(port):
    """The sockets that listen there, by their inodes: a listener has one, whoever holds it."""
    lines = pathlib.Path('/proc/net/tcp').read_text().splitlines()[1:]
    return {line.split()[9] for line in lines if line.split()[1].endswith(f':{port:04X}') and line.split()[3] == '0A'}


def hung():
    """A main process that is stopped: the watchdog has it replaced. A stop that it cannot follow still leaves nothing."""
    install()
    folder = pathlib.Path('/etc/systemd/system/paradoxd.service.d')
    folder.mkdir()
    # Sooner than paradoxd.service has it, and still later than a loaded machine keeps one waiting that is well.
    (folder / 'sooner.conf').write_text('[Service]\nWatchdogSec=3\nTimeoutAbortSec=1\nTimeoutStopSec=5\n')
    systemctl('daemon-reload')
    start()
    start_echo()
    swarm = Swarm()
    workers = set(processes()) - {main_pid()}
    for _ in range(2):
        old = main_pid()
        os.kill(old, signal.SIGSTOP)
        until('another main process', lambda: main_pid() not in (0, old))
        until('the gateway serves', serves)
        swarm.moves()
    assert workers == set(processes()) - {main_pid()}
    status = run('systemctl', 'status', 'paradoxd.service').stdout
    assert re.search(rf'Status: ".*\b{swarm.count}\b', status), status
    print('watchdog:', swarm.check())
    os.kill(main_pid(), signal.SIGSTOP)
    systemctl('stop', 'paradoxd.service')
    until('nothing is left', lambda: not processes())
    said = swarm.ask('ends')
    assert said['in_time'] and said['open'] == said['mismatched'] == 0, said
    start()


def activation():
    """systemd listens: whoever comes first is served, and the listeners outlive paradoxd in every way."""
    install()
    second = pathlib.Path('/etc/systemd/system/paradoxd-second.socket')
    second.write_text(SOCKET.format(port=7998, name='second'))
    CONFIG.write_text(CONFIG.read_text() + ''.join(
        f'\n[[listener]]\nname = "{name}"\nhost = "127.0.0.1"\nport = {port}\n'
        for name, port in (('second', 7998), ('own', 7997))))
    systemctl('daemon-reload')
    systemctl('start', 'paradoxd.socket', 'paradoxd-second.socket')
    assert processes() == {}
    early = [socket.create_connection(('127.0.0.1', port), timeout=DEADLINE) for port in (CLIENTS, 7998)]
    for client in early:
        client.sendall(b'early\n')
    until('the gateway serves', serves)
    start_echo()
    for client in early + [socket.create_connection(('127.0.0.1', 7997), timeout=DEADLINE)]:
        if client not in early:
            client.sendall(b'early\n')
        assert client.recv(6, socket.MSG_WAITALL) == b'early\n'
    sockets = {port: listening(port) for port in (CLIENTS, 7998, 7997)}
    assert all(len(each) == 1 for each in sockets.values()), sockets
    swarm = Swarm()
    ways = [lambda: systemctl('restart', 'paradoxd.service')] * 3 + [
        lambda: os.kill(main_pid(), signal.SIGKILL),
        lambda: systemctl('kill', '--signal=KILL', 'paradoxd.service')]
    with Storm() as storm:
        for way in ways[:-1]:
            old = main_pid()
            way()
            until('another main process', lambda: main_pid() not in (0, old) and serves())
            before = storm.served
            until('new clients are served', lambda: storm.problems or storm.served > before + 5)
            swarm.moves()
    old = main_pid()
    ways[-1]()  # those that are between accept() and custody end with their acceptor
    until('another main process', lambda: main_pid() not in (0, old) and serves())
    swarm.moves()
    assert {port: listening(port) for port in sockets} == sockets
    print('activation:', storm.served, swarm.check())
    swarm.process.kill()
    # Stopped with its sockets, it is gone; with them there, the next client starts it again.
    systemctl('stop', 'paradoxd.service')
    assert processes() == {}, processes()
    with socket.create_connection(('127.0.0.1', 7998), timeout=DEADLINE):
        until('it is started again', serves)
    systemctl('stop', 'paradoxd.socket', 'paradoxd-second.socket', 'paradoxd.service')
    assert processes() == {}, processes()
    for port in sockets:
        assert socket.socket().connect_ex(('127.0.0.1', port)) != 0
    # A name that no listener has is told by name, once.
    second.write_text(SOCKET.format(port=7998, name='nobody'))
    systemctl('daemon-reload')
    systemctl('start', 'paradoxd-second.socket')
    assert subprocess.run(['systemctl', 'start', 'paradoxd.service'], capture_output=True).returncode != 0
    assert systemctl('show', '-P', 'ExecMainStatus', 'paradoxd.service') == '78'
    until('it says why', lambda: 'a socket named "nobody" (127.0.0.1:7998), and no [[listener]] has that name' in run(
        'journalctl', '-u', 'paradoxd', '-o', 'cat').stdout)
    second.write_text(SOCKET.format(port=7996, name='second'))
    systemctl('stop', 'paradoxd-second.socket')
    systemctl('daemon-reload')
    systemctl('start', 'paradoxd-second.socket')
    assert subprocess.run(['systemctl', 'start', 'paradoxd.service'], capture_output=True).returncode != 0
    until('it says why', lambda: '(127.0.0.1:7996), but the listener\'s port in the file is 7998' in run(
        'journalctl', '-u', 'paradoxd', '-o', 'cat').stdout)
    # And without any it binds by itself.
    systemctl('stop', 'paradoxd-second.socket')
    second.unlink()
    systemctl('daemon-reload')
    start()
    assert all(len(listening(port)) == 1 for port in sockets)


def rights():
    """Not root, and of what root may do only low ports; files of root's that the group may read are enough."""
    install()
    etc = CONFIG.parent
    run('openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
        '-subj', '/CN=localhost', '-keyout', etc / 'key.pem', '-out', etc / 'cert.pem')
    (etc / 'token').write_text('a-token-of-root\n')
    for name in ('key.pem', 'token'):
        shutil.chown(etc / name, 'root', 'paradoxplex')
        (etc / name).chmod(0o640)
    CONFIG.write_text("""
[[listener]]
name = "low"
host = "127.0.0.1"
port = 700
[management_server]
port = 8000
token_file = "token"
[management_server.tls]
cert_path = "cert.pem"
key_path = "key.pem"
""")
    systemctl('start', 'paradoxd.service')
    ask = ['curl', '-fsS', '--cacert', etc / 'cert.pem', '--resolve', 'localhost:8000:127.0.0.1', '-H',
           'Authorization: Bearer a-token-of-root', 'https://localhost:8000/health/ready']
    until('it serves', lambda: '"ready":true' in run(*ask).stdout.replace(' ', ''))
    assert socket.create_connection(('127.0.0.1', 700), timeout=DEADLINE)
    bind = 1 << 10  # CAP_NET_BIND_SERVICE
    found = processes()
    assert len(found) == 6, found
    for pid in found:
        status = pathlib.Path(f'/proc/{pid}/status').read_text()
        fields = dict(line.split(':\t', 1) for line in status.splitlines() if ':\t' in line)
        assert set(fields['Uid'].split()) == {str(shutil.os.stat(RUNTIME).st_uid)} != {'0'}, fields['Uid']
        assert int(fields['CapEff'], 16) | bind == bind and int(fields['CapBnd'], 16) | bind == bind, fields
        assert fields['NoNewPrivs'] == '1' and fields['Seccomp'] == '2', fields
    assert os.stat(RUNTIME).st_mode & 0o777 == 0o700


def wrong():
    """A configuration that is wrong fails once, with its message in the journal; what is right again starts."""
    install()
    good = CONFIG.read_text()
    CONFIG.write_text('nonsense = 1\n')
    assert subprocess.run(['systemctl', 'start', 'paradoxd.service'], capture_output=True).returncode != 0
    assert systemctl('show', '-P', 'NRestarts', 'paradoxd.service') == '0'
    assert systemctl('show', '-P', 'ExecMainStatus', 'paradoxd.service') == '78'
    entry = wait_for_entry('PPX_EVENT=config_refused')
    assert 'nonsense' in entry['MESSAGE'] and entry['PRIORITY'] == '3', entry
    CONFIG.write_text(good)
    start()


def foreground():
    """From a script that is a service, and being started: nobody starts this paradoxd again, so SIGTERM ends it."""
    install()
    gateway = Started('/usr/bin/paradoxd', '--config', CONFIG, '--runtime-dir', '/tmp/foreground')
    until('the gateway serves', serves)
    assert 'INVOCATION_ID' in os.environ
    assert gateway.stop() == 0
    assert processes() == {}, processes()


def entries(*matches):
    """What the journal has from the gateway, each line as its fields."""
    said = run('journalctl', '-u', 'paradoxd', '-u', 'paradox-custodian', '-o', 'json', '--all', *matches).stdout
    return [json.loads(line) for line in said.splitlines()]


def wait_for_entry(*matches):
    return until(f'{matches} in the journal', lambda: entries(*matches))[-1]


def status_line():
    return systemctl('show', '-P', 'StatusText', 'paradoxd.service')


def journal():
    """Lines are in the journal with their fields; `systemctl status` has a line for a person; levels change at run time."""
    install()
    start()
    until('the line', lambda: status_line() == 'serving: 0 sessions, 0 of 0 upstreams ready')
    start_echo()
    upstream = f'127.0.0.1:{WORKER}'
    entry = wait_for_entry('PPX_EVENT=upstream_ready')
    assert entry['SYSLOG_IDENTIFIER'] == 'paradox-prober' and entry['PPX_WORKER'] == 'prober', entry
    assert entry['_TRANSPORT'] == 'journal' and entry['PRIORITY'] == '6', entry
    assert entry['PPX_UPSTREAM'] == upstream and entry['MESSAGE'] == f'upstream {upstream} is ready', entry
    entry = wait_for_entry('PPX_EVENT=worker_ready', 'PPX_WORKER=forwarder-1')
    assert entry['SYSLOG_IDENTIFIER'] == 'paradoxd' and entry['PPX_ROW'] == '1' and int(entry['PPX_INCARNATION']) > 0, entry
    until('the upstream in the line', lambda: re.fullmatch(
        rf'serving: 0 sessions, 1 of 1 upstream ready; upstream {upstream} ready \d\d:\d\d:\d\d', status_line()))
    assert 'serving: 0 sessions, 1 of 1' in run('systemctl', 'status', 'paradoxd.service').stdout

    # An ordinary session is not worth a line, but for who asks.
    lines = len(entries())
    with socket.create_connection(('127.0.0.1', CLIENTS), timeout=DEADLINE) as client:
        client.sendall(b'hello')
        assert client.recv(5) == b'hello'
    until('it is gone', lambda: not get('/downstream')['downstreams'])
    assert len(entries()) == lines, entries()[lines:]
    assert 'forwarder\tdebug' in run('paradoxctl', 'log', 'debug').stdout
    for name in ('paradoxd', 'paradox-forwarder-0', 'paradox-forwarder-1', 'paradox-acceptor-0', 'paradox-prober',
                 'paradox-custodian'):
        until(name, lambda: 'level debug' in run('journalctl', '-t', name, '-p', 'debug', '-o', 'cat').stdout)
    with socket.create_connection(('127.0.0.1', CLIENTS), timeout=DEADLINE) as client:
        client.sendall(b'hello')
        assert client.recv(5) == b'hello'
        uuid = get('/downstream')['downstreams'][0]['uuid']
        until('the session in the line', lambda: 'serving: 1 session,' in status_line())
    entry = wait_for_entry(f'PPX_SESSION={uuid}', 'PPX_EVENT=session_ended')
    assert entry['PPX_REASON'] and entry['PRIORITY'] == '7' and entry['PPX_WORKER'].startswith('forwarder-'), entry

    forwarder = next(pid for pid, name in processes().items() if name == 'paradox-forwarder')
    os.kill(forwarder, signal.SIGKILL)
    until('what happened last', lambda: re.search(r'forwarder-\d restarted \d\d:\d\d:\d\d$', status_line()))
    entry = wait_for_entry('PPX_EVENT=worker_died', f'PPX_WORKER_PID={forwarder}')
    assert entry['PRIORITY'] == '4' and 'signal 9' in entry['PPX_REASON'], entry


def scenario(name):
    try:
        globals()[name]()
    except BaseException:
        traceback.print_exc()
        print(subprocess.run(['journalctl', '--no-pager', '-o', 'short-monotonic', '-n', '150', '-u', 'paradox*'],
                             capture_output=True, text=True).stdout)
        sys.exit(1)


if __name__ == '__main__':
    scenario(sys.argv[1])
