/*
** redirect.h -- where a client's server sends it, and what it may take along there.
*/
#ifndef LW_REDIRECT_H
#define LW_REDIRECT_H

#include <stdint.h>

#include "err.h"
#include "handshake.h"
#include "http.h"
#include "url.h"

#pragma GCC visibility push(hidden)

#define LW_REDIRECTS_MOST 100 /* as followRedirects: a longer chain is a loop */

/* A client that follows redirects: what it asks for, and how far it has come. */
typedef struct lw_redirect {
  lw_handshake_offer offer; /* of the next attempt; its strings are `memory`'s, or the URLs' */
  lw_url first, url;        /* as given; where it is sent now (in the beginning nowhere) */
  char *memory;
  int64_t deadline;         /* of all attempts together */
  int left;                 /* redirects that are still allowed */
  int crossed;              /* it has left the first origin, maybe to come back */
} lw_redirect;

/*
** A redirect of at most `most` redirects that began at `url` (n bytes, which do parse) with
** this offer; both are copied. NULL: no memory.
*/
lw_redirect *lw_redirect_new(const lw_handshake_offer *offer, const char *url, size_t n, int most, int64_t deadline);
void lw_redirect_free(lw_redirect *redirect); /* NULL is fine */

/* 1 if this answer sends a client elsewhere (RFC 9110, 15.4): 301, 302, 303, 307, 308. */
int lw_redirect_is(const lw_http_head *head);
/*
** Where the answer's Location leads: 0, and the offer is of what to ask there; or a negative
** lw_err (LW_ERR_LOCATION, LW_ERR_REDIRECTS, LW_ERR_DOWNGRADE, LW_ERR_URL_…, LW_ERR_MEMORY),
** and everything is as it was. What the headers Authorization, Cookie and Proxy-Authorization
** and the URL's credentials say never crosses to another origin (scheme, host or port differ),
** and does not come back from there.
*/
int lw_redirect_follow(lw_redirect *redirect, const lw_http_head *head);

#pragma GCC visibility pop
#endif
