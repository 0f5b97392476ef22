"""The modes: what is done to a program between "ready" and "verify". Each mode is a function of a box and a subject.

A subject is what is taken through the modes: start() gives the root pid once it is ready, verify(pid) checks it and waits for its end.
"""
import os
import re

from box import Failed, Skipped, describe
import witness


class Program:
    """A program that speaks as scenario.h tells: it makes the file "ready", waits for "go", checks, and ends with 0, 77 or another status."""

    moving = False  # True: processes come and go all the time, so that the witness cannot compare

    def __init__(self, box, argv, directives, env=None, prepare=None):
        self.box, self.argv, self.directives, self.env, self.prepare = box, argv, directives, env, prepare
        self.log = box.path('program.log')

    def start(self):
        if self.directives.terminal:
            self.box.open_terminal()
        own = self.directives.session == 'own' and not self.directives.terminal
        pid = self.box.spawn(self.argv, self.log, session=own, env=self.env, prepare=self.prepare)
        self.box.until(lambda: os.path.exists(self.box.path('ready')) or self.box.ended(pid) is not None, '"ready"')
        if self.box.ended(pid) is not None:
            self._judge(pid, 'before it was ready')
            raise Failed('ended with status 0 before it was ready')
        return pid

    def verify(self, pid):
        open(self.box.path('go'), 'w').close()
        self.box.wait(pid, 'the verdict of the program')
        self._judge(pid, 'in its checks')

    def _judge(self, pid, when):
        status = self.box.ended(pid)
        if status == 0:
            return
        with open(self.log, encoding='utf-8', errors='replace') as f:
            text = f.read().splitlines()
        lines = [line for line in text if line.startswith(('FAIL:', 'SKIP:'))]
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == 77:
            raise Skipped(lines[0][6:] if lines else 'no reason given')
        raise Failed(lines[0] if lines else f'{describe(status)} {when}; its last words: {text[-1] if text else "none"}')


def settled_look(box, subject, pid):
    """The witness of the tree, taken twice alike (a thread may be between two states while it is first read)."""
    if subject.moving:
        return None
    last = None
    for _ in range(50):
        try:
            seen = witness.look(pid)
        except (FileNotFoundError, ProcessLookupError):
            seen = None
        if seen is not None and seen == last:
            return seen
        last = seen
        box.pause('a settled process tree', 0.01)
    return last


def same(box, subject, pid, before, what):
    """Compares with the witness from before; lazily restored processes may still be on their way through their first instructions."""
    if subject.moving:
        return
    lines = []
    for _ in range(20):
        try:
            lines = witness.compare(before, witness.look(pid), subject.directives.differs)
        except (FileNotFoundError, ProcessLookupError):
            lines = [f'pid {pid}: is not there any more']
        if not lines or box.ended(pid) is not None:
            break
        box.pause('a settled process tree', 0.01)
    if box.ended(pid) is not None:
        return  # it has given its verdict itself, which verify() tells
    if lines:
        with open(box.path('differences.txt'), 'a', encoding='utf-8') as f:
            f.write(what + '\n' + '\n'.join(lines) + '\n')
        raise Failed(f'{what}: {lines[0]}' + (f' (and {len(lines) - 1} more, see differences.txt)' if len(lines) > 1 else ''))


def dump_and_kill(box, subject, pid, *args):
    before = settled_look(box, subject, pid)
    box.must('dump', box.dump(pid, *args))
    status = box.wait(pid, 'the dumped process to be killed')
    if not os.WIFSIGNALED(status):
        raise Failed(f'the dump succeeded but process {pid} was not killed: {describe(status)}')
    box.expect_empty('after the dump')
    if not os.path.exists(os.path.join(box.images, 'inventory.img')):
        raise Failed('the dump succeeded without an inventory.img')
    return before


def restore_and_compare(box, subject, pid, before, *args):
    box.must('restore', box.restore(*args))
    if not box.alive(pid) and box.ended(pid) is None:
        raise Failed(f'restore succeeded but there is no process {pid}')
    same(box, subject, pid, before, 'after restore')


def _finish(box, subject, pid):
    subject.verify(pid)
    box.expect_empty('at the end')


def native(box, subject):
    pid = subject.start()
    settled_look(box, subject, pid)
    _finish(box, subject, pid)


def leave_running(box, subject):
    pid = subject.start()
    before = settled_look(box, subject, pid)
    box.must('dump --leave-running', box.dump(pid, '-R'))
    same(box, subject, pid, before, 'after dump --leave-running')
    decode_all(box)
    _finish(box, subject, pid)


def eager(box, subject):
    pid = subject.start()
    before = dump_and_kill(box, subject, pid)
    decode_all(box)
    restore_and_compare(box, subject, pid, before)
    _finish(box, subject, pid)


def lazy(box, subject):
    pid = subject.start()
    before = dump_and_kill(box, subject, pid)
    restore_and_compare(box, subject, pid, before, '--lazy-pages', *subject.directives.lazy_options)
    _finish(box, subject, pid)


def remote(box, subject):
    """The images, and late memory, come from a page server; the restore begins with an empty directory."""
    pid = subject.start()
    before = dump_and_kill(box, subject, pid)
    server, port = box.page_server('--lazy-pages')
    source, box.images = box.images, box.path('fetched')
    os.mkdir(box.images)
    status, log = box.restore('--lazy-pages', '--page-server', '--port', str(port), *subject.directives.lazy_options)
    if status != 0:
        raise Failed(f'restore from the page server ended with {status}: {box.first_error(log)}')
    same(box, subject, pid, before, 'after restore')
    subject.verify(pid)
    if os.waitstatus_to_exitcode(box.end(server, 'the page server to end')) != 0:
        raise Failed('the page server did not end with 0 after SIGTERM')
    box.images = source
    box.expect_empty('at the end')


def twice(box, subject):
    pid = subject.start()
    before = dump_and_kill(box, subject, pid)
    restore_and_compare(box, subject, pid, before)
    box.images = box.path('images2')
    dump_and_kill(box, subject, pid)
    restore_and_compare(box, subject, pid, before)
    _finish(box, subject, pid)


def crit(box, subject):
    """Every image goes through crit decode and crit encode before the restore."""
    if subject.directives.no_crit:
        raise Skipped('crit encode: ' + subject.directives.no_crit)
    pid = subject.start()
    before = dump_and_kill(box, subject, pid)
    decode_all(box, '--encode')
    restore_and_compare(box, subject, pid, before)
    _finish(box, subject, pid)


def refused(box, subject):
    """The dump must say no, name the reason, leave no checkpoint, and the program must be as before."""
    pid = subject.start()
    before = settled_look(box, subject, pid)
    status, log = box.dump(pid)
    if status == 0:
        raise Failed('the dump succeeded, it should have been refused')
    if status < 0:
        raise Failed(f'the dump died of signal {-status}')
    if os.path.exists(os.path.join(box.images, 'inventory.img')):
        raise Failed('the dump was refused, but an inventory.img is there')
    same(box, subject, pid, before, 'after the refused dump')
    text = '\n'.join(line for line in box.all_lines(log) if 'error' in line.lower())
    for part in subject.directives.refused:
        if not re.search(part, text, re.IGNORECASE):
            raise Failed(f'the refusal does not mention "{part}": {box.first_error(log)}')
    _finish(box, subject, pid)


def decode_all(box, *args):
    """Debian's crit reads every image that was written (one process for all of them: each start of crit takes 0.3 s)."""
    helper = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'crit_all.py')
    if not os.path.exists('/usr/bin/crit'):
        raise Skipped("Debian's crit is not installed (package criu)")
    pid = box.spawn(['/usr/bin/python3', helper, *args, box.images], box.path('crit.log'), session=False)
    if box.wait(pid, 'crit') != 0:
        with open(box.path('crit.log'), encoding='utf-8', errors='replace') as f:
            lines = f.read().splitlines()
        raise Failed('crit: ' + (lines[-1] if lines else 'failed with no message'))


ALL = {'native': native, 'leave-running': leave_running, 'eager': eager, 'lazy': lazy, 'remote': remote, 'twice': twice, 'crit': crit, 'refused': refused}
