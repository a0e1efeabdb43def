"""service_inside.py SCENARIO: what service_test.py has done on a machine of its own. Fails by an exception."""
import contextlib
import os
import pathlib
import pwd
import socket
import subprocess
import sys
import threading

from inside import ADMIN, CLIENTS, CONFIG, WORKER, Swarm, get, programs, serves, start_echo, start_worker
from support import DEADLINE, Started, run, until

PACKAGE, HIGHER = '/mnt/paradoxplex.deb', '/mnt/higher.deb'


def dpkg(*arguments):
    done = run('dpkg', '--force-unsafe-io', '--no-triggers', *arguments, timeout=60,
               env=os.environ | {'DEBIAN_FRONTEND': 'noninteractive', 'LC_ALL': 'C.UTF-8'})
    print(done.stdout, done.stderr)
    return done


class Clients:
    """Connections that count their bytes: each answer must be what was sent, whatever happens meanwhile."""

    def __init__(self, count):
        self.sockets = [socket.create_connection(('127.0.0.1', CLIENTS), timeout=DEADLINE) for _ in range(count)]
        self.rounds = 0

    def exchange(self):
        self.rounds += 1
        for number, client in enumerate(self.sockets):
            text = f'{number} of {len(self.sockets)}, round {self.rounds}\n'.encode()
            client.sendall(text)
            got = b''
            while len(got) < len(text):
                piece = client.recv(4096)
                assert piece, f'client {number} was closed in round {self.rounds}'
                got += piece
            assert got == text, (got, text)

    @contextlib.contextmanager
    def busy(self):
        """All of them talk without a pause; what one of them meets fails the scenario at the end."""
        stop, met = threading.Event(), []

        def talk():
            try:
                while not stop.is_set():
                    self.exchange()
            except (AssertionError, OSError) as error:
                met.append(error)

        thread = threading.Thread(target=talk)
        thread.start()
        before = self.rounds
        try:
            yield
            until('another round', lambda: met or self.rounds > before + 1)
        finally:
            stop.set()
            thread.join()
        assert not met, met


def install():
    # Images of containers forbid packages to start services; the machine that this is made to be does not.
    pathlib.Path('/usr/sbin/policy-rc.d').unlink(missing_ok=True)
    dpkg('-i', PACKAGE)
    until('the gateway serves', serves)


def example():
    install()
    assert run('systemctl', 'is-active', 'paradoxd.service').stdout == 'active\n'
    assert run('systemctl', 'is-enabled', 'paradoxd.service').stdout == 'enabled\n'
    assert subprocess.run(['systemctl', 'is-enabled', 'paradoxd.socket'], capture_output=True,
                          text=True).stdout == 'disabled\n'
    assert pwd.getpwnam('paradoxplex').pw_shell.endswith('nologin')
    start_worker('chat')
    client = Started('sh', '-c', f'(echo hello; sleep {DEADLINE}) | nc localhost {CLIENTS}')
    client.wait_for('<guest1> hello')
    assert run('paradoxctl', 'check').stdout == 'ready\n'
    run('man', '-w', 'paradoxd', 'paradoxctl', 'paradox.toml', 'paradox-forwarder')


def upgrade():
    """With a plain worker, and with one that resumes: that shows each byte of 500 full-duplex clients."""
    install()
    start_worker('echo')
    CONFIG.write_text(CONFIG.read_text() + '# mine\n')
    clients = Clients(200)
    clients.exchange()
    before = programs()
    assert len(before) == 6, before
    with clients.busy():
        done = dpkg('-i', HIGHER)
        until('the gateway serves', serves)
    assert CONFIG.read_text().endswith('# mine\n')
    assert run('systemctl', 'is-active', 'paradoxd.service').stdout == 'active\n'
    if ' upgrade ' in run('paradoxctl', '--help').stdout:
        assert 'stays with the programs' not in done.stderr
        # The custodian alone stays what it is until it ends: all sockets are in it.
        until('nothing else runs from the old files',
              lambda: not any('(deleted)' in p and 'custodian' not in p for p in programs().values()))
    else:
        # Without that command the gateway stays as it is, and the package says so.
        assert 'stays with the programs' in done.stderr
        assert programs().keys() == before.keys()
    clients.exchange()
    # Again, with the same version: reinstalling.
    with clients.busy():
        dpkg('-i', HIGHER)


def upgrade_under_load():
    install()
    start_echo()
    swarm = Swarm()
    for package in (HIGHER, PACKAGE):
        before = set(programs())
        dpkg('-i', package)
        until('the gateway serves', serves)
        until('it is over', lambda: get('/admin/operation')['operation']['state'] != 'running')
        assert get('/admin/operation')['operation']['state'] == 'done', get('/admin/operation')
        assert len(before & set(programs())) <= 2  # paradoxd and the custodian stay the same process
        swarm.moves()
    print(swarm.check())


def remove():
    install()
    start_worker('echo')
    clients = Clients(3)
    clients.exchange()
    assert len(programs()) == 6
    dpkg('-r', 'paradoxplex')
    assert programs() == {}
    for client in clients.sockets:
        assert client.recv(1) == b''
    for port in (CLIENTS, ADMIN):
        assert socket.socket().connect_ex(('127.0.0.1', port)) != 0
    assert CONFIG.exists()
    assert not list(pathlib.Path('/etc/systemd/system').glob('*/paradox*')) or \
        all(not link.exists() for link in pathlib.Path('/etc/systemd/system').glob('*/paradox*'))
    # Back again, then away at once with all it had.
    install()
    (CONFIG.parent / 'token').write_text('secret\n')
    run('systemctl', 'enable', 'paradoxd.socket')
    dpkg('-P', 'paradoxplex')
    assert programs() == {}
    for path in ('/etc/paradoxplex', '/run/paradoxplex', '/var/lib/paradoxplex', '/usr/libexec/paradoxplex',
                 '/usr/share/doc/paradoxplex', '/var/lib/dpkg/info/paradoxplex.list'):
        assert not os.path.lexists(path), path
    assert not list(pathlib.Path('/etc/systemd/system').rglob('paradox*'))
    assert not list(pathlib.Path('/var/lib/systemd').rglob('*paradox*'))
    assert run('systemctl', 'list-units', '--all', '--no-legend', 'paradox*').stdout.count('running') == 0


def disabled():
    install()
    units = [unit for unit in run('systemctl', 'list-unit-files', '--no-legend', 'paradoxd*').stdout.split()
             if unit.startswith('paradoxd')]
    run('systemctl', 'disable', '--now', *units)
    dpkg('-i', HIGHER)
    assert not serves()
    assert programs() == {}
    assert subprocess.run(['systemctl', 'is-enabled', 'paradoxd.service'], capture_output=True,
                          text=True).stdout == 'disabled\n'


def without_systemd():
    assert not os.path.exists('/run/systemd/system')
    dpkg('-i', PACKAGE)
    assert programs() == {}
    daemon = Started('setpriv', '--reuid=paradoxplex', '--regid=paradoxplex', '--clear-groups', 'paradoxd', '--config',
                     CONFIG, '--runtime-dir', '/tmp/ppx-without-systemd')
    until('the gateway serves', serves)
    assert daemon.stop() == 0
    dpkg('-i', HIGHER)
    dpkg('-P', 'paradoxplex')
    assert not os.path.lexists(CONFIG.parent)


if __name__ == '__main__':
    {scenario.__name__: scenario for scenario in (example, upgrade, upgrade_under_load, remove, disabled, without_systemd)}[sys.argv[1]]()
