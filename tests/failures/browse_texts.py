# about: the texts of a checkpoint are those that /proc shows of the same program, stopped: areas, status, limits, descriptors, threads, what waits in pipes
# modes: check
# timeout: 60
import os
import re
import signal

from box import Failed
from drive import _Plain
from modes import Program
from mounts import Mounted, ready_to_mount
import witness

PROGRAM = r'''
import ctypes, mmap, os, resource, select, signal, socket, sys, threading
libc = ctypes.CDLL(None, use_errno=True)
base = sys.argv[1]
def path(name): return os.path.join(base, name)
keep = []
def number(fd):
    if fd < 0: raise OSError(ctypes.get_errno(), 'a descriptor')
    keep.append(fd)
    return fd

signal.signal(signal.SIGUSR1, lambda *_: None)
signal.signal(signal.SIGHUP, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
os.kill(os.getpid(), signal.SIGUSR2)
resource.setrlimit(resource.RLIMIT_CORE, (4096, 1 << 20))
resource.setrlimit(resource.RLIMIT_NOFILE, (512, 1024))
os.umask(0o027)
os.setgroups([4, 20])
os.chdir(base)

r, w = os.pipe()
os.write(w, b'what waits in the pipe')
os.mkfifo(path('fifo'))
number(os.open(path('fifo'), os.O_RDWR | os.O_NONBLOCK))
a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
a.send(b'first packet'); a.send(b'second')
server = socket.socket(); server.bind(('127.0.0.1', 0)); server.listen(7)
deleted = open(path('deleted'), 'w+'); deleted.write('a deleted file'); deleted.flush(); os.unlink(path('deleted'))
plain = open(path('plain'), 'w+'); plain.write('0123456789' * 1000); plain.flush(); plain.seek(4321)
keep.append(open(path('plain'), 'a'))
number(os.dup2(r, 100, inheritable=True))
event = number(libc.eventfd(5, os.O_NONBLOCK))
number(libc.eventfd(6, 1))
mask = (ctypes.c_ulong * 16)(1 << 11)
number(libc.signalfd(-1, mask, 0))
timer = number(libc.timerfd_create(1, 0))
libc.timerfd_settime(timer, 0, (ctypes.c_long * 4)(5, 6, 100000, 7), None)
watch = number(libc.inotify_init1(os.O_NONBLOCK))
libc.inotify_add_watch(watch, base.encode(), 0x200)
poll = select.epoll(); poll.register(r, select.EPOLLIN); poll.register(event, select.EPOLLIN | select.EPOLLET)
master, slave = os.openpty()
memory = number(os.memfd_create('a name')); os.write(memory, b'x' * 5000)
keep.append(mmap.mmap(memory, 0))
keep.append(mmap.mmap(-1, 1 << 16)); keep[-1][0] = 1
keep.append(mmap.mmap(plain.fileno(), 8192, mmap.MAP_SHARED, mmap.PROT_READ))
keep.append(mmap.mmap(-1, 1 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)); keep[-1].madvise(mmap.MADV_DONTFORK)
hidden = os.open(path('unlinked map'), os.O_RDWR | os.O_CREAT); os.ftruncate(hidden, 8192)
keep.append(mmap.mmap(hidden, 0)); os.unlink(path('unlinked map')); os.close(hidden)

started = threading.Barrier(4)
def thread(i):
    libc.prctl(15, f'thread {i}'.encode(), 0, 0, 0)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGRTMIN + i])
    if i == 2: os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 5)
    started.wait()
    signal.pause()
for i in range(3): threading.Thread(target=thread, args=(i,), daemon=True).start()
started.wait()
if os.fork() == 0:
    os.setsid()
    signal.pause()
open(path('ready'), 'w').close()
signal.pause()
'''

# In the images no parent, no state of a stopped task, and nothing that changes by itself.
STATUS = ('Name', 'Umask', 'Tgid', 'Ngid', 'Pid', 'TracerPid', 'Uid', 'Gid', 'FDSize', 'Groups', 'NStgid', 'NSpid', 'NSpgid', 'NSsid', 'Kthread', 'VmSize', 'VmLck', 'VmPin',
          'VmData', 'VmStk', 'VmExe', 'VmLib', 'VmSwap', 'HugetlbPages', 'CoreDumping', 'THP_enabled', 'untag_mask', 'Threads', 'SigPnd', 'ShdPnd', 'SigBlk', 'SigIgn', 'SigCgt',
          'CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb', 'NoNewPrivs', 'Seccomp')
# Numbers as in proc(5), from 1.
STAT = (1, 2, 5, 6, 7, 8, 18, 19, 20, 21, 23, 25, 26, 27, 28, 31, 32, 33, 34, 36, 37, 38, 40, 41, 45, 46, 47, 48, 49, 50, 51)
WHOLE = ('cmdline', 'environ', 'auxv', 'comm', 'limits', 'oom_score_adj', 'personality', 'loginuid')
FOUND = []  # differences
UNTOLD = ('mnt_id', 'eventfd-id', 'it_value', 'ino')  # of fdinfo: what images do not tell, or what goes on


def check(box):
    ready_to_mount()
    pid = Program(box, ['/usr/bin/python3', '-c', PROGRAM, box.dir], _Plain()).start()
    box.must('dump', box.dump(pid, '-s'))
    pids = witness.tree_of(pid)
    with Mounted(box) as mounted:
        root = mounted.where
        equal('tasks', [str(one) for one in sorted(pids)], sorted(os.listdir(f'{root}/tasks'), key=int))
        for one in pids:
            compare_process(f'/proc/{one}', f'{root}/tasks/{one}')
        objects(root, pid)
    if FOUND:
        raise Failed(f'{len(FOUND)} differences: ' + '; '.join(FOUND[:10]))
    for one in pids:
        os.kill(one, signal.SIGKILL)
    box.expect_empty('at the end')


def text(path):
    with open(path, 'rb') as f:
        return f.read().decode('utf-8', 'surrogateescape')


def equal(what, here, there):
    if here != there:
        lines = [f'{a!r} is shown as {b!r}' for a, b in zip(here.splitlines(), there.splitlines()) if a != b] if isinstance(here, str) else [f'{here!r} is shown as {there!r}']
        FOUND.append(f'{what}: ' + ('; '.join(lines[:3])[:500] or f'{len(here)} bytes are shown as {len(there)}'))


def compare_process(proc, shown):
    for name in WHOLE:
        equal(f'{shown}/{name}', text(f'{proc}/{name}'), text(f'{shown}/{name}'))
    equal(f'{shown}/maps', joined(text(f'{proc}/maps')), text(f'{shown}/maps'))
    for name in ('exe', 'cwd', 'root'):
        equal(f'{shown}/{name}', os.readlink(f'{proc}/{name}'), os.readlink(f'{shown}/{name}'))
    equal(f'{shown}/statm', [text(f'{proc}/statm').split()[i] for i in (0, 3, 4, 5, 6)], [text(f'{shown}/statm').split()[i] for i in (0, 3, 4, 5, 6)])
    here, there = smaps(f'{proc}/smaps'), smaps(f'{shown}/smaps')
    equal(f'{shown}/smaps: areas', list(here), list(there))
    for area in here:
        equal(f'{shown}/smaps: {area}', here[area], there[area])
    compare_thread(proc, shown)
    equal(f'{shown}/threads', sorted(os.listdir(f'{proc}/task')), sorted(os.listdir(f'{shown}/threads')))
    for tid in os.listdir(f'{proc}/task'):
        compare_thread(f'{proc}/task/{tid}', f'{shown}/threads/{tid}')
    descriptors(proc, shown)


def compare_thread(proc, shown):
    here, there = (dict(line.split(':\t', 1) for line in text(f'{where}/status').splitlines()) for where in (proc, shown))
    for name in STATUS:
        equal(f'{shown}/status: {name}', here.get(name), there.get(name))
    equal(f'{shown}/status: order of the lines', [name for name in here if name in there], list(there))
    here, there = (stat(f'{where}/stat') for where in (proc, shown))
    equal(f'{shown}/stat: number of fields', len(here), len(there))
    for field in STAT:
        equal(f'{shown}/stat: field {field}', here[field - 1], there[field - 1])


def stat(path):
    line = text(path)
    name, rest = line[line.index('('):line.rindex(')') + 1], line[line.rindex(')') + 2:]
    return [line.split()[0], name, *rest.split()]


def joined(maps):
    """The data of the vDSO is one area in images, several for the kernel."""
    lines = []
    for line in maps.splitlines():
        if lines and re.search(r' \[vvar\w*\]$', line) and lines[-1].endswith(' [vvar]'):
            lines[-1] = lines[-1].split('-')[0] + '-' + line.split('-', 1)[1].replace('[vvar_vclock]', '[vvar]')
            continue
        lines.append(line)
    return '\n'.join(lines) + '\n'


def smaps(path):
    """{area: (names of the lines, size, flags)}"""
    areas, area, told = {}, None, None
    for line in text(path).splitlines():
        if re.match(r'[0-9a-f]+-[0-9a-f]+ ', line):
            area = '[vvar]' if '[vvar' in line else line.split()[0]
            told = areas.setdefault(area, [[], '', set()])
            told[0] = []
            continue
        name, value = line.split(':', 1)
        if name == 'Size' and area != '[vvar]':
            told[1] = value
        if name == 'VmFlags':
            told[2] = set(value.split()) - witness.DROPPED_FLAGS
        elif name != 'ProtectionKey':
            told[0].append(name)
    return areas


def descriptors(proc, shown):
    equal(f'{shown}/fd', sorted(os.listdir(f'{proc}/fd')), sorted(os.listdir(f'{shown}/fd')))
    for fd in os.listdir(f'{proc}/fd'):
        equal(f'{shown}/fd/{fd}', os.readlink(f'{proc}/fd/{fd}'), os.readlink(f'{shown}/fd/{fd}'))
        here, there = (text(f'{where}/fdinfo/{fd}').splitlines() for where in (proc, shown))
        inode = [line for line in there if line.startswith('ino:')]
        if inode and inode != [line for line in here if line.startswith('ino:')]:
            raise Failed(f'{shown}/fdinfo/{fd}: {inode} is not the inode')
        equal(f'{shown}/fdinfo/{fd}', *([line for line in lines if line.split(':')[0] not in UNTOLD] for lines in (here, there)))


def objects(root, pid):
    links = {os.readlink(f'/proc/{pid}/fd/{fd}') for fd in os.listdir(f'/proc/{pid}/fd')}
    pipes = {link[6:-1] for link in links if link.startswith('pipe:')}
    waiting = {text(f'{root}/pipes/{pipe}') for pipe in pipes}
    if 'what waits in the pipe' not in waiting:
        raise Failed(f'pipes/ holds {waiting}')
    queues = [text(f'{root}/sockets/{name}') for name in os.listdir(f'{root}/sockets') if name.endswith('.queue')]
    equal('the queues of sockets', ['first packetsecond'], queues)
    sockets = '\n'.join(text(f'{root}/sockets/{name}') for name in os.listdir(f'{root}/sockets'))
    for told in ('state: LISTEN', 'local: 127.0.0.1:', 'packet 1: 6 bytes'):
        if told not in sockets:
            raise Failed(f'sockets/ does not tell {told!r}')
    ghosts = {text(f'{root}/files/{name}') for name in os.listdir(f'{root}/files') if name.startswith('ghost-')}
    equal('deleted files', sorted({'a deleted file', '\0' * 8192}), sorted(ghosts))
