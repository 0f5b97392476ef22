# about: the disk is full at several moments of a dump: it says so, the program goes on, no inventory
# modes: check
# timeout: 60
import os

from drive import Run, mount, no_inventory, refused


def check(box):
    for kilobytes in (4, 64, 512, 4096):
        run = Run(box, 'mem_anonymous')
        where = os.path.join(box.dir, 'small')
        mount(box, f'size={kilobytes}k', where)
        refused(box, f'dump to a disk of {kilobytes} KiB', box.dump(run.pid, images=where), 'No space left')
        no_inventory(where, f'disk of {kilobytes} KiB')
        run.unharmed(f'after a dump to a disk of {kilobytes} KiB')
