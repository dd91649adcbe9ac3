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

static void place_steps(hw_conv_op *op)
{
    const hw_conv *v = &op->conv;
    const int64_t per_step = STEP_BYTES / op->element, per_dword = 4 / op->element;
    const int64_t taps = op->merged ? 1 : v->s, run = op->merged ? v->s * v->c : op->span;
    int64_t i = 0;
    for (int64_t r = 0; r < v->r; r++)
        for (int64_t s = 0; s < taps; s++)
            for (int64_t at = 0; at < run; at += per_step)
                op->step[i++] = (hw_step){(int32_t)r, (int32_t)s, (int32_t)at,
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
    if (s >= v->s || c < 0 || c >= c_group || (!op->merged && element >= op->span))
        return 0;
    return weights[((k * c_group + c) * v->r + step->r) * v->s + s];
}

/* |w|, or one less where the type has no such magnitude: conv_prove.c allows for it. */
static int32_t magnitude(int32_t w, int64_t element)
{
    const int32_t most = element == 1 ? INT8_MAX : INT16_MAX, positive = w < 0 ? -w : w;
    return positive > most ? most : positive;
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
                ((int8_t *)op->packed + at)[cell] = (int8_t)w;
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

/* What the sums start from: 0, or -offset * sum(w) when the input is read with an offset; with the stage's bias or not. */
static void set_starts(hw_conv_op *op, const int32_t *weights)
{
    const int64_t per_channel = op->conv.c / op->conv.groups * op->conv.r * op->conv.s;
    for (int64_t k = 0; k < op->conv.k; k++) {
        int64_t sum = 0;
        for (int64_t i = 0; i < per_channel; i++)
            sum += weights[k * per_channel + i];
        op->wide_start[k] = op->offset_input ? 32768 * sum : 0;
        const uint32_t offset = (uint32_t)(op->path == PATH_BYTES ? -128 * sum : op->wide_start[k]);
        const uint32_t folded = (uint32_t)op->stage.bias32[k] + (uint32_t)op->stage.add[k];
        op->start[0][1][k] = (int32_t)folded;
        op->start[1][0][k] = (int32_t)offset;
        op->start[1][1][k] = (int32_t)(offset + folded);
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

int hw_conv_pack(hw_conv_op *op, const int32_t *weights, hw_status *status)
{
    const hw_conv *v = &op->conv;
    op->blocks = ceil_div(v->k, LANES);
    op->first_channel = hw_alloc((size_t)op->blocks * sizeof(int64_t), status);
    if (!op->first_channel)
        return status->code;
    place_blocks(op);
    const int64_t apart = v->s * ceil_div(op->span * op->element, STEP_BYTES);
    const int64_t together = ceil_div(v->s * v->c * op->element, STEP_BYTES);
    op->merged = v->groups == 1 && v->dilation_w == 1 && together < apart;
    op->steps = v->r * (op->merged ? together : apart);
    const size_t lanes = (size_t)op->blocks * LANES, bytes = (size_t)(op->blocks * op->steps) * BLOCK_BYTES;
    op->step = hw_alloc((size_t)op->steps * sizeof(hw_step), status);
    op->packed = hw_alloc(bytes, status);
    for (int i = 0; i < 4; i++)
        op->start[i / 2][i % 2] = hw_alloc(lanes * sizeof(int32_t), status);
    op->wide_start = hw_alloc(lanes * sizeof(int64_t), status);
    if (op->path == PATH_SPLIT_HALVES && beyond_bytes(op, weights))
        op->packed_high = hw_alloc(bytes, status);
    if (op->proves)
        op->packed_magnitudes = hw_alloc(bytes, status);
    if (status->code)
        return status->code;
    place_steps(op);
    set_starts(op, weights);
    for (int64_t block = 0; block < op->blocks; block++)
        for (int64_t step = 0; step < op->steps; step++)
            pack_block_step(op, weights, block, step);
    return HW_OK;
}
