# about: show: amounts of memory, processes and origin agree with a program whose memory is known; the touches of a lazy restore, in their order
# modes: check
# timeout: 120
import json
import os
import re
import shutil
import subprocess

from box import Failed
from drive import Run

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDEN = os.path.join(HERE, '..', 'golden', 'criu-4.2-zoo', 'images')
MIB = 1 << 20


def check(box):
    golden(box)
    refusals(box)
    plain, box.programs = box.programs, compile_program(box)
    run = Run(box, 'show')
    box.programs = plain
    with open(run.box.path('facts'), encoding='utf-8') as f:
        facts = json.load(f)
    looks = {pid: look(pid) for pid in (run.pid, facts['child'])}
    images = run.box.path('images')
    box.must('dump', box.dump(run.pid, '--ghost-limit', '2M', images=images))
    box.expect_empty('after the dump')
    told = amounts(box, run, facts, looks, images)
    from_server(box, images, told)
    damaged(box, images)
    if 'nothing is recorded' not in show(box, images, '--heat', status=1):
        raise Failed('show --heat without a recording does not say so')
    box.must('restore', box.restore('--lazy-pages', '--prefetch', 'none', images=images))
    run.unharmed('restored', compare=False)
    box.expect_empty('after the program')
    heat(box, run, facts, images)


def compile_program(box):
    folder = box.path('bin')
    os.mkdir(folder)
    os.chmod(folder, 0o755)
    subprocess.run(['cc', '-g', '-O1', '-I', os.path.join(HERE, '..', 'programs'), '-o', os.path.join(folder, 'show'), os.path.join(HERE, 'show.c'), '-pthread'],
                   check=True, stdin=subprocess.DEVNULL)
    return folder


def look(pid):
    with open(f'/proc/{pid}/maps', encoding='utf-8') as f:
        areas = sum('[vsyscall]' not in line for line in f)  # every process has that one, and it is not dumped
    return {'areas': areas, 'threads': len(os.listdir(f'/proc/{pid}/task')), 'fds': len(os.listdir(f'/proc/{pid}/fd'))}


def show(box, *words, status=0):
    """What it prints; what it says on standard error where it fails."""
    done = subprocess.run([box.binary, 'show', *words], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60,
                          env=dict(os.environ, LC_ALL='C.UTF-8', HOME='/nonexistent'))
    if done.returncode != status:
        raise Failed(f'show {" ".join(words)} ended with {done.returncode}: {(done.stderr or done.stdout)[-300:]}')
    return done.stdout if status == 0 else done.stderr


def equal(what, is_so, should_be):
    if is_so != should_be:
        raise Failed(f'{what} is {is_so}, and should be {should_be}')


def consistent(told):
    """Every byte is of one kind, and the whole is the sum of its parts."""
    for thing in [told, *told['tasks'], *told['largest_areas']]:
        memory = dict(thing['memory'])
        equal('the sum of the kinds of memory', sum(memory.values()) - memory['size'], memory['size'])
    for key in told['memory']:
        equal(f'the sum of {key} over all processes', sum(task['memory'][key] for task in told['tasks']), told['memory'][key])
    equal('the number of areas', sum(task['areas'] for task in told['tasks']), told['areas'])
    equal('the number of threads', sum(task['threads'] for task in told['tasks']), told['threads'])
    equal('the number of processes', len(told['tasks']), told['processes'])


def golden(box):
    told = json.loads(show(box, GOLDEN, '--json'))
    consistent(told)
    equal('processes, zombies, threads', [told['processes'], told['zombies'], told['threads']], [3, 1, 6])
    equal('the tree', [(task['pid'], task['ppid'], task['comm'], task['state']) for task in told['tasks']],
          [(1736, 0, 'zoo', 'S'), (1741, 1736, 'zoo', 'Z'), (1742, 1736, 'zoo', 'S')])
    equal('private memory that is stored', told['memory']['stored'], 136 * 4096)  # what CRIU itself counted: stats-dump.json
    equal('shared objects and their stored bytes', told['shared_objects'], {'count': 2, 'bytes': 8192})
    equal('complete, damaged, lost', [told['complete'], told['damaged'], told['memory']['lost']], [True, False, 0])
    text = show(box, GOLDEN)
    for part in ('3 processes (1 zombie), 6 threads', 'by           CRIU', 'private, stored', 'Largest areas', '1742  └ zoo'):
        if part not in text:
            raise Failed(f'show of the golden checkpoint does not tell {part!r}:\n{text}')


def refusals(box):
    empty = box.path('empty')
    os.mkdir(empty)
    for words, said in (([empty], 'not a checkpoint'), ([box.path('absent')], 'absent'), ([os.path.join(GOLDEN, 'files.img')], 'files.img'),
                        ([], 'faultline show DIR'), ([GOLDEN, GOLDEN], 'one word too many'), (['faultline://nowhere'], 'HOST:PORT')):
        if said not in (text := show(box, *words, status=1)):
            raise Failed(f'show {words} does not mention {said!r}: {text}')


def amounts(box, run, facts, looks, images):
    told = json.loads(show(box, images, '--json'))
    consistent(told)
    tasks = {task['pid']: task for task in told['tasks']}
    for pid, seen in looks.items():
        equal(f'what is told of {pid}', {key: tasks[pid][key] for key in seen}, seen)
    areas = {int(area['start'], 16): area for area in told['largest_areas']}
    own = areas[facts['private']]['memory']
    equal('the private area', [own['size'], own['stored'], own['zero']], [32 * MIB, 16 * MIB, 16 * MIB])
    own = areas[facts['shared']]['memory']
    equal('the shared area', [own['size'], own['shared'], own['zero']], [4 * MIB, MIB, 3 * MIB])
    equal('the shared object', told['shared_objects'], {'count': 1, 'bytes': MIB})
    for pid, least in ((run.pid, 16), (facts['child'], 24)):
        memory = tasks[pid]['memory']
        if not least * MIB <= memory['stored'] <= (least + 2) * MIB or memory['reserved'] < 64 * MIB or memory['lost'] or memory['in_parents'] or memory['remote']:
            raise Failed(f'the memory of {pid} is told as {memory}')
    machine = os.uname()
    equal('the origin', [told['host'], told['kernel'], told['machine'], told['tool'].split()[0]], [machine.nodename, machine.release, machine.machine, 'faultline'])
    if '--ghost-limit=2097152' not in told['options']:
        raise Failed(f'the options of the dump are told as {told["options"]}')
    text = show(box, images)
    for part in (rf'^ *{run.pid}  show +S +2 ', rf'^ *{facts["child"]}  └ show +S +1 ', f'{facts["private"]:x}-', r'only reserved'):
        if not re.search(part, text, re.M):
            raise Failed(f'show does not tell {part!r}:\n{text}')
    return told


def from_server(box, images, told):
    server, port = box.page_server('--lazy-pages', images=images)
    remote = json.loads(show(box, f'faultline://127.0.0.1:{port}', '--json'))
    box.end(server, 'the page server')
    for key in ('processes', 'threads', 'areas', 'memory', 'shared_objects', 'host', 'tool', 'time', 'damaged'):
        equal(f'{key} from a page server', remote[key], told[key])


def damaged(box, images):
    copy = box.path('damaged')
    shutil.copytree(images, copy, symlinks=True)
    os.unlink(os.path.join(copy, 'inventory.img'))
    told = json.loads(show(box, copy, '--json'))
    equal('complete, damaged', [told['complete'], told['damaged']], [False, True])
    consistent(told)
    pages = max((name for name in os.listdir(copy) if name.startswith('pages-')), key=lambda name: os.path.getsize(os.path.join(copy, name)))
    os.truncate(os.path.join(copy, pages), MIB)
    told = json.loads(show(box, copy, '--json'))
    consistent(told)
    if told['memory']['lost'] < 10 * MIB:
        raise Failed(f'{pages} was cut, and {told["memory"]["lost"]} bytes are told to be lost')
    os.unlink(os.path.join(copy, 'mm-%d.img' % told['tasks'][0]['pid']))
    text = show(box, copy)
    for part in ('NOT COMPLETE', 'DAMAGED', '\nDamage\n', 'are lost', f'process {told["tasks"][0]["pid"]}: '):
        if part not in text:
            raise Failed(f'show of a damaged checkpoint does not tell {part!r}:\n{text}')


def heat(box, run, facts, images):
    told = json.loads(show(box, images, '--heat', '--json'))
    of_root = next(process for process in told if process['pid'] == run.pid)
    start, end = facts['private'], facts['private'] + 16 * MIB
    touched = [address for address in of_root['addresses'] if start <= address < end]
    order = {address: i for i, address in enumerate(facts['touches'])}
    # Pages beside one that was touched come with it, so that not every touch is asked for; but each that is, in this order.
    if len(touched) < 50 or touched[0] != facts['touches'][0] or any(address not in order for address in touched):
        raise Failed(f'the program touched {facts["touches"][:5]}..., recorded are {len(touched)}: {touched[:5]}...')
    equal('the order of touches', touched, sorted(touched, key=order.get))
    area = next(area for area in of_root['areas'] if int(area['start'], 16) == start)
    equal('touched and stored pages of the area', [area['touched'], area['pages']], [len(touched), 16 * MIB // 4096])
    equal('the positions', [p - area['first'] for a, p in zip(of_root['addresses'], of_root['positions']) if start <= a < end], [(a - start) // 4096 for a in touched])
    text = show(box, images, '--heat')
    for part in (f'Process {run.pid} (show): {len(of_root["addresses"])} of {of_root["stored_pages"]} stored pages', '│', 'density', f'{start:x}-'):
        if part not in text:
            raise Failed(f'show --heat does not tell {part!r}:\n{text}')
    page = box.path('heat.html')
    show(box, images, '--heat', '--html', page)
    with open(page, encoding='utf-8') as f:
        html = f.read()
    data = json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', html, re.S).group(1))
    equal('the data of the page', data['processes'], told)
    if re.search(r'https?://|<link|@import|src=', html):
        raise Failed('the page needs something from elsewhere')
