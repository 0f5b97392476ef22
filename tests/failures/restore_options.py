# about: what options of restore do: -s, -S, -d, --exec-cmd, --dry-run, --json, --display-stats, --action-script, --prefetch, --record, stats-restore
# modes: check
# timeout: 120
import json
import os

from box import Failed
from drive import Run, let_go, name_of, printed, refused, resume, script_of, sigkill, stats_of
from witness import stat_of


def check(box):
    stopped(box)
    parents(box)
    waits(box)
    reports(box)
    scripts(box)
    prefetch(box)


def dumped(box, program):
    run = Run(box, program)
    box.images = run.box.path('images')
    box.must('dump', box.dump(run.pid))
    box.expect_empty('after the dump')
    return run


def stopped(box):
    for lazy in ((), ('--lazy-pages',)):
        run = dumped(box, 'tree_depth')
        box.must('restore -s', box.restore('-s', *lazy))
        resume(box, run, f'after restore -s {lazy}')


def parents(box):
    """-S makes the root a child of the caller, --exec-cmd one of the command; without either it belongs to init."""
    for options, name in (('-d -S', 'sh'), ('-d', 'init'), ('--exec-cmd -- sleep 1000', 'sleep')):
        run = dumped(box, 'threads_16')
        box.forget_the_dead()
        begun = run.box.path('begun')
        command = f'{box.binary} restore -D {box.images} -W {box.logs} -o parents.log {options}'
        shell = box.spawn(['/bin/sh', '-c', f'{command}; while :; do touch {begun}; sleep 0.01; done'], box.path('shell.log'), session=False)
        box.until(lambda: os.path.exists(begun) or 'sleep 1000' in box.others().values(), f'the restore {options}')
        parent = int(stat_of(run.pid)[1])
        found = 'init' if parent == os.getpid() else name_of(parent)
        if found != name:
            raise Failed(f'restore {options}: the parent of the root is {parent} ({found}), should be {name}')
        for helper in {parent, shell} - {os.getpid()}:
            sigkill(helper)
        run.unharmed(f'restore {options}')
        box.until(lambda: not any(words.startswith(('sleep', '/bin/sh')) for words in box.others().values()), 'the end of the helpers')


def waits(box):
    """Without -d the command ends when the root does."""
    run = dumped(box, 'tree_depth')
    box.forget_the_dead()
    pid, log = box.faultline('restore', wait=False)
    box.until(lambda: os.path.exists(f'/proc/{run.pid}/stat') and int(stat_of(run.pid)[1]) == pid and let_go(run.pid), 'the restored program')
    if box.ended(pid) is not None:
        raise Failed('restore without -d did not wait for the root')
    open(run.box.path('go'), 'w', encoding='utf-8').close()
    box.must('restore without -d', (os.waitstatus_to_exitcode(box.wait(pid)), log))
    with open(run.subject.log, encoding='utf-8') as f:
        if text := f.read():
            raise Failed(f'restore without -d: {text}')
    run.done()
    box.expect_empty('after restore without -d')


def reports(box):
    run = dumped(box, 'mem_anonymous')
    outcome = box.restore('--dry-run')
    box.must('restore --dry-run', outcome)
    plan = printed(outcome)
    if f'pid {run.pid},' not in plan or 'PR_SET_MM_MAP' not in plan or box.others():
        raise Failed(f'restore --dry-run: {plan[:300]!r}, and these run: {box.others()}')
    outcome = box.restore('--json')
    box.must('restore --json', outcome)
    told = json.loads(printed(outcome))
    if not (told['success'] is True and told['command'] == 'restore' and told['pid'] == run.pid and told['stats']['pages_restored'] > 100):
        raise Failed(f'restore --json prints {told}')
    if (image := stats_of(box, 'restore')) != told['stats']:
        raise Failed(f'stats-restore holds {image}, --json told {told["stats"]}')
    run.unharmed('restored with --json')
    run = dumped(box, 'threads_16')
    outcome = box.restore('--display-stats', '--progress')
    box.must('restore --display-stats', outcome)
    if 'Pages restored: ' not in printed(outcome):
        raise Failed(f'restore --display-stats prints {printed(outcome)!r}')
    run.unharmed('restored with --display-stats')


def scripts(box):
    run = dumped(box, 'threads_16')
    told = run.box.path('told')
    script = script_of(run.box, f'echo "$CRTOOLS_SCRIPT_ACTION $CRTOOLS_INIT_PID" >> {told}')
    box.must('restore with a script', box.restore('--action-script', script))
    with open(told, encoding='utf-8') as f:
        lines = [line.strip() for line in f]
    if lines != ['pre-restore'] + [f'{action} {run.pid}' for action in ('post-restore', 'network-unlock', 'pre-resume', 'post-resume')]:
        raise Failed(f'the script was told {lines}')
    run.unharmed('restored with a script')

    # One that says no at the last moment: all processes are there and traced, and none may be left.
    run = dumped(box, 'threads_16')
    script = script_of(run.box, '[ "$CRTOOLS_SCRIPT_ACTION" != post-restore ]')
    for more in ((), ('--new-pidns',)):
        refused(box, 'a restore with a script that fails', box.restore('--action-script', script, *more), 'post-restore')
        box.expect_empty('after a script that failed')
    run.done()


def prefetch(box):
    """Contents are right under every policy; a recording is left unless it is not wanted, and is then used."""
    for options, recorded in ((('--prefetch=none', '--no-record'), False), (('--prefetch=sequential',), True), (('--prefetch=recorded',), True)):
        run = dumped(box, 'mem_lazy_touch')
        if '--prefetch=recorded' in options:
            box.must('restore to be recorded', box.restore('--lazy-pages'))
            run.subject.verify(run.pid)
            box.expect_empty('after the recording')
            os.unlink(run.box.path('go'))
        box.must(f'restore {options}', box.restore('--lazy-pages', *options))
        run.unharmed(f'restored with {options}', compare=False)
        box.expect_empty(f'restored with {options}')
        if any(name.startswith('working-set-') for name in os.listdir(box.images)) != recorded:
            raise Failed(f'{options}: {os.listdir(box.images)}')
