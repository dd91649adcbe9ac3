/* Weights into blocks: [16 output channels][step of 64 input bytes] -> 16 rows of 16 channels x 4 bytes.
 *
 * A step reads 64 consecutive bytes of the input. Where the taps of a kernel row lie side by side in memory (no dilation,
 * one group, channel pitch = c) and that saves steps, a step runs over them. Groups: a block reads the channels of all
 * groups that its 16 outputs belong to, with zero weights off the diagonal. */
#include "conv.h"

#include <stdlib.h>

/* Channels per block and where they start. */
static void place_blocks(hw_conv_op *op)
{
    const hw_conv *v = &op->conv;
    const int64_t c_group = v->c / v->groups, k_group = v->k / v->groups;
    for (int64_t b = 0; b < op->blocks; b++) {
        const int64_t first = b * LANES / k_group, last = (min64(b * LANES + LANES, v->k) - 1) / k_group;
        op->span = max64(op->span, (last - first + 1) * c_group);
        op->first_channel[b] = first * c_group;
    }
    for (int64_t b = 0; b < op->blocks; b++)
        op->first_channel[b] = min64(op->first_channel[b], v->c - op->span);
}

/* All taps of a window of channels, then of the next one. */
static void place_windows(hw_conv_op *op)
{
    const hw_conv *v = &op->conv;
    hw_step *step = op->step;
    for (int64_t at = 0; at < v->c; at += op->window)
        for (int64_t r = 0; r < v->r; r++)
            for (int64_t s = 0; s < v->s; s++) {
                const int64_t count = min64(op->window, v->c - at);
                *step++ = (hw_step){(int32_t)r, (int32_t)s, (int32_t)at, (int32_t)count,
                                    (int32_t)ceil_div(count, 4 / op->element)};
            }
}

static void place_steps(hw_conv_op *op)
{
    const hw_conv *v = &op->conv;
    if (op->window) {
        place_windows(op);
        return;
    }
    const int64_t per_step = STEP_BYTES / op->element, per_dword = 4 / op->element;
    const int64_t taps = op->merged ? 1 : v->s, run = op->merged ? v->s * v->c : op->span;
    int64_t i = 0;
    for (int64_t r = 0; r < v->r; r++)
        for (int64_t s = 0; s < taps; s++)
            for (int64_t at = 0; at < run; at += per_step)
                op->step[i++] = (hw_step){(int32_t)r, (int32_t)s, (int32_t)at, (int32_t)min64(per_step, run - at),
                                          (int32_t)ceil_div(min64(per_step, run - at), per_dword)};
}

/* The weight that output channel k gives to element `at` of a step; 0 beyond the kernel. */
static int32_t weight_at(const hw_conv_op *op, const int32_t *weights, int64_t k, const hw_step *step, int64_t at)
{
    const hw_conv *v = &op->conv;
    const int64_t c_group = v->c / v->groups, k_group = v->k / v->groups;
    const int64_t element = step->element + at;
    const int64_t s = op->merged ? element / v->c : step->s;
    const int64_t channel = op->merged ? element % v->c : element + op->first_channel[k / LANES];
    const int64_t c = channel - k / k_group * c_group;
    if (at >= step->count || s >= v->s || c < 0 || c >= c_group)
        return 0;
    return weights[((k * c_group + c) * v->r + step->r) * v->s + s];
}

/* |w|, or one less where the type has no such magnitude: conv_prove.c allows for it. */
static int32_t magnitude(int32_t w, int64_t element)
{
    const int32_t most = element == 1 ? INT8_MAX : INT16_MAX, positive = w < 0 ? -w : w;
    return positive > most ? most : positive;
}

/* What the path of bytes can hold of a weight. */
static int32_t packed_weight(const hw_conv_op *op, int32_t w)
{
    return op->path != PATH_BYTES ? w : w < INT8_MIN ? INT8_MIN : w > INT8_MAX ? INT8_MAX : w;
}

static void pack_block_step(hw_conv_op *op, const int32_t *weights, int64_t block, int64_t step)
{
    const int64_t per_dword = 4 / op->element;
    const size_t at = (size_t)(block * op->steps + step) * BLOCK_BYTES;
    for (int64_t lane = 0; lane < min64(LANES, op->conv.k - block * LANES); lane++) {
        for (int64_t i = 0; i < STEP_DWORDS * per_dword; i++) {
            const int32_t w = weight_at(op, weights, block * LANES + lane, &op->step[step], i);
            const int64_t paired = (i / per_dword * LANES + lane) * per_dword + i % per_dword;
            const int64_t cell = op->op.isa == HW_ISA_PORTABLE ? i * LANES + lane : paired;
            const int32_t low = op->path == PATH_SPLIT_HALVES ? (int8_t)w : w;
            if (op->element == 1)
                ((int8_t *)op->packed + at)[cell] = (int8_t)packed_weight(op, w);
            else
                ((int16_t *)(void *)(op->packed + at))[cell] = (int16_t)low;
            if (op->packed_magnitudes && op->element == 1)
                ((int8_t *)op->packed_magnitudes + at)[cell] = (int8_t)magnitude(w, 1);
            else if (op->packed_magnitudes)
                ((int16_t *)(void *)(op->packed_magnitudes + at))[cell] = (int16_t)magnitude(w, 2);
            if (op->packed_high)
                ((int16_t *)(void *)(op->packed_high + at))[cell] = (int16_t)((w - low) / 256);
        }
    }
}

/* What the sums start from: what the zero point and an offset of the staged codes take from them; with the stage's bias or
 * not. Where x - zero is staged there is nothing to take. */
static void set_starts(hw_conv_op *op, const int32_t *weights)
{
    const int64_t per_channel = op->conv.c / op->conv.groups * op->conv.r * op->conv.s;
    const int64_t shown = op->staged_offset - op->zero; /* the products read x - zero - shown */
    for (int64_t k = 0; k < op->conv.k; k++) {
        int64_t sum = 0, packed = 0;
        for (int64_t i = 0; i < per_channel; i++) {
            sum += weights[k * per_channel + i];
            packed += packed_weight(op, weights[k * per_channel + i]);
        }
        op->wide_start[k] = shown * sum;
        const uint32_t start = op->path == PATH_SPLIT_HALVES ? 0 : (uint32_t)op->wide_start[k], read = (uint32_t)(-128 * packed);
        const uint32_t folded = (uint32_t)op->stage.bias32[k] + (uint32_t)op->stage.folded_add[k];
        op->start[0][0][k] = (int32_t)start;
        op->start[0][1][k] = (int32_t)(start + folded);
        op->start[1][0][k] = (int32_t)(start + read);
        op->start[1][1][k] = (int32_t)(start + read + folded);
    }
}

/* As start[1][0] of bytes, for the weights of one segment. */
static void set_segment_starts(hw_conv_op *op, const int32_t *weights)
{
    for (int64_t j = 0; j < op->segments; j++)
        for (int64_t k = 0; k < op->conv.k; k++) {
            int64_t sum = 0;
            for (int64_t at = op->cut[j]; at < op->cut[j + 1]; at++)
                for (int64_t i = 0; i < op->step[at].count; i++)
                    sum += weight_at(op, weights, k, &op->step[at], i);
            op->segment_start[j * op->blocks * LANES + k] = (int32_t)(-128 * sum);
        }
}

static bool beyond_bytes(const hw_conv_op *op, const int32_t *weights)
{
    const int64_t count = op->conv.k * (op->conv.c / op->conv.groups) * op->conv.r * op->conv.s;
    for (int64_t i = 0; i < count; i++)
        if (weights[i] < INT8_MIN || weights[i] > INT8_MAX)
            return true;
    return false;
}

/* The steps: see the head of this file. window: see hw_conv_op. */
static int lay_out(hw_conv_op *op, int64_t window, hw_status *status)
{
    const hw_conv *v = &op->conv;
    const int64_t apart = v->s * ceil_div(op->span * op->element, STEP_BYTES);
    const int64_t together = ceil_div(v->s * v->c * op->element, STEP_BYTES);
    op->window = window;
    op->merged = !window && v->groups == 1 && v->dilation_w == 1 && together < apart;
    op->steps = v->r * (window ? v->s * ceil_div(v->c, window) : op->merged ? together : apart);
    free(op->step);
    op->step = hw_alloc((size_t)op->steps * sizeof(hw_step), status);
    if (op->step)
        place_steps(op);
    return status->code;
}

/* first, last: of the places in the declared order that each packed step's taps have. place: of each tap. */
static void find_places(const hw_conv_op *op, const int64_t *place, int64_t *first, int64_t *last)
{
    const hw_conv *v = &op->conv;
    for (int64_t i = 0; i < op->steps; i++) {
        const hw_step *step = &op->step[i];
        first[i] = INT64_MAX;
        last[i] = -1;
        for (int64_t at = step->element; at < step->element + step->count; at++) {
            const int64_t c = op->merged ? at % v->c : at, s = op->merged ? at / v->c : step->s;
            const int64_t here = place[(c * v->r + step->r) * v->s + s];
            first[i] = min64(first[i], here);
            last[i] = max64(last[i], here);
        }
    }
}

/* A cut may lie between two packed steps where all taps before it come before all taps behind it in the declared order, too,
 * and no step of that order lies on both sides. Taken are those that leave SEGMENT_TAPS taps or more before them. */
static void find_cuts(hw_conv_op *op, const int64_t *place, int64_t *first, int64_t *last)
{
    enum { SEGMENT_TAPS = 16 };
    find_places(op, place, first, last);
    for (int64_t i = op->steps - 1; i > 0; i--)
        first[i - 1] = min64(first[i - 1], first[i]);
    int64_t taps = 0, latest = -1;
    op->segments = 0;
    for (int64_t i = 0; i < op->steps; i++) {
        if (taps >= SEGMENT_TAPS && latest < first[i]) {
            op->cut[++op->segments] = i;
            taps = 0;
        }
        taps += op->step[i].count;
        latest = max64(latest, last[i]);
    }
    op->cut[++op->segments] = op->steps;
}

/* Cut the declared order where that is possible. Where all taps of a channel come before the next channel's, packed steps do
 * not follow it: then windows of channels, most of whose bytes have no weights. They cost time, and save much more. */
static int cut_order(hw_conv_op *op, hw_status *status)
{
    enum { WINDOW = 16 };
    const hw_conv *v = &op->conv;
    const hw_walk *w = &op->order->walk;
    const int64_t most = v->r * v->s * (ceil_div(v->c, WINDOW) + 1) + op->steps;
    int64_t *place = hw_alloc((size_t)(op->taps + 2 * most) * sizeof(int64_t), status);
    op->cut = hw_alloc((size_t)(most + 1) * sizeof(int64_t), status);
    op->segments = 1;
    if (status->code || !op->separable) {
        if (op->cut)
            op->cut[1] = op->steps;
        free(place);
        return status->code;
    }
    int64_t *first = place + op->taps, *last = first + most;
    for (int64_t i = 0; i < w->steps * w->lanes; i++)
        if (w->taps[i] >= 0)
            place[w->taps[i]] = i / w->lanes;
    find_cuts(op, place, first, last);
    if (op->segments == 1 && v->r * v->s > 1 && v->c > WINDOW && lay_out(op, WINDOW, status) == HW_OK) {
        find_cuts(op, place, first, last);
        if (op->segments == 1 && lay_out(op, 0, status) == HW_OK)
            op->cut[1] = op->steps;
    }
    free(place);
    return status->code;
}

/* The weights that bytes do not hold, in the order of the output channels. */
static int list_extras(hw_conv_op *op, const int32_t *weights, hw_status *status)
{
    const hw_conv *v = &op->conv;
    const int64_t c_group = v->c / v->groups;
    op->extra_first = hw_alloc((size_t)(op->blocks + 1) * sizeof(int64_t), status);
    op->extra = hw_alloc((size_t)op->extras * sizeof(hw_extra), status);
    if (status->code)
        return status->code;
    int64_t count = 0;
    for (int64_t i = 0; op->extras && i < v->k * op->taps; i++) {
        const int32_t rest = weights[i] - packed_weight(op, weights[i]);
        const int64_t k = i / op->taps, tap = i % op->taps, first = k / (v->k / v->groups) * c_group;
        if (rest == 0)
            continue;
        op->extra[count++] = (hw_extra){.k = k, .r = tap / v->s % v->r, .s = tap % v->s, .weight = rest,
                                        .channel = op->repeat > 1 ? k : first + tap / (v->r * v->s)};
        op->extra_first[k / LANES + 1] = count;
    }
    for (int64_t b = 1; b <= op->blocks; b++)
        op->extra_first[b] = max64(op->extra_first[b], op->extra_first[b - 1]);
    return HW_OK;
}

static int allocate_starts(hw_conv_op *op, hw_status *status)
{
    const size_t lanes = (size_t)op->blocks * LANES;
    for (int i = 0; i < 4; i++)
        op->start[i / 2][i % 2] = hw_alloc(lanes * sizeof(int32_t), status);
    op->wide_start = hw_alloc(lanes * sizeof(int64_t), status);
    return status->code;
}

int hw_conv_pack(hw_conv_op *op, const int32_t *weights, hw_status *status)
{
    const hw_conv *v = &op->conv;
    op->blocks = ceil_div(v->k, LANES);
    op->first_channel = hw_alloc((size_t)op->blocks * sizeof(int64_t), status);
    if (!op->first_channel)
        return status->code;
    if (allocate_starts(op, status) || list_extras(op, weights, status))
        return status->code;
    set_starts(op, weights);
    if (op->depthwise)
        return hw_depth_pack(op, weights, status);
    place_blocks(op);
    if (lay_out(op, 0, status) || (op->proves && cut_order(op, status)))
        return status->code;
    const size_t lanes = (size_t)op->blocks * LANES, bytes = (size_t)(op->blocks * op->steps) * BLOCK_BYTES;
    op->segment_start = hw_alloc((size_t)op->segments * lanes * sizeof(int32_t), status);
    op->packed = hw_alloc(bytes, status);
    op->block_bytes = op->steps * BLOCK_BYTES;
    if (op->path == PATH_SPLIT_HALVES && beyond_bytes(op, weights))
        op->packed_high = hw_alloc(bytes, status);
    if (op->proves)
        op->packed_magnitudes = hw_alloc(bytes, status);
    if (status->code)
        return status->code;
    set_segment_starts(op, weights);
    for (int64_t block = 0; block < op->blocks; block++)
        for (int64_t step = 0; step < op->steps; step++)
            pack_block_step(op, weights, block, step);
    return HW_OK;
}
