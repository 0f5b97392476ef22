# about: the page server is killed and started again, or stays away: faults wait, then the program is stopped or killed, and never reads zeros
# modes: check
# timeout: 240
import os
import signal
import time

from box import Failed, describe
from drive import end_remote, pick_seed, soak, start_remote, state_of


def restart(box, proxy):
    """A fresh server for the same images, behind the same address."""
    source = os.path.join(os.path.dirname(box.images), 'images')
    server, proxy.target = box.page_server('--lazy-pages', images=source)
    return server


def check(box):
    random = pick_seed()
    for program in ('mem_lazy_touch', 'mem_lazy_churn', 'mem_shared_lazy') * (5 if soak() else 1):
        run, server, proxy = start_remote(box, program)
        open(run.box.path('go'), 'w').close()
        time.sleep(random.uniform(0, 0.02))
        box.end(server, 'the killed page server', signal.SIGKILL)
        server = restart(box, proxy)
        end_remote(box, run, server, proxy, f'{program}, server killed and started again')

    # It stays away: the program is stopped, and goes on when the server is back.
    run, server, proxy = start_remote(box, 'mem_lazy_touch', '--page-timeout', '1', '--prefetch', 'none')
    box.end(server, 'the killed page server', signal.SIGKILL)
    open(run.box.path('go'), 'w').close()
    box.until(lambda: state_of(run.pid) == 'T' or box.ended(run.pid) is not None, 'the program to be stopped')
    if box.ended(run.pid) is not None:
        raise Failed(f'--on-page-loss=stop: the program ended: {describe(box.ended(run.pid))}')
    server = restart(box, proxy)
    end_remote(box, run, server, proxy, '--on-page-loss=stop')

    # Or it is killed.
    run, server, proxy = start_remote(box, 'mem_lazy_touch', '--page-timeout', '1', '--prefetch', 'none', '--on-page-loss', 'kill')
    box.end(server, 'the killed page server', signal.SIGKILL)
    open(run.box.path('go'), 'w').close()
    status = box.wait(run.pid, 'the program to be killed')
    if not os.WIFSIGNALED(status) or os.WTERMSIG(status) not in (signal.SIGKILL, signal.SIGBUS):
        raise Failed(f'--on-page-loss=kill: the program ended otherwise: {describe(status)}')
    proxy.close()
    box.expect_empty('after the program was killed')
    run.done()
