"""Clients a server has to bear: crowds, half-open ones, slow ones, rude ones; and good ones beside them, whose
waiting is measured. Raw bytes over plain sockets. `python3 load.py ROLE PORT NAME=VALUE ...` plays one of the
roles below, and prints lines of words `name=value`. See spec/torture/load.lua, which starts them."""

import base64
import errno
import gc
import hashlib
import os
import random
import resource
import select
import signal
import socket
import ssl
import struct
import sys
import time
import zlib

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = base64.b64encode(hashlib.sha1(KEY + GUID).digest())
NO_MASK = b"\0\0\0\0"  # a masked payload looks like itself
OFFER = "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover\r\n"
PATIENCE = 30
AT_ONCE = 100  # connections under way, far below any backlog

now = time.monotonic


def say(**words):
    print(" ".join(f"{name}={value}" for name, value in words.items()), flush=True)


def request(more=""):
    return (
        "GET /load HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY.decode()}\r\n{more}\r\n"
    ).encode()


def frame(first, payload):
    n = len(payload)
    if n < 126:
        head = struct.pack("!BB", first, 128 | n)
    elif n < 65536:
        head = struct.pack("!BBH", first, 128 | 126, n)
    else:
        head = struct.pack("!BBQ", first, 128 | 127, n)
    return head + NO_MASK + payload


def source(i):
    """The i-th address of 127.0.0.0/8 that guests come from."""
    return f"127.{1 + i // 250 % 250}.{1 + i // 62500}.{1 + i % 250}"


def connect(port, i=0, buffer=0, where="127.0.0.1"):
    sock = socket.socket()
    if buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.bind((source(i), 0))
    sock.settimeout(PATIENCE)
    sock.connect((where, port))
    return sock


def read_head(sock):
    """Up to and with its last line, a byte at a time, so that frames stay where they are."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = sock.recv(1)
        if not byte:
            raise EOFError(head)
        head += byte
    return head


def come_in(port, i=0, buffer=0, more=""):
    sock = connect(port, i, buffer)
    sock.sendall(request(more))
    head = read_head(sock)
    if not head.startswith(b"HTTP/1.1 101 ") or ACCEPT not in head:
        raise ValueError(head)
    if more and b"permessage-deflate" not in head:
        raise ValueError(head)
    return sock


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Reader:
    """A server's frames, out of bytes as they come."""

    def __init__(self):
        self.bytes = b""

    def feed(self, data):
        """(first byte, payload) of each that is whole by now."""
        data, at, found = self.bytes + data, 0, []
        while len(data) - at >= 2:
            n, head = data[at + 1], 2
            if n == 126:
                head = 4
                n = int.from_bytes(data[at + 2 : at + 4], "big") if len(data) - at >= 4 else 1 << 62
            elif n == 127:
                head = 10
                n = int.from_bytes(data[at + 2 : at + 10], "big") if len(data) - at >= 10 else 1 << 62
            if len(data) - at < head + n:
                break
            found.append((data[at], data[at + head : at + head + n]))
            at += head + n
        self.bytes = data[at:]
        return found


class Ends:
    """How and when connections ended."""

    def __init__(self):
        self.counts, self.times = {}, []

    def add(self, how, after=None):
        self.counts[how] = self.counts.get(how, 0) + 1
        if after is not None:
            self.times.append(after)

    def words(self):
        words = dict(sorted(self.counts.items()))
        if self.times:
            words.update(least=f"{min(self.times):.2f}", most=f"{max(self.times):.2f}")
        return words


def take(sock, size=65536):
    """What can be read now: bytes, None for nothing yet, or how it ended."""
    try:
        return sock.recv(size) or "eof"
    except BlockingIOError:
        return None
    except OSError as problem:
        return "reset" if problem.errno in (errno.ECONNRESET, errno.EPIPE) else errno.errorcode[problem.errno]


def heard(sock):
    """What comes within the socket's timeout: bytes, or how it is: "eof", "open", "reset"."""
    try:
        return sock.recv(1 << 18) or "eof"
    except TimeoutError:
        return "open"
    except OSError:
        return "reset"


def give(sock, data):
    """How many bytes went; 0 for none now, or how it ended."""
    try:
        return sock.send(data)
    except BlockingIOError:
        return 0
    except OSError as problem:
        return "reset" if problem.errno in (errno.ECONNRESET, errno.EPIPE) else errno.errorcode[problem.errno]


def step_back():
    """Whoever loads a server has a processor elsewhere in life: here they should take little of ours."""
    os.nice(5)


def step_forward():
    """Who is measured goes before what else this machine does, if that is allowed."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except PermissionError:
        pass


SHARES = {"p50": 0.5, "p99": 0.99, "p999": 0.999, "max": 1}


def part(times, share):
    """The time that this share of them is below."""
    return sorted(times)[min(len(times) - 1, int(len(times) * share))] if times else float("nan")


# --- good clients --------------------------------------------------------------------------------------------


def echo(port, clients=10, gap=10.0, size=64):
    """Each sends a message every `gap` ms, whatever has come back by then. USR1: tells how long messages took since
    the last time (in ms), and how many are still out. calm: the p99 of each half second, and of these what a
    quarter is below: what other programs of the machine do comes and goes, and only adds."""
    step_forward()
    socks = [come_in(port) for _ in range(clients)]
    readers, out = [Reader() for _ in socks], [{} for _ in socks]
    poller, times, asked = select.epoll(), [], []
    others = gone = 0
    signal.signal(signal.SIGUSR1, lambda *_: asked.append(1))
    for i, sock in enumerate(socks):
        sock.setblocking(False)
        poller.register(sock, select.EPOLLIN)
    where = {sock.fileno(): i for i, sock in enumerate(socks)}
    say(ready=clients)
    filler, sent, due = "e" * (size - 12), 0, now()
    while True:
        while due <= now():
            i = sent % clients
            text = f"{sent:012d}{filler}".encode()
            out[i][text] = now()
            give(socks[i], frame(0x81, text))
            sent += 1
            due += gap / 1000 / clients
        for fd, _ in poller.poll(max(0, due - now())):
            i = where[fd]
            data = take(socks[i])
            if isinstance(data, str):
                gone += 1
                poller.unregister(fd)
            for first, payload in readers[i].feed(data) if isinstance(data, bytes) else ():
                if first == 0x81 and payload in out[i]:
                    times.append((now(), (now() - out[i].pop(payload)) * 1000))
                elif first != 0x89:
                    others += 1  # broadcasts, or something wrong
        if asked:
            asked.clear()
            slices = {}
            for when, took in times:
                slices.setdefault(int(when * 2), []).append(took)
            p99s = [part(each, 0.99) for each in slices.values() if len(each) >= 100]
            every = [took for _, took in times]
            words = {name: f"{part(every, share):.3f}" for name, share in SHARES.items()}
            say(n=len(times), calm=f"{part(p99s, 0.25):.3f}", **words, out=sum(map(len, out)), others=others, gone=gone)
            times = []


# --- handshakes without an end ---------------------------------------------------------------------------------


def client_hello():
    """A TLS client's first bytes, and the client, which may go on."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing)
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read(), tls, incoming, outgoing


def halfopen(port, count=9000, what="head", pace=1.0, seconds=60.0, idle=1):
    """`count` connections, from as many addresses. what: head, hello (a byte of it `pace` times a second); silent;
    flight (TLS: the whole hello, and nothing more). Tells when all are there, and when all are gone."""
    stream = {"head": b"GET /load HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Load: " + b"y" * 10000}.get(what, client_hello()[0])
    poller, alive, ends, began = select.epoll(), {}, Ends(), now()
    answered = sent = 0
    order = []
    dribbles = what in ("head", "hello")
    last_due = began

    def drop(fd, how):
        sock, came = alive.pop(fd)[:2]
        ends.add(how, now() - came)
        poller.unregister(fd)
        sock.close()

    def dribble():
        """Whoever's turn it is: as many as the time since the last time has made due."""
        nonlocal sent, last_due, next_one
        due = int((now() - last_due) * pace * count)
        last_due += due / pace / count
        for _ in range(min(due, count // 20)):  # what was missed in a longer pause does not come in one burst
            fd = order[next_one % len(order)]
            next_one += 1
            if fd not in alive:
                continue
            one = alive[fd]
            went = give(one[0], stream[one[2] : one[2] + 1])
            if isinstance(went, str):
                drop(fd, went)
            else:
                one[2] += went
                sent += went

    def listen(timeout):
        nonlocal answered
        for fd, _ in poller.poll(timeout):
            data = take(alive[fd][0])
            if isinstance(data, bytes):
                answered += 1
            elif data:
                drop(fd, data)

    next_one = 0
    for i in range(count):
        came = now()  # before the server can know of it
        sock = connect(port, i)
        sock.setblocking(False)
        alive[sock.fileno()] = [sock, came, 0]
        order.append(sock.fileno())
        poller.register(sock, select.EPOLLIN)
        if what == "flight":
            sock.send(stream)
        if i % AT_ONCE == AT_ONCE - 1:
            listen(0.001)
            if dribbles:
                dribble()
    say(there=len(alive), took=f"{now() - began:.2f}")
    if idle:
        step_back()
    base, since = sent, now()
    deadline, told = began + seconds, False
    while alive and now() < deadline:
        if dribbles:
            dribble()
        listen(0.001 if dribbles else 0.1)
        if ends.counts and not told:
            told = True
            say(first=f"{now() - began:.2f}", pace=f"{(sent - base) / (now() - since):.0f}")
    say(left=len(alive), sent=sent, answered=answered, **ends.words())


# --- broadcasts ------------------------------------------------------------------------------------------------


def text_of(i, size):
    return (b"%08d" % i) + bytes([97 + i % 26]) * (size - 8)


def broadcast(port, deaf=200, readers=20, messages=10000, size=1024, each=10, gap=5.0, look=1.5, wake=0):
    """`deaf` clients that never read, and `readers` that do, while the server sends `messages` numbered ones, `each` at
    a time. Tells what the readers got; `look` seconds later, what the deaf ones find when they read at last."""
    deaf_socks = [come_in(port, i, 0 if wake else 65536) for i in range(deaf)]
    socks = [come_in(port) for _ in range(readers)]
    parsers, got = [Reader() for _ in socks], [0] * readers
    poller, began, wrong, gone = select.epoll(), now(), 0, 0
    for sock in socks:
        sock.setblocking(False)
        poller.register(sock, select.EPOLLIN)
    where = {sock.fileno(): i for i, sock in enumerate(socks)}
    say(ready=deaf + readers)
    socks[0].sendall(frame(0x81, f"!broadcast {messages} {size} {each} {gap}".encode()))
    while min(got, default=messages) < messages and not gone and now() < began + 90:
        for fd, _ in poller.poll(1):
            i = where[fd]
            data = take(socks[i], 1 << 18)
            if isinstance(data, str):
                gone += 1
                poller.unregister(fd)
                continue
            for first, payload in parsers[i].feed(data or b""):
                if first == 0x89:
                    continue
                wrong += first != 0x81 or payload != text_of(got[i] + 1, size)
                got[i] += 1
    say(whole=sum(n == messages for n in got), messages=sum(got), wrong=wrong, gone=gone, took=f"{now() - began:.1f}")
    time.sleep(look)  # the server's memory is to be looked at
    ends, frames, closes, false = Ends(), 0, 0, 0
    for sock in deaf_socks:
        parser, n, data, deadline = Reader(), 0, b"", now() + 5
        sock.settimeout(0.5)
        while now() < deadline and n < messages:
            data = heard(sock)
            if isinstance(data, str):
                break
            for first, payload in parser.feed(data):
                if first == 0x88:
                    closes += 1
                elif first != 0x89:
                    n += 1
                    false += first != 0x81 or payload != text_of(n, size)
        frames += n
        ends.add("all" if n == messages else data if isinstance(data, str) else "late")
    say(deaf=deaf, frames=frames, closes=closes, mixed=false, **ends.words())


# --- resets ------------------------------------------------------------------------------------------------------

PLAIN = ("nothing", "head", "request", "opened", "frame", "message", "closing")
TLS = ("connected", "hello", "flight", "shaken")


def begin(kind, sock):
    """What is said before an answer is read."""
    if kind == "head":
        sock.sendall(request()[: random.randrange(1, 100)])
    elif kind in PLAIN[2:]:
        sock.sendall(request())
    elif kind == "hello":
        sock.sendall(client_hello()[0][:100])
    elif kind == "flight":
        sock.sendall(client_hello()[0])


def go_on(kind, sock):
    """The rest, up to the reset."""
    if kind in ("opened", "frame", "message", "closing"):
        head = read_head(sock)
        if not head.startswith(b"HTTP/1.1 101 "):
            raise ValueError(head)
    if kind == "frame":
        sock.sendall(frame(0x82, b"f" * 1000)[: random.randrange(1, 1000)])
    elif kind == "message":
        sock.sendall(frame(0x01, b"m" * 1000) + frame(0x89, b"?") + frame(0x80, b"m" * 40000)[:20000])
    elif kind == "closing":
        sock.sendall(frame(0x81, b"last") + frame(0x88, b"\x03\xe8"))
    elif kind == "flight":
        sock.recv(1000)
    elif kind == "shaken":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(sock.dup()) as tls:
            tls.sendall(request()[: random.randrange(1, 200)])


def storm(port, tls=0, count=10000, batch=50):
    """`count` connections that end in a reset, `batch` at a time, each at one of the places there are."""
    began, kinds, failures = now(), PLAIN + (TLS if tls else ()), 0
    for start in range(0, count, batch):
        guests = []
        for i in range(start, min(start + batch, count)):
            kind = kinds[i % len(kinds)]
            guests.append((kind, connect(tls if kind in TLS else port, i)))
            begin(*guests[-1])
        for guest in guests:
            try:
                go_on(*guest)
            except (OSError, EOFError, ValueError):
                failures += 1
        random.shuffle(guests)
        for _, sock in guests:
            reset(sock)
    say(resets=count, failures=failures, took=f"{now() - began:.1f}")


# --- no descriptor left ------------------------------------------------------------------------------------------


class Crowd:
    def __init__(self, port, count):
        self.waiting, self.inside, self.told, self.ended = [], [], 0, 0
        for i in range(count):
            sock = connect(port, i)
            sock.setblocking(False)
            sock.send(request())
            self.waiting.append([sock, b""])

    def look(self):
        """Who was answered since."""
        changed = False
        for one in list(self.waiting):
            data = take(one[0])
            if isinstance(data, bytes):
                one[1] += data
            if one[1].endswith(b"\r\n\r\n") and one[1].startswith(b"HTTP/1.1 101 "):
                self.inside.append(one[0])
            elif one[1].startswith(b"HTTP/1.1 503 ") and data == "eof":
                self.told += 1
                one[0].close()
            elif isinstance(data, str):
                self.ended += 1
                one[0].close()
            else:
                continue
            self.waiting.remove(one)
            changed = True
        return changed

    def settle(self, quiet):
        """Until nothing has changed for so many seconds."""
        last = now()
        while now() - last < quiet:
            if self.look():
                last = now()
            time.sleep(0.01)

    def served(self):
        """How many of those inside are answered."""
        good = 0
        for sock in self.inside:
            sock.settimeout(5)
            try:
                sock.sendall(frame(0x81, b"are you there?"))
                good += sock.recv(100) == b"\x81\x0eare you there?"
            except OSError:
                pass
            sock.setblocking(False)
        return good

    def words(self):
        return dict(inside=len(self.inside), told=self.told, ended=self.ended, waiting=len(self.waiting))


def crowd(port, count=200, quiet=0.5, idle=1.5, leave=10):
    """All ask to be let in at once. Some leave, `leave` at a time, as long as others wait."""
    guests = Crowd(port, count)
    guests.settle(quiet)
    say(full=1, **guests.words())
    time.sleep(idle)  # the server's processor time is to be looked at
    say(served=guests.served(), **guests.words())
    rounds = 0
    while guests.waiting and guests.inside and rounds < count:
        for _ in range(min(leave, len(guests.inside))):
            guests.inside.pop(0).close()
        guests.settle(0.3)
        rounds += 1
    say(served=guests.served(), rounds=rounds, **guests.words())


# --- floods --------------------------------------------------------------------------------------------------------


def squeezed(text):
    context = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (context.compress(text) + context.flush(zlib.Z_SYNC_FLUSH))[:-4]


FLOODS = {  # what comes first, and what comes again and again
    "pings": (b"", frame(0x89, b"p" * 125)),
    "fragments": (frame(0x01, b"f"), frame(0x00, b"f")),
    "empty": (frame(0x01, b""), frame(0x00, b"")),
    "messages": (b"", frame(0x81, b"t")),
    "long": (b"", frame(0x81, b"t" * 1000)),
    "compressed": (b"", frame(0xC1, squeezed(b"t"))),
    "nothing": (b"", frame(0xC1, b"\0")),  # an empty message, compressed
}


def flood(port, what="pings", clients=5, seconds=5.0, read=1, idle=1):
    """As much as the server takes; those who do not read get no word of what it says to them, until they end."""
    if idle:
        step_back()
    first, again = FLOODS[what]
    block = again * (65536 // len(again))
    more = OFFER if what in ("compressed", "nothing") else ""
    poller, ends, began, frames, pongs = select.epoll(), Ends(), now(), 0, 0
    alive = {}
    for i in range(clients):
        sock = come_in(port, i, 0 if read else 4096, more)
        sock.sendall(first)
        sock.setblocking(False)
        poller.register(sock, select.EPOLLOUT | (select.EPOLLIN if read else 0))
        alive[sock.fileno()] = [sock, 0, Reader(), None]
    say(ready=clients)

    def drop(fd, how):
        ends.add(how, now() - began)
        poller.unregister(fd)
        alive.pop(fd)[0].close()

    while alive and now() < began + seconds:
        for fd, ready in poller.poll(0.5):
            one = alive[fd]
            if ready & select.EPOLLIN:
                data = take(one[0])
                if isinstance(data, str):
                    drop(fd, one[3] or data)
                    continue
                for kind, payload in one[2].feed(data or b""):
                    pongs += kind == 0x8A
                    if kind == 0x88:
                        one[3] = f"closed{int.from_bytes(payload[:2], 'big')}"
            if ready & select.EPOLLOUT and not one[3]:
                went = give(one[0], block[one[1] :])
                if isinstance(went, str):
                    poller.modify(fd, select.EPOLLIN)  # what it has said is still to be read
                else:
                    one[1] = (one[1] + went) % len(block)
                    frames += went
            elif ready & (select.EPOLLHUP | select.EPOLLERR) and not ready & select.EPOLLIN:
                drop(fd, one[3] or "reset")
    say(left=len(alive), frames=frames // len(again), pongs=pongs, **ends.words())
    while any(sock.fileno() >= 0 for sock, *_ in alive.values()) and now() < began + seconds + 1:
        time.sleep(0.1)


# --- slow readers ----------------------------------------------------------------------------------------------------


def slow(port, clients=20, size=4000000, times=1, ask="message", bite=1):
    """Each asks for `size` bytes, `times` times, and reads `bite` bytes a second. ask: message, or page (HTTP). USR1:
    reads all there is, and tells how it ended (which lies behind what was not read)."""
    ends, socks, got, asked = Ends(), [], 0, []
    signal.signal(signal.SIGUSR1, lambda *_: asked.append(1))
    for i in range(clients):
        if ask == "page":
            sock = connect(port, i, 4096)
            sock.sendall(f"GET /{size} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        else:
            sock = come_in(port, i, 4096)
            sock.sendall(frame(0x81, f"!answer {size}".encode()) * times)
        socks.append(sock)
    say(ready=clients)
    due = now() + 1
    while not asked:
        time.sleep(0.05)
        if now() >= due:
            due += 1
            for sock in socks:
                sock.setblocking(False)
                got += len(data) if isinstance(data := take(sock, bite), bytes) else 0
    dribbled = got
    for sock in socks:
        sock.settimeout(2)
        while True:
            data = heard(sock)
            if isinstance(data, str):
                break
            got += len(data)
        ends.add(data)
    say(read=got, dribbled=dribbled, **ends.words())


def main(role, port, *words):
    gc.disable()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    part = {f.__name__: f for f in (echo, halfopen, broadcast, storm, crowd, flood, slow)}[role]
    names = part.__code__.co_varnames[: part.__code__.co_argcount]
    defaults = dict(zip(names[1:], part.__defaults__))
    given = dict(word.split("=", 1) for word in words)
    part(int(port), **{name: type(defaults[name])(value) for name, value in given.items()})


main(*sys.argv[1:])
