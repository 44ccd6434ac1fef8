"""A peer of raw bytes and Python's zlib, with whom messages are exchanged compressed: handshake and frames
are written and read by hand, and what comes is judged by the letter of RFC 7692. `python3 deflate_raw.py PORT`, where
PORT is the spec's; see deflate_ws.js for what lies in files and is answered.

A way is how a side compresses: {"bits": 9 to 15, "fresh": no context takeover}."""

import base64
import hashlib
import json
import os
import random
import socket
import struct
import sys
import threading
import traceback
import zlib

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TAIL = b"\x00\x00\xff\xff"
PATIENCE = 30

files = {}


def messages(name):
    if name not in files:
        with open(name, "rb") as file:
            data = file.read()
        files[name], at = [], 0
        while at < len(data):
            end = at + 5 + struct.unpack_from(">I", data, at + 1)[0]
            files[name].append((data[at : at + 1], data[at + 5 : end]))
            at = end
    return files[name]


def masked(data, key):
    if not data:
        return data
    n = len(data)
    whole = (key * (n // 4 + 1))[:n]
    return (int.from_bytes(data, "big") ^ int.from_bytes(whole, "big")).to_bytes(n, "big")


class Line:
    def __init__(self, sock, client):
        self.sock, self.client, self.buffer = sock, client, b""
        sock.settimeout(PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.lock = threading.Lock()
        self.received = self.sent = 0

    def fill(self, n):
        while len(self.buffer) < n:
            data = self.sock.recv(1 << 18)
            if not data:
                raise EOFError("the end of the stream")
            self.buffer += data

    def read(self, n):
        self.fill(n)
        data, self.buffer = self.buffer[:n], self.buffer[n:]
        return data

    def head(self):
        while b"\r\n\r\n" not in self.buffer:
            self.fill(len(self.buffer) + 1)
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        fields = {}
        for line in head.decode().split("\r\n")[1:]:
            name, _, value = line.partition(":")
            fields.setdefault(name.lower(), []).append(value.strip())
        return head.decode().split("\r\n")[0], {name: ", ".join(values) for name, values in fields.items()}

    def frame(self, opcode, data, fin=True, rsv1=False):
        first = opcode | (0x80 if fin else 0) | (0x40 if rsv1 else 0)
        n, mask = len(data), 0x80 if self.client else 0
        if n < 126:
            head = struct.pack("!BB", first, mask | n)
        elif n < 65536:
            head = struct.pack("!BBH", first, mask | 126, n)
        else:
            head = struct.pack("!BBQ", first, mask | 127, n)
        if self.client:
            key = os.urandom(4)
            head, data = head + key, masked(data, key)
        self.sent += len(head) + len(data)
        return head + data

    def say(self, data):
        with self.lock:
            self.sock.sendall(data)

    def next(self):
        """The next frame: fin, rsv1, opcode, payload."""
        first, second = self.read(2)
        n = second & 127
        if n == 126:
            n, = struct.unpack("!H", self.read(2))
        elif n == 127:
            n, = struct.unpack("!Q", self.read(8))
        if bool(second & 0x80) == self.client:
            raise ValueError("a mask where none should be, or none where one should")
        if first & 0x30:
            raise ValueError("RSV2 or RSV3")
        key = self.read(4) if second & 0x80 else None
        data = self.read(n)
        self.received += n
        return bool(first & 0x80), bool(first & 0x40), first & 15, masked(data, key) if key else data


# --- messages, both ways --------------------------------------------------------------------------------------


class Deflater:
    """Compresses as the way has it; how hard and how, changes from one context to the next."""

    def __init__(self, way, seed):
        self.way, self.chance, self.context = way, random.Random(seed), None

    def message(self, data):
        if self.context is None or self.way["fresh"]:
            level = self.chance.choice([-1, -1, 0, 1, 6, 9])
            strategy = self.chance.choice(
                [zlib.Z_DEFAULT_STRATEGY] * 6 + [zlib.Z_FILTERED, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE, zlib.Z_FIXED])
            self.context = zlib.compressobj(
                level, zlib.DEFLATED, -self.way["bits"], self.chance.choice([1, 8, 9]), strategy)
        packed = self.context.compress(data) + self.context.flush(zlib.Z_SYNC_FLUSH)
        assert packed.endswith(TAIL)
        return packed[:-4] or b"\x00"


class Inflater:
    def __init__(self, way):
        self.way, self.context = way, None

    def message(self, data):
        if self.context is None or self.way["fresh"]:
            self.context = zlib.decompressobj(-self.way["bits"])
        made, data, piece = [], data + TAIL, 1 << self.way["bits"]
        while data or len(made[-1]) == piece:  # the last call may have left some without input
            # no more at once than the window: a reference past it would not be noticed
            made.append(self.context.decompress(data, piece))
            data = self.context.unconsumed_tail
        if self.context.eof:
            raise ValueError("a final block")
        return b"".join(made)


def send_all(line, name, way, seed):
    """A seventh of the messages as they are, some in fragments with a ping between."""
    deflater, pending = Deflater(way, seed), []
    for i, (kind, data) in enumerate(messages(name)):
        opcode, squeezed = (1 if kind == b"t" else 2), i % 7 != 3
        payload = deflater.message(data) if squeezed else data
        if i % 20 == 19:
            cut = sorted(deflater.chance.randrange(len(payload) + 1) for _ in range(2))
            pending += [line.frame(opcode, payload[: cut[0]], False, squeezed), line.frame(9, b"between"),
                        line.frame(0, payload[cut[0] : cut[1]], False), line.frame(0, payload[cut[1] :])]
        else:
            pending.append(line.frame(opcode, payload, True, squeezed))
        if len(pending) > 50:
            line.say(b"".join(pending))
            pending = []
    line.say(b"".join(pending))


def hear(line, way):
    """Whole messages, until a Close: yields kind, bytes, whether compressed."""
    inflater, parts, opcode, squeezed = Inflater(way), [], None, False
    while True:
        fin, rsv1, kind, data = line.next()
        if kind >= 8:
            if rsv1 or not fin:
                raise ValueError("a control frame that is compressed or in pieces")
            if kind == 8:
                return
            continue
        if kind != 0:
            opcode, squeezed, parts = kind, rsv1, []
        elif rsv1:
            raise ValueError("RSV1 on a continuation")
        parts.append(data)
        if fin:
            data = b"".join(parts)
            yield b"t" if opcode == 1 else b"b", inflater.message(data) if squeezed else data, squeezed


def talk(line, mine, count, ours, theirs, seed):
    """Sends all of `mine`, hears `count` (None: until the other side closes)."""
    said = {"count": 0, "bytes": 0, "squeezed": 0}
    sha = hashlib.sha256()
    failure = []

    def send():
        try:
            send_all(line, mine, ours, seed)
        except Exception:
            failure.append(traceback.format_exc())

    sending = threading.Thread(target=send, daemon=True)
    sending.start()
    try:
        for kind, data, squeezed in hear(line, theirs):
            sha.update(kind + struct.pack(">I", len(data)) + data)
            said["count"] += 1
            said["bytes"] += len(data)
            said["squeezed"] += squeezed
            if said["count"] == count:
                sending.join(PATIENCE)
                line.say(line.frame(8, struct.pack("!H", 1000)))
        if count is None:
            sending.join(PATIENCE)
            line.say(line.frame(8, struct.pack("!H", 1000)))
    except Exception:
        failure.append(traceback.format_exc())
        line.sock.close()
    said.update(sha256=sha.hexdigest(), received=line.received, sent=line.sent)
    if failure:
        said["error"] = failure[0]
    return said


def accept(key):
    return base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()


heard = {}  # by port: thread, list of one result


class Abilities:
    def listen(self, answer, down, client, server, seed):
        """Answers the first who comes with `answer` as its extensions ("": none)."""
        listener = socket.create_server(("127.0.0.1", 0))
        said = []

        def serve():
            try:
                listener.settimeout(PATIENCE)
                sock, _ = listener.accept()
                listener.close()
                line = Line(sock, False)
                _, fields = line.head()
                field = "Sec-WebSocket-Extensions: %s\r\n" % answer if answer else ""
                line.say((
                    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    "Sec-WebSocket-Accept: %s\r\n%s\r\n" % (accept(fields["sec-websocket-key"]), field)).encode())
                said.append({**talk(line, down, None, server, client, seed),
                             "extensions": fields.get("sec-websocket-extensions", "")})
                sock.close()
            except Exception:
                said.append({"error": traceback.format_exc()})

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        port = listener.getsockname()[1]
        heard[port] = thread, said
        return {"port": port}

    def heard(self, port):
        thread, said = heard.pop(port)
        thread.join()
        return said[0]

    def visit(self, port, offer, up, down, client, server, seed):
        with socket.create_connection(("127.0.0.1", port)) as sock:
            line = Line(sock, True)
            key = base64.b64encode(os.urandom(16)).decode()
            line.say((
                "GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\nSec-WebSocket-Extensions: %s\r\n\r\n"
                % (port, key, offer)).encode())
            status, fields = line.head()
            if status.split()[1] != "101" or fields["sec-websocket-accept"] != accept(key):
                return {"refused": status}
            said = talk(line, up, len(messages(down)), client, server, seed)
            return {**said, "extensions": fields.get("sec-websocket-extensions", "")}


def answer(request, sock, lock):
    number, ask = request.pop("id"), request.pop("ask")
    try:
        reply = {"id": number, "result": getattr(Abilities(), ask)(**request)}
    except Exception:
        reply = {"id": number, "failure": traceback.format_exc()}
    with lock:
        sock.sendall(json.dumps(reply).encode() + b"\n")


def main(port):
    sock, lock = socket.create_connection(("127.0.0.1", port)), threading.Lock()
    with sock.makefile("r") as lines:
        for line in lines:
            threading.Thread(target=answer, args=(json.loads(line), sock, lock), daemon=True).start()
    os._exit(0)


main(int(sys.argv[1]))
