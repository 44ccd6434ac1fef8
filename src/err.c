/*
** err.c -- what can go wrong below Lua, in words.
*/
/* The strerror_r that fills the caller's memory, also where the build asks for GNU's. */
#undef _GNU_SOURCE
#define _POSIX_C_SOURCE 200809L

#include "err.h"

#include <netdb.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

static const char *const texts[] = {
    [LW_OK] = "no error",
    [-LW_ERR_MEMORY] = "out of memory",
    [-LW_ERR_RANDOM] = "the system's random source failed",
    [-LW_ERR_SIZE] = "larger than a limit of this library allows",
    [-LW_ERR_FORKED] = "used in a child process of the one that made it",

    [-LW_ERR_RSV] = "a frame with a reserved bit that no extension gave a meaning",
    [-LW_ERR_OPCODE] = "a frame with an opcode that does not exist",
    [-LW_ERR_MASKED] = "a masked frame from a server",
    [-LW_ERR_UNMASKED] = "an unmasked frame from a client",
    [-LW_ERR_LENGTH_FORM] = "a frame whose length is not in its shortest form",
    [-LW_ERR_LENGTH_RANGE] = "a frame whose length is 2^63 or more",
    [-LW_ERR_CONTROL_LENGTH] = "a control frame with more than 125 bytes of payload",
    [-LW_ERR_CONTROL_FIN] = "a control frame in fragments",
    [-LW_ERR_CONTINUATION] = "a continuation frame with nothing to continue",
    [-LW_ERR_INTERLEAVED] = "a new message before the last fragment of another",
    [-LW_ERR_UTF8] = "a text message that is not UTF-8",
    [-LW_ERR_CLOSE_LENGTH] = "a Close frame with half a close code",
    [-LW_ERR_CLOSE_CODE] = "a Close frame with a code that must not be sent",
    [-LW_ERR_CLOSE_REASON] = "a Close frame with a reason that is not UTF-8",
    [-LW_ERR_PAYLOAD] = "a message larger than maxPayload",
    [-LW_ERR_FRAGMENTS] = "a message in more than maxFragments fragments",
    [-LW_ERR_DEFLATE_DATA] = "a compressed message that is not deflate data, or refers to data out of its reach",
    [-LW_ERR_DEFLATE_CUT] = "a compressed message whose end is missing",
    [-LW_ERR_DEFLATE_TRAILING] = "a compressed message with something wrong behind its final block",

    [-LW_ERR_URL_EMPTY] = "the URL is empty",
    [-LW_ERR_URL_SCHEME] = "the URL does not begin with ws:// or wss://",
    [-LW_ERR_URL_FRAGMENT] = "the URL has a fragment (#)",
    [-LW_ERR_URL_HOST] = "the URL has no host behind its two slashes",
    [-LW_ERR_URL_IPV6] =
        "what stands in the URL's brackets is no IPv6 address (a zone is not supported)",
    [-LW_ERR_URL_IPV4] =
        "the URL's host ends in a number but is no IPv4 address of four decimal parts",
    [-LW_ERR_URL_PORT] = "the URL's port is no number from 1 to 65535",
    [-LW_ERR_URL_BYTE] = "the URL has a space or a control character",
    [-LW_ERR_URL_LENGTH] = "the URL is longer than 8192 bytes",
    [-LW_ERR_URL_USERINFO] =
        "the URL's credentials have a control character, or a colon in the user name",
    [-LW_ERR_URL_IDNA] = "the URL's host has letters outside ASCII: write it in its xn-- form",
    [-LW_ERR_URL_HOST_SIZE] =
        "the URL's host is longer than 253 bytes, or a part between its dots than 63",
    [-LW_ERR_URL_HOST_BYTE] = "the URL's host has a character that no host has",
    [-LW_ERR_URL_PATH] =
        "the URL has no absolute path of a Unix socket (ws+unix:/run/some.sock:/resource)",
    [-LW_ERR_URL_PATH_SIZE] = "the URL's path of a Unix socket is longer than the system takes",
    [-LW_ERR_URL_PATH_BYTE] = "the URL's path of a Unix socket has a NUL",
    [-LW_ERR_URL_RESOURCE] = "the URL has no slash behind a Unix socket's path and the colon after it",

    [-LW_ERR_HTTP_START] = "the first line is not HTTP",
    [-LW_ERR_HTTP_VERSION] = "an HTTP version other than 1.1",
    [-LW_ERR_HTTP_LINE] = "an HTTP header with a broken line end or a folded line",
    [-LW_ERR_HTTP_FIELD] =
        "an HTTP header with a name that is not allowed, or a space before its colon",
    [-LW_ERR_HTTP_VALUE] = "an HTTP header with a control character in its value",
    [-LW_ERR_HTTP_COUNT] = "too many HTTP headers",
    [-LW_ERR_HTTP_SIZE] = "the HTTP head is too large",
    [-LW_ERR_HTTP_TARGET] = "a request target that is too long",
    [-LW_ERR_HTTP_CHUNK] = "an HTTP body whose chunks are broken",

    [-LW_ERR_STATUS] = "the server did not answer with status 101",
    [-LW_ERR_UPGRADE] = "no \"Upgrade: websocket\" header",
    [-LW_ERR_CONNECTION] = "no \"Connection: Upgrade\" header",
    [-LW_ERR_KEY] =
        "the request's Sec-WebSocket-Key is missing, repeated, or not 16 bytes in base64",
    [-LW_ERR_ACCEPT] = "the server's Sec-WebSocket-Accept is missing, repeated or wrong",
    [-LW_ERR_WS_VERSION] = "the request's Sec-WebSocket-Version is not 13",
    [-LW_ERR_PROTOCOL] = "the server chose no subprotocol, or one that was not asked for",
    [-LW_ERR_PROTOCOL_LIST] =
        "a list of subprotocols that is too long, repeats one, or breaks the grammar",
    [-LW_ERR_EXTENSION] = "the server chose an extension that was not offered",
    [-LW_ERR_EXTENSION_LIST] = "a Sec-WebSocket-Extensions header that breaks the grammar",
    [-LW_ERR_METHOD] = "the request's method is not GET",
    [-LW_ERR_HOST] = "the request's Host header is missing, repeated or not allowed",
    [-LW_ERR_BODY] = "the request has a body",
    [-LW_ERR_ORIGIN] = "the request's Origin is not allowed",
    [-LW_ERR_RESOURCE] = "the request's path is not served",
    [-LW_ERR_LOCATION] = "the redirect names no Location, or more than one",
    [-LW_ERR_REDIRECTS] = "more redirects than followRedirects allows",
    [-LW_ERR_DOWNGRADE] = "the redirect leads from wss to ws, where anybody may listen",
    [-LW_ERR_EXTENSION_ANSWER] =
        "the server chose permessage-deflate twice, or with parameters other than those asked for",

    [-LW_ERR_EOF] = "the other side ended the connection without a Close frame",
    [-LW_ERR_TIMEOUT] = "the handshake took longer than handshakeTimeout",
    [-LW_ERR_CLOSE_TIMEOUT] = "closing took longer than closeTimeout",
    [-LW_ERR_STALL] = "the other side stopped reading",
    [-LW_ERR_SLOW] = "the other side reads too slowly: maxBufferedAmount passed",
    [-LW_ERR_ABORTED] = "ended from this side",
    [-LW_ERR_NO_ADDRESS] = "the host has no address of the family asked for",
    [-LW_ERR_BUSY] = "no room for another connection: maxConnections reached",
    [-LW_ERR_CLOSED] = "the server was closed",

    [-LW_ERR_CIDR_ADDRESS] = "no IP address, nor a network of them like 10.0.0.0/8",
    [-LW_ERR_CIDR_PREFIX] =
        "what stands behind the network's slash is no number from 0 to 32 (128 for IPv6)",

    [-LW_ERR_PROXY_SCHEME] = "the proxy's URL does not begin with http://, https:// or socks5://",
    [-LW_ERR_PROXY_PATH] = "the proxy's URL has something behind its host and port",
    [-LW_ERR_PROXY_CREDENTIALS] =
        "SOCKS5 takes a user name of 1 to 255 bytes and a password of at most 255",
    [-LW_ERR_PROXY_STATUS] = "the proxy refused",
    [-LW_ERR_PROXY_HTTP] = "the proxy's answer is not HTTP",
    [-LW_ERR_PROXY_SIZE] = "the proxy's answer is larger than 16 KiB, or has over 100 headers",
    [-LW_ERR_PROXY_EXTRA] = "the proxy sent more than its answer",
    [-LW_ERR_PROXY_SOCKS] = "the proxy's answer is not SOCKS5",
    [-LW_ERR_PROXY_AUTH] = "the proxy wants a user name and a password",
    [-LW_ERR_PROXY_METHOD] =
        "the proxy wants its users to sign in in a way that this library does not know",
    [-LW_ERR_PROXY_PASSWORD] = "the proxy does not accept this user name and password",
    [-LW_ERR_PROXY_REPLY] = "the proxy did not reach the host",
    [-LW_ERR_PROXY_EOF] = "the proxy ended the connection before it was through",

    [-LW_ERR_TLS] = "the TLS connection failed",
    [-LW_ERR_UNREAD] = "the other side asks TLS for answers that it does not read",

    [-LW_ERR_FILE] = "a file that was being sent can no longer be read",
    [-LW_ERR_FILE_KIND] = "it is no regular file",
    [-LW_ERR_FILE_CHANGED] = "the file has changed since the Blob was made",
    [-LW_ERR_FILE_SHORT] = "the file has become shorter while it was read",
};

/* strerror itself may share one buffer between threads. */
static const char *system_text(int code) {
  static _Thread_local char text[128];
  if (strerror_r(code, text, sizeof text) != 0)
    snprintf(text, sizeof text, "system error %d", code);
  return text;
}

static const char *lookup_text(int err) {
  int code = -100000 - err;
  /* glibc and musl count down from 0, the BSDs up */
  return gai_strerror(EAI_NONAME < 0 ? -code : code);
}

const char *lw_strerror(int err) {
  if (LW_IS_GAI(err)) return lookup_text(err);
  if (LW_IS_SYS(err)) return system_text(LW_ERRNO(err));
  if (err > 0 || err <= -(int)(sizeof texts / sizeof *texts) || !texts[-err])
    return "unknown error";
  return texts[-err];
}

int lw_err_close_code(int err) {
  switch (err) {
  case LW_ERR_UTF8:
  case LW_ERR_CLOSE_REASON:
  case LW_ERR_DEFLATE_DATA:
  case LW_ERR_DEFLATE_CUT:
  case LW_ERR_DEFLATE_TRAILING:
    return 1007;
  case LW_ERR_FRAGMENTS:
    return 1008;
  case LW_ERR_PAYLOAD:
  case LW_ERR_SIZE:
    return 1009;
  default:
    break;
  }
  int frame = err <= LW_ERR_RSV && err > LW_ERR_URL_EMPTY;
  int handshake = err <= LW_ERR_HTTP_START && err > LW_ERR_EOF;
  return frame || handshake ? 1002 : 1011;
}
