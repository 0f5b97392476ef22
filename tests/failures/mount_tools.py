# about: a mounted checkpoint through find, grep, strings, tar, cp, diff, jq and python: all of it is what the program itself told before it was dumped
# modes: check
# timeout: 90
import hashlib
import json
import os
import re
import subprocess

from box import Failed
from mounts import Mounted, ready_to_mount, subject

TREE = ['areas', 'core', 'mem', 'threads', 'fd', 'fdinfo', 'cmdline', 'comm', 'environ', 'status', 'stat', 'limits', 'maps', 'smaps', 'auxv', 'cgroup',
        'exe', 'cwd', 'root', 'pagemap.json', 'signals', 'timers']
ROOT = ['summary.txt', 'summary.json', 'tasks', 'tree', 'files', 'sockets', 'pipes', 'shm', 'ns', 'images', 'raw']


def check(box):
    ready_to_mount()
    facts = subject(box)
    with Mounted(box) as mounted:
        task = mounted.path('tasks', str(facts['pid']))
        names(mounted, task, facts)
        attributes(box, mounted, task)
        memory(task, facts)
        searched(mounted, task, facts)
        copied(box, mounted, task, facts)
        images(box, mounted, facts)
        nobody_writes(task)


def tool(*words, status=(0,), cwd=None, says=()):
    """What a program prints; it must end with one of `status`, and may complain only in lines that match `says`."""
    done = subprocess.run(words, capture_output=True, check=False, cwd=cwd, stdin=subprocess.DEVNULL)
    complaints = [line for line in done.stderr.decode(errors='replace').splitlines() if not any(re.search(pattern, line) for pattern in says)]
    if done.returncode not in status or complaints:
        raise Failed(f'{" ".join(words)}: exit status {done.returncode}, {complaints[:3]}')
    return done.stdout


def equal(what, got, wanted):
    if got != wanted:
        raise Failed(f'{what}: {str(got)[:300]!r}, but it should be {str(wanted)[:300]!r}')


def sha(path):
    with open(path, 'rb') as f:
        return hashlib.sha256(f.read()).hexdigest()


def area_of(task, address):
    for name in os.listdir(os.path.join(task, 'areas')):
        start, end = (int(number, 16) for number in name.split('.')[0].split('-'))
        if start <= address < end:
            return os.path.join(task, 'areas', name), start
    raise Failed(f'no file in areas/ holds the address {address:#x}')


def names(mounted, task, facts):
    missing = set(ROOT) - set(os.listdir(mounted.where)) | set(TREE) - set(os.listdir(task))
    equal('names that are missing', missing, set())
    found = tool('find', mounted.where, '-type', 'f').decode().splitlines()
    if len(found) != len(set(found)) or len(found) < 100:
        raise Failed(f'find found {len(found)} files')
    equal('fd/', os.readlink(os.path.join(task, 'fd', str(facts['file_fd']))), facts['file'])
    equal('cwd', os.readlink(os.path.join(task, 'cwd')), facts['cwd'])
    equal('exe', os.readlink(os.path.join(task, 'exe')), facts['exe'])
    equal('processes', sorted(map(int, os.listdir(mounted.path('tasks')))), sorted([facts['pid'], facts['child']]))
    equal('the tree', os.path.realpath(mounted.path('tree', str(facts['pid']), str(facts['child']), 'task')), mounted.path('tasks', str(facts['child'])))
    for name in ('cmdline', 'environ', 'comm'):
        with open(os.path.join(task, name), 'rb') as f:
            equal(name, f.read(), bytes.fromhex(facts[name]))
    pipes = [open(mounted.path('pipes', name), 'rb').read() for name in os.listdir(mounted.path('pipes'))]
    equal('what is in the pipe', facts['in_pipe'].encode() in pipes, True)


def attributes(box, mounted, task):
    """Times, owners and sizes of everything; sparse files take no room."""
    inventory = os.stat(os.path.join(box.images, 'inventory.img'))
    for folder, folders, files in os.walk(mounted.where):
        for name in folders + files:
            path = os.path.join(folder, name)
            st = os.lstat(path)
            if st.st_uid != os.getuid() or st.st_mode & 0o222 and not os.path.islink(path) or st.st_mtime_ns != inventory.st_mtime_ns:
                raise Failed(f'{path}: owner {st.st_uid}, mode {st.st_mode:o}, time {st.st_mtime_ns}')
            if name in files and not os.path.islink(path) and name != 'mem':
                with open(path, 'rb') as f:
                    equal(f'the size of {path}', st.st_size, len(f.read()))
    mem = os.stat(os.path.join(task, 'mem'))
    if mem.st_size < 1 << 47 or not 0 < mem.st_blocks * 512 < 1 << 32:
        raise Failed(f'mem: size {mem.st_size}, {mem.st_blocks} blocks')


def memory(task, facts):
    """Known addresses through mem and areas."""
    with open(os.path.join(task, 'mem'), 'rb', buffering=0) as f:
        for address, text in facts['texts'].items():
            equal(f'mem at {address}', os.pread(f.fileno(), len(text) // 2, int(address)), bytes.fromhex(text))
        try:
            os.pread(f.fileno(), 1, 4096)
            raise Failed('mem can be read where there is no memory')
        except OSError as e:
            equal('the errno of a hole', e.errno, 5)
        start, length = facts['area'], facts['length']
        # Up to the end of an area: what follows must not make it fail, nor be made up.
        equal('where data begins', f.seek(start, os.SEEK_DATA), start)
        hole = f.seek(start, os.SEEK_HOLE)
        equal('where the first hole is', hole, facts['hole'])
        equal('all of an area through mem', hashlib.sha256(whole(f, start, length)).hexdigest(), facts['sha'])
    path, area = area_of(task, start)
    with open(path, 'rb') as f:
        f.seek(start - area)
        equal('an area', hashlib.sha256(f.read(length)).hexdigest(), facts['sha'])


def whole(f, at, length):
    data = b''
    while len(data) < length:
        data += os.pread(f.fileno(), length - len(data), at + len(data))
    return data


def searched(mounted, task, facts):
    area, start = area_of(task, facts['area'])
    found = tool('grep', '-rlF', facts['needle'], mounted.path('tasks'), status=(2,), says=[r'/mem: Input/output error$']).decode().splitlines()
    for path in (area, os.path.join(task, 'cmdline')):
        if path not in found:
            raise Failed(f'grep -r did not find the needle in {path}, but in {found[:6]}')
    core = os.path.join(task, 'core')
    if core in found:
        raise Failed('grep -r goes through the memory twice: in areas/ and in the core')
    tool('grep', '-qF', facts['needle'], core)
    offset = tool('grep', '-obaF', facts['secret'], area).split(b':')[0]
    equal('the offset that grep tells', int(offset), facts['secret_at'] - start)
    if facts['secret'] not in tool('strings', '-n', '12', area).decode().splitlines():
        raise Failed('strings does not find the secret in the area')


def copied(box, mounted, task, facts):
    """tar and cp take sizes, contents and holes along."""
    to = box.path('copies')
    os.mkdir(to)
    area, _ = area_of(task, facts['area'])
    tool('sh', '-c', f'tar -C "{task}" -cf - areas cmdline status fd | tar -C "{to}" -xf -')
    equal('an area through tar', sha(os.path.join(to, 'areas', os.path.basename(area))), sha(area))
    equal('a link through tar', os.readlink(os.path.join(to, 'fd', str(facts['file_fd']))), facts['file'])
    for name in ('core', os.path.join('areas', os.path.basename(area))):
        copy = os.path.join(to, os.path.basename(name) + '.copy')
        tool('cp', '--sparse=always', os.path.join(task, name), copy)
        tool('cmp', os.path.join(task, name), copy)
        if os.stat(copy).st_blocks > os.stat(os.path.join(task, name)).st_blocks + 64:
            raise Failed(f'cp --sparse=always: {name} takes {os.stat(copy).st_blocks} blocks')
    # All of user space, but only what is there of it.
    archive = int(tool('sh', '-c', f'tar -C "{task}" --sparse -cf - mem | wc -c', says=['Input/output error', 'padding with zeros', 'Exiting with failure']))
    if archive > os.stat(os.path.join(task, 'mem')).st_blocks * 512 + (4 << 20):
        raise Failed(f'tar --sparse of mem is {archive} bytes long')
    tool('diff', '-r', box.images, mounted.path('raw'))


def images(box, mounted, facts):
    for name in sorted(os.listdir(mounted.path('images'))):
        tool('jq', '-e', '.magic', mounted.path('images', name))
    core = f'core-{facts["pid"]}'
    equal('a decoded image', open(mounted.path('images', core + '.json'), 'rb').read(), tool(box.binary, 'decode', os.path.join(box.images, core + '.img')))
    with open(mounted.path('summary.json'), encoding='utf-8') as f:
        json.load(f)


def nobody_writes(task):
    for attempt in (lambda: open(os.path.join(task, 'cmdline'), 'r+b'), lambda: os.unlink(os.path.join(task, 'cmdline')), lambda: os.mkdir(os.path.join(task, 'x'))):
        try:
            attempt()
        except OSError as e:
            if e.errno == 30:  # EROFS
                continue
            raise Failed(f'writing fails with {e}') from e
        raise Failed('the mount can be written to')
