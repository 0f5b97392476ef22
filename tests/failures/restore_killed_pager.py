# about: kill -9 of the pager or of its guard in the middle of a lazy restore: right contents, never zeros (nobody is left to help if both are killed)
# modes: check
# timeout: 240
import os
import signal
import time

from box import Failed, describe
from drive import Run, pick_seed, soak


def helpers(box):
    """{pid: its name} of the processes of the product that serve the restored program."""
    found = {}
    for pid in box.others():
        try:
            if os.path.samefile(f'/proc/{pid}/exe', box.binary):
                with open(f'/proc/{pid}/comm', encoding='utf-8') as f:
                    found[pid] = f.read().strip()
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found


def check(box):
    random = pick_seed()
    survived = rounds = 0
    for program in ('mem_lazy_touch', 'mem_lazy_churn', 'mem_shared_lazy', 'mem_lazy_fork'):
        for round_ in range(6 * (10 if soak() else 1)):
            run = Run(box, program)
            box.images = run.box.path('images')
            box.must('dump', box.dump(run.pid))
            box.expect_empty('after the dump')
            box.must('restore', box.restore('--lazy-pages'))
            open(run.box.path('go'), 'w').close()
            time.sleep(random.uniform(0, 0.02))
            there = sorted(helpers(box))
            victims = there[round_ % 2:round_ % 2 + 1]
            what = f'{program}, round {round_}: killed {len(victims)} of {len(there)} helpers'
            for pid in victims:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            status = box.wait(run.pid, f'{what}: the program to end or to be killed')
            if os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0:
                run.subject.verify(run.pid)
            if os.WIFSIGNALED(status) and os.WTERMSIG(status) not in (signal.SIGKILL, signal.SIGBUS):
                raise Failed(f'{what}: the program was {describe(status)}')
            if len(victims) < len(there) and status != 0:
                raise Failed(f'{what}: a helper was left, but the program did not survive: {describe(status)}')
            rounds += 1
            survived += status == 0
            box.expect_empty(what)
            run.done()
    print(f'{survived} of {rounds} survived', flush=True)
