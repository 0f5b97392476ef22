# about: lazy restore from images whose pages are not in the page cache: they are read from the disk, and all contents are right
# modes: check
# timeout: 120
import ctypes
import mmap
import os

from box import Failed, Skipped
from drive import Run


def check(box):
    for program in ('mem_lazy_touch', 'mem_lazy_churn', 'mem_shared_lazy'):
        run = Run(box, program)
        images = run.box.path('images')
        box.must('dump', box.dump(run.pid, images=images))
        box.expect_empty('after the dump')
        evict(images)
        box.must('restore', box.restore('--lazy-pages', images=images))
        run.unharmed('restored from a cold disk', compare=False)
        box.expect_empty(program)


def evict(images):
    """Puts the pages files out of the page cache, and makes sure of it."""
    for name in os.listdir(images):
        if not name.startswith('pages-'):
            continue
        with open(os.path.join(images, name), 'rb') as f:
            os.fsync(f.fileno())
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            if resident(f) * 10 > os.fstat(f.fileno()).st_size:
                raise Skipped(f'{name} stays in the page cache; the images are on a file system without a disk')


def resident(f):
    """Bytes of a file in the page cache (mincore(2))."""
    size = os.fstat(f.fileno()).st_size
    if size == 0:
        return 0
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    address = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, f.fileno(), 0)
    pages = ctypes.create_string_buffer((size + 4095) // 4096)
    if libc.mincore(ctypes.c_void_p(address), ctypes.c_size_t(size), pages) != 0:
        raise Failed(f'mincore: {os.strerror(ctypes.get_errno())}')
    libc.munmap(ctypes.c_void_p(address), ctypes.c_size_t(size))
    return 4096 * sum(byte & 1 for byte in pages.raw)
