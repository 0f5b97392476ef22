# about: dump of a pid that is not there, of a thread, of a zombie, and without a pid: refused with the pid in the message
# modes: check
import os

from drive import Run, refused


def check(box):
    refused(box, 'dump of pid 9999', box.dump(9999), '9999', ('no such process', 'no process'))
    refused(box, 'dump without -t', box.faultline('dump'), ('-t', '--tree'))
    refused(box, 'dump of pid 0', box.faultline('dump', '-t', '0'), ('-t', '--tree', 'pid'))
    refused(box, 'dump of pid x', box.faultline('dump', '-t', 'x'), ('-t', '--tree', 'pid'))
    run = Run(box, 'threads_16')
    tid = max(int(t) for t in os.listdir(f'/proc/{run.pid}/task'))
    refused(box, 'dump of a thread', box.dump(tid), str(tid))
    run.unharmed('after the dump of one of its threads')
    run = Run(box, 'tree_zombies')
    zombie = next(pid for pid, name in box.others().items() if name.startswith('[') and pid != run.pid)
    refused(box, 'dump of a zombie', box.dump(zombie), str(zombie))
    run.unharmed('after the dump of a zombie')
