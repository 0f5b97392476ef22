# about: restore while the program still runs: refused with the pid and --new-pidns; with --new-pidns, three copies at once run and verify
# modes: check
# timeout: 60
import os

from box import Failed, describe
from drive import Run, refused


def check(box):
    run = Run(box, 'tree_depth')
    box.must('dump --leave-running', box.dump(run.pid, '-R'))
    refused(box, 'restore over the running program', box.restore(), str(run.pid), '--new-pidns')
    refused(box, 'lazy restore over the running program', box.restore('--lazy-pages'), str(run.pid), '--new-pidns')
    before = set(box.others())
    roots = []
    for _ in range(3):
        known = set(box.others())
        box.must('restore --new-pidns', box.restore('--new-pidns', '--pidfile', box.path('copy.pid')))
        with open(box.path('copy.pid'), encoding='ascii') as f:
            roots.append(int(f.read()))
        os.unlink(box.path('copy.pid'))
        if roots[-1] not in set(box.others()) - known:
            raise Failed(f'the pid file names {roots[-1]}, which is not one of the new processes')
    if len(set(box.others()) - before) < 3 * 24:
        raise Failed(f'only {len(set(box.others()) - before)} new processes after three restores of 25')
    run.unharmed('with three copies beside it', compare=False)
    for root in roots:
        # Its parent may be an init inside the namespace, which alone gets the exit status; what failed stands in the log.
        box.until(lambda r=root: not box.alive(r), 'the end of a copy in its own pid namespace')
        if box.ended(root):
            raise Failed(f'a copy in its own pid namespace: {describe(box.ended(root))}')
    with open(run.subject.log, encoding='utf-8') as f:
        if 'FAIL' in (text := f.read()):
            raise Failed(f'a copy in its own pid namespace: {text}')
