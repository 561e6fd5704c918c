/* UTF-8 (RFC 3629), read and written by the table of well-formed byte sequences.
 *
 * The second byte's range depends on the first one; that one rule keeps out overlong forms
 * (E0, F0), surrogates (ED) and everything over U+10FFFF (F4).  Pure functions, any thread. */
#include "base/utf8.h"

/* Length of the sequence that `first` begins and the range of its second byte; 0: begins none. */
static int sequence(unsigned char first, unsigned char *low, unsigned char *high)
{
    *low = 0x80;
    *high = 0xBF;
    if (first < 0x80)
        return 1;
    if (first < 0xC2)
        return 0;
    if (first < 0xE0)
        return 2;
    if (first < 0xF0) {
        if (first == 0xE0)
            *low = 0xA0;
        if (first == 0xED)
            *high = 0x9F;
        return 3;
    }
    if (first == 0xF0)
        *low = 0x90;
    if (first == 0xF4)
        *high = 0x8F;
    return first <= 0xF4 ? 4 : 0;
}

int utf8_decode(const char *text, size_t len, uint32_t *code_point)
{
    static const unsigned char first_mask[] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    const unsigned char *bytes = (const unsigned char *)text;
    unsigned char low, high;
    uint32_t value;
    int need;

    if (len == 0)
        return 0;
    need = sequence(bytes[0], &low, &high);
    if (need == 0)
        return -1;
    value = bytes[0] & first_mask[need];
    for (int i = 1; i < need; i++) {
        if ((size_t)i == len)
            return 0;
        if (bytes[i] < low || bytes[i] > high)
            return -1;
        value = value << 6 | (bytes[i] & 0x3F);
        low = 0x80;
        high = 0xBF;
    }
    if (code_point)
        *code_point = value;
    return need;
}

size_t utf8_encode(uint32_t code_point, char *out)
{
    uint32_t c = code_point;

    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xC0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c >= 0xD800 && c <= 0xDFFF)
        return 0;
    if (c < 0x10000) {
        out[0] = (char)(0xE0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3F));
        out[2] = (char)(0x80 | (c & 0x3F));
        return 3;
    }
    if (c > 0x10FFFF)
        return 0;
    out[0] = (char)(0xF0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3F));
    out[2] = (char)(0x80 | (c >> 6 & 0x3F));
    out[3] = (char)(0x80 | (c & 0x3F));
    return 4;
}

bool utf8_valid(const char *text, size_t len, size_t *bad_offset)
{
    size_t at = 0;

    while (at < len) {
        int n = (unsigned char)text[at] < 0x80 ? 1 : utf8_decode(text + at, len - at, NULL);

        if (n <= 0) {
            if (bad_offset)
                *bad_offset = at;
            return false;
        }
        at += (size_t)n;
    }
    return true;
}

size_t utf8_length(const char *text, size_t len)
{
    size_t n = 0;

    for (size_t i = 0; i < len; i++)
        n += ((unsigned char)text[i] & 0xC0) != 0x80;
    return n;
}
