# about: a remote lazy restore over a network that damages, delays, cuts and falls silent: the program waits, and finds its memory as it was
# modes: check
# timeout: 240
import os
import signal
import time

from box import Failed
from metrics import scrape, top
from drive import end_remote, pick_seed, soak, start_remote


def damaging(random, every):
    """Flips a bit now and then, at a random place."""
    left = [random.randrange(every)]

    def damage(data):
        if left[0] >= len(data):
            left[0] -= len(data)
            return data
        changed = bytearray(data)
        changed[left[0]] ^= 1 << random.randrange(8)
        left[0] = random.randrange(every)
        return bytes(changed)
    return damage


def cutting(random, proxy, box, run):
    """Cuts all connections at random moments until the program has given its verdict."""
    while box.ended(run.pid) is None:
        end = time.monotonic() + random.uniform(0.002, 0.1)
        while time.monotonic() < end and box.ended(run.pid) is None:
            box.pause('a moment to cut', 0.001)
        proxy.cut()


def counted(box):
    """Who watches a pager whose network is cut sees that, and every fault."""
    run, server, proxy = start_remote(box, 'mem_lazy_touch', '--prefetch', 'none', '--metrics', '0')
    open(run.box.path('go'), 'w').close()

    def disturbed():
        proxy.cut()
        shown = top(box, 'pager', box.images)
        if len(shown) != 1:
            raise Failed(f'top shows {len(shown)} pagers: {shown}; the program has {"ended" if box.ended(run.pid) is not None else "not ended"}')
        return shown[0]['faults'] > 0 and shown[0]['reconnects'] > 0
    box.until(disturbed, 'faults and connections made again')
    # A program that stands still has no more faults: those that are under way are answered, and counted.
    os.kill(run.pid, signal.SIGSTOP)
    seen = {}

    def settled():
        shown = top(box, 'pager', box.images)[0]
        seen.update(scrape(shown['metrics']), shown=shown)
        return seen['faultline_pager_faults_total'] == seen['faultline_pager_fault_seconds_count'] == shown['faults'] and shown['queued'] == 0
    try:
        box.until(settled, 'as many answers as faults')
    except Failed as e:
        raise Failed(f'{e}; last seen: {seen}') from e
    if not (seen['faultline_pager_reconnects_total'] > 0 and seen['faultline_pager_fault_seconds_bucket,le=+Inf'] == seen['faultline_pager_fault_seconds_count'] > 0):
        raise Failed(f'the metrics of a pager that was cut off: {seen}')
    shown = seen['shown']
    if shown['pages_total'] != seen['faultline_pager_lazy_pages'] or shown['reconnects'] != seen['faultline_pager_reconnects_total'] or shown['pages_missing'] != 0:
        raise Failed(f'top and the metrics do not agree: {seen}')
    os.kill(run.pid, signal.SIGCONT)
    end_remote(box, run, server, proxy, 'watched')


def check(box):
    random = pick_seed()
    for program in ('mem_lazy_touch', 'mem_lazy_churn', 'mem_lazy_fork', 'mem_shared_lazy'):
        for trouble in ('damage', 'delay', 'cut') * (5 if soak() else 1):
            run, server, proxy = start_remote(box, program)
            if trouble == 'damage':
                proxy.damage = damaging(random, 8 << 20)
            elif trouble == 'delay':
                proxy.delay = 0.01
            open(run.box.path('go'), 'w').close()
            if trouble == 'cut':
                cutting(random, proxy, box, run)
            end_remote(box, run, server, proxy, f'{program}, {trouble}')

    counted(box)

    # A cable that is pulled: nobody says anything, and no connection ends. The client finds out, and connects anew.
    run, server, proxy = start_remote(box, 'mem_lazy_touch')
    proxy.silent = True
    open(run.box.path('go'), 'w').close()
    before = proxy.connections
    box.until(lambda: proxy.connections > before, 'a client that gives up a silent connection')
    proxy.silent = False
    end_remote(box, run, server, proxy, 'silence')
