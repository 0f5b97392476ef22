# about: kill -9 of the dump at 200 random moments: the program goes on as if nothing had been, and no inventory is left behind by an unfinished dump
# modes: check
# timeout: 300
import os
import signal
import time

import witness
from box import Failed
from drive import Run, children_of, dumps, fresh, kill_after, let_go, no_inventory, pick_seed, sigkill, soak

PROGRAMS = ('syscall_stream', 'regs_vector', 'threads_16', 'signal_on_altstack', 'mem_shared_anonymous', 'exec_rseq_section', 'tree_depth', 'syscall_signal_wait')
KILLS = 25
PROMPT = 3.0  # seconds in which a dump that is told to has given up; an agent that waits for a dead one takes five

# When the working process is killed too, nobody is left to put right what Linux does to some calls after SIGSTOP and SIGCONT as well, or
# to take away the areas of an agent, which harm nobody (README, Limits).
FRAGILE = ('syscall_signal_wait',)
KILLS_OF_BOTH = 12
LEFT_BEHIND = {'maps': 'the agent', 'vmflags': 'the agent'}


def kill_both(pid):
    """The working process first, so that it has no time to give up in good order, nor the front to tell."""
    os.kill(pid, signal.SIGSTOP)
    for victim in children_of(pid) + [pid]:
        os.kill(victim, signal.SIGKILL)


def check(box):
    random = pick_seed()
    factor = 10 if soak() else 1
    for program in PROGRAMS:
        run = Run(box, program)
        whole = how_long(box, run)
        for round_ in range(KILLS * factor):
            one_kill(box, run, f'{program}, round {round_}', random.uniform(0, whole * 1.1), whole)
        same = program != 'syscall_stream'
        if program not in FRAGILE:
            if same:
                at_home(box, run, {}, 0)
            for round_ in range(KILLS_OF_BOTH * factor):
                one_kill(box, run, f'{program}, both, round {round_}', random.uniform(0, whole * 1.1), whole, kill_both)
            if same:
                # Agents whose dumps were killed may stand one in the other, and each waits for five seconds.
                at_home(box, run, LEFT_BEHIND, 5 * KILLS_OF_BOTH * factor + 10)
            run.subject.directives.differs = LEFT_BEHIND
        run.unharmed('after killed dumps', compare=same)
        box.expect_empty(program)


def how_long(box, run):
    """How long a whole dump takes tells in which time the moments lie; the second one finds everything warm."""
    for _ in range(2):
        begin = time.monotonic()
        box.must('dump --leave-running', box.dump(run.pid, '-R', images=fresh(box.images)))
        whole = time.monotonic() - begin
    return whole


def one_kill(box, run, what, moment, whole, kill=sigkill):
    pid, log = box.dump(run.pid, '-R', images=fresh(box.images), wait=False)
    killed = kill_after(box, pid, moment, kill)
    what += f': dump {"killed" if killed else "ended"} after {moment * 1000:.2f} of {whole * 1000:.1f} ms'
    ended = time.monotonic()
    box.until(lambda: not dumps(box) and (not box.alive(run.pid) or let_go(run.pid)), f'{what}: the end of the dump')
    if time.monotonic() - ended > PROMPT:
        raise Failed(f'{what}: it took {time.monotonic() - ended:.1f} s to give up')
    if not killed:
        box.must(what, (os.waitstatus_to_exitcode(box.ended(pid)), log))
    elif not complete(box.images):
        no_inventory(box.images, what)
    if box.ended(run.pid) is not None:
        run.unharmed(what, compare=False)
        raise Failed(f'{what}: the program ended')


def at_home(box, run, may_differ, patience):
    """Nothing differs. An agent whose tool was killed waits some seconds for it, with signals blocked, before it gives the thread back."""
    end = time.monotonic() + patience
    while True:
        differences = witness.compare(run.before, witness.look(run.pid), may_differ)
        if not differences:
            print(f'{run.name}: nothing differs after {time.monotonic() - end + patience:.1f} s', flush=True)
            return
        if time.monotonic() > end:
            raise Failed(f'{run.name}: after killed dumps: {differences[0]}')
        box.pause('the agent to go home', 0.05)


def complete(images):
    """A dump that was killed after its last step (the rename of the inventory) has done its work; then all images must be there."""
    return all(os.path.exists(os.path.join(images, name)) for name in ('inventory.img', 'pstree.img', 'files.img'))
