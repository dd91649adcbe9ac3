/* One code to one code with a minifloat on either side: rescale, ReLU, image encoding. Codes of 8 bits, and of 16 where no mean
 * tells channels apart, are worked out once for all; others each time. One task is one row of one image. */
#include "core.h"
#include "float_conv.h"
#include "minifloat.h"

#include <stdlib.h>

typedef struct hw_float_value_op {
    hw_op op;
    hw_float_value value;    /* its mean is NULL: the copy is below */
    hw_float_conv last;      /* of which only the last stage is read */
    int64_t *mean;           /* NULL: none */
    int64_t *table;          /* [c, or 1 without a mean][2^8 or 2^16], 2 * code + event; NULL: none */
} hw_float_value_op;

/* 2 * code + event. */
static int64_t entry_of(const hw_float_value_op *op, int64_t code, int64_t mean)
{
    const hw_float_value *v = &op->value;
    if (v->relu)
        return 2 * relu_float(code, &v->input);
    hw_float_code made;
    if (v->input_fixed) {
        const int64_t exact = (code * ((int64_t)1 << v->mean_shift) - mean) * v->scale;
        made = hw_float_finish_exact(&op->last, exact < 0, exact < 0 ? -exact : exact, v->input_exponent, false);
    } else {
        made = hw_float_finish_code(&op->last, code, &v->input);
    }
    return 2 * made.code + made.event;
}

static int32_t input_type(const hw_float_value *v)
{
    const int32_t wide = v->input_bits <= 8 ? HW_S8 : v->input_bits <= 16 ? HW_S16 : HW_S32;
    return wide + !v->input_signed;
}

static int value_bind(const hw_op *handle, hw_plan *plan, hw_status *status)
{
    const hw_float_value_op *op = (const hw_float_value_op *)handle;
    const hw_float_value *v = &op->value;
    const hw_tensor *in = &plan->call->inputs[0], *out = &plan->call->output;
    if (plan->call->n_inputs != 1 || plan->call->acc)
        return hw_fail(status, HW_BAD_ARGUMENT, 0, plan->call->n_inputs);
    if (in->type != input_type(v))
        return hw_fail(status, HW_BAD_TYPE, 0, in->type);
    if (hw_check_same_image(in, out, status))
        return status->code;
    if (in->c != v->c || out->c != v->c)
        return hw_fail(status, HW_BAD_SHAPE, 1, in->c);
    if (v->mean_per_pixel && (in->h != v->h || in->w != v->w))
        return hw_fail(status, HW_BAD_SHAPE, 2, in->h);
    const hw_float *f = v->relu ? &v->input : &v->out;
    const int64_t low = v->output_fixed ? v->output.low : 0;
    const int64_t high = v->output_fixed ? v->output.high : ((int64_t)2 << f->sign_shift) - 1;
    if (hw_type_low(out->type) > low || hw_type_high(out->type) < high)
        return hw_fail(status, HW_BAD_TYPE, 1, out->type);
    plan->tasks[1] = out->n * out->h;
    return HW_OK;
}

#define TABLE_LOOP(I, O)                                            \
    for (int64_t c = 0; c < channels; c++) {                        \
        const int64_t entry = table[pitch * c + ((const I *)in)[c]]; \
        ((O *)out)[c] = (O)(entry >> 1);                            \
        counted += entry & 1;                                       \
    }

/* One pixel by table; returns the events. */
static inline int64_t pixel_by_table(const int64_t *table, int64_t pitch, const void *in, int64_t in_bytes, void *out,
                                     int64_t out_bytes, int64_t channels)
{
    int64_t counted = 0;
    switch (4 * (in_bytes == 2) + (out_bytes > 2 ? 2 : out_bytes - 1)) {
    case 0: TABLE_LOOP(uint8_t, uint8_t) break;
    case 1: TABLE_LOOP(uint8_t, uint16_t) break;
    case 2: TABLE_LOOP(uint8_t, uint32_t) break;
    case 4: TABLE_LOOP(uint16_t, uint8_t) break;
    case 5: TABLE_LOOP(uint16_t, uint16_t) break;
    default: TABLE_LOOP(uint16_t, uint32_t)
    }
    return counted;
}

static void value_task(const hw_plan *plan, int phase, int64_t task, hw_worker *worker, int64_t events[HW_COUNTERS])
{
    (void)phase;
    (void)worker;
    const hw_float_value_op *op = (const hw_float_value_op *)plan->op;
    const hw_tensor *in = &plan->call->inputs[0], *out = &plan->call->output;
    const int64_t n = task / out->h, y = task % out->h, in_bytes = hw_type_bytes(in->type);
    const int64_t out_bytes = hw_type_bytes(out->type);
    const bool by_table = op->table && out->type != HW_S64;
    for (int64_t x = 0; x < out->w; x++) {
        const void *from = hw_pixel(in, n, y, x);
        void *to = hw_pixel(out, n, y, x);
        if (by_table) {
            events[HW_AT_OUTPUT] += pixel_by_table(op->table, op->mean ? 256 : 0, from, in_bytes, to, out_bytes, out->c);
            continue;
        }
        for (int64_t c = 0; c < out->c; c++) {
            const int64_t mean = !op->mean ? 0 : op->mean[op->value.mean_per_pixel ? (c * out->h + y) * out->w + x : c];
            const int64_t entry = entry_of(op, hw_load(from, in->type, c), mean);
            hw_store(to, out->type, c, entry >> 1);
            events[HW_AT_OUTPUT] += entry & 1;
        }
    }
}

static void value_free(hw_op *handle)
{
    free(((hw_float_value_op *)handle)->mean);
    free(((hw_float_value_op *)handle)->table);
    free(handle);
}

static const hw_family value_family = {value_bind, value_task, value_free};

static int check_value(const hw_float_value *v, hw_status *status)
{
    const int64_t side = 1 << 24, narrow = v->input_fixed && v->input_bits <= 8;
    const int64_t values[] = {v->c, v->h, v->w, v->scale, v->mean_per_pixel, v->mean_shift, v->relu, v->input_fixed,
                              v->input_bits, v->input_signed, v->input_exponent, v->output_fixed, v->output_length,
                              v->output.rounding, v->output.activation};
    const int64_t lows[] = {1, 1, 1, 1, 0, 0, 0, 0, 1, 0, -600, 0, -600, HW_FLOOR, HW_NONE};
    const int64_t highs[] = {side, side, side, narrow ? 1 << 24 : 1, v->mean != NULL, narrow ? 20 : 0, !v->input_fixed, 1,
                             32, v->input_fixed, 600, !v->relu, 600, HW_TIES_ODD, HW_RELU_AFTER};
    for (int i = 0; i < 15; i++)
        if (values[i] < lows[i] || values[i] > highs[i])
            return hw_fail(status, HW_BAD_ARGUMENT, i, values[i]);
    if (v->mean && !narrow)
        return hw_fail(status, HW_BAD_ARGUMENT, 5, v->input_bits);
    if (!v->input_fixed && (hw_check_float(&v->input, status) || v->input_bits != v->input.sign_shift + 1))
        return status->code ? status->code : hw_fail(status, HW_BAD_ARGUMENT, 8, v->input_bits);
    if (v->relu)
        return HW_OK;
    return v->output_fixed ? hw_check_output(&v->output, status) : hw_check_float(&v->out, status);
}

static int copy_mean(hw_float_value_op *op, const hw_float_value *v, hw_status *status)
{
    const int64_t means = v->c * (v->mean_per_pixel ? v->h * v->w : 1), most = (int64_t)1 << 37;
    op->mean = hw_alloc((size_t)means * sizeof(int64_t), status);
    for (int64_t i = 0; op->mean && i < means; i++) {
        if (v->mean[i] < -most || v->mean[i] > most)
            return hw_fail(status, HW_OUT_OF_RANGE, i, v->mean[i]);
        op->mean[i] = v->mean[i];
    }
    return status->code;
}

static int make_table(hw_float_value_op *op, hw_status *status)
{
    const hw_float_value *v = &op->value;
    const int64_t codes = v->input_bits <= 8 ? 256 : 1 << 16, used = (int64_t)1 << v->input_bits;
    const int64_t channels = op->mean ? v->c : 1;
    op->table = hw_alloc((size_t)(channels * codes) * sizeof(int64_t), status);
    for (int64_t i = 0; op->table && i < channels * codes; i++) {
        const int64_t word = i % codes, code = v->input_signed && word >= codes / 2 ? word - codes : word;
        if (v->input_signed ? code >= -used / 2 && code < used / 2 : code < used)
            op->table[i] = entry_of(op, code, op->mean ? op->mean[i / codes] : 0);
    }
    return status->code;
}

hw_op *hw_float_value_new(const hw_float_value *value, int32_t isa, hw_status *status)
{
    *status = (hw_status){0};
    const int picked = hw_pick_isa(isa, status);
    if (!picked || check_value(value, status))
        return NULL;
    hw_float_value_op *op = hw_alloc(sizeof *op, status);
    if (!op)
        return NULL;
    op->op = (hw_op){.family = &value_family, .isa = picked};
    op->value = *value;
    op->value.mean = NULL;
    op->last = (hw_float_conv){.output_fixed = value->output_fixed, .output_length = value->output_length, .out = value->out,
                               .output = value->output};
    if ((value->mean && copy_mean(op, value, status))
        || (value->input_bits <= 16 && !value->mean_per_pixel && make_table(op, status))) {
        hw_op_free(&op->op);
        return NULL;
    }
    return &op->op;
}
