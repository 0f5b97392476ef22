# about: the memory of a dump, of a pager and of a live source does not grow with the process: 64 MiB more of it take no more of ours
# modes: check
# timeout: 90
import os

from box import Failed
from drive import Run, children_of, fresh, helpers
from page_client import PAGE, TASK, Client, late_extents

ALLOWED_KIB = 6 << 10  # bits, extents and chance; a tenth of what the process has more


def dump_peak(box, run):
    """The largest resident size of the dump's processes, in KiB."""
    pid, log = box.dump(run.pid, '-R', wait=False)
    _, status, usage = os.wait4(pid, 0)
    if status != 0:
        raise Failed(f'the dump ended with {status}: {box.first_error(log)}')
    return usage.ru_maxrss


def own_memory(pid):
    """KiB of a process's own; the files that it maps are page cache."""
    with open(f'/proc/{pid}/status', encoding='ascii') as f:
        return next(int(line.split()[1]) for line in f if line.startswith('RssAnon'))


def pager_memory(box):
    for pid, name in helpers(box).items():
        if name == 'faultline-pager':
            return own_memory(pid)
    raise Failed('there is no pager')


def source_memory(box, run):
    """Of a live source, when all pages have been fetched from it; and how many they were. The program ends with that."""
    images, port_file = fresh(run.box.path('live')), run.box.path('port')
    dump, log = box.dump(run.pid, '--lazy-pages', '--portfile', port_file, images=images, wait=False)
    box.until(lambda: os.path.exists(port_file) or box.ended(dump) is not None, 'the dump to serve')
    if box.ended(dump) is not None:
        raise Failed(f'dump --lazy-pages: {box.first_error(log)}')
    with open(port_file, encoding='ascii') as f:
        client = Client(int(f.read()))
    client.commit()
    fetched = 0
    for name in os.listdir(images):
        if name.startswith('pagemap-') and not name.startswith('pagemap-shmem-'):
            with open(os.path.join(images, name), 'rb') as f:
                extents = late_extents(f.read())
            for vaddr, pages in extents:
                for start in range(0, pages, 1000):
                    fetched += len(client.read(TASK, int(name[8:-4]), vaddr + start * PAGE, min(1000, pages - start))) // PAGE
    [worker] = children_of(dump)
    memory = own_memory(worker)
    client.done()
    box.must('dump --lazy-pages', (os.waitstatus_to_exitcode(box.wait(dump, 'the end of the dump')), log))
    box.expect_empty('handed over')
    run.done()
    return memory, fetched


def check(box):
    peaks, pagers, sources = {}, {}, {}
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
        sources[program], pages = source_memory(box, Run(box, program))
        if program == 'mem_lazy_touch' and pages < 16384:
            raise Failed(f'only {pages} pages were fetched from the live source')
    small, large = peaks['tree_wait_blocked'], peaks['mem_lazy_touch']
    print(f'dump: {small} and {large} KiB; pager: {pagers["mem_lazy_touch"]} KiB; live source: {list(sources.values())} KiB', flush=True)
    if large - small > ALLOWED_KIB:
        raise Failed(f'a dump of 64 MiB took {large} KiB, one of little {small} KiB')
    if pagers['mem_lazy_touch'] > ALLOWED_KIB:
        raise Failed(f'the pager of 64 MiB takes {pagers["mem_lazy_touch"]} KiB of its own')
    if sources['mem_lazy_touch'] - sources['tree_wait_blocked'] > ALLOWED_KIB:
        raise Failed(f'a live source that has served 64 MiB takes {sources["mem_lazy_touch"]} KiB, one of little {sources["tree_wait_blocked"]} KiB')
