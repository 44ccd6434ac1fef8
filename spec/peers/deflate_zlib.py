"""What deflate_spec.lua is judged by: compressed messages made by Python's zlib and by hand, and what
Python's zlib finds in ours. `make DIR` writes the files of cases, `check DIR` judges DIR/ours and prints
what is wrong with it, and at the end how many messages it has read. Bytes in a file are a length
(4 bytes, big-endian) and as many bytes; a number is 4 bytes.

`offer DIR`, `answer DIR` and `accept DIR` are the package websockets in a handshake: what its client offers
(DIR/offers), its servers' answers to the lines of DIR/ours, and what its clients say to ours. A result is a
line `answer|how the client compresses|how the server does`, each of these like "12 fresh", or empty."""

import itertools
import os
import random
import struct
import sys
import zlib

from websockets import headers
from websockets.exceptions import NegotiationError
from websockets.extensions import permessage_deflate

TAIL = b"\x00\x00\xff\xff"
LEVELS, MEM_LEVELS = range(10), range(1, 10)


class Writer:
    def __init__(self, name):
        self.file = open(name, "wb")

    def number(self, *values):
        self.file.write(struct.pack(">%dI" % len(values), *values))

    def bytes(self, value):
        self.number(len(value))
        self.file.write(value)

    def close(self):
        self.file.close()


class Reader:
    def __init__(self, name):
        with open(name, "rb") as file:
            self.data = file.read()
        self.at = 0

    def number(self):
        self.at += 4
        return struct.unpack_from(">I", self.data, self.at - 4)[0]

    def bytes(self):
        n = self.number()
        self.at += n
        return self.data[self.at - n:self.at]

    def more(self):
        return self.at < len(self.data)


# --- messages -------------------------------------------------------------------------------


def json(chance, n):
    words = ["lune", "wire", "price", "volume", "bid", "ask", "time", "EURUSD", "\u00e9t\u00e9", "null", "true"]
    text = b""
    while len(text) < n:
        text += ('{"%s":%d,"%s":"%s"},' % (chance.choice(words), chance.randrange(10**6), chance.choice(words),
                                          chance.choice(words))).encode()
    return text[:n]


def message(chance, n, before):
    kind = chance.randrange(6)
    if kind == 0:
        return chance.randbytes(n)
    if kind == 1:
        return bytes([chance.randrange(256)]) * n
    if kind == 2 and before:  # what a context is for
        old = chance.choice(before)
        return (old + json(chance, n))[:n] if len(old) < n else old[len(old) - n:]
    if kind == 3:
        unit = chance.randbytes(chance.choice([3, 250, 258, 300, 500, 513, 1000, 5000, 30000, 33000]))
        return (unit * (n // len(unit) + 1))[:n]
    return json(chance, n)


def size(chance, large):
    if large:
        return chance.randrange(1, 128 * 1024 + 1)
    return chance.choice([0, 1, 2, 16, 17, 100, 255, 256, 1000, chance.randrange(4096), chance.randrange(20000)])


class Zlib:
    """One side that compresses as it was agreed."""

    def __init__(self, bits, fresh, level, mem_level, strategy=zlib.Z_DEFAULT_STRATEGY):
        self.arguments = (level, zlib.DEFLATED, -bits, mem_level, strategy)
        self.fresh = fresh
        self.context = None

    def message(self, plain, pieces=()):
        if not plain:
            return b"\x00"
        if self.fresh or not self.context:
            self.context = zlib.compressobj(*self.arguments)
        out, at = b"", 0
        for cut, flush in pieces:
            out += self.context.compress(plain[at:cut]) + self.context.flush(flush)
            at = cut
        out += self.context.compress(plain[at:]) + self.context.flush(zlib.Z_SYNC_FLUSH)
        assert out.endswith(TAIL)
        return out[:-4]


def parameters(chance):
    """Every window, with and without context, over all levels and memLevels: 9 conversations of 8 messages each way."""
    for bits in range(9, 16):
        for fresh in (0, 1):
            for turn in range(9):
                level, mem_level = (turn + bits) % 10, 1 + (turn * 5 + bits + fresh) % 9
                yield bits, fresh, level, mem_level


def make_exchange(name, chance):
    out = Writer(name)
    for number, (bits, fresh, level, mem_level) in enumerate(parameters(chance)):
        side = Zlib(bits, fresh, level, mem_level)
        out.number(bits, fresh, level, mem_level, 8)
        before = []
        for nth in range(8):
            plain = message(chance, size(chance, large=nth == number % 8), before)
            before.append(plain)
            pieces = []
            if len(plain) > 3 and chance.randrange(3) == 0:
                cuts = sorted(chance.sample(range(1, len(plain)), 2))
                flushes = [zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH, zlib.Z_PARTIAL_FLUSH, zlib.Z_BLOCK]
                pieces = [(cut, chance.choice(flushes)) for cut in cuts]
            out.bytes(plain)
            out.bytes(side.message(plain, pieces))
    out.close()


# --- truncated ------------------------------------------------------------------------------


def make_truncated(name, chance):
    """Messages of every kind of block, and 50 places where each is cut short."""
    out = Writer(name)
    strategies = [zlib.Z_DEFAULT_STRATEGY, zlib.Z_FILTERED, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE, zlib.Z_FIXED]
    count = 0
    while count < 300:
        bits, level, mem_level = chance.randrange(9, 16), chance.choice(LEVELS), chance.choice(MEM_LEVELS)
        n = chance.choice([chance.randrange(60, 300), chance.randrange(300, 5000), chance.randrange(5000, 60000)])
        plain = message(chance, n, [])
        payload = Zlib(bits, 1, level, mem_level, chance.choice(strategies)).message(plain)
        if len(payload) <= 51:
            continue
        count += 1
        out.bytes(plain)
        out.bytes(payload)
        out.number(bits, 50, *sorted(chance.sample(range(1, len(payload)), 50)))
    out.close()


# --- blocks by hand -------------------------------------------------------------------------

LENGTH_BASE = [3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258]
LENGTH_EXTRA = [0] * 8 + [1] * 4 + [2] * 4 + [3] * 4 + [4] * 4 + [5] * 4 + [0]
DISTANCE_BASE = [1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073,
                 4097, 6145, 8193, 12289, 16385, 24577]
DISTANCE_EXTRA = [0, 0, 0, 0] + [n // 2 for n in range(2, 28)]
CODE_LENGTH_ORDER = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15]  # RFC 1951, 3.2.7


def last_not_above(table, value):
    return max(i for i, base in enumerate(table) if base <= value)


class Bits:
    def __init__(self):
        self.bits = []

    def put(self, value, n):
        """A number: its lowest bit first."""
        self.bits += [value >> i & 1 for i in range(n)]

    def code(self, value, n):
        """A Huffman code: its highest bit first."""
        self.bits += [value >> (n - 1 - i) & 1 for i in range(n)]

    def pad(self):
        self.bits += [0] * (-len(self.bits) % 8)

    def done(self):
        self.pad()
        return bytes(sum(bit << i for i, bit in enumerate(self.bits[at:at + 8])) for at in range(0, len(self.bits), 8))


def symbols(tokens):
    """Tokens are literal bytes, or (length, distance): as (symbol, extra, bits of it, distance code, extra, bits)."""
    for token in tokens:
        if isinstance(token, int):
            yield token, 0, 0, None, 0, 0
        else:
            length, distance = token
            at, far = last_not_above(LENGTH_BASE, length), last_not_above(DISTANCE_BASE, distance)
            yield (257 + at, length - LENGTH_BASE[at], LENGTH_EXTRA[at], far, distance - DISTANCE_BASE[far],
                   DISTANCE_EXTRA[far])
    yield 256, 0, 0, None, 0, 0


def stored(bits, content, final=0):
    bits.put(final, 1)
    bits.put(0, 2)
    bits.pad()
    bits.put(len(content), 16)
    bits.put(len(content) ^ 0xffff, 16)
    for byte in content:
        bits.put(byte, 8)


def fixed(bits, tokens, final=0):
    bits.put(final, 1)
    bits.put(1, 2)
    for symbol, extra, extra_bits, far, far_extra, far_bits in symbols(tokens):
        if symbol < 144:
            bits.code(0x30 + symbol, 8)
        elif symbol < 256:
            bits.code(0x190 + symbol - 144, 9)
        elif symbol < 280:
            bits.code(symbol - 256, 7)
        else:
            bits.code(0xc0 + symbol - 280, 8)
        bits.put(extra, extra_bits)
        if far is not None:
            bits.code(far, 5)
            bits.put(far_extra, far_bits)


def dynamic(bits, tokens, final=0):
    """Every symbol in use gets a code of the same length, filled up to a power of two; so do the distances."""
    used = sorted({symbol for symbol, *_ in symbols(tokens)})
    width = max(1, (len(used) - 1).bit_length())
    filler = (symbol for symbol in range(285) if symbol not in used)
    while len(used) < 1 << width:
        used = sorted(used + [next(filler)])
    lengths = [width if symbol in used else 0 for symbol in range(286)]
    distances = [5 if far < 30 else 0 for far in range(30)]  # 30 of 32: no complete code
    distances[0] = distances[1] = 4  # ... until these two count double
    if not any(far is not None for _, _, _, far, _, _ in symbols(tokens)):
        distances = [0]
    bits.put(final, 1)
    bits.put(2, 2)
    bits.put(len(lengths) - 257, 5)
    bits.put(len(distances) - 1, 5)
    bits.put(len(CODE_LENGTH_ORDER) - 4, 4)
    for length in CODE_LENGTH_ORDER:  # the code lengths' own code: 16 of them, of four bits each
        bits.put(4 if length < 16 else 0, 3)
    for length in lengths + distances:
        bits.code(length, 4)
    far_codes = canonical(distances)
    for symbol, extra, extra_bits, far, far_extra, far_bits in symbols(tokens):
        bits.code(used.index(symbol), width)
        bits.put(extra, extra_bits)
        if far is not None:
            bits.code(*far_codes[far])
            bits.put(far_extra, far_bits)


def canonical(lengths):
    """RFC 1951, 3.2.2: symbol -> (code, length)."""
    codes, code = {}, 0
    for length in range(1, 16):
        for symbol, own in enumerate(lengths):
            if own == length:
                codes[symbol] = (code, length)
                code += 1
        code <<= 1
    return codes


def expand(tokens, history):
    for token in tokens:
        if isinstance(token, int):
            history.append(token)
        else:
            length, distance = token
            for _ in range(length):
                history.append(history[-distance])


def random_tokens(chance, history, n, reach):
    """Tokens that can be read with this history, none of which reaches further back than `reach`."""
    tokens, have = [], len(history)
    for _ in range(n):
        most = min(have, reach)
        if most > 0 and chance.randrange(3) == 0:
            tokens.append((chance.randrange(3, 259), chance.choice([1, most, chance.randrange(1, most + 1)])))
            have += tokens[-1][0]
        else:
            tokens.append(chance.choice(b"abcdefgh\x00\xff") if chance.randrange(2) else chance.randrange(256))
            have += 1
    return tokens


def make_hand(name, chance):
    """Conversations of blocks of all kinds in any order, final or not; each message ends as the RFC has it."""
    out = Writer(name)
    for _ in range(120):
        bits, fresh = chance.choice([8, 9, 10, 12, 15]), chance.randrange(2)
        history = []
        out.number(bits, fresh, 6, 8, 6)
        for _ in range(6):
            if fresh:
                history = []
            begin = len(history)
            stream = Bits()
            for _ in range(chance.randrange(5)):
                kind, final = chance.randrange(3), int(chance.randrange(4) == 0)
                tokens = random_tokens(chance, history, chance.choice([0, 1, 5, 40]), 1 << bits)
                if kind == 0:
                    tokens = [token for token in tokens if isinstance(token, int)]
                    stored(stream, bytes(tokens), final)
                else:
                    (fixed if kind == 1 else dynamic)(stream, tokens, final)
                expand(tokens, history)
                if final:
                    stream.pad()
            stored(stream, b"", int(chance.randrange(8) == 0))
            payload = stream.done()
            assert payload.endswith(TAIL)
            out.bytes(bytes(history[begin:]))
            out.bytes(payload[:-4])
    out.close()


def make_far(name):
    """Blocks that refer too far back: past the window, past what there is."""
    out = Writer(name)
    for bits in range(9, 14):  # with 14, deflate cannot say it
        window = 1 << bits
        for make in (fixed, dynamic):
            stream = Bits()
            make(stream, [65 + n % 23 for n in range(2 * window + 300)] + [(10, 2 * window + 1)])
            stored(stream, b"")
            out.number(bits)
            out.bytes(stream.done()[:-4])
    for bits in (8, 9, 15):
        for have in (0, 1, 100):
            stream = Bits()
            fixed(stream, [66] * have + [(3, have + 1)])
            stored(stream, b"")
            out.number(bits)
            out.bytes(stream.done()[:-4])
    out.close()


def make_bombs(name):
    out = Writer(name)
    for mebibytes in (1, 8, 64):
        context = zlib.compressobj(9, zlib.DEFLATED, -15)
        packed = b"".join(context.compress(bytes(1 << 20)) for _ in range(mebibytes))
        out.number(mebibytes << 20)
        out.bytes((packed + context.flush(zlib.Z_SYNC_FLUSH))[:-4])
    out.close()


def make(directory):
    chance = random.Random(7692)
    make_exchange(os.path.join(directory, "exchange"), chance)
    make_truncated(os.path.join(directory, "truncated"), chance)
    make_hand(os.path.join(directory, "hand"), chance)
    make_far(os.path.join(directory, "far"))
    make_bombs(os.path.join(directory, "bombs"))


# --- what we have made ----------------------------------------------------------------------


def farthest(payload, history):
    """The longest way back in a payload, read by hand; `history` bytes were there before."""
    data = payload + TAIL
    at, made, far = 0, history, 0

    def number(n):
        nonlocal at
        value = sum((data[(at + i) >> 3] >> ((at + i) & 7) & 1) << i for i in range(n))
        at += n
        return value

    def symbol(codes):
        nonlocal at
        code = 1
        while True:
            code = code << 1 | (data[at >> 3] >> (at & 7) & 1)
            at += 1
            if code in codes:
                return codes[code]

    def tree(lengths):
        return {1 << n | code: which for which, (code, n) in canonical(lengths).items()}

    while at < 8 * len(data):
        final, kind = number(1), number(2)
        assert not final
        if kind == 0:
            at = (at + 7) & ~7
            n = number(16)
            assert n ^ number(16) == 0xffff
            at += 8 * n
            made += n
            continue
        lengths, distances = [8] * 144 + [9] * 112 + [7] * 24 + [8] * 8, [5] * 30
        if kind == 2:
            literals, fars, own = number(5) + 257, number(5) + 1, [0] * 19
            for length in CODE_LENGTH_ORDER[:number(4) + 4]:
                own[length] = number(3)
            codes, lengths = tree(own), []
            while len(lengths) < literals + fars:
                length = symbol(codes)
                if length == 16:
                    lengths += [lengths[-1]] * (3 + number(2))
                elif length > 16:
                    lengths += [0] * (3 + number(3) if length == 17 else 11 + number(7))
                else:
                    lengths.append(length)
            lengths, distances = lengths[:literals], lengths[literals:]
        codes, far_codes = tree(lengths), tree(distances)
        while True:
            what = symbol(codes)
            if what == 256:
                break
            if what < 256:
                made += 1
                continue
            length = LENGTH_BASE[what - 257] + number(LENGTH_EXTRA[what - 257])
            code = symbol(far_codes)
            distance = DISTANCE_BASE[code] + number(DISTANCE_EXTRA[code])
            assert distance <= made
            far = max(far, distance)
            made += length
    return far


def check(directory):
    """Prints one line for each mistake, and `read N`."""
    ours = Reader(os.path.join(directory, "ours"))
    count = walked = 0
    while ours.more():
        bits, fresh, level, mem_level, messages = (ours.number() for _ in range(5))
        where = "bits %d, fresh %d, level %d, memLevel %d" % (bits, fresh, level, mem_level)
        context, history = None, 0
        for nth in range(messages):
            plain, payload = ours.bytes(), ours.bytes()
            if fresh or not context:
                context, history = zlib.decompressobj(-bits), 0
            try:
                got = context.decompress(payload + TAIL)
            except zlib.error as problem:
                print("%s, message %d: %s" % (where, nth, problem))
                context = None
                continue
            if got != plain or context.eof or context.unused_data:
                print("%s, message %d: %d bytes came for %d" % (where, nth, len(got), len(plain)))
            if len(payload) < 6000:
                walked += 1
                if farthest(payload, history) > 1 << bits:
                    print("%s, message %d reaches past its window" % (where, nth))
            history += len(plain)
            count += 1
    print("walked %d" % walked)
    print("read %d" % count)


# --- the handshake --------------------------------------------------------------------------

NAME = permessage_deflate.ClientPerMessageDeflateFactory.name


def clients():
    for fresh, theirs, bits, own in itertools.product((False, True), (False, True), (None, 9, 12, 15), (None, True, 9, 11, 15)):
        yield permessage_deflate.ClientPerMessageDeflateFactory(
            server_no_context_takeover=fresh, client_no_context_takeover=theirs, server_max_window_bits=bits,
            client_max_window_bits=own)


def servers():
    for fresh, theirs, bits, own in itertools.product((False, True), (False, True), (None, 9, 12, 15), (None, 9, 11)):
        for require in {False, own is not None}:
            yield permessage_deflate.ServerPerMessageDeflateFactory(
                server_no_context_takeover=fresh, client_no_context_takeover=theirs, server_max_window_bits=bits,
                client_max_window_bits=own, require_client_max_window_bits=require)


def way(fresh, bits):
    return "%d%s" % (bits, " fresh" if fresh else "")


def answer_of(server, offers):
    """What the first offer that this server accepts is answered with, or an empty result."""
    for name, params in headers.parse_extension(offers):
        try:
            response, agreed = server.process_request_params(params, [])
        except NegotiationError:
            continue
        return "%s|%s|%s" % (headers.build_extension([(name, response)]),
                             way(agreed.remote_no_context_takeover, agreed.remote_max_window_bits),
                             way(agreed.local_no_context_takeover, agreed.local_max_window_bits))
    return "||"


def accepted(client, answer):
    if not answer:
        return "||"
    (_, params), = headers.parse_extension(answer)
    agreed = client.process_response_params(params, [])
    return "%s|%s|%s" % (answer, way(agreed.local_no_context_takeover, agreed.local_max_window_bits),
                         way(agreed.remote_no_context_takeover, agreed.remote_max_window_bits))


def ours(directory):
    with open(os.path.join(directory, "ours")) as file:
        return file.read().splitlines()


def write(directory, name, lines):
    with open(os.path.join(directory, name), "w") as file:
        file.writelines(line + "\n" for line in lines)


def offer(directory):
    write(directory, "offers", [headers.build_extension([(NAME, client.get_request_params())]) for client in clients()])


def answer(directory):
    """Each of our offers before each of its servers."""
    write(directory, "results", [answer_of(server, line) for line in ours(directory) for server in servers()])


def accept(directory):
    """Our answers, as many in turn for each of its clients."""
    answers, asked = ours(directory), list(clients())
    each = len(answers) // len(asked)
    write(directory, "results", [accepted(client, answers[nth * each + i])
                                 for nth, client in enumerate(asked) for i in range(each)])


{"make": make, "check": check, "offer": offer, "answer": answer, "accept": accept}[sys.argv[1]](sys.argv[2])
