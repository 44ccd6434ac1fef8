/*
** tls_context.c -- what many TLS connections have in common: certificates, trust and rules.
*/
#include "tls_context.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "crypt.h"

#define SHELVED 16    /* contexts kept while nobody uses them */
#define SESSIONS 64   /* kept to resume, of all peers together: a client talks to few */
#define ALPN_MAX 255  /* bytes of the list: far more than there are protocols for a WebSocket */

typedef struct kept_session {
  char *peer; /* NULL: a free place */
  SSL_SESSION *session;
  uint64_t age;
} kept_session;

/* A certificate ready to be shown. */
typedef struct identity {
  X509 *cert;
  STACK_OF(X509) *chain;
  EVP_PKEY *key;
} identity;

/* Certificates that are looked for in directories, when they are needed. Shared, counted by reference. */
typedef struct lw_tls_trust {
  unsigned refs;
  X509_STORE *store;
  char directory[]; /* "": the system's, and its file */
} trust;

struct lw_tls_context {
  lw_tls_context *next; /* on its shelf */
  unsigned refs;
  unsigned char label[LW_SHA1_SIZE]; /* what distinguishes it: a digest, as the options may be secrets */
  lw_tls_options options; /* the plain ones; its strings are not kept */
  SSL_CTX *ssl;
  trust *trust; /* NULL: all that are trusted were read when it was made */
  identity *identities;
  size_t identity_count;
  unsigned char alpn[ALPN_MAX + 1]; /* as they travel: each with its length before it */
  unsigned alpn_length;
  lw_tls_ring ring;
  kept_session sessions[SESSIONS];
  uint64_t session_age;
};

void *lw_tls_context_ssl(const lw_tls_context *context) {
  if (context->trust && context->trust->store != SSL_CTX_get_cert_store(context->ssl))
    SSL_CTX_set1_cert_store(context->ssl, context->trust->store);
  return context->ssl;
}

lw_tls_ring *lw_tls_context_ring(lw_tls_context *context) {
  return &context->ring;
}

const lw_tls_options *lw_tls_context_options(const lw_tls_context *context) {
  return &context->options;
}

/* ---------------------------------------------------------------- reasons */

static int is_lack(unsigned long code) {
  if (ERR_SYSTEM_ERROR(code)) return ERR_GET_REASON(code) == ENOMEM;
  return ERR_GET_REASON(code) == ERR_R_MALLOC_FAILURE;
}

int lw_tls_lacked(void) {
  return is_lack(ERR_peek_error()) || is_lack(ERR_peek_last_error());
}

/* 1 if any error in OpenSSL's queue was a lack of memory: those before and behind it are what came of that. */
static int empty_queue(void) {
  unsigned long code;
  int lacked = 0;
  while ((code = ERR_get_error()) != 0) lacked |= is_lack(code);
  return lacked;
}

int lw_tls_reason(char *text, size_t size) {
  unsigned long code = ERR_peek_error();
  const char *reason = code ? ERR_reason_error_string(code) : NULL;
  int lacked = code == 0; /* OpenSSL gives a reason for everything but, at some places, this */
  if (code && ERR_SYSTEM_ERROR(code)) reason = lw_strerror(LW_ERR_SYS(ERR_GET_REASON(code)));
  lacked |= empty_queue();
  if (lacked) reason = lw_strerror(LW_ERR_MEMORY);
  snprintf(text, size, "%s", reason ? reason : "OpenSSL does not say why");
  return lacked ? LW_ERR_MEMORY : LW_ERR_TLS;
}

/* `what` "name": `reason`, or OpenSSL's; but a lack of memory is only that. PEM text is not repeated: it may be a key. */
static int tell(char *why, const char *what, const char *name, const char *reason) {
  char text[160];
  int lacked = reason ? empty_queue() : lw_tls_reason(text, sizeof text) == LW_ERR_MEMORY;
  if (lacked) return LW_ERR_MEMORY;
  if (strstr(name, "-----")) snprintf(why, LW_TLS_WHY, "%s: %s", what, reason ? reason : text);
  else snprintf(why, LW_TLS_WHY, "%s \"%.200s\": %s", what, name, reason ? reason : text);
  return LW_ERR_TLS;
}

/* ------------------------------------------------------------ certificates */

static int is_pem(const char *text) {
  return strstr(text, "-----BEGIN") != NULL;
}

static BIO *open_pem(const char *source) {
  return is_pem(source) ? BIO_new_mem_buf(source, -1) : BIO_new_file(source, "r");
}

/* 1 if the reader merely came to the end of what there is. */
static int is_end_of_pem(void) {
  unsigned long code = ERR_peek_last_error();
  return ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE;
}

/* A passphrase (NULL: none), and whether it was asked for. */
typedef struct secret {
  const char *passphrase;
  int asked;
} secret;

static int give_passphrase(char *into, int size, int writing, void *argument) {
  secret *from = argument;
  size_t n = from && from->passphrase ? strlen(from->passphrase) : 0;
  (void)writing;
  if (from) from->asked = 1;
  if (n == 0 || n > (size_t)size) return -1; /* 0 would be tried as a passphrase */
  memcpy(into, from->passphrase, n);
  return (int)n;
}

/*
** OpenSSL works a certificate's key, its strength and the extensions out once, and keeps them. Where it has no
** memory for that it may say nothing: from then on the certificate looks like a bad one.
*/
static int is_whole(X509 *cert) {
  EVP_PKEY *key;
  int good;
  ERR_set_mark();
  key = X509_get0_pubkey(cert);
  good = key && EVP_PKEY_get_security_bits(key) > 0 && X509_check_purpose(cert, -1, 0) == 1;
  ERR_pop_to_mark();
  return good;
}

/* A key or an extension that OpenSSL does not understand, a copy does not have either. */
int lw_tls_is_spoilt(void *cert) {
  X509 *copy;
  int spoilt;
  if (is_whole(cert)) return 0;
  ERR_set_mark();
  copy = X509_dup(cert);
  spoilt = !copy || is_whole(copy);
  X509_free(copy);
  ERR_pop_to_mark();
  return spoilt;
}

typedef X509 *read_pem(BIO *bio, X509 **into, pem_password_cb *passphrase, void *argument);

/* The next certificate of a PEM text, all of it. NULL: there is none, for the reason in OpenSSL's queue. */
static X509 *read_cert(BIO *bio, read_pem *from) {
  X509 *cert = from(bio, NULL, give_passphrase, NULL);
  if (!cert || !lw_tls_is_spoilt(cert)) return cert;
  X509_free(cert);
  ERR_raise(ERR_LIB_X509, ERR_R_MALLOC_FAILURE);
  return NULL;
}

static void free_identity(identity *id) {
  X509_free(id->cert);
  sk_X509_pop_free(id->chain, X509_free);
  EVP_PKEY_free(id->key);
}

/* The certificate, then as many of its issuers as stand behind it. */
static int read_chain(identity *id, const char *source, char *why) {
  BIO *bio = open_pem(source);
  X509 *issuer;
  int err = LW_ERR_MEMORY;
  if (!bio) return tell(why, "cert", source, NULL);
  if (!(id->chain = sk_X509_new_null())) goto done;
  if (!(id->cert = read_cert(bio, PEM_read_bio_X509_AUX))) {
    err = tell(why, "cert", source, is_end_of_pem() ? "there is no certificate in it (PEM is expected)" : NULL);
    goto done;
  }
  while ((issuer = read_cert(bio, PEM_read_bio_X509)) != NULL) {
    if (sk_X509_push(id->chain, issuer) > 0) continue;
    X509_free(issuer);
    goto done;
  }
  err = is_end_of_pem() ? 0 : tell(why, "cert", source, NULL);
done:
  ERR_clear_error();
  BIO_free(bio);
  return err;
}

/* What is wrong with a key, where OpenSSL's own words would not help. */
static const char *key_trouble(const secret *tried) {
  unsigned long code = ERR_peek_last_error();
  if (tried->asked) return tried->passphrase ? "the passphrase is wrong" : "the key is encrypted, and no passphrase was given";
  if (is_end_of_pem() || (ERR_GET_LIB(code) == ERR_LIB_OSSL_DECODER && ERR_GET_REASON(code) == ERR_R_UNSUPPORTED))
    return "there is no key in it (PEM is expected)";
  return NULL;
}

static int read_key(identity *id, const lw_tls_pair *pair, char *why) {
  const char *source = pair->key ? pair->key : pair->cert;
  secret tried = {pair->passphrase, 0};
  BIO *bio = open_pem(source);
  if (!bio) return tell(why, "key", source, NULL);
  id->key = PEM_read_bio_PrivateKey(bio, NULL, give_passphrase, &tried);
  BIO_free(bio);
  if (!id->key) return tell(why, "key", source, key_trouble(&tried));
  if (X509_check_private_key(id->cert, id->key) == 1) return 0;
  return tell(why, "key", source, "it is not the key of the certificate");
}

static int load_identities(lw_tls_context *context, const lw_tls_options *options, char *why) {
  identity *id;
  int err = 0;
  if (options->pair_count == 0) return 0;
  if (!(context->identities = calloc(options->pair_count, sizeof *context->identities))) return LW_ERR_MEMORY;
  for (size_t i = 0; i < options->pair_count && err == 0; i++) {
    id = &context->identities[context->identity_count++];
    err = read_chain(id, options->pairs[i].cert, why);
    if (err == 0) err = read_key(id, &options->pairs[i], why);
  }
  if (err < 0) return err;
  id = context->identities;
  if (SSL_CTX_use_cert_and_key(context->ssl, id->cert, id->key, id->chain, 1) == 1) return 0;
  return tell(why, "cert", options->pairs[0].cert, NULL);
}

/* The server is asked for a name: the first certificate that has it among its own, else the first of all. */
static int choose_identity(SSL *ssl, void *argument) {
  const lw_tls_context *context = argument;
  const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
  for (size_t i = 0; name && i < context->identity_count; i++) {
    const identity *id = &context->identities[i];
    int fits = X509_check_host(id->cert, name, 0, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, NULL);
    if (fits != 1 && lw_tls_lacked()) return 0; /* rather none than one for others */
    if (fits != 1) continue;
    if (i > 0 && SSL_use_cert_and_key(ssl, id->cert, id->key, id->chain, 1) != 1) return 0;
    return 1;
  }
  return 1;
}

/* ------------------------------------------------------------------- trust */

/* All certificates of a PEM text, for trust, and for a server also the names it tells its clients. */
static int trust_text(lw_tls_context *context, X509_STORE *store, const char *source, char *why) {
  BIO *bio = open_pem(source);
  X509 *cert;
  size_t count = 0;
  int err = 0;
  if (!bio) return tell(why, "ca", source, NULL);
  while (err == 0 && (cert = read_cert(bio, PEM_read_bio_X509_AUX)) != NULL) {
    if (X509_STORE_add_cert(store, cert) != 1) err = LW_ERR_MEMORY;
    if (context->options.server && SSL_CTX_add_client_CA(context->ssl, cert) != 1) err = LW_ERR_MEMORY;
    X509_free(cert);
    count++;
  }
  if (err == 0 && !is_end_of_pem()) err = tell(why, "ca", source, NULL);
  else if (err == 0 && count == 0) err = tell(why, "ca", source, "there is no certificate in it (PEM is expected)");
  ERR_clear_error();
  BIO_free(bio);
  return err;
}

/* 1, 0, LW_ERR_MEMORY, or LW_ERR_TLS and why. */
static int is_directory(const lw_sys *sys, const char *path, char *why) {
  struct stat status;
  if (sys->stat(path, &status) == 0) return S_ISDIR(status.st_mode);
  if (errno == ENOMEM) return LW_ERR_MEMORY;
  return tell(why, "ca", path, lw_strerror(LW_ERR_SYS(errno)));
}

static int has_spoilt(X509_STORE *store) {
  STACK_OF(X509_OBJECT) *objects = X509_STORE_get0_objects(store);
  for (int i = 0; i < sk_X509_OBJECT_num(objects); i++) {
    X509 *cert = X509_OBJECT_get0_X509(sk_X509_OBJECT_value(objects, i));
    if (cert && lw_tls_is_spoilt(cert)) return 1;
  }
  return 0;
}

/* As X509_STORE_set_default_paths, which does not tell that it had no memory for half of the file. 0 or LW_ERR_MEMORY. */
static int look_in_default_paths(X509_STORE *store) {
  X509_LOOKUP *file = X509_STORE_add_lookup(store, X509_LOOKUP_file());
  X509_LOOKUP *directory = X509_STORE_add_lookup(store, X509_LOOKUP_hash_dir());
  X509_LOOKUP *more = X509_STORE_add_lookup(store, X509_LOOKUP_store());
  unsigned long code;
  if (!file || !directory || !more) return LW_ERR_MEMORY;
  X509_LOOKUP_load_file(file, NULL, X509_FILETYPE_DEFAULT); /* if it is not there, that is no fault */
  code = ERR_peek_error();
  /* what reads PEM has a reason for everything but a lack of memory */
  if (ERR_GET_LIB(code) == ERR_LIB_X509 && ERR_GET_REASON(code) == ERR_R_PEM_LIB) return LW_ERR_MEMORY;
  X509_LOOKUP_add_dir(directory, NULL, X509_FILETYPE_DEFAULT);
  X509_LOOKUP_add_store(more, NULL);
  return empty_queue() || has_spoilt(store) ? LW_ERR_MEMORY : 0;
}

/* What is trusted by a directory, "": by the system. NULL: see the queue. */
static X509_STORE *open_store(const char *directory) {
  X509_STORE *store = X509_STORE_new();
  ERR_clear_error();
  if (!store) return NULL;
  if (*directory) X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
  if (*directory ? X509_STORE_load_path(store, directory) == 1 : look_in_default_paths(store) == 0) return store;
  X509_STORE_free(store);
  return NULL;
}

static trust *new_trust(const char *directory) {
  size_t n = strlen(directory) + 1;
  trust *t = malloc(sizeof *t + n);
  if (!t) return NULL;
  t->refs = 1;
  memcpy(t->directory, directory, n);
  if ((t->store = open_store(directory)) != NULL) return t;
  free(t);
  return NULL;
}

static void release_trust(trust *t) {
  if (!t || --t->refs > 0) return;
  X509_STORE_free(t->store);
  free(t);
}

int lw_tls_context_is_spoilt(const lw_tls_context *context) {
  return context->trust && has_spoilt(context->trust->store);
}

void lw_tls_context_mend(lw_tls_context *context) {
  X509_STORE *fresh;
  if (!context->trust || !(fresh = open_store(context->trust->directory))) return;
  X509_STORE_free(context->trust->store);
  context->trust->store = fresh;
}

static int load_trust(lw_tls_shelf *shelf, const lw_sys *sys, lw_tls_context *context, const char *ca, char *why) {
  X509_STORE *store;
  int by_directory = ca && !is_pem(ca) ? is_directory(sys, ca, why) : 0;
  if (by_directory < 0) return by_directory;
  if (!ca && context->options.server) return 0;
  if (ca && !by_directory) {
    store = SSL_CTX_get_cert_store(context->ssl);
    X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN); /* who is named is trusted, root or not */
    return trust_text(context, store, ca, why);
  }
  if (ca) {
    context->trust = new_trust(ca);
  } else {
    if (!shelf->system_trust) shelf->system_trust = new_trust("");
    context->trust = shelf->system_trust;
    if (context->trust) context->trust->refs++;
  }
  return context->trust ? 0 : LW_ERR_MEMORY;
}

/* ------------------------------------------------------------------- rules */

/* OpenSSL keeps the names of TLS 1.3 and those before apart; people write one list. */
static int set_ciphers(SSL_CTX *ssl, const char *list, char *why) {
  size_t n = strlen(list) + 1;
  char *old = malloc(2 * n), *new;
  int good = 1;
  if (!old) return LW_ERR_MEMORY;
  new = old + n;
  *old = *new = '\0';
  for (const char *at = list; *at; at += *at == ':') {
    size_t length = strcspn(at, ":");
    char *into = strncmp(at, "TLS_", 4) == 0 ? new : old;
    if (length > 0) snprintf(into + strlen(into), n, "%s%.*s", *into ? ":" : "", (int)length, at);
    at += length;
  }
  if (*new) good = SSL_CTX_set_ciphersuites(ssl, new);
  if (good == 1 && *old) good = SSL_CTX_set_cipher_list(ssl, old);
  free(old);
  return good == 1 ? 0 : tell(why, "ciphers", list, NULL);
}

static int select_alpn(SSL *ssl, const unsigned char **out, unsigned char *n, const unsigned char *in, unsigned in_n,
                       void *argument) {
  const lw_tls_context *context = argument;
  unsigned char *chosen;
  (void)ssl;
  if (SSL_select_next_proto(&chosen, n, context->alpn, context->alpn_length, in, in_n) != OPENSSL_NPN_NEGOTIATED)
    return SSL_TLSEXT_ERR_ALERT_FATAL; /* RFC 7301, 3.2 */
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
}

static int set_alpn(lw_tls_context *context, const char *list, char *why) {
  for (const char *at = list; *at; at += *at == ',') {
    size_t n = strcspn(at, ",");
    if (n == 0 || context->alpn_length + n + 1 > ALPN_MAX) return tell(why, "alpn", list, "an empty name, or too many");
    context->alpn[context->alpn_length] = (unsigned char)n;
    memcpy(context->alpn + context->alpn_length + 1, at, n);
    context->alpn_length += (unsigned)n + 1;
    at += n;
  }
  if (context->options.server) SSL_CTX_set_alpn_select_cb(context->ssl, select_alpn, context);
  else if (SSL_CTX_set_alpn_protos(context->ssl, context->alpn, context->alpn_length) != 0) return LW_ERR_MEMORY;
  return 0;
}

static int accept_name(SSL *ssl, int *alert, void *argument) {
  (void)ssl, (void)alert, (void)argument;
  return SSL_TLSEXT_ERR_OK; /* choose_identity looks at it */
}

static int set_rules(lw_tls_context *context, const lw_tls_options *options, char *why) {
  static const unsigned char session_context[] = "lunawire";
  SSL_CTX *ssl = context->ssl;
  int err = 0;
  SSL_CTX_set_min_proto_version(ssl, options->min_version == 13 ? TLS1_3_VERSION : TLS1_2_VERSION);
  SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                               SSL_OP_PRIORITIZE_CHACHA);
  SSL_CTX_set_mode(ssl, SSL_MODE_AUTO_RETRY); /* buffers are released by lw_tls_touch: after each record it would cost a tenth */
  SSL_CTX_set_max_send_fragment(ssl, (long)LW_TLS_RECORD);
  if (options->no_resumption) SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET);
  if (options->no_resumption && options->server) SSL_CTX_set_num_tickets(ssl, 0);
  if (options->server) {
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF); /* tickets hold all: nothing is kept here */
    SSL_CTX_set_session_id_context(ssl, session_context, sizeof session_context - 1);
    SSL_CTX_set_tlsext_servername_callback(ssl, accept_name);
    if (options->pair_count > 1) SSL_CTX_set_cert_cb(ssl, choose_identity, context);
  }
  if (options->ciphers) err = set_ciphers(ssl, options->ciphers, why);
  if (err == 0 && options->alpn) err = set_alpn(context, options->alpn, why);
  return err;
}

/* ---------------------------------------------------------------- sessions */

void *lw_tls_context_take_session(lw_tls_context *context, const char *peer) {
  kept_session *best = NULL;
  SSL_SESSION *session;
  for (size_t i = 0; i < SESSIONS; i++) {
    kept_session *kept = &context->sessions[i];
    if (kept->peer && strcmp(kept->peer, peer) == 0 && (!best || kept->age > best->age)) best = kept;
  }
  if (!best) return NULL;
  session = best->session;
  if (SSL_SESSION_get_protocol_version(session) < TLS1_3_VERSION) { /* may serve again */
    SSL_SESSION_up_ref(session);
    return session;
  }
  free(best->peer); /* a ticket of TLS 1.3 is used once (RFC 8446, C.4) */
  *best = (kept_session){NULL, NULL, 0};
  return session;
}

static void drop_session(kept_session *kept) {
  free(kept->peer);
  SSL_SESSION_free(kept->session);
  *kept = (kept_session){NULL, NULL, 0};
}

void lw_tls_context_keep_session(lw_tls_context *context, const char *peer, void *session) {
  kept_session *into = &context->sessions[0];
  for (size_t i = 1; i < SESSIONS && into->peer; i++)
    if (!context->sessions[i].peer || context->sessions[i].age < into->age) into = &context->sessions[i];
  drop_session(into);
  if (!(into->peer = strdup(peer))) {
    SSL_SESSION_free(session);
    return;
  }
  into->session = session;
  into->age = ++context->session_age;
}

/* ---------------------------------------------------------- making, freeing */

static void free_context(lw_tls_context *context) {
  for (size_t i = 0; i < SESSIONS; i++) drop_session(&context->sessions[i]);
  for (size_t i = 0; i < context->identity_count; i++) free_identity(&context->identities[i]);
  free(context->identities);
  SSL_CTX_free(context->ssl);
  release_trust(context->trust);
  free(context);
}

lw_tls_context *lw_tls_context_hold(lw_tls_context *context) {
  if (context) context->refs++;
  return context;
}

void lw_tls_context_release(lw_tls_context *context) {
  if (context && --context->refs == 0) free_context(context);
}

static lw_tls_context *new_context(lw_tls_shelf *shelf, const lw_sys *sys, const lw_tls_options *options, char *why,
                                   int *err) {
  lw_tls_context *context = calloc(1, sizeof *context);
  *err = LW_ERR_MEMORY;
  if (!context) return NULL;
  context->refs = 1;
  context->options = *options;
  ERR_clear_error();
  context->ssl = SSL_CTX_new(options->server ? TLS_server_method() : TLS_client_method());
  if (!context->ssl) goto fail;
  if ((*err = set_rules(context, options, why)) < 0) goto fail;
  if ((*err = load_identities(context, options, why)) < 0) goto fail;
  if ((*err = load_trust(shelf, sys, context, options->ca, why)) < 0) goto fail;
  context->options.ca = context->options.ciphers = context->options.alpn = NULL;
  context->options.pairs = NULL;
  return context;
fail:
  ERR_clear_error();
  free_context(context);
  return NULL;
}

/* ------------------------------------------------------------------- shelf */

/* In nanoseconds: who renews a certificate may do so twice within a second, and with as many bytes. */
static long long changed(const struct stat *status) {
#ifdef __APPLE__
  const struct timespec *time = &status->st_ctimespec;
#else
  const struct timespec *time = &status->st_ctim;
#endif
  return (long long)time->tv_sec * 1000000000 + time->tv_nsec;
}

/* Adds one option to the label; a file with what tells that it has changed. */
static char *add_label(char *label, const lw_sys *sys, const char *text, int is_file) {
  struct stat status;
  size_t used = label ? strlen(label) : 0, n = text ? strlen(text) : 0;
  char *longer = realloc(label, used + n + 100);
  if (!longer) {
    free(label);
    return NULL;
  }
  memset(&status, 0, sizeof status);
  if (text && is_file && !is_pem(text)) sys->stat(text, &status);
  snprintf(longer + used, n + 100, "%s\n%zu:%s;%lld,%lld,%lld", used ? "" : "tls", n, text ? text : "-",
           changed(&status), (long long)status.st_size, (long long)status.st_ino);
  return longer;
}

/* The digest of all options. 0 or LW_ERR_MEMORY. */
static int make_label(unsigned char label[LW_SHA1_SIZE], const lw_sys *sys, const lw_tls_options *options) {
  char numbers[80], *text = NULL;
  int err;
  snprintf(numbers, sizeof numbers, "%d %d %d %d %d %zu", options->server, options->insecure, (int)options->ask,
           options->min_version, options->no_resumption, options->pair_count);
  text = add_label(NULL, sys, numbers, 0);
  if (text) text = add_label(text, sys, options->ca, 1);
  if (text) text = add_label(text, sys, options->ciphers, 0);
  if (text) text = add_label(text, sys, options->alpn, 0);
  for (size_t i = 0; text && i < options->pair_count; i++) {
    text = add_label(text, sys, options->pairs[i].cert, 1);
    if (text) text = add_label(text, sys, options->pairs[i].key, 1);
    if (text) text = add_label(text, sys, options->pairs[i].passphrase, 0);
  }
  if (!text) return LW_ERR_MEMORY;
  err = lw_sha1(label, text, strlen(text));
  OPENSSL_cleanse(text, strlen(text));
  free(text);
  return err;
}

/* Beyond what is kept: the ones used longest ago of those that nobody else holds. */
static void tidy(lw_tls_shelf *shelf) {
  size_t idle = 0;
  for (lw_tls_context **at = &shelf->first; *at;) {
    lw_tls_context *context = *at;
    if (context->refs > 1 || ++idle <= SHELVED) {
      at = &context->next;
      continue;
    }
    *at = context->next;
    lw_tls_context_release(context);
  }
}

static void put_first(lw_tls_shelf *shelf, lw_tls_context *context) {
  context->next = shelf->first;
  shelf->first = context;
}

lw_tls_context *lw_tls_shelf_get(lw_tls_shelf *shelf, const lw_sys *sys, const lw_tls_options *options,
                                 char why[LW_TLS_WHY], int *err) {
  unsigned char label[LW_SHA1_SIZE];
  lw_tls_context *context;
  why[0] = '\0';
  if ((*err = make_label(label, sys, options)) < 0) return NULL;
  for (lw_tls_context **at = &shelf->first; (context = *at) != NULL; at = &context->next) {
    if (memcmp(context->label, label, sizeof label) != 0) continue;
    *at = context->next;
    put_first(shelf, context);
    *err = 0;
    return lw_tls_context_hold(context);
  }
  if (!(context = new_context(shelf, sys, options, why, err))) return NULL;
  memcpy(context->label, label, sizeof label);
  put_first(shelf, context); /* the shelf's own reference */
  lw_tls_context_hold(context);
  tidy(shelf);
  *err = 0;
  return context;
}

void lw_tls_shelf_clear(lw_tls_shelf *shelf) {
  while (shelf->first) {
    lw_tls_context *context = shelf->first;
    shelf->first = context->next;
    lw_tls_context_release(context);
  }
  release_trust(shelf->system_trust);
  shelf->system_trust = NULL;
}
