# about: what options of dump do: -s, -R, --no-sync, --json, --display-stats, --progress, --action-script, stats-dump
# modes: check
# timeout: 60
import json
import os

from box import Failed
from drive import Run, printed, resume, script_of, stats_of


def check(box):
    stopped(box)
    reports(box)
    scripts(box)


def stopped(box):
    run = Run(box, 'tree_depth')
    box.must('dump -s', box.dump(run.pid, '-s', images=run.box.path('images')))
    resume(box, run, 'after dump -s')


def reports(box):
    run = Run(box, 'mem_anonymous')
    outcome = box.dump(run.pid, '-R', '--no-sync', '--json', images=run.box.path('images'))
    box.must('dump --json', outcome)
    told = json.loads(printed(outcome))
    if not (told['success'] is True and told['command'] == 'dump' and told['pid'] == run.pid and told['stats']['pages_written'] > 100):
        raise Failed(f'dump --json prints {told}')
    if (image := stats_of(box, 'dump')) != told['stats']:
        raise Failed(f'stats-dump holds {image}, --json told {told["stats"]}')
    outcome = box.dump(run.pid, '-R', '--display-stats', '--progress', images=run.box.path('images'))
    box.must('dump --display-stats', outcome)
    if 'Memory pages written: ' not in printed(outcome):
        raise Failed(f'dump --display-stats prints {printed(outcome)!r}')
    run.unharmed('after dumps that report')


def scripts(box):
    run = Run(box, 'threads_16')
    told = run.box.path('told')
    script = script_of(run.box, f'echo "$CRTOOLS_SCRIPT_ACTION $CRTOOLS_INIT_PID" $(ls $CRTOOLS_IMAGE_DIR/inventory.img 2>/dev/null | wc -l) >> {told}')
    box.must('dump with a script', box.dump(run.pid, '-R', '--action-script', script, images=run.box.path('images')))
    with open(told, encoding='utf-8') as f:
        lines = f.read().splitlines()
    if lines != [f'pre-dump {run.pid} 0', f'post-dump {run.pid} 1']:
        raise Failed(f'the script was told {lines}')
    # A script that fails at the end lets the program run on, without a checkpoint, and its exit code is that of the command.
    script = script_of(run.box, '[ $CRTOOLS_SCRIPT_ACTION != post-dump ] || exit 7')
    status, _ = box.dump(run.pid, '--action-script', script, images=run.box.path('images2'))
    if status != 7 or os.path.exists(os.path.join(run.box.path('images2'), 'inventory.img')):
        raise Failed(f'dump with a failing script: exit status {status}')
    run.unharmed('after dumps with scripts')
