/* Images of stored states: back bit for bit; any changed bit, any other length, another row, other
 * weights are told. */
#include "server/store_image.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

enum { STATE_BYTES = sizeof(struct rnn_state) + 40, IMAGE_BYTES = STORE_IMAGE_HEAD + STATE_BYTES };

static const struct store_image_of of = {
    .row = 7,
    .fingerprint = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    .state_bytes = STATE_BYTES};

static unsigned char state[STATE_BYTES], image[IMAGE_BYTES], back[STATE_BYTES];

static void setup(void)
{
    for (size_t i = 0; i < STATE_BYTES; i++)
        state[i] = (unsigned char)(i * 37 + 5);
    memset(back, 0xee, sizeof back);
    store_image_write(&of, (const void *)state, image);
}

static int read_as(const struct store_image_of *as, const void *bytes, size_t len)
{
    return store_image_read(as, bytes, len, (void *)back, NULL);
}

static void assert_untouched(void)
{
    for (size_t i = 0; i < sizeof back; i++)
        ck_assert_uint_eq(back[i], 0xee);
}

START_TEST(a_state_comes_back)
{
    ck_assert_int_eq(read_as(&of, image, sizeof image), 0);
    ck_assert_mem_eq(back, state, sizeof state);
}
END_TEST

START_TEST(no_changed_bit_goes_unnoticed)
{
    for (size_t i = 0; i < 8 * sizeof image; i++) {
        image[i / 8] ^= (unsigned char)(1u << i % 8);
        ck_assert_int_eq(read_as(&of, image, sizeof image), RNN_EFORMAT);
        image[i / 8] ^= (unsigned char)(1u << i % 8);
    }
    assert_untouched();
}
END_TEST

START_TEST(every_other_length_is_refused)
{
    static unsigned char longer[IMAGE_BYTES + 1];

    memcpy(longer, image, sizeof image);
    for (size_t len = 0; len < sizeof image; len++)
        ck_assert_int_eq(read_as(&of, image, len), RNN_EFORMAT);
    ck_assert_int_eq(read_as(&of, longer, sizeof longer), RNN_EFORMAT);
    assert_untouched();
}
END_TEST

START_TEST(what_belongs_elsewhere_is_refused)
{
    struct store_image_of other = of;

    other.row = 8;
    ck_assert_int_eq(read_as(&other, image, sizeof image), RNN_ESHAPE);
    other = of;
    other.fingerprint = "f123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    ck_assert_int_eq(read_as(&other, image, sizeof image), RNN_ESHAPE);
    other = of;
    other.state_bytes -= 8;
    ck_assert_int_eq(read_as(&other, image, sizeof image), RNN_ESHAPE);
    assert_untouched();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store_image");
    TCase *tcase = tcase_create("store_image");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_checked_fixture(tcase, setup, NULL);
    tcase_add_test(tcase, a_state_comes_back);
    tcase_add_test(tcase, no_changed_bit_goes_unnoticed);
    tcase_add_test(tcase, every_other_length_is_refused);
    tcase_add_test(tcase, what_belongs_elsewhere_is_refused);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
