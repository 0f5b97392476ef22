# about: a remote lazy restore through TLS with certificates on both sides; who has the wrong one, or is not on the list, is refused, with the reason
# modes: check
# timeout: 90
import os

from box import Failed
from certificates import Authority
from drive import Run, end_moved, end_remote, fresh, refused
from proxy import Proxy


def check(box):
    ours, others = Authority(box.path('ours'), 'ours'), Authority(box.path('others'), 'others')
    # Each host has a certificate of its own: the client's does not stand for the address of the server.
    server_options, good, stranger = ours.issue('server', '127.0.0.1'), ours.issue('good'), ours.issue('stranger')
    foreign = others.issue('good')
    for program in ('mem_lazy_touch', 'mem_lazy_churn'):
        run = Run(box, program)
        box.images = run.box.path('images')
        box.must('dump', box.dump(run.pid))
        box.expect_empty('after the dump')
        server, port = box.page_server('--lazy-pages', '--allow', 'good', *server_options)
        proxy = Proxy(port)
        box.images = run.box.path('fetched')
        os.mkdir(box.images)
        to = ('--lazy-pages', '--page-server', '--address', '127.0.0.1', '--port', str(proxy.port))
        refused(box, 'a client that is not on the list', box.restore(*to, *stranger), ('not', 'refuse', 'closed', 'alert'))
        refused(box, 'a client of another authority', box.restore(*to, *foreign), ('certificate', 'authority'))
        refused(box, 'a client without TLS', box.restore(*to))
        box.must('restore', box.restore(*to, *good))
        open(run.box.path('go'), 'w').close()
        end_remote(box, run, server, proxy, f'{program} through TLS')

    # Without a list, the server wants a client of its own name, as CRIU's does; its log tells the way out.
    box.images = fresh(box.path('none'))
    server, port = box.page_server('--lazy-pages', '--address', '127.0.0.1', *server_options)
    refused(box, 'a client of another name', box.restore('--lazy-pages', '--page-server', '--address', '127.0.0.1', '--port', str(port), *good), '--allow')
    logs = [name for name in os.listdir(box.logs) if name.endswith('page-server.log')]
    if not any('good' in line and '--allow NAME' in line for name in logs for line in box.all_lines(os.path.join(box.logs, name))):
        raise Failed('the log of a server without --allow does not tell that it is the way out')
    box.end(server, 'the page server to end')

    # A migration: the dump is the server. Who is not on its list is refused, and costs the program nothing.
    run = Run(box, 'mem_lazy_touch')
    box.images = run.box.path('images')
    port_file = run.box.path('port')
    dump, log = box.dump(run.pid, '--lazy-pages', '--address', '127.0.0.1', '--portfile', port_file, '--allow', 'good', *server_options, wait=False)
    box.until(lambda: os.path.exists(port_file) or box.ended(dump) is not None, 'the dump to serve')
    if box.ended(dump) is not None:
        raise Failed(f'dump --lazy-pages --tls: {box.first_error(log)}')
    with open(port_file, encoding='ascii') as f:
        port = f.read()
    target = run.box.path('fetched')
    os.mkdir(target)
    to = ('--lazy-pages', '--page-server', '--address', '127.0.0.1', '--port', port)
    refused(box, 'a client that the dump does not list', box.faultline('restore', '--new-pidns', *to, *stranger, images=target), ('not', 'refuse', 'closed', 'alert'))
    restore, restore_log = box.faultline('restore', '--new-pidns', *to, *good, images=target, wait=False)
    end_moved(box, run, (dump, log), (restore, restore_log), 'moved through TLS')
