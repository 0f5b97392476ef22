#!/usr/bin/env python3
"""The command page-server as a service: files, signals, inherited sockets, the service manager. Usage: page_server_test.py FAULTLINE"""
import contextlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

FAULTLINE = os.path.abspath(sys.argv.pop(1))
GET, PARENT, CLOSE, OPEN2, ADD_F = 7, 5, 0x1023, 4, 6 | 6 << 16
TASK = 42 << 8 | 1
PAGES = [bytes([i + 1]) * 4096 for i in range(8)]


def message(command, obj=0, page=0, pages=0):
    return struct.pack('<IIQQQ', command, 0, pages, page * 4096, obj)


def receive(connection, size):
    got = b''
    while len(got) < size:
        part = connection.recv(size - len(got))
        if not part:
            break
        got += part
    return got


def read(*path):
    with open(os.path.join(*path)) as file:
        return file.read()


def end_if_there(handle):
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    os.close(handle)


def wait_for_end(pid):
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    assert select.select([handle], [], [], 30)[0], 'the daemon does not end'
    os.close(handle)


class PageServer(unittest.TestCase):
    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory(prefix='faultline-page-server.')
        self.addCleanup(self.temporary.cleanup)
        self.dir = self.temporary.name

    def spawn(self, command, **more):
        """A process that a test which fails does not leave behind."""
        process = subprocess.Popen(command, **more)
        self.addCleanup(lambda: process.poll() is None and (process.kill(), process.wait()))
        return process

    def start(self, *options):
        """A daemon. Returns port and pid."""
        done = subprocess.run([FAULTLINE, 'page-server', '-D', self.dir, '-d', '-o', 'log', '-v4', '--portfile', 'port', '--pidfile', 'pid', *options],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stdout)
        port, pid = int(read(self.dir, 'port')), int(read(self.dir, 'pid'))
        for name in 'port', 'pid':
            os.unlink(os.path.join(self.dir, name))
        self.addCleanup(end_if_there, os.pidfd_open(pid))
        return port, pid

    def receive_checkpoint(self):
        """Lets a server take pages in, as from a dump."""
        port, pid = self.start()
        with socket.create_connection(('127.0.0.1', port), timeout=30) as dump:
            dump.sendall(message(OPEN2, TASK))
            self.assertEqual(receive(dump, 1), b'\0')
            dump.sendall(message(ADD_F, TASK, 16, len(PAGES)) + b''.join(PAGES) + message(CLOSE))
            self.assertEqual(receive(dump, 4), bytes(4))
        wait_for_end(pid)

    def refused_while_it_comes(self):
        """Nobody gets what is there so far."""
        server = self.spawn([FAULTLINE, 'page-server', '-D', self.dir, '--lazy-pages', '--json'], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        with socket.create_connection(('127.0.0.1', json.loads(server.stdout.readline())['port']), timeout=30) as client:
            client.sendall(message(GET, 42, 16, 1))
            self.assertEqual(receive(client, 1), b'')
        server.send_signal(signal.SIGTERM)
        self.assertEqual(server.wait(30), 0)
        server.stdout.close()

    def get(self, connection):
        connection.sendall(message(GET, 42, 16, len(PAGES)))
        self.assertEqual(receive(connection, 32 + 4096 * len(PAGES)), struct.pack('<IIQQQ', 0x40006, 0, len(PAGES), 16 * 4096, 42) + b''.join(PAGES))

    def test_what_was_received_is_served(self):
        self.receive_checkpoint()
        self.assertIn('8 pages are on stable storage', read(self.dir, 'log'))
        port, pid = self.start('--lazy-pages')
        with socket.create_connection(('127.0.0.1', port), timeout=30) as client:
            self.get(client)
            # The log is opened anew when it is told so; both signals are taken in order.
            os.rename(os.path.join(self.dir, 'log'), os.path.join(self.dir, 'log.old'))
            os.kill(pid, signal.SIGHUP)
            while not os.path.exists(os.path.join(self.dir, 'log')):
                self.get(client)
            os.kill(pid, signal.SIGTERM)
            self.assertEqual(receive(client, 1), b'')
        wait_for_end(pid)
        self.assertIn('has connected', read(self.dir, 'log.old'))
        self.assertIn('told to end', read(self.dir, 'log'))

    def test_a_dump_that_breaks_off_leaves_nothing(self):
        port, pid = self.start()
        with socket.create_connection(('127.0.0.1', port), timeout=30) as dump:
            dump.sendall(message(OPEN2, TASK) + message(ADD_F, TASK, 16, 2) + PAGES[0])
            self.assertEqual(receive(dump, 1), b'\0')
            self.refused_while_it_comes()
            # A log that is opened anew does not disturb it.
            os.rename(os.path.join(self.dir, 'log'), os.path.join(self.dir, 'log.old'))
            os.kill(pid, signal.SIGHUP)
            while not os.path.exists(os.path.join(self.dir, 'log')):
                time.sleep(0.005)
        wait_for_end(pid)
        os.unlink(os.path.join(self.dir, 'log.old'))
        self.assertEqual(os.listdir(self.dir), ['log'])
        self.assertIn('ended without CLOSE', read(self.dir, 'log'))

    def test_no_more_clients_than_allowed(self):
        self.receive_checkpoint()
        port, pid = self.start('--lazy-pages', '--max-clients', '1')
        with socket.create_connection(('127.0.0.1', port), timeout=30) as first:
            self.get(first)
            with socket.create_connection(('127.0.0.1', port), timeout=30) as second:
                self.assertEqual(receive(second, 1), b'')
            self.get(first)
        while True:  # until its place is free
            with socket.create_connection(('127.0.0.1', port), timeout=30) as third:
                try:
                    third.sendall(message(PARENT, TASK))
                    if receive(third, 4) == bytes(4):
                        break
                except ConnectionError:
                    pass
        os.kill(pid, signal.SIGTERM)
        wait_for_end(pid)
        self.assertIn('more than --max-clients allows', read(self.dir, 'log'))

    def test_inherited_connection(self):
        self.receive_checkpoint()
        ours, theirs = socket.socketpair()
        ours.settimeout(30)
        server = self.spawn([FAULTLINE, 'page-server', '-D', self.dir, '--lazy-pages', '--ps-socket', str(theirs.fileno())], pass_fds=[theirs.fileno()])
        theirs.close()
        self.get(ours)
        ours.sendall(message(CLOSE))
        self.assertEqual(receive(ours, 5), bytes(4))
        ours.close()
        self.assertEqual(server.wait(30), 0)

    def test_service_manager(self):
        manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        manager.settimeout(30)
        manager.bind(os.path.join(self.dir, 'notify'))
        listener = socket.create_server(('127.0.0.1', 0))
        number = listener.fileno()
        environment = dict(os.environ, NOTIFY_SOCKET=os.path.join(self.dir, 'notify'), LISTEN_FDS='1')
        server = self.spawn(['sh', '-c', f'exec 3<&{number}; LISTEN_PID=$$ exec "$0" page-server -D "$1" --lazy-pages', FAULTLINE, self.dir],
                                  pass_fds=[number], env=environment)
        self.assertEqual(manager.recv(100), b'READY=1')
        with socket.create_connection(listener.getsockname(), timeout=30) as client:
            client.sendall(message(PARENT, TASK))
            self.assertEqual(receive(client, 4), bytes(4))
            server.send_signal(signal.SIGTERM)
            self.assertEqual(manager.recv(100), b'STOPPING=1')
        self.assertEqual(server.wait(30), 0)
        for s in manager, listener:
            s.close()

    def activated(self, listeners, *options):
        """A server that is started as systemd starts it, with sockets from number 3 on."""
        numbers = [listener.fileno() for listener in listeners]
        moves = ' '.join(f'{3 + i}<&{number}' for i, number in enumerate(numbers))
        return self.spawn(['sh', '-c', f'exec {moves}; LISTEN_PID=$$ exec "$0" page-server -D "$@"', FAULTLINE, self.dir, '--lazy-pages', *options],
                                pass_fds=numbers, env=dict(os.environ, LISTEN_FDS=str(len(numbers))), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def test_sockets_of_the_service_manager_obey_the_same_rules(self):
        with socket.create_server(('0.0.0.0', 0)) as anywhere, socket.create_server(('127.0.0.1', 0)) as here:
            server = self.activated([anywhere])
            said = server.communicate(timeout=30)[1]
            self.assertEqual(server.returncode, 1)
            for part in 'ListenStream', '0.0.0.0', '--tls', '--insecure-network':
                self.assertIn(part, said)
            server = self.activated([here, anywhere])
            said = server.communicate(timeout=30)[1]
            self.assertEqual(server.returncode, 1)
            self.assertIn('2 sockets', said)
            server = self.activated([anywhere], '--insecure-network', '--json')
            self.assertEqual(json.loads(server.stdout.readline())['port'], anywhere.getsockname()[1])
            server.send_signal(signal.SIGTERM)
            said = server.communicate(timeout=30)[1]
            self.assertEqual(server.returncode, 0)
            self.assertIn('unencrypted', said)

    def test_who_may_listen_where(self):
        command = [FAULTLINE, 'page-server', '-D', self.dir, '--lazy-pages', '--address', '0.0.0.0']
        refused = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=30)
        self.assertEqual(refused.returncode, 1)
        self.assertIn('--insecure-network', refused.stderr)
        ready, status = os.pipe()
        server = self.spawn(command + ['--insecure-network', '--status-fd', str(status), '--json'], stdout=subprocess.PIPE, text=True, pass_fds=[status])
        os.close(status)
        self.assertEqual(os.read(ready, 2), b'\0')
        os.close(ready)
        self.assertRegex(server.stdout.readline(), '"address": "0.0.0.0:[0-9]+", "port": [0-9]+')
        server.send_signal(signal.SIGINT)
        self.assertEqual(server.wait(30), 130)
        server.stdout.close()

    def test_under_the_name_criu_an_exposed_address_is_only_warned_of(self):
        criu = os.path.join(self.dir, 'criu')
        os.symlink(FAULTLINE, criu)
        for address, warned in (('0.0.0.0', True), ('127.0.0.1', False)):
            server = self.spawn([criu, 'page-server', '-D', self.dir, '--lazy-pages', '--address', address, '--json'], stdout=subprocess.PIPE,
                                      stderr=subprocess.PIPE, text=True)
            self.assertIn(f'"address": "{address}:', server.stdout.readline())
            server.send_signal(signal.SIGTERM)
            said = server.communicate(timeout=30)[1]
            self.assertEqual(server.returncode, 0)
            self.assertEqual('unencrypted' in said, warned, said)


if __name__ == '__main__':
    unittest.main(verbosity=2)
