# about: two checkpoints are restored many times at once from one page server; a client that is killed in the middle bothers nobody; the server stays small
# modes: check
# timeout: 120
import contextlib
import os
import shutil
import signal

from box import Failed
from drive import Run, fresh, refused, soak, state_of

CLIENTS = 8


def memory_kib(pid):
    """Memory of the server's own; what it maps of files and the page cache belongs to the machine."""
    with open(f'/proc/{pid}/status', encoding='ascii') as f:
        return next(int(line.split()[1]) for line in f if line.startswith('RssAnon'))


def guards(box):
    found = []
    for pid in box.others():
        try:
            with open(f'/proc/{pid}/comm', encoding='ascii') as f:
                if f.read().strip() in ('faultline-guard', 'faultline-pager'):
                    found.append(pid)
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found


def check(box):
    for _ in range(5 if soak() else 1):
        served = box.path('served')
        os.makedirs(os.path.join(served, 'deeper'))
        runs = {}
        for name in ('one', 'deeper/two'):
            runs[name] = Run(box, 'mem_lazy_touch')
            box.must('dump', box.dump(runs[name].pid, images=os.path.join(served, name)))
            box.expect_empty('after the dump')
        server, port = box.page_server('--lazy-pages', images=served)
        remote = ('--new-pidns', '--lazy-pages', '--page-server', '--port', str(port), '--checkpoint')
        for name in ('three', 'deeper'):
            refused(box, f'the checkpoint "{name}"', box.restore(*remote, name, images=fresh(box.path('refused'))), f'"{name}"')

        # One whose pager and guard are killed: it cannot go on, and is ended here.
        box.must('restore', box.restore(*remote, 'one', '--prefetch', 'none', images=fresh(box.path('killed'))))
        for pid in guards(box) + [pid for pid in box.others() if pid != server]:
            with contextlib.suppress(ProcessLookupError):  # the first process of a namespace takes the others with it
                os.kill(pid, signal.SIGKILL)
        box.until(lambda: list(box.others()) == [server], 'the killed client to be gone')

        starting = {name: [] for name in runs}
        for i in range(CLIENTS):
            for name, clients in starting.items():
                if i % len(runs) == list(runs).index(name):
                    # Not detached: it ends with its program, whose verdict stands in its log.
                    clients.append(box.faultline('restore', '-v4', *remote, name, images=fresh(box.path(f'fetched{i}')), wait=False))
        everybody = [client for clients in starting.values() for client in clients]
        box.until(lambda: all(any(' runs' in line for line in box.all_lines(log)) or box.ended(pid) is not None for pid, log in everybody), 'all restores')
        largest = memory_kib(server)
        # Each program waits for the "go" of its own directory: those of the other checkpoint still wait when the first have ended.
        for name, clients in starting.items():
            open(os.path.join(runs[name].dir, 'go'), 'w').close()
            for pid, log in clients:
                while box.ended(pid) is None:
                    largest = max(largest, memory_kib(server))
                    box.pause(f'the restored programs of {name} to end')
                lines = box.all_lines(log)
                if not any('ended with exit code 0' in line for line in lines):
                    raise Failed(f'one of {len(clients)} restores of {name}: {box.first_error(log)}')
            if name == 'one' and any(box.ended(pid) is not None for pid, _ in starting['deeper/two']):
                raise Failed('a restore of the second checkpoint has ended with those of the first')
        print(f'the server had {largest} KiB of its own at most', flush=True)
        if largest > 64 << 10:
            raise Failed(f'the page server took {largest} KiB for {CLIENTS} clients of 64 MiB each')
        if state_of(server) == '':
            raise Failed('the page server is gone')
        box.end(server, 'the page server to end')
        box.expect_empty('at the end')
        for run in reversed(runs.values()):
            run.done()
        shutil.rmtree(served)
