/*
** redirect.c -- where a client's server sends it, and what it may take along there.
*/
#include "redirect.h"

#include <stdlib.h>
#include <string.h>

static size_t size_of(const char *text) {
  return text ? strlen(text) + 1 : 0;
}

/* A copy at *to, which moves behind it. */
static const char *keep(char **to, const char *text) {
  size_t n = size_of(text);
  char *at = *to;
  if (!text) return NULL;
  memcpy(at, text, n);
  *to += n;
  return at;
}

/* 0 or LW_ERR_MEMORY. */
static int copy_offer(lw_redirect *redirect, const lw_handshake_offer *offer) {
  size_t n = size_of(offer->protocols) + size_of(offer->extensions) + size_of(offer->origin) +
             size_of(offer->user_agent) + size_of(offer->headers);
  char *to = redirect->memory = malloc(n + 1);
  if (!to) return LW_ERR_MEMORY;
  redirect->offer = *offer;
  redirect->offer.protocols = keep(&to, offer->protocols);
  redirect->offer.extensions = keep(&to, offer->extensions);
  redirect->offer.origin = keep(&to, offer->origin);
  redirect->offer.user_agent = keep(&to, offer->user_agent);
  redirect->offer.headers = keep(&to, offer->headers);
  redirect->offer.url = &redirect->first;
  return 0;
}

lw_redirect *lw_redirect_new(const lw_handshake_offer *offer, const char *url, size_t n, int most, int64_t deadline) {
  lw_redirect *redirect = calloc(1, sizeof *redirect);
  if (!redirect) return NULL;
  redirect->left = most;
  redirect->deadline = deadline;
  if (lw_url_parse(&redirect->first, url, n) == 0 && copy_offer(redirect, offer) == 0) return redirect;
  lw_redirect_free(redirect);
  return NULL;
}

void lw_redirect_free(lw_redirect *redirect) {
  if (!redirect) return;
  lw_url_clear(&redirect->first);
  lw_url_clear(&redirect->url);
  free(redirect->memory);
  free(redirect);
}

int lw_redirect_is(const lw_http_head *head) {
  int status = head->status;
  return (status >= 301 && status <= 303) || status == 307 || status == 308;
}

/* A header's line that must not reach another origin. */
static int is_secret(const char *line) {
  static const char *const names[] = {"authorization", "cookie", "proxy-authorization"};
  lw_slice name = {(const unsigned char *)line, strcspn(line, ":")};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (lw_slice_is(name, names[i])) return 1;
  return 0;
}

/* The offer's header lines without those; they are our own copy. */
static void drop_secrets(lw_redirect *redirect) {
  char *lines = (char *)(uintptr_t)redirect->offer.headers, *to = lines;
  if (!lines) return;
  for (const char *line = lines; *line;) {
    size_t n = strcspn(line, "\n") + 1;
    if (!is_secret(line)) {
      memmove(to, line, n);
      to += n;
    }
    line += n;
  }
  *to = '\0';
}

/* The next attempt goes there. Takes the URL over. */
static void go(lw_redirect *redirect, lw_url *there) {
  const lw_url *here = redirect->offer.url;
  int same = strcmp(here->origin, there->origin) == 0;
  there->user = same ? here->user : NULL; /* a server names a place, not who goes there */
  there->password = same ? here->password : NULL;
  if (!same) drop_secrets(redirect);
  redirect->crossed |= !same;
  lw_url_clear(&redirect->url); /* credentials are still the first URL's */
  redirect->url = *there;
  redirect->offer.url = &redirect->url;
  redirect->left--;
}

int lw_redirect_follow(lw_redirect *redirect, const lw_http_head *head) {
  const lw_http_field *location = lw_http_field_at(head, "Location", 0);
  lw_url there;
  int err;
  if (!location || lw_http_field_at(head, "Location", 1)) return LW_ERR_LOCATION;
  if (redirect->left == 0) return LW_ERR_REDIRECTS;
  err = lw_url_join(&there, redirect->offer.url, (const char *)location->value.bytes, location->value.n);
  if (err < 0) return err;
  if (redirect->offer.url->secure && !there.secure) {
    lw_url_clear(&there);
    return LW_ERR_DOWNGRADE;
  }
  go(redirect, &there);
  return 0;
}
