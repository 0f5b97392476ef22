"""A scenario's box: the first process of a fresh pid, mount, network and IPC namespace, in which one scenario runs in one mode.

Pids are free there, what is left behind can be counted, and everything dies with it. As its init it inherits restored processes
(`restore -d` leaves them without a parent) and so gets their exit status.
"""
import ctypes
import fcntl
import os
import signal
import socket
import struct
import termios
import threading
import time


class Failed(Exception):
    """The scenario failed; the text says why."""


class Skipped(Exception):
    """The scenario cannot run here; the text says why."""


def describe(status):
    if os.WIFSIGNALED(status):
        return f'killed by {signal.Signals(os.WTERMSIG(status)).name}'
    return f'exit status {os.waitstatus_to_exitcode(status)}'


def _environment():
    """The same for everybody, so that a failure repeats; what is meant for us or for a sanitizer is handed through."""
    names = {name: value for name, value in os.environ.items() if name.startswith(('FAULTLINE_', 'ASAN_', 'UBSAN_'))}
    return dict(names, PATH=os.environ.get('PATH', '/usr/sbin:/usr/bin:/sbin:/bin'), HOME='/root', LC_ALL='C.UTF-8')


class Box:
    def __init__(self, directory, binary, programs, options=(), timeout=30.0):
        self.dir = directory
        self.binary = binary
        self.programs = programs
        self.options = list(options)
        self.deadline = time.monotonic() + timeout
        self.images = self.path('images')
        self.logs = self.path('logs')
        os.makedirs(self.logs, exist_ok=True)
        self._ended = {}
        self._commands = 0
        self._terminal = None
        os.setsid()
        _bring_up_loopback()
        _own_terminals()

    def path(self, *names):
        return os.path.join(self.dir, *names)

    def pause(self, what, seconds=0.002):
        """One step of waiting for `what`; fails when the scenario's time is over."""
        self.reap()
        if time.monotonic() > self.deadline:
            raise Failed(f'timed out while waiting for {what}')
        time.sleep(seconds)

    def until(self, condition, what):
        while True:
            value = condition()
            if value:
                return value
            self.pause(what)

    def open_terminal(self):
        """Gives the box a controlling terminal; what is started with it from then on sees it as a shell's job does. Its output is dropped."""
        master, self._terminal = os.openpty()
        fcntl.ioctl(self._terminal, termios.TIOCSCTTY, 0)
        # Jobs change their own process group; the terminal must not stop them for writing in the background.
        threading.Thread(target=_drain, args=(master,), daemon=True).start()

    # -- processes

    def reap(self):
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._ended[pid] = status

    def spawn(self, argv, log, cwd=None, env=None, session=True, stdin=None, pass_fds=(), prepare=None):
        """Starts a program with stdin from /dev/null and its output in the file `log`; its pid."""
        pid = os.fork()
        if pid:
            self._ended.pop(pid, None)
            return pid
        try:
            if session:
                os.setsid()
            null = stdin if stdin is not None else os.open('/dev/null', os.O_RDONLY)
            out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            if self._terminal is not None:
                null = out = self._terminal
            os.dup2(null, 0)
            os.dup2(out, 1)
            os.dup2(out, 2)
            for name in os.listdir('/proc/self/fd'):
                fd = int(name)
                if fd > 2 and fd not in pass_fds:
                    try:
                        os.close(fd)
                    except OSError:
                        pass
            for fd in pass_fds:
                os.set_inheritable(fd, True)
            # Python ignores the first two, nohup and a shell that starts a background job the others; a user's program starts with the defaults.
            for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
                signal.signal(number, signal.SIG_DFL)
            os.chdir(cwd or self.dir)
            if prepare:
                prepare()
            os.execvpe(argv[0], argv, env or _environment())
        except BaseException as e:
            os.write(2, f'FAIL: cannot start {argv}: {e}\n'.encode())
        finally:
            os._exit(127)

    def forget_the_dead(self):
        """The pids of what was killed by a dump are about to live again."""
        self.reap()
        self._ended.clear()

    def ended(self, pid):
        """Wait status of an ended process, None while it runs."""
        self.reap()
        return self._ended.get(pid)

    def wait(self, pid, what=None):
        while self.ended(pid) is None:
            self.pause(what or f'the end of process {pid}')
        return self._ended[pid]

    def alive(self, pid):
        self.reap()
        return os.path.exists(f'/proc/{pid}')

    def others(self):
        """{pid: name} of all processes in the box besides this one."""
        self.reap()
        found = {}
        for name in os.listdir('/proc'):
            if name.isdigit() and name != '1':
                try:
                    with open(f'/proc/{name}/cmdline', 'rb') as f:
                        words = f.read().replace(b'\0', b' ').decode(errors='replace').strip()
                    with open(f'/proc/{name}/comm', 'rb') as f:
                        found[int(name)] = words or '[' + f.read().decode(errors='replace').strip() + ']'
                except (FileNotFoundError, ProcessLookupError):
                    pass
        return found

    def expect_empty(self, when, seconds=5.0):
        """Nothing may be left: no process of the program, no pager, no helper."""
        end = time.monotonic() + seconds
        while True:
            left = self.others()
            if not left:
                return
            if time.monotonic() > end:
                raise Failed(f'{when}: left behind: ' + '; '.join(f'{pid} {name}' for pid, name in sorted(left.items())[:8]))
            time.sleep(0.005)

    # -- the product

    def faultline(self, verb, *args, images=None, prepare=None, pass_fds=(), wait=True):
        """Runs a verb. (exit status, path of its log, which also holds what it printed) or, without waiting, (pid, log)."""
        if verb == 'restore':
            self.forget_the_dead()
        self._commands += 1
        log = os.path.join(self.logs, f'{self._commands:02}-{verb}.log')
        argv = [self.binary, verb, '-D', images or self.images, '-W', self.logs, '-o', log, '-v4', *args]
        with open(self.path('commands.txt'), 'a', encoding='utf-8') as f:
            f.write(' '.join(argv) + '\n')
        pid = self.spawn(argv, log + '.out', cwd=self.logs, session=False, prepare=prepare, pass_fds=pass_fds)
        if not wait:
            return pid, log
        status = self.wait(pid, f'faultline {verb}')
        return (os.waitstatus_to_exitcode(status), log)

    def dump(self, pid, *args, **more):
        os.makedirs(more.get('images') or self.images, exist_ok=True)
        return self.faultline('dump', '-t', str(pid), *self.options, *args, **more)

    def restore(self, *args, **more):
        return self.faultline('restore', '-d', *self.options, *args, **more)

    def page_server(self, *args, images=None, prepare=None):
        """Starts a page server, on loopback if `args` say nothing else, and waits until it listens: (pid, port)."""
        port_file = os.path.join(self.logs, f'{self._commands:02}.port')
        pid, log = self.faultline('page-server', '--portfile', port_file, *args, images=images, prepare=prepare, wait=False)
        self.until(lambda: os.path.exists(port_file) or self.ended(pid) is not None, 'a page server to listen')
        if self.ended(pid) is not None:
            raise Failed(f'the page server ended with {describe(self.ended(pid))}: {self.first_error(log)}')
        with open(port_file, encoding='ascii') as f:
            return pid, int(f.read())

    def end(self, pid, what, how=signal.SIGTERM):
        """Ends a process of the box."""
        os.kill(pid, how)
        return self.wait(pid, what)

    def must(self, what, outcome):
        status, log = outcome
        if status != 0:
            raise Failed(f'{what} ended with {status}: {self.first_error(log)}')

    def first_error(self, log):
        """The first line that tells of an error, in a log and in what was printed beside it."""
        lines = self.all_lines(log)
        for line in lines:
            if 'error' in line.lower():
                return line.strip()[:400]
        return lines[-1].strip()[:400] if lines else 'no message at all'

    def all_lines(self, log):
        lines = []
        for path in (log, log + '.out'):
            if os.path.exists(path):
                with open(path, encoding='utf-8', errors='replace') as f:
                    lines += f.read().splitlines()
        return lines


def _drain(master):
    try:
        while os.read(master, 4096):
            pass
    except OSError:
        pass


def _own_terminals():
    """Pseudo terminals of the box alone: their numbers are part of what is restored, and other boxes must not take them."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b'devpts', b'/dev/pts', b'devpts', 0, b'newinstance,mode=600,ptmxmode=666') != 0:
        raise OSError(ctypes.get_errno(), 'mounting a devpts of its own for the box')


def _bring_up_loopback():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        request = struct.pack('16sh14x', b'lo', 0)
        flags = struct.unpack('16sh14x', fcntl.ioctl(s, 0x8913, request))[1]  # SIOCGIFFLAGS
        fcntl.ioctl(s, 0x8914, struct.pack('16sh14x', b'lo', flags | 1))      # SIOCSIFFLAGS, IFF_UP
