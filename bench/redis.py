#!/usr/bin/env python3
"""A redis-server with data is checkpointed, and brought back in several ways, timed until it answers; every key is verified.

usage: bench/redis.py PATH_OF_FAULTLINE [MEBIBYTES] [--rounds N]

Without --rounds it is the demo: each way once, for people. With it: each way N times in turn, after one to warm up, as JSON.
"""
import argparse
import ctypes
import json
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

VALUE_SIZE = 4096
PR_SET_CHILD_SUBREAPER = 36


class Failed(Exception):
    pass


def value_of(number):
    """The value of a key: made anew for each check, so that nothing is compared with itself."""
    return random.Random(number).randbytes(VALUE_SIZE)


class Client:
    """As much of redis's protocol as is needed."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.file = self.socket.makefile("rb")

    def close(self):
        self.file.close()
        self.socket.close()

    def send(self, *words):
        self.socket.sendall(self.packed(*words))

    @staticmethod
    def packed(*words):
        out = [b"*%d\r\n" % len(words)]
        for word in words:
            word = word if isinstance(word, bytes) else str(word).encode()
            out.append(b"$%d\r\n%s\r\n" % (len(word), word))
        return b"".join(out)

    def answer(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise Failed("redis closed the connection")
        kind, text = line[:1], line[1:-2]
        if kind == b"-":
            raise Failed(f"redis answered: {text.decode()}")
        if kind == b"$":
            size = int(text)
            return None if size < 0 else self.file.read(size + 2)[:-2]
        return text

    def ask(self, *words):
        self.send(*words)
        return self.answer()


class Demo:
    def __init__(self, faultline, mebibytes):
        self.faultline = os.path.abspath(faultline)
        self.count = mebibytes * 1024 * 1024 // VALUE_SIZE
        self.dir = tempfile.mkdtemp(prefix="faultline-demo.")
        self.images = os.path.join(self.dir, "images")
        os.mkdir(self.images)
        self.port = self.free_port()
        self.redis = None
        self.rows = []

    @staticmethod
    def free_port():
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            return s.getsockname()[1]

    def say(self, text):
        print(text, flush=True)

    def start_redis(self):
        """In a session of its own, without a terminal: nothing ties it to this program."""
        with open(os.path.join(self.dir, "redis.log"), "ab") as log:
            self.redis = subprocess.Popen(
                ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", self.dir,
                 "--daemonize", "no"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=self.dir).pid

    def wait_gone(self):
        """Restored processes are ours as well, because this program is their subreaper."""
        while True:
            try:
                pid, _ = os.waitpid(self.redis, 0)
            except ChildProcessError:
                return
            if pid == self.redis:
                return

    def kill_redis(self):
        if self.redis is None:
            return
        try:
            os.kill(self.redis, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.wait_gone()
        self.redis = None

    def first_answer(self, since):
        """Seconds from `since` until a key in the middle is answered with its right value."""
        number = self.count // 2
        wanted = value_of(number)
        deadline = since + 120
        while time.monotonic() < deadline:
            try:
                client = Client(self.port)
            except ConnectionError:
                time.sleep(0.0002)
                continue
            try:
                got = client.ask("GET", f"key:{number}")
                after = time.monotonic() - since
            except Failed as failure:
                if "LOADING" not in str(failure):
                    raise
                time.sleep(0.001)
                continue
            finally:
                client.close()
            if got != wanted:
                raise Failed(f"the value of key:{number} is wrong")
            return after
        raise Failed("redis did not answer within two minutes")

    def fill(self):
        client = Client(self.port)
        batch = 256
        for start in range(0, self.count, batch):
            numbers = range(start, min(start + batch, self.count))
            client.socket.sendall(b"".join(client.packed("SET", f"key:{n}", value_of(n)) for n in numbers))
            for _ in numbers:
                client.answer()
        client.close()

    def verify(self):
        client = Client(self.port)
        size = int(client.ask("DBSIZE"))
        if size != self.count:
            raise Failed(f"redis holds {size} keys, not {self.count}")
        batch = 256
        for start in range(0, self.count, batch):
            numbers = range(start, min(start + batch, self.count))
            client.socket.sendall(b"".join(client.packed("GET", f"key:{n}") for n in numbers))
            for n in numbers:
                if client.answer() != value_of(n):
                    raise Failed(f"the value of key:{n} is wrong")
        client.close()

    def wait_without_clients(self):
        """Until redis has closed its ends of our connections: open connections are not saved yet."""
        inodes = set()
        for _ in range(10000):
            with open("/proc/net/tcp") as table:
                established = {line.split()[9] for line in table if " 01 " in line[:40]}
            inodes.clear()
            for fd in os.listdir(f"/proc/{self.redis}/fd"):
                try:
                    target = os.readlink(f"/proc/{self.redis}/fd/{fd}")
                except FileNotFoundError:
                    continue
                if target.startswith("socket:["):
                    inodes.add(target[8:-1])
            # Half-closed ones (CLOSE_WAIT, 08) count as open too.
            with open("/proc/net/tcp") as table:
                established |= {line.split()[9] for line in table if line.split()[3] == "08"}
            if not inodes & established:
                return
            time.sleep(0.001)
        raise Failed("redis keeps a connection open")

    def run(self, what, *args):
        since = time.monotonic()
        done = subprocess.run([self.faultline, *args, "-o", f"{args[0]}.log", "-v3"], cwd=self.dir, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        seconds = time.monotonic() - since
        if done.returncode != 0:
            raise Failed(f"{what} failed ({done.returncode}):\n{done.stdout}\n(log: {self.images}/{args[0]}.log)")
        return since, seconds

    def restore(self, what, pid, *options):
        since, command = self.run(what, "restore", "-D", self.images, "-d", *options)
        self.redis = pid
        answer = self.first_answer(since)
        self.verify()
        self.rows.append((what, command, answer))
        self.kill_redis()

    def checkpoint(self):
        self.say(f"redis-server on port {self.port}, filling it with {self.count} keys of {VALUE_SIZE} bytes ...")
        self.start_redis()
        self.wait_listening()
        self.fill()
        client = Client(self.port)
        client.ask("SAVE")
        client.close()
        self.verify()
        self.wait_without_clients()
        pid = self.redis

        _, seconds = self.run("dump", "dump", "-t", str(pid), "-D", self.images)
        self.wait_gone()
        size = sum(os.stat(os.path.join(self.images, f)).st_blocks * 512 for f in os.listdir(self.images))
        self.say(f"checkpoint of process {pid}: {size / 2**20:.0f} MiB in {seconds * 1000:.0f} ms; the process is gone\n")
        return pid

    def main(self):
        pid = self.checkpoint()
        since = time.monotonic()
        self.start_redis()
        answer = self.first_answer(since)
        self.verify()
        self.kill_redis()
        self.rows.append(("cold start from its own file", None, answer))
        self.restore("restore, all memory first", pid)
        self.restore("restore --lazy-pages", pid, "--lazy-pages", "--prefetch=sequential")
        self.restore("restore --lazy-pages, recorded", pid, "--lazy-pages")
        self.table()

    def bench(self, rounds):
        """Milliseconds: what the commands take, and when the first answer has come, counted from the start of the command."""
        self.say = lambda text: None
        pid = self.checkpoint()
        self.restore("makes the recording", pid, "--lazy-pages")
        ways = {"eager": [], "lazy, sequential": ["--lazy-pages", "--prefetch=sequential"], "lazy, recorded": ["--lazy-pages"]}
        self.rows = []
        for _ in range(rounds + 1):
            for what, options in ways.items():
                self.restore(what, pid, *options)
        figures = {}
        for what in ways:
            mine = [row for row in self.rows if row[0] == what][1:]
            for name, values in (("command", [r[1] * 1000 for r in mine]), ("first answer", [r[2] * 1000 for r in mine]),
                                 ("answer after the command", [(r[2] - r[1]) * 1000 for r in mine])):
                figures[f"{what}: {name}"] = {"median": statistics.median(values), "min": min(values), "max": max(values), "values": values}
        figures["allowed: 1.2 x lazy command + answer of the eager one"] = (
            1.2 * figures["lazy, recorded: command"]["median"] + figures["eager: answer after the command"]["median"])
        return figures

    def wait_listening(self):
        for _ in range(10000):
            try:
                Client(self.port).close()
                return
            except ConnectionError:
                time.sleep(0.002)
        raise Failed("redis does not listen")

    def table(self):
        self.say(f"{'':32} {'command':>12} {'first answer':>14}   keys verified")
        for what, command, answer in self.rows:
            shown = "" if command is None else f"{command * 1000:.1f} ms"
            self.say(f"{what:32} {shown:>12} {answer * 1000:>11.1f} ms   {self.count} of {self.count}")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("faultline")
    p.add_argument("mebibytes", nargs="?", type=int, default=256)
    p.add_argument("--rounds", type=int)
    options = p.parse_args()
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    demo = Demo(options.faultline, options.mebibytes)
    try:
        if options.rounds:
            print(json.dumps(demo.bench(options.rounds)))
        else:
            demo.main()
    except Failed as failure:
        print(f"{failure}\nimages and logs are kept in {demo.dir}", file=sys.stderr)
        return 1
    finally:
        demo.kill_redis()
    shutil.rmtree(demo.dir)
    return 0


sys.exit(main())
