"""The other end of spec/conformance/compression.lua, made of Python's zlib and of RFC 6455 and 7692 alone. A line
of DIR/plan is a case: its number, our role, the kind of messages, their size and count, the peer's fragment size
and ours (0: none), how the client compresses (bits, 1 for no context takeover) and how the server does, and the
level and memLevel of the peer. `make DIR` writes to DIR/in what we receive, `judge DIR` reads our answers from
DIR/out and writes a line for each case to DIR/verdicts: `ok`, and what the messages and their payloads come to in
bytes, or what is wrong. Bytes in a file are a length (4 bytes, big-endian) and as many bytes."""

import collections
import os
import random
import struct
import sys
import zlib

TAIL = b"\x00\x00\xff\xff"
TEXT, BINARY, PING, PONG = 1, 2, 9, 10
FIN, RSV1 = 0x80, 0x40

Case = collections.namedtuple("Case", "number role kind size count theirs ours client_bits client_fresh server_bits "
                              "server_fresh level mem_level")


def cases(directory):
    with open(os.path.join(directory, "plan")) as file:
        for line in file:
            number, role, kind, *numbers = line.split()
            yield Case(number, role, kind, *map(int, numbers))


# --- messages -------------------------------------------------------------------------------


def json(chance):
    words = ["id", "price", "volume", "bid", "ask", "time", "EURUSD", "open", "close", "null", "true", "sensor"]
    return "".join('{"%s":%d,"%s":"%s"},' % (chance.choice(words), chance.randrange(10**6), chance.choice(words),
                                            chance.choice(words)) for _ in range(16000)).encode()


def tongues(chance):
    words = ["lune", "\u00e9t\u00e9", "\u043b\u0443\u043d\u0430", "\u6708\u4eae", "\u03c3\u03b5\u03bb\u03ae\u03bd\u03b7",
             "\U0001f319", "\u0642\u0645\u0631", "moon", "\n"]
    return " ".join(chance.choice(words) for _ in range(40000)).encode()


def sparse(chance):
    return b"".join(bytes(chance.randrange(1, 400)) + chance.randbytes(chance.randrange(1, 20)) for _ in range(2000))


CHANCE = random.Random(7692)
POOLS = {"json": json(CHANCE), "tongues": tongues(CHANCE), "sparse": sparse(CHANCE), "random": CHANCE.randbytes(400000),
         "packed": zlib.compress(json(CHANCE) + tongues(CHANCE), 9) * 3}
OPCODES = {"json": TEXT, "tongues": TEXT, "sparse": BINARY, "random": BINARY, "packed": BINARY}


def messages(case):
    """Cut from the pool anywhere, a text between two characters; each third is an earlier one again."""
    chance, pool, said = random.Random(case.number + case.role), POOLS[case.kind], []
    for nth in range(case.count):
        if nth % 3 == 2:
            said.append(chance.choice(said))
            continue
        at = chance.randrange(len(pool) - case.size - 8)
        piece = pool[at:at + case.size + 8]
        if OPCODES[case.kind] == TEXT:
            piece = piece.decode("utf-8", "ignore").encode()
            short = piece[:case.size].decode("utf-8", "ignore").encode()
            piece = short + b"." * (case.size - len(short))
        said.append(piece[:case.size])
    return said


# --- frames ---------------------------------------------------------------------------------


def masked(payload, key):
    n = len(payload)
    if n == 0:
        return payload
    whole = int.from_bytes((key * (n // 4 + 1))[:n], "big")
    return (int.from_bytes(payload, "big") ^ whole).to_bytes(n, "big")


def frame(first, payload, key):
    n, mask = len(payload), 0x80 if key else 0
    if n < 126:
        head = struct.pack(">BB", first, mask | n)
    elif n < 65536:
        head = struct.pack(">BBH", first, mask | 126, n)
    else:
        head = struct.pack(">BBQ", first, mask | 127, n)
    return head + (key + masked(payload, key) if key else payload)


def peer_bytes(case):
    """All that the peer says: in fragmented messages, a ping behind the first fragment."""
    client = case.role == "server"
    bits, fresh = (case.client_bits, case.client_fresh) if client else (case.server_bits, case.server_fresh)
    chance, context, out = random.Random(case.number), None, []

    def key():
        return chance.randbytes(4) if client else b""

    for plain in messages(case):
        if fresh or not context:
            context = zlib.compressobj(case.level, zlib.DEFLATED, -bits, case.mem_level)
        payload = (context.compress(plain) + context.flush(zlib.Z_SYNC_FLUSH))
        assert payload.endswith(TAIL)
        payload = payload[:-4]
        step = case.theirs or len(payload)
        pieces = [payload[at:at + step] for at in range(0, len(payload), step)]
        for nth, piece in enumerate(pieces):
            first = OPCODES[case.kind] | RSV1 if nth == 0 else 0
            out.append(frame(first | (FIN if nth + 1 == len(pieces) else 0), piece, key()))
            if nth == 0 and len(pieces) > 1:
                out.append(frame(FIN | PING, b"between", key()))
    return b"".join(out)


class Wrong(Exception):
    pass


def must(truth, what):
    if not truth:
        raise Wrong(what)


def our_frames(data, client):
    at = 0
    while at < len(data):
        must(len(data) - at >= 2, "half a header")
        first, second = data[at], data[at + 1]
        at += 2
        n = second & 0x7f
        if n >= 126:
            form = ">H" if n == 126 else ">Q"
            n = struct.unpack_from(form, data, at)[0]
            must(n >= (126 if form == ">H" else 65536), "a length in a long form")
            at += struct.calcsize(form)
        must(bool(second & 0x80) == client, "a wrong mask bit")
        key = data[at:at + 4] if client else b""
        at += len(key)
        must(at + n <= len(data), "half a frame")
        payload = data[at:at + n]
        at += n
        yield first, masked(payload, key) if client else payload


def our_payloads(case, data):
    """The payloads of our messages, each with its opcode; all of them must be compressed."""
    opcode, parts = None, []
    for first, payload in our_frames(data, case.role == "client"):
        if first & 0x0f >= 8:
            must(first == FIN | PONG and payload == b"between", "a control frame 0x%02x" % first)
            continue
        if opcode is None:
            must(first & 0x70 == RSV1 and first & 0x0f in (TEXT, BINARY), "a first frame 0x%02x" % first)
            opcode = first & 0x0f
        else:
            must(first & 0x7f == 0, "a continuation 0x%02x" % first)
        parts.append(payload)
        if case.ours:
            must(0 < len(payload) <= case.ours, "a fragment of %d bytes" % len(payload))
            must(first & FIN or len(payload) == case.ours, "a fragment of only %d bytes" % len(payload))
        else:
            must(first & FIN, "a fragment, and none was wanted")
        if first & FIN:
            yield opcode, b"".join(parts)
            opcode, parts = None, []
    must(opcode is None, "half a message")


def verdict(case, data):
    client = case.role == "client"
    bits, fresh = (case.client_bits, case.client_fresh) if client else (case.server_bits, case.server_fresh)
    said, context, packed = messages(case), None, 0
    count = 0
    for opcode, payload in our_payloads(case, data):
        must(count < len(said), "a message too many")
        if fresh or not context:
            context = zlib.decompressobj(-bits)
        got = context.decompress(payload + TAIL)
        must(not context.eof and not context.unused_data, "message %d has an end in it" % count)
        must(opcode == OPCODES[case.kind], "message %d is of another kind" % count)
        must(got == said[count], "message %d: %d other bytes" % (count, len(got)))
        packed += len(payload)
        count += 1
    must(count == len(said), "%d messages of %d" % (count, len(said)))
    return "ok %d %d" % (sum(map(len, said)), packed)


# --- files ----------------------------------------------------------------------------------


def make(directory):
    with open(os.path.join(directory, "in"), "wb") as file:
        for case in cases(directory):
            data = peer_bytes(case)
            file.write(struct.pack(">I", len(data)) + data)


def judge(directory):
    with open(os.path.join(directory, "out"), "rb") as ours, open(os.path.join(directory, "verdicts"), "w") as file:
        for case in cases(directory):
            data = ours.read(struct.unpack(">I", ours.read(4))[0])
            try:
                result = verdict(case, data)
            except (Wrong, zlib.error) as problem:
                result = str(problem)
            file.write(result + "\n")


{"make": make, "judge": judge}[sys.argv[1]](sys.argv[2])
