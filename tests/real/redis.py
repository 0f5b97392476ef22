# about: redis-server with 300000 keys: the same digest, then it takes new ones and shuts down by itself
# timeout: 90
import os
import socket

from box import Failed, Skipped, describe


def bulk(*words):
    parts = [b'*%d\r\n' % len(words)]
    for word in words:
        word = word.encode() if isinstance(word, str) else word
        parts.append(b'$%d\r\n%s\r\n' % (len(word), word))
    return b''.join(parts)


class Redis:
    moving = False

    def __init__(self, box, directives):
        self.box, self.directives, self.fds = box, directives, None

    def command(self, *words):
        """One command on a connection of its own: the server must hold no connection while it is dumped."""
        with socket.create_connection(('127.0.0.1', 6379), timeout=30) as s:
            s.sendall(bulk(*words))
            f = s.makefile('rb')
            line = f.readline().strip().decode()
            if line.startswith('$'):
                return f.read(int(line[1:])).decode()
            if line.startswith('-'):
                raise Failed(f'redis: {words[0]}: {line}')
            return line[1:]

    def quiet(self, pid):
        """Waits until the server has closed its side of the last connection."""
        def no_connection():
            with open('/proc/net/tcp', encoding='ascii') as f:
                return not any(line.split()[3] in ('01', '08') for line in f.readlines()[1:])  # ESTABLISHED, CLOSE_WAIT
        self.box.until(no_connection, 'redis to close its connections')

    def answers(self):
        try:
            return self.command('PING') == 'PONG'
        except OSError:
            return False

    def start(self):
        pid = self.box.spawn(['redis-server', '--port', '6379', '--save', '', '--appendonly', 'no', '--enable-debug-command', 'yes', '--dir', self.box.dir],
                             self.box.path('program.log'))
        self.box.until(lambda: self.box.ended(pid) is not None or self.answers(), 'redis to answer')
        if self.box.ended(pid) is not None:
            raise Failed(f'redis-server: {describe(self.box.ended(pid))}')
        self.command('DEBUG', 'POPULATE', '300000', 'key', '100')
        for i in range(50):
            self.command('HSET', f'hash:{i}', 'field', os.urandom(30).hex())
        self.command('SET', 'expires', 'later', 'EX', '5000')
        self.digest = self.command('DEBUG', 'DIGEST')
        self.quiet(pid)
        return pid

    def verify(self, pid):
        digest = self.command('DEBUG', 'DIGEST')
        if digest != self.digest:
            raise Failed(f'redis: digest {self.digest} became {digest}')
        if not 4000 < int(self.command('TTL', 'expires')) <= 5000:
            raise Failed(f'redis: the key that expires has {self.command("TTL", "expires")} s left')
        self.command('SET', 'new', 'value')
        if self.command('GET', 'new') != 'value':
            raise Failed('redis: a new key is lost')
        try:
            self.command('SHUTDOWN', 'NOSAVE')
        except (OSError, ValueError, IndexError):
            pass
        if self.box.wait(pid, 'redis to shut down') != 0:
            raise Failed(f'redis-server: {describe(self.box.ended(pid))}')


def make(box, directives):
    if not any(os.access(os.path.join(d, 'redis-server'), os.X_OK) for d in os.environ.get('PATH', '').split(':')):
        raise Skipped('redis-server is not installed')
    return Redis(box, directives)
