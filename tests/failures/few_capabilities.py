# about: dump and restore by a root that has only the capabilities of the README: CAP_CHECKPOINT_RESTORE, CAP_SYS_PTRACE, CAP_SYS_ADMIN; not CAP_SYS_RESOURCE
# modes: check
# timeout: 60
import ctypes

from box import Failed
from drive import Run

PR_CAPBSET_DROP = 24
SYS_PTRACE, SYS_ADMIN, CHECKPOINT_RESTORE = 19, 21, 40


def few():
    """What is not in the bounding set is not there after exec. The program gets no more either: only who has a capability can give it back."""
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in range(64):
        if capability not in (SYS_PTRACE, SYS_ADMIN, CHECKPOINT_RESTORE):
            libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


def check(box):
    for program in ('threads_16', 'pipe_data', 'mem_anonymous', 'tree_sessions'):
        for options in ((), ('--lazy-pages',)):
            run = Run(box, program, prepare=few)
            with open(f'/proc/{run.pid}/status', encoding='utf-8') as f:
                effective = next(int(line.split()[1], 16) for line in f if line.startswith('CapEff'))
            if effective & ~(1 << SYS_PTRACE | 1 << SYS_ADMIN | 1 << CHECKPOINT_RESTORE):
                raise Failed(f'the program has the capabilities {effective:x}')
            images = run.box.path('images')
            box.must(f'{program}: dump', box.dump(run.pid, images=images, prepare=few))
            box.expect_empty(f'{program}: after the dump')
            box.must(f'{program}: restore', box.restore(*options, images=images, prepare=few))
            run.unharmed('with few capabilities')
            box.expect_empty(program)
