"""paradoxctl --config: it reaches the gateway that a configuration describes."""
import subprocess
import unittest

import support
from support import BUILD, Gateway, run

PORTS = '[server]\nport = 0\n[management_server]\nport = 0\n'


class Config(unittest.TestCase):
    def ctl(self, gateway, *words, config=None):
        return subprocess.run([BUILD / 'bin/paradoxctl', '--config', config or gateway.folder / 'paradox.toml', *words],
                              env={'RUNTIME_DIRECTORY': str(gateway.runtime)}, capture_output=True, text=True,
                              timeout=support.DEADLINE)

    def check(self, gateway):
        done = self.ctl(gateway, 'status')
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_takes_the_token(self):
        gateway = Gateway(BUILD / 'bin', PORTS + 'token = "secret"\n')
        self.check(gateway)
        other = gateway.folder / 'other.toml'
        other.write_text(PORTS + 'token = "guess"\n')
        self.assertEqual(self.ctl(gateway, 'status', config=other).returncode, 1)

    def test_takes_the_token_file_from_beside_it(self):
        folder = support.scratch()
        (folder / 'token').write_text('secret\n')
        (folder / 'token').chmod(0o600)
        gateway = Gateway(BUILD / 'bin', PORTS + f'token_file = "{folder}/token"\n')
        self.check(gateway)
        (gateway.folder / 'token').write_text('secret\n')
        other = gateway.folder / 'other.toml'
        other.write_text(PORTS + 'token_file = "token"\n')
        self.assertEqual(self.ctl(gateway, 'status', config=other).returncode, 0)

    def test_speaks_tls_and_reaches_a_wildcard_by_loopback(self):
        folder = support.scratch()
        run('openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
            '-subj', '/CN=gateway.example', '-keyout', folder / 'key.pem', '-out', folder / 'cert.pem')
        gateway = Gateway(BUILD / 'bin', f'{PORTS}host = "0.0.0.0"\n[management_server.tls]\n'
                          f'cert_path = "{folder}/cert.pem"\nkey_path = "{folder}/key.pem"\n', tls=True)
        self.check(gateway)

    def test_says_what_is_wrong_with_a_configuration(self):
        gateway = Gateway(BUILD / 'bin', PORTS)
        self.check(gateway)
        wrong = gateway.folder / 'wrong.toml'
        wrong.write_text('[management_server]\nport = "x"\n')
        for config, words in ((wrong, 'wrong.toml:2:'), (gateway.folder / 'none.toml', 'none.toml')):
            done = self.ctl(gateway, 'status', config=config)
            self.assertEqual(done.returncode, 2)
            self.assertIn(words, done.stderr)


if __name__ == '__main__':
    unittest.main(verbosity=2)
