#!/usr/bin/env python3
"""The units of the page server: systemd understands them, and the command line in them starts a server. Usage: unit_files_test.py FAULTLINE DIR..."""
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import unittest

FAULTLINE = os.path.abspath(sys.argv.pop(1))
NAME = 'faultline-page-server'
UNITS = {kind: next(path for path in (os.path.join(folder, f'{NAME}.{kind}') for folder in sys.argv[1:]) if os.path.exists(path)) for kind in ('service', 'socket')}
del sys.argv[1:]


def values(kind, key):
    with open(UNITS[kind], encoding='utf-8') as file:
        return [line.rstrip('\n').split('=', 1)[1] for line in file if line.startswith(key + '=')]


class Units(unittest.TestCase):
    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory(prefix='faultline-units.')
        self.addCleanup(self.temporary.cleanup)
        self.dir = self.temporary.name

    @unittest.skipUnless(shutil.which('systemd-analyze'), 'there is no systemd-analyze')
    def test_systemd_understands_them(self):
        paths = []
        for kind, path in UNITS.items():
            paths.append(os.path.join(self.dir, os.path.basename(path)))
            with open(path, encoding='utf-8') as source, open(paths[-1], 'w', encoding='utf-8') as copy:
                # Not installed yet, as far as this test is concerned.
                copy.write(source.read().replace(values('service', 'ExecStart')[0].split()[0], FAULTLINE))
        done = subprocess.run(['systemd-analyze', 'verify', '--man=no', *paths], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
        # What it does not know it ignores, with a line and the exit code 0. It looks at the units of this machine too.
        self.assertEqual([line for line in done.stdout.splitlines() if NAME in line], [])
        self.assertEqual(done.returncode, 0, done.stdout)

    def start(self, options, listener=None):
        """As the service manager would: the server, its first word to the manager, and the address where it listens."""
        words = shlex.split(values('service', 'ExecStart')[0])
        self.assertEqual(words[-1], '$FAULTLINE_OPTIONS')
        words = [FAULTLINE] + [{'/var/lib/faultline': self.dir, '/run/faultline': self.dir}.get(word, word) for word in words[1:-1]] + options
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.settimeout(30)
            manager.bind(os.path.join(self.dir, 'notify'))
            environment = dict(os.environ, NOTIFY_SOCKET=os.path.join(self.dir, 'notify'))
            if listener:
                environment['LISTEN_FDS'] = '1'
                words = ['sh', '-c', f'exec 3<&{listener.fileno()}; LISTEN_PID=$$ exec "$@"', 'sh', *words]
            server = subprocess.Popen(words + ['--portfile', 'port'], pass_fds=[listener.fileno()] if listener else [], env=environment, stderr=subprocess.DEVNULL)
            self.addCleanup(lambda: server.poll() is None and (server.kill(), server.wait()))
            self.assertEqual(manager.recv(100), b'READY=1')
            os.unlink(os.path.join(self.dir, 'notify'))
        with open(os.path.join(self.dir, 'port'), encoding='ascii') as port:
            address = ('127.0.0.1', int(port.read()))
        os.unlink(os.path.join(self.dir, 'port'))
        return server, address

    def serves(self, server, address):
        with socket.create_connection(address, timeout=30):
            server.send_signal(signal.SIGTERM)
        self.assertEqual(server.wait(30), 0)

    def test_the_command_line_starts_a_server(self):
        variable, options = values('service', 'Environment')[0].strip('"').split('=', 1)
        self.assertEqual(variable, 'FAULTLINE_OPTIONS')
        options = shlex.split(options)
        # Its port may be taken on this machine.
        self.assertEqual(options[:1], ['--port'])
        self.serves(*self.start(['--port', '0'] + options[2:]))

    def test_the_socket_is_taken_over(self):
        host, _, port = values('socket', 'ListenStream')[0].rpartition(':')
        self.assertEqual((host, f'--port {port}'), ('127.0.0.1', values('service', 'Environment')[0].strip('"').split('=', 1)[1]))
        with socket.create_server((host, 0)) as listener:
            server, address = self.start(['--port', port], listener)
            self.assertEqual(address, listener.getsockname())
            self.serves(server, address)


if __name__ == '__main__':
    unittest.main(verbosity=2)
