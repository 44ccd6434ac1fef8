/*
** err.h -- what can go wrong below Lua, as one negative number.
**
** Every function of floors 0 to 3 returns 0 (or a count) when it worked and
** a negative lw_err when it did not. Errors of the system travel in the same
** int: LW_ERR_SYS(errno), LW_ERR_GAI(code).
*/
#ifndef LW_ERR_H
#define LW_ERR_H

#pragma GCC visibility push(hidden)

typedef enum lw_err {
  LW_OK = 0,
  LW_ERR_MEMORY = -1,          /* an allocation failed */
  LW_ERR_RANDOM = -2,          /* the system's random source failed */
  LW_ERR_SIZE = -3,            /* more than a limit of ours allows */
  LW_ERR_FORKED = -4,          /* used in a child of the process that made it */

  /* frames: RFC 6455, section 5 */
  LW_ERR_RSV = -20,            /* a reserved bit nobody negotiated */
  LW_ERR_OPCODE = -21,         /* opcodes 3-7 and 11-15 */
  LW_ERR_MASKED = -22,         /* a masked frame from a server */
  LW_ERR_UNMASKED = -23,       /* an unmasked frame from a client */
  LW_ERR_LENGTH_FORM = -24,    /* a length not in its shortest form */
  LW_ERR_LENGTH_RANGE = -25,   /* a length of 2^63 or more */
  LW_ERR_CONTROL_LENGTH = -26, /* a control frame over 125 bytes */
  LW_ERR_CONTROL_FIN = -27,    /* a control frame in fragments */
  LW_ERR_CONTINUATION = -28,   /* a continuation with nothing to continue */
  LW_ERR_INTERLEAVED = -29,    /* a new message inside a fragmented one */
  LW_ERR_UTF8 = -30,           /* text that is not UTF-8 */
  LW_ERR_CLOSE_LENGTH = -31,   /* a Close frame with a body of one byte */
  LW_ERR_CLOSE_CODE = -32,     /* a close code that must not be sent */
  LW_ERR_CLOSE_REASON = -33,   /* a close reason that is not UTF-8 */
  LW_ERR_PAYLOAD = -34,        /* a message over maxPayload */
  LW_ERR_FRAGMENTS = -35,      /* a message of more than maxFragments fragments */

  /* compressed messages: RFC 7692, 7.2.2 */
  LW_ERR_DEFLATE_DATA = -36,   /* no deflate data, or it refers to what it must not */
  LW_ERR_DEFLATE_CUT = -37,    /* its end is missing */
  LW_ERR_DEFLATE_TRAILING = -38, /* wrong behind the final block */

  /* URLs */
  LW_ERR_URL_EMPTY = -50,
  LW_ERR_URL_SCHEME = -51,     /* other than ws, wss, http, https, ws+unix, wss+unix */
  LW_ERR_URL_FRAGMENT = -52,   /* a '#', even with nothing behind it */
  LW_ERR_URL_HOST = -53,       /* missing, or not behind two slashes */
  LW_ERR_URL_IPV6 = -54,       /* what stands in the brackets is no IPv6 address */
  LW_ERR_URL_IPV4 = -55,       /* ends in a number but is no dotted IPv4 address */
  LW_ERR_URL_PORT = -56,       /* no number from 1 to 65535 */
  LW_ERR_URL_BYTE = -57,       /* a control character or a space */
  LW_ERR_URL_LENGTH = -58,     /* over 8 KiB */
  LW_ERR_URL_USERINFO = -59,   /* credentials that cannot be sent (a control character, or a colon in the name) */
  LW_ERR_URL_IDNA = -60,       /* letters outside ASCII in the host */
  LW_ERR_URL_HOST_SIZE = -61,  /* a host over 253 bytes, or a label of it over 63 */
  LW_ERR_URL_HOST_BYTE = -62,  /* a byte no host has */
  LW_ERR_URL_PATH = -63,       /* no absolute path behind ws+unix: */
  LW_ERR_URL_PATH_SIZE = -64,  /* that path is longer than the system takes */
  LW_ERR_URL_PATH_BYTE = -65,  /* that path has a NUL */
  LW_ERR_URL_RESOURCE = -66,   /* what stands behind that path and its colon begins with no slash */

  /* HTTP heads: RFC 9112 */
  LW_ERR_HTTP_START = -70,     /* the first line is no request or status line */
  LW_ERR_HTTP_VERSION = -71,   /* an HTTP version other than 1.1 */
  LW_ERR_HTTP_LINE = -72,      /* a bare LF, a bare CR, a folded line */
  LW_ERR_HTTP_FIELD = -73,     /* a field name that is no token, or a space before the colon */
  LW_ERR_HTTP_VALUE = -74,     /* a control character in a field value */
  LW_ERR_HTTP_COUNT = -75,     /* more fields than allowed */
  LW_ERR_HTTP_SIZE = -76,      /* a head larger than allowed */
  LW_ERR_HTTP_TARGET = -77,    /* a target larger than allowed */
  LW_ERR_HTTP_CHUNK = -78,     /* a body in chunks that breaks the grammar */

  /* the upgrade: RFC 6455, section 4 */
  LW_ERR_STATUS = -90,         /* the answer was not 101 */
  LW_ERR_UPGRADE = -91,        /* no "Upgrade: websocket" */
  LW_ERR_CONNECTION = -92,     /* no "Connection: Upgrade" */
  LW_ERR_KEY = -93,            /* no key, two, or not 16 bytes of base64 */
  LW_ERR_ACCEPT = -94,         /* Sec-WebSocket-Accept is missing or wrong */
  LW_ERR_WS_VERSION = -95,     /* Sec-WebSocket-Version is not 13 */
  LW_ERR_PROTOCOL = -96,       /* a subprotocol nobody offered, or none although asked for */
  LW_ERR_PROTOCOL_LIST = -97,  /* a list of subprotocols that breaks the grammar */
  LW_ERR_EXTENSION = -98,      /* an extension nobody offered */
  LW_ERR_EXTENSION_LIST = -99, /* an extension header that breaks the grammar */
  LW_ERR_METHOD = -100,        /* not GET */
  LW_ERR_HOST = -101,          /* no Host, or two */
  LW_ERR_BODY = -102,          /* an upgrade request with a body */
  LW_ERR_ORIGIN = -103,        /* an Origin that is not allowed */
  LW_ERR_RESOURCE = -104,      /* a path that is not served */
  LW_ERR_LOCATION = -105,      /* a redirect without a Location, or with two */
  LW_ERR_REDIRECTS = -106,     /* followRedirects passed */
  LW_ERR_DOWNGRADE = -107,     /* a redirect from wss to ws */
  LW_ERR_EXTENSION_ANSWER = -108, /* permessage-deflate twice, or with parameters that do not answer ours */

  /* the life of a connection */
  LW_ERR_EOF = -120,           /* the peer ended the connection without a Close frame */
  LW_ERR_TIMEOUT = -121,       /* handshakeTimeout passed */
  LW_ERR_CLOSE_TIMEOUT = -122, /* closeTimeout passed */
  LW_ERR_STALL = -123,         /* nothing could be written for too long */
  LW_ERR_SLOW = -124,          /* maxBufferedAmount passed */
  LW_ERR_ABORTED = -125,       /* ended from this side: close() while connecting, terminate() */
  LW_ERR_NO_ADDRESS = -126,    /* the name has no address of the family asked for */
  LW_ERR_BUSY = -127,          /* maxConnections reached */
  LW_ERR_CLOSED = -128,        /* the server was closed meanwhile */

  /* networks of addresses */
  LW_ERR_CIDR_ADDRESS = -140,  /* does not begin with an IP address */
  LW_ERR_CIDR_PREFIX = -141,   /* no prefix of this family's addresses behind the slash */

  /* proxies */
  LW_ERR_PROXY_SCHEME = -142,  /* other than http, https, socks5, socks5h, socks */
  LW_ERR_PROXY_PATH = -143,    /* more than one slash behind the port */
  LW_ERR_PROXY_CREDENTIALS = -144, /* a user or a password that SOCKS5 cannot carry */
  LW_ERR_PROXY_STATUS = -145,  /* CONNECT was not answered with 2xx; which, in words where it was */
  LW_ERR_PROXY_HTTP = -146,    /* the answer is not HTTP */
  LW_ERR_PROXY_SIZE = -147,    /* the answer is too large */
  LW_ERR_PROXY_EXTRA = -148,   /* more bytes than the answer, before anybody else may speak */
  LW_ERR_PROXY_SOCKS = -149,   /* the answer is not SOCKS5 */
  LW_ERR_PROXY_AUTH = -150,    /* SOCKS5: it wants a password, and there is none */
  LW_ERR_PROXY_METHOD = -151,  /* SOCKS5: it wants to be signed in to in another way */
  LW_ERR_PROXY_PASSWORD = -152, /* SOCKS5: the password was not accepted */
  LW_ERR_PROXY_REPLY = -153,   /* SOCKS5: it has not come through; why, in words where it was */
  LW_ERR_PROXY_EOF = -154,     /* the proxy ended the connection before it was through */

  LW_ERR_TLS = -160,           /* TLS failed; in words where it did */
  LW_ERR_UNREAD = -161,        /* it asks TLS for answers and does not read them */

  /* files on their way */
  LW_ERR_FILE = -170,          /* one cannot be read any more; which and why, in words where it was */
  LW_ERR_FILE_KIND = -171,     /* no regular file */
  LW_ERR_FILE_CHANGED = -172,  /* written or replaced since it was looked at */
  LW_ERR_FILE_SHORT = -173     /* ends before its end */
} lw_err;

/* errno and getaddrinfo codes in the same int: below every lw_err. */
#define LW_ERR_SYS(e) (-1000 - (e))
#define LW_ERR_GAI(e) (-100000 - ((e) < 0 ? -(e) : (e)))
#define LW_IS_SYS(err) ((err) <= -1000 && (err) > -100000)
#define LW_IS_GAI(err) ((err) <= -100000)
#define LW_ERRNO(err) (-1000 - (err)) /* of an error for which LW_IS_SYS holds */

/* The error in words, without a full stop; static memory or the C library's. Never NULL. */
const char *lw_strerror(int err);

/* The close code that tells the peer of this error: 1002, 1007, 1008, 1009, 1011. */
int lw_err_close_code(int err);

#pragma GCC visibility pop
#endif
