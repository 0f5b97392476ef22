# about: a remote lazy restore over a network that damages, delays, cuts and falls silent: the program waits, and finds its memory as it was
# modes: check
# timeout: 240
import time

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

    # A cable that is pulled: nobody says anything, and no connection ends. The client finds out, and connects anew.
    run, server, proxy = start_remote(box, 'mem_lazy_touch')
    proxy.silent = True
    open(run.box.path('go'), 'w').close()
    before = proxy.connections
    box.until(lambda: proxy.connections > before, 'a client that gives up a silent connection')
    proxy.silent = False
    end_remote(box, run, server, proxy, 'silence')
