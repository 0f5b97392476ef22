# about: a page server that takes in a dump acknowledges it only when all files and their names are on stable storage; if they cannot be brought there, the dump fails and the program goes on
# modes: check
# timeout: 60
import os
import re
import shutil

from box import Failed, Skipped
from drive import Run, fresh, no_inventory, refused

CALLS = 'openat,fsync,fdatasync,sendto,sendmsg,write,writev'


class Watched:
    """A page server under strace."""

    def __init__(self, box, images, *how):
        self.box, self.trace, port_file = box, box.path('trace'), box.path('port')
        self.log = box.path('server.log')
        self.pid = box.spawn(['strace', '-f', '-y', '-e', f'trace={CALLS}', *how, '-o', self.trace, box.binary, 'page-server', '-D', images, '-o', self.log, '-v4', '--portfile', port_file],
                             self.log + '.out')
        box.until(lambda: os.path.exists(port_file) or box.ended(self.pid) is not None, 'a page server to listen')
        if box.ended(self.pid) is not None:
            raise Failed(f'the page server: {box.first_error(self.log)}')
        with open(port_file, encoding='ascii') as f:
            self.port = f.read()

    def end(self):
        """Its exit code, and (call, what it was done to, all of the line) of its calls."""
        code = os.waitstatus_to_exitcode(self.box.wait(self.pid, 'the page server to end'))
        with open(self.trace, encoding='utf-8') as f:
            lines = [re.match(r'\d+ +(\w+)\((?:\d+<([^>]*)>|[^,]*)(.*)', line) for line in f]
        return code, [(m[1], m[2] or '', m[3]) for m in lines if m]


def answers(calls):
    """(place in the calls, bytes) of all that the dump was sent: one byte for each object, which may wait for more, and four for the end."""
    sent = [(i, int(rest.rpartition('= ')[2])) for i, (call, where, rest) in enumerate(calls) if call in ('sendto', 'sendmsg', 'write', 'writev') and where.startswith(('TCP', 'socket'))]
    return sent, sum(size for _, size in sent)


def check(box):
    if not shutil.which('strace'):
        raise Skipped('strace is not installed')
    acknowledged_last(box)
    for number in (1, 2, 3):
        not_acknowledged(box, number)


def acknowledged_last(box):
    run = Run(box, 'mem_shared_anonymous')
    images = fresh(run.box.path('taken'))
    server = Watched(box, images)
    box.must('dump --page-server', box.dump(run.pid, '-R', '--page-server', '--port', server.port, images=fresh(run.box.path('images'))))
    code, calls = server.end()
    if code != 0:
        raise Failed(f'the page server ended with {code}: {box.first_error(server.log)}')
    made = [os.path.join(images, name) for name in os.listdir(images)]
    objects = len([path for path in made if 'pagemap-' in path])
    sent, size = answers(calls)
    if objects < 2 or size != objects + 4:
        raise Failed(f'{size} bytes were answered to {objects} objects and the end: {server.trace}')
    acknowledged = sent[-1][0]
    synced = {where: i for i, (call, where, rest) in enumerate(calls) if call in ('fsync', 'fdatasync') and '= 0' in rest}
    for path in made + [images]:
        if synced.get(path, len(calls)) > acknowledged:
            raise Failed(f'{path} is not on stable storage before the answer')
    for path in made:
        if synced[path] > synced[images]:
            raise Failed(f'the names in {images} are on stable storage before the file {path}')
        written = [i for i, (call, where, _) in enumerate(calls) if call in ('write', 'writev') and where == path]
        if written and written[-1] > synced[path]:
            raise Failed(f'{path} was written to after it was brought to stable storage')
    run.unharmed('after a dump that was acknowledged', compare=False)
    box.expect_empty('acknowledged')


def not_acknowledged(box, number):
    """One fsync fails: of a file, or of the directory."""
    what = f'fsync number {number} fails'
    run = Run(box, 'alive')
    images, here = fresh(run.box.path('taken')), fresh(run.box.path('images'))
    server = Watched(box, images, '-e', f'inject=fsync:error=EIO:when={number}')
    refused(box, what, box.dump(run.pid, '--page-server', '--port', server.port, images=here), 'page server')
    no_inventory(here, what)
    code, calls = server.end()
    if not any(call == 'fsync' and 'INJECTED' in rest for call, _, rest in calls):
        raise Failed(f'{what}: there was none')
    if code == 0 or not any('stable storage' in line and 'Error' in line for line in box.all_lines(server.log)):
        raise Failed(f'{what}: the page server ended with {code}: {box.first_error(server.log)}')
    if answers(calls)[1] > 1:
        raise Failed(f'{what}: it was acknowledged')
    run.unharmed(what)
    box.expect_empty(what)
