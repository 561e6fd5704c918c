/* For core only. */
#ifndef CORE_SPEC_CHECK_H
#define CORE_SPEC_CHECK_H

#include "base/err.h"
#include "core/spec.h"

/* Whether what the sizes and settings say of each other is true. */
int rnn_spec_check(const struct rnn_spec *spec, struct rnn_err *err);

#endif
