/* The frame that comes next: drawn from what a head of numbers says of it, to be fed back; and how
 * probable one was that has come. */
#include "core/gaussian.h"
#include "core/mixture.h"
#include "core/model.h"
#include "core/rnn.h"
#include "core/special.h"

static struct mixture mixture_of(const struct rnn_model *model)
{
    return (struct mixture){model->info.components, model->info.pen, model->top.mean,
                            model->top.std};
}

static struct gaussian gaussian_of(const struct rnn_model *model)
{
    return (struct gaussian){model->info.n_values, model->top.mean, model->top.std};
}

static bool sample_point(const struct rnn_model *model, const float *logits, float temperature,
                         struct rnn_rng *rng, float *frame)
{
    const struct mixture head = mixture_of(model);

    mixture_sample(&head, logits, temperature, rng, frame);
    return head.pen == 3 && frame[2 + RNN_PEN_END] > 0;
}

bool rnn_sample_frame(const struct rnn_model *model, const float *logits, float temperature,
                      struct rnn_rng *rng, float *frame)
{
    const struct rnn_model_info *info = &model->info;
    const struct gaussian gaussian = gaussian_of(model);

    switch (info->activation) {
    case RNN_HEAD_MIXTURE:
        return sample_point(model, logits, temperature, rng, frame);
    case RNN_HEAD_GAUSSIAN:
        gaussian_sample(&gaussian, logits, temperature, rng, frame);
        return false;
    default:
        rnn_activate(model, logits, frame);
        for (size_t i = 0; i < info->n_values; i++)
            frame[i] = rnn_narrow((double)frame[i]);
        return false;
    }
}

void rnn_score_frame(const struct rnn_model *model, const float *logits, const float *frame,
                     struct rnn_frame_score *out)
{
    const struct gaussian gaussian = gaussian_of(model);
    const struct mixture mixture = mixture_of(model);
    struct mixture_score score;

    if (model->info.activation == RNN_HEAD_GAUSSIAN) {
        *out = (struct rnn_frame_score){.nats = gaussian_nll(&gaussian, logits, frame)};
        return;
    }
    score = mixture_nll(&mixture, logits, frame);
    *out = (struct rnn_frame_score){.nats = score.offset + score.pen, .pen = score.pen};
}
