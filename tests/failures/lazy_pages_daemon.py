# about: CRIU's way of lazy restore: a lazy-pages daemon listens first, restore uses it; it ends with its work; killed, it is replaced; a dead socket is no daemon
# modes: check
# timeout: 120
import os
import signal

from box import Failed
from drive import Run


def check(box):
    for program, kill in (('mem_lazy_touch', None), ('mem_shared_lazy', None), ('tree_zombies', None), ('exec_late_thread_end', None), ('mem_lazy_churn', 'faultline-pager')):
        run = Run(box, program)
        box.images = run.box.path('images')
        box.must('dump', box.dump(run.pid))
        box.expect_empty('after the dump')
        pid_file = os.path.join(box.logs, 'daemon.pid')
        outcome = box.faultline('lazy-pages', '-d', '--pidfile', pid_file, *(['--prefetch', 'none'] if program == 'exec_late_thread_end' else []))
        box.must('lazy-pages', outcome)
        with open(pid_file, encoding='ascii') as f:
            daemon = int(f.read())
        os.unlink(pid_file)
        if list(box.others()) != [daemon]:
            raise Failed(f'{program}: the pid file names {daemon}, but these run: {box.others()}')
        box.must('restore', box.restore('--lazy-pages'))
        # A restore that had started a pager of its own would have left a second family of helpers.
        families = [pid for pid in box.others() if _parent(pid) in (0, 1) and _name(pid).startswith('faultline')]
        if kill is None and len(families) > 1:
            raise Failed(f'{program}: beside the daemon {daemon} there are {families}')
        # Before that it cannot be replaced.
        if kill:
            box.until(lambda log=outcome[1]: any('handed over' in line for line in box.all_lines(log)), 'the daemon to have taken all over')
        for pid in [pid for pid in box.others() if _name(pid) == kill]:
            os.kill(pid, signal.SIGKILL)
        run.unharmed(f'with a daemon{" whose pager was killed" if kill else ""}', compare=False)
        box.expect_empty(f'{program}: after the daemon has done its work')

    run = Run(box, 'alive')
    box.images = run.box.path('images')
    box.must('dump', box.dump(run.pid))
    box.expect_empty('after the dump')
    pid, _ = box.faultline('lazy-pages', wait=False)
    socket = os.path.join(box.logs, 'lazy-pages.socket')
    box.until(lambda: os.path.exists(socket), 'the socket of the daemon')
    os.kill(pid, signal.SIGKILL)
    box.wait(pid)
    box.expect_empty('after the daemon was killed')
    box.must('restore beside a dead socket', box.restore('--lazy-pages'))
    run.unharmed('restored beside a dead socket', compare=False)
    box.expect_empty('at the end')


def _parent(pid):
    try:
        with open(f'/proc/{pid}/stat', encoding='utf-8') as f:
            return int(f.read().rpartition(')')[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return -1


def _name(pid):
    try:
        with open(f'/proc/{pid}/comm', encoding='utf-8') as f:
            return f.read().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ''
