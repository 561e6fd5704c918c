/* The routes: which handler answers which method and path. */
#ifndef SERVER_ROUTER_H
#define SERVER_ROUTER_H

struct request;

/* Called once for each whole request, on its shard: answers it now or later. */
void router_dispatch(struct request *request);

#endif
