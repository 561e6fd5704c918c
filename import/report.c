/* Words for a person.  See report.h. */
#include "import/report.h"

#include <stdbool.h>
#include <string.h>

#include "base/json.h"

enum { LEFT_SHOWN = 20 };

/* ---- Names ---- */

/* Newlines stay: texts have them on purpose, and names with one come in as "\n" in words only where
 * a file is out to deceive. */
static void put_clean(FILE *out, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c < ' ' || c == 0x7F)
            fprintf(out, "\\x%02x", c);
        else
            fputc(c, out);
    }
}

static void put_name(FILE *out, const char *name)
{
    put_clean(out, name, strlen(name));
}

/* Lines of a buffer, each cleaned. */
static void put_lines(FILE *out, const struct buf *text, const char *before)
{
    for (size_t at = 0; at < text->len;) {
        const char *line = text->data + at, *end = memchr(line, '\n', text->len - at);
        size_t len = end ? (size_t)(end - line) : text->len - at;

        fputs(before, out);
        put_clean(out, line, len);
        fputc('\n', out);
        at += len + 1;
    }
}

/* ---- Parts of a report ---- */

static void put_tensor(FILE *out, const struct archive_tensor *tensor)
{
    char shape[160];

    archive_shape_text(shape, sizeof shape, tensor);
    fprintf(out, "  %-5s %-14s ", tensor->type->name, shape);
    put_name(out, tensor->name);
}

static void put_notes(FILE *out, const struct archive *archive)
{
    for (size_t i = 0; i < archive->n_notes; i++) {
        fputs("  - ", out);
        put_name(out, archive->notes[i]);
        fputc('\n', out);
    }
}

static bool is_left_over(const struct archive_tensor *tensor)
{
    return !tensor->used && !tensor->training && !tensor->made;
}

static bool any_weight(const struct archive *archive)
{
    for (size_t i = 0; i < archive->n_tensors; i++)
        if (is_left_over(&archive->tensors[i]) && archive->tensors[i].type->usable &&
            archive->tensors[i].elements > 1)
            return true;
    return false;
}

static void put_left_over(FILE *out, const struct archive *archive)
{
    size_t n = 0;

    for (size_t i = 0; i < archive->n_tensors; i++)
        n += is_left_over(&archive->tensors[i]);
    if (n == 0)
        return;
    fprintf(out, "Not used: %zu tensor%s%s\n", n, n == 1 ? "" : "s",
            any_weight(archive) ? ", without which the original would give other outputs, if it "
                                  "computes with them"
                                : "");
    n = 0;
    for (size_t i = 0; i < archive->n_tensors && n < LEFT_SHOWN; i++)
        if (is_left_over(&archive->tensors[i]) && ++n) {
            put_tensor(out, &archive->tensors[i]);
            fputc('\n', out);
        }
    if (n == LEFT_SHOWN)
        fputs("  … (rnnd inspect lists all)\n", out);
}

static void put_title(FILE *out, const struct archive *archive, const char *file)
{
    put_name(out, file);
    fprintf(out, ": %s, %zu tensor%s\n", archive->format, archive_count(archive),
            archive_count(archive) == 1 ? "" : "s");
}

/* One value of the config, as it stands there. */
static void put_value(FILE *out, const char *key, const struct cJSON *value)
{
    char *text = value ? cJSON_PrintUnformatted(value) : NULL;

    if (text)
        fprintf(out, "  %s %s\n", key, text);
    cJSON_free(text);
}

static void put_config(FILE *out, const struct cJSON *config)
{
    for (const struct cJSON *item = config ? config->child : NULL; item; item = item->next)
        if (strcmp(item->string, "tensors") != 0 && strcmp(item->string, "schema") != 0)
            put_value(out, item->string, item);
}

static void put_taken_for(FILE *out, const struct draft *draft)
{
    if (!draft->config)
        return;
    fputs("Taken for\n", out);
    put_lines(out, &draft->words, "  ");
    put_config(out, draft->config);
}

/* ---- Reports ---- */

void report_found(const struct archive *archive, const struct draft *draft, const char *file,
                  FILE *out)
{
    put_title(out, archive, file);
    put_taken_for(out, draft);
    if (archive->n_notes > 0)
        fputs("Notes\n", out);
    put_notes(out, archive);
    if (draft->config)
        put_left_over(out, archive);
}

void report_questions(const struct draft *draft, FILE *out)
{
    fputs("rnnd: the file cannot tell; please say:\n", out);
    put_lines(out, &draft->questions, "");
}

void report_written(const char *path, const struct draft *draft, FILE *out)
{
    put_name(out, path);
    fprintf(out, ": model.safetensors, config.json%s\n", draft->vocab ? ", vocab.json" : "");
}

void report_inspection(const struct archive *archive, const struct draft *draft, const char *file,
                       FILE *out)
{
    put_title(out, archive, file);
    for (size_t i = 0; i < archive->n_tensors; i++) {
        const struct archive_tensor *t = &archive->tensors[i];

        if (t->made)
            continue;
        put_tensor(out, t);
        fputs(t->training                 ? "  (not of the model)\n"
              : !draft->config || t->used ? "\n"
                                          : "  (not used)\n",
              out);
    }
    for (size_t i = 0; i < archive->n_modules; i++) {
        fputs("  module ", out);
        put_name(out, *archive->modules[i].path ? archive->modules[i].path : "(all)");
        fputs(": ", out);
        put_name(out, archive->modules[i].class);
        fputc('\n', out);
    }
    for (size_t i = 0; i < archive->n_vocabs; i++) {
        fprintf(out, "  vocabulary of %zu: ", archive->vocabs[i].n);
        put_name(out, archive->vocabs[i].name);
        fputc('\n', out);
    }
    put_taken_for(out, draft);
    if (archive->n_notes > 0)
        fputs("Notes\n", out);
    put_notes(out, archive);
    if (draft->questions.len > 0) {
        fputs("To be said when it is imported\n", out);
        put_lines(out, &draft->questions, "");
    }
}
