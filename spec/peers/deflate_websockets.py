"""The Python package websockets as a peer with whom messages are exchanged compressed.
`python3 deflate_websockets.py PORT`, where PORT is the spec's; see deflate_ws.js, which does the same."""

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import ssl
import struct
import sys
import traceback

import websockets
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory, ServerPerMessageDeflateFactory

LIMIT = 16 * 1024 * 1024

# --- messages ---------------------------------------------------------------------------------------------

files = {}  # what was read, by name


def messages(name):
    if name not in files:
        with open(name, "rb") as file:
            data = file.read()
        files[name], at = [], 0
        while at < len(data):
            end = at + 5 + struct.unpack_from(">I", data, at + 1)[0]
            files[name].append(data[at + 5 : end] if data[at : at + 1] == b"b" else data[at + 5 : end].decode())
            at = end
    return files[name]


# --- both sides -------------------------------------------------------------------------------------------


def halves(data):
    middle = len(data) // 2
    yield data[:middle]
    yield data[middle:]


async def send_all(ws, name):
    with contextlib.suppress(websockets.ConnectionClosed):
        for i, data in enumerate(messages(name)):
            await ws.send(halves(data) if i % 50 == 49 else data)


def way(fresh, bits):
    return "%d%s" % (bits, " fresh" if fresh else "")


async def hear(ws, count, server):
    """What came until all `count` were here or it ended, and how it ended."""
    sha, heard, size = hashlib.sha256(), 0, 0
    said = {}
    for extension in ws.extensions:
        local = way(extension.local_no_context_takeover, extension.local_max_window_bits)
        remote = way(extension.remote_no_context_takeover, extension.remote_max_window_bits)
        said["server"], said["client"] = (local, remote) if server else (remote, local)
    with contextlib.suppress(websockets.ConnectionClosed):
        while heard != count:
            data = await ws.recv()
            kind, data = (b"t", data.encode()) if isinstance(data, str) else (b"b", data)
            sha.update(kind + struct.pack(">I", len(data)) + data)
            heard, size = heard + 1, size + len(data)
    if count is not None:
        await ws.close()
    await ws.wait_closed()
    return {**said, "count": heard, "bytes": size, "sha256": sha.hexdigest(), "code": ws.close_code}


async def talk(ws, mine, count, server):
    sending = asyncio.create_task(send_all(ws, mine))
    said = await hear(ws, count, server)
    try:
        await sending
    except Exception as problem:
        said["error"] = str(problem)
    return said


# --- what the spec asks -------------------------------------------------------------------------------------

heard = {}  # by port: server, future of what came


class Abilities:
    async def listen(self, deflate, down, cert=None, key=None):
        context = None
        if cert:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(cert, key)
        over = asyncio.get_running_loop().create_future()

        async def handle(ws):
            said = await talk(ws, down, None, True)
            if not over.done():
                over.set_result(said)

        server = await websockets.serve(
            handle, "127.0.0.1", 0, max_size=LIMIT, ping_interval=None, compression=None, ssl=context,
            extensions=[ServerPerMessageDeflateFactory(**deflate)] if deflate is not False else None,
        )
        port = server.sockets[0].getsockname()[1]
        heard[port] = server, over
        return {"port": port}

    async def heard(self, port):
        server, over = heard.pop(port)
        said = await over
        server.close()
        return said

    async def visit(self, url, deflate, up, down, ca=None):
        context = ssl.create_default_context(cafile=ca) if ca else None
        factories = [ClientPerMessageDeflateFactory(**deflate)] if deflate is not False else None
        try:
            ws = await websockets.connect(
                url, max_size=LIMIT, ping_interval=None, compression=None, extensions=factories, ssl=context)
        except websockets.InvalidHandshake as problem:
            return {"refused": str(problem)}
        return await talk(ws, up, len(messages(down)), False)


async def answer(request, writer):
    number, ask = request.pop("id"), request.pop("ask")
    try:
        reply = {"id": number, "result": await getattr(Abilities(), ask)(**request)}
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
