# about: a remote lazy restore through TLS with certificates on both sides; who has the wrong one, or is not on the list, is refused, with the reason
# modes: check
# timeout: 90
import os
import subprocess

from box import Failed
from drive import Run, end_remote, refused
from proxy import Proxy


def openssl(*words):
    subprocess.run(['openssl', *words], check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Authority:
    """Issues certificates for the test; its files are in `folder`."""

    def __init__(self, folder, name):
        os.mkdir(folder)
        self.folder = folder
        self.key, self.cert = self.file(name + '.key'), self.file(name + '.pem')
        openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', f'/CN={name}', '-keyout', self.key, '-out', self.cert)

    def file(self, name):
        return os.path.join(self.folder, name)

    def issue(self, name, address='127.0.0.1'):
        """The options that use a fresh certificate."""
        key, request, cert, names = (self.file(f'{name}.{suffix}') for suffix in ('key', 'csr', 'pem', 'ext'))
        with open(names, 'w', encoding='ascii') as f:
            f.write(f'subjectAltName=DNS:{name},IP:{address}\n')
        openssl('req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', f'/CN={name}', '-keyout', key, '-out', request)
        openssl('x509', '-req', '-in', request, '-CA', self.cert, '-CAkey', self.key, '-CAcreateserial', '-days', '2', '-extfile', names, '-out', cert)
        return ['--tls', '--tls-cacert', self.cert, '--tls-cert', cert, '--tls-key', key]


def check(box):
    ours, others = Authority(box.path('ours'), 'ours'), Authority(box.path('others'), 'others')
    server_options, good, stranger = ours.issue('server'), ours.issue('good'), ours.issue('stranger')
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

    # A migration: the dump is the server.
    run = Run(box, 'mem_lazy_touch')
    box.images = run.box.path('images')
    port_file = run.box.path('port')
    dump, log = box.dump(run.pid, '--lazy-pages', '--portfile', port_file, *server_options, wait=False)
    box.until(lambda: os.path.exists(port_file) or box.ended(dump) is not None, 'the dump to serve')
    if box.ended(dump) is not None:
        raise Failed(f'dump --lazy-pages --tls: {box.first_error(log)}')
    with open(port_file, encoding='ascii') as f:
        port = f.read()
    target = run.box.path('fetched')
    os.mkdir(target)
    restore, restore_log = box.faultline('restore', '--new-pidns', '--lazy-pages', '--page-server', '--address', '127.0.0.1', '--port', port, *good, images=target, wait=False)
    if os.waitstatus_to_exitcode(box.wait(dump, 'the dump that is done when all memory has moved')) != 0:
        raise Failed(f'the dump: {box.first_error(log)}; the restore: {box.first_error(restore_log)}')
    open(run.box.path('go'), 'w').close()
    box.wait(restore, 'the program to end')
    if not any('ended with exit code 0' in line for line in box.all_lines(restore_log)):
        raise Failed(f'moved through TLS: {box.first_error(restore_log)}')
    box.expect_empty('moved through TLS')
    run.done()
