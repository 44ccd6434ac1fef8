"""A TLS server, or a proxy reached by TLS, that after the first bytes it got asks for new keys without end and
never reads again (RFC 8446, 4.6.3): each question wants an answer. Python's ssl cannot ask, so libssl itself is
called. `python3 rekey_peer.py CERT KEY [ANSWER]` prints its port, serves one connection (saying ANSWER first), and
ends when that does, with how often it has asked."""

import ctypes
import ctypes.util
import socket
import sys

ssl = ctypes.CDLL(ctypes.util.find_library("ssl") or "libssl.so.3")
for name, result, arguments in (
    ("TLS_server_method", ctypes.c_void_p, []),
    ("SSL_CTX_new", ctypes.c_void_p, [ctypes.c_void_p]),
    ("SSL_CTX_use_certificate_chain_file", ctypes.c_int, [ctypes.c_void_p, ctypes.c_char_p]),
    ("SSL_CTX_use_PrivateKey_file", ctypes.c_int, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]),
    ("SSL_new", ctypes.c_void_p, [ctypes.c_void_p]),
    ("SSL_set_fd", ctypes.c_int, [ctypes.c_void_p, ctypes.c_int]),
    ("SSL_accept", ctypes.c_int, [ctypes.c_void_p]),
    ("SSL_read", ctypes.c_int, [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int]),
    ("SSL_write", ctypes.c_int, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]),
    ("SSL_key_update", ctypes.c_int, [ctypes.c_void_p, ctypes.c_int]),
    ("SSL_do_handshake", ctypes.c_int, [ctypes.c_void_p]),
):
    function = getattr(ssl, name)
    function.restype, function.argtypes = result, arguments

PEM, REQUESTED = 1, 1

context = ssl.SSL_CTX_new(ssl.TLS_server_method())
assert ssl.SSL_CTX_use_certificate_chain_file(context, sys.argv[1].encode()) == 1
assert ssl.SSL_CTX_use_PrivateKey_file(context, sys.argv[2].encode(), PEM) == 1
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
listener.bind(("127.0.0.1", 0))
listener.listen()
print("port", listener.getsockname()[1], flush=True)
guest, _ = listener.accept()
connection = ssl.SSL_new(context)
ssl.SSL_set_fd(connection, guest.fileno())
assert ssl.SSL_accept(connection) == 1
assert ssl.SSL_read(connection, ctypes.create_string_buffer(4096), 4096) > 0
answer = sys.argv[3].encode() if len(sys.argv) > 3 else b""
assert not answer or ssl.SSL_write(connection, answer, len(answer)) == len(answer)
asked = 0
while ssl.SSL_key_update(connection, REQUESTED) == 1 and ssl.SSL_do_handshake(connection) == 1:
    asked += 1
    if asked == 600000:
        break
print("asked", asked, flush=True)
