/* Convolution with a minifloat in it: what prepare decides and every path reads.
 *
 * WALK: the definition by the integer leaves, one output at a time. The others compute in the processor's floats where
 * float_new.c has proven that these cannot differ from the definition; an output that they cannot vouch for (it met an
 * overflow, NaN or infinity) comes out as NaN, and is walked.
 * EXACT: operands are integers in doubles (or, where the whole sum has 24 bits, in floats), cut into limbs so that every
 * sum of products of two limbs is exact; any order.  ADD: the register's value in a float or a double, in declared order. */
#ifndef HW_FLOAT_CONV_H
#define HW_FLOAT_CONV_H

#include "core.h"
#include "minifloat.h"

typedef enum hw_float_path { FLOAT_WALK, FLOAT_EXACT, FLOAT_ADD } hw_float_path;

enum {
    FLOAT_BLOCK = 32,        /* output channels of one packed block */
    FLOAT_PIXELS = 6,        /* pixels of one register block */
    FLOAT_LANES = 32,        /* lanes of a tree, at most, outside WALK */
    FLOAT_LIMBS = 6,         /* limbs of an operand, at most */
    FLOAT_DIGITS = 132       /* 32-bit digits of the widest register, three of them for carries */
};

/* How to bring a host float to the register's format, ties to even: (v + c) - c with c = 1.5 * 2^(exponent + host_man_bits
 * - man_bits), which aligns v to the last bit that the format keeps. Integers of the host's width in the low bits. */
typedef struct hw_host_rounding {
    int64_t least_exponent;  /* exponent field of the smallest normal number, in place */
    int64_t magic;           /* from the exponent field in place to c */
    int64_t least_normal;    /* where smaller numbers are flushed to zero: the smallest normal number; else 0 */
    int64_t largest;         /* the largest number, as host bits */
} hw_host_rounding;

/* One register block: sums[pixel][channel of the block]. Host floats throughout. */
typedef struct hw_float_block {
    const void *const *pixels;   /* [FLOAT_PIXELS] the window's first tap */
    const int64_t *offsets;      /* [steps * lanes] elements; -1: an idle lane */
    int64_t steps, lanes;
    int32_t pairing;
    const void *weights;         /* [steps * lanes][FLOAT_BLOCK] */
    const void *first, *last;    /* [FLOAT_BLOCK] biases, zeros where there are none; last may be NULL */
    const hw_host_rounding *rounding;
    void *sums;                  /* [FLOAT_PIXELS][FLOAT_BLOCK] */
} hw_float_block;

typedef void hw_float_block_fn(const hw_float_block *block);

/* The last stage towards a minifloat, ties to even, of values in doubles: that are exact, or whose last bit is sticky (at
 * least 53 - 24 - 2 bits are dropped then). The sum |v| + c, c as above, holds the rounded significand in its low bits. */
typedef struct hw_float_rule {
    int64_t least_exponent, magic, least_normal; /* as in hw_host_rounding, of doubles */
    int64_t man_bits, sign_shift, lowest, largest, zero, signed_zero;
    int64_t overflow[2];     /* code of what is beyond the largest number, by sign */
    int32_t relu;            /* hw_activation */
    bool nan_overflow;       /* a ReLU behind the rounding lets it pass */
} hw_float_rule;

/* values[count], count <= FLOAT_BLOCK, NaN counted as anything: their codes to `out`; the number of events. */
typedef int64_t hw_float_codes_fn(const hw_float_rule *rule, const double *values, int64_t count, void *out, int32_t type);

/* Of one instruction set. sum: products exact in the host, sums rounded by the host itself (or exact). fused: one rounding
 * for the exact product and the add. half: binary16. rounded: each sum by hw_host_rounding. tree: several lanes, rounding
 * NULL or not. */
typedef struct hw_float_table {
    hw_float_block_fn *sum32, *fused32, *half32, *rounded32, *tree32, *sum64, *rounded64, *tree64;
    hw_float_codes_fn *codes;
} hw_float_table;
extern const hw_float_table hw_float_table__portable, hw_float_table__avx2, hw_float_table__avx512vnni;

/* Where a tap reads, from the window's first pixel and the group's first channel on. */
typedef struct hw_tap {
    int32_t c, row, column;
} hw_tap;

typedef struct hw_float_block_place {
    int64_t first_output, outputs, first_input;
} hw_float_block_place;

typedef struct hw_float_conv_op {
    hw_op op;
    hw_float_conv conv;      /* its pointers are NULL: the copies are below */
    hw_float_path path;
    int64_t taps;            /* of one output */
    hw_parts *weights;       /* [k][taps] */
    int32_t *grid;           /* [k], exact only */
    int64_t *bias;           /* [k][words], or [k] */
    int64_t *table;          /* [steps][lanes] */
    hw_tap *tap;             /* [taps] */
    int32_t witness;         /* float register: an exponent under every product and every bias */

    bool host64;             /* double, else float */
    int32_t x_limbs, w_limbs, x_limb_bits, w_limb_bits, x_low;
    int32_t *lift;           /* [k] exact: how many bits the limbs' grid is coarser than grid[k] */
    bool narrow;             /* exact: every sum with its bias is below 2^62 */
    hw_host_rounding rounding;
    hw_float_block_fn *kernel;
    hw_float_codes_fn *codes; /* NULL: the last stage is done by the integer leaves */
    hw_float_rule rule;
    bool direct;             /* exact: the one limb's sum and the bias add up exactly in doubles */
    double *scale, *real_bias; /* [k] exact: what 1 in the limbs' sum and in the register means; the bias */
    const char *name;
    int64_t *order;          /* [steps * lanes] tap of each packed row, -1: idle */
    int64_t rows;            /* steps * lanes */
    int64_t blocks;
    hw_float_block_place *place;
    void *packed;            /* [w_limbs][blocks][rows][FLOAT_BLOCK] */
    void *first, *last;      /* [blocks][FLOAT_BLOCK] */
    void *decoded;           /* [words of the input format][x_limbs], 16-bit inputs at most; else NULL */
} hw_float_conv_op;

int hw_float_plan(hw_float_conv_op *op, hw_status *status); /* choose the path, pack */
void hw_float_decode(const hw_float_conv_op *op, int64_t code, void *host); /* [x_limbs] */

/* One output by the definition: its code; acc: [words] or one code, NULL: not wanted. */
int64_t hw_float_walk(const hw_plan *plan, int64_t n, int64_t k, int64_t y, int64_t x, int64_t *acc,
                      int64_t events[HW_COUNTERS]);

/* The last stage: (code, event) of (-1)^sign * significand * 2^exponent, or of a code of a format. beyond: as in
 * fixed_from_exact. */
hw_float_code hw_float_finish_exact(const hw_float_conv *v, int sign, int64_t significand, int64_t exponent, bool beyond);
hw_float_code hw_float_finish_code(const hw_float_conv *v, int64_t code, const hw_float *of);
hw_float_code hw_float_finish_wide(const hw_float_conv *v, hw_wide total, int64_t exponent);

static inline hw_parts hw_float_operand(const hw_float_conv *v, int64_t code)
{
    if (v->input_fixed)
        return (hw_parts){code < 0 ? -code : code, code < 0, v->input_exponent};
    return unpack(code, &v->input);
}

#endif
