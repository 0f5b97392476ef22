"""Mounted checkpoints, for the drivers in tests/failures."""
import json
import os
import signal
import subprocess

from box import Failed, Skipped

# Tells what is in its memory, and waits to be dumped.
_SUBJECT = r'''
import ctypes, hashlib, json, mmap, os, signal, sys, threading

directory, needle = sys.argv[1], sys.argv[2]
PAGE, LENGTH = 4096, 4 << 20
memory = mmap.mmap(-1, LENGTH, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
area = ctypes.addressof(ctypes.c_char.from_buffer(memory))
for page in range(0, LENGTH // PAGE // 2):
    memory[page * PAGE:page * PAGE + 16] = b'page %011d' % page
hole = area + LENGTH // 2
memory[LENGTH - PAGE:LENGTH - PAGE + 8] = b'the last'
text = b'needle in the hay: ' + needle.encode()
memory[5000:5000 + len(text)] = text
secret = 'secret-' + os.urandom(8).hex()
memory[9000:9000 + len(secret) + 1] = secret.encode() + b'\0'
file = open(os.path.join(directory, 'open file'), 'w')
readable, writable = os.pipe()
os.write(writable, b'unread bytes of the pipe')
child = os.fork()
if child == 0:
    while True:
        signal.pause()
event = threading.Event()
threading.Thread(target=event.wait, daemon=True).start()
def own(name):
    with open('/proc/self/' + name, 'rb') as f:
        return f.read().hex()
facts = {'pid': os.getpid(), 'child': child, 'area': area, 'length': LENGTH, 'hole': hole, 'sha': hashlib.sha256(memory).hexdigest(),
         'texts': {area + 5000: text.hex(), area + 9000: secret.encode().hex(), area + LENGTH - PAGE: b'the last'.hex()},
         'needle': needle, 'secret': secret, 'secret_at': area + 9000, 'file': os.path.realpath(file.name), 'file_fd': file.fileno(), 'cwd': os.getcwd(), 'exe': os.path.realpath('/proc/self/exe'),
         'cmdline': own('cmdline'), 'environ': own('environ'), 'comm': own('comm'), 'in_pipe': 'unread bytes of the pipe'}
with open(os.path.join(directory, 'facts.new'), 'w') as f:
    json.dump(facts, f)
os.rename(os.path.join(directory, 'facts.new'), os.path.join(directory, 'facts'))
while True:
    signal.pause()
'''


def ready_to_mount():
    try:
        os.close(os.open('/dev/fuse', os.O_RDWR))
    except OSError as e:
        raise Skipped(f'/dev/fuse cannot be opened: {os.strerror(e.errno)}') from e


def subject(box, *options):
    """Starts a program with a child, lets it tell about itself, and dumps both: what it told."""
    script, facts = box.path('subject.py'), box.path('facts')
    with open(script, 'w', encoding='utf-8') as f:
        f.write(_SUBJECT)
    pid = box.spawn(['/usr/bin/python3', script, box.dir, 'hay-' + os.urandom(6).hex()], box.path('subject.log'))
    box.until(lambda: os.path.exists(facts) or box.ended(pid) is not None, 'the program to tell about itself')
    if box.ended(pid) is not None:
        raise Failed('the program ended: ' + open(box.path('subject.log'), encoding='utf-8').read()[-300:])
    box.must('dump', box.dump(pid, *options))
    box.expect_empty('after the dump')
    with open(facts, encoding='utf-8') as f:
        return json.load(f)


def mount_entries(where):
    with open('/proc/self/mountinfo', encoding='utf-8') as f:
        return [line for line in f if line.split()[4] == where]


class Mounted:
    """A checkpoint mounted for as long as the block lasts; at its end it is unmounted, and nothing may be left."""

    def __init__(self, box, *options, images=None):
        self.box = box
        self.where = box.path('mount')
        while mount_entries(self.where):
            self.where += '.more'
        os.makedirs(self.where, exist_ok=True)
        self.log = os.path.join(box.logs, f'mount.{len(os.listdir(box.logs))}.log')
        pid_file = self.log + '.pid'
        command = [box.binary, 'mount', images or box.images, self.where, '-o', self.log, '-v4', '--pidfile', pid_file, *options]
        status = box.wait(box.spawn(command, self.log + '.out', session=False), 'faultline mount')
        if status != 0:
            raise Failed(f'mount ended with {os.waitstatus_to_exitcode(status)}: {box.first_error(self.log)}')
        with open(pid_file, encoding='ascii') as f:
            self.server = int(f.read())

    def path(self, *names):
        return os.path.join(self.where, *names)

    def watcher(self, other_than=0):
        """The process that watches over the mount. It may still be about to begin."""
        return self.box.until(lambda: self._watcher() not in (0, other_than) and self._watcher(), 'the process that watches over the mount')

    def _watcher(self):
        for pid in self.box.others():
            try:
                with open(f'/proc/{pid}/comm', encoding='utf-8') as f:
                    if f.read() == 'faultline-watch\n':
                        return pid
            except OSError:
                pass
        return 0

    def gone(self, when):
        """Neither the mount nor its server is left."""
        self.box.until(lambda: not mount_entries(self.where), f'{when}: the mount to be gone')
        self.box.until(lambda: not os.path.exists(f'/proc/{self.server}'), f'{when}: the server to end')
        if os.listdir(self.where):
            raise Failed(f'{when}: {self.where} is not empty')

    def unmount(self):
        done = subprocess.run([self.box.binary, 'umount', self.where], capture_output=True, text=True, check=False)
        return done.returncode, done.stderr

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            try:
                os.kill(self.server, signal.SIGTERM)
            except ProcessLookupError:
                pass
            return
        status, said = self.unmount()
        if status != 0:
            raise Failed(f'umount ended with {status}: {said[:300]}')
        self.gone('after umount')
