"""Helpers of the drivers in tests/failures: they drive the product themselves, in the mode "check", as check(box)."""
import json
import os
import random
import shutil
import signal
import subprocess
import time

import witness
from box import Failed
from directives import Directives
from modes import Program, same, settled_look
from proxy import Proxy


PROGRAMS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'programs')


class _Plain:
    """What a program needs of the directives when a driver starts it."""
    session, terminal = 'own', None

    def __init__(self, differs=()):
        self.differs = differs


class Run:
    """One scenario program in a directory of its own below the box, so that a driver can have several, one after the other."""

    def __init__(self, box, program, prepare=None):
        self.box = box
        self.base = box.dir
        box.dir = os.path.join(self.base, f'{program}.{len(os.listdir(self.base))}')
        os.mkdir(box.dir)
        os.chmod(box.dir, 0o777)
        self.dir = box.dir
        source = os.path.join(PROGRAMS, program + '.c')  # a program that a driver builds itself has none there
        differs = Directives(source).differs if os.path.exists(source) else ()
        self.subject = Program(box, [os.path.join(box.programs, program), box.dir], _Plain(differs), prepare=prepare)
        self.name = program
        self.pid = self.subject.start()
        self.before = settled_look(box, self.subject, self.pid)

    def unharmed(self, what, compare=True):
        """The program must be as before, and pass."""
        if compare:
            same(self.box, self.subject, self.pid, self.before, f'{self.name}: {what}')
        try:
            self.subject.verify(self.pid)
        except Failed as e:
            raise Failed(f'{self.name}: {what}: {e}') from e
        self.done()

    def kill(self):
        for pid in list(self.box.others()):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.box.expect_empty('after the runner has killed everything')
        self.done()

    def done(self):
        self.box.dir = self.base


def no_inventory(images, what):
    if os.path.exists(os.path.join(images, 'inventory.img')):
        raise Failed(f'{what}: an inventory.img is there')


def refused(box, what, outcome, *parts):
    """The command must have failed, not by a signal, with an error line that holds each of the parts."""
    status, log = outcome
    if status == 0:
        raise Failed(f'{what}: succeeded')
    if status < 0:
        raise Failed(f'{what}: died of signal {-status}: {box.first_error(log)}')
    # A usage error is told on stderr, before there is a log.
    text = '\n'.join(line for line in box.all_lines(log) if 'error' in line.lower() or line.startswith('faultline: '))
    if not text:
        raise Failed(f'{what}: failed without a line that tells of an error')
    for part in parts:
        if not any(word.lower() in text.lower() for word in ([part] if isinstance(part, str) else part)):
            raise Failed(f'{what}: the message does not mention {part!r}: {text[:300]}')


def pick_seed():
    """Printed into runner.log, so that a failure can be repeated with FAULTLINE_SEED=N."""
    seed = int(os.environ.get('FAULTLINE_SEED', time.time_ns() % 1000000007))
    print('seed', seed, flush=True)
    return random.Random(seed)


def soak():
    return os.environ.get('FAULTLINE_SOAK') == '1'


def sigkill(pid):
    os.kill(pid, signal.SIGKILL)


def kill_after(box, pid, seconds, kill=sigkill):
    """SIGKILL after so many seconds, unless the process ends before. True if it was killed. `kill` does it, and may kill more."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if box.ended(pid) is not None:
            return False
    try:
        kill(pid)
    except ProcessLookupError:
        return False
    return os.WIFSIGNALED(box.wait(pid, 'the killed command'))


def fresh(directory):
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory)
    return directory


def tracer_of(pid):
    """(state, pid of the tracer) of every thread of a process."""
    found = []
    for tid in os.listdir(f'/proc/{pid}/task'):
        with open(f'/proc/{pid}/task/{tid}/status', encoding='utf-8', errors='replace') as f:
            fields = dict(line.split(':', 1) for line in f if ':' in line)
        found.append((fields['State'].strip()[0], int(fields['TracerPid'])))
    return found


def let_go(pid):
    return not any(tracer or state == 't' for state, tracer in tracer_of(pid))


def dumps(box):
    """The processes of all commands of the product that still run."""
    return [pid for pid, words in box.others().items() if words.startswith(box.binary)]


def children_of(pid):
    with open(f'/proc/{pid}/task/{pid}/children', encoding='utf-8') as f:
        return [int(word) for word in f.read().split()]


def name_of(pid):
    with open(f'/proc/{pid}/comm', encoding='utf-8') as f:
        return f.read().strip()


def printed(outcome):
    """What a command printed beside its log."""
    with open(outcome[1] + '.out', encoding='utf-8') as f:
        return f.read()


def stats_of(box, verb):
    """The figures of stats-dump or stats-restore, as Debian's crit reads them."""
    decoded = subprocess.run(['/usr/bin/crit', 'decode', '-i', os.path.join(box.logs, f'stats-{verb}')], capture_output=True, text=True, check=True)
    return json.loads(decoded.stdout)['entries'][0][verb]


def script_of(box, body):
    path = box.path(f'script.{len(os.listdir(box.dir))}')
    with open(path, 'w', encoding='utf-8') as f:
        f.write(f'#!/bin/sh\n{body}\n')
    os.chmod(path, 0o755)
    return path


def resume(box, run, what):
    """All processes of the program must be stopped, and nothing else may differ once they go on."""
    tree = witness.tree_of(run.pid)
    # On its way to the stop each of them may still be seen running; one that was not told to stop never gets there.
    box.until(lambda: all(witness.stat_of(pid)[0] == 'T' for pid in tree), f'{what}: all processes to be stopped')
    for pid in tree:
        os.kill(pid, signal.SIGCONT)
    run.unharmed(what)
    box.expect_empty(what)


def compile_program(box, source, name, *flags):
    """Compiles a program of tests/failures, which speaks as scenario.h tells, into a directory of the box: that directory."""
    folder = box.path('bin.' + name)
    os.mkdir(folder)
    os.chmod(folder, 0o755)
    here = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..')
    subprocess.run(['cc', '-g', '-I', os.path.join(here, 'programs'), '-o', os.path.join(folder, name), os.path.join(here, 'failures', source), '-pthread', *flags],
                   check=True, stdin=subprocess.DEVNULL)
    return folder


def mount(box, options, where):
    os.makedirs(where, exist_ok=True)
    status = box.wait(box.spawn(['mount', '-t', 'tmpfs', '-o', options, 'tmpfs', where], box.path('mount.log'), session=False))
    if status != 0:
        raise Failed(f'the runner cannot mount a tmpfs on {where}')


def start_remote(box, program, *args):
    """Dumps a program and restores it from a page server, through a proxy: (run, pid of the server, proxy). It waits for "go"."""
    run = Run(box, program)
    box.images = run.box.path('images')
    box.must('dump', box.dump(run.pid))
    box.expect_empty('after the dump')
    server, port = box.page_server('--lazy-pages')
    proxy = Proxy(port)
    box.images = run.box.path('fetched')
    os.mkdir(box.images)
    box.must('remote restore', box.restore('--lazy-pages', '--page-server', '--port', str(proxy.port), *args))
    return run, server, proxy


def end_remote(box, run, server, proxy, what):
    """The program must have found its memory as it was, and nothing may be left behind."""
    status = box.wait(run.pid, f'{what}: the verdict of the program')
    if status != 0:
        run.subject.verify(run.pid)
        raise Failed(f'{what}: the program did not survive')
    proxy.close()
    if server is not None:
        box.end(server, f'{what}: the page server to end')
    box.expect_empty(what)
    run.done()


def end_moved(box, run, dump, restore, what):
    """A program that moves from a live source: the dump is done when all memory is there, and the program, told to go, finds it as it was.
    `dump` and `restore`: (pid, log) of commands that go on."""
    if os.waitstatus_to_exitcode(box.wait(dump[0], 'the dump that is done when all memory has moved')) != 0:
        raise Failed(f'{what}: the dump: {box.first_error(dump[1])}; the restore: {box.first_error(restore[1])}')
    open(run.box.path('go'), 'w').close()
    box.wait(restore[0], 'the program to end')
    if not any('ended with exit code 0' in line for line in box.all_lines(restore[1])):
        raise Failed(f'{what}: {box.first_error(restore[1])}')
    box.expect_empty(what)
    run.done()


def state_of(pid):
    """The letter that ps(1) shows; '' if the process is gone."""
    try:
        with open(f'/proc/{pid}/stat', encoding='utf-8', errors='replace') as f:
            return f.read().rpartition(')')[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ''


def helpers(box):
    """{pid: its name} of the processes of the product that serve the restored program."""
    found = {}
    for pid in box.others():
        try:
            if os.path.samefile(f'/proc/{pid}/exe', box.binary):
                with open(f'/proc/{pid}/comm', encoding='utf-8') as f:
                    name = f.read().strip()
                if name in ('faultline-guard', 'faultline-pager'):  # and no page server
                    found[pid] = name
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found


def complete(box, pid):
    """The helpers, when both are there; none, when all the work is done."""
    found = {}

    def settled():
        found.clear()
        found.update(helpers(box))
        return sorted(found.values()) == ['faultline-guard', 'faultline-pager'] or not found or box.ended(pid) is not None
    box.until(settled, 'a killed helper to be replaced')
    return found
