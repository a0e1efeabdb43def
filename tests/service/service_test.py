"""The units under a real systemd, on a machine of their own for each scenario: a copy of this machine's root that is thrown
away (scripts/systemd-sandbox), with what is built installed in it. What happens in there is in inside.py. Needs root.
"""
import os
import pathlib
import shutil
import subprocess
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / 'package'))
import support  # noqa: E402
from support import BUILD, SOURCE, run  # noqa: E402


class OnAMachine(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.shared = support.scratch()
        shutil.copytree(HERE, cls.shared / 'service')
        shutil.copy(HERE.parent / 'package/support.py', cls.shared / 'service')
        support.install(root=cls.shared / 'root')
        shutil.copy(BUILD / 'tests/paradox-load-swarm', cls.shared)

    def run_scenario(self, name, seconds=int(os.environ.get('PPX_SECONDS', 200))):
        script = support.scratch() / 'script'
        settings = ' '.join(f'{key}={value}' for key, value in os.environ.items() if key.startswith('PPX_'))
        script.write_text(f'exec env {settings} /usr/bin/python3 -B /mnt/service/inside.py {name}\n')
        done = subprocess.run([SOURCE / 'scripts/systemd-sandbox', script, self.shared], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds)
        self.assertEqual(done.returncode, 0, done.stdout)
        print(done.stdout)


class Restart(OnAMachine):
    def test_restart_closes_no_client_and_refuses_none(self):
        self.run_scenario('restart')


class Activation(OnAMachine):
    def test_sockets_of_systemds_serve_whoever_comes_first_and_stay(self):
        self.run_scenario('activation')


class Ends(OnAMachine):
    def test_stop_ends_each_client_in_order_and_leaves_nothing(self):
        self.run_scenario('stop')

    def test_in_the_foreground_a_signal_is_a_stop(self):
        self.run_scenario('foreground')

    def test_a_wrong_configuration_is_not_started_again_and_again(self):
        self.run_scenario('wrong')


class Crashes(OnAMachine):
    def test_kills_of_the_main_process_and_a_reload_close_no_client(self):
        self.run_scenario('crashes')


    def test_a_hung_main_process_is_replaced_and_can_be_stopped(self):
        self.run_scenario('hung')

    def test_a_kill_of_everything_at_once_closes_no_client(self):
        self.run_scenario('kill_all')


    def test_without_custody_and_main_process_it_starts_afresh(self):
        self.run_scenario('custody_lost')


class Journal(OnAMachine):
    def test_the_journal_has_fields_and_the_status_a_line(self):
        self.run_scenario('journal')


class Rights(OnAMachine):
    def test_it_is_not_root_and_reads_what_its_group_may(self):
        self.run_scenario('rights')


if __name__ == '__main__':
    unittest.main(verbosity=2)
