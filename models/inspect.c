/* What is in a folder or a file, in words.  See inspect.h.
 *
 * Reads the parts one by one with the readers that serving uses, so that a fault in one does not
 * hide the others.  Names from a file are quoted where they hold control characters, because a
 * terminal would obey them. */
#include "models/inspect.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "core/cell.h"
#include "core/tokenizer.h"
#include "models/config_json.h"
#include "models/file.h"
#include "models/safetensors.h"
#include "models/vocab.h"

enum { METADATA_SHOWN = 32, TEXT_MAX_BYTES = 1 << 26 };

/* An inspection in progress. */
struct inspection {
    const char *path;
    FILE *out;
    struct rnn_err first; /* the first fault; code 0: none */
};

/* ---- Words ---- */

static void print_name(FILE *out, const char *name)
{
    struct buf quoted = {0};
    bool plain = *name != '\0';

    for (const char *at = name; *at; at++)
        plain = plain && (unsigned char)*at >= ' ' && *at != 0x7F;
    if (plain) {
        fputs(name, out);
        return;
    }
    buf_json_string(&quoted, name, strlen(name));
    if (!quoted.failed)
        fwrite(quoted.data, 1, quoted.len, out);
    buf_free(&quoted);
}

static void note_fault(struct inspection *inspection, const char *file, const struct rnn_err *err)
{
    fprintf(inspection->out, "%s: %s\n", file, err->text);
    if (inspection->first.code)
        return;
    inspection->first = *err;
    rnn_err_prefix(&inspection->first, "%s: ", file);
}

/* ---- Tensors ---- */

static size_t elements_of(const struct safetensors_entry *entry)
{
    size_t n = 1;

    for (size_t i = 0; i < entry->rank; i++)
        n *= entry->shape[i]; /* checked when the file was read */
    return n;
}

/* `spec` may be NULL: nobody knows which of them are used. */
static void print_tensors(FILE *out, const struct safetensors *file, const struct rnn_spec *spec)
{
    size_t n = safetensors_count(file), total = 0, bytes = 0;

    for (size_t i = 0; i < n; i++) {
        const struct safetensors_entry *entry = safetensors_at(file, i);
        char shape[96];

        model_config_shape_text(shape, sizeof shape, entry->rank, entry->shape);
        fprintf(out, "  %-5s %-14s ", entry->dtype, shape);
        print_name(out, entry->name);
        if (spec)
            fputs(model_config_owns_tensor(spec, entry->name) ? "" : "  (not used)", out);
        fputc('\n', out);
        total += elements_of(entry);
        bytes += entry->bytes;
    }
    fprintf(out, "  %zu tensor%s, %zu numbers, %zu bytes\n", n, n == 1 ? "" : "s", total, bytes);
}

static void print_metadata(FILE *out, const struct safetensors *file)
{
    const char *key, *value;

    for (size_t i = 0; i < METADATA_SHOWN && safetensors_metadata(file, i, &key, &value); i++) {
        fputs("  metadata ", out);
        print_name(out, key);
        fputs(" = ", out);
        print_name(out, value);
        fputc('\n', out);
    }
}

static void inspect_tensors(struct inspection *inspection, const char *path, const char *shown,
                            const struct rnn_spec *spec)
{
    struct safetensors *file;
    struct rnn_err err;

    if (safetensors_open(&file, path, &err) < 0) {
        note_fault(inspection, shown, &err);
        return;
    }
    fprintf(inspection->out, "%s\n", shown);
    print_tensors(inspection->out, file, spec);
    print_metadata(inspection->out, file);
    safetensors_free(file);
}

/* ---- Shape ---- */

static void print_stack(FILE *out, const struct rnn_stack_spec *stack)
{
    static const char *const inputs[] = {"numbers in a frame", "one-hot ids", "embedded ids"};
    static const char *const activations[] = {"no activation", "softmax", "sigmoid"};
    const struct rnn_layer_spec *layer = &stack->layers[0];
    const struct rnn_head_spec *head = &stack->head;

    fprintf(out, "  %sinput: %zu %s", stack->prefix, stack->input_size, inputs[stack->input_kind]);
    if (stack->embedding_dim)
        fprintf(out, " as vectors of %zu", stack->embedding_dim);
    fprintf(out, "\n  %slayers: %zu of %s, %zu units", stack->prefix, stack->n_layers,
            layer->cell->name, layer->hidden);
    if (layer->proj)
        fprintf(out, " projected to %zu", layer->proj);
    fprintf(out, "%s%s\n", layer->directions == 2 ? ", both directions" : "",
            layer->bias ? "" : ", no biases");
    if (head->present)
        fprintf(out, "  %shead: %zu outputs, %s%s%s\n", stack->prefix, head->size,
                activations[head->activation], head->bias ? "" : ", no bias",
                head->tied ? ", tied to the embedding" : "");
}

static bool inspect_config(struct inspection *inspection, const char *path,
                           struct model_config *config)
{
    static const char *const topologies[] = {"synced", "many_to_one", "one_to_many", "seq2seq",
                                             "repeat"};
    struct rnn_err err;
    char *text;
    size_t len;
    int rc = file_load(&text, &len, path, TEXT_MAX_BYTES, &err);

    if (rc == 0) {
        rc = model_config_parse(config, text, len, &err);
        free(text);
    }
    if (rc < 0) {
        note_fault(inspection, "config.json", &err);
        return false;
    }
    fprintf(inspection->out, "config.json\n  topology: %s\n", topologies[config->spec.topology]);
    for (size_t i = 0; i < config->spec.n_stacks; i++)
        print_stack(inspection->out, &config->spec.stacks[i]);
    return true;
}

static void print_tokens(FILE *out, const char *what, const struct rnn_tokenizer *tokenizer,
                         const struct vocab_specials *specials)
{
    if (tokenizer)
        fprintf(out, "  %zu %s, kind %s, unk %lld, bos %lld, eos %lld (-1: none)\n",
                tokenizer->n_tokens, what, tokenizer->ops->name, (long long)specials->unk,
                (long long)specials->bos, (long long)specials->eos);
}

static void print_vocab(FILE *out, const struct vocab *vocab)
{
    fputs("vocab.json\n", out);
    print_tokens(out, "source tokens", vocab->source, &vocab->source_specials);
    print_tokens(out, vocab->source ? "target tokens" : "tokens", vocab->tokenizer,
                 &vocab->specials);
    if (vocab->labels)
        fprintf(out, "  %zu labels\n", vocab->n_labels);
}

static void inspect_vocab(struct inspection *inspection, const char *path,
                          const struct rnn_spec *spec)
{
    struct rnn_err err;
    struct vocab vocab;
    char *text;
    size_t len;
    int rc = file_load(&text, &len, path, TEXT_MAX_BYTES, &err);

    if (rc == RNN_ENOENT)
        return;
    if (rc == 0) {
        rc = vocab_parse(&vocab, text, len, &err);
        free(text);
    }
    if (rc < 0) {
        note_fault(inspection, "vocab.json", &err);
        return;
    }
    print_vocab(inspection->out, &vocab);
    if (spec && vocab_check(&vocab, spec, &err) < 0)
        note_fault(inspection, "vocab.json", &err);
    vocab_free(&vocab);
}

static int inspect_folder(struct inspection *inspection)
{
    static const char *const files[] = {"config.json", "vocab.json", "model.safetensors"};
    struct model_config config = {0};
    const struct rnn_spec *spec = NULL;

    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *path;

        if (asprintf(&path, "%s/%s", inspection->path, files[i]) < 0) {
            model_config_free(&config);
            return rnn_fail(&inspection->first, RNN_ENOMEM, "out of memory");
        }
        if (i == 0 && inspect_config(inspection, path, &config))
            spec = &config.spec;
        else if (i == 1 && !(spec && spec->n_stacks > 1)) /* those have two vocabularies */
            inspect_vocab(inspection, path, spec);
        else if (i == 2)
            inspect_tensors(inspection, path, files[i], spec);
        free(path);
    }
    model_config_free(&config);
    return inspection->first.code;
}

/* ---- Other files ---- */

/* ONNX has no magic number: its version, a small number in field 1, and then another field.  The
 * length that safetensors begins with is far smaller than such bytes. */
static bool is_onnx(const unsigned char *first, size_t len)
{
    return len == 8 && first[0] == 0x08 && first[1] >= 1 && first[1] <= 32 && first[2] != 0 &&
           (first[5] | first[6] | first[7]) != 0;
}

/* What the first bytes say; NULL: nothing that is known. */
static const char *kind_of(const unsigned char *first, size_t len)
{
    static const struct {
        const char *magic;
        size_t len;
        const char *words;
    } kinds[] = {
        {"PK\x03\x04", 4, "a zip file, as PyTorch (.pt), Keras (.keras) and NumPy (.npz) write"},
        {"\x89HDF\r\n\x1a\n", 8, "an HDF5 file, as Keras (.h5) writes"},
        {"\x80\x02", 2, "a pickle, as PyTorch wrote before 1.6; nothing is unpickled here"},
        {"GGUF", 4, "a GGUF file"},
        {"\x93NUMPY", 6, "a NumPy array"}};

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (len >= kinds[i].len && memcmp(first, kinds[i].magic, kinds[i].len) == 0)
            return kinds[i].words;
    return is_onnx(first, len) ? "an ONNX file" : NULL;
}

static int inspect_file(struct inspection *inspection)
{
    unsigned char first[8] = {0};
    struct rnn_err *err = &inspection->first;
    const char *kind = NULL;
    struct file file;
    size_t len = 0;
    int rc = file_open(&file, inspection->path, err);

    if (rc == 0) {
        len = file.size < sizeof first ? (size_t)file.size : sizeof first;
        rc = file_read(&file, 0, first, len, err);
        file_close(&file);
    }
    if (rc < 0) {
        rnn_err_prefix(err, "%s: ", inspection->path);
        return rc;
    }
    kind = kind_of(first, len);
    if (kind)
        return rnn_fail(err, RNN_EUNSUPPORTED, "%s: %s", inspection->path, kind);
    inspect_tensors(inspection, inspection->path, inspection->path, NULL);
    return inspection->first.code;
}

int model_inspect(const char *path, FILE *out, struct rnn_err *err)
{
    struct inspection inspection = {.path = path, .out = out};
    struct stat info;
    int rc;

    rc = stat(path, &info) == 0 && S_ISDIR(info.st_mode) ? inspect_folder(&inspection)
                                                         : inspect_file(&inspection);
    if (rc < 0 && err)
        *err = inspection.first;
    return rc;
}
