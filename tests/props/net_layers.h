/* The layers of the reference (net_layers.c), for what stands above and beside them
 * (net_reference.c).  Faults end the test. */
#ifndef TESTS_PROPS_NET_LAYERS_H
#define TESTS_PROPS_NET_LAYERS_H

#include "net.h"

/* Steps of equal width. */
struct net_steps {
    size_t n, width;
    double *v; /* [n][width] */
};

/* A stack on its way up. */
struct net_ascent {
    const struct net *net;
    const struct net_stack *stack;
    struct net_state *state;
    size_t h, c; /* the next layer's states */
    struct net_steps steps;
};

double *net_numbers(size_t n); /* zeros; the caller frees them */
struct net_steps net_steps_new(size_t n, size_t width);

double net_activate(const struct net_activation *f, const char *otherwise, double x);

/* out [rows] += W [rows, n] x [n]. */
void net_add_product(const float *w, size_t rows, const double *x, size_t n, double *out);
void net_add_vector(const float *b, size_t n, double *out);

/* The outputs of two directions as one; `how` NULL: concat. */
void net_merge(const char *how, const double *a, const double *b, size_t n, double *out);

/* The initial state of a stack. */
void net_begin_state(const struct net *net, const struct net_stack *stack, struct net_state *s);

/* Modules [from, to) over climb->steps, which become their output. */
void net_climb(struct net_ascent *climb, size_t from, size_t to);

#endif
