"""A bad network between a client and a server on loopback: delays, damages, cuts. (The kernel's netem is not everywhere.)"""
import selectors
import socket
import threading
import time


class Proxy:
    """Passes TCP connections on to `port`. One thread. The attributes may be changed while it runs."""

    def __init__(self, port):
        self.target = port
        self.delay = 0.0        # seconds, each way
        self.damage = None      # called with the bytes that go to the client; gives what goes instead
        self.silent = False     # nothing passes, nothing is closed: a cable that was pulled
        self.connections = 0
        self.answer = b''       # to be sent to the client before all else
        self._pairs = {}        # socket → the other one
        self._queues = {}       # socket → [(time, bytes)] to be sent to it
        self._clients = set()
        self._begun = set()     # clients that have sent something
        self._lock = threading.Lock()
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server(('127.0.0.1', 0), backlog=64)
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._stop = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def accepted(self):
        """Whether one more connection is taken."""
        return True

    def from_client(self, first, data):
        """What goes to the server instead of `data`; `first`: it is the first that comes on this connection."""
        return data

    def cut(self):
        """Ends all connections at once."""
        with self._lock:
            for s in list(self._pairs):
                self._drop(s)

    def close(self):
        self._stop = True
        self._thread.join()
        self.cut()
        self._listener.close()

    def _run(self):
        while not self._stop:
            for key, _ in self._selector.select(self._patience()):
                with self._lock:
                    if key.fileobj is self._listener:
                        self._accept()
                    elif key.fileobj in self._pairs:
                        self._read(key.fileobj)
            with self._lock:
                self._send_due()

    def _patience(self):
        with self._lock:
            due = [q[0][0] for q in self._queues.values() if q]
        return max(0.0, min([0.05] + [t - time.monotonic() for t in due])) if due and not self.silent else 0.02

    def _accept(self):
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        if not self.accepted():
            client.close()
            return
        try:
            server = socket.create_connection(('127.0.0.1', self.target), timeout=2)
        except OSError:
            client.close()  # nobody is there
            return
        self.connections += 1
        self._clients.add(client)
        for s, other in ((client, server), (server, client)):
            s.setblocking(False)
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._pairs[s] = other
            self._queues[s] = []
            self._selector.register(s, selectors.EVENT_READ)

    def _read(self, s):
        other = self._pairs[s]
        # What waits to be sent is bounded, so that the sender feels the other end.
        if self.silent or sum(len(b) for _, b in self._queues[other]) > 4 << 20:
            time.sleep(0.0005)
            return
        try:
            data = s.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            data = b''
        if not data:
            self._drop(s)
            return
        if self.damage and other in self._clients:
            data = self.damage(data)
        if s in self._clients:
            data = self.from_client(s not in self._begun, data)
            self._begun.add(s)
            if self.answer:
                self._queues[s].append((time.monotonic() + self.delay, self.answer))
                self.answer = b''
        if not data:
            return
        self._queues[other].append((time.monotonic() + self.delay, data))

    def _send_due(self):
        now = time.monotonic()
        for s, queue in list(self._queues.items()):
            while queue and queue[0][0] <= now and not self.silent:
                at, data = queue[0]
                try:
                    sent = s.send(data)
                except BlockingIOError:
                    break
                except OSError:
                    self._drop(s)
                    break
                if sent == len(data):
                    queue.pop(0)
                else:
                    queue[0] = (at, data[sent:])

    def _drop(self, s):
        for end in (s, self._pairs.get(s)):
            if end is None or end not in self._pairs:
                continue
            del self._pairs[end]
            del self._queues[end]
            self._clients.discard(end)
            self._begun.discard(end)
            self._selector.unregister(end)
            end.close()
