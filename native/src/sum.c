/* Sum of n inputs, each a term of its codes, through the last stage: eltwise sum, and with one input rescale and ReLU.
 * One task is one row of one image. */
#include "core.h"
#include "scalar.h"
#include "window.h"

#include <stdlib.h>
#include <string.h>

typedef struct hw_sum_op {
    hw_op op;
    hw_stage stage;          /* its bias is what the zero points of plain terms take from every sum */
    int64_t inputs;
    hw_operand *terms;
    int32_t *table;          /* [inputs][256], by the code's low byte: the terms that are not plain, of codes of 8 bits */
    bool narrow;             /* every term fits int32, and so does the stage */
} hw_sum_op;

/* Nothing but a shift to the left: its zero point is in the stage's bias. */
static bool is_plain(const hw_operand *t) { return t->scaling == HW_SHIFT && t->sign > 0; }

static bool in_table(const hw_operand *t) { return !is_plain(t) && t->high - t->low <= UINT8_MAX; }

static int64_t code_value(const hw_operand *t, int64_t code) { return term_value(t, code - t->zero); }

static int sum_bind(const hw_op *handle, hw_plan *plan, hw_status *status)
{
    const hw_sum_op *op = (const hw_sum_op *)handle;
    const hw_call *call = plan->call;
    const hw_tensor *out = &call->output;
    if (call->n_inputs != op->inputs || call->acc)
        return hw_fail(status, HW_BAD_ARGUMENT, 0, call->n_inputs);
    if (out->c != op->stage.channels)
        return hw_fail(status, HW_BAD_SHAPE, 1, out->c);
    for (int64_t i = 0; i < op->inputs; i++) {
        if (hw_check_same_image(&call->inputs[i], out, status))
            return status->code;
        if (call->inputs[i].c != out->c)
            return hw_fail(status, HW_BAD_SHAPE, 1, call->inputs[i].c);
    }
    if (hw_type_low(out->type) > op->stage.output.low || hw_type_high(out->type) < op->stage.output.high)
        return hw_fail(status, HW_BAD_TYPE, op->inputs, out->type);
    plan->tasks[1] = out->n * out->h;
    return HW_OK;
}

/* The int32 lanes are for codes of 16 bits at most; wider inputs take the exact form. */
static bool takes_lanes(const hw_sum_op *op, const hw_call *call)
{
    bool narrow = op->narrow;
    for (int64_t i = 0; i < op->inputs; i++)
        narrow = narrow && hw_type_bytes(call->inputs[i].type) <= 2;
    return narrow;
}

/* Add an input's terms to the sums of a row's pixels x.., in a block of at most 16 channels. */
static void add_terms(const hw_sum_op *op, int64_t input, const hw_tensor *in, const uint8_t *codes, const hw_row *row,
                      int64_t channels, int32_t *sums)
{
    const hw_operand *t = &op->terms[input];
    const hw_window_table *table = hw_window_for(op->op.isa);
    const int64_t stride = in->stride_w * hw_type_bytes(in->type);
    if (is_plain(t))
        table->add_pixels(sums, codes, row->pixels, stride, channels, in->type, t->align);
    else if (in_table(t) && hw_type_bytes(in->type) == 1)
        table->look_up_pixels(sums, codes, row->pixels, stride, channels, op->table + 256 * input);
    else
        for (int64_t p = 0; p < row->pixels; p++)
            for (int64_t i = 0; i < channels; i++)
                sums[p * LANES + i] += (int32_t)code_value(t, hw_load(codes + p * stride, in->type, i));
}

/* What a block's sums start from: nothing, or what the stage folds into them. */
static void start_sums(const hw_stage *stage, int64_t k, bool folded, int64_t pixels, int32_t *sums)
{
    int32_t start[LANES] = {0};
    for (int64_t i = 0; folded && i < LANES; i++)
        start[i] = stage->bias32[k + i] + stage->folded_add[k + i];
    for (int64_t p = 0; p < pixels; p++)
        memcpy(sums + p * LANES, start, sizeof start);
}

static void finish_sums(const hw_sum_op *op, const hw_row *row, bool folded, int64_t events[HW_COUNTERS])
{
#ifdef HW_X86
    if (folded) {
        hw_places places = {.count = row->pixels};
        for (int64_t p = 0; p < row->pixels; p++) {
            places.sums[p] = p * LANES;
            places.out[p] = p * row->out_stride;
        }
        hw_folded_bytes__avx512vnni(&op->stage, row, &places, &events[HW_AT_OUTPUT]);
        return;
    }
#endif
    (void)folded;
    hw_row_function(&op->stage, op->op.isa)(&op->stage, row, events);
}

static void row_by_lanes(const hw_plan *plan, int64_t n, int64_t y, hw_worker *worker, int64_t events[HW_COUNTERS])
{
    const hw_sum_op *op = (const hw_sum_op *)plan->op;
    const hw_tensor *out = &plan->call->output;
    const bool folded = op->stage.foldable && op->op.isa >= HW_ISA_AVX512VNNI && hw_type_bytes(out->type) == 1;
    hw_row row = {.sums = worker->sums, .plane = MAX_PIXELS * LANES, .out_type = out->type, .out_stride = out->stride_w};
    for (int64_t c = 0; c < out->c; c += MAX_BLOCKS * LANES) {
        row.blocks = min64(MAX_BLOCKS, ceil_div(out->c - c, LANES));
        for (int64_t x = 0; x < out->w; x += MAX_PIXELS) {
            row.pixels = min64(MAX_PIXELS, out->w - x);
            for (int64_t b = 0; b < row.blocks; b++) {
                const int64_t first = c + b * LANES, channels = min64(LANES, out->c - first);
                start_sums(&op->stage, first, folded, row.pixels, worker->sums + b * row.plane);
                for (int64_t i = 0; i < op->inputs; i++) {
                    const hw_tensor *in = &plan->call->inputs[i];
                    add_terms(op, i, in, hw_pixel(in, n, y, x) + first * hw_type_bytes(in->type), &row, channels,
                              worker->sums + b * row.plane);
                }
            }
            row.first_channel = c;
            row.out = hw_pixel(out, n, y, x) + c * hw_type_bytes(out->type);
            finish_sums(op, &row, folded, events);
        }
    }
}

static void row_by_definition(const hw_plan *plan, int64_t n, int64_t y, int64_t events[HW_COUNTERS])
{
    const hw_sum_op *op = (const hw_sum_op *)plan->op;
    const hw_tensor *out = &plan->call->output;
    for (int64_t x = 0; x < out->w; x++) {
        for (int64_t c = 0; c < out->c; c++) {
            int64_t total = 0, acc;
            for (int64_t i = 0; i < op->inputs; i++) {
                const hw_tensor *in = &plan->call->inputs[i];
                const int64_t code = hw_load(hw_pixel(in, n, y, x), in->type, c);
                total += is_plain(&op->terms[i]) ? (int64_t)((uint64_t)code << op->terms[i].align) : code_value(&op->terms[i], code);
            }
            hw_store(hw_pixel(out, n, y, x), out->type, c, hw_stage_code(&op->stage, c, total, &acc, NULL, events));
        }
    }
}

static void sum_task(const hw_plan *plan, int phase, int64_t task, hw_worker *worker, int64_t events[HW_COUNTERS])
{
    (void)phase;
    const int64_t height = plan->call->output.h;
    if (takes_lanes((const hw_sum_op *)plan->op, plan->call))
        row_by_lanes(plan, task / height, task % height, worker, events);
    else
        row_by_definition(plan, task / height, task % height, events);
}

static void sum_free(hw_op *handle)
{
    hw_sum_op *op = (hw_sum_op *)handle;
    hw_stage_free(&op->stage);
    free(op->terms);
    free(op->table);
    free(op);
}

static const hw_family sum_family = {sum_bind, sum_task, sum_free};

static int check_term(const hw_operand *t, int64_t index, hw_status *status)
{
    const int64_t far = (int64_t)1 << 48;
    const int64_t values[] = {t->zero, t->low, t->high, t->align, t->scaling, t->rounding, t->sign * t->sign, t->multiplier};
    const int64_t lows[] = {-far, -far, t->low, 0, HW_SHIFT, HW_FLOOR, 1, INT64_MIN};
    const int64_t highs[] = {far, far, far, 60, HW_FLOAT64, HW_TIES_ODD, 1, INT64_MAX};
    for (int i = 0; i < 8; i++)
        if (values[i] < lows[i] || values[i] > highs[i])
            return hw_fail(status, HW_OUT_OF_RANGE, index, values[i]);
    const int64_t most = max64(llabs((long long)(t->low - t->zero)), llabs((long long)(t->high - t->zero)));
    if (most >> (61 - t->align))
        return hw_fail(status, HW_OUT_OF_RANGE, index, most);
    return hw_check_scale(t->scaling, t->multiplier, t->shift, index, status);
}

typedef struct reach {
    int64_t low, high;       /* of the sums, the zero points of plain terms left in them */
    bool known;              /* every term was looked at, and fits int32 */
} reach;

/* Adds what a term's codes become, and fills its table. */
static void add_reach(const hw_operand *t, int32_t *table, reach *to)
{
    int64_t low = 0, high = 0; /* lanes without a channel hold 0 */
    if (is_plain(t)) {
        low = (int64_t)((uint64_t)t->low << t->align);
        high = (int64_t)((uint64_t)t->high << t->align);
    } else if (t->high - t->low > UINT16_MAX) {
        to->known = false;
    } else {
        for (int64_t code = t->low; code <= t->high; code++) {
            const int64_t value = code_value(t, code);
            low = min64(low, value);
            high = max64(high, value);
            if (in_table(t))
                table[code & 255] = (int32_t)value;
        }
    }
    to->known = to->known && low >= INT32_MIN && high <= INT32_MAX;
    to->low += to->known ? min64(low, 0) : 0;
    to->high += to->known ? max64(high, 0) : 0;
}

static int fill(hw_sum_op *op, const hw_sum *sum, hw_status *status)
{
    const int64_t c = sum->c;
    op->terms = hw_alloc((size_t)op->inputs * sizeof(hw_operand), status);
    op->table = hw_alloc((size_t)op->inputs * 256 * sizeof(int32_t), status);
    int64_t *wide = hw_alloc(3 * (size_t)c * sizeof(int64_t), status);
    int32_t *none = hw_alloc((size_t)c * sizeof(int32_t), status);
    reach all = {0, 0, true};
    int64_t offset = 0;
    for (int64_t i = 0; i < op->inputs && !status->code; i++) {
        const hw_operand *t = &sum->terms[i];
        op->terms[i] = *t;
        if (check_term(t, i, status))
            break;
        add_reach(t, op->table + 256 * i, &all);
        offset -= is_plain(t) ? (int64_t)((uint64_t)t->zero << t->align) : 0;
    }
    for (int64_t k = 0; k < c && !status->code; k++) {
        wide[k] = offset;
        wide[c + k] = all.low;
        wide[2 * c + k] = all.high;
    }
    if (!status->code)
        hw_stage_init(&op->stage, c, &sum->output, wide, none, sum->shift, wide + c, wide + 2 * c, status);
    op->narrow = !status->code && all.known && op->stage.narrow;
    free(wide);
    free(none);
    return status->code;
}

hw_op *hw_sum_new(const hw_sum *sum, int32_t isa, hw_status *status)
{
    *status = (hw_status){0};
    const int picked = hw_pick_isa(isa, status);
    const bool good = sum->c >= 1 && sum->c <= INT32_MAX && sum->n >= 1 && sum->n <= 1 << 14;
    if (picked && !good)
        hw_fail(status, HW_BAD_ARGUMENT, sum->c < 1 || sum->c > INT32_MAX ? 0 : 1, sum->c < 1 ? sum->c : sum->n);
    hw_sum_op *op = status->code ? NULL : hw_alloc(sizeof *op, status);
    if (!op)
        return NULL;
    op->op = (hw_op){.family = &sum_family, .isa = picked};
    op->inputs = sum->n;
    if (fill(op, sum, status)) {
        hw_op_free(&op->op);
        return NULL;
    }
    return &op->op;
}
