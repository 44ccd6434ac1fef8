"""The Python package websockets as a peer: a server with one behaviour per path, and a client that plays
one scenario per request. `python3 websockets_peer.py PORT`, where PORT is the spec's: lines of JSON over
TCP, {id, ask, ...arguments} in and {id, result} or {id, failure} out. See spec/foreign.lua."""

import asyncio
import contextlib
import functools
import http
import itertools
import json
import logging
import os
import ssl
import sys
import traceback
import urllib.parse

import websockets
from websockets.client import WebSocketClientProtocol
from websockets.server import WebSocketServerProtocol

BLOCK = 65521
PIECE = 1000  # bytes or characters of a fragment
SPOKEN = ["chat.v2", "chat.v1"]
LIMIT = 16 * 1024 * 1024

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "texts.json"), encoding="utf-8") as file:
    # Python reads surrogates one by one where JSON has them unpaired; ours are all paired.
    TEXTS = json.load(file)

# --- the bytes both ends expect: payload.js and payload.lua make the same ---------------------------


@functools.lru_cache(None)
def block(kind):
    characters = [each.encode() for each in "aé€😀"]
    made, x = bytearray(), 1
    while len(made) < BLOCK:
        x = x * 16807 % 2147483647
        made += characters[x >> 8 & 3] if kind == "text" else bytes([x >> 8 & 255])
    return bytes(made)


@functools.lru_cache(None)
def payload(kind, n):
    one = block(kind)
    count, rest = divmod(n, len(one))
    end = rest
    while kind == "text" and end > 0 and one[end] & 0xC0 == 0x80:
        end -= 1
    made = one * count + one[:end] + b"x" * (rest - end)
    return made.decode() if kind == "text" else made


def message(i):
    kind = "binary" if i % 3 == 0 else "text"
    body = payload(kind, 70000 if i % 100 == 99 else i * 7919 % 4001)
    return f"{i}:{body}" if kind == "text" else f"{i}:".encode() + body


def size(data):
    return len(data.encode() if isinstance(data, str) else data)


def judge(data, due):
    if type(data) is not type(due):
        raise ValueError(f"{type(data).__name__} came, {type(due).__name__} was due")
    if data != due:
        raise ValueError(f"{size(data)} bytes of {type(data).__name__} came, not as they were sent")


def pieces(data):
    """A message in fragments; the second and the last are empty."""
    yield data[:PIECE]
    yield data[:0]
    for at in range(PIECE, len(data), PIECE):
        yield data[at : at + PIECE]


# --- both sides --------------------------------------------------------------------------------------------


class Counting:
    """Counts the data frames that come."""

    frames = 0

    async def read_data_frame(self, max_size):
        frame = await super().read_data_frame(max_size)
        if frame is not None:
            self.frames += 1
        return frame

    def count(self):
        count, self.frames = self.frames, 0
        return count


class Server(Counting, WebSocketServerProtocol):
    pass


class Client(Counting, WebSocketClientProtocol):
    pass


async def ending(ws):
    await ws.wait_closed()
    clean = ws.close_rcvd is not None and ws.close_sent is not None
    return {"code": ws.close_code, "reason": ws.close_reason, "wasClean": clean}


# --- a server ----------------------------------------------------------------------------------------------


class Behaviours:
    async def echo(self, ws, query):
        async for data in ws:
            await ws.send(data)

    async def check(self, ws, query):
        async for data in ws:
            due = payload("text" if isinstance(data, str) else "binary", size(data))
            judge(data, due)
            await ws.send(due)

    async def sequence(self, ws, query):
        for i in itertools.count():
            judge(await ws.recv(), message(i))
            await ws.send(message(i))

    async def texts(self, ws, query):
        for text in TEXTS:
            judge(await ws.recv(), text)
            await ws.send(text)
        await ws.wait_closed()

    async def fragments(self, ws, query):
        async for data in ws:
            due = payload("text" if isinstance(data, str) else "binary", size(data))
            judge(data, due)
            await ws.send(str(ws.count()))
            await ws.send(pieces(due))

    async def ping(self, ws, query):
        await (await ws.ping("from the server"))
        await ws.send("ponged from the server")
        await ws.wait_closed()

    async def headers(self, ws, query):
        await ws.send(json.dumps({name.lower(): ", ".join(ws.request_headers.get_all(name)) for name in ws.request_headers}))
        await ws.wait_closed()

    async def close(self, ws, query):
        await ws.close(int(query.get("code", "1000")), query.get("reason", ""))

    async def cross(self, ws, query):
        await ws.close(4001, "the server's")

    async def idle(self, ws, query):
        await ws.wait_closed()


endings = {}  # id of a connection -> future of its ending


def ending_of(connection):
    return endings.setdefault(connection, asyncio.get_running_loop().create_future())


async def handle(ws):
    target = urllib.parse.urlsplit(ws.path)
    query = dict(urllib.parse.parse_qsl(target.query))
    try:
        await getattr(Behaviours(), target.path[1:])(ws, query)
    except websockets.ConnectionClosed:
        pass
    except ValueError as problem:
        await ws.close(4400, str(problem))
    ending_of(query.get("id")).set_result(await ending(ws))


async def refuse(path, headers):
    if path[1:4] in ("401", "403"):
        status = http.HTTPStatus(int(path[1:4]))
        return status, [("WWW-Authenticate", 'Basic realm="spec"')], f"not you: {status.value}".encode()
    return None


# --- a client ----------------------------------------------------------------------------------------------


def connect(url, **options):
    return websockets.connect(url, create_protocol=Client, max_size=LIMIT, ping_interval=None, **options)


class Scenarios:
    async def check(self, url, sizes):
        async with connect(url + "check") as ws:
            for kind in "text", "binary":
                for n in sizes:
                    await ws.send(payload(kind, n))
                    judge(await ws.recv(), payload(kind, n))
        return {"extensions": ws.response_headers.get("Sec-WebSocket-Extensions", ""), **await ending(ws)}

    async def sequence(self, url, count):
        async with connect(url + "sequence") as ws:
            for i in range(count):
                await ws.send(message(i))
            for i in range(count):
                judge(await ws.recv(), message(i))
        return await ending(ws)

    async def texts(self, url):
        async with connect(url + "texts") as ws:
            for text in TEXTS:
                await ws.send(text)
            for text in TEXTS:
                judge(await ws.recv(), text)
        return await ending(ws)

    async def fragments(self, url, size):
        frames = {}
        async with connect(url + "fragments") as ws:
            for kind in "text", "binary":
                await ws.send(pieces(payload(kind, size)))
                judge(await ws.recv(), payload(kind, size))
                frames[kind] = ws.count()
        return frames

    async def ping(self, url):
        async with connect(url + "ping") as ws:
            await (await ws.ping("from the client"))
            return {"ponged": "from the client", "heard": await ws.recv()}

    async def headers(self, url, headers, protocols=None):
        async with connect(
            url + "headers", extra_headers=headers, subprotocols=protocols, origin="http://elsewhere.example"
        ) as ws:
            return {
                "protocol": ws.subprotocol or "",
                "request": json.loads(await ws.recv()),
                "response": {name.lower(): value for name, value in ws.response_headers.raw_items()},
            }

    async def close(self, url, code=1000, reason=""):
        ws = await connect(url + "idle")
        await ws.close(code, reason)
        return await ending(ws)

    async def closed(self, url, target):
        return await ending(await connect(url + target))

    async def cross(self, url):
        ws = await connect(url + "cross")
        await ws.send("cross")
        await ws.close(4002, "the client's")
        return await ending(ws)

    async def many(self, url, count):
        lines = await asyncio.gather(*(connect(url + "echo") for _ in range(count)))
        for i, ws in enumerate(lines):
            await ws.send(message(i))
        for i, ws in enumerate(lines):
            judge(await ws.recv(), message(i))
        await asyncio.gather(*(ws.close() for ws in lines))
        ends = [await ending(ws) for ws in lines]
        return {"open": len(lines), "clean": sum(each["wasClean"] for each in ends)}

    async def refused(self, url, target, protocols=None, origin=None):
        try:
            await connect(url + target, subprotocols=protocols, origin=origin)
        except websockets.InvalidStatusCode as problem:
            return {"status": problem.status_code, "headers": {k.lower(): v for k, v in problem.headers.raw_items()}}
        return {"opened": True}

    async def gather(self, url, target, count):
        lines = await asyncio.gather(*(connect(url + target) for _ in range(count)))

        async def hear(ws):
            heard = []
            await ws.send("ready")
            with contextlib.suppress(websockets.ConnectionClosed):
                while True:
                    data = await ws.recv()
                    text = isinstance(data, str)
                    heard.append({"kind": "text" if text else "binary", "hex": (data.encode() if text else data).hex()})
            return {"heard": heard, **await ending(ws)}

        return await asyncio.gather(*(hear(ws) for ws in lines))

    # --- the server's ---

    async def listen(self, cert=None, key=None):
        """Over TLS when there is a certificate."""
        context = None
        if cert:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(cert, key)
        server = await websockets.serve(
            handle, "127.0.0.1", 0, create_protocol=Server, process_request=refuse, subprotocols=SPOKEN,
            max_size=LIMIT, ping_interval=None, compression="deflate", ssl=context,
        )
        return {"port": server.sockets[0].getsockname()[1]}

    async def ending(self, connection):
        return await ending_of(connection)


# --- what the spec asks --------------------------------------------------------------------------------------


async def answer(request, writer):
    number, ask = request.pop("id"), request.pop("ask")
    try:
        reply = {"id": number, "result": await getattr(Scenarios(), ask)(**request)}
    except Exception:
        reply = {"id": number, "failure": traceback.format_exc()}
    writer.write(json.dumps(reply).encode() + b"\n")


async def main(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=LIMIT)
    tasks = set()
    while line := await reader.readline():
        tasks.add(asyncio.create_task(answer(json.loads(line), writer)))
    os._exit(0)


logging.getLogger("websockets").setLevel(logging.CRITICAL)  # what goes wrong is told to the spec
asyncio.run(main(int(sys.argv[1])))
