#!/usr/bin/env python3
"""Compares our JSON of images with that of an independent decoder: crit, of Debian's package criu (version 3.17).

usage: crit_peer_test.py IMAGE_TOOL GOLDEN_DIR

The images are those of the golden checkpoint, and some that are made here to hold what the golden ones do not: unknown flag bits,
odd names, payloads of every kind. The last line is the number of images compared. Exit code 77: there is no crit.
"""
import json
import os
import random
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile

# What crit 3.17 does not know, or shows otherwise than crit 4.2. Path within an entry, after the magic; list positions are left out.
KNOWN = {
    # Fields that came after 3.17.
    "INVENTORY plugins_entry", "INVENTORY dump_criu_run_id", "CORE thread_core.cg_set", "CORE thread_core.creds.cap_amb",
    "FILES isk.ip_opts.ttl", "FILES isk.tcp_opts", "MEMFD_INODE mode", "PAGEMAP nr_pages",
    # The name of one bit, VMA_AREA_MEMFD. The other bits are compared in an image made here.
    "MM vmas.status",
}


def varint(n):
    n &= (1 << 64) - 1
    out = b""
    while n >= 128:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def msg(*fields):
    out = b""
    for number, value in fields:
        if isinstance(value, str):
            value = value.encode()
        if isinstance(value, bytes):
            out += varint(number << 3 | 2) + varint(len(value)) + value
        else:
            out += varint(number << 3) + varint(value)
    return out


def entry(*fields):
    m = msg(*fields)
    return struct.pack("<I", len(m)) + m


def image(magic, *parts, head=0x54564319):
    return struct.pack("<II", head, magic) + b"".join(parts)


FOWN = msg((1, 0), (2, 0), (3, 0), (4, 0), (5, 0))
OPTS = msg((1, 1), (2, 1), (3, 0), (4, 0), (5, 0), (6, 0))
DESC = msg((1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6), (7, 7))


def reg(flags, name):
    return entry((1, 5), (2, flags), (3, 1 << 63), (5, FOWN), (6, name))


def vma(prot, flags, status):
    return entry((1, 0x1000), (2, 0x2000), (3, 0), (4, 0), (5, prot), (6, flags), (7, status), (8, 1))


def usk(name, state=1, kind=1):
    return entry((1, 1), (2, 1), (3, kind), (4, state), (5, 2), (6, 0x11), (7, 0), (8, 0), (9, FOWN), (10, OPTS), (11, name), (12, 3))


def isk(family, address):
    words = struct.unpack("<%dI" % (len(address) // 4), address)
    return entry((1, 1), (2, 1), (3, family), (4, 3), (5, 255), (6, 7), (7, 80), (8, 0), (9, 2), (10, 0), *[(11, w) for w in words],
                 *[(12, 0) for _ in words], (13, FOWN), (14, OPTS))


def ip6(text):
    return isk(10, socket.inet_pton(socket.AF_INET6, text))


def ghost(*fields):
    return entry((1, 0), (2, 0), *fields)


def made_images():
    """Name and bytes of images with what the golden ones do not hold."""
    rng = random.Random(20)
    odd = [b"\0abs=x\xff \t", b"/tmp/a b\0", b"x" * 200, b"a\nb\rc \n _?", "\u00fc ".encode(), b".", b"a\r\n.\r\nb\n", b" \n\t\n", b""]
    alphabet = b"ab .=\t\n\r\xff\0"
    odd += [bytes(rng.choice(alphabet) for _ in range(rng.randrange(200))) for _ in range(400)]
    odd += [bytes(rng.randrange(256) for _ in range(rng.randrange(120))) for _ in range(200)]
    names = ["/x\u00e9", b"/x\xff\xfe", "a\"\\\n\x01/\U0001F600\x7f\b\f\r\t", b"'\"\xff\\\n\r\t\0", b"'\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", ""]
    message = msg((1, 77), (2, 5))
    message = struct.pack("<I", len(message)) + message + b"hello\0\0\0"
    yield "reg", image(0x50363636, *[reg(rng.getrandbits(32), "/x") for _ in range(100)], *[reg(0, name) for name in names], reg(0x80000000, "/"))
    yield "vmas", image(0x54123737, vma(7, 3, 0xffff3fff & ~0x20000), vma(15, 0x40f7, 0x10), vma(0, 0x112, 0x3fff), vma(8, 0x22, 0x201))
    yield "pagemap", image(0x56084025, entry((1, 3)), entry((1, 1 << 63), (2, 5)), entry((1, 0x2000), (2, 5), (3, 1)),
                           *[entry((1, 0x2000), (2, 5), (4, flags)) for flags in (0, 4, 15)])
    yield "memfd", image(0x48453499, *[entry((1, "n"), (2, 0), (3, 0), (4, 1), (5, 1), (6, seals), (7, 1)) for seals in (0, 1, 0xff)])
    yield "ghost-whole", image(0x52583605, ghost((3, 0o100600), (4, 254 << 20 | 3)), b"x" * 130)
    yield "ghost-line", image(0x52583605, ghost((3, 0o100600)), b"x" * 57)
    yield "ghost-chunks", image(0x52583605, ghost((3, 0o100600), (9, 1), (10, 9000)), entry((1, 5), (2, 0)), b"abcde", entry((1, 3), (2, 4096)), b"xyz")
    yield "ghost-hole", image(0x52583605, ghost((3, 0o100600), (9, 1), (10, 9000)))
    yield "ghost-device", image(0x52583605, ghost((3, 0o20600), (6, 0x12345678)))
    yield "ghost-link", image(0x52583605, ghost((3, 0o120600), (9, 0), (11, "target")))
    yield "tcp", image(0x51465506, entry((1, 5), (2, 100), (3, 3), (4, 200), (5, 7), (6, 1), (7, 1460)), b"hello" + b"out")
    yield "sem", image(0x59573019, entry((1, DESC), (2, 3)), struct.pack("<4H", 1, 2, 65535, 0), entry((1, DESC), (2, 4)), struct.pack("<4H", 1, 2, 3, 4))
    yield "msg", image(0x55453737, entry((1, DESC), (2, 16384), (3, 2)), message * 2, entry((1, DESC), (2, 16384), (3, 0)))
    yield "shm", image(0x46283044, entry((1, DESC), (2, 5)), b"abcde\0\0\0", entry((1, DESC), (2, 4), (3, 0)), b"abcd")
    yield "bpf", image(0x64324033, entry((1, 9), (2, 4), (3, 6), (4, 1)), b"kkkkvvvvvv")
    yield "pipe", image(0x56453709, entry((1, 9), (2, 0)), entry((1, 9), (2, 100)), b"k" * 100)
    yield "queue", image(0x56264026, entry((1, 9), (2, 3), (4, msg((1, 1), (2, 5), (2, 6)))), b"abc", entry((1, 9), (2, 0)))
    yield "unix", image(0x54373943, *[usk(name) for name in odd], usk(b"x", 99, 9), usk(b"x", 10, 5))
    yield "inet", image(0x56443851, isk(2, b"\x7f\0\0\1"), isk(2, b""), *[ip6(text) for text in (
        "::", "::ffff:1.2.3.4", "fe80:0:0:1::", "::1.2.3.4", "1:0:2:3:4:5:6:7", "0:0:1:0:0:0:1:1", "::5", "1:0:0:2:0:0:3:4", "1::")])
    yield "seccomp", image(0x64413049, entry((1, msg((1, b"\0" * 200), (2, 1)))))
    yield "inventory-unknown-field", struct.pack("<I", 0x58313116) + entry((1, 2), (99, 99), (98, "x"), (8, 1))
    yield "pstree-version-1", struct.pack("<I", 0x50273030) + entry((1, 2), (2, 0), (3, 1), (4, 1))
    yield "pstree-empty", image(0x50273030)
    yield "locks", image(0x54323616, entry((1, 1), (2, 2), (3, -5), (4, -1), (5, -7), (6, 1 << 63)))
    yield "core", image(0x55053847, entry((1, 3), (3, msg((1, 1), (2, 1), (3, 1), (4, 1), (5, 1), (6, "c"))), (5, msg((1, 1), (2, 2), (3, 39)))))
    yield "irmap", image(0x57004059, entry((1, 254 << 8 | 300 % 256 | 300 // 256 << 20), (2, 5), (3, "/x")), head=0x55105940)


def differences(ours, theirs, path=""):
    """Paths where the two differ. The order of keys counts."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in list(ours) + [k for k in theirs if k not in ours]:
            inner = f"{path}.{key}" if path else key
            if key not in ours or key not in theirs:
                yield inner
            else:
                yield from differences(ours[key], theirs[key], inner)
        both = [key for key in ours if key in theirs]
        if both != [key for key in theirs if key in ours]:
            yield path + ": order of keys"
    elif isinstance(ours, list) and isinstance(theirs, list):
        if len(ours) != len(theirs):
            yield f"{path}: {len(ours)} elements, crit has {len(theirs)}"
        for a, b in zip(ours, theirs):
            yield from differences(a, b, path)
    elif ours != theirs or type(ours) is not type(theirs):
        yield path


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def compare(name, path, tool):
    ours, theirs = run(tool, path), run("crit", "show", path)
    if ours.returncode or theirs.returncode:
        said = (theirs.stderr if theirs.returncode else ours.stderr).strip().splitlines()
        print(f"{name}: {'crit' if theirs.returncode else 'we'} cannot decode it: {said[-1] if said else ''}")
        return False
    a, b = json.loads(ours.stdout), json.loads(theirs.stdout)
    if a["magic"] != b["magic"]:
        print(f"{name}: magic {a['magic']}, crit says {b['magic']}")
        return False
    if b["magic"] == "PAGEMAP":
        # Its nr_pages is the first page count, which got another name when a wider one was added.
        b["entries"] = [{"compat_nr_pages" if key == "nr_pages" else key: value for key, value in e.items()} for e in b["entries"]]
    found = sorted(set(differences(a["entries"], b["entries"])) - {k.split(" ", 1)[1] for k in KNOWN if k.startswith(a["magic"] + " ")})
    for path in found:
        print(f"{name}: {a['magic']} {path} differs")
    return not found


def main():
    tool, golden = sys.argv[1:]
    if not shutil.which("crit"):
        print("there is no crit here (Debian: package criu)")
        sys.exit(77)
    good = total = 0
    images = os.path.join(golden, "criu-4.2-zoo", "images")
    for name in sorted(os.listdir(images)):
        if not re.match(r"pages-", name):
            total += 1
            good += compare(name, os.path.join(images, name), tool)
    with tempfile.TemporaryDirectory() as directory:
        for name, data in made_images():
            path = os.path.join(directory, name + ".img")
            with open(path, "wb") as out:
                out.write(data)
            total += 1
            good += compare("made here: " + name, path, tool)
    print(f"{good} of {total} images are decoded as crit decodes them")
    sys.exit(good != total or total < 50)


if __name__ == "__main__":
    main()
