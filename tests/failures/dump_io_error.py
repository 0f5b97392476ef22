# about: a system call of the dump fails with EIO (a write of pages or of an image, fsync, the last rename): it says so, the program goes on, no inventory
# modes: check
# timeout: 60
import ctypes
import errno
import struct

from drive import Run, no_inventory, refused

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
RET_ALLOW, RET_EIO = 0x7fff0000, 0x00050000 | errno.EIO
ARG2_LOW = 32  # offset of the low half of the third argument in struct seccomp_data
CALLS = {  # x86-64 number, smallest third argument (a length) that is meant
    'pwrite64': (18, 4096),  # pages; the dump writes a few bytes into the program by the same call, and those go through
    'write': (1, 100),       # images; a line of the log that fails has no consequence
    'fsync': (74, 0),
    'renameat': (264, 0),
}


def check(box):
    for name, (number, least) in CALLS.items():
        run = Run(box, 'mem_anonymous')
        images = run.box.path('images')
        outcome = box.dump(run.pid, images=images, prepare=lambda n=number, l=least: fails(n, l))
        # The log itself is written by write().
        refused(box, f'dump whose {name} fails', outcome, *([] if name == 'write' else ['Input/output error']))
        no_inventory(images, f'dump whose {name} fails')
        run.unharmed(f'after a dump whose {name} failed')


def fails(number, least):
    """From now on this system call fails with EIO, in this process and those that it starts."""
    def op(code, k, yes=0, no=0):
        return struct.pack('HBBI', code, yes, no, k)
    load, equal, at_least, give = 0x20, 0x15, 0x35, 0x06
    program = b''.join((
        op(load, 0), op(equal, number, 0, 3),
        op(load, ARG2_LOW), op(at_least, least, 0, 1),
        op(give, RET_EIO), op(give, RET_ALLOW)))
    buffer = ctypes.create_string_buffer(program)
    filter_ = struct.pack('HxxxxxxP', len(program) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.create_string_buffer(filter_), 0, 0):
        raise OSError(ctypes.get_errno(), 'seccomp')
