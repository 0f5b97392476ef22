# about: a migration in which the source takes its program back, the source or the destination is killed, or the network is cut or silent: one copy that can run, or none, never two
# modes: check
# timeout: 180
import os
import signal
import time

from box import Failed
from drive import Run, fresh, helpers, name_of, pick_seed, state_of
from proxy import Proxy


def processes_of(box, word):
    """The processes whose program was started with this word in its arguments."""
    return [pid for pid, words in box.others().items() if word in words.split()]


def offer(box, program):
    """Dumps lazily: (run, pid of the dump, its log, port, an empty directory)."""
    run = Run(box, program)
    source, target = (fresh(run.box.path(name)) for name in ('source', 'target'))
    port_file = run.box.path('port')
    dump, dump_log = box.dump(run.pid, '--lazy-pages', '--page-timeout', '2', '--portfile', port_file, images=source, wait=False)
    box.until(lambda: os.path.exists(port_file) or box.ended(dump) is not None, 'the dump to serve')
    if box.ended(dump) is not None:
        raise Failed(f'{program}: dump --lazy-pages: {box.first_error(dump_log)}')
    with open(port_file, encoding='ascii') as f:
        return run, dump, dump_log, f.read(), target


def begin(box, program, *more, wire=False):
    """Dumps lazily and restores into a pid namespace beside it; most of the memory is still with the source: (run, pid of the dump, its log).
    `wire`: there is a network between them, run.wire."""
    run, dump, dump_log, port, target = offer(box, program)
    if wire:
        run.wire = Proxy(int(port))
        port = str(run.wire.port)
    outcome = box.faultline('restore', '-d', '--new-pidns', '--lazy-pages', '--prefetch', 'none', '--page-server', '--port', port, *more, images=target)
    if outcome[0] != 0:
        raise Failed(f'{program}: the restore ended with {outcome[0]}: {box.first_error(outcome[1])}; the dump: {box.first_error(dump_log)}')
    run.restore_log = outcome[1]
    return run, dump, dump_log


def processes_named(box, name):
    found = []
    for pid in box.others():
        try:
            if name_of(pid) == name:
                found.append(pid)
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found


def copies(box, run):
    """The processes with the memory of the program: the original, and the one in the namespace."""
    found = []
    for pid in box.others():
        try:
            with open(f'/proc/{pid}/cmdline', 'rb') as f:
                if os.path.basename(f.read().split(b'\0')[0].decode()) == run.name:
                    found.append(pid)
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found


def kill_helpers(box):
    """Kills pager and guard, and whoever replaces them; those that were there."""
    found = helpers(box)
    for pid in found:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    return found


def told(box, log, *words):
    """One line of the log, an error, has all of these words."""
    lines = [line for line in box.all_lines(log) if 'Error' in line]
    if not any(all(word in line for word in words) for line in lines):
        raise Failed(f'no error tells {words}, but: {lines}')


def end_all(box, run, what):
    for pid in list(box.others()):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    box.expect_empty(what)
    run.done()


def programs_elsewhere(box):
    """What lives in other pid namespaces, beside the product and what the test needs there."""
    found = []
    for pid, words in box.others().items():
        try:
            here = os.readlink(f'/proc/{pid}/ns/pid') == os.readlink('/proc/self/ns/pid')
        except (FileNotFoundError, ProcessLookupError):
            continue
        if not here and not words.startswith('[') and words.split()[0] not in (box.binary, 'sh', 'sleep'):
            found.append(f'{pid} {words}')
    return found


def orphans(box, keeper_killed):
    """Without a pid namespace of the restore's own, in one that was there before: also those that are orphans by now must end before the original
    goes on. If they cannot be known, because whoever got them as children was killed, it does not go on."""
    what = 'orphans, keeper killed' if keeper_killed else 'orphans'
    run, dump, log, port, target = offer(box, 'tree_orphans_later')
    with open(run.box.path('hold'), 'w', encoding='ascii'):
        pass
    restore_log = os.path.join(box.logs, f'{what}.restore.log')
    there = box.spawn(['unshare', '--pid', '--fork', '--mount-proc', '--kill-child=KILL',
                       'sh', '-c', '"$@" || exit; : > restored; while [ -e ../hold ]; do sleep 0.05; done', 'init', box.binary, 'restore', '-D', target, '-W', target, '-o', restore_log,
                       '-v4', '-d', '--lazy-pages', '--prefetch', 'none', '--page-server', '--port', port], restore_log + '.out', cwd=target)
    box.until(lambda: os.path.exists(os.path.join(target, 'restored')) or box.ended(there) is not None, 'the restore in a namespace')
    if box.ended(there) is not None:
        raise Failed(f'{what}: {box.first_error(restore_log)}')
    with open(run.box.path('go'), 'w', encoding='ascii'):
        pass
    box.until(lambda: all(os.path.exists(run.box.path(name)) for name in ('orphan', 'orphan_program')), f'the orphans ({box.first_error(restore_log)})')
    if keeper_killed:
        [keeper] = processes_named(box, 'faultline-keep')
        os.kill(keeper, signal.SIGKILL)
        box.until(lambda: not processes_named(box, 'faultline-keep'), 'the keeper to be gone')
    os.kill(dump, signal.SIGTERM)
    box.wait(dump, 'the dump that takes its program back')
    if keeper_killed:
        # Processes may run elsewhere that nobody knows. It is let go with a stop that waits for it.
        box.until(lambda: state_of(run.pid) == 'T', 'the original to be stopped')
        return end_all(box, run, what)
    if state_of(run.pid) in 'tT':
        raise Failed(f'{what}: the original does not go on: {box.first_error(log)}; {box.first_error(restore_log)}')
    left = programs_elsewhere(box)
    if left:
        raise Failed(f'{what}: the original goes on, and elsewhere there are {left}')
    os.unlink(run.box.path('hold'))
    run.unharmed(what, compare=False)
    box.expect_empty(what)


def network_cut(box, random):
    """All connections end, again and again: the program waits, and finds its memory."""
    for program in ('mem_lazy_touch', 'mem_lazy_churn'):
        run, dump, log = begin(box, program, '--page-timeout', '2', wire=True)
        open(run.box.path('go'), 'w').close()
        while box.ended(dump) is None:
            end = time.monotonic() + random.uniform(0.002, 0.1)
            while time.monotonic() < end and box.ended(dump) is None:
                box.pause('a moment to cut', 0.001)
            run.wire.cut()
        goes_on_there(box, run, dump, log, f'{program}, network cut')


def goes_on_there(box, run, dump, log, what):
    if os.waitstatus_to_exitcode(box.wait(dump, f'{what}: the end of the dump')) != 0:
        raise Failed(f'{what}: the dump: {box.first_error(log)}; the restore: {box.first_error(run.restore_log)}')
    if run.pid in box.others():
        raise Failed(f'{what}: the original is still there')
    box.until(lambda: not box.others(), f'{what}: the end of the copy')
    with open(run.subject.log, encoding='utf-8', errors='replace') as f:
        if 'FAIL' in (said := f.read()):
            raise Failed(f'{what}: {said.strip()[-300:]}')
    run.wire.close()
    run.done()


def silent_and_stopped(box, what):
    """Nothing passes any more, for longer than a page is waited for: the copy is stopped, the original frozen as it was."""
    run, dump, log = begin(box, 'mem_lazy_touch', '--page-timeout', '1', wire=True)
    run.wire.silent = True
    open(run.box.path('go'), 'w').close()
    box.until(lambda: len(copies(box, run)) == 2 and all(state_of(pid) in 'Tt' for pid in copies(box, run)), f'{what}: both copies to stand')
    told(box, run.restore_log, 'stopped until pages come again')
    return run, dump, log


def network_silent(box):
    what = 'silence that ends'
    run, dump, log = silent_and_stopped(box, what)
    run.wire.silent = False
    goes_on_there(box, run, dump, log, what)

    # The source wants its program back, and nobody answers: a copy may run for all it knows. That there was none is for somebody to say who can see both.
    what = 'taken back in silence'
    run, dump, log = silent_and_stopped(box, what)
    [copy] = [pid for pid in copies(box, run) if pid != run.pid]
    os.kill(dump, signal.SIGTERM)
    both_stay_stopped(box, run, dump, log, copy, what)

    what = 'cut for good'
    run, dump, log = silent_and_stopped(box, what)
    [copy] = [pid for pid in copies(box, run) if pid != run.pid]
    run.wire.accepted = lambda: False
    run.wire.silent = False
    run.wire.cut()
    both_stay_stopped(box, run, dump, log, copy, what)


def both_stay_stopped(box, run, dump, log, copy, what):
    if os.waitstatus_to_exitcode(box.wait(dump, f'{what}: the dump to give up')) == 0:
        raise Failed(f'{what}: the dump succeeded')
    told(box, log, f'kill -KILL {run.pid}.', f'kill -CONT {run.pid}')
    # Also when they could hear from each other again.
    before = run.wire.connections
    run.wire.silent, run.wire.accepted = False, Proxy.accepted.__get__(run.wire)
    box.until(lambda: state_of(run.pid) == state_of(copy) == 'T', f'{what}: both copies to be stopped')
    print(f'{what}: {run.wire.connections - before} connections since', flush=True)
    kill_helpers(box)
    for pid in [pid for pid in box.others() if pid != run.pid]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    run.wire.close()
    os.kill(run.pid, signal.SIGCONT)
    run.unharmed(what, compare=False)
    box.expect_empty(what)


def check(box):
    network_cut(box, pick_seed())
    network_silent(box)

    # The source is told to end: the copy elsewhere dies first, and then the original goes on, unharmed.
    for program in ('mem_lazy_touch', 'tree_depth'):
        run, dump, log = begin(box, program)
        os.kill(dump, signal.SIGTERM)
        box.wait(dump, 'the dump that takes its program back')
        box.until(lambda r=run: copies(box, r) and all(state_of(pid) not in 'tT' for pid in copies(box, r)), 'the original to go on')
        if program == 'mem_lazy_touch' and copies(box, run) != [run.pid]:
            raise Failed(f'after the source took it back, {copies(box, run)} are there; the original is {run.pid}')
        run.unharmed('taken back', compare=False)
        box.expect_empty(f'{program} taken back')

    # The source is killed, the worker before its front, at whose death it would take the program back: the original stays stopped, and the copy is stopped when it needs a page.
    run, dump, log = begin(box, 'mem_lazy_touch', '--page-timeout', '1')
    for pid in sorted(processes_of(box, 'dump'), reverse=True):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    open(run.box.path('go'), 'w').close()
    box.until(lambda: len(copies(box, run)) == 2 and all(state_of(pid) in ('T', 't') for pid in copies(box, run)), 'both copies to be stopped')
    # Somebody has to decide now, and both sides say how.
    [copy] = [pid for pid in copies(box, run) if pid != run.pid]
    told(box, run.restore_log, 'stopped until pages come again', f'kill -KILL {copy};', 'kill -CONT')
    end_all(box, run, 'after the source was killed')

    # Only the worker: its front says what the original is waiting for.
    run, dump, log = begin(box, 'mem_lazy_touch', '--page-timeout', '1')
    os.kill(next(pid for pid in processes_of(box, 'dump') if pid != dump), signal.SIGKILL)
    if os.waitstatus_to_exitcode(box.wait(dump, 'the dump to give up')) == 0:
        raise Failed('the dump succeeded although its worker was killed')
    told(box, log, f'kill -KILL {run.pid}.', f'kill -CONT {run.pid} ')
    end_all(box, run, "after the source's worker was killed")

    # The destination is killed, all of it: the original stays stopped, and the dump says how to go on.
    run, dump, log = begin(box, 'mem_lazy_touch')
    # The pager and its guard first: if the program ends before them, it has ended where it was moved to.
    box.until(lambda: not kill_helpers(box), 'the pager and its guard to be gone')
    for pid in [pid for pid in box.others() if pid != run.pid and pid not in processes_of(box, 'dump')]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    status = os.waitstatus_to_exitcode(box.wait(dump, 'the dump to give up'))
    if status == 0:
        raise Failed('the dump succeeded although its destination was killed')
    box.until(lambda: state_of(run.pid) == 'T', 'the original to be stopped after its destination was killed')
    told(box, log, f'kill -KILL {run.pid}.', f'kill -CONT {run.pid}')
    os.kill(run.pid, signal.SIGCONT)
    run.unharmed('continued by hand', compare=False)
    box.expect_empty('at the end')

    # Last, so that the pids of the program are free in a new namespace.
    orphans(box, keeper_killed=False)
    orphans(box, keeper_killed=True)
