"""The bash completion of paradoxctl, sourced by a real bash, beside a real gateway."""
import http.server
import os
import re
import shlex
import socket
import threading
import time
import unittest
from unittest import mock

import support
from support import Gateway, install, run

CONFIG = '''
[server]
port = 0
[[pool]]
name = "feed"
[[upstream]]
host = "127.0.0.1"
port = 9
pool = "feed"
[management_server]
port = 0
'''


class Completion(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.root = install()
        cls.gateway = Gateway(cls.root / 'usr/bin', CONFIG)
        cls.ctl = str(cls.root / 'usr/bin/paradoxctl')

    def complete(self, *words):
        """What bash offers for the last word. Bash splits words at colons too; so does this."""
        split = [part for word in words for part in re.findall(r':|[^:]+|^$', word)]
        script = f'''
            . /usr/share/bash-completion/bash_completion
            . {shlex.quote(str(self.root / "usr/share/bash-completion/completions/paradoxctl"))}
            complete -p paradoxctl >/dev/null || exit 1
            compopt() {{ :; }}  # bash allows it during a real completion only
            COMP_WORDS=({" ".join(shlex.quote(word) for word in [self.ctl, *split])})
            COMP_CWORD={len(split)}
            _paradoxctl
            printf '%s\\n' "${{COMPREPLY[@]}}"'''
        done = run('/bin/bash', '--norc', '-c', script)
        self.assertEqual(done.stderr, '')
        return done.stdout.split()

    def here(self, *words):
        """Of the gateway, however late the processor is that answers."""
        with mock.patch.dict(os.environ, PPX_COMPLETION_SECONDS='20'):
            return self.complete('--runtime-dir', str(self.gateway.runtime), *words)

    def test_offers_every_command_that_the_program_has(self):
        help_text = run(self.ctl, '--help').stdout
        commands = re.findall(r'(?m)^  (\S+)', help_text.partition('\nSubcommands:\n')[2].partition('\n\n')[0])
        self.assertGreater(len(commands), 5)
        self.assertEqual(sorted(self.complete('')), sorted(commands))
        self.assertEqual(sorted(self.complete('--json', '')), sorted(commands))
        self.assertEqual(self.complete('sta'), ['status'])
        self.assertEqual(sorted(self.complete('upstream', '')), ['add', 'delete'])

    def test_offers_the_options_of_the_command(self):
        self.assertTrue({'--url', '--json', '--help', '--runtime-dir'} <= set(self.complete('--')))
        self.assertTrue({'--pool', '--upstream', '--help'} <= set(self.complete('sessions', '-')))
        self.assertTrue({'--alive-timeout', '--pool'} <= set(self.complete('upstream', 'add', '127.0.0.1:1', '--')))

    def test_offers_folders_and_files_where_they_belong(self):
        folder = support.scratch()
        (folder / 'sub').mkdir()
        (folder / 'token').write_text('x')
        self.assertEqual(self.complete('--runtime-dir', f'{folder}/'), [f'{folder}/sub'])
        self.assertEqual(sorted(self.complete('--token-file', f'{folder}/')), [f'{folder}/sub', f'{folder}/token'])

    def test_offers_levels_and_roles_of_the_log(self):
        self.assertTrue({'debug', 'configured'} <= set(self.complete('log', '')))
        self.assertEqual(self.complete('log', '--role', 'fo'), ['forwarder'])
        self.assertEqual(self.complete('log', '--role', 'forwarder', 'tr'), ['trace'])

    def test_offers_the_upstreams_that_the_gateway_has(self):
        upstream = self.gateway.get('/upstream')['upstreams'][0]['uuid']
        self.assertEqual(self.here('upstream', 'delete', ''), [upstream])
        self.assertEqual(self.here('upstream', 'delete', upstream[:3]), [upstream])
        self.assertEqual(self.here('sessions', '--upstream', ''), [upstream])
        self.assertEqual(self.here('sessions', '--pool', ''), ['feed'])
        with mock.patch.dict(os.environ, PPX_COMPLETION_SECONDS='20'):
            self.assertEqual(self.complete('--url', self.gateway.url, 'upstream', 'delete', ''), [upstream])
        self.assertEqual(self.here('upstream', 'delete', upstream, ''), [])

    def test_offers_the_sessions_that_the_gateway_has(self):
        with self.gateway.connect(), self.gateway.connect():
            def both():
                found = [session['uuid'] for session in self.gateway.get('/downstream')['downstreams']]
                return found if len(found) == 2 else None

            sessions = support.until('two sessions', both)
            self.assertEqual(sorted(self.here('close', '')), sorted(sessions))

    def test_waits_a_second_at_most_for_a_gateway_that_says_nothing(self):
        with socket.create_server(('127.0.0.1', 0)) as silent:
            start = time.monotonic()
            self.assertEqual(self.complete('--url', f'http://127.0.0.1:{silent.getsockname()[1]}', 'close', ''), [])
            self.assertLess(time.monotonic() - start, 5)

    def test_never_runs_what_a_gateway_answers(self):
        trap = support.scratch() / 'trap'

        class Hostile(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                body = ('{"upstreams":[{"uuid":"$(touch TRAP)","pool":"`touch TRAP`"},{"uuid":"good","pool":"fine"}]}'
                        .replace('TRAP', str(trap)).encode())
                self.send_response(200)
                self.send_header('Content-Length', str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        with http.server.HTTPServer(('127.0.0.1', 0), Hostile) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            url = f'http://127.0.0.1:{server.server_port}'
            self.assertEqual(self.complete('--url', url, 'upstream', 'delete', ''), ['good'])
            self.assertEqual(self.complete('--url', url, 'sessions', '--pool', ''), ['fine'])
            server.shutdown()
        self.assertFalse(trap.exists())

    def test_says_nothing_when_there_is_no_gateway(self):
        self.assertEqual(self.complete('--runtime-dir', '/nonexistent', 'close', ''), [])


if __name__ == '__main__':
    unittest.main(verbosity=2)
