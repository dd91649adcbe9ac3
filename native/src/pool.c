/* Maximum and average over windows. A window is clipped to the image; one task is one output row of one image. */
#include "core.h"
#include "minifloat.h"
#include "pool.h"
#include "window.h"

#include <stdlib.h>

enum { SUMS = 256 }; /* channels that an average adds at once */

typedef struct hw_pool_op {
    hw_op op;
    hw_pool pool;
    int64_t *counts, *multiplier; /* of the reciprocals; in one piece of memory */
    int32_t *multiplier_shift;
    hw_stage stage;          /* of the average: its limits and its activation, for one channel */
    bool average;
    int32_t float_type;      /* of the maximum of minifloats: their type; else -1 */
    hw_float_order order;
} hw_pool_op;

const hw_window_table *hw_window_for(int32_t isa)
{
#ifdef HW_X86
    if (isa >= HW_ISA_AVX512VNNI)
        return &hw_window__avx512vnni;
    if (isa == HW_ISA_AVX2)
        return &hw_window__avx2;
#endif
    (void)isa;
    return &hw_window__portable;
}

hw_span hw_window_span(int64_t index, int64_t kernel, int64_t stride, int64_t pad, int64_t pad_end, int64_t extent,
                       int32_t rule)
{
    const int64_t origin = index * stride - pad;
    hw_span s = {max64(origin, 0), min64(origin + kernel, extent), kernel};
    if (rule == HW_EXCLUDE_PADDING)
        s.counted = s.last - s.first;
    else if (rule == HW_INCLUDE_PADDING_CLIPPED)
        s.counted = min64(origin + kernel, extent + pad_end) - origin;
    return s;
}

/* Every window must hold a pixel of the image: the last one is the one that could miss it. */
int hw_check_windows(const hw_pool *v, const hw_tensor *in, const hw_tensor *out, hw_status *status)
{
    if (in->c != out->c || in->n != out->n)
        return hw_fail(status, HW_BAD_SHAPE, 1, out->c);
    if ((out->h - 1) * v->stride_h - v->pad_h >= in->h)
        return hw_fail(status, HW_BAD_SHAPE, 2, out->h);
    if ((out->w - 1) * v->stride_w - v->pad_w >= in->w)
        return hw_fail(status, HW_BAD_SHAPE, 3, out->w);
    return HW_OK;
}

static int check_tensors(const hw_pool_op *op, const hw_call *call, hw_status *status)
{
    const hw_tensor *in = &call->inputs[0], *out = &call->output;
    if (call->n_inputs != 1 || call->acc)
        return hw_fail(status, HW_BAD_ARGUMENT, 0, call->n_inputs);
    if (hw_check_windows(&op->pool, in, out, status))
        return status->code;
    if (!op->average && (in->type != out->type || (op->float_type >= 0 && in->type != op->float_type)))
        return hw_fail(status, HW_BAD_TYPE, 1, out->type);
    if (op->average && (hw_type_low(out->type) > op->pool.output.low || hw_type_high(out->type) < op->pool.output.high))
        return hw_fail(status, HW_BAD_TYPE, 1, out->type);
    return HW_OK;
}

/* The reciprocal of a window that counts so many positions, or -1. */
static int64_t find_reciprocal(const hw_pool_op *op, int64_t counted)
{
    int64_t first = 0, last = op->pool.reciprocals;
    while (first < last) {
        const int64_t middle = (first + last) / 2;
        if (op->counts[middle] == counted)
            return middle;
        if (op->counts[middle] < counted)
            first = middle + 1;
        else
            last = middle;
    }
    return -1;
}

static hw_span rows_of(const hw_pool *v, int64_t y, int64_t height)
{
    return hw_window_span(y, v->r, v->stride_h, v->pad_h, v->pad_end_h, height, v->count);
}

static hw_span columns_of(const hw_pool *v, int64_t x, int64_t width)
{
    return hw_window_span(x, v->s, v->stride_w, v->pad_w, v->pad_end_w, width, v->count);
}

static int check_reciprocals(const hw_pool_op *op, const hw_call *call, hw_status *status)
{
    const hw_tensor *in = &call->inputs[0], *out = &call->output;
    for (int64_t y = 0; y < out->h; y++)
        for (int64_t x = 0; x < out->w; x++) {
            const int64_t counted = rows_of(&op->pool, y, in->h).counted * columns_of(&op->pool, x, in->w).counted;
            if (find_reciprocal(op, counted) < 0)
                return hw_fail(status, HW_BAD_SHAPE, 4, counted);
        }
    return HW_OK;
}

static int pool_bind(const hw_op *handle, hw_plan *plan, hw_status *status)
{
    const hw_pool_op *op = (const hw_pool_op *)handle;
    if (check_tensors(op, plan->call, status))
        return status->code;
    if (op->average && op->pool.reciprocals && check_reciprocals(op, plan->call, status))
        return status->code;
    plan->tasks[1] = plan->call->output.n * plan->call->output.h;
    return HW_OK;
}

static void max_taps(const hw_plan *plan, void *out, const uint8_t *const *taps, int64_t count)
{
    const hw_pool_op *op = (const hw_pool_op *)plan->op;
    const hw_tensor *in = &plan->call->inputs[0];
    const hw_window_table *table = hw_window_for(plan->op->isa);
    if (op->float_type >= 0)
        table->float_max(out, taps, count, in->c, in->type, &op->order);
    else
        table->max(out, taps, count, in->c, in->type);
}

static void max_pixel(const hw_plan *plan, int64_t n, hw_span rows, hw_span columns, void *out)
{
    enum { AT_ONCE = 64 };
    const hw_tensor *in = &plan->call->inputs[0];
    const uint8_t *taps[AT_ONCE + 1];
    int64_t count = 0;
    for (int64_t y = rows.first; y < rows.last; y++) {
        for (int64_t x = columns.first; x < columns.last; x++) {
            taps[count++] = hw_pixel(in, n, y, x);
            if (count == AT_ONCE) {
                max_taps(plan, out, taps, count);
                taps[0] = out; /* the maximum so far */
                count = 1;
            }
        }
    }
    max_taps(plan, out, taps, count);
}

/* The exact sum of channels first..first+count-1 over the window. */
static void window_sums(const hw_plan *plan, int64_t n, hw_span rows, hw_span columns, int64_t first, int64_t count,
                        int64_t *sums)
{
    const hw_tensor *in = &plan->call->inputs[0];
    const int64_t bytes = hw_type_bytes(in->type);
    const hw_window_table *table = hw_window_for(plan->op->isa);
    int32_t narrow[SUMS] = {0};
    int64_t added = 0; /* 2^15 16-bit codes cannot leave int32 */
    for (int64_t i = 0; i < count; i++)
        sums[i] = 0;
    for (int64_t y = rows.first; y < rows.last; y++) {
        for (int64_t x = columns.first; x < columns.last; x++) {
            const uint8_t *pixel = hw_pixel(in, n, y, x) + first * bytes;
            if (bytes <= 2)
                table->add(narrow, pixel, count, in->type, 0);
            for (int64_t i = 0; bytes > 2 && i < count; i++)
                sums[i] += hw_load(pixel, in->type, i);
            added++;
            for (int64_t i = 0; added % (1 << 15) == 0 && i < count; i++) {
                sums[i] += narrow[i];
                narrow[i] = 0;
            }
        }
    }
    for (int64_t i = 0; i < count; i++)
        sums[i] += narrow[i];
}

/* total: of code - zero. */
static int64_t average_code(const hw_pool_op *op, int64_t total, int64_t counted, int64_t reciprocal,
                            int64_t events[HW_COUNTERS])
{
    const hw_pool *v = &op->pool;
    const hw_output *o = &op->stage.output;
    const int shift = v->shift;
    if (o->activation == HW_RELU_BEFORE && total < 0)
        total = 0;
    if (v->reciprocals)
        return hw_stage_finish(&op->stage, scale_value(total, op->multiplier[reciprocal], op->multiplier_shift[reciprocal],
                                                       o->scaling, o->rounding), NULL, events);
    const hw_wide x = ((hw_wide)total + (hw_wide)counted * v->offset) << (shift < 0 ? -shift : 0);
    const hw_wide unit = (hw_wide)counted << (shift > 0 ? shift : 0);
    return hw_stage_finish(&op->stage, round_ratio(x, unit, o->rounding), NULL, events);
}

static void average_pixel(const hw_plan *plan, int64_t n, hw_span rows, hw_span columns, void *out, int64_t events[HW_COUNTERS])
{
    const hw_pool_op *op = (const hw_pool_op *)plan->op;
    const hw_tensor *to = &plan->call->output;
    const int64_t zeros = op->pool.zero * (rows.last - rows.first) * (columns.last - columns.first);
    const int64_t counted = rows.counted * columns.counted;
    const int64_t reciprocal = op->pool.reciprocals ? find_reciprocal(op, counted) : 0;
    int64_t sums[SUMS];
    for (int64_t c = 0; c < to->c; c += SUMS) {
        const int64_t count = min64(SUMS, to->c - c);
        window_sums(plan, n, rows, columns, c, count, sums);
        for (int64_t i = 0; i < count; i++)
            hw_store(out, to->type, c + i, average_code(op, sums[i] - zeros, counted, reciprocal, events));
    }
}

static void pool_task(const hw_plan *plan, int phase, int64_t task, hw_worker *worker, int64_t events[HW_COUNTERS])
{
    (void)phase;
    (void)worker;
    const hw_pool_op *op = (const hw_pool_op *)plan->op;
    const hw_pool *v = &op->pool;
    const hw_tensor *in = &plan->call->inputs[0], *out = &plan->call->output;
    const int64_t n = task / out->h, y = task % out->h;
    const hw_span rows = rows_of(v, y, in->h);
    for (int64_t x = 0; x < out->w; x++) {
        const hw_span columns = columns_of(v, x, in->w);
        if (op->average)
            average_pixel(plan, n, rows, columns, hw_pixel(out, n, y, x), events);
        else
            max_pixel(plan, n, rows, columns, hw_pixel(out, n, y, x));
    }
}

static void pool_free(hw_op *handle)
{
    hw_stage_free(&((hw_pool_op *)handle)->stage);
    free(((hw_pool_op *)handle)->counts);
    free(handle);
}

static const hw_family pool_family = {pool_bind, pool_task, pool_free};

int hw_check_pool(const hw_pool *v, bool average, hw_status *status)
{
    const int64_t values[] = {v->r, v->s, v->stride_h, v->stride_w, v->pad_h + 1, v->pad_w + 1,
                              v->pad_end_h + 1, v->pad_end_w + 1};
    const int64_t highs[] = {1 << 24, 1 << 24, 1 << 24, 1 << 24, v->r, v->s, v->r, v->s}; /* less padding than kernel */
    for (int i = 0; i < 8; i++)
        if (values[i] < 1 || values[i] > highs[i])
            return hw_fail(status, HW_BAD_ARGUMENT, i, values[i]);
    if (average && (v->count < HW_EXCLUDE_PADDING || v->count > HW_INCLUDE_PADDING_CLIPPED))
        return hw_fail(status, HW_BAD_ARGUMENT, 8, v->count);
    const int64_t far = (int64_t)1 << 48;
    if (average && (v->zero < -far || v->zero > far || v->offset < -far || v->offset > far))
        return hw_fail(status, HW_OUT_OF_RANGE, 0, v->zero < -far || v->zero > far ? v->zero : v->offset);
    if (average && (v->shift < -31 || v->shift > 31 || (v->reciprocals && v->shift)))
        return hw_fail(status, HW_BAD_ARGUMENT, 9, v->shift);
    return HW_OK;
}

static int copy_reciprocals(hw_pool_op *op, const hw_pool *pool, hw_status *status)
{
    const int64_t n = pool->reciprocals;
    if (n < 0 || n > 1 << 20 || (n > 0 && pool->offset))
        return hw_fail(status, HW_BAD_ARGUMENT, 10, n);
    op->counts = hw_alloc((size_t)n * (2 * sizeof(int64_t) + sizeof(int32_t)), status);
    if (!op->counts)
        return status->code;
    op->multiplier = op->counts + n;
    op->multiplier_shift = (int32_t *)(op->multiplier + n);
    for (int64_t i = 0; i < n; i++) {
        op->counts[i] = pool->counts[i];
        op->multiplier[i] = pool->multiplier[i];
        op->multiplier_shift[i] = pool->multiplier_shift[i];
        if (op->counts[i] < 1 || (i > 0 && op->counts[i] <= op->counts[i - 1]))
            return hw_fail(status, HW_OUT_OF_RANGE, i, op->counts[i]);
        if (hw_check_scale(pool->output.scaling, op->multiplier[i], op->multiplier_shift[i], i, status))
            return status->code;
    }
    return HW_OK;
}

/* The stage's limits; what scales is the division. */
static int init_average(hw_pool_op *op, const hw_pool *pool, hw_status *status)
{
    const int64_t bias = 0, one = 1;
    const int32_t none = pool->output.scaling == HW_DOUBLE_ROUND ? 2 : 0, no_shift = 0;
    hw_output output = pool->output;
    output.acc_bits = 64;
    output.multiplier = &one;
    if (hw_check_output(&output, status) || copy_reciprocals(op, pool, status))
        return status->code;
    return hw_stage_init(&op->stage, 1, &output, &bias, &no_shift, &none, &bias, &bias, status);
}

static hw_op *pool_new(const hw_pool *pool, int32_t isa, bool average, hw_status *status)
{
    *status = (hw_status){0};
    const int picked = hw_pick_isa(isa, status);
    if (!picked || hw_check_pool(pool, average, status))
        return NULL;
    hw_pool_op *op = hw_alloc(sizeof *op, status);
    if (!op)
        return NULL;
    op->op = (hw_op){.family = &pool_family, .isa = picked};
    op->pool = *pool;
    op->average = average;
    op->float_type = -1;
    op->pool.counts = op->pool.multiplier = NULL; /* the caller's: nothing borrowed stays */
    op->pool.multiplier_shift = NULL;
    op->pool.output.multiplier = NULL;
    if (average && init_average(op, pool, status)) {
        hw_op_free(&op->op);
        return NULL;
    }
    return &op->op;
}

hw_op *hw_max_pool_new(const hw_pool *pool, int32_t isa, hw_status *status) { return pool_new(pool, isa, false, status); }

hw_op *hw_float_max_pool_new(const hw_pool *pool, const hw_float *format, int32_t isa, hw_status *status)
{
    *status = (hw_status){0};
    if (hw_check_float(format, status))
        return NULL;
    hw_pool_op *op = (hw_pool_op *)pool_new(pool, isa, false, status);
    if (!op)
        return NULL;
    const int64_t sign = (int64_t)1 << format->sign_shift;
    op->float_type = format->sign_shift < 8 ? HW_U8 : format->sign_shift < 16 ? HW_U16 : HW_U32;
    op->order = (hw_float_order){.magnitude = sign - 1, .sign = sign, .nan_word = -1, .nan = nan_code(format),
                                 .top = format->largest + (format->specials == HW_IEEE)};
    if (format->specials == HW_FNUZ)
        op->order.nan_word = sign;
    return &op->op;
}

hw_op *hw_average_pool_new(const hw_pool *pool, int32_t isa, hw_status *status)
{
    return pool_new(pool, isa, true, status);
}
