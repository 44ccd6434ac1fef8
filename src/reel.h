/*
** reel.h -- bodies of long messages, wound into a session fragment by fragment.
**
** At no time more of a body is in memory than a fragment and what waits to be written.
*/
#ifndef LW_REEL_H
#define LW_REEL_H

#include "body.h"
#include "session.h"

#pragma GCC visibility push(hidden)

typedef struct lw_reel lw_reel;

lw_reel *lw_reel_new(void);
void lw_reel_free(lw_reel *reel);
/* Queues a message in the session with this body, which it takes over, also when it fails. As lw_session_send. */
int lw_reel_add(lw_reel *reel, lw_session *s, lw_opcode opcode, lw_body *body);
/* Gives the session what it wants now. 1 if it took something; 0; or a negative lw_err, with *path of a file that cannot be read. */
int lw_reel_wind(lw_reel *reel, lw_session *s, const char **path);
/* Bytes of memory the bodies hold. */
size_t lw_reel_held(const lw_reel *reel);
/* Files they have open. */
size_t lw_reel_files(const lw_reel *reel);

#pragma GCC visibility pop
#endif
