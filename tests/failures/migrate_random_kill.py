# about: kill -9 of the source, the restore or the whole destination at random moments of a migration: one copy goes on, or none and a message says what to do; never two
# modes: check
# timeout: 240
import os
import signal
import struct
import time

from box import Failed
from drive import Run, children_of, compile_program, fresh, helpers, name_of, pick_seed, soak, state_of
from proxy import Proxy

PROGRAM = 'migrate_count'
ROUNDS = 24
TIMEOUT = ('--page-timeout', '1')
COMMIT = 7          # a frame's type (pageserver/PROTOCOL.md, section 3)
COMPLETE = 2200     # steps of both processes, in which all memory was read
WINDOW = 0.004      # from COMMIT on: the answer, the pager, and that the program is let go


class Wire(Proxy):
    """Tells when the restore asks for the right to let the program run."""

    committing = False

    def from_client(self, first, data):
        if not first and len(data) >= 24 and struct.unpack_from('<IH', data) == (0, COMMIT):
            self.committing = True
        return data


class Round:
    def __init__(self, box, what, contained):
        self.box, self.what, self.contained = box, what, contained
        plain, box.programs = box.programs, box.counting
        self.run = Run(box, PROGRAM)
        box.programs = plain
        self.home = os.readlink('/proc/self/ns/pid')
        open(self.run.box.path('go'), 'w').close()
        box.until(lambda: {pid for _, pid in self.steps()} >= {str(self.run.pid), *map(str, children_of(self.run.pid))}, 'both processes to count')
        self.originals = [self.run.pid, *children_of(self.run.pid)]
        port_file = self.run.box.path('port')
        self.dump, self.dump_log = box.dump(self.run.pid, '--lazy-pages', *TIMEOUT, '--portfile', port_file, images=fresh(self.run.box.path('source')), wait=False)
        box.until(lambda: os.path.exists(port_file) or box.ended(self.dump) is not None, 'the dump to serve')
        if box.ended(self.dump) is not None:
            raise Failed(f'{what}: dump --lazy-pages: {box.first_error(self.dump_log)}')
        self.worker = children_of(self.dump)[0]
        with open(port_file, encoding='ascii') as f:
            self.wire = Wire(int(f.read()))
        self.begin_restore()

    def begin_restore(self):
        """Either in a pid namespace of the restore's own, or in one that is there and stays, with a process that keeps orphans."""
        box, target = self.box, fresh(self.run.box.path('target'))
        self.restore_log = self.run.box.path('restore.log')
        words = [box.binary, 'restore', '-D', target, '-W', target, '-o', self.restore_log, '-v4', '-d', '--lazy-pages', *TIMEOUT, '--page-server', '--port', str(self.wire.port)]
        if self.contained:
            words.append('--new-pidns')
        else:
            os.mkfifo(self.run.box.path('hold'))
            words = ['unshare', '--pid', '--fork', '--mount-proc', '--kill-child=KILL', 'sh', '-c', '"$@"; : > restored; read held < ../hold', 'init', *words]
        self.there = box.spawn(words, self.restore_log + '.out', cwd=target)
        self.restored = (lambda: box.ended(self.there) is not None) if self.contained else (lambda: os.path.exists(os.path.join(target, 'restored')))

    def steps(self):
        """(pid namespace, pid) of all steps so far."""
        try:
            with open(self.run.box.path('steps'), encoding='ascii') as f:
                return [tuple(line.split()) for line in f.read().splitlines()]
        except FileNotFoundError:
            return []

    def source(self):
        return [pid for pid in (self.worker, self.dump) if state_of(pid) not in ('', 'Z')]

    def elsewhere(self):
        return [pid for pid in self.box.others() if pid not in (*self.originals, self.worker, self.dump)]

    def copies(self):
        """Those that have got as far as to be the program."""
        return [pid for pid in self.elsewhere() if _is(pid, PROGRAM)]

    def restores(self):
        if self.contained:
            return [self.there]
        return [pid for pid in self.elsewhere() if _is(pid, 'faultline', 'faultline-keep')]

    def restores_at_work(self):
        return [pid for pid in self.restores() if _is(pid, 'faultline') and state_of(pid) not in ('', 'Z')]

    def going_on(self):
        """Which copies make steps: of '', 'here', 'there'."""
        before = len(self.steps())
        end = time.monotonic() + 0.1
        self.box.until(lambda: time.monotonic() > end, 'steps')
        return {'here' if where == self.home else 'there' for where, _ in self.steps()[before:]}

    def settle(self):
        """Until no time runs out any more: (whether the original goes on, whether the copy does)."""
        while True:
            self.box.pause(f'{self.what}: the end of what was not killed')
            if self.source() and not self.restores_at_work() and 'has opened' not in self.told():
                _kill(self.dump, signal.SIGTERM)  # nobody has come, and the source may wait for the next one
            if self.source() or self.restores_at_work():
                continue
            going = self.going_on()
            if 'there' in going and len([1 for where, _ in self.steps() if where != self.home]) < COMPLETE:
                continue  # it may still be stopped for a page that is missing
            if any(state_of(pid) not in 'TtZ' for pid in self.copies()) and 'there' not in going:
                continue  # it waits for a page
            return 'here' in going, 'there' in going

    def check_order(self):
        """The right to go on is handed over, and perhaps back, and no step is made without it."""
        steps = self.steps()
        unsure = set()  # a process may have been frozen between asking where it is and saying so
        for pid in {pid for _, pid in steps}:
            before = [i for i, (where, whose) in enumerate(steps) if whose == pid]
            first = next((n for n, i in enumerate(before) if steps[i][0] != self.home), None)
            if first:
                unsure.add(before[first - 1])
        turns = []
        for i, (where, _) in enumerate(steps):
            if i not in unsure and (not turns or turns[-1] != where):
                turns.append(where)
        if len(turns) > 3 or len(set(turns)) > 2:
            raise Failed(f'{self.what}: two copies were at work: the turns were {turns}')

    def told(self):
        return '\n'.join(self.box.all_lines(self.dump_log) + self.box.all_lines(self.restore_log))

    def end(self):
        self.wire.close()
        for pid in self.box.others():
            _kill(pid)
        self.box.expect_empty(self.what)
        self.run.done()


def _is(pid, *names):
    try:
        return name_of(pid) in names
    except (FileNotFoundError, ProcessLookupError):
        return False


def _kill(pid, how=signal.SIGKILL):
    try:
        os.kill(pid, how)
    except ProcessLookupError:
        pass


def kill_source(r):
    _kill(r.dump, signal.SIGSTOP)
    _kill(r.worker)
    _kill(r.dump)


def kill_worker(r):
    _kill(r.worker)


def kill_front(r):
    _kill(r.dump)


def kill_restore(r):
    for pid in r.restores():
        _kill(pid)


def kill_destination(r):
    """As its host would die, all at the same time: what is stopped does not see the others end."""
    stopped = set()
    while set(r.elsewhere()) - stopped:
        for pid in set(r.elsewhere()) - stopped:
            _kill(pid, signal.SIGSTOP)
            stopped.add(pid)
    for pid in sorted(stopped, key=lambda pid: pid not in helpers(r.box)):
        _kill(pid)


KILLS = (kill_restore, kill_source, kill_destination, kill_worker, kill_restore, kill_front)


def one_round(box, random, number, whole):
    kill = KILLS[number % len(KILLS)]
    contained = number // len(KILLS) % 2 == 0
    since = random.choice(('the start', 'COMMIT', 'COMMIT', 'the pager'))
    moment = random.uniform(0, whole if since == 'the start' else WINDOW)
    what = f'round {number}: {kill.__name__} {moment * 1000:.2f} ms after {since}, {"--new-pidns" if contained else "a namespace that is there"}'
    r = Round(box, what, contained)
    begun = {'the start': lambda: True, 'COMMIT': lambda: r.wire.committing, 'the pager': lambda: helpers(box)}[since]
    while not begun() and not r.restored():
        pass
    begin = time.monotonic()
    while time.monotonic() - begin < moment:
        pass
    kill(r)
    here, there = r.settle()
    r.check_order()
    outcome = ('here ' if here else '') + ('there' if there else '')
    print(f'{what}: {outcome or "none"}', flush=True)
    judge(r, kill, here, there)
    r.end()


def judge(r, kill, here, there):
    if here and there:
        raise Failed(f'{r.what}: two copies go on')
    if here:
        # The copy cannot come to life any more, nor is anything left that was to be one.
        r.box.until(lambda: not [pid for pid in r.elsewhere() if _is(pid, PROGRAM, 'faultline', 'faultline-pager', 'faultline-guard') and state_of(pid) not in ('', 'Z')],
                    f'{r.what}: the end of the restore')
    if here or there:
        return
    if not any(state_of(pid) not in ('', 'Z') for pid in r.originals + r.copies()):
        # What has been handed over for good, and is killed then, has ended there.
        if kill is kill_destination and any(where != r.home for where, _ in r.steps()):
            return
        raise Failed(f'{r.what}: no copy is left; the dump: {r.box.first_error(r.dump_log)}; the restore: {r.box.first_error(r.restore_log)}')
    if 'kill -CONT' not in r.told():
        raise Failed(f'{r.what}: no copy goes on, and nobody says what to do; the dump: {r.box.first_error(r.dump_log)}; the restore: {r.box.first_error(r.restore_log)}')


def how_long(box):
    r = Round(box, 'undisturbed', contained=True)
    begin = time.monotonic()
    box.until(r.restored, 'the restore')
    whole = time.monotonic() - begin
    if r.settle() != (False, True):
        raise Failed(f'undisturbed: the copy does not go on; the restore: {box.first_error(r.restore_log)}')
    r.check_order()
    r.end()
    return whole


def check(box):
    random = pick_seed()
    box.counting = compile_program(box, 'migrate_count.c', PROGRAM, '-O1')
    whole = how_long(box) * 1.2
    for number in range(ROUNDS * (10 if soak() else 1)):
        one_round(box, random, number, whole)
