"""What the outside can see of a process tree in /proc, in a form that must be equal before a dump and after the restore.

A program checks what it tests; this checks all the rest, for every scenario: areas and their flags, descriptors, credentials, signals,
limits, ... Volatile values (times, counters, addresses of the instruction) are left out, kernel numbers that cannot be kept
(inodes of pipes, sockets and shared memory) are replaced by the order in which they appear, so that sharing still shows.
"""
import os
import re

STATUS = ('Name', 'Umask', 'Tgid', 'Pid', 'PPid', 'Uid', 'Gid', 'Groups', 'NStgid', 'NSpid', 'NSpgid', 'NSsid', 'Threads', 'SigPnd', 'ShdPnd',
          'SigBlk', 'SigIgn', 'SigCgt', 'CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb', 'NoNewPrivs', 'Seccomp', 'Seccomp_filters',
          'THP_enabled', 'CoreDumping')  # no Cpus_allowed: the image format has no place for the affinity
# Fields of /proc/PID/stat counted from the state (0): see proc_pid_stat(5), where the state is field 3.
STAT = {'ppid': 1, 'pgrp': 2, 'session': 3, 'tty_nr': 4, 'priority': 15, 'nice': 16, 'num_threads': 17, 'startcode': 23, 'endcode': 24,
        'startstack': 25, 'exit_signal': 35, 'rt_priority': 37, 'policy': 38, 'start_data': 42, 'end_data': 43, 'start_brk': 44,
        'arg_start': 45, 'arg_end': 46, 'env_start': 47, 'env_end': 48, 'exit_code': 49}
PLAIN = ('comm', 'cmdline', 'environ', 'auxv', 'limits', 'oom_score_adj', 'personality')  # no timerslack_ns, no coredump_filter: the image format has no place for them
# ac: accounting, which areas keep that were writable once, lf: locked on fault: the image format has no place for them. sd: soft-dirty; um uw ui: registered with userfaultfd, which lazy restore does by design while pages are still to come.
DROPPED_FLAGS = {'ac', 'lf', 'sd', 'um', 'uw', 'ui'}
FDINFO_DROPPED = ('mnt_id', 'ino', 'eventfd-id', 'ticks', 'it_value', 'lock', 'Pid', 'NSpid', 'size')


def _text(path):
    with open(path, 'rb') as f:
        return f.read().decode('utf-8', 'surrogateescape')


def stat_of(pid):
    fields = _text(f'/proc/{pid}/stat')
    return fields[fields.rindex(')') + 2:].split()


def tree_of(root):
    """The pids of the tree, parents first, in rising order among siblings."""
    children = {}
    for name in os.listdir('/proc'):
        if name.isdigit():
            try:
                children.setdefault(int(stat_of(name)[1]), []).append(int(name))
            except (FileNotFoundError, ProcessLookupError):
                pass
    found, todo = [], [root]
    while todo:
        pid = todo.pop(0)
        found.append(pid)
        todo += sorted(children.get(pid, []))
    return found


class _Names:
    """Numbers of one kind of kernel object → the order of their first appearance."""

    def __init__(self):
        self.known = {}

    def of(self, kind, number):
        return self.known.setdefault((kind, number), f'{kind}#{len(self.known)}')


def _joined(lines):
    """Joins anonymous areas that differ in nothing but their place. Where the border between two such areas stands is the kernel's own affair: it
    keeps one where pages were first touched through different areas that have become neighbours (anon_vma), and drops it otherwise."""
    joined = []
    for line in lines:
        span, _, rest = line.partition(' ')
        if joined and joined[-1][2] == rest and '/' not in rest and '[' not in rest and joined[-1][1] == span.partition('-')[0]:
            joined[-1][1] = span.partition('-')[2]
        else:
            joined.append([*span.split('-'), rest])
    return [f'{start}-{end} {rest}' for start, end, rest in joined]


def _maps(pid, names):
    lines = []
    for line in _text(f'/proc/{pid}/maps').splitlines():
        parts = line.split(None, 5)
        path = parts[5] if len(parts) > 5 else ''
        inode = parts[4]
        if inode != '0' and (path.endswith('(deleted)') or path.startswith('/SYSV')):
            inode = names.of('inode', parts[3] + ' ' + inode)
        lines.append(' '.join([parts[0], parts[1], parts[2], parts[3], inode, path]))
    return _joined(lines)


def _vm_flags(pid):
    flags, area = [], ''
    for line in _text(f'/proc/{pid}/smaps').splitlines():
        if line.startswith('VmFlags:'):
            flags.append(area + ' ' + ' '.join(sorted(set(line.split()[1:]) - DROPPED_FLAGS)))
        elif re.match(r'[0-9a-f]+-[0-9a-f]+ ', line):
            area = line.split()[0]
    return _joined(flags)


def _fds(pid, names):
    fds = {}
    for fd in sorted(os.listdir(f'/proc/{pid}/fd'), key=int):
        link = os.readlink(f'/proc/{pid}/fd/{fd}')
        link = re.sub(r'^(pipe|socket):\[(\d+)\]$', lambda m: names.of(m.group(1), m.group(2)), link)
        info = []
        for line in _text(f'/proc/{pid}/fdinfo/{fd}').splitlines():
            name = line.split(':', 1)[0].split(' ', 1)[0]
            if name in FDINFO_DROPPED:
                continue
            if name == 'flags':
                line = f'flags: {int(line.split()[1], 8) & ~0o100000:o}'  # O_LARGEFILE says nothing on a 64-bit kernel
            line = re.sub(r' (ino|sdev|fhandle-type|fhandle-bytes|f_handle|ignored_mask):[0-9a-f]+', '', line)  # of inotify and epoll
            info.append(' '.join(line.split()))
        fds[int(fd)] = link + ' | ' + ', '.join(sorted(info))
    return fds


def _threads(pid):
    threads = {}
    for tid in sorted(os.listdir(f'/proc/{pid}/task'), key=int):
        base = f'/proc/{pid}/task/{tid}'
        status = dict(line.split(':', 1) for line in _text(base + '/status').splitlines() if ':' in line)
        stat = _text(base + '/stat')
        fields = stat[stat.rindex(')') + 2:].split()
        kept = {key: status[key].strip() for key in ('Name', 'SigPnd', 'SigBlk', 'CapEff', 'CapPrm', 'CapInh', 'CapAmb', 'Uid', 'NoNewPrivs') if key in status}
        kept.update({key: fields[STAT[key]] for key in ('nice', 'policy', 'rt_priority')})
        threads[int(tid)] = ' '.join(f'{key}={value}' for key, value in kept.items())
    return threads


def look(root):
    """{(pid, key): value} of all that must be equal afterwards. Reading is repeated by the caller where a process is not yet settled."""
    seen, names = {}, _Names()
    for pid in tree_of(root):
        def put(key, value, pid=pid):
            seen[(pid, key)] = value
        stat = stat_of(pid)
        # Whether a task runs or sleeps in its polling loop is chance; stopped and zombie are not.
        put('state', stat[0] if stat[0] in 'TtZX' else 'alive')
        for key, index in STAT.items() if stat[0] not in 'ZX' else (('ppid', 1), ('pgrp', 2), ('session', 3), ('exit_code', 49)):
            put('stat.' + key, stat[index])
        status = dict(line.split(':', 1) for line in _text(f'/proc/{pid}/status').splitlines() if ':' in line)
        for key in STATUS if stat[0] not in 'ZX' else ('Name', 'Tgid', 'Pid', 'PPid', 'NSpid'):
            if key in status:
                put('status.' + key, status[key].strip())
        if stat[0] in 'ZX':
            continue
        for key in PLAIN:
            put(key, _text(f'/proc/{pid}/{key}'))
        put('timers', re.sub(r'pid\.\d+|tid\.\d+', 'id', _text(f'/proc/{pid}/timers')))
        for link in ('exe', 'cwd', 'root'):
            put(link, os.readlink(f'/proc/{pid}/{link}'))
        put('maps', _maps(pid, names))
        put('vmflags', _vm_flags(pid))
        put('fds', _fds(pid, names))
        put('threads', _threads(pid))
    return seen


def _differences_of(key, before, after):
    if isinstance(before, dict) and isinstance(after, dict):
        return [f'{key}[{k}]: {before.get(k, "absent")!r} became {after.get(k, "absent")!r}'
                for k in sorted(set(before) | set(after)) if before.get(k) != after.get(k)]
    if isinstance(before, list) and isinstance(after, list):
        lost = [x for x in before if x not in after]
        new = [x for x in after if x not in before]
        return [f'{key}: lost "{x}"' for x in lost] + [f'{key}: new "{x}"' for x in new] or [f'{key}: order changed']
    return [f'{key}: {before!r} became {after!r}']


def compare(before, after, ignored=()):
    """Lines that tell what differs; empty when all is equal. `ignored` holds keys ('maps', 'stat.nice', ...)."""
    lines = []
    for pid, key in before:
        if (pid, key) not in after:
            if key == 'state':
                lines.append(f'pid {pid}: is not there any more')
        elif key not in ignored and before[(pid, key)] != after[(pid, key)]:
            lines += [f'pid {pid} ' + text for text in _differences_of(key, before[(pid, key)], after[(pid, key)])]
    for pid, key in after:
        if key == 'state' and (pid, key) not in before:
            lines.append(f'pid {pid}: is new')
    return lines
