"""A receiver of CRIU's page server protocol that believes nothing: what a dump sends is checked byte by byte and kept.

It can be made to fail in the middle, as a server whose disk is full or whose host has died does.
"""
import os
import socket
import struct
import threading

PAGE = 4096
OPEN2, ADD_F, CLOSE, FORCE_CLOSE = 4, 6, 0x1023, 0x1024
LAZY, PRESENT = 2, 4


class Receiver:
    """One session, served by a thread. `objects`: {(type, id): [(vaddr, pages, flags, contents)]}."""

    def __init__(self, status=0, stop_after=None, connection=None, tls=None):
        self.status, self.stop_after, self._tls = status, stop_after, tls
        self.objects, self.error, self.closed_by = {}, None, None
        self._received = 0
        self._connection = connection
        if connection is None:
            self._listener = socket.create_server(('127.0.0.1', 0))
            self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def join(self):
        """Waits for the end of the session; True if it was a whole one. What was wrong is in `error`."""
        self._thread.join(60)
        return self.error is None and self.closed_by is not None

    def _run(self):
        try:
            connection = self._connection or self._listener.accept()[0]
            with self._tls.wrap_socket(connection, server_side=True) if self._tls else connection as connection:
                self._serve(connection)
        except (ValueError, OSError) as e:
            self.error = str(e)

    def _read(self, connection, size):
        data = bytearray(size)
        view, got = memoryview(data), 0
        while got < size:
            n = connection.recv_into(view[got:])
            if n == 0:
                raise ValueError(f'the stream ends after {got} of {size} bytes')
            got += n
        return bytes(data)

    def _serve(self, connection):
        current = None
        while True:
            cmd, padding, pages, vaddr, dst = struct.unpack('<IIQQQ', self._read(connection, 32))
            if padding != 0:
                raise ValueError(f'command {cmd:#x} with padding {padding}')
            if cmd in (CLOSE, FORCE_CLOSE):
                if (pages, vaddr, dst) != (0, 0, 0):
                    raise ValueError(f'CLOSE with {(pages, vaddr, dst)}')
                self.closed_by = cmd
                connection.sendall(struct.pack('<i', self.status))
                if cmd == CLOSE and connection.recv(1) != b'':
                    raise ValueError('something came after CLOSE')
                return
            if cmd == OPEN2:
                current = (dst & 0xff, dst >> 8)
                if (pages, vaddr) != (0, 0) or current[0] not in (1, 2) or current in self.objects:
                    raise ValueError(f'OPEN2 of {current} with {(pages, vaddr)}')
                self.objects[current] = []
                connection.sendall(b'\0')
            elif cmd & 0xffff == ADD_F and (dst & 0xff, dst >> 8) == current:
                self._add(connection, self.objects[current], vaddr, pages, cmd >> 16)
            else:
                raise ValueError(f'command {cmd:#x} for {dst:#x} while {current} is open')

    def _add(self, connection, entries, vaddr, pages, flags):
        if vaddr % PAGE or pages == 0 or flags not in (PRESENT, PRESENT | LAZY):
            raise ValueError(f'ADD_F of {pages} pages at {vaddr:#x} with flags {flags}')
        if entries and vaddr < entries[-1][0] + entries[-1][1] * PAGE:
            raise ValueError(f'ADD_F at {vaddr:#x} is not behind the one before it')
        self._received += pages
        if self.stop_after is not None and self._received > self.stop_after:
            raise ValueError('stopped on purpose')
        entries.append((vaddr, pages, flags, self._read(connection, pages * PAGE)))

    def write(self, directory):
        """The images that a page server makes of it."""
        os.makedirs(directory, exist_ok=True)
        for number, ((kind, ident), entries) in enumerate(self.objects.items()):
            pages_id = 0x10001 + number
            with open(os.path.join(directory, f'pagemap-{"shmem-" if kind == 2 else ""}{ident}.img'), 'wb') as f:
                f.write(struct.pack('<II', 0x54564319, 0x56084025) + _message((1, pages_id)))
                for vaddr, pages, flags, _ in entries:
                    f.write(_message((1, vaddr), (2, 0), (4, flags), (5, pages)))
            with open(os.path.join(directory, f'pages-{pages_id}.img'), 'wb') as f:
                f.writelines(contents for _, _, _, contents in entries)


def _varint(value):
    out = bytearray()
    while value > 0x7f:
        out.append(value & 0x7f | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def _message(*fields):
    body = b''.join(_varint(number << 3) + _varint(value) for number, value in fields)
    return struct.pack('<I', len(body)) + body
