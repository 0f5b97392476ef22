# about: one checkpoint is restored many times at once from one page server; a client that is killed in the middle bothers nobody; the server stays small
# modes: check
# timeout: 120
import contextlib
import os
import signal

from box import Failed
from drive import Run, soak, state_of

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
        run = Run(box, 'mem_lazy_touch')
        box.images = run.box.path('images')
        box.must('dump', box.dump(run.pid))
        box.expect_empty('after the dump')
        server, port = box.page_server('--lazy-pages')
        remote = ('--lazy-pages', '--page-server', '--port', str(port))

        # One whose pager and guard are killed: it cannot go on, and is ended here.
        box.images = run.box.path('killed')
        os.mkdir(box.images)
        box.must('restore', box.restore('--new-pidns', *remote, '--prefetch', 'none'))
        for pid in guards(box) + [pid for pid in box.others() if pid != server]:
            with contextlib.suppress(ProcessLookupError):  # the first process of a namespace takes the others with it
                os.kill(pid, signal.SIGKILL)
        box.until(lambda: list(box.others()) == [server], 'the killed client to be gone')

        starting = []
        for i in range(CLIENTS):
            images = run.box.path(f'fetched{i}')
            os.mkdir(images)
            # Not detached: it ends with its program, whose verdict stands in its log.
            starting.append(box.faultline('restore', '--new-pidns', '-v4', *remote, images=images, wait=False))
        box.until(lambda: all(any(' runs' in line for line in box.all_lines(log)) or box.ended(pid) is not None for pid, log in starting), 'all restores')
        largest = memory_kib(server)
        open(run.box.path('go'), 'w').close()
        for pid, log in starting:
            while box.ended(pid) is None:
                largest = max(largest, memory_kib(server))
                box.pause('the restored programs to end')
            lines = box.all_lines(log)
            if not any('ended with exit code 0' in line for line in lines):
                raise Failed(f'one of {CLIENTS} restores: {box.first_error(log)}')
        print(f'the server had {largest} KiB of its own at most', flush=True)
        if largest > 64 << 10:
            raise Failed(f'the page server took {largest} KiB for {CLIENTS} clients of 64 MiB each')
        if state_of(server) == '':
            raise Failed('the page server is gone')
        box.end(server, 'the page server to end')
        box.expect_empty('at the end')
        run.done()
