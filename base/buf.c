/* A growing byte buffer, and numbers as text.
 *
 * Floats are scaled in double arithmetic so that their nine leading digits stand before the point;
 * the scaling errs by less than 1e-6 of the ninth digit, while half the distance to the next
 * float32 is never less than 2.9 of it, so nine digits always read back, and seven or eight do
 * where the shorter number keeps well inside that half distance.  printf would give the same
 * digits at fifty times the cost, and follow the locale.  One owner, no locking. */
#include "base/buf.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"

enum { CAP_MIN = 256, NUMBER_MAX = 32 };

/* ---- The buffer ---- */

void buf_free(struct buf *buf)
{
    size_t max = buf->max;

    free(buf->data);
    *buf = (struct buf){.max = max};
}

void buf_clear(struct buf *buf)
{
    buf->len = 0;
    buf->failed = false;
}

static bool fail(struct buf *buf)
{
    free(buf->data);
    *buf = (struct buf){.max = buf->max, .failed = true};
    return false;
}

bool buf_reserve(struct buf *buf, size_t more)
{
    size_t need, cap;
    char *data;

    if (buf->failed)
        return false;
    if (!checked_add(buf->len, more, &need) || (buf->max && need > buf->max))
        return fail(buf);
    if (need <= buf->cap && buf->data)
        return true;
    if (!checked_mul(buf->cap, 2, &cap))
        cap = need;
    if (cap < CAP_MIN)
        cap = CAP_MIN;
    if (cap < need)
        cap = need;
    data = realloc(buf->data, cap);
    if (!data)
        return fail(buf);
    buf->data = data;
    buf->cap = cap;
    return true;
}

void buf_put(struct buf *buf, const void *bytes, size_t len)
{
    if (len == 0 || !buf_reserve(buf, len))
        return;
    memcpy(buf->data + buf->len, bytes, len);
    buf->len += len;
}

void buf_puts(struct buf *buf, const char *text)
{
    buf_put(buf, text, strlen(text));
}

void buf_putc(struct buf *buf, char c)
{
    buf_put(buf, &c, 1);
}

void buf_printf(struct buf *buf, const char *format, ...)
{
    char small[256];
    va_list args;
    char *text = small;
    int len;

    va_start(args, format);
    len = vsnprintf(small, sizeof small, format, args);
    va_end(args);
    if (len >= (int)sizeof small) {
        va_start(args, format);
        len = vasprintf(&text, format, args);
        va_end(args);
    }
    if (len < 0) {
        (void)fail(buf);
        return;
    }
    buf_put(buf, text, (size_t)len);
    if (text != small)
        free(text);
}

char *buf_take(struct buf *buf, size_t *len)
{
    char *data;

    if (!buf_reserve(buf, 0)) {
        *len = 0;
        return NULL;
    }
    data = buf->data;
    *len = buf->len;
    *buf = (struct buf){.max = buf->max};
    return data;
}

/* ---- Whole numbers ---- */

/* Decimal digits of `value` so that they end before `end`; returns their beginning. */
static char *digits_before(char *end, uint64_t value)
{
    do {
        *--end = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    return end;
}

void buf_u64(struct buf *buf, uint64_t value)
{
    char text[NUMBER_MAX];
    char *begin = digits_before(text + sizeof text, value);

    buf_put(buf, begin, (size_t)(text + sizeof text - begin));
}

void buf_i64(struct buf *buf, int64_t value)
{
    char text[NUMBER_MAX];
    uint64_t magnitude = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    char *begin = digits_before(text + sizeof text, magnitude);

    if (value < 0)
        *--begin = '-';
    buf_put(buf, begin, (size_t)(text + sizeof text - begin));
}

/* ---- Floating point ---- */

enum { SCALE_MAX = 54 }; /* the smallest denormal float32 is 1.4e-45: 8 + 46 */

static const double power_of_ten[SCALE_MAX + 1] = {
    1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11, 1e12, 1e13,
    1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22, 1e23, 1e24, 1e25, 1e26, 1e27,
    1e28, 1e29, 1e30, 1e31, 1e32, 1e33, 1e34, 1e35, 1e36, 1e37, 1e38, 1e39, 1e40, 1e41,
    1e42, 1e43, 1e44, 1e45, 1e46, 1e47, 1e48, 1e49, 1e50, 1e51, 1e52, 1e53, 1e54};

static double scaled(double value, int exponent)
{
    return exponent >= 0 ? value * power_of_ten[exponent] : value / power_of_ten[-exponent];
}

static int biased_exponent(double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof bits);
    return (int)(bits >> 52 & 0x7FF);
}

static double power_of_two(int exponent)
{
    uint64_t bits = (uint64_t)(exponent + 1023) << 52;
    double value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

/* The decimal exponent of a positive value in [1e-46, 1e46], and the value scaled to [1e8, 1e9). */
static double normalised(double value, int *exponent_out)
{
    int binary = biased_exponent(value) - 1023;
    int exponent = binary * 1233 >> 12; /* floor(binary * log10(2)), or one too small a power */
    double s = scaled(value, 8 - exponent);

    if (s >= 1e9)
        s = scaled(value, 8 - ++exponent);
    else if (s < 1e8)
        s = scaled(value, 8 - --exponent);
    *exponent_out = exponent;
    return s;
}

/* Writes digits[0..n) with the point after `exponent` more digits; n ≥ 1.  Returns the end. */
static char *place_point(char *out, const char *digits, int n, int exponent)
{
    if (exponent < -5 || exponent > 9) {
        *out++ = digits[0];
        if (n > 1) {
            *out++ = '.';
            for (int i = 1; i < n; i++)
                *out++ = digits[i];
        }
        *out++ = 'e';
        *out++ = exponent < 0 ? '-' : '+';
        exponent = abs(exponent);
        if (exponent >= 100)
            *out++ = (char)('0' + exponent / 100);
        *out++ = (char)('0' + exponent / 10 % 10);
        *out++ = (char)('0' + exponent % 10);
        return out;
    }
    if (exponent < 0) {
        *out++ = '0';
        *out++ = '.';
        for (int i = -1; i > exponent; i--)
            *out++ = '0';
        for (int i = 0; i < n; i++)
            *out++ = digits[i];
        return out;
    }
    for (int i = 0; i < n || i <= exponent; i++) {
        if (i == exponent + 1)
            *out++ = '.';
        *out++ = i < n ? digits[i] : '0';
    }
    return out;
}

/* Writes nine decimal digits (or 1e9, after rounding up) with their exponent. */
static char *write_nine(char *out, uint32_t nine, int exponent)
{
    char digits[9];
    int n = 9;

    if (nine == 1000000000) {
        nine = 100000000;
        exponent++;
    }
    for (int i = 8; i >= 0; i--, nine /= 10)
        digits[i] = (char)('0' + nine % 10);
    while (n > 1 && digits[n - 1] == '0')
        n--;
    return place_point(out, digits, n, exponent);
}

/* Nine digits, with the last or the last two of them zero where that reads back as well.  `below`
 * and `above`: half the distance to the neighbours, in units of the ninth digit. */
static uint32_t shortest(double s, double below, double above)
{
    const double margin = 5e-7; /* twice what the scaling errs */

    uint32_t seven = (uint32_t)(s * 0.01 + 0.5) * 100, eight;

    if (seven - s < above - margin && seven - s > margin - below)
        return seven;
    eight = (uint32_t)(s * 0.1 + 0.5) * 10;
    if (eight - s < above - margin && eight - s > margin - below)
        return eight;
    return (uint32_t)(s + 0.5);
}

static char *write_f32(char *out, float value)
{
    uint32_t bits, fraction, biased;
    double magnitude, half_step, s;
    int exponent;

    memcpy(&bits, &value, sizeof bits);
    fraction = bits & 0x7FFFFF;
    biased = bits >> 23 & 0xFF;
    if (biased == 0xFF) {
        memcpy(out, "null", 4);
        return out + 4;
    }
    if (bits >> 31)
        *out++ = '-';
    if (biased == 0 && fraction == 0) {
        *out++ = '0';
        if (bits >> 31) {
            *out++ = '.';
            *out++ = '0';
        }
        return out;
    }
    magnitude = fabs((double)value);
    s = normalised(magnitude, &exponent);
    half_step = power_of_two((int)(biased ? biased : 1) - 151);
    half_step = scaled(half_step, 8 - exponent);
    return write_nine(
        out, shortest(s, fraction == 0 && biased > 1 ? half_step / 2 : half_step, half_step),
        exponent);
}

void buf_f32(struct buf *buf, float value)
{
    if (!buf_reserve(buf, NUMBER_MAX)) {
        return;
    }
    buf->len = (size_t)(write_f32(buf->data + buf->len, value) - buf->data);
}

void buf_f32_array(struct buf *buf, const float *values, size_t n)
{
    buf_putc(buf, '[');
    for (size_t i = 0; i < n; i++) {
        char text[NUMBER_MAX];
        char *end = text;

        if (i)
            *end++ = ',';
        end = write_f32(end, values[i]);
        buf_put(buf, text, (size_t)(end - text));
    }
    buf_putc(buf, ']');
}

void buf_f64(struct buf *buf, double value)
{
    char text[NUMBER_MAX];
    char *end = text;
    double magnitude = fabs(value);
    int shift = 0, exponent;
    double s;

    if (!isfinite(value)) {
        buf_puts(buf, "null");
        return;
    }
    if (magnitude == 0) {
        buf_puts(buf, signbit(value) ? "-0.0" : "0");
        return;
    }
    if (value < 0)
        *end++ = '-';
    for (; magnitude > 1e40; shift += 30)
        magnitude /= 1e30;
    for (; magnitude < 1e-40; shift -= 30)
        magnitude *= 1e30;
    s = normalised(magnitude, &exponent);
    end = write_nine(end, (uint32_t)(s + 0.5), exponent + shift);
    buf_put(buf, text, (size_t)(end - text));
}

/* ---- Strings ---- */

static void put_escape(struct buf *buf, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    static const char letters[] = "btn?fr"; /* 8 to 13; 11 has none */
    char text[6] = {'\\', (char)c};

    if (c >= 8 && c <= 13 && c != 11)
        text[1] = letters[c - 8];
    if (text[1] >= ' ') {
        buf_put(buf, text, 2);
        return;
    }
    memcpy(text, "\\u00", 4);
    text[4] = hex[c >> 4];
    text[5] = hex[c & 15];
    buf_put(buf, text, 6);
}

void buf_json_string(struct buf *buf, const char *text, size_t len)
{
    size_t plain = 0; /* beginning of the stretch that needs no escape */

    buf_putc(buf, '"');
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c >= ' ' && c != '"' && c != '\\')
            continue;
        buf_put(buf, text + plain, i - plain);
        put_escape(buf, c);
        plain = i + 1;
    }
    if (len)
        buf_put(buf, text + plain, len - plain);
    buf_putc(buf, '"');
}
