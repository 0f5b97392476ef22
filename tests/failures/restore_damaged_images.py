# about: every image cut short, emptied, missing or with flipped bytes: an error that names the file, or a right restore; nothing is left
# modes: check
# timeout: 240
import os
import shutil
import signal

from box import Failed
from drive import Run, pick_seed, refused, soak

# Without these a restore may go on: nothing in a simple program needs them, or they are statistics.
OPTIONAL = ('stats-dump.img', 'stats-restore.img', 'seccomp.img', 'timens', 'ipcns', 'utsns', 'mountpoints', 'cgroup.img', 'netns', 'apparmor')


def check(box):
    random = pick_seed()
    run = Run(box, 'alive')
    box.must('dump', box.dump(run.pid))
    box.expect_empty('after the dump')
    whole = box.images
    names = sorted(name for name in os.listdir(whole) if name.endswith('.img'))
    for name in names:
        optional = name.startswith(OPTIONAL)
        size = os.path.getsize(os.path.join(whole, name))
        for kind, at in damages(random, name, size):
            box.images = run.box.path('damaged')
            shutil.rmtree(box.images, ignore_errors=True)
            shutil.copytree(whole, box.images)
            damage(os.path.join(box.images, name), kind, at)
            what = f'{name} {kind} at {at} of {size}'
            outcome = box.restore()
            if outcome[0] == 0:
                # A process without an image of its descriptors has none (as one that shares them with another).
                if kind != 'flipped' and not optional and not (kind == 'missing' and name.startswith('fdinfo-')):
                    raise Failed(f'{what}: the restore succeeds')
                kill_all(box)
            elif kind == 'flipped':
                refused(box, what, outcome)
            else:
                refused(box, what, outcome, name)
            box.expect_empty(what)
    box.images = whole
    box.must('restore of the whole images', box.restore())
    run.unharmed('after damaged images')


def damages(random, name, size):
    found = [('missing', 0), ('cut', 0), ('cut', 3), ('cut', size // 2), ('cut', max(size - 1, 0))]
    if name.startswith('pages-'):
        return [(kind, at // 4096 * 4096 if kind == 'cut' and at > 3 else at) for kind, at in found]
    if name.startswith('pagemap-'):  # small, and each bit may send a page to where the kernel does not find it
        return found + [('flipped', at) for at in range(size)]
    flips = {0, 5, 8, 9} | {random.randrange(size) for _ in range(60 if soak() else 6) if size}
    return found + [('flipped', at) for at in sorted(flips) if at < size]


def damage(path, kind, at):
    if kind == 'missing':
        os.unlink(path)
    elif kind == 'cut':
        os.truncate(path, at)
    else:
        with open(path, 'r+b') as f:
            f.seek(at)
            byte = f.read(1)[0]
            f.seek(at)
            f.write(bytes([byte ^ (1 << (at % 8))]))


def kill_all(box):
    for pid in list(box.others()):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
