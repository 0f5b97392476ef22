# about: a dump that is told to end (Ctrl-C, SIGTERM, SIGHUP, kill -9 of it or of its process group) while its script runs gives up in good order
# modes: check
# timeout: 60
import os
import signal

from box import Failed
from drive import Run, children_of, dumps, fresh, let_go, no_inventory, refused, sigkill

# The checkpoint is complete when this script runs: the moment at which most is to be taken back.
SCRIPT = """#!/bin/sh
[ "$CRTOOLS_SCRIPT_ACTION" = post-dump ] || exit 0
trap '' INT TERM HUP QUIT
ps -o pgid= -p $$ > {dir}/group.new
mv {dir}/group.new {dir}/group
while [ ! -e {dir}/release ]; do sleep 0.01; done
"""


def check(box):
    for name in ('SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'):
        told(box, name, os.kill)
    told(box, 'SIGINT', os.killpg)
    killed(box, os.kill)
    killed(box, os.killpg)
    worker_killed(box)
    ignored(box)


def begin(box, prepare=None):
    """A program, and the dump of it, which stands in its script as a job of its own."""
    run = Run(box, 'threads_16')
    script = os.path.join(box.dir, 'script')
    with open(script, 'w', encoding='utf-8') as f:
        f.write(SCRIPT.format(dir=box.dir))
    os.chmod(script, 0o755)

    def own_group():
        os.setpgid(0, 0)
        if prepare:
            prepare()
    pid, log = box.dump(run.pid, '-R', '--action-script', script, images=fresh(box.images), wait=False, prepare=own_group)
    group = os.path.join(box.dir, 'group')
    box.until(lambda: os.path.exists(group) or box.ended(pid) is not None, 'the script')
    if box.ended(pid) is not None:
        raise Failed(f'the dump ended before its script ran: {box.first_error(log)}')
    with open(group, encoding='utf-8') as f:
        if int(f.read()) != pid:
            raise Failed('the script is not in the process group of the dump')
    if let_go(run.pid):
        raise Failed('the program is not stopped while the script runs')
    return run, pid, log


def end(box, run, what):
    open(os.path.join(box.dir, 'release'), 'w', encoding='utf-8').close()
    no_inventory(box.images, what)
    run.unharmed(what)
    box.expect_empty(what)


def told(box, name, send):
    run, pid, log = begin(box)
    send(pid, getattr(signal, name))
    status = os.waitstatus_to_exitcode(box.wait(pid, f'the dump, after {name}'))
    if status != 1:
        raise Failed(f'{name}: exit status {status}, should be 1')
    refused(box, name, (status, log), name, 'run on as before')
    if not let_go(run.pid):
        raise Failed(f'{name}: the dump ended, and the program is still stopped')
    end(box, run, name)


def killed(box, send):
    run, pid, log = begin(box)
    send(pid, signal.SIGKILL)
    what = f'kill -9 with {send.__name__}'
    if not os.WIFSIGNALED(box.wait(pid, what)):
        raise Failed(f'{what}: it lives on')
    box.until(lambda: not dumps(box) and let_go(run.pid), f'{what}: the end of the dump')
    refused(box, what, (1, log), ('has been killed', 'exit code 137'))  # the script may have been killed a moment before
    end(box, run, what)


def worker_killed(box):
    """The checkpoint is complete by then, and the command says that it did not come to its end."""
    run, pid, log = begin(box)
    for worker in children_of(pid):
        sigkill(worker)
    status = os.waitstatus_to_exitcode(box.wait(pid, 'the dump whose worker was killed'))
    refused(box, 'its worker killed', (status, log), 'SIGKILL')
    box.until(lambda: let_go(run.pid), 'the program to be let go')
    open(os.path.join(box.dir, 'release'), 'w', encoding='utf-8').close()
    run.unharmed('its worker killed')
    box.expect_empty('its worker killed')


def ignored(box):
    """As under nohup: SIGHUP changes nothing."""
    run, pid, log = begin(box, lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    os.kill(pid, signal.SIGHUP)
    open(os.path.join(box.dir, 'release'), 'w', encoding='utf-8').close()
    box.must('dump with SIGHUP ignored', (os.waitstatus_to_exitcode(box.wait(pid)), log))
    run.unharmed('SIGHUP ignored')
    box.expect_empty('SIGHUP ignored')
