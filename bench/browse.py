#!/usr/bin/env python3
"""How fast a mounted checkpoint is, beside the limits of the machine from the same run.

usage: bench/browse.py [--build DIR] [--rounds N] [--quick] [--only REGEX]

Needs root. Prints the median of the rounds after one that warms up, with the range in brackets.
"""
import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

EXAMPLE = '/usr/share/doc/libfuse3-dev/examples/passthrough_ll.c'
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Failed(Exception):
    pass


def run(*words):
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failed(f'{" ".join(words)}: {done.stderr.strip()[-300:]}')
    return done.stdout


class Checkpoint:
    """A program of ours, dumped: `words` start it, and get the name of a file that appears when it is ready."""

    def __init__(self, bench, name, *words):
        self.images = os.path.join(bench.folder, name)
        os.mkdir(self.images)
        ready = os.path.join(bench.folder, name + '.ready')
        program = subprocess.Popen([*words, ready], start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd='/')
        self.pid = program.pid
        while not os.path.exists(ready):
            if program.poll() is not None:
                raise Failed(f'{words[0]} ended')
            time.sleep(0.002)
        run(bench.binary, 'dump', '-t', str(self.pid), '-D', self.images, '--no-sync')
        program.wait()


class Mount:
    def __init__(self, bench, checkpoint):
        self.bench, self.checkpoint, self.where = bench, checkpoint, os.path.join(bench.folder, 'mount')
        os.makedirs(self.where, exist_ok=True)
        self.pid_file = os.path.join(bench.folder, 'mount.pid')

    def __enter__(self):
        begin = time.monotonic()
        run(self.bench.binary, 'mount', self.checkpoint.images, self.where, '--pidfile', self.pid_file)
        os.listdir(os.path.join(self.where, 'tasks'))
        self.seconds = time.monotonic() - begin
        with open(self.pid_file, encoding='ascii') as f:
            self.server = int(f.read())
        os.unlink(self.pid_file)
        return self

    def __exit__(self, *_):
        run(self.bench.binary, 'umount', self.where)
        while os.path.exists(f'/proc/{self.server}'):
            time.sleep(0.002)

    def path(self, *names):
        return os.path.join(self.where, 'tasks', str(self.checkpoint.pid), *names)

    def largest(self):
        areas = self.path('areas')
        return os.path.join(areas, max(os.listdir(areas), key=lambda name: os.stat(os.path.join(areas, name)).st_size))

    def memory(self):
        with open(f'/proc/{self.server}/status', encoding='ascii') as f:
            return int(re.search(r'VmHWM:\s+(\d+)', f.read()).group(1)) / 1024


class PassThrough:
    """A folder through libfuse's own example, built from the source that Debian's libfuse3-dev brings; read anew at each open(2)."""

    def __init__(self, folder, source):
        self.source, self.where, self.program = source, os.path.join(folder, 'passthrough'), os.path.join(folder, 'passthrough_ll')
        os.mkdir(self.where)
        run('sh', '-c', f'gcc -O2 -w {EXAMPLE} $(pkg-config --cflags --libs fuse3) -o {self.program}')

    def __enter__(self):
        self.server = subprocess.Popen([self.program, '-f', '-o', f'source={self.source}', self.where], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not os.path.ismount(self.where):
            if self.server.poll() is not None:
                raise Failed('passthrough_ll ended')
            time.sleep(0.002)
        return self

    def __exit__(self, *_):
        run('umount', self.where)
        self.server.wait()


class Bench:
    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        self.binary = os.path.join(options.build, 'core', 'cli', 'faultline')
        self.tool = lambda name: os.path.join(options.build, 'bench', name)
        self.mib = 256 if options.quick else 1024

    def wanted(self, *names):
        return any(re.search(self.options.only, name) for name in names)

    def say(self, what, unit, measure, digits=2):
        if not self.wanted(what):
            return
        measure()
        values = [measure() for _ in range(self.options.rounds)]
        print(f'{what:64} {statistics.median(values):.{digits}f} {unit} ({min(values):.{digits}f} – {max(values):.{digits}f})', flush=True)

    def seconds(self, *words, status=(0,)):
        begin = time.monotonic()
        done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        if done.returncode not in status:
            raise Failed(f'{" ".join(words)}: exit status {done.returncode}')
        return time.monotonic() - begin

    def rate(self, path):
        """GB/s of reading a file with cat's calls."""
        return os.stat(path).st_size / self.seconds('dd', f'if={path}', 'of=/dev/null', 'bs=128K') / 1e9

    def random(self, path, offset, length, readers):
        return float(run(self.tool('random_reads'), path, str(offset), str(length), str(readers), '1000')) / 1000

    def fresh(self, measure):
        """With a mount of its own: the kernel has none of its pages yet."""
        with Mount(self, self.big) as mount:
            return measure(mount)

    def many(self):
        tasks = 100 if self.options.quick else 1000
        tree = Checkpoint(self, 'many', self.tool('many_areas'), str(10 * tasks), str(tasks))

        def mounted():
            with Mount(self, tree) as mount:
                return mount.seconds * 1000
        self.say(f'mount of {tasks} processes with 10 areas of their own each, until tasks/ is listed', 'ms', mounted, 1)

        def listed():
            with Mount(self, tree) as mount:
                return self.seconds('find', os.path.join(mount.where, 'tasks'), '-path', '*/areas/*', '-size', '+0')
        self.say('... find over all areas, by size', 's', listed)

    def large(self):
        self.big = Checkpoint(self, 'big', self.tool('resident'), str(self.mib))
        pages = os.path.join(self.big.images, 'pages-1.img')
        length = self.mib << 20
        self.say(f'limit: cat of the pages file, {self.mib} MiB', 'GB/s', lambda: self.rate(pages))
        self.passed_through(length)
        self.say('cat of the area, a fresh mount', 'GB/s', lambda: self.fresh(lambda mount: self.rate(mount.largest())))

        def again(mount):
            self.rate(mount.largest())
            return self.rate(mount.largest())
        self.say('cat of the area, for the second time', 'GB/s', lambda: self.fresh(again))

        def through_mem(readers):
            return self.fresh(lambda mount: self.random(mount.path('mem'), int(os.path.basename(mount.largest()).split('-')[0], 16), length, readers))
        for readers in (1, 4):
            self.say(f'limit: random reads of 4 KiB in the pages file, {readers} readers', '1000/s', lambda: self.random(pages, 0, length, readers), 1)
            self.say(f'random reads of 4 KiB through mem, {readers} readers', '1000/s', lambda: through_mem(readers), 1)
        self.say('limit: grep over the pages file', 's', lambda: self.seconds('grep', '-c', 'no such text', pages, status=(1,)))
        self.say('grep -r over tasks/', 's', lambda: self.fresh(lambda mount: self.seconds('grep', '-rc', 'no such text', os.path.join(mount.where, 'tasks'), status=(2,))))

        def memory(mount):
            self.seconds('grep', '-rc', 'no such text', os.path.join(mount.where, 'tasks'), status=(2,))
            return mount.memory()
        self.say('most memory of the server after that', 'MiB', lambda: self.fresh(memory), 1)

    def passed_through(self, length):
        if not os.path.exists(EXAMPLE):
            print(f'there is no {EXAMPLE} (Debian: libfuse3-dev): libfuse is not measured', flush=True)
            return
        with PassThrough(self.folder, self.big.images) as example:
            pages = os.path.join(example.where, 'pages-1.img')
            self.say("limit: cat of the pages file through libfuse's passthrough_ll", 'GB/s', lambda: self.rate(pages))
            self.say('limit: random reads of 4 KiB through that, 1 reader', '1000/s', lambda: self.random(pages, 0, length, 1), 1)

    def debugged(self):
        mib = 512 if self.options.quick else 4096
        resident = self.tool('resident')
        program = Checkpoint(self, 'debugged', resident, str(mib))

        def backtrace():
            with Mount(self, program) as mount:
                return self.seconds('gdb', '-nx', '-batch', '-ex', 'bt', resident, mount.path('core'))
        self.say(f'gdb: backtrace from the core of {mib} MiB', 's', backtrace)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--build', default=os.path.join(ROOT, 'build'), help='build directory')
    p.add_argument('--rounds', type=int, default=5)
    p.add_argument('--quick', action='store_true', help='small sizes and 2 rounds, to see that it works')
    p.add_argument('--only', default='', help='only what matches this regular expression')
    options = p.parse_args()
    options.build = os.path.abspath(options.build)
    if options.quick:
        options.rounds = 2
    folder = tempfile.mkdtemp(prefix='faultline-browse.')
    try:
        bench = Bench(options, folder)
        if bench.wanted('mount of', 'find over'):
            bench.many()
        if bench.wanted('cat', 'random reads', 'grep', 'memory'):
            bench.large()
        if bench.wanted('gdb'):
            bench.debugged()
    except Failed as e:
        sys.exit(f'bench/browse.py: {e}')
    finally:
        subprocess.run(['umount', '-q', '-l', os.path.join(folder, 'mount')], check=False, stderr=subprocess.DEVNULL)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == '__main__':
    main()
