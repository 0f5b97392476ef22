# about: the other ways to a page server: all memory at once into an empty directory; CRIU's way with a daemon of its own, from stored images and from a live source, with TLS and without
# modes: check
# timeout: 90
import os

from box import Failed
from certificates import Authority
from drive import Run, end_moved, fresh, refused


def check(box):
    at_once(box)
    ours = Authority(box.path('ours'), 'ours')
    server_tls, client_tls = ['--allow', 'client', *ours.issue('server', '127.0.0.1')], ours.issue('client')
    for tls in ((), ()), (server_tls, client_tls):
        daemon(box, *tls)
        live(box, *tls)


def survives(box, run, what):
    open(run.box.path('go'), 'w').close()
    if box.wait(run.pid, f'{what}: the verdict of the program') != 0:
        run.subject.verify(run.pid)


def at_once(box):
    """Without --lazy-pages nothing is left for later: the server may go."""
    for program in ('mem_lazy_touch', 'mem_shared_anonymous', 'tree_depth'):
        run = Run(box, program)
        box.images = run.box.path('images')
        box.must('dump', box.dump(run.pid))
        box.expect_empty('after the dump')
        server, port = box.page_server('--lazy-pages')
        box.images = fresh(run.box.path('fetched'))
        box.must('restore', box.restore('--page-server', '--port', str(port)))
        box.end(server, 'the page server to end')
        survives(box, run, f'{program}, at once')
        box.expect_empty(f'{program}, at once')
        run.done()


def daemon(box, server_options, client_options):
    what = 'lazy-pages' + (' with TLS' if client_options else '')
    run = Run(box, 'mem_lazy_touch')
    box.images = run.box.path('images')
    box.must('dump', box.dump(run.pid))
    box.expect_empty('after the dump')
    server, port = box.page_server('--lazy-pages', *server_options)
    remote = ('--page-server', '--address', '127.0.0.1', '--port', str(port), *client_options)
    box.images = fresh(run.box.path('fetched'))
    refused(box, f'{what} with an empty directory', box.faultline('lazy-pages', *remote), 'inventory.img', 'restore --lazy-pages --page-server')
    box.must('fetching the images', box.faultline('restore', '--dry-run', *remote))
    box.must(what, box.faultline('lazy-pages', '-d', *remote))
    box.must('restore beside a daemon', box.restore('--lazy-pages'))
    survives(box, run, what)
    box.end(server, 'the page server to end')
    box.expect_empty(what)
    run.done()


def live(box, server_options, client_options):
    """The images lie where the dump and the restore both find them; memory is in the frozen program."""
    what = 'lazy-pages at a live source' + (' with TLS' if client_options else '')
    run = Run(box, 'mem_lazy_touch')
    box.images = run.box.path('images')
    port_file = run.box.path('port')
    dump, log = box.dump(run.pid, '--lazy-pages', '--portfile', port_file, *server_options, wait=False)
    box.until(lambda: os.path.exists(port_file) or box.ended(dump) is not None, 'the dump to serve')
    if box.ended(dump) is not None:
        raise Failed(f'dump --lazy-pages: {box.first_error(log)}')
    with open(port_file, encoding='ascii') as f:
        port = f.read()
    box.must(what, box.faultline('lazy-pages', '-d', '--page-server', '--address', '127.0.0.1', '--port', port, *client_options))
    # Its pids are those of the frozen program.
    restore, restore_log = box.faultline('restore', '--new-pidns', '--lazy-pages', wait=False)
    end_moved(box, run, (dump, log), (restore, restore_log), what)
