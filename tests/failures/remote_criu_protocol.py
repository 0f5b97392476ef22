# about: restore and the lazy-pages daemon fetch from a server that speaks CRIU's protocol, and takes one connection; hello is answered as CRIU does
# modes: check
# timeout: 90
import os
import struct

from box import Failed
from drive import Run, end_remote
from proxy import Proxy

HELLO = struct.pack('<II', 5, 0) + b'fltlegr1'


class CriuServer(Proxy):
    """Our own server, made to look like CRIU's: it says that the object of the hello has no parent, and serves one connection."""

    def accepted(self):
        return self.connections == 0

    def from_client(self, first, data):
        if not first:
            return data
        if not data.startswith(HELLO) or len(data) != 32:
            raise Failed(f'the client begins with {data[:32]!r} ({len(data)} bytes)')
        self.answer = b'\0\0\0\0'
        return b''


def images_only(box, port):
    """The images as dump --lazy-pages leaves them: late pages are not there."""
    box.images = box.path('fetched')
    os.mkdir(box.images)
    box.must('fetching the images', box.faultline('restore', '--dry-run', '--page-server', '--port', port))


def check(box):
    for program in ('mem_lazy_touch', 'mem_lazy_churn', 'tree_depth'):
        for daemon in (False, True):
            run = Run(box, program)
            box.images = run.box.path('images')
            box.must('dump', box.dump(run.pid))
            box.expect_empty('after the dump')
            server, port = box.page_server('--lazy-pages')
            images_only(box, str(port))
            criu = CriuServer(port)
            remote = ('--page-server', '--port', str(criu.port))
            if daemon:
                box.must('lazy-pages', box.faultline('lazy-pages', '-d', *remote))
                box.must('restore beside a daemon', box.restore('--lazy-pages'))
            else:
                box.must('restore', box.restore('--lazy-pages', *remote))
            open(run.box.path('go'), 'w').close()
            if criu.connections != 1:
                raise Failed(f'{program}: {criu.connections} connections were made')
            end_remote(box, run, server, criu, f'{program}, {"daemon" if daemon else "restore"}')
