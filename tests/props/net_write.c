/* A drawn model as a folder: config.json, said as briefly as its values allow or in full, and
 * model.safetensors. */
#include "net.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- config.json ---- */

static const char *truth(bool b)
{
    return b ? "true" : "false";
}

static void put_activation(FILE *out, const char *key, const struct net_activation *f)
{
    bool two = f->name && (strcmp(f->name, "linear") == 0 || f->name[0] == 'h' ||
                           strcmp(f->name, "scaled_tanh") == 0);

    if (!f->name)
        return;
    fprintf(out, ",\"%s\":", key);
    if (!f->tells) {
        fprintf(out, "\"%s\"", f->name);
        return;
    }
    fprintf(out, "{\"kind\":\"%s\",\"alpha\":%.17g", f->name, f->alpha);
    if (two)
        fprintf(out, ",\"beta\":%.17g", f->beta);
    fputc('}', out);
}

static void put_recurrent(FILE *out, const struct net_module *m)
{
    fprintf(out, "\"cell\":\"%s\",\"hidden_size\":%zu,\"num_layers\":%zu", m->cell, m->hidden,
            m->layers);
    fprintf(out, ",\"bias\":%s,\"bidirectional\":%s,\"proj_size\":%zu", truth(m->bias),
            truth(m->both), m->proj);
    if (m->merge)
        fprintf(out, ",\"merge\":\"%s\"", m->merge);
    if (m->reset_before)
        fputs(",\"reset\":\"before\"", out);
    if (m->clip > 0)
        fprintf(out, ",\"clip\":%.17g", m->clip);
    put_activation(out, "gate_activation", &m->gate);
    put_activation(out, "activation", &m->activation);
    put_activation(out, "output_activation", &m->output);
    if (m->peepholes)
        fputs(",\"peepholes\":true", out);
    if (m->input_forget)
        fputs(",\"input_forget\":true", out);
    if (m->learned)
        fputs(",\"initial_state\":\"learned\"", out);
    if (m->residual)
        fputs(",\"residual\":true", out);
}

static void put_pool(FILE *out, const struct net *net)
{
    fprintf(out, "\"pool\":\"%s\"", net->pool);
    if (net->window)
        fprintf(out, ",\"steps\":%zu", net->window);
}

static void put_module(FILE *out, const struct net *net, const struct net_module *m)
{
    static const char *const kinds[] = {"rnn", "dense", "affine", "layer_norm", "readout"};

    fprintf(out, "{\"kind\":\"%s\"", kinds[m->kind]);
    if (m->kind == NET_RNN) {
        fputc(',', out);
        put_recurrent(out, m);
    } else if (m->kind == NET_DENSE) {
        fprintf(out, ",\"size\":%zu,\"bias\":%s", m->out, truth(m->bias));
        put_activation(out, "activation", &m->activation);
        if (m->residual)
            fputs(",\"residual\":true", out);
    } else if (m->kind == NET_NORM) {
        fprintf(out, ",\"epsilon\":%.17g", m->epsilon);
    } else if (m->kind == NET_READOUT) {
        fputc(',', out);
        put_pool(out, net);
    }
    fputc('}', out);
}

static void put_attention(FILE *out, const struct net_attention *a)
{
    if (!a->kind)
        return;
    fprintf(out, ",\"attention\":{\"kind\":\"%s\"", a->kind);
    if (strcmp(a->kind, "additive") == 0)
        fprintf(out, ",\"size\":%zu,\"bias\":%s,\"readout\":\"%s\"", a->size, truth(a->bias),
                a->concat ? "concat" : "state");
    else if (a->combine)
        fprintf(out, ",\"combine\":%zu", a->combine);
    fputc('}', out);
}

static void put_layers(FILE *out, const struct net *net, const struct net_stack *stack)
{
    fputs(stack->as_rnn ? "\"rnn\":{" : "\"layers\":[", out);
    if (stack->as_rnn)
        put_recurrent(out, &stack->modules[0]);
    for (size_t i = 0; i < stack->n && !stack->as_rnn; i++) {
        fputs(i ? "," : "", out);
        put_module(out, net, &stack->modules[i]);
    }
    fputs(stack->as_rnn ? "}" : "]", out);
    put_attention(out, &stack->attention);
}

static void put_stack(FILE *out, const struct net *net, const struct net_stack *stack)
{
    fprintf(out, "\"input\":{\"kind\":\"%s\",\"size\":%zu", stack->input, stack->size);
    if (stack->dim)
        fprintf(out, ",\"dim\":%zu", stack->dim);
    if (stack->normalize)
        fputs(",\"normalize\":true", out);
    fputs("},", out);
    put_layers(out, net, stack);
}

static void put_head(FILE *out, const struct net *net)
{
    if (!net->head)
        return;
    fprintf(out, ",\"head\":{\"size\":%zu,\"activation\":\"%s\",\"bias\":%s,\"tied\":%s",
            net->outputs, net->head, truth(net->head_bias), truth(net->tied));
    fprintf(out, net->denormalize ? ",\"denormalize\":true}" : "}");
}

static void put_repeat(FILE *out, const struct net *net)
{
    fputs("\"encoder\":{", out);
    put_pool(out, net);
    fputc(',', out);
    put_stack(out, net, &net->encoder);
    fprintf(out, "},\"decoder\":{\"repeat\":%zu,", net->repeat);
    put_layers(out, net, &net->decoder);
    put_head(out, net);
    fputc('}', out);
}

static void put_body(FILE *out, const struct net *net)
{
    const struct net_stack *decoder = &net->decoder;

    if (net->repeat) {
        put_repeat(out, net);
        return;
    }
    if (!net->transfer) {
        put_stack(out, net, decoder);
        put_head(out, net);
        return;
    }
    fprintf(out, "\"state_transfer\":\"%s\",\"encoder\":{", net->transfer);
    put_stack(out, net, &net->encoder);
    fputs("},\"decoder\":{", out);
    put_stack(out, net, decoder);
    put_head(out, net);
    fputc('}', out);
}

static void put_top(FILE *out, const struct net *net)
{
    const struct net_stack *stack = &net->decoder;
    bool said = stack->n > stack->n_below && stack->modules[stack->n_below].kind == NET_READOUT;

    fprintf(out, "{\"schema\":\"rnnd-ref-1\",\"topology\":\"%s\",", net->topology);
    if (net->pool && !said && !net->repeat) {
        put_pool(out, net);
        fputc(',', out);
    }
    if (net->bos >= 0)
        fprintf(out, "\"bos\":%d,\"eos\":%d,", net->bos, net->eos);
    if (net->source_eos >= 0)
        fprintf(out, "\"source_eos\":%d,", net->source_eos);
    put_body(out, net);
    if (!net->features) {
        fputc('}', out);
        return;
    }
    fprintf(out, ",\"features\":%zu,\"bridge\":{\"to\":\"%s\"", net->features,
            net->bridge_to_input ? "input" : "state");
    put_activation(out, "activation", &net->bridge);
    fputs("}}", out);
}

char *net_config(const struct net *net)
{
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    if (!out)
        abort();
    put_top(out, net);
    if (fclose(out) != 0)
        abort();
    return text;
}

/* ---- The folder ---- */

static FILE *create(const struct net *net, const char *name)
{
    char path[128];
    FILE *out;

    snprintf(path, sizeof path, "%s/%s", net->folder, name);
    out = fopen(path, "wb");
    if (!out)
        abort();
    return out;
}

static size_t count(const struct net_tensor *t)
{
    return t->shape[0] * (t->rank == 2 ? t->shape[1] : 1);
}

static void write_tensors(const struct net *net)
{
    char *header = NULL;
    size_t len, at = 0;
    FILE *text = open_memstream(&header, &len), *out = create(net, "model.safetensors");
    unsigned char prefix[8];

    for (size_t i = 0; i < net->n_tensors; i++) {
        const struct net_tensor *t = &net->tensors[i];

        fprintf(text, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[%zu", i ? "," : "{", t->name,
                t->shape[0]);
        if (t->rank == 2)
            fprintf(text, ",%zu", t->shape[1]);
        fprintf(text, "],\"data_offsets\":[%zu,%zu]}", at, at + 4 * count(t));
        at += 4 * count(t);
    }
    fputs(net->n_tensors ? "}" : "{}", text);
    fclose(text);
    for (int i = 0; i < 8; i++)
        prefix[i] = (unsigned char)(len >> 8 * i);
    fwrite(prefix, 1, 8, out);
    fwrite(header, 1, len, out);
    for (size_t i = 0; i < net->n_tensors; i++)
        fwrite(net->tensors[i].values, 4, count(&net->tensors[i]), out);
    if (fclose(out) != 0)
        abort();
    free(header);
}

void net_write(struct net *net)
{
    char *config = net_config(net);
    FILE *out;

    strcpy(net->folder, "/tmp/rnnd-net-XXXXXX");
    if (!mkdtemp(net->folder))
        abort();
    out = create(net, "config.json");
    fputs(config, out);
    if (fclose(out) != 0)
        abort();
    free(config);
    write_tensors(net);
}

void net_free(struct net *net)
{
    static const char *const files[] = {"config.json", "model.safetensors"};
    char path[128];

    for (size_t i = 0; i < net->n_tensors; i++)
        free(net->tensors[i].values);
    for (size_t i = 0; i < 2 && net->folder[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", net->folder, files[i]);
        unlink(path);
    }
    if (net->folder[0])
        rmdir(net->folder);
    net->n_tensors = 0;
}
