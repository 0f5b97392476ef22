# about: kill -9 of the dump at 200 random moments: the program goes on, verified, and no inventory is left behind by an unfinished dump
# modes: check
# timeout: 240
import os
import time

import witness
from box import Failed
from drive import Run, fresh, kill_after, no_inventory, pick_seed, soak, tracer_of

class LeftBehind:
    session, terminal = 'own', None
    differs = {'maps': 'the agent', 'vmflags': 'the agent'}


PROGRAMS = ('syscall_stream', 'regs_vector', 'threads_16', 'signal_on_altstack', 'mem_shared_anonymous', 'exec_rseq_section', 'tree_depth', 'syscall_signal_wait')
KILLS = 25


def check(box):
    random = pick_seed()
    for program in PROGRAMS:
        run = Run(box, program)
        # The areas of an agent whose tool was killed stay behind; they harm nobody.
        run.subject.directives = LeftBehind
        images = box.images
        # How long a whole dump takes tells in which time the moments lie; the second one finds everything warm.
        for _ in range(2):
            begin = time.monotonic()
            box.must('dump --leave-running', box.dump(run.pid, '-R', images=fresh(images)))
            whole = time.monotonic() - begin
        for round_ in range(KILLS * (10 if soak() else 1)):
            moment = random.uniform(0, whole * 1.1)
            pid, log = box.dump(run.pid, '-R', images=fresh(images), wait=False)
            killed = kill_after(box, pid, moment)
            what = f'{program}, round {round_}: dump {"killed" if killed else "ended"} after {moment * 1000:.2f} of {whole * 1000:.1f} ms'
            if killed and not _complete(images):
                no_inventory(images, what)
            elif not killed:
                box.must(what, (os.waitstatus_to_exitcode(box.ended(pid)), log))
            box.until(lambda p=run.pid: not box.alive(p) or not any(tracer or state == 't' for state, tracer in tracer_of(p)), f'{what}: the program to be let go')
            if box.ended(run.pid) is not None:
                run.unharmed(what, compare=False)
                raise Failed(f'{what}: the program ended')
        if program != 'syscall_stream':
            wait_for_agent(box, run)
        run.unharmed(f'after {KILLS} killed dumps', compare=program != 'syscall_stream')
        box.expect_empty(program)


def wait_for_agent(box, run):
    """An agent whose tool was killed waits some seconds for it, with signals blocked, before it gives the thread back."""
    end = time.monotonic() + 10
    while time.monotonic() < end and witness.compare(run.before, witness.look(run.pid), LeftBehind.differs):
        box.pause('the agent to go home', 0.05)


def _complete(images):
    """A dump that was killed after its last step (the rename of the inventory) has done its work; then all images must be there."""
    return all(os.path.exists(os.path.join(images, name)) for name in ('inventory.img', 'pstree.img', 'files.img'))
