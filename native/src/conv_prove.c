/* Declared orders at full speed: the exact sum by the fast product sums, the proof of each output by one more product sum,
 * of magnitudes, and a walk of what is left, by lanes of channels or one by one.
 *
 * The proof. Let the order be cut into segments, consecutive ones: S_j is the exact sum of segment j, P_j that of its positive
 * products and N_j of its negative ones, C_j = S_0 + .. + S_(j-1), and b the bias if it comes first, else 0. As long as nothing
 * has overflowed, the accumulator holds b + C_j + (the sum of some products of segment j) after each step of segment j, and that
 * lies in [b + C_j + N_j, b + C_j + P_j]. So by induction over the steps nothing overflows at all if these intervals lie in the
 * accumulator's range, and the exact sum is the answer. A bias that comes last is one step more: then the intervals must lie in
 * the range with it and without it. Taps that are left out are products of 0. This says nothing of partial sums that do not
 * start at the first product: of what is spilled, and of the nodes of a tree. Segments are used where none is spilled and no
 * tree can overflow whatever the image; elsewhere there is one segment, and its interval holds every sum of some of {products,
 * b}. With C_j + N_j = (C_j + C_(j+1) - A_j) / 2 and A_j the sum of magnitudes, two sums tell.
 *
 * The stage behind gets accumulators that are in range, with the bias in them: see init_walked_stage in conv_new.c. */
#include "conv.h"
#include "scalar.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_COLUMNS = MAX_PIXELS, MAX_COLUMN_BYTES = 8 << 20 };

/* A worker's columns: which pixel of the block that is at work a slot holds, -1 for none. */
typedef struct hw_columns {
    int64_t block;
    bool rows;               /* the codes of its pixels lie behind the columns, too: [entries][ACROSS_PIXELS] */
    int64_t pixel[MAX_COLUMNS];
} hw_columns;

static int64_t column_slots(const hw_lanes *l)
{
    return max64(WALK_PIXELS, min64(MAX_COLUMNS, MAX_COLUMN_BYTES / (l->entries * (int64_t)sizeof(int32_t))));
}

static int64_t scratch_bytes(const hw_conv_op *op)
{
    const int64_t columns = op->lanes.width ? column_slots(&op->lanes) * op->lanes.entries * (int64_t)sizeof(int32_t) : 0;
    const int64_t rows = op->lanes.across ? op->lanes.entries * ACROSS_PIXELS * (int64_t)sizeof(int16_t) : 0;
    return max64((int64_t)sizeof(hw_columns) + columns + rows, hw_walk_scratch(op));
}

void hw_prove_begin(const hw_plan *plan, hw_worker *worker)
{
    if (((const hw_conv_op *)plan->op)->lanes.width)
        ((hw_columns *)worker->scratch)->block = -1;
}

const hw_walk_set *hw_walk_set_of(const hw_conv_op *op)
{
#ifdef HW_X86
    if (op->op.isa >= HW_ISA_AVX512VNNI)
        return &hw_walk_set__avx512vnni;
    if (op->op.isa == HW_ISA_AVX2)
        return &hw_walk_set__avx2;
#endif
    (void)op;
    return &hw_walk_set__portable;
}

static int32_t *offsets_of(const hw_plan *plan)
{
    const hw_conv_op *op = (const hw_conv_op *)plan->op;
    return (int32_t *)(plan->table + op->steps + op->blocks + 1);
}

/* The bytes from a pixel to each entry of its column. */
int hw_prove_plan(const hw_conv_op *op, hw_plan *plan, hw_status *status)
{
    const hw_conv *v = &op->conv;
    const hw_tensor *in = &plan->input;
    int32_t *offsets = offsets_of(plan);
    plan->scratch_bytes = scratch_bytes(op);
    for (int64_t i = 0; i < 2 * op->lanes.entries; i++) {
        const int64_t tap = max64(op->lanes.taps[i], 0), c = tap / (v->r * v->s), r = tap / v->s % v->r, s = tap % v->s;
        const int64_t bytes = (r * v->dilation_h * in->stride_h + s * v->dilation_w * in->stride_w + c) * op->element;
        if (bytes > INT32_MAX)
            return hw_fail(status, HW_BAD_SHAPE, 3, bytes);
        offsets[i] = (int32_t)bytes;
    }
    return HW_OK;
}

static hw_sixteen sixteen_at(const hw_plan *plan, const hw_proof_block *b, hw_worker *worker, int64_t block, int64_t pixel)
{
    const hw_conv_op *op = (const hw_conv_op *)plan->op;
    const int64_t at = block * b->gemm->plane + pixel * LANES, k = (b->weight_block + block) * LANES;
    return (hw_sixteen){.order = op->order, .proof = &op->proof, .k = k, .add = plan->conv.folded ? op->stage.folded_add + k : NULL,
                        .sums = b->gemm->acc + at, .wide = worker->wide_sums + at, .magnitudes = worker->high_sums + at};
}

/* The column of a pixel of the block that is at work, read once as long as its slot is not taken. */
static const int32_t *column_of(const hw_plan *plan, const hw_proof_block *b, int64_t pixel, hw_worker *worker)
{
    const hw_conv_op *op = (const hw_conv_op *)plan->op;
    const hw_lanes *l = &op->lanes;
    hw_columns *columns = worker->scratch;
    const int64_t slot = pixel % column_slots(l);
    int32_t *column = (int32_t *)(columns + 1) + slot * l->entries;
    if (columns->pixel[slot] != pixel) {
        columns->pixel[slot] = pixel;
        hw_walk_set_of(op)->column(l, b->gemm->in + pixel * b->gemm->pixel_stride, offsets_of(plan), plan->input.type, column);
    }
    return column;
}

static void put(const hw_plan *plan, hw_worker *worker, const hw_proof_block *b, int64_t at, int64_t k, int64_t acc)
{
    const hw_conv_op *op = (const hw_conv_op *)plan->op;
    if (op->order->bits > 32)
        worker->wide_sums[at] = acc;
    else
        b->gemm->acc[at] = (int32_t)acc + (plan->conv.folded ? op->stage.folded_add[k] : 0);
}

static uint8_t *flag_at(const hw_plan *plan, const hw_proof_block *b, int64_t pixel, int64_t k)
{
    const hw_tensor *out = &plan->call->output;
    const int64_t at = b->start + pixel;
    const int64_t y = b->segment + at / plan->conv.raster, x = at % plan->conv.raster;
    return plan->call->flags ? plan->call->flags + ((b->image * out->h + y) * out->w + x) * out->c + k : NULL;
}

/* Take over the accumulators of one pixel in 16 channels that were walked. */
static void take_lanes(const hw_plan *plan, const hw_proof_block *b, hw_worker *worker, int64_t block, int64_t pixel,
                       const int64_t *acc, const int32_t *happened, int64_t events[HW_COUNTERS])
{
    const hw_sixteen at = sixteen_at(plan, b, worker, block, pixel);
    const uint32_t unproven = b->unproven[block][pixel];
    hw_walk_set_of((const hw_conv_op *)plan->op)->take(&at, unproven, acc, happened, events);
    for (int64_t i = 0; plan->call->flags && i < LANES; i++)
        if (happened[i] && unproven >> i & 1)
            *flag_at(plan, b, pixel, at.k + i) |= 1 << 1;
}

static void begin_walk(hw_lane_walk *walk, int64_t pixels)
{
    const hw_order *o = walk->order;
    for (int64_t p = 0; p < WALK_PIXELS; p++)
        for (int64_t i = 0; i < WALK_LANES; i++) {
            walk->acc[p][i] = o->walk.bias_last ? 0 : o->bias[walk->block * WALK_LANES + i];
            walk->events[p][i] = 0;
        }
    for (int64_t p = pixels; p < WALK_PIXELS; p++)
        walk->columns[p] = walk->columns[0];
    walk->pixels = pixels;
}

static void end_walk(hw_lane_walk *walk)
{
    const hw_order *o = walk->order;
    for (int64_t p = 0; o->walk.bias_last && p < walk->pixels; p++)
        for (int64_t i = 0; i < WALK_LANES; i++) {
            int64_t event = 0;
            walk->acc[p][i] = add_to(walk->acc[p][i], o->bias[walk->block * WALK_LANES + i], o->bits, o->low, o->high,
                                     o->walk.overflow, &event);
            walk->events[p][i] += (int32_t)event;
        }
}

/* All pixels of the block that have something unproven in two blocks of 16 channels. */
static void walk_pair(const hw_plan *plan, const hw_proof_block *b, hw_worker *worker, int64_t block,
                      int64_t events[HW_COUNTERS])
{
    const hw_conv_op *op = (const hw_conv_op *)plan->op;
    const bool two = block + 1 < b->gemm->blocks;
    hw_lane_walk walk = {.order = op->order, .lanes = &op->lanes, .block = (b->weight_block + block) / 2};
    int64_t batch[WALK_PIXELS], count = 0;
    for (int64_t p = 0; p <= b->gemm->pixels; p++) {
        const bool end = p == b->gemm->pixels;
        if (!end && (b->unproven[block][p] || (two && b->unproven[block + 1][p]))) {
            walk.columns[count] = column_of(plan, b, p, worker);
            batch[count++] = p;
        }
        if (count < WALK_PIXELS && !(end && count))
            continue;
        begin_walk(&walk, count);
        hw_walk_set_of(op)->walk(&walk);
        end_walk(&walk);
        for (int64_t i = 0; i < count; i++)
            for (int64_t half = 0; half < 1 + two; half++)
                if (b->unproven[block + half][batch[i]])
                    take_lanes(plan, b, worker, block + half, batch[i], walk.acc[i] + half * LANES,
                               walk.events[i] + half * LANES, events);
        count = 0;
    }
}

/* By channels instead, a pixel to each lane. */
static void walk_channels(const hw_plan *plan, const hw_proof_block *b, hw_worker *worker, int64_t events[HW_COUNTERS])
{
    const hw_conv_op *op = (const hw_conv_op *)plan->op;
    hw_columns *columns = worker->scratch;
    int16_t *rows = (int16_t *)((int32_t *)(columns + 1) + column_slots(&op->lanes) * op->lanes.entries);
    if (!columns->rows)
        hw_walk_set_of(op)->rows(&op->lanes, b->gemm->in, b->gemm->pixel_stride, b->gemm->pixels, offsets_of(plan),
                                 plan->input.type, rows);
    columns->rows = true;
    for (int64_t block = 0; block < b->gemm->blocks; block++) {
        hw_sixteen at = sixteen_at(plan, b, worker, block, 0);
        hw_walk_across(plan, b, &at, block, rows, flag_at, events);
    }
}

/* One by one. */
static void walk_singly(const hw_plan *plan, const hw_proof_block *b, hw_worker *worker, int64_t events[HW_COUNTERS])
{
    const hw_tensor *out = &plan->call->output;
    for (int64_t p = 0; p < b->gemm->pixels; p++) {
        int64_t image = b->image, y = b->segment + (b->start + p) / plan->conv.raster, x = (b->start + p) % plan->conv.raster;
        if (out->h == 1 && out->w == 1) {
            image = b->start + p;
            y = x = 0;
        }
        for (int64_t block = 0; block < b->gemm->blocks; block++)
            for (uint32_t left = b->unproven[block][p]; left; left &= left - 1) {
                const int64_t lane = __builtin_ctz(left), k = (b->weight_block + block) * LANES + lane;
                const hw_walked walked = hw_walk_one(plan, image, k, y, x, worker);
                hw_order_count(&walked, flag_at(plan, b, p, k), events);
                put(plan, worker, b, block * b->gemm->plane + p * LANES + lane, k, walked.acc);
            }
    }
}

/* Which pixels of the block are stored, and how many. */
static int64_t find_stored(const hw_plan *plan, const hw_proof_block *b, uint16_t *stored)
{
    int64_t x = b->start % plan->conv.raster, count = 0;
    for (int64_t p = 0; p < b->gemm->pixels; p++) {
        stored[p] = b->start + p >= b->first && x < plan->conv.valid ? UINT16_MAX : 0;
        count += stored[p] != 0;
        x = x + 1 == plan->conv.raster ? 0 : x + 1;
    }
    return count;
}

/* Bits of the channels of a block that are proven by their bounds. */
static uint32_t settled_lanes(const hw_conv_op *op, int64_t weight_block)
{
    uint32_t lanes = 0;
    for (int64_t i = 0; i < LANES && weight_block * LANES + i < op->conv.k; i++)
        lanes |= (uint32_t)op->order->settled_channel[weight_block * LANES + i] << i;
    return lanes;
}

/* Which outputs are to be walked, and the shares. */
static void count_unproven(const hw_plan *plan, hw_proof_block *b, int64_t events[HW_COUNTERS])
{
    const hw_conv_op *op = (const hw_conv_op *)plan->op;
    uint16_t stored[MAX_PIXELS];
    const int64_t pixels = find_stored(plan, b, stored);
    for (int64_t block = 0; block < b->gemm->blocks; block++) {
        const int64_t channels = min64(LANES, op->conv.k - (b->weight_block + block) * LANES);
        const int64_t settled = __builtin_popcount(settled_lanes(op, b->weight_block + block));
        int64_t walked = 0;
        uint16_t *unproven = b->unproven[block], any = 0;
        for (int64_t p = 0; p < b->gemm->pixels; p++)
            any |= unproven[p] &= stored[p];
        for (int64_t p = 0; any && p < b->gemm->pixels; p++)
            walked += __builtin_popcount(unproven[p]);
        b->any[block] = any != 0;
        events[HW_BY_BOUNDS] += settled * pixels;
        events[HW_BY_SUMS] += (channels - settled) * pixels - walked;
        events[HW_WALKED] += walked;
    }
}

/* Whether all channels are proven by their bounds: then no magnitude is looked at. */
static bool settled_blocks(const hw_conv_op *op, const hw_proof_block *b)
{
    const int64_t first = b->weight_block * LANES, last = min64(op->conv.k, first + b->gemm->blocks * LANES);
    for (int64_t k = first; k < last; k++)
        if (!op->order->settled_channel[k])
            return false;
    return true;
}

static void sum_into(const hw_plan *plan, void (*function)(const hw_gemm *), hw_gemm *gemm, int32_t *acc)
{
    gemm->acc = acc;
    function(gemm);
    if (plan->conv.collect)
        plan->conv.collect(gemm);
}

/* The sums of the segments from `segment` to before `last`, and of their magnitudes unless they do not matter, into `sums`
 * and worker->high_sums. */
static void sum_segments(const hw_plan *plan, const hw_proof_block *b, int64_t segment, int64_t last, bool magnitudes,
                         int32_t *sums, hw_worker *worker)
{
    const hw_conv_op *op = (const hw_conv_op *)plan->op;
    const int64_t from = op->cut[segment];
    hw_gemm gemm = *b->gemm;
    gemm.offsets += from;
    gemm.step += from;
    gemm.weights += from * BLOCK_BYTES;
    gemm.steps = op->cut[last] - from;
    if (plan->conv.start == op->start[1][0])
        gemm.start = op->segment_start + (segment * op->blocks + b->weight_block) * LANES;
    sum_into(plan, plan->conv.gemm, &gemm, sums);
    gemm.in += plan->conv.magnitudes;
    gemm.weights = op->packed_magnitudes + (gemm.weights - op->packed);
    gemm.start = op->start[0][0];
    if (magnitudes)
        sum_into(plan, plan->conv.magnitude_gemm, &gemm, worker->high_sums);
}

/* Whether a walk of every output of the block is certain: then no further magnitude can help. */
static bool nothing_left(const hw_conv_op *op, const hw_proof_block *b)
{
    for (int64_t block = 0; block < b->gemm->blocks; block++) {
        const int64_t channels = min64(LANES, op->conv.k - (b->weight_block + block) * LANES);
        const uint32_t all = ((uint32_t)1 << channels) - 1;
        for (int64_t p = 0; p < b->gemm->pixels; p++)
            if ((b->unproven[block][p] & all) != all)
                return false;
    }
    return true;
}

/* Segment by segment: the sums, and what they do not prove. What is unproven stays so, whatever magnitudes follow. */
static void prove_sums(const hw_plan *plan, hw_proof_block *b, hw_worker *worker)
{
    const hw_conv_op *op = (const hw_conv_op *)plan->op;
    bool decided = settled_blocks(op, b);
    for (int64_t block = 0; block < b->gemm->blocks; block++)
        memset(b->unproven[block], 0, sizeof b->unproven[block]);
    const bool offset = plan->conv.start == op->start[1][0]; /* each segment then starts from a sum of its own */
    for (int64_t segment = 0, last; segment < op->segments; segment = last) {
        last = decided && !offset ? op->segments : segment + 1;
        sum_segments(plan, b, segment, last, !decided, segment ? worker->part_sums : b->gemm->acc, worker);
        for (int64_t block = 0; block < b->gemm->blocks; block++) {
            hw_sixteen at = sixteen_at(plan, b, worker, block, 0);
            at.part = segment ? worker->part_sums + block * b->gemm->plane : NULL;
            at.more = last < op->segments;
            hw_walk_set_of(op)->prove(&at, b->gemm->pixels, b->unproven[block]);
        }
        decided = decided || nothing_left(op, b);
    }
}

void hw_prove_block(const hw_plan *plan, hw_proof_block *b, hw_worker *worker, int64_t events[HW_COUNTERS])
{
    const hw_conv_op *op = (const hw_conv_op *)plan->op;
    prove_sums(plan, b, worker);
    count_unproven(plan, b, events);
    bool any = false;
    for (int64_t block = 0; block < b->gemm->blocks; block++)
        any = any || b->any[block];
    if (!any)
        return;
    if (op->lanes.width == LANES_NONE) {
        walk_singly(plan, b, worker, events);
        return;
    }
    hw_columns *columns = worker->scratch;
    if (columns->block != b->index) {
        columns->block = b->index;
        columns->rows = false;
        for (int i = 0; i < MAX_COLUMNS; i++)
            columns->pixel[i] = -1;
    }
    if (hw_across_pays(op, b, columns->rows)) {
        walk_channels(plan, b, worker, events);
        return;
    }
    for (int64_t block = 0; block < b->gemm->blocks; block += 2)
        if (b->any[block] || (block + 1 < b->gemm->blocks && b->any[block + 1]))
            walk_pair(plan, b, worker, block, events);
}
