/* Local response normalization: an exact sum of squares, a factor from a table, one product through the last stage. One task is
 * one row of one image. */
#include "core.h"
#include "scalar.h"

#include <stdlib.h>

typedef struct hw_lrn_op {
    hw_op op;
    hw_stage stage;          /* of one channel */
    hw_lrn lrn;              /* its table is the operator's own */
    int64_t *table;
} hw_lrn_op;

/* round((a * (2^f - x) + b * x) / 2^dropped): see hwsim/arith/lrn.py, whose names these are. */
static int64_t look_up(const hw_lrn *l, int64_t total)
{
    const int64_t length = total ? 64 - __builtin_clzll((uint64_t)total) : 0;
    const int64_t drop = max64(length - 1 - l->mantissa_bits, l->shift), last = l->entries - 1;
    const int64_t index = l->mantissa_bits > 16 ? total >> drop : ((drop - l->shift) << l->mantissa_bits) + (total >> drop);
    const int f = l->fraction_bits;
    if (total < 0 || index >= last) /* a sum below 0: of codes that the format does not have */
        return (int64_t)round_shift(l->table[last] * ((int64_t)1 << f), l->dropped_bits, l->rounding);
    const int64_t rest = total - (total >> drop << drop), part = drop >= f ? rest >> (drop - f) : rest << (f - drop);
    const int64_t line = l->table[index] * (((int64_t)1 << f) - part) + l->table[index + 1] * part;
    return (int64_t)round_shift(line, l->dropped_bits, l->rounding);
}

static int lrn_bind(const hw_op *handle, hw_plan *plan, hw_status *status)
{
    const hw_lrn_op *op = (const hw_lrn_op *)handle;
    const hw_tensor *in = &plan->call->inputs[0], *out = &plan->call->output;
    if (plan->call->n_inputs != 1 || plan->call->acc)
        return hw_fail(status, HW_BAD_ARGUMENT, 0, plan->call->n_inputs);
    if (hw_check_same_image(in, out, status))
        return status->code;
    if (in->c != out->c)
        return hw_fail(status, HW_BAD_SHAPE, 1, in->c);
    if (hw_type_low(out->type) > op->stage.output.low || hw_type_high(out->type) < op->stage.output.high)
        return hw_fail(status, HW_BAD_TYPE, 1, out->type);
    plan->scratch_bytes = (out->w + 1) * out->c * (int64_t)sizeof(int64_t);
    plan->tasks[1] = out->n * out->h;
    return HW_OK;
}

/* columns[x][c] += the squares of the rows that output row y reaches. */
static void add_columns(const hw_lrn *l, const hw_tensor *in, int64_t n, int64_t y, int64_t *columns)
{
    const int64_t first = max64(y - l->reach_h, 0), last = min64(y + l->reach_h, in->h - 1);
    for (int64_t i = 0; i < in->w * in->c; i++)
        columns[i] = 0;
    for (int64_t row = first; row <= last; row++)
        for (int64_t x = 0; x < in->w; x++) {
            const uint8_t *from = hw_pixel(in, n, row, x);
            for (int64_t c = 0; c < in->c; c++) {
                const int64_t value = hw_load(from, in->type, c) - l->zero;
                columns[x * in->c + c] += value * value;
            }
        }
}

/* sums[c] += sign * columns[x][c], where there is such a column. */
static void add_column(const int64_t *columns, int64_t w, int64_t channels, int64_t x, int64_t sign, int64_t *sums)
{
    if (x < 0 || x >= w)
        return;
    for (int64_t c = 0; c < channels; c++)
        sums[c] += sign * columns[x * channels + c];
}

static void lrn_task(const hw_plan *plan, int phase, int64_t task, hw_worker *worker, int64_t events[HW_COUNTERS])
{
    (void)phase;
    const hw_lrn_op *op = (const hw_lrn_op *)plan->op;
    const hw_lrn *l = &op->lrn;
    const hw_tensor *in = &plan->call->inputs[0], *out = &plan->call->output;
    const int64_t n = task / out->h, y = task % out->h, channels = out->c;
    int64_t *columns = worker->scratch, *sums = columns + out->w * channels, acc;
    add_columns(l, in, n, y, columns);
    for (int64_t c = 0; c < channels; c++)
        sums[c] = 0;
    for (int64_t x = 0; x < min64(l->reach_w, out->w); x++)
        add_column(columns, out->w, channels, x, 1, sums);
    for (int64_t x = 0; x < out->w; x++) {
        const uint8_t *from = hw_pixel(in, n, y, x);
        uint8_t *to = hw_pixel(out, n, y, x);
        add_column(columns, out->w, channels, x + l->reach_w, 1, sums);
        add_column(columns, out->w, channels, x - l->reach_w - 1, -1, sums);
        int64_t total = 0;
        for (int64_t c = 0; c < min64(l->reach_c, channels); c++)
            total += sums[c];
        for (int64_t c = 0; c < channels; c++) {
            total += c + l->reach_c < channels ? sums[c + l->reach_c] : 0;
            total -= c > l->reach_c ? sums[c - l->reach_c - 1] : 0;
            const int64_t product = (hw_load(from, in->type, c) - l->zero) * look_up(l, total);
            hw_store(to, out->type, c, hw_stage_code(&op->stage, 0, product, &acc, NULL, events));
        }
    }
}

static void lrn_free(hw_op *handle)
{
    hw_lrn_op *op = (hw_lrn_op *)handle;
    hw_stage_free(&op->stage);
    free(op->table);
    free(op);
}

static const hw_family lrn_family = {lrn_bind, lrn_task, lrn_free};

static int check_lrn(const hw_lrn *l, hw_status *status)
{
    const int64_t far = (int64_t)1 << 32, wide = UINT16_MAX;
    const int64_t values[] = {l->low, l->high, l->zero, l->reach_c, l->reach_h, l->reach_w, l->entries,
                              l->shift, l->mantissa_bits, l->fraction_bits, l->dropped_bits, l->rounding};
    const int64_t lows[] = {INT16_MIN, l->low, INT16_MIN, 0, 0, 0, 1, 0, 0, 0, 0, HW_FLOOR};
    const int64_t highs[] = {wide, wide, wide, wide, wide, wide, wide + 1, 62, 62, 16, l->fraction_bits, HW_TIES_ODD};
    for (int i = 0; i < 12; i++)
        if (values[i] < lows[i] || values[i] > highs[i])
            return hw_fail(status, HW_BAD_ARGUMENT, i, values[i]);
    const int64_t most = max64(llabs(l->low - l->zero), llabs(l->high - l->zero));
    const hw_wide area = (hw_wide)(2 * l->reach_c + 1) * (2 * l->reach_h + 1) * (2 * l->reach_w + 1);
    if (l->mantissa_bits > 16 && l->mantissa_bits != 62)
        return hw_fail(status, HW_BAD_ARGUMENT, 8, l->mantissa_bits);
    if (area * most * most >= (hw_wide)1 << 62)
        return hw_fail(status, HW_OUT_OF_RANGE, -1, most);
    for (int64_t i = 0; i < l->entries; i++) {
        const hw_wide product = (hw_wide)llabs(l->table[i]) * (most + 1) << (l->fraction_bits - l->dropped_bits);
        if (l->table[i] <= -far || l->table[i] >= far || product >= (hw_wide)1 << 62)
            return hw_fail(status, HW_OUT_OF_RANGE, i, l->table[i]);
    }
    return HW_OK;
}

/* The stage, of products of any code and any point of a line: all lie between those of the least and the largest entry. */
static int fill_stage(hw_lrn_op *op, hw_status *status)
{
    const hw_lrn *l = &op->lrn;
    const int32_t no_shift = 0;
    const int64_t none = 0;
    int64_t low = 0, high = 0;
    for (int64_t i = 0; i < l->entries; i++) {
        const int64_t factor = (int64_t)round_shift(l->table[i] * ((int64_t)1 << l->fraction_bits), l->dropped_bits, l->rounding);
        const int64_t ends[] = {(l->low - l->zero) * factor, (l->high - l->zero) * factor};
        low = min64(low, min64(ends[0], ends[1]));
        high = max64(high, max64(ends[0], ends[1]));
    }
    return hw_stage_init(&op->stage, 1, &l->output, &none, &no_shift, &l->output_shift, &low, &high, status);
}

hw_op *hw_lrn_new(const hw_lrn *lrn, hw_status *status)
{
    *status = (hw_status){0};
    hw_lrn_op *op = check_lrn(lrn, status) ? NULL : hw_alloc(sizeof *op, status);
    if (!op)
        return NULL;
    *op = (hw_lrn_op){.op = {.family = &lrn_family, .isa = HW_ISA_PORTABLE}, .lrn = *lrn};
    op->table = hw_alloc((size_t)lrn->entries * sizeof(int64_t), status);
    for (int64_t i = 0; op->table && i < lrn->entries; i++)
        op->table[i] = lrn->table[i];
    op->lrn.table = op->table;
    if (!op->table || fill_stage(op, status)) {
        lrn_free(&op->op);
        return NULL;
    }
    return &op->op;
}
