/* Convolution: what prepare decides and every path reads. */
#ifndef HW_CONV_H
#define HW_CONV_H

#include "core.h"
#include "order.h"

/* How a convolution is computed. NARROW_BYTES: 8-bit operands, int32 sums. HALVES: 16-bit operands, int32 sums proven.
 * SPLIT_HALVES: 16-bit operands; w = 256 * high + low, two int32 sums, joined in int64 before they can overflow.
 * ANY: plain loops in int64, which test the image's bounds. WALK: likewise, step by step. */
typedef enum hw_path { PATH_BYTES, PATH_HALVES, PATH_SPLIT_HALVES, PATH_ANY, PATH_WALK } hw_path;

/* The input's zero point. Sums of (x - zero) * w are sums of x * w that start from -zero * sum(w), modulo 2^32 or in 64 bits:
 * so products read codes as they are. Where x - zero itself matters (proofs by magnitudes), it is staged in halves; plain
 * loops subtract it. conv.in_low..in_high of an operator is the range of x - zero. */

/* Which 64 bytes of the input a step reads, relative to the pixel under the kernel's top left tap. */
typedef struct hw_step {
    int32_t r, s;            /* tap */
    int32_t element;         /* channels behind the tap's first one */
    int32_t count;           /* of elements that have weights */
    int32_t dwords;          /* that hold them */
} hw_step;

/* A weight beyond bytes on the path of bytes: what the packed weight lacks of it is multiplied apart. */
typedef struct hw_extra {
    int64_t k, r, s, channel;
    int32_t weight;
} hw_extra;

typedef struct hw_conv_op {
    hw_op op;
    hw_conv conv;            /* its pointers are NULL: the copies are below */
    hw_stage stage;
    hw_path path;
    int32_t element;         /* bytes of the operand that the products read: 1 or 2 */
    bool in_signed;          /* what the products read may be negative */
    int64_t zero;            /* the input's zero point */
    int64_t staged_offset;   /* subtracted from every code as it is staged: 32768 of unsigned halves, or the zero point */
    bool depthwise;          /* one input channel to each output channel: conv_depth.c */
    int64_t repeat;          /* staged copies have each input channel so many times: output channels to one of depthwise */
    bool merged;             /* one step runs over the taps of a kernel row: needs a channel pitch of exactly c */
    int64_t blocks;          /* of 16 output channels */
    int64_t span;            /* input channels that a block reads */
    int64_t steps;
    hw_step *step;
    int64_t window;          /* channels that a step reads at most, all taps of them before the next ones; 0: a step's bytes */
    int64_t *first_channel;  /* [blocks], input channel */
    int64_t block_bytes;     /* of a block's packed weights */
    uint8_t *packed;         /* [blocks][steps][16 dwords][16 channels][4 bytes]; of depthwise see conv_depth.c */
    int64_t extras;
    hw_extra *extra;         /* [extras], by output channel */
    int64_t *extra_first;    /* [blocks + 1], which of them belong to a block */
    uint8_t *packed_high;    /* SPLIT_HALVES with weights beyond 8 bits: their high halves */
    int32_t *start[2][2];    /* [blocks * 16] what a sum starts from: [bytes read as x + 128][bias folded in] */
    int64_t *wide_start;     /* same for int64 sums, never folded */
    int32_t *weights;        /* PATH_ANY, and where anything is walked: [k][c / groups][r][s] */
    int64_t taps;            /* of one output */
    hw_order *order;         /* NULL: none is declared */
    hw_shift_add shift_add;  /* PATH_WALK; exponent NULL: products are x * weight */
    bool proves;             /* outputs are proven by their sums, and walked where that fails: conv_prove.c */
    uint8_t *packed_magnitudes; /* as packed, of |w| */
    hw_proof proof;
    bool separable;          /* the sums of an order's consecutive parts prove it: see conv_prove.c */
    int64_t segments;        /* consecutive parts of the declared order that are runs of steps, too */
    int64_t *cut;            /* [segments + 1], steps */
    int32_t *segment_start;  /* [segments][blocks * 16], as start[1][0], of the segment's weights */
    hw_round_lanes rounded;      /* PATH_WALK; factor NULL: one output at a time */
    hw_lanes lanes;
} hw_conv_op;

/* One register block of the product sum: acc[block][pixel][lane] = start[block][lane] + sum over steps. */
typedef struct hw_gemm {
    const uint8_t *in;       /* first pixel, first channel of the block */
    int64_t pixel_stride;    /* bytes */
    const int64_t *offsets;  /* [steps], bytes */
    const hw_step *step;
    int64_t steps;
    const uint8_t *weights;  /* first block */
    int64_t weight_stride;   /* bytes from block to block */
    int64_t blocks, pixels;
    const int32_t *start;    /* [blocks][16] */
    int32_t *acc;
    int64_t plane;           /* elements from block to block */
    const struct hw_depth *depth; /* of depthwise */
} hw_gemm;

/* A register block whose sums are to be proven: pixels first..last-1 of a segment are stored, from `start` on computed. */
typedef struct hw_proof_block {
    const hw_gemm *gemm;
    int64_t index, image, segment, start, first, last, weight_block;
    uint16_t unproven[MAX_BLOCKS][MAX_PIXELS]; /* a bit for each channel */
    bool any[MAX_BLOCKS];
} hw_proof_block;

/* The flag of an output of the block, or NULL. */
typedef uint8_t *hw_take_flag(const hw_plan *plan, const hw_proof_block *block, int64_t pixel, int64_t k);
/* conv_across.c. read: the codes of the block's pixels are there already. */
bool hw_across_pays(const hw_conv_op *op, const hw_proof_block *block, bool read);
void hw_walk_across(const hw_plan *plan, const hw_proof_block *b, hw_sixteen *at, int64_t block, const int16_t *codes,
                    hw_take_flag *flag, int64_t events[HW_COUNTERS]);

typedef void hw_gemm_fn(const hw_gemm *gemm);
/* s16s16s32: halves. u8s8s32: bytes. s8s8s32 on VNNI reads x + 128 and starts from -128 * sum(w). */
hw_gemm_fn hw_gemm_s16s16s32__portable, hw_gemm_s16s16s32__avx2, hw_gemm_s16s16s32__avx512vnni;
hw_gemm_fn hw_gemm_u8s8s32__avx512vnni, hw_gemm_s8s8s32__avx512vnni;
/* These leave the sums in the tiles; hw_tiles_collect stores them. */
hw_gemm_fn hw_gemm_u8s8s32__amx, hw_gemm_s8s8s32__amx, hw_tiles_collect;

/* Depthwise: acc[block][pixel][lane] = start + sum over r, s of the lane's own channel. s8 reads x + 128, as above. */
hw_gemm_fn hw_depth_s16__portable, hw_depth_s16__avx2, hw_depth_s16__avx512vnni;
hw_gemm_fn hw_depth_u8__avx512vnni, hw_depth_s8__avx512vnni;
bool hw_depth_takes(const hw_conv *conv);
int hw_depth_pack(hw_conv_op *op, const int32_t *weights, hw_status *status);
hw_gemm_fn *hw_depth_function(const hw_conv_op *op);
void hw_depth_plan(const hw_conv_op *op, hw_plan *plan);

extern const hw_family hw_conv_family;
int hw_conv_pack(hw_conv_op *op, const int32_t *weights, hw_status *status);
void hw_conv_any_row(const hw_plan *plan, int64_t n, int64_t y, hw_worker *worker, int64_t events[HW_COUNTERS]);
void hw_conv_walk_row(const hw_plan *plan, int64_t n, int64_t y, hw_worker *worker, int64_t events[HW_COUNTERS]);
/* One output, walked; worker->scratch holds hw_walk_scratch() bytes. */
hw_walked hw_walk_one(const hw_plan *plan, int64_t n, int64_t k, int64_t y, int64_t x, hw_worker *worker);
int64_t hw_walk_scratch(const hw_conv_op *op);
/* Lanes for products that are rounded, where the contract has one to a step and nothing is spilled. */
int hw_rounded_init(hw_conv_op *op, const hw_conv *conv, hw_status *status);
void hw_rounded_free(hw_conv_op *op);
const hw_walk_set *hw_walk_set_of(const hw_conv_op *op);
int hw_prove_init(hw_conv_op *op, const hw_conv *conv, hw_status *status);
void hw_prove_free(hw_conv_op *op);
int hw_prove_plan(const hw_conv_op *op, hw_plan *plan, hw_status *status); /* behind the groups in plan->table */
void hw_prove_begin(const hw_plan *plan, hw_worker *worker); /* at the beginning of a task */
/* From sums to accumulators: gemm->acc, or worker->wide_sums where the register has more than 32 bits. */
void hw_prove_block(const hw_plan *plan, hw_proof_block *block, hw_worker *worker, int64_t events[HW_COUNTERS]);
void hw_conv_stage_row(const hw_plan *plan, int64_t row);
int hw_conv_plan_staging(const hw_conv_op *op, hw_plan *plan, hw_status *status);

#endif
