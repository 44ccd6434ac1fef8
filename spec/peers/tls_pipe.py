"""TLS around a raw peer that has none: `tls_pipe.py connect PORT` takes plain connections and carries them to our
server over TLS; `tls_pipe.py listen PORT CERT KEY` takes TLS connections of ours and carries them to a plain
server on PORT. Whatever is read goes on at once, each read in a record of its own; with `split` before all else, each
byte of what is read in a record of its own, if it is not long. Prints the port it listens on."""

import select
import socket
import ssl
import sys
import threading


def end(sock):
    """Ends our half: over TLS by close_notify as well."""
    try:
        (sock.unwrap() if isinstance(sock, ssl.SSLSocket) else sock).shutdown(socket.SHUT_WR)
    except (OSError, ValueError):
        pass


def receive(sock):
    """None: nothing for us. What makes a TLS socket readable may be a session ticket, for which nobody must wait."""
    sock.setblocking(False)
    try:
        return sock.recv(65536)
    except (ssl.SSLWantReadError, BlockingIOError):
        return None
    finally:
        sock.setblocking(True)


SHORT = 300  # what is longer is not split
splits = False


def send(sock, data):
    """Who reads no more may still have something to say."""
    single = splits and isinstance(sock, ssl.SSLSocket) and len(data) <= SHORT
    try:
        for i in range(0, len(data), 1 if single else len(data)):
            sock.sendall(data[i : i + 1] if single else data)
    except OSError:
        pass


def join(near, far):
    """One thread for both ways, since an SSL object is no two threads' at a time."""
    other = {near: far, far: near}
    for sock in other:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while other:
        ready = [sock for sock in other if isinstance(sock, ssl.SSLSocket) and sock.pending()]
        for sock in ready or select.select(list(other), [], [])[0]:
            data = receive(sock)
            if data:
                send(other[sock], data)
            elif data is not None:
                end(other.pop(sock))
    near.close()
    far.close()


def serve(sock, port, context, listens):
    try:
        far = socket.create_connection(("127.0.0.1", port))
        if listens:
            join(context.wrap_socket(sock, server_side=True), far)
        else:
            join(sock, context.wrap_socket(far))
    except OSError:
        sock.close()


def main(how, port, *files):
    if how == "listen":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*files)
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=serve, args=(sock, int(port), context, how == "listen"), daemon=True).start()


if sys.argv[1] == "split":
    splits = bool(sys.argv.pop(1))
main(*sys.argv[1:])
