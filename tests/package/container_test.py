"""The container recipe and the Kubernetes manifest, as far as this goes without an engine: what they say fits together and
fits the programs, and what they would run is run as they say, with a pod's user, volumes and addresses.

Runs as the first process of network, mount and process namespaces of its own.
"""
import json
import os
import pathlib
import re
import shlex
import signal
import socket
import struct
import subprocess
import tomllib
import unittest
import urllib.error
import urllib.request

import yaml

import support
from support import SOURCE, Started, run

POD_ADDRESS = '10.7.7.1'  # no loopback address: what the kubelet and clients come by
RECIPE = SOURCE / 'container/Containerfile'


def instructions():
    """(word, arguments) of each instruction of the recipe."""
    text = re.sub(r'(?m)^#.*\n', '', RECIPE.read_text())
    lines = re.sub(r'\\\n', ' ', text).splitlines()
    return [tuple(line.split(None, 1)) for line in lines if line.strip()]


def value(word):
    """Arguments of the last instruction of that kind."""
    return [arguments for name, arguments in instructions() if name == word][-1]


def manifest():
    return {document['kind']: document for document in yaml.safe_load_all(
        (SOURCE / 'container/kubernetes.yaml').read_text())}


def gateway_container():
    container, = manifest()['Deployment']['spec']['template']['spec']['containers']
    return container


def configuration():
    return manifest()['ConfigMap']['data']['paradox.toml']


class Recipe(unittest.TestCase):
    def test_copies_only_what_is_there(self):
        for word, arguments in instructions():
            if word == 'COPY' and '--from' not in arguments:
                for source in arguments.split()[:-1]:
                    self.assertTrue((SOURCE / source).exists(), source)

    def test_runs_scripts_and_targets_that_exist(self):
        runs = ' '.join(arguments for word, arguments in instructions() if word == 'RUN')
        for script in re.findall(r'scripts/\w+', runs):
            self.assertTrue(os.access(SOURCE / script, os.X_OK), script)
        self.assertIn('--target installed', runs)
        preset = re.search(r'--preset (\w+)', runs)[1]
        presets = json.loads((SOURCE / 'CMakePresets.json').read_text())['configurePresets']
        self.assertIn(preset, [each['name'] for each in presets])

    def test_last_stage_runs_as_a_user_with_a_number(self):
        self.assertRegex(value('USER'), r'^[1-9]\d*:[1-9]\d*$')
        self.assertIn(f'--uid {value("USER").split(":")[0]} ',
                      ' '.join(arguments for word, arguments in instructions() if word == 'RUN'))

    def test_context_leaves_builds_out(self):
        ignored = (SOURCE / '.containerignore').read_text()
        self.assertIn('\nbuild\n', ignored)
        self.assertEqual(ignored, (SOURCE / 'container/Containerfile.dockerignore').read_text())


class Manifest(unittest.TestCase):
    def setUp(self):
        self.parts = manifest()
        self.pod = self.parts['Deployment']['spec']['template']
        self.container = gateway_container()
        self.ports = {port['name']: port['containerPort'] for port in self.container['ports']}

    def test_has_its_parts_and_their_labels_match(self):
        self.assertEqual(set(self.parts), {'ConfigMap', 'Deployment', 'Service'})
        versions = {kind: part['apiVersion'] for kind, part in self.parts.items()}
        self.assertEqual(versions, {'ConfigMap': 'v1', 'Deployment': 'apps/v1', 'Service': 'v1'})
        labels = self.pod['metadata']['labels'].items()
        self.assertLessEqual(self.parts['Deployment']['spec']['selector']['matchLabels'].items(), labels)
        self.assertLessEqual(self.parts['Service']['spec']['selector'].items(), labels)

    def test_ports_are_those_of_the_configuration_and_of_the_image(self):
        config = tomllib.loads(configuration())
        self.assertEqual(self.ports, {'clients': config['server']['port'], 'admin': config['management_server']['port']})
        self.assertEqual(int(value('EXPOSE')), self.ports['clients'])
        served, = self.parts['Service']['spec']['ports']
        self.assertEqual(served['port'], self.ports['clients'])
        self.assertIn(served['targetPort'], self.ports)

    def test_every_probe_asks_a_port_that_is_there(self):
        for kind in ('startupProbe', 'readinessProbe', 'livenessProbe'):
            self.assertEqual(self.container[kind]['httpGet']['port'], 'admin')
            self.assertRegex(self.container[kind]['httpGet']['path'], '^/health/(live|ready)$')

    def test_volumes_are_declared_and_hold_what_the_arguments_name(self):
        spec = self.pod['spec']
        mounts = {mount['name']: mount['mountPath'] for mount in self.container['volumeMounts']}
        self.assertEqual(set(mounts), {volume['name'] for volume in spec['volumes']})
        volume, = (v for v in spec['volumes'] if v['name'] == 'configuration')
        self.assertEqual(volume['configMap']['name'], self.parts['ConfigMap']['metadata']['name'])
        file = self.container['args'][self.container['args'].index('--config') + 1]
        self.assertEqual(file, f'{mounts["configuration"]}/{list(self.parts["ConfigMap"]["data"])[0]}')
        runtime = re.search(r'RUNTIME_DIRECTORY=(\S+)', value('ENV'))[1]
        # A volume belongs to root, and the runtime directory must not.
        self.assertEqual(os.path.dirname(runtime), mounts['runtime'])

    def test_runs_without_rights_as_the_images_user(self):
        pod, container = self.pod['spec']['securityContext'], self.container['securityContext']
        self.assertTrue(pod['runAsNonRoot'])
        self.assertEqual(f'{pod["runAsUser"]}:{pod["runAsGroup"]}', value('USER'))
        self.assertEqual(container['capabilities'], {'drop': ['ALL']})
        self.assertFalse(container['allowPrivilegeEscalation'])
        self.assertTrue(container['readOnlyRootFilesystem'])
        self.assertIn('memory', self.container['resources']['limits'])

    def test_kubelet_waits_longer_than_the_drain(self):
        drain = self.container['lifecycle']['preStop']['exec']['command'][-1]
        limit = int(re.search(r'\+ (\d+)', drain)[1])
        self.assertGreater(self.pod['spec']['terminationGracePeriodSeconds'], limit + 5)


class Pod(unittest.TestCase):
    """The manifest's container, by the recipe's entry point, on the ports that they name."""

    @classmethod
    def setUpClass(cls):
        cls.root = support.install()
        os.chmod(cls.root, 0o755)
        run('mount', '--make-rprivate', '/')
        run('mount', '-t', 'tmpfs', '-o', 'mode=755', 'tmpfs', '/run')
        os.makedirs('/run/etc/up')
        os.makedirs('/run/etc/work')
        run('mount', '-t', 'overlay', 'overlay', '-o', 'lowerdir=/etc,upperdir=/run/etc/up,workdir=/run/etc/work', '/etc')
        os.makedirs('/etc/paradoxplex', exist_ok=True)
        with open('/etc/paradoxplex/paradox.toml', 'w') as file:
            file.write(configuration())
        with open('/etc/hosts', 'w') as file:
            file.write('127.0.0.1 localhost paradox-worker\n')
        run('ip', 'link', 'set', 'lo', 'up')
        run('ip', 'address', 'add', f'{POD_ADDRESS}/32', 'dev', 'lo')
        user, group = (int(number) for number in value('USER').split(':'))
        # An emptyDir with fsGroup.
        os.mkdir('/run/paradoxplex')
        os.chown('/run/paradoxplex', 0, group)
        os.chmod('/run/paradoxplex', 0o2777)
        cls.environment = {'PATH': f'{cls.root}/usr/bin:/usr/bin:/bin',
                           'RUNTIME_DIRECTORY': re.search(r'RUNTIME_DIRECTORY=(\S+)', value('ENV'))[1]}
        cls.as_user = ['setpriv', f'--reuid={user}', f'--regid={group}', '--clear-groups', '--no-new-privs',
                       '--bounding-set=-all', '--inh-caps=-all']
        config = tomllib.loads(configuration())
        cls.clients, cls.admin = config['server']['port'], config['management_server']['port']

    def setUp(self):
        self.worker = Started(self.root / 'usr/bin/paradox-example-echo')
        self.worker.wait_for('listening on')
        self.pod = self.start()

    def tearDown(self):
        for started in (self.pod, self.worker):
            if started.process.poll() is None:
                started.stop()
        self.assertEqual(support.processes_with(self.environment['RUNTIME_DIRECTORY']), [])

    def start(self, arguments=None):
        return Started(*self.as_user, SOURCE / 'container/entrypoint', *(arguments or gateway_container()['args']),
                       env=self.environment)

    def execute(self, *command):
        """As kubectl exec and the engine's own checks run it."""
        return subprocess.run([*self.as_user, *command], env=self.environment, capture_output=True, text=True,
                              timeout=support.DEADLINE)

    def status(self, path, address='127.0.0.1'):
        try:
            with urllib.request.urlopen(f'http://{address}:{self.admin}{path}', timeout=5) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return None

    def serve(self):
        support.until('the gateway with its worker', lambda: self.execute('paradoxctl', 'upstreams').stdout.count('ready')
                      and self.status('/health/ready') == 200)

    def echo(self, client, text):
        client.sendall(text)
        got = b''
        while len(got) < len(text):
            piece = client.recv(4096)
            self.assertTrue(piece, 'closed')
            got += piece
        self.assertEqual(got, text)

    def test_probes_are_answered_from_outside_and_nothing_else_is(self):
        self.serve()
        for kind in ('startupProbe', 'readinessProbe', 'livenessProbe'):
            self.assertEqual(self.status(gateway_container()[kind]['httpGet']['path'], POD_ADDRESS), 200)
        self.assertEqual(self.status('/admin/status', POD_ADDRESS), 403)
        self.assertEqual(self.status('/admin/status'), 200)

    def test_serves_clients_from_outside_and_a_killed_supervisor_closes_none(self):
        self.serve()
        with socket.create_connection((POD_ADDRESS, self.clients), timeout=support.DEADLINE) as client:
            self.echo(client, b'before')
            file = pathlib.Path(self.environment['RUNTIME_DIRECTORY']) / 'paradoxd.pid'
            before = int(file.read_text())
            os.kill(before, signal.SIGKILL)
            self.echo(client, b'meanwhile')
            support.until('another supervisor', lambda: file.exists() and file.read_text().strip() not in
                          ('', str(before)) and self.status('/health/ready') == 200)
            self.echo(client, b'after')

    def test_prestop_waits_for_the_last_client(self):
        self.serve()
        command = gateway_container()['lifecycle']['preStop']['exec']['command']
        command[-1] = command[-1].replace('sleep 5', 'echo draining')
        with socket.create_connection((POD_ADDRESS, self.clients), timeout=support.DEADLINE) as client:
            self.echo(client, b'here')
            drain = Started(*self.as_user, *command, env=self.environment)
            drain.wait_for('draining')
            with self.assertRaises(subprocess.TimeoutExpired):
                drain.process.wait(1.5)
            self.echo(client, b'still here')
            # A reset: an orderly end would be answered for half_close_timeout.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        self.assertEqual(drain.process.wait(support.DEADLINE), 0)

    def test_stops_in_order_at_sigterm(self):
        self.serve()
        with socket.create_connection((POD_ADDRESS, self.clients), timeout=support.DEADLINE) as client:
            self.echo(client, b'here')
            self.assertEqual(self.pod.stop(), 0)
            self.assertEqual(client.recv(1), b'')

    def test_health_check_says_whether_it_serves(self):
        check = shlex.split(re.search(r'CMD (.*)$', value('HEALTHCHECK'))[1].partition(' >')[0])
        self.serve()
        self.assertEqual(self.execute(*check).returncode, 0)
        self.pod.stop()
        self.assertNotEqual(self.execute(*check).returncode, 0)

    def test_wrong_configuration_ends_the_container(self):
        self.serve()
        self.pod.stop()
        with open('/run/wrong.toml', 'w') as file:
            file.write('[nonsense]\n')
        self.assertEqual(self.start(['--config', '/run/wrong.toml']).process.wait(support.DEADLINE), 78)


if __name__ == '__main__':
    unittest.main(verbosity=2)
