"""Python's zlib for spec/judge.lua: `zlib_jobs.py IN OUT` does the jobs of a file, one after the other. A job is a
letter, five numbers (4 bytes, big-endian: bits of the window, 1 for no context takeover, level, memLevel, how many
items) and its items, each a number and as many bytes. `c` compresses messages: the results are payloads. `d`
decompresses payloads: each result has in front of it a byte, 0, or 1 where it is what was wrong."""

import struct
import sys
import zlib

TAIL = b"\x00\x00\xff\xff"


def compress(bits, fresh, level, mem_level, plains):
    context = None
    for plain in plains:
        if fresh or not context:
            context = zlib.compressobj(level, zlib.DEFLATED, -bits, mem_level)
        if not plain:
            yield b"\x00"
            continue
        payload = context.compress(plain) + context.flush(zlib.Z_SYNC_FLUSH)
        assert payload.endswith(TAIL)
        yield payload[:-4]


def decompress(bits, fresh, _level, _mem_level, payloads):
    context = None
    for payload in payloads:
        if fresh or not context:
            context = zlib.decompressobj(-bits)
        try:
            plain = context.decompress(payload + TAIL)
        except zlib.error as problem:
            context = None
            yield b"\x01" + str(problem).encode()
            continue
        if context.eof or context.unused_data or context.unconsumed_tail:
            yield b"\x01it ends early"
            context = None
        elif not payload:
            yield b"\x01no payload at all, where an empty message has one byte"
        else:
            yield b"\x00" + plain


def main(name, results):
    with open(name, "rb") as file:
        data = file.read()
    at = 0

    def take(n):
        nonlocal at
        at += n
        return data[at - n:at]

    def number():
        return struct.unpack(">I", take(4))[0]

    with open(results, "wb") as out:
        while at < len(data):
            work = {b"c": compress, b"d": decompress}[take(1)]
            arguments = [number() for _ in range(4)]
            for item in work(*arguments, [take(number()) for _ in range(number())]):
                out.write(struct.pack(">I", len(item)) + item)


main(*sys.argv[1:])
