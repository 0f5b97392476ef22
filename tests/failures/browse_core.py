# about: gdb, eu-stack, eu-readelf and readelf find the threads, stacks, values and files of a dumped program in the core of its mounted checkpoint
# modes: check
# timeout: 120
import json
import os
import re
import shutil
import subprocess

from box import Failed, Skipped
from drive import Run, compile_program
from mounts import Mounted, ready_to_mount


def check(box):
    for tool in ('gdb', 'eu-stack', 'eu-readelf', 'readelf'):
        if not shutil.which(tool):
            raise Skipped(f'{tool} is not installed')
    ready_to_mount()
    plain = box.programs
    for how in ('dynamic', 'static'):
        box.programs = compile_program(box, 'browse_core.c', f'threads_{how}', '-O0', *(['-static'] if how == 'static' else []))
        run = Run(box, f'threads_{how}')
        images = run.box.path('images')
        box.must('dump', box.dump(run.pid, '-R', images=images))
        with Mounted(box, images=images) as mounted:
            examine(os.path.join(box.programs, run.name), mounted.path('tasks', str(run.pid), 'core'), run, how)
        run.unharmed('after the dump')
    box.programs = plain


def told(*words):
    done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, env=dict(os.environ, LC_ALL='C.UTF-8', DEBUGINFOD_URLS=''))
    if done.returncode != 0:
        raise Failed(f'{words[0]} ended with {done.returncode}: {(done.stderr or done.stdout)[-300:]}')
    return done.stdout


def expect(text, what, *patterns):
    """All patterns, in this order."""
    at = 0
    for pattern in patterns:
        found = re.compile(pattern, re.M).search(text, at)
        if not found:
            raise Failed(f'{what} does not tell {pattern!r} (in its place): {text[-2000:]}')
        at = found.end()


def examine(program, core, run, how):
    with open(run.box.path('facts'), encoding='utf-8') as f:
        facts = json.load(f)
    gdb(program, core, run, facts)
    expect(told('eu-stack', '--core=' + core, '--executable=' + program), 'eu-stack', rf'^TID {run.pid}:', r' wait_for_go', r' depth_two', r' depth_one', r' main$',
           *(pattern for tid in facts['tids'] for pattern in (rf'^TID {tid}:', r' inner', r' worker')))
    notes = told('eu-readelf', '-n', core)
    expect(notes, 'eu-readelf -n', rf'pid: {run.pid},', *(rf'pid: {tid},' for tid in facts['tids']))
    expect(notes, 'eu-readelf -n', r'^  CORE .* FILE', re.escape(program) + '$')
    expect(notes, 'eu-readelf -n', r'PRPSINFO', rf'fname: threads_{how[:4]}', r'ENTRY: 0x')
    headers = told('readelf', '-lW', core)
    areas = len(re.findall(r'^  LOAD ', headers, re.M))
    if areas < 10 or 'CORE (Core file)' not in headers:
        raise Failed(f'readelf -l: {headers[:1000]}')
    # It finds the files by the build ids in their first pages.
    expect(told('eu-unstrip', '-n', '--core=' + core), 'eu-unstrip', re.escape(program))


def gdb(program, core, run, facts):
    def ask(*commands):
        words = ['gdb', '-nx', '-batch', '-iex', 'set debuginfod enabled off', '-iex', 'set auto-load safe-path /']
        for command in commands:
            words += ['-ex', command]
        return told(*words, program, core)
    text = ask('info threads', 'bt', 'print known_global', 'print known_data')
    expect(text, 'gdb', *(rf'LWP {tid}\b' for tid in [run.pid] + facts['tids']), r'#\d+ .*wait_for_go', r'#\d+ .*depth_two \(there=', r'#\d+ .*depth_one \(there=',
           r'#\d+ .*main \(argc=2', rf'^\$1 = {facts["global"]}$', r'^\$2 = \{11, 22, 33, 44\}$')
    number = {int(tid): number for number, tid in re.findall(r'^\*? +(\d+) .*LWP (\d+)\b', text, re.M)}
    for i, tid in enumerate(facts['tids'], 1):
        text = ask(f'thread {number[tid]}', 'bt', 'frame function inner', 'print number', 'print *secret')
        expect(text, f'gdb in thread {tid}', r'#\d+ .*\binner \(', r'#\d+ .*\bworker \(', rf'^\$1 = {i}$', rf'^\$2 = {i * 1000 + 7}$')
    text = ask('info proc mappings', f'x/dw {facts["at"]}', 'info auxv')
    expect(text, 'gdb', re.escape(program), rf':\s+{facts["global"]}$', r'AT_ENTRY')
