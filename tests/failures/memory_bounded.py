# about: the memory of a dump and of a pager does not grow with the process: 64 MiB more of it take no more of ours
# modes: check
# timeout: 60
import os

from box import Failed
from drive import Run, helpers

ALLOWED_KIB = 6 << 10  # bits, extents and chance; a tenth of what the process has more


def dump_peak(box, run):
    """The largest resident size of the dump's processes, in KiB."""
    pid, log = box.dump(run.pid, '-R', wait=False)
    _, status, usage = os.wait4(pid, 0)
    if status != 0:
        raise Failed(f'the dump ended with {status}: {box.first_error(log)}')
    return usage.ru_maxrss


def pager_memory(box):
    """Memory of the pager's own; the pages files that it maps are page cache."""
    for pid, name in helpers(box).items():
        if name == 'faultline-pager':
            with open(f'/proc/{pid}/status', encoding='ascii') as f:
                return next(int(line.split()[1]) for line in f if line.startswith('RssAnon'))
    raise Failed('there is no pager')


def check(box):
    peaks, pagers = {}, {}
    for program in ('tree_wait_blocked', 'mem_lazy_touch'):  # a few pages; 64 MiB
        run = Run(box, program)
        box.images = run.box.path('images')
        peaks[program] = dump_peak(box, run)
        box.must('dump', box.dump(run.pid))
        box.expect_empty('after the dump')
        box.must('restore', box.restore('--lazy-pages', '--prefetch', 'none'))
        if program == 'mem_lazy_touch':
            pagers[program] = pager_memory(box)
        run.unharmed('restored', compare=False)
        box.expect_empty(program)
    small, large = peaks['tree_wait_blocked'], peaks['mem_lazy_touch']
    print(f'dump: {small} and {large} KiB; pager: {pagers["mem_lazy_touch"]} KiB', flush=True)
    if large - small > ALLOWED_KIB:
        raise Failed(f'a dump of 64 MiB took {large} KiB, one of little {small} KiB')
    if pagers['mem_lazy_touch'] > ALLOWED_KIB:
        raise Failed(f'the pager of 64 MiB takes {pagers["mem_lazy_touch"]} KiB of its own')
