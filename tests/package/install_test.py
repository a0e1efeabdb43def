"""cmake --install: what it puts in place works there."""
import os
import re
import stat
import unittest

import support
from support import SOURCE, Gateway, Started, install, run

BIN = {'paradoxd', 'paradoxctl', 'paradox-dump-table', 'paradox-example-bridge', 'paradox-example-chat',
       'paradox-example-echo'}
WORKERS = {'paradox-acceptor', 'paradox-custodian', 'paradox-forwarder', 'paradox-prober'}


def on_free_ports(config):
    return re.sub(r'(?m)^port = \d+', 'port = 0', config)


class Install(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.root = install()
        cls.share = cls.root / 'usr/share/doc/paradoxplex'

    def test_puts_programs_where_people_and_the_supervisor_find_them(self):
        self.assertEqual({p.name for p in (self.root / 'usr/bin').iterdir()}, BIN)
        self.assertEqual({p.name for p in (self.root / 'usr/libexec/paradoxplex').iterdir()}, WORKERS)

    def test_gives_nobody_but_the_owner_the_right_to_write(self):
        for path in self.root.rglob('*'):
            mode = path.lstat().st_mode
            if not stat.S_ISLNK(mode):
                self.assertEqual(mode & 0o022, 0, path)
                self.assertTrue(mode & stat.S_IROTH, path)

    def test_default_configuration_is_good_as_it_is(self):
        config = self.root / 'etc/paradoxplex/paradox.toml'
        self.assertIn('ok', run(self.root / 'usr/bin/paradoxd', '--check', '--config', config).stdout)

    def test_readmes_example_runs_from_the_installed_place(self):
        home = support.scratch()
        environment = {'PATH': '/usr/bin:/bin', 'HOME': str(home)}
        gateway = Gateway(self.root / 'usr/bin',
                          on_free_ports((self.root / 'etc/paradoxplex/paradox.toml').read_text()), environment)
        for worker in WORKERS:
            self.assertTrue(support.processes_with(str(self.root / 'usr/libexec/paradoxplex' / worker)), worker)
        chat = Started('/usr/bin/python3', self.share / 'examples/python/chat.py', '--port', '0', env=environment)
        port = chat.wait_for(r'listening on \S+:(\d+)')[1]
        added = run('curl', '-fsS', '-X', 'POST', f'{gateway.url}/upstream/add', '-H', 'Content-Type: application/json',
                    '-d', f'{{"host":"127.0.0.1","port":{port},"alive_timeout":30,"ready_timeout":15}}').stdout
        self.assertIn('"state":"ready"', added)
        with gateway.connect() as client:
            client.sendall(b'hello\n')
            said = b''
            while b'<guest1> hello\n' not in said:
                piece = client.recv(4096)
                self.assertTrue(piece, said)
                said += piece
            table = run(self.root / 'usr/bin/paradox-dump-table', '--runtime-dir', gateway.runtime).stdout
            self.assertRegex(table, r'slot \d+ .*OWNED|slot \d+ .*owned')
        ctl = self.root / 'usr/bin/paradoxctl'
        self.assertEqual(run(ctl, '--runtime-dir', gateway.runtime, 'check').stdout, 'ready\n')
        self.assertEqual(gateway.daemon.stop(), 0)
        self.assertEqual(gateway.processes(), [])
        self.assertEqual(chat.stop(), 0)

    def test_python_workers_run_without_a_right_to_write_beside_them(self):
        for path in [self.share, *self.share.rglob('*')]:
            if path.is_dir():
                path.chmod(0o555)
        home = support.scratch()
        for name in ('echo.py', 'chat.py', 'resume_echo.py'):
            worker = Started('/usr/bin/python3', self.share / 'examples/python' / name, '--port', '0',
                             env={'PATH': '/usr/bin:/bin', 'HOME': str(home)})
            worker.wait_for(r'listening on \S+:\d+')
            self.assertEqual(worker.stop(), 0, name)
        made, = (home / '.cache/paradoxplex').iterdir()
        self.assertEqual(sorted(p.name for p in made.iterdir()), ['upstream_pb2.py', 'upstream_pb2_grpc.py'])

    def test_units_name_the_places_of_their_prefix(self):
        root = install('/opt/ppx')
        units = list((root / 'opt/ppx/lib/systemd/system').iterdir())
        self.assertEqual({u.name for u in units}, {u.name for u in (self.root / 'usr/lib/systemd/system').iterdir()})
        for unit in units:
            text = unit.read_text()
            self.assertNotRegex(text, r'(?m)^[^#].*/usr/(bin|libexec)/paradox', unit)
            self.assertNotRegex(text, r'(?m)^[^#].*[= ]/etc/paradoxplex', unit)
            for program in re.findall(r'(?m)^Exec\w+=[^\w/]*(/\S+)', text):
                if 'paradox' in program:
                    self.assertTrue(os.access(root / program[1:], os.X_OK), f'{unit}: {program}')

    def test_units_of_usr_are_those_of_the_tree(self):
        for unit in (self.root / 'usr/lib/systemd/system').iterdir():
            installed = unit.read_text()
            for program in re.findall(r'(?m)^Exec\w+=[^\w/]*(/\S+)', installed):
                if 'paradox' in program:
                    self.assertTrue(os.access(self.root / program[1:], os.X_OK), f'{unit}: {program}')
            plain = re.sub('/usr/(bin|libexec/paradoxplex)/', '', (SOURCE / 'systemd' / unit.name).read_text())
            self.assertEqual(re.sub('/usr/(bin|libexec/paradoxplex)/', '', installed), plain)

    def test_units_leave_little_exposed(self):
        services = list((self.root / 'usr/lib/systemd/system').glob('*.service'))
        self.assertTrue(services)
        for unit in services:
            said = run('systemd-analyze', 'security', '--offline=yes', unit).stdout
            figure = re.search(r'Overall exposure level for \S+: ([0-9.]+)', said)
            self.assertLessEqual(float(figure[1]), 2.0, said)

    def test_leaves_an_edited_configuration_as_it_is(self):
        root = install()
        config = root / 'etc/paradoxplex/paradox.toml'
        config.write_text('# mine\n')
        install(root=root)
        self.assertEqual(config.read_text(), '# mine\n')


if __name__ == '__main__':
    unittest.main(verbosity=2)
