# about: kill -9 of a process of the tree at a random moment of its restore: the restore ends, with an error if it was still under way
# modes: check
# timeout: 240
import os
import time

from box import Failed
from drive import Run, pick_seed, refused, sigkill, soak


def check(box):
    random = pick_seed()
    killed = 0
    for round_ in range(25 * (10 if soak() else 1)):
        run = Run(box, 'tree_depth')
        box.images = run.box.path('images')
        box.must('dump', box.dump(run.pid))
        box.expect_empty('after the dump')
        pid, log = box.restore(wait=False)
        wanted = random.randrange(1, 25)
        while box.ended(pid) is None:
            members = [other for other in box.others() if other != pid]
            if len(members) >= wanted:
                victim = random.choice(members)
                try:
                    sigkill(victim)
                    killed += 1
                except ProcessLookupError:
                    pass
                break
        what = f'round {round_}: one of {wanted} or more killed'
        end = time.monotonic() + 15
        while box.ended(pid) is None:
            if time.monotonic() > end:
                raise Failed(f'{what}: the restore does not end')
            time.sleep(0.002)
        status = os.waitstatus_to_exitcode(box.ended(pid))
        if status != 0:
            refused(box, what, (status, log))
            box.expect_empty(f'{what}, and the restore failed')
            run.done()
        else:
            run.kill()
    if killed == 0:
        raise Failed('none was killed')
