/* A convolution at run time.
 *
 * Pixels of an output image are taken in segments: pixel p of a segment reads the input at p * pixel_stride. With stride 1
 * one segment is the whole image: the raster runs over the input's padded rows (`raster` pixels each), and the pixels
 * beyond the `valid` ones of a row are computed and not stored. Otherwise a segment is one output row; and where the
 * output is a single pixel (fully connected), the images of the batch are the pixels of the one segment.
 * A segment is cut into register blocks; the last one moves back rather than reading behind the segment's end. */
#include "conv.h"

#include <stdlib.h>

static hw_gemm_fn *gemm_function(const hw_conv_op *op, bool tiles, bool is_signed)
{
#ifdef HW_AMX
    if (op->path == PATH_BYTES && tiles)
        return is_signed ? hw_gemm_s8s8s32__amx : hw_gemm_u8s8s32__amx;
#endif
#ifdef HW_X86
    if (op->path == PATH_BYTES)
        return is_signed ? hw_gemm_s8s8s32__avx512vnni : hw_gemm_u8s8s32__avx512vnni;
    if (op->op.isa >= HW_ISA_AVX512VNNI)
        return hw_gemm_s16s16s32__avx512vnni;
    if (op->op.isa == HW_ISA_AVX2)
        return hw_gemm_s16s16s32__avx2;
#endif
    (void)op;
    (void)tiles;
    (void)is_signed;
    return hw_gemm_s16s16s32__portable;
}

/* Segments and rasters: see the head of this file. */
static void plan_segments(const hw_conv_op *op, hw_plan *plan, int64_t block_pixels)
{
    const hw_conv *v = &op->conv;
    const hw_tensor *in = &plan->input, *out = &plan->call->output;
    const int64_t bytes = hw_type_bytes(in->type);
    const int64_t row = in->stride_h * v->stride_h, pixel = in->stride_w * v->stride_w;
    plan->conv.images = in->n;
    plan->conv.pixel_stride = pixel * bytes;
    plan->conv.segment_stride = row * bytes;
    plan->conv.image_stride = in->stride_n * bytes;
    plan->conv.out_row = out->stride_h;
    plan->conv.segments = out->h;
    plan->conv.raster = plan->conv.length = plan->conv.valid = out->w;
    if (out->h == 1 && out->w == 1) {
        plan->conv.images = 1;
        plan->conv.length = in->n;
        plan->conv.pixel_stride = plan->conv.image_stride;
        plan->conv.out_row = out->stride_n;
    } else if (row % pixel == 0 && row / pixel >= out->w) {
        const int64_t length = (out->h - 1) * (row / pixel) + out->w;
        if (ceil_div(length, block_pixels) <= out->h * ceil_div(out->w, block_pixels)) {
            plan->conv.segments = 1;
            plan->conv.raster = row / pixel;
            plan->conv.length = length;
        }
    }
    plan->conv.block_pixels = block_pixels;
    plan->conv.blocks = ceil_div(plan->conv.length, block_pixels);
}

/* table: the steps' byte offsets, then the first weight block of each group (a group: blocks computed together), then the byte
 * offsets of weights beyond bytes or, where outputs are proven, of the columns' entries. */
static int plan_table(const hw_conv_op *op, hw_plan *plan, int64_t per_group, hw_status *status)
{
    const hw_conv *v = &op->conv;
    const hw_tensor *in = &plan->input;
    plan->table = hw_alloc((size_t)(op->steps + op->blocks + 1 + op->extras + op->lanes.entries) * sizeof(int64_t), status);
    if (!plan->table)
        return status->code;
    for (int64_t i = 0; i < op->steps; i++) {
        const hw_step *step = &op->step[i];
        plan->table[i] = (step->r * v->dilation_h * in->stride_h + step->s * v->dilation_w * in->stride_w +
                          step->element) * op->element;
    }
    int64_t *groups = plan->table + op->steps;
    for (int64_t b = 0; b < op->blocks; b++) {
        const int64_t *open = &groups[plan->conv.groups - 1];
        const bool apart = !op->depthwise && b > 0 && op->first_channel[b] != op->first_channel[*open];
        if (b == 0 || b - *open >= per_group || apart)
            groups[plan->conv.groups++] = b;
    }
    groups[plan->conv.groups] = op->blocks;
    for (int64_t i = 0; i < op->extras; i++) {
        const hw_extra *e = &op->extra[i];
        groups[op->blocks + 1 + i] = e->r * v->dilation_h * in->stride_h + e->s * v->dilation_w * in->stride_w + e->channel;
    }
    return op->proves ? hw_prove_plan(op, plan, status) : HW_OK;
}

/* Tasks: chunks of register blocks (about 256 KiB of input at most) x chunks of groups, some four for each thread. */
static void plan_tasks(hw_plan *plan)
{
    const int64_t total = plan->conv.images * plan->conv.segments * plan->conv.blocks;
    const int64_t wanted = plan->threads > 1 ? 4 * plan->threads : 1;
    const int64_t fits = max64(1, (256 << 10) / (plan->conv.block_pixels * plan->conv.pixel_stride));
    plan->conv.chunk = max64(1, min64(fits, total / wanted));
    plan->conv.block_chunks = ceil_div(total, plan->conv.chunk);
    const int64_t cuts = min64(plan->conv.groups, max64(1, wanted / plan->conv.block_chunks));
    plan->conv.groups_per_chunk = ceil_div(plan->conv.groups, cuts);
    plan->conv.group_chunks = ceil_div(plan->conv.groups, plan->conv.groups_per_chunk);
    plan->tasks[1] = plan->conv.block_chunks * plan->conv.group_chunks;
}

static int check_call(const hw_conv_op *op, const hw_call *call, hw_status *status)
{
    const hw_conv *v = &op->conv;
    const hw_tensor *in = &call->inputs[0], *out = &call->output;
    if (call->n_inputs != 1)
        return hw_fail(status, HW_BAD_ARGUMENT, 0, call->n_inputs);
    if (in->c != v->c || out->c != v->k || in->n != out->n)
        return hw_fail(status, HW_BAD_SHAPE, in->c != v->c ? 1 : out->c != v->k ? 2 : 0, in->c != v->c ? in->c : out->c);
    if (hw_type_low(out->type) > v->output.low || hw_type_high(out->type) < v->output.high)
        return hw_fail(status, HW_BAD_TYPE, 1, out->type);
    if (call->acc && call->acc_type != HW_S64 && !(call->acc_type == HW_S32 && v->output.acc_bits <= 32))
        return hw_fail(status, HW_BAD_TYPE, 2, call->acc_type);
    return HW_OK;
}

static int conv_bind(const hw_op *handle, hw_plan *plan, hw_status *status)
{
    const hw_conv_op *op = (const hw_conv_op *)handle;
    if (check_call(op, plan->call, status))
        return status->code;
    plan->input = plan->call->inputs[0];
    if (op->path == PATH_WALK)
        plan->scratch_bytes = hw_walk_scratch(op);
    if (op->path == PATH_ANY || op->path == PATH_WALK) {
        plan->tasks[1] = plan->call->output.n * plan->call->output.h;
        return HW_OK;
    }
    if (hw_conv_plan_staging(op, plan, status))
        return status->code;
    enum { TILE_ROWS = 16, TILE_GROUP = 2, PLAIN_PIXELS = 24 };
    bool tiles = op->path == PATH_BYTES && op->op.isa == HW_ISA_AMX && !op->depthwise;
    plan_segments(op, plan, tiles || op->depthwise ? MAX_PIXELS : PLAIN_PIXELS);
    if (tiles && plan->conv.length < TILE_ROWS) {
        tiles = false;
        plan_segments(op, plan, PLAIN_PIXELS);
    }
    plan->conv.min_pixels = tiles ? TILE_ROWS : 1;
    plan->conv.gemm = op->depthwise ? hw_depth_function(op) : gemm_function(op, tiles, op->in_signed);
    if (op->depthwise)
        hw_depth_plan(op, plan);
    plan->conv.magnitude_gemm = gemm_function(op, tiles, false);
#ifdef HW_AMX
    plan->conv.collect = tiles ? hw_tiles_collect : NULL;
#endif
    const bool offset = op->path == PATH_BYTES && op->in_signed && !tiles;
    plan->conv.folded = op->stage.foldable && op->op.isa >= HW_ISA_AVX512VNNI && !plan->call->acc && !plan->call->flags &&
                        hw_type_bytes(plan->call->output.type) == 1;
    plan->conv.start = op->start[offset][plan->conv.folded && !op->proves];
    if (plan_table(op, plan, tiles ? TILE_GROUP : MAX_BLOCKS, status))
        return status->code;
    plan_tasks(plan);
    return HW_OK;
}

/* w = 256 * high + low: sum both halves over few enough steps that neither leaves int32 (240 dwords of two products, each
 * at most 2^22: under 2^31), and join them in int64. */
static void split_sums(const hw_conv_op *op, const hw_gemm *whole, hw_worker *worker, int64_t first_block)
{
    enum { STEPS = 15 };
    hw_gemm_fn *function = gemm_function(op, false, op->in_signed);
    for (int64_t b = 0; b < whole->blocks; b++)
        for (int64_t i = 0; i < whole->pixels * LANES; i++)
            worker->wide_sums[b * whole->plane + i] = op->wide_start[(first_block + b) * LANES + i % LANES];
    for (int64_t at = 0; at < whole->steps; at += STEPS) {
        hw_gemm part = *whole;
        part.start = op->start[0][0];
        part.offsets += at;
        part.step += at;
        part.weights += at * BLOCK_BYTES;
        part.steps = min64(STEPS, whole->steps - at);
        function(&part);
        if (op->packed_high) {
            part.weights = op->packed_high + (part.weights - op->packed);
            part.acc = worker->high_sums;
            function(&part);
        }
        for (int64_t b = 0; b < whole->blocks; b++)
            for (int64_t i = b * whole->plane; i < b * whole->plane + whole->pixels * LANES; i++)
                worker->wide_sums[i] += worker->sums[i] + (op->packed_high ? 256 * (int64_t)worker->high_sums[i] : 0);
    }
}

/* One register block: pixels first..last-1 of a segment, computed from pixel `start` on. */
typedef struct hw_block {
    int64_t image, segment, start, first, last;
    int64_t weight_block, weight_blocks;
    const int32_t *sums;
} hw_block;

static void place_block(const hw_plan *plan, int64_t index, hw_block *block)
{
    const int64_t segment = index / plan->conv.blocks;
    block->image = segment / plan->conv.segments;
    block->segment = segment % plan->conv.segments;
    block->first = (index - segment * plan->conv.blocks) * plan->conv.block_pixels;
    block->last = min64(block->first + plan->conv.block_pixels, plan->conv.length);
    block->start = min64(block->first, max64(0, block->last - plan->conv.min_pixels));
}

static void aim_at(const hw_plan *plan, hw_gemm *gemm, const hw_block *block)
{
    const hw_conv_op *op = (const hw_conv_op *)plan->op;
    gemm->in = hw_pixel(&plan->input, 0, -op->conv.pad_h, -op->conv.pad_w) + block->image * plan->conv.image_stride +
               block->segment * plan->conv.segment_stride + block->start * plan->conv.pixel_stride +
               op->first_channel[block->weight_block] * op->element;
    gemm->pixels = block->last - block->start;
}

static void compute_block(const hw_plan *plan, hw_gemm *gemm, hw_worker *worker, const hw_block *block)
{
    const hw_conv_op *op = (const hw_conv_op *)plan->op;
    aim_at(plan, gemm, block);
    if (op->path == PATH_SPLIT_HALVES)
        split_sums(op, gemm, worker, block->weight_block);
    else
        plan->conv.gemm(gemm);
}

/* What the packed weights lack, where they are bytes and a weight is not. */
static void add_extras(const hw_plan *plan, const hw_gemm *gemm, int64_t weight_block)
{
    const hw_conv_op *op = (const hw_conv_op *)plan->op;
    const int64_t *offsets = plan->table + op->steps + op->blocks + 1;
    const uint8_t *pixel = gemm->in - op->first_channel[weight_block];
    for (int64_t i = op->extra_first[weight_block]; i < op->extra_first[weight_block + gemm->blocks]; i++) {
        const hw_extra *e = &op->extra[i];
        int32_t *acc = gemm->acc + (e->k / LANES - weight_block) * gemm->plane + e->k % LANES;
        const uint8_t *from = pixel + offsets[i];
        for (int64_t p = 0; p < gemm->pixels; p++, from += gemm->pixel_stride, acc += LANES)
            *acc += e->weight * (op->in_signed ? *(const int8_t *)from : *from);
    }
}

static void store_row(const hw_plan *plan, hw_row *row, int64_t image, int64_t y, int64_t x, int64_t events[HW_COUNTERS])
{
    const hw_conv_op *op = (const hw_conv_op *)plan->op;
    const hw_tensor *out = &plan->call->output;
    const int64_t to = image * out->stride_n + y * plan->conv.out_row + x * out->stride_w + row->first_channel;
    row->out = (uint8_t *)out->data + to * hw_type_bytes(out->type);
    if (plan->call->acc) {
        const int64_t tap = ((image * out->h + y) * out->w + x) * out->c + row->first_channel;
        row->acc = (uint8_t *)plan->call->acc + tap * hw_type_bytes(row->acc_type);
    }
    if (plan->call->flags) {
        row->flags = plan->call->flags + ((image * out->h + y) * out->w + x) * out->c + row->first_channel;
        hw_row__exact(&op->stage, row, events);
    } else {
        hw_row_function(&op->stage, op->op.isa)(&op->stage, row, events);
    }
    if (op->order && op->order->settled)
        events[HW_BY_BOUNDS] += row->pixels * min64(out->c - row->first_channel, row->blocks * LANES);
}

#ifdef HW_X86
/* Where the valid pixels of a block belong. */
static void place_pixels(const hw_plan *plan, const hw_block *block, hw_places *places)
{
    const hw_tensor *out = &plan->call->output;
    const int64_t step = out->stride_w;
    int64_t y = block->segment + block->first / plan->conv.raster, x = block->first % plan->conv.raster, count = 0;
    for (int64_t first = block->first; first < block->last; first += plan->conv.raster - x, x = 0, y++) {
        const int64_t pixels = min64(plan->conv.valid - x, block->last - first), at = (first - block->start) * LANES;
        const int64_t to = block->image * out->stride_n + y * plan->conv.out_row + x * step;
        for (int64_t i = 0; i < pixels; i++) {
            places->sums[count + i] = at + i * LANES;
            places->out[count + i] = to + i * step;
        }
        count += max64(pixels, 0);
    }
    places->count = count;
}

static void store_folded(const hw_plan *plan, const hw_block *block, int64_t events[HW_COUNTERS])
{
    const hw_conv_op *op = (const hw_conv_op *)plan->op;
    const int64_t k = block->weight_block * LANES;
    const hw_row row = {.plane = MAX_PIXELS * LANES, .first_channel = k, .blocks = block->weight_blocks, .sums = block->sums,
                        .out = (uint8_t *)plan->call->output.data + k};
    hw_places places;
    place_pixels(plan, block, &places);
    hw_folded_bytes__avx512vnni(&op->stage, &row, &places, &events[HW_AT_OUTPUT]);
    if (op->order && op->order->settled)
        events[HW_BY_BOUNDS] += places.count * min64(op->conv.k - k, row.blocks * LANES);
}
#endif

/* Hand the valid pixels of a block to the last stage, row by row. */
static void store_block(const hw_plan *plan, const hw_block *block, const hw_worker *worker, int64_t events[HW_COUNTERS])
{
    const hw_tensor *out = &plan->call->output;
    const hw_conv_op *op = (const hw_conv_op *)plan->op;
#ifdef HW_X86
    if (plan->conv.folded) {
        store_folded(plan, block, events);
        return;
    }
#endif
    const bool wide = op->path == PATH_SPLIT_HALVES || (op->proves && op->order->bits > 32);
    hw_row row = {.plane = MAX_PIXELS * LANES, .first_channel = block->weight_block * LANES,
                  .blocks = block->weight_blocks, .out_type = out->type, .out_stride = out->stride_w,
                  .acc_type = plan->call->acc_type, .acc_stride = out->c};
    int64_t y = block->segment + block->first / plan->conv.raster, x = block->first % plan->conv.raster;
    for (int64_t first = block->first; first < block->last; first += plan->conv.raster - x, x = 0, y++) {
        row.pixels = min64(plan->conv.valid - x, block->last - first);
        const int64_t at = (first - block->start) * LANES;
        row.sums = wide ? NULL : block->sums + at;
        row.wide_sums = worker->wide_sums + at;
        if (row.pixels > 0)
            store_row(plan, &row, block->image, y, x, events);
    }
}

/* One block whose sums are proven, or its outputs walked, before they go through the last stage. */
static void run_proven(const hw_plan *plan, hw_gemm *gemm, int64_t weight_block, int64_t index, hw_worker *worker,
                       int64_t events[HW_COUNTERS])
{
    hw_block block = {.weight_block = weight_block, .weight_blocks = gemm->blocks, .sums = gemm->acc};
    place_block(plan, index, &block);
    aim_at(plan, gemm, &block);
    hw_proof_block proof = {.gemm = gemm, .index = index, .image = block.image, .segment = block.segment, .start = block.start,
                            .first = block.first, .last = block.last, .weight_block = weight_block};
    hw_prove_block(plan, &proof, worker, events);
    store_block(plan, &block, worker, events);
}

/* Blocks from..to-1 of the pixels with the weight blocks of one gemm. With tiles the sums of a block stay in the tiles while
 * the block before it goes through the last stage, so that both units have work. */
static void run_blocks(const hw_plan *plan, hw_gemm *gemm, int64_t weight_block, int64_t from, int64_t to,
                       hw_worker *worker, int64_t events[HW_COUNTERS])
{
    hw_block blocks[2], *block = &blocks[0], *before = NULL;
    for (int64_t index = from; index < to; index++) {
        place_block(plan, index, block);
        block->weight_block = weight_block;
        block->weight_blocks = gemm->blocks;
        compute_block(plan, gemm, worker, block);
        if (before)
            store_block(plan, before, worker, events);
        if (plan->conv.collect) {
            gemm->acc = block == &blocks[0] ? worker->sums : worker->high_sums;
            plan->conv.collect(gemm);
            add_extras(plan, gemm, weight_block);
            block->sums = gemm->acc;
            before = block;
            block = block == &blocks[0] ? &blocks[1] : &blocks[0];
        } else {
            add_extras(plan, gemm, weight_block);
            block->sums = gemm->acc;
            store_block(plan, block, worker, events);
        }
    }
    if (before)
        store_block(plan, before, worker, events);
}

static void run_chunk(const hw_plan *plan, int64_t task, hw_worker *worker, int64_t events[HW_COUNTERS])
{
    const hw_conv_op *op = (const hw_conv_op *)plan->op;
    const int64_t total = plan->conv.images * plan->conv.segments * plan->conv.blocks;
    const int64_t from = task % plan->conv.block_chunks * plan->conv.chunk;
    const int64_t to = min64(total, from + plan->conv.chunk);
    const int64_t first_group = task / plan->conv.block_chunks * plan->conv.groups_per_chunk;
    const int64_t last_group = min64(plan->conv.groups, first_group + plan->conv.groups_per_chunk);
    const int64_t *groups = plan->table + op->steps;
    hw_gemm gemm = {.pixel_stride = plan->conv.pixel_stride, .offsets = plan->table, .step = op->step,
                    .steps = op->steps, .weight_stride = op->block_bytes, .acc = worker->sums,
                    .plane = MAX_PIXELS * LANES, .depth = &plan->conv.depth};
    const int64_t together = op->proves ? 1 : to - from; /* groups share what was read of a block to be walked */
    if (op->proves)
        hw_prove_begin(plan, worker);
    for (int64_t at = from; at < to; at += together) {
        for (int64_t g = first_group; g < last_group; g++) {
            gemm.weights = op->packed + groups[g] * gemm.weight_stride;
            gemm.blocks = groups[g + 1] - groups[g];
            gemm.start = plan->conv.start + groups[g] * LANES;
            if (op->proves)
                run_proven(plan, &gemm, groups[g], at, worker, events);
            else
                run_blocks(plan, &gemm, groups[g], at, at + together, worker, events);
        }
    }
}

static void conv_task(const hw_plan *plan, int phase, int64_t task, hw_worker *worker, int64_t events[HW_COUNTERS])
{
    const hw_conv_op *op = (const hw_conv_op *)plan->op;
    if (phase == 0) {
        hw_conv_stage_row(plan, task);
        return;
    }
    if (op->path == PATH_WALK) {
        hw_conv_walk_row(plan, task / plan->call->output.h, task % plan->call->output.h, worker, events);
        return;
    }
    if (op->path == PATH_ANY) {
        hw_conv_any_row(plan, task / plan->call->output.h, task % plan->call->output.h, worker, events);
        return;
    }
#ifdef HW_AMX
    if (plan->conv.min_pixels > 1 && !worker->tiles_on) {
        hw_tiles_on();
        worker->tiles_on = true;
    }
#endif
    run_chunk(plan, task, worker, events);
}

static void conv_free(hw_op *handle)
{
    hw_conv_op *op = (hw_conv_op *)handle;
    hw_stage_free(&op->stage);
    free(op->step);
    free(op->first_channel);
    free(op->packed);
    free(op->extra);
    free(op->extra_first);
    free(op->packed_high);
    for (int i = 0; i < 4; i++)
        free(op->start[i / 2][i % 2]);
    free(op->wide_start);
    free(op->weights);
    if (op->order)
        hw_order_free(op->order);
    hw_prove_free(op);
    hw_rounded_free(op);
    free(op->packed_magnitudes);
    free(op->order);
    free((void *)op->shift_add.negative);
    free((void *)op->shift_add.nonzero);
    free((void *)op->shift_add.exponent);
    free(op);
}

const hw_family hw_conv_family = {conv_bind, conv_task, conv_free};
