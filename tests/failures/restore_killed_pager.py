# about: kill -9 of the pager, of its guard, or of one after the other, in the middle of a lazy restore: right contents, never zeros
# modes: check
# timeout: 240
import os
import signal
import time

from box import Failed, describe
from drive import Run, complete, end_remote, helpers, pick_seed, soak, start_remote


def kill_helpers(box, run, round_, what):
    """Kills the guard, the pager, or first one and then, as soon as it has been replaced, the other."""
    for victim in (['guard'], ['pager'], ['guard', 'pager'], ['pager', 'guard'])[round_ % 4]:
        for pid in [pid for pid, name in complete(box, run.pid).items() if name.endswith(victim)]:
            what += f', {victim} killed'
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            box.until(lambda gone=pid: gone not in helpers(box), 'a killed helper to be gone')
    return what


def check(box):
    random = pick_seed()
    for program in ('mem_lazy_touch', 'mem_lazy_churn', 'mem_lazy_fork'):
        for round_ in range(4 * (10 if soak() else 1)):
            run, server, proxy = start_remote(box, program)
            open(run.box.path('go'), 'w').close()
            time.sleep(random.uniform(0, 0.02))
            what = kill_helpers(box, run, round_, f'{program}, remote, round {round_}')
            end_remote(box, run, server, proxy, what)
    survived = rounds = 0
    for program in ('mem_lazy_touch', 'mem_lazy_churn', 'mem_shared_lazy', 'mem_lazy_fork'):
        for round_ in range(8 * (10 if soak() else 1)):
            run = Run(box, program)
            box.images = run.box.path('images')
            box.must('dump', box.dump(run.pid))
            box.expect_empty('after the dump')
            box.must('restore', box.restore('--lazy-pages'))
            open(run.box.path('go'), 'w').close()
            time.sleep(random.uniform(0, 0.02))
            what = f'{program}, round {round_}'
            what = kill_helpers(box, run, round_, what)
            status = box.wait(run.pid, f'{what}: the program to end or to be killed')
            if os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0:
                run.subject.verify(run.pid)
            if os.WIFSIGNALED(status) and os.WTERMSIG(status) not in (signal.SIGKILL, signal.SIGBUS):
                raise Failed(f'{what}: the program was {describe(status)}')
            if status != 0:
                raise Failed(f'{what}: the program did not survive: {describe(status)}')
            rounds += 1
            survived += status == 0
            box.expect_empty(what)
            run.done()
    print(f'{survived} of {rounds} survived', flush=True)
