# about: how a mount ends: umount, signals, killed server, killed watcher, somebody still in it; a dead mount is taken away, and nothing is ever left behind
# modes: check
# timeout: 60
import os
import signal
import subprocess

from box import Failed
from drive import Run, state_of
from mounts import Mounted, mount_entries, ready_to_mount


def check(box):
    ready_to_mount()
    run = Run(box, 'alive')
    box.images = run.box.path('images')
    box.must('dump', box.dump(run.pid))
    box.expect_empty('after the dump')

    for how in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL):
        mounted = Mounted(box)
        inside(mounted)
        os.kill(mounted.server, how)
        gone(box, mounted, f'after {how.name}')
    mounted = Mounted(box)
    subprocess.run(['umount', mounted.where], check=True, capture_output=True)
    gone(box, mounted, 'after umount(8)')
    with Mounted(box) as mounted:
        inside(mounted)
    box.expect_empty('after faultline umount')

    in_use(box)
    without_watcher(box)
    in_the_foreground(box)
    refused(box)
    run.done()


def gone(box, mounted, when):
    mounted.gone(when)
    box.expect_empty(when)


def inside(mounted):
    if not os.listdir(mounted.path('tasks')):
        raise Failed('there is no process in tasks/')


def in_use(box):
    """umount refuses; a signal does not."""
    mounted = Mounted(box)
    with open(mounted.path('raw', 'inventory.img'), 'rb', buffering=0) as f:
        status, said = mounted.unmount()
        if status != 1 or 'in use' not in said:
            raise Failed(f'umount of a mount that is in use: {status}, {said}')
        inside(mounted)
        os.kill(mounted.server, signal.SIGTERM)
        gone(box, mounted, 'after SIGTERM in use')
        try:
            os.stat(f'/proc/self/fd/{f.fileno()}')  # what was open may fail, but must not hang
            f.read(1)
        except OSError:
            pass


def without_watcher(box):
    """A watcher that is killed is replaced; so the server may be killed as well."""
    mounted = Mounted(box)
    first = mounted.watcher()
    os.kill(first, signal.SIGKILL)
    mounted.watcher(other_than=first)
    inside(mounted)
    os.kill(mounted.server, signal.SIGKILL)
    gone(box, mounted, 'after both were killed')
    # Both at once leave a dead mount; umount takes that away too, and only then something else can be mounted.
    mounted = Mounted(box)
    watcher = mounted.watcher()
    os.kill(mounted.server, signal.SIGSTOP)
    box.until(lambda: state_of(mounted.server) == 'T', 'the server to stop')
    os.kill(watcher, signal.SIGKILL)
    os.kill(mounted.server, signal.SIGKILL)
    box.expect_empty('after both were killed at once')
    if not mount_entries(mounted.where):
        raise Failed('the mount of two dead processes is gone by itself: this test tests nothing')
    again = subprocess.run([box.binary, 'mount', box.images, mounted.where], capture_output=True, text=True, check=False)
    if again.returncode != 1 or 'faultline umount' not in again.stderr:
        raise Failed(f'a mount over a dead one: {again.returncode}, {again.stderr}')
    status, said = mounted.unmount()
    if status != 0:
        raise Failed(f'umount of a dead mount: {said}')
    gone(box, mounted, 'after umount of a dead mount')


def in_the_foreground(box):
    where = box.path('mount')
    reader, writer = os.pipe()
    pid = box.spawn([box.binary, 'mount', '--foreground', box.images, where, '--status-fd', str(writer)], box.path('foreground.log'), pass_fds=(writer,))
    os.close(writer)
    if os.read(reader, 1) != b'\0' or not mount_entries(where):
        raise Failed('--status-fd told of a mount that is not there')
    os.close(reader)
    status = box.end(pid, 'the mount in the foreground to end', signal.SIGINT)
    if os.waitstatus_to_exitcode(status) != 130 or mount_entries(where):
        raise Failed(f'after SIGINT: exit status {status}, {mount_entries(where)}')
    box.expect_empty('after a mount in the foreground')


def refused(box):
    """Each with a reason, and without leaving anything."""
    where = box.path('mount')
    for words, part in ((['mount', box.images, where + '/none'], 'No such file'), (['mount', box.images, box.binary], 'directory'),
                        (['mount', where, where], 'not a checkpoint'), (['mount', box.images], 'MOUNTPOINT'), (['umount', where], 'no checkpoint is mounted'),
                        (['mount', 'faultline://x', where], 'HOST:PORT')):
        done = subprocess.run([box.binary, *words], capture_output=True, text=True, check=False)
        if done.returncode != 1 or part not in done.stderr:
            raise Failed(f'{" ".join(words)}: exit status {done.returncode}, {done.stderr[:300]}')
    box.expect_empty('after refusals')
