/* Tensors of a checkpoint into float32: four types on disk, of any alignment, little-endian.
 *
 * Half and bfloat16 are widened by their bits, so every one of their values is exact (but for
 * denormal bfloat16); double is rounded once.  Weights that are not finite are refused here, by
 * name and index, because after packing nobody could tell where a NaN came from. */
#include "core/tensor.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static uint64_t load_le(const unsigned char *bytes, size_t n)
{
    uint64_t value = 0;

    for (size_t i = 0; i < n; i++)
        value |= (uint64_t)bytes[i] << (8 * i);
    return value;
}

static float float_of_bits(uint32_t bits)
{
    float value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

static float from_f32(const unsigned char *bytes)
{
    return float_of_bits((uint32_t)load_le(bytes, 4));
}

static float from_bf16(const unsigned char *bytes)
{
    return float_of_bits((uint32_t)load_le(bytes, 2) << 16);
}

/* 1 sign, 5 exponent (bias 15), 10 fraction. */
static float from_f16(const unsigned char *bytes)
{
    uint32_t half = (uint32_t)load_le(bytes, 2);
    uint32_t sign = (half & 0x8000u) << 16;
    uint32_t exponent = half >> 10 & 0x1f;
    uint32_t fraction = half & 0x3ff;

    if (exponent == 0x1f)
        return float_of_bits(sign | 0x7f800000u | fraction << 13);
    if (exponent == 0)
        return float_of_bits(sign | 0x3f800000u) * (float)fraction * 0x1p-24f;
    return float_of_bits(sign | (exponent + 127 - 15) << 23 | fraction << 13);
}

static float from_f64(const unsigned char *bytes)
{
    uint64_t bits = load_le(bytes, 8);
    double value;

    memcpy(&value, &bits, sizeof value);
    return (float)value;
}

static const struct {
    const char *name;
    size_t size;
    float (*read)(const unsigned char *bytes);
} dtypes[] = {
    [RNN_F32] = {"F32", 4, from_f32},
    [RNN_F16] = {"F16", 2, from_f16},
    [RNN_BF16] = {"BF16", 2, from_bf16},
    [RNN_F64] = {"F64", 8, from_f64},
};

const char *rnn_dtype_name(enum rnn_dtype dtype)
{
    return dtypes[dtype].name;
}

size_t rnn_dtype_size(enum rnn_dtype dtype)
{
    return dtypes[dtype].size;
}

size_t rnn_tensor_count(const struct rnn_tensor *tensor)
{
    size_t count = 1;

    for (unsigned i = 0; i < tensor->rank; i++)
        count *= tensor->shape[i];
    return count;
}

static void print_shape(char *text, size_t size, unsigned rank, const size_t *shape)
{
    size_t used = (size_t)snprintf(text, size, "[");

    for (unsigned i = 0; i < rank && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%zu", i ? ", " : "", shape[i]);
    if (used < size)
        snprintf(text + used, size - used, "]");
}

int rnn_tensor_check(const struct rnn_tensor *tensor, unsigned rank, const size_t *shape,
                     struct rnn_err *err)
{
    char want[64], found[96];

    if (tensor->rank == rank && memcmp(tensor->shape, shape, rank * sizeof *shape) == 0)
        return 0;
    print_shape(want, sizeof want, rank, shape);
    print_shape(found, sizeof found, tensor->rank, tensor->shape);
    return rnn_fail_at(err, RNN_ESHAPE, tensor->name, -1, "%.80s: want %s, file has %s",
                       tensor->name, want, found);
}

int rnn_tensor_read(const struct rnn_tensor *tensor, float *out, struct rnn_err *err)
{
    float (*read)(const unsigned char *) = dtypes[tensor->dtype].read;
    size_t size = dtypes[tensor->dtype].size;
    const unsigned char *bytes = tensor->data;
    size_t n = rnn_tensor_count(tensor);

    for (size_t i = 0; i < n; i++) {
        float value = read(bytes + i * size);

        if (!(fabsf(value) <= FLT_MAX))
            return rnn_fail_at(err, RNN_ERANGE, tensor->name, -1,
                               "%.80s: element %zu is no finite float32", tensor->name, i);
        out[i] = fabsf(value) < FLT_MIN ? 0.0f : value;
    }
    return 0;
}
