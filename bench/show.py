#!/usr/bin/env python3
"""How long `faultline show` takes for large checkpoints, and how much memory; with the limit of the machine, a plain read of the same images.

usage: bench/show.py [--build DIR] [--rounds N] [--quick] [--json FILE]
"""
import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# (what, program of bench/ with its arguments, the same with --quick)
SUBJECTS = (
    ('1,000 tasks, 10,000 areas of their own', ('many_areas', '10000', '1000'), ('many_areas', '1000', '50')),
    ('2 tasks, 100,000 areas', ('many_areas', '100000', '2'), ('many_areas', '5000', '2')),
    ('4 GiB in one area', ('resident', '4096'), ('resident', '64')),
)


def parse():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--build', default=os.path.join(ROOT, 'build'), help='build directory')
    p.add_argument('--rounds', type=int, default=7)
    p.add_argument('--quick', action='store_true', help='small sizes and 3 rounds, to see that it works')
    p.add_argument('--json', help='write all figures there')
    return p.parse_args()


def checkpoint(binary, words, folder):
    """Dumps such a program into a fresh directory."""
    images, ready = os.path.join(folder, 'images'), os.path.join(folder, 'ready')
    shutil.rmtree(images, ignore_errors=True)
    os.mkdir(images)
    if os.path.exists(ready):
        os.unlink(ready)
    null = {'stdin': subprocess.DEVNULL, 'stdout': subprocess.DEVNULL, 'stderr': subprocess.DEVNULL}
    program = subprocess.Popen([*words, ready], start_new_session=True, cwd='/', **null)
    try:
        while not os.path.exists(ready):
            if program.poll() is not None:
                sys.exit(f'{words[0]} ended with {program.returncode}; is vm.max_map_count over 65530?')
            time.sleep(0.01)
        done = subprocess.run([binary, 'dump', '-D', images, '-o', 'dump.log', '--no-sync', '-t', str(program.pid)], **null)
        if done.returncode != 0:
            with open(os.path.join(images, 'dump.log'), encoding='utf-8') as f:
                sys.exit(f'the dump of {words} failed: {f.read()[-500:]}')
    finally:
        try:
            os.killpg(program.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        program.wait()
    return images


def once(words):
    """(milliseconds, mebibytes resident at most) of a command."""
    begin = time.perf_counter()
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    took = (time.perf_counter() - begin) * 1000
    if status != 0:
        sys.exit(f'{words}: {said.decode()}')
    return took, usage.ru_maxrss / 1024


def main():
    options = parse()
    rounds = 3 if options.quick else options.rounds
    binary = os.path.join(options.build, 'core', 'cli', 'faultline')
    figures = {}

    def tell(what, values, unit):
        figures[what] = {'unit': unit, 'values': values}
        print(f'{what}: {statistics.median(values):.1f} {unit} ({min(values):.1f} – {max(values):.1f})', flush=True)

    with tempfile.TemporaryDirectory(prefix='faultline-bench.') as folder:
        for what, full, quick in SUBJECTS:
            program, *arguments = quick if options.quick else full
            images = checkpoint(binary, [os.path.join(options.build, 'bench', program), *arguments], folder)
            read = [os.path.join(images, name) for name in os.listdir(images) if not name.startswith('pages-')]
            runs = {'show': [binary, 'show', images], 'show --json': [binary, 'show', images, '--json'], 'limit: cat of the same images': ['cat', *read]}
            for command in runs.values():
                once(command)
            taken = {name: [] for name in runs}
            for _ in range(rounds):
                for name, command in runs.items():
                    taken[name].append(once(command))
            for name, values in taken.items():
                tell(f'{what}: {name}', [value[0] for value in values], 'ms')
                if name == 'show':
                    tell(f'{what}: memory of show', [value[1] for value in values], 'MiB')
    if options.json:
        with open(options.json, 'w', encoding='utf-8') as f:
            json.dump(figures, f, indent=1)


main()
