/* The frame that comes next: drawn from what a head of numbers says of it, to be fed back. */
#include "core/gaussian.h"
#include "core/mixture.h"
#include "core/model.h"
#include "core/rnn.h"
#include "core/special.h"

static bool sample_point(const struct rnn_model *model, const float *logits, float temperature,
                         struct rnn_rng *rng, float *frame)
{
    const struct mixture head = {model->info.components, model->info.pen, model->top.mean,
                                 model->top.std};

    mixture_sample(&head, logits, temperature, rng, frame);
    return head.pen == 3 && frame[2 + RNN_PEN_END] > 0;
}

bool rnn_sample_frame(const struct rnn_model *model, const float *logits, float temperature,
                      struct rnn_rng *rng, float *frame)
{
    const struct rnn_model_info *info = &model->info;

    switch (info->activation) {
    case RNN_HEAD_MIXTURE:
        return sample_point(model, logits, temperature, rng, frame);
    case RNN_HEAD_GAUSSIAN:
        gaussian_sample(&(struct gaussian){info->n_values, model->top.mean, model->top.std}, logits,
                        temperature, rng, frame);
        return false;
    default:
        rnn_activate(model, logits, frame);
        for (size_t i = 0; i < info->n_values; i++)
            frame[i] = rnn_narrow((double)frame[i]);
        return false;
    }
}
