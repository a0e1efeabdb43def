"""The package installed on a machine under a real systemd: a copy of this machine's root that is thrown away
(scripts/systemd-sandbox). What happens in there is in service_inside.py; this makes the packages and boots a machine for
each scenario. Needs root, and the package that deb_test.py built.
"""
import pathlib
import re
import shutil
import subprocess
import unittest

import support
from support import BUILD, SOURCE, run

HERE = pathlib.Path(__file__).parent
WITHOUT_SYSTEMD = '''
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir /run/up /run/work /run/root
mount -t overlay overlay -o lowerdir=/,upperdir=/run/up,workdir=/run/work /run/root
"$3" /run/root
mount -t proc proc /run/root/proc
mount -t tmpfs tmpfs /run/root/run
mount --bind "$1" /run/root/mnt
ip link set lo up
exec chroot /run/root /usr/bin/python3 -B /mnt/tests/package/service_inside.py "$2"
'''


class Service(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.shared = support.scratch()
        shutil.copytree(HERE, cls.shared / 'tests/package')
        shutil.copy(HERE.parent / 'service/inside.py', cls.shared / 'tests/package')
        shutil.copy(BUILD / 'package-test/paradoxplex.deb', cls.shared)
        shutil.copy(BUILD / 'tests/paradox-load-swarm', cls.shared)
        cls.make_higher_version()

    @classmethod
    def make_higher_version(cls):
        """The same programs, as other files: what runs from the old ones shows it in /proc."""
        tree = support.scratch()
        run('dpkg-deb', '-R', cls.shared / 'paradoxplex.deb', tree)
        control = tree / 'DEBIAN/control'
        control.write_text(re.sub(r'(?m)^Version: (.*)$', r'Version: \1+higher', control.read_text()))
        run('dpkg-deb', '-Znone', '--root-owner-group', '-b', tree, cls.shared / 'higher.deb')

    def check(self, command):
        done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=100)
        self.assertEqual(done.returncode, 0, done.stdout)

    def on_a_machine(self, scenario):
        script = support.scratch() / 'script'
        script.write_text(f'exec /usr/bin/python3 -B /mnt/tests/package/service_inside.py {scenario}\n')
        self.check([SOURCE / 'scripts/systemd-sandbox', script, self.shared])

    def test_readmes_example_runs_on_a_machine_with_the_package_alone(self):
        self.on_a_machine('example')

    def test_upgrade_closes_no_client_and_keeps_the_configuration(self):
        self.on_a_machine('upgrade')

    def test_upgrade_under_load_loses_no_byte(self):
        self.on_a_machine('upgrade_under_load')

    def test_removal_leaves_nothing_running_and_purge_nothing_at_all(self):
        self.on_a_machine('remove')

    def test_what_the_operator_disabled_stays_so(self):
        self.on_a_machine('disabled')

    def test_installs_where_no_systemd_runs(self):
        self.check(['unshare', '--net', '--mount', '--pid', '--fork', '--kill-child', 'sh', '-c', WITHOUT_SYSTEMD, 'sh',
                    self.shared, 'without_systemd', SOURCE / 'scripts/private-dev'])


if __name__ == '__main__':
    unittest.main(verbosity=2)
