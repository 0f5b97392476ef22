# about: a checkpoint with a page server, mounted: texts, memory and images are as in the directory, and an older one shows in diff/ what has changed
# modes: check
# timeout: 60
import hashlib
import os
import re

from box import Failed
from mounts import Mounted, ready_to_mount, subject


def check(box):
    ready_to_mount()
    facts = subject(box)
    server, port = box.page_server('--lazy-pages')
    url = f'faultline://127.0.0.1:{port}'
    with Mounted(box, images=url) as far, Mounted(box, '--against', url) as near:
        for name in ('cmdline', 'environ', 'maps', 'status', 'core', os.path.join('fdinfo', str(facts['file_fd'])), os.path.join('threads', str(facts['pid']), 'regs.txt')):
            same(far, near, os.path.join('tasks', str(facts['pid']), name))
        for name in ('mm-%d.json', 'core-%d.json'):
            same(far, near, os.path.join('images', name % facts['pid']))
        for address, text in facts['texts'].items():
            with open(far.path('tasks', str(facts['pid']), 'mem'), 'rb', buffering=0) as f:
                if os.pread(f.fileno(), len(text) // 2, int(address)) != bytes.fromhex(text):
                    raise Failed(f'mem of the page server\'s checkpoint is not what the program had at {address}')
        with open(near.path('diff', 'summary.txt'), encoding='utf-8') as f:
            lines = f.read().splitlines()
        # What the kernel makes (vvar) is unknown in both.
        if len(lines) != 2 or not all(re.search(r' 0 of \d+ pages differ', line) for line in lines):
            raise Failed(f'a checkpoint differs from itself: {lines}')
    box.end(server, 'the page server to end')


def same(far, near, name):
    sums = []
    for mounted in (far, near):
        with open(mounted.path(name), 'rb') as f:
            sums.append(hashlib.sha256(f.read()).hexdigest())
    if sums[0] != sums[1]:
        raise Failed(f'{name} differs between the page server and the directory')
