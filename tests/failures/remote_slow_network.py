# about: a remote lazy restore from another host behind a cable with 5 ms of delay, that loses packets or does not: real TCP on both ends; the program finds its memory as it was
# modes: check
# timeout: 60
import ctypes
import os

from box import Failed, Skipped
from drive import Run, pick_seed
from metrics import scrape

NO_TUN = 77
METRICS = 9100
CLONE_NEWNET = 0x40000000


def own_network():
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), 'a network namespace for the other host')


def lay_cable(box, server, *options):
    """From here to the network namespace of the server: the pid of who is the cable."""
    log = box.path(f'cable.{server}')
    open(log, 'w').close()
    cable = box.spawn([os.path.join(os.path.dirname(box.programs), 'bench', 'slow_link'), f'/proc/{server}/ns/net', *options], log)

    def said():
        with open(log, encoding='utf-8') as f:
            return f.read()
    box.until(lambda: 'ready\n' in said() or box.ended(cable) is not None, 'the cable')
    if box.ended(cable) is None:
        return cable
    if os.waitstatus_to_exitcode(box.ended(cable)) == NO_TUN:
        box.end(server, 'the page server to end')
        raise Skipped(f'no TUN devices here: {said().strip()}')
    raise Failed(f'the cable: {said().strip()}')


def packed():
    """Over a network, less has gone than there were pages."""
    seen = scrape(f'10.77.0.2:{METRICS}')
    pages = seen['faultline_server_bytes_total,class=demand'] + seen['faultline_server_bytes_total,class=bulk']
    if not 0 < seen['faultline_server_sent_bytes_total'] < pages / 2:
        raise Failed(f'--compress zstd has sent {seen["faultline_server_sent_bytes_total"]} bytes for {pages}')


def check(box):
    seed = pick_seed().randrange(1 << 30)
    for program, options in (('mem_lazy_touch', ()), ('mem_repeats', ()), ('mem_lazy_syscall', ('--loss', '50', '--seed', str(seed)))):
        run = Run(box, program)
        box.images = run.box.path('images')
        box.must('dump', box.dump(run.pid))
        box.expect_empty('after the dump')
        server, port = box.page_server('--lazy-pages', '--address', '0.0.0.0', '--insecure-network', '--compress', 'zstd', '--metrics', f'0.0.0.0:{METRICS}', prepare=own_network)
        cable = lay_cable(box, server, '--round-trip-us', '5000', *options)
        box.images = run.box.path('fetched')
        os.mkdir(box.images)
        box.must('remote restore', box.restore('--lazy-pages', '--page-server', '--address', '10.77.0.2', '--port', str(port), '--insecure-network'))
        open(run.box.path('go'), 'w').close()
        status = box.wait(run.pid, f'{program}: its verdict')
        if status != 0:
            run.subject.verify(run.pid)
            raise Failed(f'{program} did not survive')
        if program == 'mem_repeats':
            packed()
        box.end(cable, 'the cable to be taken away')
        box.end(server, 'the page server to end')
        box.expect_empty(program)
        run.done()
