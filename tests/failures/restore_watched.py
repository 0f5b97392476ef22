# about: somebody reads the arguments and the environment of a process again and again while it is restored (ps, top): they are right afterwards
# modes: check
# timeout: 120
import os
import signal

from drive import Run

ROUNDS = 12


def check(box):
    for options in ((), ('--lazy-pages',)):
        for round_ in range(ROUNDS):
            run = Run(box, 'alive')
            images = run.box.path('images')
            box.must('dump', box.dump(run.pid, images=images))
            box.expect_empty('after the dump')
            watcher = watch(run.pid)
            try:
                box.must('restore', box.restore(*options, images=images))
            finally:
                os.kill(watcher, signal.SIGKILL)
                box.until(lambda w=watcher: not box.alive(w), 'the end of the watcher')
            run.unharmed(f'watched, {" ".join(options) or "eager"}, round {round_}')
            box.expect_empty('at the end')


def watch(pid):
    watcher = os.fork()
    if watcher:
        return watcher
    while True:
        for name in ('cmdline', 'environ'):
            try:
                with open(f'/proc/{pid}/{name}', 'rb', buffering=0) as f:
                    f.read(4096)
            except OSError:
                pass
