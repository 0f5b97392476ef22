# about: dump --lazy-pages: CRIU's GET and Faultline's protocol give the frozen program's memory; whoever dies or is told to stop, at most one copy can run
# modes: check
# timeout: 240
import json
import os
import signal
import subprocess
import urllib.request

from box import Failed
from drive import Run, children_of, fresh, no_inventory, refused, tracer_of
from page_client import PAGE, SHARED, TASK, Client, CriuClient, Gone, Refused, late_extents

# What is done to their signals, calls and threads while they are held must not show.
HELD = ('syscall_stream', 'threads_16', 'tree_depth', 'tree_stopped', 'tree_zombies', 'signal_actions', 'signal_pending_process', 'signal_pending_thread',
        'syscall_nanosleep', 'syscall_poll', 'syscall_futex', 'mem_prot_none')


class Live:
    """A program that is offered by dump --lazy-pages."""

    def __init__(self, box, program, *args):
        self.box, self.run = box, Run(box, program)
        self.images = fresh(self.run.box.path('images'))
        ready, told = os.pipe()
        self.front, self.log = box.dump(self.run.pid, '--lazy-pages', '--status-fd', str(told), '--portfile', self.run.box.path('port'), *args, images=self.images, pass_fds=(told,), wait=False)
        os.close(told)
        answer = os.read(ready, 2)
        os.close(ready)
        if answer != b'\0':
            raise Failed(f'{program}: {answer!r} on --status-fd: {box.first_error(self.log)}')
        with open(self.run.box.path('port'), encoding='ascii') as f:
            self.port = int(f.read())
        self.worker = children_of(self.front)[0]

    def client(self, **more):
        return Client(self.port, **more)

    def extents(self):
        """(pid, vaddr, pages) of all late memory."""
        for name in os.listdir(self.images):
            if name.startswith('pagemap-') and not name.startswith('pagemap-shmem-'):
                with open(os.path.join(self.images, name), 'rb') as f:
                    for vaddr, pages in late_extents(f.read()):
                        yield int(name[8:-4]), vaddr, pages

    def end(self, what, status, *words):
        """The dump must end like this."""
        got = os.waitstatus_to_exitcode(self.box.wait(self.front, f'{what}: the end of the dump'))
        text = '\n'.join(self.box.all_lines(self.log))
        if got != status or any(word not in text for word in words):
            raise Failed(f'{what}: the dump ended with {got}, {status} was expected, with {words}: {self.box.first_error(self.log)}')

    def goes_on(self, what, compare=True):
        no_inventory(self.images, what)
        self.run.unharmed(what, compare=compare and self.run.name != 'syscall_stream')
        self.box.expect_empty(what)

    def stopped(self, what):
        """All of it stands, by itself; then it goes on, if it is told to."""
        pids = [pid for pid in self.box.others() if pid not in (self.front, self.worker)]
        # Threads that have just been let go need a processor to stop.
        self.box.until(lambda: all(state in 'TZ' and not tracer for pid in pids for state, tracer in tracer_of(pid)), f'{what}: the program to be stopped')
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        self.run.unharmed(what, compare=False)
        self.box.expect_empty(what)

    def killed(self, what):
        status = self.box.wait(self.run.pid, f'{what}: the program to be killed')
        if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
            raise Failed(f'{what}: the program ended with {status}')
        self.box.expect_empty(what)
        self.run.done()


def memory(pid, vaddr, size):
    with open(f'/proc/{pid}/mem', 'rb', buffering=0) as f:
        f.seek(vaddr)
        data = b''
        while len(data) < size:
            data += f.read(size - len(data))
        return data


def check(box):
    for program in ('mem_lazy_touch', 'tree_depth', 'mem_prot_none'):
        criu(box, program)
        own(box, program)
    files(box)
    one_client(box)
    before_commit(box)
    after_commit(box)
    lost(box)
    run = Run(box, 'alive')
    refused(box, '-R', box.dump(run.pid, '--lazy-pages', '-R', images=fresh(box.images)), '--leave-running')
    refused(box, '--page-server', box.dump(run.pid, '--lazy-pages', '--page-server', '--port', '1', images=fresh(box.images)), '--page-server')
    run.unharmed('after refused dumps')


def criu(box, program):
    live = Live(box, program)
    client, total = CriuClient(live.port), 0
    for pid, vaddr, pages in live.extents():
        while pages:
            contents = client.get(pid, vaddr, pages)
            if contents != memory(pid, vaddr, len(contents)):
                raise Failed(f'{program}: GET of {vaddr:#x} of {pid} gives other contents')
            vaddr, pages, total = vaddr + len(contents), pages - len(contents) // PAGE, total + len(contents)
    if total == 0 or client.finish() != 0:
        raise Failed(f'{program}: {total} bytes by GET')
    live.end('CRIU GET', 0)
    live.killed('CRIU GET')

    # Somebody who has got a part may run with it: without a word from there, nothing runs here.
    live = Live(box, program, '--page-timeout', '1')
    client = CriuClient(live.port)
    client.get(*next(live.extents())[:2], 1)
    client.close()
    live.end('CRIU GET, broken off', 1, 'kill -CONT')
    live.stopped('CRIU GET, broken off')


def seen_by_top(box, live):
    """A live source is a server like others to those who watch."""
    told = json.loads(subprocess.run([box.binary, 'top', '--once', '--json'], capture_output=True, text=True, check=True).stdout)['processes']
    # Others of this machine are in the list too; in their own pid namespaces they may have the same pids.
    seen = [process for process in told if process['pid'] == live.worker and process['name'].startswith(live.images + ' ')]
    if len(seen) != 1 or seen[0]['clients'] != 1 or str(live.run.pid) not in seen[0]['name']:
        raise Failed(f'top shows the source, process {live.worker} for {live.run.pid}, as {seen} in {told}')
    with urllib.request.urlopen(f"http://{seen[0]['metrics']}/metrics", timeout=20) as answer:
        text = answer.read().decode()
    if 'faultline_server_clients 1\n' not in text:
        raise Failed(f'the metrics of a live source: {text[:300]}')


def own(box, program):
    for stop in ((), ('-s',)):
        live = Live(box, program, '--metrics', '0', *stop)
        client = live.client()
        if client.kind != 1:
            raise Failed(f'the kind of the source is {client.kind}')
        if not stop:
            seen_by_top(box, live)
        for number, (pid, vaddr, pages) in enumerate(live.extents()):
            for start in range(0, pages, 1000):
                n = min(1000, pages - start)
                if client.read(TASK, pid, vaddr + start * PAGE, n) != memory(pid, vaddr + start * PAGE, n * PAGE):
                    raise Failed(f'{program}: READ of {vaddr:#x} of {pid} gives other contents')
            if number == 0:
                client.commit()  # reading goes on after it
        client.commit()
        client.done()
        live.end('DONE', 0)
        if stop:
            live.stopped('DONE with -s')
        else:
            live.killed('DONE')


def files(box):
    """An empty directory elsewhere must be filled with the same images."""
    live = Live(box, 'mem_shared_anonymous')
    client = live.client()
    listed = client.files()
    # Pages of shared memory may all come late: then no image of them is left.
    here = {name for name in os.listdir(live.images) if name.endswith('.img') and not name.startswith('pages-')}
    if not here <= set(listed) or 'inventory.img' not in listed:
        raise Failed(f'FILES lists {sorted(listed)}; here are {sorted(here)}')
    late = shared = 0
    for name, size in listed.items():
        contents = client.file(name)
        if len(contents) != size:
            raise Failed(f'FILE {name}: {len(contents)} bytes, {size} were announced')
        if name.startswith('pagemap-'):
            extents = late_extents(contents)
            late += len(extents)
            if name.startswith('pagemap-shmem-'):
                shared += len(client.read(SHARED, int(name[len('pagemap-shmem-'):-len('.img')]), extents[0][0], 1))
        elif not name.startswith('pages-'):
            with open(os.path.join(live.images, name), 'rb') as f:
                if f.read() != contents:
                    raise Failed(f'FILE {name} gives other contents')
    if not late or not shared:
        raise Failed(f'{late} runs are late; {shared} pages of shared memory were read')
    try:
        client.read(TASK, live.run.pid, 0x1000, 1)
        raise Failed('a page that is not there was read')
    except Refused:
        pass
    client.close()
    live.end('files', 1, 'before it took the processes over')
    live.goes_on('files')


def one_client(box):
    live = Live(box, 'alive')
    # Who only wants to look is refused, and that is no client that has come and gone.
    looked = subprocess.run([box.binary, 'show', f'faultline://127.0.0.1:{live.port}/'], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if looked.returncode == 0 or 'frozen program' not in looked.stderr:
        raise Failed(f'show of a live source: {looked.returncode}, {looked.stderr[-300:]}')
    first = live.client()
    try:
        live.client()
        raise Failed('a second client was accepted')
    except (Refused, Gone):
        pass
    second = live.client(client=first.client)
    second.commit()
    first.commit()
    first.close()
    second.done()
    live.end('two connections', 0)
    live.killed('two connections')


def before_commit(box):
    for program in ('syscall_stream', 'threads_16', 'tree_depth'):
        for what in ('SIGTERM', 'SIGINT', 'kill -9 of the front', 'kill -9 of the worker', 'client gone'):
            live = Live(box, program)
            client = live.client()
            if what == 'client gone':
                client.close()
            elif what == 'kill -9 of the worker':
                os.kill(live.worker, signal.SIGKILL)
            else:
                os.kill(live.front, {'SIGTERM': signal.SIGTERM, 'SIGINT': signal.SIGINT}.get(what, signal.SIGKILL))
            live.end(f'{what} before COMMIT', -9 if 'front' in what else 1)
            box.until(lambda w=live.worker: w not in box.others(), 'the end of the worker')
            if what == 'kill -9 of the worker':
                os.unlink(os.path.join(live.images, 'inventory.img'))  # nobody was left to do it
            live.goes_on(f'{program}, {what} before COMMIT')


def after_commit(box):
    for program in HELD:
        live = Live(box, program)
        client = live.client()
        client.commit()
        os.kill(live.front, signal.SIGTERM)
        client.wait_revoke()
        states = [state for pid in box.others() if pid not in (live.front, live.worker) for state, _ in tracer_of(pid)]
        if any(state not in 'tZ' for state in states):
            raise Failed(f'{program}: it goes on before its copy is gone: {states}')
        client.confirm_revoked()
        live.end('SIGTERM after COMMIT', 1, 'run on as before')
        live.goes_on(f'{program}, SIGTERM after COMMIT')

    for program in ('syscall_stream', 'threads_16', 'tree_depth'):
        live = Live(box, program)
        client = live.client()
        client.commit()
        os.kill(live.worker, signal.SIGKILL)
        live.end('kill -9 of the worker after COMMIT', 1)
        live.stopped(f'{program}, kill -9 of the worker after COMMIT')

    live = Live(box, 'syscall_stream')
    client = live.client()
    client.commit()
    os.kill(live.front, signal.SIGKILL)
    client.wait_revoke()
    client.done()  # it had everything already
    live.killed('DONE after REVOKE')


def lost(box):
    live = Live(box, 'threads_16', '--page-timeout', '1')
    client = live.client()
    client.commit()
    client.close()
    live.end('client gone after COMMIT', 1, f'kill -KILL {live.run.pid}', f'kill -CONT {live.run.pid}')
    live.stopped('client gone after COMMIT')

    live = Live(box, 'threads_16', '--page-timeout', '1')
    client = live.client()
    client.commit()
    os.kill(live.front, signal.SIGTERM)
    live.end('no answer to REVOKE', 1, 'kill -CONT')
    live.stopped('no answer to REVOKE')

    live = Live(box, 'threads_16')
    client = live.client()
    client.commit()
    client.close()
    again = live.client(client=client.client)
    again.done()
    live.end('client came back', 0)
    live.killed('client came back')

    # Lost while the program is asked for: it hears of it when it comes back.
    live = Live(box, 'threads_16')
    client = live.client()
    client.commit()
    client.close()
    os.kill(live.front, signal.SIGTERM)
    again = live.client(client=client.client)
    again.wait_revoke()
    again.confirm_revoked()
    live.end('client came back to a REVOKE', 1, 'run on as before')
    live.goes_on('client came back to a REVOKE')
