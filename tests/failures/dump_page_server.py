# about: dump --page-server: the bytes on the wire are the memory of the stopped program; joined with the other images they restore; a server that fails harms nobody
# modes: check
# timeout: 120
import os
import shutil
import signal
import socket
import ssl

from box import Failed, Skipped
from drive import Run, fresh, no_inventory, refused, tracer_of
from page_receiver import CLOSE, FORCE_CLOSE, PAGE, Receiver

PROGRAMS = ('mem_anonymous', 'mem_cow', 'mem_file_private', 'mem_memfd', 'mem_prot_none', 'mem_shared_anonymous', 'tree_zombies', 'threads_16')


def check(box):
    for program in PROGRAMS:
        compare_with_memory(box, program)
    for program in PROGRAMS:
        restore_joined(box, program)
    own_server(box)
    own_server_elsewhere(box)
    inherited_socket(box)
    encrypted(box)
    failing_servers(box)


def where(receiver):
    return ('--page-server', '--address', '127.0.0.1', '--port', str(receiver.port))


def compare_with_memory(box, program):
    """The program is left stopped by the dump, so that its memory can be read afterwards."""
    run = Run(box, program)
    receiver = Receiver()
    box.must('dump --page-server', box.dump(run.pid, '-s', *where(receiver), images=fresh(box.images)))
    if not receiver.join():
        raise Failed(f'{program}: {receiver.error}')
    total = 0
    for (kind, ident), entries in receiver.objects.items():
        for vaddr, pages, _, contents in entries if kind == 1 else []:
            total += pages
            if _memory(ident, vaddr, pages * PAGE) != contents:
                raise Failed(f'{program}: what was sent for pid {ident}, {pages} pages at {vaddr:#x}, is not what is in its memory')
    if total == 0:
        raise Failed(f'{program}: no page was sent')
    left = [name for name in os.listdir(box.images) if name.startswith(('pagemap-', 'pages-'))]
    if left:
        raise Failed(f'{program}: memory is in the local directory: {left}')
    for pid in box.others():
        os.kill(pid, signal.SIGCONT)
    run.unharmed('after the dump', compare=False)
    box.expect_empty(program)


def restore_joined(box, program):
    run = Run(box, program)
    box.images = fresh(run.box.path('images'))
    receiver = Receiver()
    box.must('dump --page-server', box.dump(run.pid, *where(receiver)))
    if not receiver.join() or receiver.closed_by != CLOSE:
        raise Failed(f'{program}: {receiver.error}, {receiver.closed_by}')
    box.expect_empty('after the dump')
    second = run.box.path('images2')
    receiver.write(second)
    for name in os.listdir(second):
        shutil.move(os.path.join(second, name), box.images)
    box.must('restore of the joined images', box.restore())
    run.unharmed('restored from joined images')
    box.expect_empty(program)


def own_server(box):
    """Both sides are ours, and share the directory, as on one machine they may."""
    run = Run(box, 'mem_shared_anonymous')
    box.images = fresh(run.box.path('images'))
    server, port = box.page_server()
    box.must('dump into a page server', box.dump(run.pid, '--page-server', '--port', str(port)))
    if box.wait(server, 'the page server to end') != 0:
        raise Failed('the page server did not end with 0')
    box.expect_empty('after the dump')
    box.must('restore', box.restore('--lazy-pages'))
    run.unharmed('restored from what a page server took in')
    box.expect_empty('own server')


def own_server_elsewhere(box):
    """Memory is in the directory of the page server, everything else in that of the dump: a restore joins them, whether memory is to come late or not."""
    for program, late in (('mem_lazy_touch', True), ('mem_shared_anonymous', True), ('mem_shared_anonymous', False), ('tree_depth', False)):
        run = Run(box, program)
        pages = fresh(run.box.path('pages'))
        box.images = fresh(run.box.path('images'))
        server, port = box.page_server(images=pages)
        box.must('dump into a page server', box.dump(run.pid, '--page-server', '--port', str(port)))
        if box.wait(server, 'the page server to end') != 0:
            raise Failed('the page server did not end with 0')
        box.expect_empty('after the dump')
        if 'inventory.img' in os.listdir(pages) or any(name.startswith('pagemap-') for name in os.listdir(box.images)):
            raise Failed(f'the page server has {os.listdir(pages)}, the dump {os.listdir(box.images)}')
        server, port = box.page_server('--lazy-pages', images=pages)
        remote = ('--page-server', '--port', str(port))
        empty = fresh(run.box.path('empty'))
        refused(box, 'a restore without the other images', box.restore(*remote, images=empty), 'only the memory', '-D')
        if os.listdir(empty):
            raise Failed(f'it has left {os.listdir(empty)}')
        box.must('restore of both', box.restore(*remote, *(['--lazy-pages'] if late else [])))
        open(run.box.path('go'), 'w').close()
        if box.wait(run.pid, f'{program}: its verdict') != 0:
            raise Failed(f'{program}: joined by a restore, {"late" if late else "at once"}: it did not survive')
        box.end(server, 'the page server to end')
        box.expect_empty('restored from two directories')
        run.done()


def inherited_socket(box):
    run = Run(box, 'alive')
    ours, theirs = socket.socketpair()
    receiver = Receiver(connection=ours)
    number = theirs.fileno()
    box.must('dump --ps-socket', box.dump(run.pid, '-R', '--page-server', '--ps-socket', str(number), images=fresh(box.images), pass_fds=(number,)))
    theirs.close()
    if not receiver.join() or receiver.closed_by != FORCE_CLOSE:
        raise Failed(f'--ps-socket: {receiver.error}, {receiver.closed_by}')
    run.unharmed('after a dump into an inherited socket')


def encrypted(box):
    run = Run(box, 'mem_anonymous')
    key, certificate = box.path('key.pem'), box.path('cert.pem')
    made = box.spawn(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', key, '-out', certificate, '-days', '2',
                      '-subj', '/CN=page server', '-addext', 'subjectAltName=IP:127.0.0.1'], box.path('openssl.log'), session=False)
    if box.wait(made) != 0:
        raise Skipped('openssl makes no certificate')
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    receiver = Receiver(tls=context)
    tls = ('--tls', '--tls-cacert', certificate, '--tls-cert', certificate, '--tls-key', key)
    box.must('dump --tls', box.dump(run.pid, '-R', *where(receiver), *tls, images=fresh(box.images)))
    if not receiver.join():
        raise Failed(f'--tls: {receiver.error}')
    refused(box, 'a server without TLS', box.dump(run.pid, *where(Receiver()), *tls, images=fresh(box.images)), 'page server')
    run.unharmed('after a dump over TLS')


def failing_servers(box):
    run = Run(box, 'mem_lazy_touch')
    with socket.create_server(('127.0.0.1', 0)) as s:
        closed = s.getsockname()[1]
    images = fresh(box.images)
    refused(box, 'no server', box.dump(run.pid, '--page-server', '--port', str(closed)), ('refused',))
    refused(box, 'no port', box.dump(run.pid, '--page-server'), '--port')
    for what, receiver in (('a server whose disk is full', Receiver(status=-28)), ('a server that dies', Receiver(stop_after=100)),
                           ('a server that dies at once', Receiver(stop_after=0))):
        refused(box, what, box.dump(run.pid, *where(receiver)), 'page server')
        receiver.join()
        no_inventory(images, what)
    silent_server(box, run)
    run.unharmed('after dumps into failing servers')
    box.expect_empty('at the end')


def silent_server(box, run):
    """It takes nothing, until the dump is told to give up."""
    with socket.create_server(('127.0.0.1', 0)) as s:
        pid, log = box.dump(run.pid, '--page-server', '--port', str(s.getsockname()[1]), images=fresh(box.images), wait=False)
        with s.accept()[0]:
            box.until(lambda: any(state == 't' for state, _ in tracer_of(run.pid)), 'the program to be stopped')
            os.kill(pid, signal.SIGTERM)
            refused(box, 'a silent server', (os.waitstatus_to_exitcode(box.wait(pid)), log), 'SIGTERM')
    no_inventory(box.images, 'a silent server')


def _memory(pid, vaddr, size):
    with open(f'/proc/{pid}/mem', 'rb', buffering=0) as f:
        f.seek(vaddr)
        data = b''
        while len(data) < size:
            data += f.read(size - len(data))
        return data
