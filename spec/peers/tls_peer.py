"""TLS as a peer, by Python's ssl: servers that complete a WebSocket handshake and echo, with whatever
certificate, versions and manners they are told, and a client that comes to ours. `python3 tls_peer.py PORT`,
where PORT is the spec's: lines of JSON over TCP, {id, ask, ...arguments} in and {id, result} or
{id, failure} out. See spec/foreign.lua."""

import base64
import hashlib
import json
import os
import socket
import ssl
import struct
import sys
import threading
import traceback
import warnings

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
PATIENCE = 30
OP_IGNORE_UNEXPECTED_EOF = getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 1 << 7)
VERSIONS = {
    "TLSv1": ssl.TLSVersion.TLSv1,
    "TLSv1.1": ssl.TLSVersion.TLSv1_1,
    "TLSv1.2": ssl.TLSVersion.TLSv1_2,
    "TLSv1.3": ssl.TLSVersion.TLSv1_3,
}


def context_of(server, options):
    """What both sides are told alike: cert, key, ca, min, max, ciphers, alpn."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.options &= ~OP_IGNORE_UNEXPECTED_EOF  # or the end of TCP would pass for close_notify
    context.minimum_version = VERSIONS[options.get("min", "TLSv1.2")]
    context.maximum_version = VERSIONS[options.get("max", "TLSv1.3")]
    if options.get("ciphers"):
        context.set_ciphers(options["ciphers"])
    if options.get("cert"):
        context.load_cert_chain(options["cert"], options["key"])
    if options.get("ca"):
        context.load_verify_locations(options["ca"])
    if options.get("alpn"):
        context.set_alpn_protocols(options["alpn"])
    return context


class Line:
    """A TLS conversation whose cipher bytes are in our hands."""

    def __init__(self, sock, context, seen, **more):
        self.sock, self.seen = sock, seen
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, **more)
        self.slice = None  # send the cipher bytes in pieces of so many
        self.plain = b""  # read, not taken yet
        sock.settimeout(PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def flush(self):
        data = self.outgoing.read()
        step = self.slice or len(data) or 1
        for at in range(0, len(data), step):
            self.sock.sendall(data[at : at + step])

    def call(self, function, *arguments):
        while True:
            try:
                result = function(*arguments)
                self.flush()
                return result
            except ssl.SSLWantReadError:
                self.flush()
                data = self.sock.recv(65536)
                if "hello" not in self.seen:
                    self.seen["hello"] = data.hex()
                if data:
                    self.incoming.write(data)
                else:
                    self.incoming.write_eof()
            except ssl.SSLError:
                try:
                    self.flush()  # the alert
                except OSError:
                    pass
                raise

    def shake(self):
        self.call(self.tls.do_handshake)
        cert = self.tls.getpeercert(True)
        self.seen.update(
            version=self.tls.version(),
            cipher=self.tls.cipher()[0],
            alpn=self.tls.selected_alpn_protocol(),
            reused=self.tls.session_reused,
            peer=hashlib.sha256(cert).hexdigest() if cert else None,
        )

    def read(self, n):
        while len(self.plain) < n:
            data = self.call(self.tls.read, 65536)
            if not data:
                raise EOFError  # close_notify
            self.plain += data
        data, self.plain = self.plain[:n], self.plain[n:]
        return data

    def head(self):
        data = b""
        while not data.endswith(b"\r\n\r\n"):
            data += self.read(1)
        return data.decode()

    def write(self, data):
        view = memoryview(data)
        while view:
            n = self.call(self.tls.write, view[:16384])
            view = view[n:]

    def frame(self):
        first, second = self.read(2)
        n = second & 127
        if n == 126:
            (n,) = struct.unpack("!H", self.read(2))
        elif n == 127:
            (n,) = struct.unpack("!Q", self.read(8))
        mask = self.read(4) if second & 128 else None
        payload = self.read(n)
        return first & 15, xor(payload, mask) if mask else payload

    def send(self, opcode, payload, mask=None):
        n = len(payload)
        bit = 128 if mask else 0
        head = bytes([128 | opcode])
        if n < 126:
            head += bytes([bit | n])
        elif n < 65536:
            head += bytes([bit | 126]) + struct.pack("!H", n)
        else:
            head += bytes([bit | 127]) + struct.pack("!Q", n)
        self.write(head + (mask + xor(payload, mask) if mask else payload))

    def notify(self):
        """Our close_notify, not waiting for the other's."""
        try:
            self.tls.unwrap()
        except ssl.SSLError:
            pass
        self.flush()
        self.sock.shutdown(socket.SHUT_WR)

    def ending(self):
        """Whatever still comes is read; tells how it ends."""
        try:
            while self.call(self.tls.read, 65536):
                pass
            return "close_notify"
        except OSError as problem:
            return words(problem)


def xor(payload, mask):
    n = len(payload)
    wide = int.from_bytes((mask * (n // 4 + 1))[:n], "big")
    return (int.from_bytes(payload, "big") ^ wide).to_bytes(n, "big")


def words(problem):
    if isinstance(problem, (ssl.SSLZeroReturnError, EOFError)):
        return "close_notify"
    if isinstance(problem, ssl.SSLEOFError):
        return "end"
    return getattr(problem, "reason", None) or type(problem).__name__


# --- servers ---------------------------------------------------------------------------------------------


class Server:
    def __init__(self, options):
        self.options, self.seen, self.arrived = options, [], threading.Condition()
        self.context = None
        if "plain" not in options:
            self.context = context_of(True, options)
            self.context.sni_callback = self.named
            self.names = {}
            if options.get("wants"):
                self.context.verify_mode = ssl.CERT_REQUIRED if options["wants"] == "required" else ssl.CERT_OPTIONAL
        host = options.get("host", "127.0.0.1")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.listener = socket.socket(family, socket.SOCK_STREAM)
        self.listener.bind((host, 0))
        self.listener.listen(512)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def named(self, tls, name, _context):
        self.names[tls] = name

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock):
        seen = {}
        try:
            if self.context:
                self.speak(sock, seen)
            else:
                self.speak_plainly(sock, seen)
        except (OSError, EOFError) as problem:
            seen["failure"] = words(problem)
        except Exception:
            seen["failure"] = traceback.format_exc()
        finally:
            sock.close()
            with self.arrived:
                self.seen.append(seen)
                self.arrived.notify_all()

    def speak_plainly(self, sock, seen):
        """No TLS at all: the bytes of `plain` at once, or as an answer."""
        sock.settimeout(PATIENCE)
        seen["hello"] = sock.recv(65536).hex()
        sock.sendall(self.options["plain"].encode("latin-1"))
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(65536):
            pass

    def speak(self, sock, seen):
        line = Line(sock, self.context, seen, server_side=True)
        line.slice = self.options.get("slice")
        try:
            line.shake()
        except ssl.SSLError as problem:
            if not isinstance(problem, ssl.SSLEOFError):
                sock.shutdown(socket.SHUT_WR)  # the alert is to arrive, and no RST
                try:
                    while sock.recv(65536):
                        pass
                except OSError:
                    pass
            raise
        seen["name"] = self.names.pop(line.tls, None)
        request = line.head()
        seen["request"] = request
        key = next(each[18:].strip() for each in request.split("\r\n") if each.lower().startswith("sec-websocket-key:"))
        accept = base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()
        line.write(
            f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
        )
        self.talk(line, seen, self.options.get("manners", "echo"))

    def talk(self, line, seen, manners):
        """echo: all as it should be. The others end otherwise, once a message has come:
        notify: close_notify and no Close; cut: the end of TCP and nothing else; half: part of a message, close_notify;
        close cut: answers Close, then the end of TCP without close_notify."""
        while True:
            opcode, payload = line.frame()
            if opcode == 8:
                line.send(8, payload)
                if manners != "close cut":
                    line.notify()
                    seen["ending"] = line.ending()
                return
            if manners == "cut":
                return
            if manners == "half":
                line.write(b"\x81\x05he")
            if manners in ("half", "notify"):
                line.notify()
                seen["ending"] = line.ending()
                return
            line.send(opcode, payload)


servers = {}


class Abilities:
    def listen(self, **options):
        server = Server(options)
        servers[server.port] = server
        return {"port": server.port}

    def seen(self, port, count):
        """What the first `count` connections were like, once they have ended."""
        server = servers[port]
        with server.arrived:
            server.arrived.wait_for(lambda: len(server.seen) >= count, PATIENCE)
            return server.seen

    def shut(self, port):
        servers.pop(port).listener.close()

    # --- a client

    def visit(self, port, visits=1, **options):
        """Comes `visits` times, with one memory for sessions; returns what each was like."""
        context = context_of(False, options)
        if options.get("ca"):
            context.verify_mode = ssl.CERT_REQUIRED
            context.check_hostname = bool(options.get("name"))
        session, all_seen = None, []
        for _ in range(visits):
            seen = {}
            all_seen.append(seen)
            try:
                session = self.come(port, context, session, seen, options)
            except (OSError, EOFError, ValueError) as problem:
                seen["failure"] = words(problem)
        return all_seen

    def come(self, port, context, session, seen, options):
        with socket.create_connection((options.get("host", "127.0.0.1"), port)) as sock:
            line = Line(sock, context, seen, server_hostname=options.get("name"), session=session)
            line.slice = options.get("slice")
            line.shake()
            request = (
                f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
            )
            if options.get("damaged"):  # a record that nobody can read, in the same segment
                line.tls.write(request)
                sock.sendall(line.outgoing.read() + b"\x17\x03\x03\x00\x20" + bytes(32))
                line.head()
                line.read(1)
            line.write(request)
            seen["head"] = line.head()
            for n in options.get("sizes", [5]):
                payload = os.urandom(n)
                line.send(2, payload, os.urandom(4))
                opcode, answer = line.frame()
                if opcode != 2 or answer != payload:
                    raise ValueError(f"{n} bytes came back otherwise")
            seen["echoed"] = True
            manners = options.get("manners", "close")
            if manners == "cut":
                return None
            if manners == "close":
                line.send(8, struct.pack("!H", 1000), os.urandom(4))
                seen["close"] = line.frame()[1].hex()
            session = line.tls.session
            line.notify()
            seen["ending"] = line.ending()
            return session

    def say(self, port, bytes):
        """Plain bytes to a port, and all that comes back, in hexadecimal."""
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.settimeout(PATIENCE)
            sock.sendall(bytearray.fromhex(bytes))
            answer = b""
            try:
                while data := sock.recv(65536):
                    answer += data
            except ConnectionResetError:
                return {"answer": answer.hex(), "ending": "reset"}
            return {"answer": answer.hex(), "ending": "end"}


# --- what the spec asks --------------------------------------------------------------------------------------


def answer(request, sock, lock):
    number, ask = request.pop("id"), request.pop("ask")
    try:
        result = getattr(Abilities(), ask)(**request)
        reply = {"id": number, "result": True if result is None else result}
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


warnings.simplefilter("ignore")  # what is old is wanted here
main(int(sys.argv[1]))
