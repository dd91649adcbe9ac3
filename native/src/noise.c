/* Stochastic rounding: exact values finished by the noise of shift registers, which this file clocks for itself.
 *
 * The draws of an image are walked in the declared order. A task takes some of the turns: it moves every lane's register
 * to its first turn and clocks it from there, so the tasks of any number of threads see the same states. All moves are
 * matrices over GF(2): column j is the state after clock(s) of the state that has bit j alone; state S moves to the sum of
 * the columns of S's bits; squaring a matrix doubles the clocks. */
#include "core.h"
#include "scalar.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_WIDTH = 64, MAX_LANES = 4096, TURN_BITS = 63, DRAWS_PER_TASK = 1 << 14, MIN_TURNS = 64, BYTES = MAX_WIDTH / 8 };

typedef struct matrix {
    uint64_t column[MAX_WIDTH];
} matrix;

typedef struct hw_noise_op {
    hw_op op;
    hw_noise noise;
    matrix turns[TURN_BITS];       /* turns[i] moves a register by 2^i turns */
    uint64_t turn[BYTES][256];     /* one turn, by the bytes of the state */
    int64_t drawing, silent;       /* channels that draw, and that do not */
    int32_t code_bits;
    int32_t *channel;              /* [drawing] those, then [silent] these */
    int32_t *shift;
    uint64_t *seeds;
} hw_noise_op;

static uint64_t clock_once(const hw_noise *noise, uint64_t state)
{
    const uint64_t all = ~(uint64_t)0 >> (MAX_WIDTH - noise->width);
    if (noise->galois)
        return (state >> 1) ^ (state & 1 ? noise->taps : 0);
    return ((state << 1) | (uint64_t)__builtin_parityll(state & noise->taps)) & all;
}

static uint64_t move(const matrix *m, uint64_t state)
{
    uint64_t moved = 0;
    for (; state; state &= state - 1)
        moved ^= m->column[__builtin_ctzll(state)];
    return moved;
}

/* First a, then b. */
static void compose(const matrix *a, const matrix *b, matrix *both)
{
    matrix made = {{0}};
    for (int j = 0; j < MAX_WIDTH; j++)
        made.column[j] = move(b, a->column[j]);
    *both = made;
}

static void prepare_moves(hw_noise_op *op)
{
    const hw_noise *noise = &op->noise;
    matrix clocks = {{0}}, power = {{0}};
    for (int j = 0; j < noise->width; j++) {
        clocks.column[j] = clock_once(noise, (uint64_t)1 << j);
        power.column[j] = (uint64_t)1 << j;
    }
    for (int64_t left = noise->clocks; left; left >>= 1) {
        if (left & 1)
            compose(&power, &clocks, &power);
        compose(&clocks, &clocks, &clocks);
    }
    op->turns[0] = power;
    for (int i = 1; i < TURN_BITS; i++)
        compose(&op->turns[i - 1], &op->turns[i - 1], &op->turns[i]);
    for (int byte = 0; byte < BYTES; byte++)
        for (int value = 0; value < 256; value++)
            op->turn[byte][value] = move(&power, (uint64_t)value << (8 * byte));
}

static uint64_t state_at(const hw_noise_op *op, int64_t lane, int64_t turn)
{
    uint64_t state = op->seeds[lane];
    for (int i = 0; turn; i++, turn >>= 1)
        if (turn & 1)
            state = move(&op->turns[i], state);
    return state;
}

static void next_turn(const hw_noise_op *op, uint64_t *states, int64_t lanes)
{
    const int bytes = (op->noise.width + 7) / 8;
    for (int64_t lane = 0; lane < lanes; lane++) {
        uint64_t next = 0;
        for (int byte = 0; byte < bytes; byte++)
            next ^= op->turn[byte][states[lane] >> (8 * byte) & 255];
        states[lane] = next;
    }
}

/* The noise of a fraction of `shift` bits, 1..62. */
static int64_t noise_bits(const hw_noise *noise, uint64_t state, int shift)
{
    if (noise->align_low)
        return (int64_t)(state & (((uint64_t)1 << shift) - 1));
    return (int64_t)(shift <= noise->width ? state >> (noise->width - shift) : state << (shift - noise->width));
}

/* One value through the last stage: ReLU, noise, rounding, overflow, ReLU. Quotient and remainder first: no sum leaves
 * int64. */
static int64_t finish(const hw_noise_op *op, int64_t value, int shift, uint64_t state, int64_t *events)
{
    const hw_output *o = &op->noise.output;
    if (o->activation == HW_RELU_BEFORE && value < 0)
        value = 0;
    int64_t code;
    if (shift > 0) {
        const int64_t q = value >> shift;
        const int64_t rounded = q + ((value - (q << shift) + noise_bits(&op->noise, state, shift)) >> shift);
        *events += rounded < o->low || rounded > o->high;
        code = fit(rounded, o->overflow, op->code_bits, o->low < 0, o->low, o->high);
    } else {
        const hw_wide exact = (hw_wide)value << -shift;
        *events += !fits(exact, o->low, o->high);
        code = fit(exact, o->overflow, op->code_bits, o->low < 0, o->low, o->high);
    }
    return o->activation == HW_RELU_AFTER && code < 0 ? 0 : code;
}

/* Extents of (channels that draw, rows, columns) in the declared order, the last one padded where the tail is idle. */
static void extents(const hw_noise_op *op, const hw_tensor *out, int64_t real[3], int64_t padded[3])
{
    const int64_t sizes[3] = {op->drawing, out->h, out->w};
    for (int i = 0; i < 3; i++)
        real[i] = padded[i] = sizes[op->noise.order[i]];
    if (op->noise.idle_tail)
        padded[2] = ceil_div(padded[2], op->noise.lanes) * op->noise.lanes;
}

static int64_t turns_of(const hw_noise_op *op, const hw_tensor *out)
{
    int64_t real[3], padded[3];
    extents(op, out, real, padded);
    return ceil_div(padded[0] * padded[1] * padded[2], op->noise.lanes);
}

static int64_t turns_per_task(const hw_noise_op *op) { return max64(MIN_TURNS, DRAWS_PER_TASK / op->noise.lanes); }

static int noise_bind(const hw_op *handle, hw_plan *plan, hw_status *status)
{
    const hw_noise_op *op = (const hw_noise_op *)handle;
    const hw_call *call = plan->call;
    const hw_tensor *out = &call->output;
    if (call->n_inputs != 2 || call->acc)
        return hw_fail(status, HW_BAD_ARGUMENT, 0, call->n_inputs);
    if (hw_check_same_image(&call->inputs[0], out, status))
        return status->code;
    if (out->c != op->noise.k || call->inputs[0].c != out->c)
        return hw_fail(status, HW_BAD_SHAPE, 1, out->c);
    const hw_tensor *first = &call->inputs[1];
    if (first->type != HW_S64)
        return hw_fail(status, HW_BAD_TYPE, 1, first->type);
    if (first->n != out->n)
        return hw_fail(status, HW_BAD_SHAPE, 1, first->n);
    const int64_t turns = turns_of(op, out);
    for (int64_t n = 0; n < out->n; n++) {
        const int64_t turn = hw_load(hw_pixel(first, n, 0, 0), HW_S64, 0);
        if (turn < 0 || turn > INT64_MAX - turns)
            return hw_fail(status, HW_OUT_OF_RANGE, n, turn);
    }
    if (hw_type_low(out->type) > op->noise.output.low || hw_type_high(out->type) < op->noise.output.high)
        return hw_fail(status, HW_BAD_TYPE, 2, out->type);
    plan->tasks[1] = out->n * (ceil_div(turns, turns_per_task(op)) + 1); /* and one for who does not draw */
    return HW_OK;
}

static void finish_silent(const hw_plan *plan, int64_t n, int64_t events[HW_COUNTERS])
{
    const hw_noise_op *op = (const hw_noise_op *)plan->op;
    const hw_tensor *in = &plan->call->inputs[0], *out = &plan->call->output;
    for (int64_t y = 0; y < out->h; y++)
        for (int64_t x = 0; x < out->w; x++)
            for (int64_t i = op->drawing; i < op->noise.k; i++) {
                const int64_t k = op->channel[i], value = hw_load(hw_pixel(in, n, y, x), in->type, k);
                const int64_t code = finish(op, value, op->shift[k], 0, &events[HW_AT_OUTPUT]);
                hw_store(hw_pixel(out, n, y, x), out->type, k, code);
            }
}

/* Outputs first..last - 1 along the fastest axis, lane after lane; at: the other places. Returns the lane that is next. */
static int64_t finish_run(const hw_plan *plan, int64_t n, int64_t at[3], int64_t first, int64_t last, int64_t lane,
                          uint64_t *states, int64_t events[HW_COUNTERS])
{
    const hw_noise_op *op = (const hw_noise_op *)plan->op;
    const hw_tensor *in = &plan->call->inputs[0], *out = &plan->call->output;
    const int fast = op->noise.order[2];
    at[fast] = 0;
    const uint8_t *from = hw_pixel(in, n, at[1], at[2]);
    uint8_t *to = hw_pixel(out, n, at[1], at[2]);
    const int64_t from_step = fast == 1 ? in->stride_h : in->stride_w, to_step = fast == 1 ? out->stride_h : out->stride_w;
    for (int64_t i = first; i < last; i++) {
        const int64_t k = op->channel[fast == 0 ? i : at[0]], along = fast == 0 ? 0 : i;
        const int64_t value = hw_load(from, in->type, along * from_step + k);
        const int64_t code = finish(op, value, op->shift[k], states[lane], &events[HW_AT_OUTPUT]);
        hw_store(to, out->type, along * to_step + k, code);
        if (++lane == op->noise.lanes) {
            lane = 0;
            next_turn(op, states, op->noise.lanes);
        }
    }
    return lane;
}

/* `turns` turns of image n from its turn `turn` on: draw d belongs to lane d % lanes, place by place in the order. */
static void finish_turns(const hw_plan *plan, int64_t n, int64_t turn, int64_t turns, int64_t events[HW_COUNTERS])
{
    const hw_noise_op *op = (const hw_noise_op *)plan->op;
    const int64_t lanes = op->noise.lanes, start = hw_load(hw_pixel(&plan->call->inputs[1], n, 0, 0), HW_S64, 0);
    int64_t real[3], size[3], at[3], lane = 0;
    uint64_t states[MAX_LANES];
    extents(op, &plan->call->output, real, size);
    const int64_t busy = op->noise.idle_tail ? min64(lanes, real[2]) : lanes; /* the others draw for nobody */
    for (int64_t l = 0; l < busy; l++)
        states[l] = state_at(op, l, start + turn);
    const int64_t end = min64((turn + turns) * lanes, size[0] * size[1] * size[2]);
    for (int64_t draw = turn * lanes; draw < end;) {
        const int64_t run = draw / size[2], first = draw % size[2], last = min64(first + end - draw, size[2]);
        at[op->noise.order[0]] = run / size[1];
        at[op->noise.order[1]] = run % size[1];
        lane = finish_run(plan, n, at, first, min64(last, real[2]), lane, states, events);
        if (last > real[2] && lane) { /* who is idle draws for nobody */
            lane = 0;
            next_turn(op, states, busy);
        }
        draw += last - first;
    }
}

static void noise_task(const hw_plan *plan, int phase, int64_t task, hw_worker *worker, int64_t events[HW_COUNTERS])
{
    (void)phase;
    (void)worker;
    const hw_noise_op *op = (const hw_noise_op *)plan->op;
    const int64_t each = turns_per_task(op), turns = turns_of(op, &plan->call->output);
    const int64_t tasks = ceil_div(turns, each) + 1, n = task / tasks, block = task % tasks;
    if (block == tasks - 1)
        finish_silent(plan, n, events);
    else
        finish_turns(plan, n, block * each, min64(each, turns - block * each), events);
}

static void noise_free(hw_op *handle)
{
    hw_noise_op *op = (hw_noise_op *)handle;
    free(op->channel);
    free(op->shift);
    free(op->seeds);
    free(op);
}

static const hw_family noise_family = {noise_bind, noise_task, noise_free};

static int check(const hw_noise *noise, hw_status *status)
{
    const int64_t values[] = {noise->k, noise->width, noise->galois, noise->lanes, noise->clocks, noise->idle_tail,
                              noise->align_low, noise->zero_shift_draws, noise->order[0], noise->order[1], noise->order[2]};
    const int64_t lows[] = {1, 2, 0, 1, 1, 0, 0, 0, 0, 0, 0};
    const int64_t highs[] = {INT32_MAX, MAX_WIDTH, 1, MAX_LANES, INT32_MAX, 1, 1, 1, 2, 2, 2};
    for (int i = 0; i < 11; i++)
        if (values[i] < lows[i] || values[i] > highs[i])
            return hw_fail(status, HW_BAD_ARGUMENT, i, values[i]);
    if (((1 << noise->order[0]) | (1 << noise->order[1]) | (1 << noise->order[2])) != 7)
        return hw_fail(status, HW_BAD_ARGUMENT, 8, noise->order[0]);
    const uint64_t all = ~(uint64_t)0 >> (MAX_WIDTH - noise->width);
    if (!(noise->taps >> (noise->width - 1)) || noise->taps & ~all)
        return hw_fail(status, HW_OUT_OF_RANGE, 0, (int64_t)noise->taps);
    for (int64_t lane = 0; lane < noise->lanes; lane++)
        if (noise->seeds[lane] == 0 || noise->seeds[lane] & ~all)
            return hw_fail(status, HW_OUT_OF_RANGE, lane, (int64_t)noise->seeds[lane]);
    for (int64_t k = 0; k < noise->k; k++)
        if (noise->shift[k] < -62 || noise->shift[k] > 62)
            return hw_fail(status, HW_OUT_OF_RANGE, k, noise->shift[k]);
    if (noise->output.scaling != HW_SHIFT || noise->output.clamps || noise->output.zero_point)
        return hw_fail(status, HW_BAD_ARGUMENT, 11, noise->output.scaling);
    return hw_check_output(&noise->output, status);
}

/* HW_WRAP keeps code_bits bits, so low..high must be all of their codes. */
static int code_width(hw_noise_op *op, hw_status *status)
{
    const hw_output *o = &op->noise.output;
    while (op->code_bits < 49 && ((hw_wide)1 << op->code_bits) <= (hw_wide)o->high - o->low)
        op->code_bits++;
    const hw_wide low = o->low < 0 ? -((hw_wide)1 << (op->code_bits - 1)) : 0;
    if (o->overflow == HW_WRAP && (o->low != low || (hw_wide)o->high - o->low + 1 != (hw_wide)1 << op->code_bits))
        return hw_fail(status, HW_OUT_OF_RANGE, 0, o->high);
    return HW_OK;
}

static int fill(hw_noise_op *op, const hw_noise *noise, hw_status *status)
{
    op->noise = *noise;
    op->channel = hw_alloc((size_t)noise->k * sizeof(int32_t), status);
    op->shift = hw_alloc((size_t)noise->k * sizeof(int32_t), status);
    op->seeds = hw_alloc((size_t)noise->lanes * sizeof(uint64_t), status);
    if (status->code || code_width(op, status))
        return status->code;
    memcpy(op->shift, noise->shift, (size_t)noise->k * sizeof(int32_t));
    memcpy(op->seeds, noise->seeds, (size_t)noise->lanes * sizeof(uint64_t));
    op->noise.shift = NULL; /* the caller's: nothing borrowed stays */
    op->noise.seeds = NULL;
    for (int draws = 1; draws >= 0; draws--)
        for (int64_t k = 0; k < noise->k; k++)
            if ((op->shift[k] > 0 || noise->zero_shift_draws) == draws)
                op->channel[draws ? op->drawing++ : op->drawing + op->silent++] = (int32_t)k;
    prepare_moves(op);
    return HW_OK;
}

hw_op *hw_noise_new(const hw_noise *noise, hw_status *status)
{
    *status = (hw_status){0};
    const int picked = hw_pick_isa(HW_ISA_PORTABLE, status);
    if (picked)
        check(noise, status);
    hw_noise_op *op = status->code ? NULL : hw_alloc(sizeof *op, status);
    if (!op)
        return NULL;
    op->op = (hw_op){.family = &noise_family, .isa = picked};
    if (fill(op, noise, status)) {
        hw_op_free(&op->op);
        return NULL;
    }
    return &op->op;
}
