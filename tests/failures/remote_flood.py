# about: idle connections take all places of a page server, and more than its usual limit of files: a restored program gets its memory all the same
# modes: check
# timeout: 120
import contextlib
import os
import resource
import signal
import socket

from box import Failed
from drive import end_remote, start_remote

PLACES = 200


def few_files(soft, hard):
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def files_of(pid):
    return len(os.listdir(f'/proc/{pid}/fd'))


def flood(box, stack, server, port):
    """As many connections as there are places, and some more."""
    for _ in range(PLACES + 50):
        stack.enter_context(socket.create_connection(('127.0.0.1', port)))
    box.until(lambda: files_of(server) > PLACES / 3, 'the flood to arrive')


def check(box):
    # The soft limit is raised; where the hard one is too low for so many clients, there are fewer.
    for soft, hard in ((128, 4096), (128, 128)):
        run, server, proxy = start_remote(box, 'mem_lazy_touch', '--prefetch', 'none')
        source = os.path.join(os.path.dirname(box.images), 'images')
        box.end(server, 'the page server to be replaced', signal.SIGKILL)
        server, port = box.page_server('--lazy-pages', '--max-clients', str(PLACES), images=source, prepare=few_files(soft, hard))
        with contextlib.ExitStack() as stack:
            flood(box, stack, server, port)
            with open(f'/proc/{server}/limits', encoding='ascii') as f:
                if not any(line.startswith('Max open files') and line.split()[3] == str(hard) for line in f):
                    raise Failed(f'the page server has not raised its limit of open files to {hard}')
            proxy.target = port
            open(run.box.path('go'), 'w').close()
            end_remote(box, run, server, proxy, f'a flood with limits {soft} and {hard}')
