/* What is wrong with an HDF5 file and would harm libhdf5, seen before it looks.
 *
 * Pure function; any thread. */
#ifndef IMPORT_HDF5GUARD_H
#define IMPORT_HDF5GUARD_H

#include <stddef.h>

/* NULL: nothing was found; else in words.  This is no validation of the file: it knows the faults
 * at which libhdf5 1.10 loops or reads past its memory instead of failing, as far as they are
 * known. */
const char *hdf5_guard(const void *bytes, size_t len);

#endif
