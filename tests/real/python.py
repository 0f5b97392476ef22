# about: python3 with eight threads, a subprocess behind pipes, an event loop with timers and a database in memory
# timeout: 60
import os

from box import Skipped
from modes import Program

PROGRAM = r'''
import asyncio, hashlib, os, queue, random, sqlite3, subprocess, sys, threading, time

def path(name): return os.path.join(sys.argv[1], name)
def fail(text):
    print('FAIL:', text, file=sys.stderr, flush=True)
    os._exit(1)

def digest(store):
    h = hashlib.sha256()
    for key in sorted(store):
        h.update(repr((key, store[key])).encode())
    return h.hexdigest()

inbox, outbox = queue.Queue(), queue.Queue()
def worker():
    while True:
        item = inbox.get()
        if item is None:
            return
        outbox.put((item, item * item, threading.get_native_id()))

threads = [threading.Thread(target=worker) for _ in range(8)]
for t in threads: t.start()
store = {f'key {i}': (i, random.random(), os.urandom(20)) for i in range(200000)}
before = digest(store)
generator = random.Random(5)
expected = [random.Random(5).random() for _ in range(1)]
db = sqlite3.connect(':memory:')
db.execute('create table t (a integer primary key, b text)')
db.executemany('insert into t values (?, ?)', [(i, f'row {i}') for i in range(20000)])
child = subprocess.Popen(['/usr/bin/python3', '-c', 'import sys\nfor line in sys.stdin:\n  print(line.strip()[::-1], flush=True)'],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
child.stdin.write('before\n'); child.stdin.flush()
if child.stdout.readline() != 'erofeb\n': fail('subprocess before')

ticks = []
async def ticker():
    while True:
        ticks.append(time.monotonic())
        await asyncio.sleep(0.02)
async def main():
    task = asyncio.create_task(ticker())
    await asyncio.sleep(0.1)
    open(path('ready'), 'w').close()
    while not os.path.exists(path('go')):
        await asyncio.sleep(0.01)
    seen = len(ticks)
    await asyncio.sleep(0.2)
    if len(ticks) < seen + 4: fail('the timers of the event loop do not go on')
    task.cancel()
asyncio.run(main())

if digest(store) != before: fail('the contents of the dictionary have changed')
if generator.random() != expected[0]: fail('random generator')
if db.execute('select count(*), max(b) from t').fetchone() != (20000, 'row 9999'): fail('database')
for i in range(1000): inbox.put(i)
got = sorted(outbox.get(timeout=20)[:2] for _ in range(1000))
if got != [(i, i * i) for i in range(1000)]: fail('the answers of the threads')
for _ in threads: inbox.put(None)
for t in threads: t.join()
child.stdin.write('afterwards\n'); child.stdin.flush()
if child.stdout.readline() != 'sdrawretfa\n': fail('subprocess')
child.stdin.close()
if child.wait(20) != 0: fail('the subprocess ended with %s' % child.returncode)
if subprocess.run(['/bin/echo', 'new'], capture_output=True, text=True).stdout != 'new\n': fail('a new subprocess')
'''


def make(box, directives):
    if not os.path.exists('/usr/bin/python3'):
        raise Skipped('no /usr/bin/python3')
    return Program(box, ['/usr/bin/python3', '-c', PROGRAM, box.dir], directives)
