"""The container recipe carried out without an engine: its stages are plain Debian 12 roots, made by debootstrap, and its
instructions are done in them one after the other; then the image's own command runs as the image's user.

Needs root, the network and some minutes. Runs in mount and process namespaces of its own.
"""
import ctypes
import json
import pathlib
import re
import shlex
import shutil
import socket
import subprocess
import unittest

import support
from container_test import instructions, value
from support import SOURCE, Started, run

MIRROR = 'http://deb.debian.org/debian'
LONG = 3000  # seconds
CLONE_NEWNET = 0x40000000


def ignored(folder, names):
    """What .containerignore leaves out."""
    patterns = [line.rstrip('/') for line in (SOURCE / '.containerignore').read_text().split()]
    relative = pathlib.Path(folder).relative_to(SOURCE)
    return [name for name in names if any((relative / name).match(pattern) for pattern in patterns)]


class Stage:
    """A root file system, over one that several share."""

    def __init__(self, work, base):
        self.root = work / 'root'
        for folder in ('up', 'work', 'root'):
            (work / folder).mkdir(parents=True)
        run('mount', '-t', 'overlay', 'overlay', '-o', f'lowerdir={base},upperdir={work}/up,workdir={work}/work', self.root)
        run(SOURCE / 'scripts/private-dev', self.root)
        run('mount', '-t', 'proc', 'proc', self.root / 'proc')
        run('mount', '-t', 'tmpfs', 'tmpfs', self.root / 'tmp')
        # As an engine does.
        shutil.copy('/etc/resolv.conf', self.root / 'etc/resolv.conf')
        (self.root / 'etc/hosts').write_text('127.0.0.1 localhost\n')
        self.folder = '/'

    def inside(self, *command):
        return ['chroot', str(self.root), 'env', '-i', 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
                'HOME=/root', *command]

    def shell(self, text):
        run(*self.inside('sh', '-ec', f'cd {self.folder}; {text}'), timeout=LONG)

    def place(self, path):
        return self.root / str(pathlib.Path(self.folder) / path).lstrip('/')

    def copy(self, sources, target, into_folder):
        place = self.place(target)
        for source in sources:
            if source.is_dir():
                shutil.copytree(source, place, ignore=ignored, dirs_exist_ok=True, symlinks=True)
            else:
                (place if into_folder else place.parent).mkdir(parents=True, exist_ok=True)
                shutil.copy(source, place)


class Recipe(unittest.TestCase):
    def test_builds_an_image_that_serves_clients(self):
        self.carry_out()
        libc = ctypes.CDLL(None, use_errno=True)
        self.assertEqual(libc.unshare(CLONE_NEWNET), 0)
        run('ip', 'link', 'set', 'lo', 'up')
        user, group = value('USER').split(':')
        as_user = self.stage.inside(value('ENV'), 'setpriv', f'--reuid={user}', f'--regid={group}', '--clear-groups')
        image = Started(*as_user, *json.loads(value('ENTRYPOINT')), *json.loads(value('CMD')))
        worker = Started(*as_user, 'paradox-example-echo')
        worker.wait_for('listening on')
        check = shlex.split(re.search(r'CMD (.*)$', value('HEALTHCHECK'))[1].partition(' >')[0])
        self.addCleanup(image.kill)
        support.until('healthy', lambda: image.running() and
                      subprocess.run([*as_user, *check], capture_output=True).returncode == 0)
        self.assertIn('ready', run(*as_user, 'paradoxctl', 'upstream', 'add', '127.0.0.1:45888').stdout)
        with socket.create_connection(('127.0.0.1', int(value('EXPOSE'))), timeout=support.DEADLINE) as client:
            client.sendall(b'hello\n')
            self.assertEqual(client.recv(100), b'hello\n')
        worker.stop()
        self.assertEqual(image.stop(), 0)

    def carry_out(self):
        work = support.scratch()
        run('mount', '--make-rprivate', '/')
        # With nothing mounted in it any more, it can be removed.
        run('mount', '--bind', work, work)
        self.addCleanup(run, 'umount', '--recursive', '--lazy', work)
        base = work / 'base'
        run('debootstrap', '--variant=minbase', 'bookworm', base, MIRROR, timeout=LONG)
        sources = base / 'etc/apt/sources.list'
        sources.write_text(f'deb {MIRROR} bookworm main\ndeb {MIRROR} bookworm-updates main\n'
                           'deb http://deb.debian.org/debian-security bookworm-security main\n')
        stages = {}
        for word, arguments in instructions():
            words = arguments.split()
            if word == 'FROM':
                self.assertRegex(words[0], '/debian:12(-slim)?$')
                self.stage = stages[words[-1]] = Stage(work / f'stage{len(stages)}', base)
            elif word == 'WORKDIR':
                self.stage.folder = arguments
                self.stage.place('.').mkdir(parents=True, exist_ok=True)
            elif word == 'RUN':
                self.stage.shell(arguments)
            elif word == 'COPY' and words[0].startswith('--from='):
                other = stages[words[0].removeprefix('--from=')]
                found = list(other.root.glob(words[1].lstrip('/')))
                self.assertTrue(found, arguments)
                self.stage.copy(found, words[2], words[2].endswith('/'))
            elif word == 'COPY':
                self.stage.copy([SOURCE / source for source in words[:-1]], words[-1], words[-1].endswith('/'))
            else:
                self.assertIn(word, ('ENV', 'USER', 'EXPOSE', 'STOPSIGNAL', 'HEALTHCHECK', 'ENTRYPOINT', 'CMD'))


if __name__ == '__main__':
    unittest.main(verbosity=2)
