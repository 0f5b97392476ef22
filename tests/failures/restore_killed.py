# about: kill -9 of the restore at random moments: either everything is restored and right, or nothing is left
# modes: check
# timeout: 240
import time

from box import Failed
from drive import Run, kill_after, pick_seed, soak


def check(box):
    random = pick_seed()
    for program, options in (('tree_depth', ()), ('threads_16', ()), ('mem_anonymous', ()), ('mem_anonymous', ('--lazy-pages',)), ('unix_pairs', ())):
        whole = 0.05
        for round_ in range(-1, 15 * (10 if soak() else 1)):
            run = Run(box, program)
            box.images = run.box.path('images')
            box.must('dump', box.dump(run.pid))
            box.expect_empty('after the dump')
            begin = time.monotonic()
            pid, log = box.restore(*options, wait=False)
            moment = random.uniform(0, whole) if round_ >= 0 else 100
            killed = kill_after(box, pid, moment)
            what = f'{program} {" ".join(options)}, round {round_}: restore {"killed" if killed else "ended"} after {moment * 1000:.2f} ms'
            if round_ < 0:
                whole = (time.monotonic() - begin) * 1.1
            # Gone, or whole: a process that is there must finish its work when it is told to.
            end = time.monotonic() + 1
            while box.others() and time.monotonic() < end:
                time.sleep(0.01)
            if box.alive(run.pid):
                limit, box.deadline = box.deadline, time.monotonic() + 15
                run.unharmed(what, compare=False)
                box.deadline = limit
            else:
                run.done()
            try:
                box.expect_empty(what)
            except Failed:
                run.kill()
                raise
