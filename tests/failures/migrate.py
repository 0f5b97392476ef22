# about: a program moves to another host while it runs: dump --lazy-pages here, restore --lazy-pages --page-server into an empty directory there, where it finds all its memory
# modes: check
# timeout: 90
import os

from box import Failed
from drive import Run, fresh

PROGRAMS = ('mem_lazy_touch', 'mem_lazy_churn', 'mem_shared_lazy', 'tree_depth', 'threads_16', 'signal_pending_process')
HERE, THERE = '10.9.8.1', '10.9.8.2'


def check(box):
    network(box)
    for program in PROGRAMS:
        migrate(box, program)


def command(box, *words):
    if box.wait(box.spawn(list(words), box.path('network.log'), session=False), ' '.join(words)) != 0:
        with open(box.path('network.log'), encoding='utf-8') as f:
            raise Failed(f'{" ".join(words)}: {f.read().strip()[-300:]}')


def network(box):
    """The other host is a network namespace behind a cable."""
    command(box, 'mount', '-t', 'tmpfs', 'tmpfs', '/run')
    command(box, 'ip', 'netns', 'add', 'there')
    command(box, 'ip', 'link', 'add', 'here0', 'type', 'veth', 'peer', 'name', 'there0', 'netns', 'there')
    command(box, 'ip', 'address', 'add', f'{HERE}/24', 'dev', 'here0')
    command(box, 'ip', 'link', 'set', 'here0', 'up')
    for words in (('address', 'add', f'{THERE}/24', 'dev', 'there0'), ('link', 'set', 'there0', 'up'), ('link', 'set', 'lo', 'up')):
        command(box, 'ip', '-n', 'there', *words)


def migrate(box, program):
    run = Run(box, program)
    source, target = (fresh(run.box.path(name)) for name in ('source', 'target'))
    ready, told = os.pipe()
    dump, dump_log = box.dump(run.pid, '--lazy-pages', '--address', HERE, '--insecure-network', '--status-fd', str(told), '--portfile', run.box.path('port'), images=source, pass_fds=(told,), wait=False)
    os.close(told)
    if os.read(ready, 1) != b'\0':
        raise Failed(f'{program}: dump --lazy-pages: {box.first_error(dump_log)}')
    os.close(ready)
    with open(run.box.path('port'), encoding='ascii') as f:
        port = f.read()
    # Not detached, so that it stays for the program, whose init it is there.
    log = os.path.join(box.logs, f'{program}.restore.log')
    restore = box.spawn(['ip', 'netns', 'exec', 'there', 'unshare', '--pid', '--fork', '--mount-proc', '--kill-child=KILL',
                         'sh', '-c', '"$@"; exit $?', 'init', box.binary, 'restore', '-D', target, '-W', target, '-o', log, '-v4', '--lazy-pages', '--page-server', '--address', HERE, '--port', port, '--insecure-network'],
                        log + '.out', cwd=target)
    if os.waitstatus_to_exitcode(box.wait(dump, 'the end of the dump')) != 0:
        raise Failed(f'{program}: the dump: {box.first_error(dump_log)}; the restore: {box.first_error(log)}')
    if run.pid in box.others():
        raise Failed(f'{program}: it still runs here')
    with open(run.box.path('go'), 'w', encoding='utf-8'):
        pass
    status = os.waitstatus_to_exitcode(box.wait(restore, 'the end of the program there'))
    with open(run.subject.log, encoding='utf-8', errors='replace') as f:
        said = f.read()
    if status != 0 or 'FAIL' in said:
        raise Failed(f'{program}: {status}: {said.strip()[-300:]}: {box.first_error(log)}')
    box.expect_empty(program)
    run.done()
