"""Clients of a page server, independent of ours: CRIU's GET, and Faultline's own protocol (pageserver/PROTOCOL.md)."""
import ctypes
import os
import socket
import struct

PAGE = 4096
TASK, SHARED = 1, 2
OPEN, READ, NAMES, FILES, FILE, PING, COMMIT, DONE, REVOKED = range(1, 10)
READY, PAGES, FAILED, TEXT, BYTES, PONG, COMMITTED, BYE, REVOKE = range(0x81, 0x8a)
LAST = 1
_xxhash = ctypes.CDLL('libxxhash.so.0')
_xxhash.XXH3_64bits_withSeed.restype = ctypes.c_uint64
_xxhash.XXH3_64bits_withSeed.argtypes = (ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64)


class Gone(Exception):
    """The server has ended the connection."""


class Refused(Exception):
    """FAILED: (errno, sentence)."""


class _Connection:
    def __init__(self, port, host='127.0.0.1'):
        self.socket = socket.create_connection((host, port), timeout=20)

    def close(self):
        self.socket.close()

    def _send(self, data):
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as e:
            raise Gone(str(e)) from e

    def _read(self, size):
        parts = []
        while size:
            try:
                part = self.socket.recv(min(size, 1 << 20))
            except ConnectionResetError as e:
                raise Gone(str(e)) from e
            if not part:
                raise Gone('end of stream')
            parts.append(part)
            size -= len(part)
        return b''.join(parts)


class CriuClient(_Connection):
    def get(self, pid, vaddr, pages):
        """The contents of at least one page, of no more than asked for."""
        self._send(struct.pack('<IIQQQ', 7, 0, pages, vaddr, pid))
        cmd, _, n, at, dst = struct.unpack('<IIQQQ', self._read(32))
        if cmd != 0x00040006 or not 0 < n <= pages or at != vaddr or dst != pid:
            raise ValueError(f'an answer of {cmd:#x}, {n} pages at {at:#x} of {dst} to a GET of {pages} pages at {vaddr:#x} of {pid}')
        return self._read(n * PAGE)

    def finish(self):
        self._send(struct.pack('<IIQQQ', 0x1023, 0, 0, 0, 0))
        status, = struct.unpack('<i', self._read(4))
        self.close()
        return status


class Client(_Connection):
    """Requests are answered one after the other."""

    def __init__(self, port, client=None, name=b'', host='127.0.0.1'):
        super().__init__(port, host)
        self.client = client if client is not None else int.from_bytes(os.urandom(7), 'little')
        self._last_id = 0
        self.revoke_came = False
        self._send(struct.pack('<IIQQQ', 5, 0, 0x317267656c746c66, 1, 0x7fffffffffffff01))
        hello = self._read(4)
        if hello != b'FLT1':
            raise ValueError(f'the answer to the hello is {hello}')
        (self.version, page_size, self.encoding, self.kind), = [struct.unpack('<IIII', p) for _, p in self._ask(OPEN, struct.pack('<IIIIQ', 1, PAGE, 0, 0, self.client) + name, READY)]
        if (self.version, page_size) != (1, PAGE):
            raise ValueError(f'READY with {(self.version, page_size)}')

    def read(self, kind, ident, vaddr, pages):
        wanted, contents = vaddr, []
        for _, payload in self._ask(READ, struct.pack('<QQQ', ident << 8 | kind, vaddr, pages), PAGES):
            target, at, n, encoding, zero = struct.unpack('<QQQII', payload[:32])
            if (target, at, zero) != (ident << 8 | kind, wanted, 0) or not 0 < n <= 256:
                raise ValueError(f'PAGES with {(target, at, n, zero)} where {wanted:#x} was expected')
            contents.append(bytes(n * PAGE) if encoding == 1 else payload[32:])
            if encoding not in (0, 1) or len(contents[-1]) != n * PAGE:
                raise ValueError(f'encoding {encoding} with {len(payload) - 32} bytes for {n} pages')
            wanted += n * PAGE
        if wanted != vaddr + pages * PAGE:
            raise ValueError(f'the answer ends at {wanted:#x}')
        return b''.join(contents)

    def files(self):
        """{name: size}"""
        text = b''.join(payload for _, payload in self._ask(FILES, b'', TEXT)).decode()
        return {name: int(size) for size, name in (line.split(' ', 1) for line in text.splitlines())}

    def file(self, name):
        return b''.join(payload for _, payload in self._ask(FILE, name.encode(), BYTES))

    def commit(self):
        self._ask(COMMIT, b'', COMMITTED)

    def done(self):
        self._ask(DONE, b'', BYE)

    def confirm_revoked(self):
        self._frame(REVOKED, 0, b'')

    def wait_revoke(self):
        while not self.revoke_came:
            self._next()

    def _ask(self, kind, payload, answer):
        self._last_id += 1
        self._frame(kind, self._last_id, payload)
        answers = []
        while True:
            got, flags, ident, data = self._next()
            if got == REVOKE:
                continue
            if ident != self._last_id:
                raise ValueError(f'an answer to {ident}, {self._last_id} was asked')
            if got == FAILED:
                raise Refused(struct.unpack('<I', data[:4])[0], data[4:].decode())
            if got != answer:
                raise ValueError(f'{got:#x} in answer to {kind}')
            answers.append((flags, data))
            if flags & LAST:
                return answers

    def _frame(self, kind, ident, payload):
        first, = struct.unpack('<Q', struct.pack('<IHH', len(payload), kind, LAST if kind != READ else 0))
        check = _xxhash.XXH3_64bits_withSeed(payload, len(payload), first ^ ident)
        self._send(struct.pack('<QQQ', first, ident, check) + payload)

    def _next(self):
        first, ident, check = struct.unpack('<QQQ', self._read(24))
        length, kind, flags = struct.unpack('<IHH', struct.pack('<Q', first))
        payload = self._read(length)
        if _xxhash.XXH3_64bits_withSeed(payload, length, first ^ ident) != check:
            raise ValueError('the check of a frame does not match')
        if kind == REVOKE:
            self.revoke_came = True
        return kind, flags, ident, payload


def late_extents(image):
    """[(vaddr, pages)] of the entries of a pagemap image that are only to be fetched; the other entries must be only stored."""
    extents, at = [], 8
    while at < len(image):
        size, = struct.unpack_from('<I', image, at)
        fields = _fields(image[at + 4:at + 4 + size])
        if at > 8 and fields[4] == 2:
            extents.append((fields[1], fields[5]))
        elif at > 8 and fields[4] != 4:
            raise ValueError(f'a pagemap entry has flags {fields[4]}')
        at += 4 + size
    return extents


def _fields(message):
    fields, at = {}, 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7f) << shift
            shift += 7
            if byte < 0x80:
                return value
    while at < len(message):
        key = varint()
        fields[key >> 3] = varint()
    return fields
