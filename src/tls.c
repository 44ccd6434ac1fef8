/*
** tls.c -- one TLS conversation: cipher bytes to plain bytes and back.
**
** OpenSSL reads and writes through a BIO of our own: it reads from the slice being opened
** and writes into the queue. So nothing is buffered twice, and nothing blocks.
*/
#include "tls.h"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NAMES_TOLD 120 /* bytes of a certificate's names in a message */
#define OVERHEAD 64    /* bytes a record adds: 22 in TLS 1.3, at most 85 in CBC modes of 1.2 (then a chunk more is made) */

struct lw_tls {
  SSL *ssl;
  lw_tls_context *context;
  lw_pool *pool;
  const unsigned char *in; /* of the slice being opened: what was not read yet */
  size_t in_left;
  lw_buf out;
  lw_tls *older, *newer; /* in the context's ring */
  int64_t used;          /* when it was touched; 0: it is not in the ring */
  char *why;       /* NULL: nothing is wrong */
  int over;        /* the end or the failure behind the bytes that lw_tls_open returned last; 0: none */
  unsigned server : 1;
  unsigned begun : 1;
  unsigned failed : 1;
  unsigned ended : 1; /* close_notify is queued */
  unsigned no_memory : 1;
  unsigned heard_http : 1;
  unsigned dry : 1;    /* OpenSSL has read all there is, and wants more */
  unsigned agreed : 1; /* the handshake was done, whatever came then */
  size_t host_length;
  char peer[]; /* "host:port", for what is kept to resume; "" on a server */
};

/* Of the process: made when first needed, and tried again while there is no memory for it. */
static pthread_mutex_t preparing = PTHREAD_MUTEX_INITIALIZER;
static BIO_METHOD *method;
static int own_index = -1; /* of the lw_tls in its SSL */
static int own_type;       /* of the BIO; there are only 127 */

/* ------------------------------------------------------------------ the BIO */

static int bio_read(BIO *bio, char *into, int n) {
  lw_tls *tls = BIO_get_data(bio);
  size_t take = (size_t)n < tls->in_left ? (size_t)n : tls->in_left;
  BIO_clear_retry_flags(bio);
  if (n <= 0) return 0;
  if (take == 0) {
    tls->dry = 1;
    BIO_set_retry_read(bio);
    return -1;
  }
  memcpy(into, tls->in, take);
  tls->in += take;
  tls->in_left -= take;
  return (int)take;
}

static int bio_write(BIO *bio, const char *from, int n) {
  lw_tls *tls = BIO_get_data(bio);
  BIO_clear_retry_flags(bio);
  if (n <= 0) return 0;
  if (lw_buf_append(&tls->out, tls->pool, from, (size_t)n) == 0) return n;
  tls->no_memory = 1;
  return -1;
}

static long bio_control(BIO *bio, int command, long number, void *pointer) {
  (void)bio, (void)number, (void)pointer;
  return command == BIO_CTRL_FLUSH;
}

static int keep_session(SSL *ssl, SSL_SESSION *session) {
  lw_tls *tls = SSL_get_ex_data(ssl, own_index);
  if (!tls || !SSL_SESSION_is_resumable(session)) return 0;
  lw_tls_context_keep_session(tls->context, tls->peer, session);
  return 1;
}

static BIO_METHOD *new_method(void) {
  BIO_METHOD *made;
  if (own_index < 0) own_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
  if (own_type <= 0) own_type = BIO_get_new_index();
  if (own_index < 0 || own_type <= 0 || !(made = BIO_meth_new(own_type | BIO_TYPE_SOURCE_SINK, "lunawire"))) return NULL;
  BIO_meth_set_read(made, bio_read);
  BIO_meth_set_write(made, bio_write);
  BIO_meth_set_ctrl(made, bio_control);
  return made;
}

static BIO *new_bio(void) {
  pthread_mutex_lock(&preparing);
  if (!method) method = new_method();
  pthread_mutex_unlock(&preparing);
  return method ? BIO_new(method) : NULL;
}

/* ------------------------------------------------------------------- verdicts */

static void set_why(lw_tls *tls, const char *why) {
  if (!tls->why) tls->why = strdup(why);
}

/* "CN=…, O=…" of a name, cut where it is too long. */
static void name_text(const X509_NAME *name, char *text, size_t size) {
  BIO *bio = BIO_new(BIO_s_mem());
  int n = 0;
  if (bio && X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB) >= 0)
    n = BIO_read(bio, text, (int)size - 1);
  text[n > 0 ? n : 0] = '\0';
  BIO_free(bio);
}

/* One name of a certificate behind those before it. */
static void add_name(char *text, size_t size, const GENERAL_NAME *name) {
  char one[NAMES_TOLD];
  int type;
  const ASN1_STRING *value = GENERAL_NAME_get0_value(name, &type);
  size_t used = strlen(text);
  if (type == GEN_DNS) {
    snprintf(one, sizeof one, "%.*s", ASN1_STRING_length(value), (const char *)ASN1_STRING_get0_data(value));
  } else if (type == GEN_IPADD) {
    int family = ASN1_STRING_length(value) == 4 ? AF_INET : AF_INET6;
    if (family == AF_INET6 && ASN1_STRING_length(value) != 16) return;
    if (!inet_ntop(family, ASN1_STRING_get0_data(value), one, sizeof one)) return;
  } else {
    return;
  }
  for (char *c = one; *c; c++)
    if ((unsigned char)*c < 0x20 || (unsigned char)*c > 0x7e) *c = '?';
  if (used + strlen(one) + 6 > size) snprintf(text + used, size - used, "%s", used && text[used - 1] != '.' ? ", …" : "");
  else snprintf(text + used, size - used, "%s%s", used ? ", " : "", one);
}

/* The hosts a certificate is for; "" if it names none. */
static void names_text(const X509 *cert, char *text, size_t size) {
  GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
  text[0] = '\0';
  for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) add_name(text, size, sk_GENERAL_NAME_value(names, i));
  GENERAL_NAMES_free(names);
}

/* The certificate is for somebody else. */
static void mismatch_text(const lw_tls *tls, const X509 *cert, char *text, size_t size) {
  char names[NAMES_TOLD + 8];
  names_text(cert, names, sizeof names);
  if (names[0]) snprintf(text, size, "the certificate is not for %.*s but for %s", (int)tls->host_length, tls->peer, names);
  else snprintf(text, size, "the certificate is for no host: it has no subjectAltName, and a common name does not count");
}

/* A name that begins with a dot is, to OpenSSL, any name below it; to us it is one that no certificate has. */
static int is_for_nobody(const lw_tls *tls, X509_STORE_CTX *store) {
  if (tls->peer[0] != '.' || X509_STORE_CTX_get_error_depth(store) > 0) return 0;
  X509_STORE_CTX_set_error(store, X509_V_ERR_HOSTNAME_MISMATCH);
  return 1;
}

/*
** Verifies all again, from copies, as OpenSSL keeps in a certificate what it has made of it. 1 if
** it comes to another end now.
*/
static int differs_now(const lw_tls *tls, X509_STORE_CTX *was) {
  X509_STORE_CTX *again = X509_STORE_CTX_new();
  X509 *cert = X509_dup(X509_STORE_CTX_get0_cert(was));
  STACK_OF(X509) *chain = sk_X509_deep_copy(X509_STORE_CTX_get0_untrusted(was), X509_dup, X509_free);
  X509_STORE *store = SSL_CTX_get_cert_store(SSL_get_SSL_CTX(tls->ssl));
  int error = X509_STORE_CTX_get_error(was), depth = X509_STORE_CTX_get_error_depth(was);
  int differs = 1; /* without memory there is no telling */
  if (again && cert && chain && X509_STORE_CTX_init(again, store, cert, chain) == 1 &&
      X509_VERIFY_PARAM_set1(X509_STORE_CTX_get0_param(again), X509_STORE_CTX_get0_param(was)) == 1)
    differs = X509_verify_cert(again) == 1 || X509_STORE_CTX_get_error(again) != error ||
              X509_STORE_CTX_get_error_depth(again) != depth;
  X509_STORE_CTX_free(again);
  sk_X509_pop_free(chain, X509_free);
  X509_free(cert);
  return differs;
}

/*
** OpenSSL found fault with a certificate because it had no memory, now or when it read one of
** them. It says so sometimes; often it says that there is no issuer or the signature is wrong.
*/
static int is_lack(const lw_tls *tls, X509_STORE_CTX *store) {
  return X509_STORE_CTX_get_error(store) == X509_V_ERR_OUT_OF_MEM || lw_tls_lacked() ||
         lw_tls_context_is_spoilt(tls->context) || differs_now(tls, store);
}

/* OpenSSL found fault with a certificate: the first reason is told. */
static int note_fault(int good, X509_STORE_CTX *store) {
  SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
  lw_tls *tls = ssl ? SSL_get_ex_data(ssl, own_index) : NULL;
  int error;
  const X509 *cert = X509_STORE_CTX_get_current_cert(store);
  char what[LW_TLS_WHY / 2], subject[80] = "", issuer[80] = "", why[LW_TLS_WHY];
  int unnamed = good && tls && is_for_nobody(tls, store);
  if (unnamed) good = 0;
  if (good || !tls || tls->why) return good;
  error = X509_STORE_CTX_get_error(store);
  if (!unnamed && is_lack(tls, store)) {
    X509_STORE_CTX_set_error(store, X509_V_ERR_OUT_OF_MEM); /* the peer is told of no fault of its own either */
    tls->no_memory = 1;
    return 0;
  }
  snprintf(what, sizeof what, "%s", X509_verify_cert_error_string(error));
  if (cert && (error == X509_V_ERR_HOSTNAME_MISMATCH || error == X509_V_ERR_IP_ADDRESS_MISMATCH))
    mismatch_text(tls, cert, what, sizeof what);
  if (cert) name_text(X509_get_subject_name(cert), subject, sizeof subject);
  if (cert && (error == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY || error == X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE))
    name_text(X509_get_issuer_name(cert), issuer, sizeof issuer);
  snprintf(why, sizeof why, "%s (depth %d, %s%s%s)", what, X509_STORE_CTX_get_error_depth(store), subject,
           issuer[0] ? ", issued by " : "", issuer);
  set_why(tls, why);
  return 0;
}

/* What OpenSSL's reasons mean where its own words do not tell a person. */
static const char *plainer(const lw_tls *tls, int reason) {
  switch (reason) {
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_PACKET_LENGTH_TOO_LONG:
      if (SSL_is_init_finished(tls->ssl)) return NULL;
      return tls->server ? "the client does not speak TLS" : "the server does not speak TLS at this port";
    case SSL_R_HTTP_REQUEST: return "the client does not speak TLS: it sent an HTTP request";
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_TLSV1_ALERT_PROTOCOL_VERSION: return "the two sides have no TLS version in common";
    case SSL_R_NO_SHARED_CIPHER: return "the two sides have no cipher in common";
    case SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE:
      return "the other side refused the handshake: nothing in common, or it wants what was not offered (a client certificate?)";
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED: return "the server wants a client certificate, and none was given";
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE: return "the client showed no certificate";
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA: return "the other side does not trust the issuer of our certificate";
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED: return "the other side says that our certificate has expired";
    case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED: return "the other side says that our certificate was revoked";
    case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
      return tls->server ? "the client did not accept our certificate: it may not be made for servers"
                         : "the server did not accept our certificate: it may not be made for clients";
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
    case SSL_R_TLSV1_ALERT_DECRYPT_ERROR: return "the other side did not accept our certificate";
    case SSL_R_TLSV1_UNRECOGNIZED_NAME: return "the other side does not know the host asked for";
    case SSL_R_NO_APPLICATION_PROTOCOL:
    case SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL: return "the two sides have no application protocol (ALPN) in common";
    case SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC: return "a record was damaged or forged on its way";
    case SSL_R_SSLV3_ALERT_BAD_RECORD_MAC: return "the other side got a damaged or forged record";
    default: return NULL;
  }
}

/* OpenSSL said no. The reason was noted already if it was a certificate's. */
static int fail(lw_tls *tls) {
  unsigned long code = ERR_peek_error();
  int reason = ERR_GET_LIB(code) == ERR_LIB_SSL ? ERR_GET_REASON(code) : 0;
  const char *plain = reason ? plainer(tls, reason) : NULL;
  char words[120], why[LW_TLS_WHY];
  tls->failed = 1;
  tls->over = lw_tls_reason(words, sizeof words);
  if (tls->no_memory) tls->over = LW_ERR_MEMORY;
  if (tls->over == LW_ERR_MEMORY) {
    lw_tls_context_mend(tls->context);
    set_why(tls, lw_strerror(LW_ERR_MEMORY));
    return LW_ERR_MEMORY;
  }
  tls->heard_http = reason == SSL_R_HTTP_REQUEST;
  if (plain) snprintf(why, sizeof why, "%s (%s)", plain, words);
  else snprintf(why, sizeof why, "%s", words);
  set_why(tls, why);
  return tls->over;
}

const char *lw_tls_why(const lw_tls *tls) {
  return tls->why ? tls->why : lw_strerror(LW_ERR_TLS);
}

int lw_tls_heard_http(const lw_tls *tls) {
  return tls->heard_http;
}

int lw_tls_cut(lw_tls *tls) {
  tls->failed = 1;
  tls->over = LW_ERR_TLS;
  set_why(tls, tls->begun ? "the connection ended in the middle of the TLS handshake"
                          : "the connection ended before the TLS handshake");
  return LW_ERR_TLS;
}

/* ------------------------------------------------------------- record buffers */

static void leave_ring(lw_tls *tls) {
  lw_tls_ring *ring = lw_tls_context_ring(tls->context);
  if (tls->used == 0) return;
  *(tls->older ? &tls->older->newer : &ring->oldest) = tls->newer;
  *(tls->newer ? &tls->newer->older : &ring->newest) = tls->older;
  tls->older = tls->newer = NULL;
  tls->used = 0;
  ring->count--;
}

static void join_ring(lw_tls *tls, int64_t now) {
  lw_tls_ring *ring = lw_tls_context_ring(tls->context);
  tls->older = ring->newest;
  *(ring->newest ? &ring->newest->newer : &ring->oldest) = tls;
  ring->newest = tls;
  tls->used = now > 0 ? now : 1;
  ring->count++;
}

void lw_tls_touch(lw_tls *tls, int64_t now) {
  lw_tls_ring *ring = lw_tls_context_ring(tls->context);
  if (ring->newest == tls) {
    tls->used = now > 0 ? now : 1;
  } else {
    leave_ring(tls);
    join_ring(tls, now);
  }
  while (ring->count > LW_TLS_WARM || ring->oldest->used < now - LW_TLS_REST) {
    lw_tls *oldest = ring->oldest;
    SSL_free_buffers(oldest->ssl); /* not those with half a record in them: they wait for the next time */
    leave_ring(oldest);
  }
}

/* ---------------------------------------------------------- making, freeing */

/* A client checks whom it talks to: a name by DNS names, an address by addresses (RFC 9525, 6). */
static int expect(lw_tls *tls, const char *host) {
  X509_VERIFY_PARAM *param = SSL_get0_param(tls->ssl);
  const lw_tls_options *options = lw_tls_context_options(tls->context);
  SSL_SESSION *session;
  unsigned char address[16];
  int is_address = inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
  size_t n = strlen(host);
  if (n > 1 && host[n - 1] == '.') n--; /* the root's dot is in no certificate */
  tls->host_length = n;
  X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
  if (is_address && X509_VERIFY_PARAM_set1_ip_asc(param, host) != 1) return 0;
  if (!is_address) {
    char name[256];
    if (n >= sizeof name) return 0;
    memcpy(name, host, n);
    name[n] = '\0';
    if (X509_VERIFY_PARAM_set1_host(param, name, n) != 1) return 0;
    if (SSL_set_tlsext_host_name(tls->ssl, name) != 1) return 0;
  }
  SSL_set_verify(tls->ssl, options->insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, options->insecure ? NULL : note_fault);
  if (options->no_resumption) return 1;
  session = lw_tls_context_take_session(tls->context, tls->peer);
  if (session) SSL_set_session(tls->ssl, session);
  SSL_SESSION_free(session);
  return 1;
}

static void ask_client(lw_tls *tls) {
  lw_tls_ask ask = lw_tls_context_options(tls->context)->ask;
  if (ask == LW_TLS_ASK_NOT) return;
  SSL_set_verify(tls->ssl, SSL_VERIFY_PEER | (ask == LW_TLS_ASK_REQUIRED ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0), note_fault);
}

lw_tls *lw_tls_new(lw_tls_context *context, lw_pool *pool, const char *host, unsigned short port) {
  size_t n = host ? strlen(host) + 8 : 1;
  SSL_CTX *ssl_context = lw_tls_context_ssl(context);
  lw_tls *tls = calloc(1, sizeof *tls + n);
  BIO *bio;
  if (!tls) return NULL;
  tls->context = lw_tls_context_hold(context);
  tls->pool = pool;
  tls->server = !host;
  lw_buf_init(&tls->out);
  if (host) snprintf(tls->peer, n, "%s:%hu", host, port);
  if (!(bio = new_bio())) goto fail;
  BIO_set_data(bio, tls);
  BIO_set_init(bio, 1);
  if (!(tls->ssl = SSL_new(ssl_context))) {
    BIO_free(bio);
    goto fail;
  }
  SSL_set_bio(tls->ssl, bio, bio);
  if (SSL_set_ex_data(tls->ssl, own_index, tls) != 1) goto fail;
  if (host) {
    SSL_set_connect_state(tls->ssl);
    SSL_CTX_set_session_cache_mode(ssl_context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ssl_context, lw_tls_context_options(context)->no_resumption ? NULL : keep_session);
    if (!expect(tls, host)) goto fail;
  } else {
    SSL_set_accept_state(tls->ssl);
    ask_client(tls);
  }
  return tls;
fail:
  ERR_clear_error();
  lw_tls_free(tls);
  return NULL;
}

void lw_tls_free(lw_tls *tls) {
  if (!tls) return;
  leave_ring(tls);
  /* to OpenSSL a connection that ends without close_notify has no session worth keeping */
  if (tls->ssl && !tls->failed) SSL_set_shutdown(tls->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  SSL_free(tls->ssl);
  ERR_clear_error();
  lw_buf_clear(&tls->out, tls->pool);
  lw_tls_context_release(tls->context);
  free(tls->why);
  free(tls);
}

/* ----------------------------------------------------------------- in and out */

int lw_tls_is_ready(const lw_tls *tls) {
  return !tls->failed && !tls->ended && SSL_is_init_finished(tls->ssl);
}

int lw_tls_shaking(const lw_tls *tls) {
  return !tls->failed && !SSL_is_init_finished(tls->ssl);
}

lw_buf *lw_tls_output(lw_tls *tls) {
  return &tls->out;
}

int lw_tls_has_agreed(const lw_tls *tls) {
  return tls->agreed;
}

/*
** OpenSSL's call returned `result`: 0 if it merely wants more, LW_ERR_EOF, or it failed. It may
** want more and have errors in its queue that it has got over: SSL_get_error takes them for a
** failure.
*/
static int verdict(lw_tls *tls, int result) {
  if (tls->dry) return 0;
  switch (SSL_get_error(tls->ssl, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE: return 0;
    case SSL_ERROR_ZERO_RETURN: return SSL_is_init_finished(tls->ssl) ? LW_ERR_EOF : lw_tls_cut(tls);
    default: return fail(tls);
  }
}

int lw_tls_shake(lw_tls *tls) {
  int result;
  if (tls->failed || SSL_is_init_finished(tls->ssl) || (tls->server && !tls->begun)) return 0;
  tls->begun = 1;
  tls->dry = 0;
  ERR_clear_error();
  result = SSL_do_handshake(tls->ssl);
  tls->agreed |= result == 1;
  return result == 1 ? 0 : verdict(tls, result);
}

long lw_tls_open(lw_tls *tls, const unsigned char *cipher, size_t n, unsigned char *plain, size_t room) {
  size_t used = 0, got;
  int result = 1, err = 0;
  if (tls->over < 0) return tls->over;
  tls->begun = 1;
  tls->in = cipher;
  tls->in_left = n;
  tls->dry = 0;
  ERR_clear_error();
  while (room > used && (result = SSL_read_ex(tls->ssl, plain + used, room - used, &got)) == 1) used += got;
  tls->agreed |= used > 0 || SSL_is_init_finished(tls->ssl);
  if (result != 1) err = verdict(tls, result);
  tls->in = NULL;
  tls->in_left = 0;
  tls->over = err; /* what came before is told first */
  return used > 0 ? (long)used : err;
}

int lw_tls_over(const lw_tls *tls) {
  return tls->over;
}

int lw_tls_reserve(lw_tls *tls, size_t n) {
  return lw_buf_reserve(&tls->out, tls->pool, n + (n / LW_TLS_RECORD + 1) * OVERHEAD) ? 0 : LW_ERR_MEMORY;
}

int lw_tls_seal(lw_tls *tls, const void *plain, size_t n) {
  size_t sealed;
  int result;
  if (n == 0) return 0;
  ERR_clear_error();
  result = SSL_write_ex(tls->ssl, plain, n, &sealed);
  if (result == 1) return 0;
  return SSL_get_error(tls->ssl, result) == SSL_ERROR_WANT_READ ? LW_ERR_TLS : fail(tls);
}

void lw_tls_end(lw_tls *tls) {
  if (tls->ended || tls->failed || !SSL_is_init_finished(tls->ssl)) return;
  tls->ended = 1;
  SSL_shutdown(tls->ssl);
  ERR_clear_error();
}

/* --------------------------------------------------------------------- facts */

void lw_tls_tell(const lw_tls *tls, lw_tls_facts *facts) {
  const unsigned char *alpn = NULL;
  unsigned n = 0;
  SSL_get0_alpn_selected(tls->ssl, &alpn, &n);
  *facts = (lw_tls_facts){.version = SSL_get_version(tls->ssl),
                          .cipher = SSL_get_cipher_name(tls->ssl),
                          .server_name = SSL_get_servername(tls->ssl, TLSEXT_NAMETYPE_host_name),
                          .alpn = (const char *)alpn,
                          .alpn_n = n,
                          .resumed = SSL_session_reused(tls->ssl)};
}

static char *text_of(const X509_NAME *name) {
  char text[512];
  name_text(name, text, sizeof text);
  return strdup(text);
}

static char *common_name_of(const X509_NAME *name) {
  int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
  unsigned char *text = NULL;
  char *copy = NULL;
  if (at < 0) return NULL;
  if (ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at))) >= 0) copy = strdup((char *)text);
  OPENSSL_free(text);
  return copy;
}

static char *fingerprint_of(const X509 *cert) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned n = 0;
  char *text;
  if (X509_digest(cert, EVP_sha256(), digest, &n) != 1 || n == 0 || !(text = malloc((size_t)n * 3))) return NULL;
  for (unsigned i = 0; i < n; i++) snprintf(text + (size_t)3 * i, 4 - (i == n - 1), i == n - 1 ? "%02X" : "%02X:", digest[i]);
  return text;
}

static char *serial_of(const X509 *cert) {
  BIGNUM *number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(cert), NULL);
  char *hex = number ? BN_bn2hex(number) : NULL, *copy = hex ? strdup(hex) : NULL;
  OPENSSL_free(hex);
  BN_free(number);
  return copy;
}

static char *time_of(const ASN1_TIME *time) {
  struct tm tm;
  char text[40];
  if (ASN1_TIME_to_tm(time, &tm) != 1) return NULL;
  if (strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0) return NULL;
  return strdup(text);
}

int lw_tls_peer_of(const lw_tls *tls, lw_tls_peer *peer) {
  X509 *cert = SSL_get1_peer_certificate(tls->ssl);
  memset(peer, 0, sizeof *peer);
  if (!cert) return 0;
  peer->subject = text_of(X509_get_subject_name(cert));
  peer->issuer = text_of(X509_get_issuer_name(cert));
  peer->common_name = common_name_of(X509_get_subject_name(cert));
  peer->serial = serial_of(cert);
  peer->fingerprint = fingerprint_of(cert);
  peer->not_after = time_of(X509_get0_notAfter(cert));
  X509_free(cert);
  ERR_clear_error();
  return 1;
}

void lw_tls_peer_clear(lw_tls_peer *peer) {
  free(peer->subject);
  free(peer->issuer);
  free(peer->common_name);
  free(peer->serial);
  free(peer->fingerprint);
  free(peer->not_after);
  memset(peer, 0, sizeof *peer);
}
