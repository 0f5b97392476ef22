# about: dump by a user without capabilities: refused with the capability that is missing
# modes: check
import os

from drive import Run, no_inventory, refused


def nobody():
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)


def check(box):
    run = Run(box, 'threads_16')
    os.makedirs(box.images)
    for directory in (box.images, box.logs):
        os.chmod(directory, 0o777)
    refused(box, 'dump by nobody', box.dump(run.pid, '--no-default-config', prepare=nobody), ('CAP_', 'permi', 'privilege', 'root'))
    no_inventory(box.images, 'dump by nobody')
    run.unharmed('after a dump without permission')
