/* A convolution with a minifloat in it at run time: inputs decoded into host floats inside a border of zeros, register
 * blocks over pixels and channels, the last stage. An output that a block leaves as NaN is walked instead. */
#include "float_conv.h"

#include <fenv.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int64_t host_bytes(const hw_float_conv_op *op) { return op->host64 ? 8 : 4; }

static int64_t border_needed(int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t pad, int64_t dilation)
{
    return max64(pad, (out - 1) * stride + (kernel - 1) * dilation - pad - (in - 1));
}

static int plan_staging(const hw_float_conv_op *op, hw_plan *plan, hw_status *status)
{
    const hw_float_conv *v = &op->conv;
    const hw_tensor *out = &plan->call->output;
    hw_tensor *in = &plan->input;
    const int64_t border_h = border_needed(in->h, out->h, v->r, v->stride_h, v->pad_h, v->dilation_h);
    const int64_t border_w = border_needed(in->w, out->w, v->s, v->stride_w, v->pad_w, v->dilation_w);
    if (border_h > max64(v->pad_h, v->pad_end_h) || border_w > max64(v->pad_w, v->pad_end_w))
        return hw_fail(status, HW_BAD_SHAPE, 2, max64(out->h, out->w));
    in->type = op->host64 ? HW_S64 : HW_S32;
    in->border_h = (int32_t)border_h;
    in->border_w = (int32_t)border_w;
    in->stride_w = in->c * op->x_limbs;
    in->stride_h = (in->w + 2 * border_w) * in->stride_w;
    in->stride_n = (in->h + 2 * border_h) * in->stride_h;
    plan->staged_bytes = in->n * in->stride_n * host_bytes(op);
    plan->staged_origin = (border_h * in->stride_h + border_w * in->stride_w) * host_bytes(op);
    plan->tasks[0] = in->n * (in->h + 2 * border_h);
    return HW_OK;
}

/* table: the offset of each packed row. conv.blocks: register blocks of pixels; conv.chunk: of these in a task. */
static int plan_blocks(const hw_float_conv_op *op, hw_plan *plan, hw_status *status)
{
    const hw_float_conv *v = &op->conv;
    const hw_tensor *in = &plan->input, *out = &plan->call->output;
    plan->table = hw_alloc((size_t)op->rows * sizeof(int64_t), status);
    if (!plan->table)
        return status->code;
    for (int64_t i = 0; i < op->rows; i++) {
        const int64_t tap = op->order[i], r = tap / v->s % v->r, s = tap % v->s;
        plan->table[i] = tap < 0 ? -1 : r * v->dilation_h * in->stride_h + s * v->dilation_w * in->stride_w +
                                        tap / (v->r * v->s);
    }
    plan->conv.blocks = ceil_div(out->n * out->h * out->w, FLOAT_PIXELS);
    plan->conv.chunk = max64(1, min64(32, plan->conv.blocks / (4 * plan->threads)));
    plan->conv.block_chunks = ceil_div(plan->conv.blocks, plan->conv.chunk);
    plan->tasks[1] = plan->conv.block_chunks * op->blocks;
    return HW_OK;
}

static int check_call(const hw_float_conv_op *op, const hw_call *call, hw_status *status)
{
    const hw_float_conv *v = &op->conv;
    const hw_tensor *in = &call->inputs[0], *out = &call->output;
    const int64_t low = v->output_fixed ? v->output.low : 0;
    const int64_t high = v->output_fixed ? v->output.high : ((int64_t)2 << v->out.sign_shift) - 1;
    if (call->n_inputs != 1)
        return hw_fail(status, HW_BAD_ARGUMENT, 0, call->n_inputs);
    if (in->c != v->c || out->c != v->k || in->n != out->n)
        return hw_fail(status, HW_BAD_SHAPE, in->c != v->c ? 1 : out->c != v->k ? 2 : 0, in->c != v->c ? in->c : out->c);
    if (hw_type_low(out->type) > low || hw_type_high(out->type) < high)
        return hw_fail(status, HW_BAD_TYPE, 1, out->type);
    if (!call->acc)
        return HW_OK;
    if (v->exact ? call->acc_type != HW_S64
                 : hw_type_high(call->acc_type) < ((int64_t)2 << v->register_format.sign_shift) - 1)
        return hw_fail(status, HW_BAD_TYPE, 2, call->acc_type);
    return HW_OK;
}

static int float_bind(const hw_op *handle, hw_plan *plan, hw_status *status)
{
    const hw_float_conv_op *op = (const hw_float_conv_op *)handle;
    if (check_call(op, plan->call, status))
        return status->code;
    plan->input = plan->call->inputs[0];
    if (plan_staging(op, plan, status)) /* also refuses sizes that contradict, whoever computes */
        return status->code;
    if (op->path != FLOAT_WALK)
        return plan_blocks(op, plan, status);
    plan->staged_bytes = plan->tasks[0] = 0;
    plan->tasks[1] = plan->call->output.n * plan->call->output.h;
    return HW_OK;
}

/* ---- inputs */

static void decode_pixel(const hw_float_conv_op *op, const hw_tensor *from, const void *codes, uint8_t *to)
{
    const int64_t bytes = host_bytes(op), each = op->x_limbs * bytes, lowest = min64(op->conv.in_low, 0);
    for (int64_t c = 0; c < from->c; c++) {
        const int64_t code = hw_load(codes, from->type, c);
        double made[FLOAT_LIMBS];
        const void *host = made;
        if (op->decoded)
            host = (const uint8_t *)op->decoded + (code - lowest) * each;
        else
            hw_float_decode(op, code, made);
        for (int64_t limb = 0; limb < op->x_limbs; limb++)
            memcpy(to + (limb * from->c + c) * bytes, (const uint8_t *)host + limb * bytes, (size_t)bytes);
    }
}

static void decode_bytes32(const hw_float_conv_op *op, const hw_tensor *from, const void *codes, float *to)
{
    const float *table = (const float *)op->decoded - min64(op->conv.in_low, 0);
    for (int64_t c = 0; c < from->c; c++)
        to[c] = table[from->type == HW_S8 ? ((const int8_t *)codes)[c] : ((const uint8_t *)codes)[c]];
}

static void decode_bytes64(const hw_float_conv_op *op, const hw_tensor *from, const void *codes, double *to)
{
    const double *table = (const double *)op->decoded - min64(op->conv.in_low, 0);
    for (int64_t c = 0; c < from->c; c++)
        to[c] = table[from->type == HW_S8 ? ((const int8_t *)codes)[c] : ((const uint8_t *)codes)[c]];
}

static void stage_row(const hw_plan *plan, int64_t row)
{
    const hw_float_conv_op *op = (const hw_float_conv_op *)plan->op;
    const hw_tensor *from = &plan->call->inputs[0], *to = &plan->input;
    const int64_t rows = to->h + 2 * to->border_h, border = to->border_w * to->stride_w * host_bytes(op);
    const int64_t n = row / rows, y = row % rows - to->border_h;
    if (y < 0 || y >= to->h) {
        memset(hw_pixel(to, n, y, -to->border_w), 0, (size_t)(to->stride_h * host_bytes(op)));
        return;
    }
    memset(hw_pixel(to, n, y, -to->border_w), 0, (size_t)border);
    memset(hw_pixel(to, n, y, to->w), 0, (size_t)border);
    const bool plain = op->decoded && op->x_limbs == 1 && hw_type_bytes(from->type) == 1;
    for (int64_t x = 0; x < to->w; x++) {
        const void *codes = hw_pixel(from, n, y, x);
        if (plain && op->host64)
            decode_bytes64(op, from, codes, (double *)hw_pixel(to, n, y, x));
        else if (plain)
            decode_bytes32(op, from, codes, (float *)hw_pixel(to, n, y, x));
        else
            decode_pixel(op, from, codes, hw_pixel(to, n, y, x));
    }
}

/* ---- outputs */

typedef struct hw_spot {
    int64_t n, y, x;
} hw_spot;

static hw_spot spot_of(const hw_plan *plan, int64_t i)
{
    const hw_tensor *out = &plan->call->output;
    return (hw_spot){i / (out->h * out->w), i / out->w % out->h, i % out->w};
}

static void store_acc(const hw_plan *plan, hw_spot at, int64_t k, const int64_t *acc)
{
    const hw_float_conv_op *op = (const hw_float_conv_op *)plan->op;
    const hw_tensor *out = &plan->call->output;
    const int64_t words = op->conv.exact ? op->conv.words : 1;
    const int64_t place = (((at.n * out->h + at.y) * out->w + at.x) * out->c + k) * words;
    for (int64_t i = 0; i < words; i++)
        hw_store(plan->call->acc, plan->call->acc_type, place + i, acc[i]);
}

static void put_walked(const hw_plan *plan, hw_spot at, int64_t k, int64_t events[HW_COUNTERS])
{
    enum { MOST_WORDS = 64 };
    const hw_tensor *out = &plan->call->output;
    int64_t acc[MOST_WORDS];
    const int64_t code = hw_float_walk(plan, at.n, k, at.y, at.x, plan->call->acc ? acc : NULL, events);
    hw_store(hw_pixel(out, at.n, at.y, at.x), out->type, k, code);
    if (plan->call->acc)
        store_acc(plan, at, k, acc);
}

/* Its two low words: FLOAT_EXACT has no wider one. */
static hw_wide bias_of(const hw_float_conv_op *op, int64_t k)
{
    const int64_t *bias = op->bias + k * op->conv.words;
    return op->conv.words > 1 ? (hw_wide)bias[1] << 64 | (hw_wide)(uint64_t)bias[0] : bias[0];
}

static void put_exact(const hw_plan *plan, hw_spot at, int64_t k, hw_wide products, int64_t events[HW_COUNTERS])
{
    const hw_float_conv_op *op = (const hw_float_conv_op *)plan->op;
    const hw_tensor *out = &plan->call->output;
    const hw_wide total = (products << op->lift[k]) + bias_of(op, k);
    const hw_float_code made = hw_float_finish_wide(&op->conv, total, op->grid[k]);
    events[HW_AT_OUTPUT] += made.event;
    hw_store(hw_pixel(out, at.n, at.y, at.x), out->type, k, made.code);
    if (plan->call->acc) {
        int64_t acc[64];
        for (int64_t i = 0; i < op->conv.words; i++)
            acc[i] = i == 0 ? (int64_t)total : i == 1 ? (int64_t)(total >> 64) : total < 0 ? -1 : 0;
        store_acc(plan, at, k, acc);
    }
}

static double sum_at(const hw_float_conv_op *op, const void *sums, int64_t i)
{
    return op->host64 ? ((const double *)sums)[i] : (double)((const float *)sums)[i];
}

/* The sum of products of one output on the limbs' grid; false where it met NaN or infinity.
 * sums: [x limb][w limb][pixel][channel], from the output's own on. */
static bool collect(const hw_float_conv_op *op, const void *sums, int64_t at, hw_wide *total)
{
    bool finite = true;
    *total = 0;
    for (int64_t i = 0; i < op->x_limbs * op->w_limbs; i++) {
        const double part = sum_at(op, sums, i * FLOAT_PIXELS * FLOAT_BLOCK + at);
        const int64_t shift = i / op->w_limbs * op->x_limb_bits + i % op->w_limbs * op->w_limb_bits;
        finite = finite && part - part == 0;
        *total += finite ? (hw_wide)(int64_t)part << shift : 0;
    }
    return finite;
}

/* A double that rounds as the total does: exact up to 53 bits, else its last bit is sticky. */
static double sticky_double(hw_wide total)
{
    const bool negative = total < 0;
    const unsigned __int128 magnitude = negative ? -(unsigned __int128)total : (unsigned __int128)total;
    const uint64_t high = (uint64_t)(magnitude >> 64);
    const int length = high ? 64 + bit_length(high) : bit_length((uint64_t)magnitude), drop = length > 53 ? length - 53 : 0;
    const uint64_t top = (uint64_t)(magnitude >> drop), kept = top | ((unsigned __int128)top << drop != magnitude);
    const int64_t exponent = (int64_t)(1023 + drop) << 52;
    double power;
    memcpy(&power, &exponent, sizeof power);
    return (negative ? -(double)kept : (double)kept) * power;
}

static void finish_exact_row(const hw_plan *plan, const void *sums, int64_t p, hw_spot at, int64_t block,
                             int64_t events[HW_COUNTERS])
{
    const hw_float_conv_op *op = (const hw_float_conv_op *)plan->op;
    const hw_float_block_place *place = &op->place[block];
    for (int64_t lane = 0; lane < place->outputs; lane++) {
        hw_wide total;
        if (collect(op, sums, p * FLOAT_BLOCK + lane, &total))
            put_exact(plan, at, place->first_output + lane, total, events);
        else
            put_walked(plan, at, place->first_output + lane, events);
    }
}

/* The register's code of a finite host float that it holds. */
static int64_t register_code(const hw_float *f, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    const int sign = (int)(bits >> 63), exponent = (int)(bits >> 52 & 2047);
    if (exponent == 0) /* no register reaches as low as the subnormal doubles */
        return zero_code(sign, f);
    const int64_t significand = (int64_t)((bits & 0xfffffffffffff) | (uint64_t)1 << 52);
    return round_pack(sign, significand, exponent - 1075, HW_TIES_EVEN, f).code;
}

static void finish_add_row(const hw_plan *plan, const double *values, hw_spot at, int64_t block, int64_t events[HW_COUNTERS])
{
    const hw_float_conv_op *op = (const hw_float_conv_op *)plan->op;
    const hw_float_conv *v = &op->conv;
    const hw_tensor *out = &plan->call->output;
    for (int64_t lane = 0; lane < op->place[block].outputs; lane++) {
        const int64_t k = op->place[block].first_output + lane;
        if (values[lane] != values[lane]) {
            put_walked(plan, at, k, events);
            continue;
        }
        const int64_t acc = register_code(&v->register_format, values[lane]);
        const hw_float_code made = hw_float_finish_code(v, acc, &v->register_format);
        events[HW_AT_OUTPUT] += made.event;
        hw_store(hw_pixel(out, at.n, at.y, at.x), out->type, k, made.code);
        if (plan->call->acc)
            store_acc(plan, at, k, &acc);
    }
}

/* The values of one pixel's outputs as doubles; NaN: to be walked. */
static void values_of(const hw_plan *plan, const void *sums, int64_t p, int64_t block, double *values)
{
    const hw_float_conv_op *op = (const hw_float_conv_op *)plan->op;
    const hw_float_conv *v = &op->conv;
    const hw_float_block_place *place = &op->place[block];
    const bool skips = v->skip_padded || v->skip_zero_inputs || v->skip_zero_weights;
    const bool add = op->path == FLOAT_ADD, clear = add && !v->register_format.signed_zero;
    if (add || op->direct)
        for (int64_t lane = 0; lane < place->outputs; lane++)
            values[lane] = sum_at(op, sums, p * FLOAT_BLOCK + lane);
    for (int64_t lane = 0; add && lane < place->outputs; lane++) {
        const double value = clear ? values[lane] + 0.0 : values[lane];
        const bool in_doubt = value - value != 0 || (skips && value == 0); /* an omitted +0 could have cleared a sign */
        values[lane] = in_doubt ? NAN : value;
    }
    if (add)
        return;
    const double *scale = op->scale + place->first_output, *bias = op->real_bias + place->first_output;
    for (int64_t lane = 0; op->direct && lane < place->outputs; lane++)
        values[lane] = values[lane] * scale[lane] + bias[lane];
    for (int64_t lane = 0; !op->direct && lane < place->outputs; lane++) {
        hw_wide total;
        const bool finite = collect(op, sums, p * FLOAT_BLOCK + lane, &total);
        total = (total << op->lift[place->first_output + lane]) + bias_of(op, place->first_output + lane);
        values[lane] = finite ? sticky_double(total) * scale[lane] : NAN;
    }
}

static void finish_block(const hw_plan *plan, const void *sums, int64_t pixels, int64_t first_pixel, int64_t block,
                         int64_t events[HW_COUNTERS])
{
    const hw_float_conv_op *op = (const hw_float_conv_op *)plan->op;
    const hw_tensor *out = &plan->call->output;
    const hw_float_block_place *place = &op->place[block];
    const bool quick = op->codes && !plan->call->acc;
    double values[FLOAT_BLOCK];
    for (int64_t p = 0; p < pixels; p++) {
        const hw_spot at = spot_of(plan, first_pixel + p);
        if (op->path == FLOAT_EXACT && !quick) {
            finish_exact_row(plan, sums, p, at, block, events);
            continue;
        }
        values_of(plan, sums, p, block, values);
        int64_t in_doubt = 0;
        for (int64_t lane = 0; lane < place->outputs; lane++)
            in_doubt += values[lane] - values[lane] != 0;
        if (quick && !in_doubt) {
            void *to = hw_pixel(out, at.n, at.y, at.x) + place->first_output * hw_type_bytes(out->type);
            events[HW_AT_OUTPUT] += op->codes(&op->rule, values, place->outputs, to, out->type);
        } else if (op->path == FLOAT_EXACT) {
            finish_exact_row(plan, sums, p, at, block, events);
        } else {
            finish_add_row(plan, values, at, block, events);
        }
    }
    events[op->path == FLOAT_EXACT ? HW_BY_BOUNDS : HW_WALKED] += pixels * place->outputs;
}

static void run_block(const hw_plan *plan, int64_t first_pixel, int64_t block, int64_t events[HW_COUNTERS])
{
    _Alignas(64) double sums[FLOAT_LIMBS * FLOAT_LIMBS * FLOAT_PIXELS * FLOAT_BLOCK];
    const hw_float_conv_op *op = (const hw_float_conv_op *)plan->op;
    const hw_float_conv *v = &op->conv;
    const hw_tensor *in = &plan->input, *out = &plan->call->output;
    const int64_t bytes = host_bytes(op), pixels = min64(FLOAT_PIXELS, out->n * out->h * out->w - first_pixel);
    const void *pixel[FLOAT_PIXELS];
    hw_float_block b = {.pixels = pixel, .offsets = plan->table, .steps = op->rows, .lanes = 1, .pairing = v->pairing};
    if (op->path == FLOAT_ADD) {
        b.steps = v->steps;
        b.lanes = v->lanes;
        b.rounding = op->rounding.largest ? &op->rounding : NULL;
        b.last = op->last ? (const uint8_t *)op->last + block * FLOAT_BLOCK * bytes : NULL;
    }
    b.first = (const uint8_t *)op->first + block * FLOAT_BLOCK * bytes;
    for (int64_t limb = 0; limb < op->x_limbs; limb++) {
        for (int64_t p = 0; p < FLOAT_PIXELS; p++) {
            const hw_spot at = spot_of(plan, first_pixel + min64(p, pixels - 1));
            pixel[p] = hw_pixel(in, at.n, at.y * v->stride_h - v->pad_h, at.x * v->stride_w - v->pad_w) +
                       (limb * in->c + op->place[block].first_input) * bytes;
        }
        for (int64_t w = 0; w < op->w_limbs; w++) {
            b.weights = (const uint8_t *)op->packed + (w * op->blocks + block) * op->rows * FLOAT_BLOCK * bytes;
            b.sums = (uint8_t *)sums + (limb * op->w_limbs + w) * FLOAT_PIXELS * FLOAT_BLOCK * bytes;
            op->kernel(&b);
        }
    }
    finish_block(plan, sums, pixels, first_pixel, block, events);
}

static void walk_row(const hw_plan *plan, int64_t task, int64_t events[HW_COUNTERS])
{
    const hw_float_conv_op *op = (const hw_float_conv_op *)plan->op;
    const hw_tensor *out = &plan->call->output;
    for (int64_t x = 0; x < out->w; x++)
        for (int64_t k = 0; k < out->c; k++)
            put_walked(plan, (hw_spot){task / out->h, task % out->h, x}, k, events);
    events[op->conv.exact ? HW_BY_BOUNDS : HW_WALKED] += out->w * out->c;
}

static void float_task(const hw_plan *plan, int phase, int64_t task, hw_worker *worker, int64_t events[HW_COUNTERS])
{
    (void)worker;
    const hw_float_conv_op *op = (const hw_float_conv_op *)plan->op;
    if (op->path == FLOAT_WALK) {
        walk_row(plan, task, events);
        return;
    }
    /* Nearest even, and subnormal numbers as they are, whatever the program around us has set. */
    fenv_t saved;
    fegetenv(&saved);
    fesetenv(FE_DFL_ENV);
    if (phase == 0) {
        stage_row(plan, task);
    } else {
        const int64_t block = task / plan->conv.block_chunks, first = task % plan->conv.block_chunks * plan->conv.chunk;
        for (int64_t i = first; i < min64(first + plan->conv.chunk, plan->conv.blocks); i++)
            run_block(plan, i * FLOAT_PIXELS, block, events);
    }
    fesetenv(&saved);
}

static void float_free(hw_op *handle)
{
    hw_float_conv_op *op = (hw_float_conv_op *)handle;
    void *const owned[] = {op->weights, op->tap, op->grid, op->bias, op->table, op->lift, op->order, op->place,
                           op->packed, op->first, op->last, op->decoded, op->scale};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++)
        free(owned[i]);
    free(op);
}

const hw_family hw_float_conv_family = {float_bind, float_task, float_free};

const char *hw_float_conv_path(const hw_op *op) { return ((const hw_float_conv_op *)op)->name; }
