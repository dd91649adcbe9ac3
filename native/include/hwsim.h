/* hwsim native core: the second opinion on the integer rules of hwsim/arith, fast.
 *
 * A plain C library: no Python symbols, callable from C, from Python (cffi parses this text) and from SystemVerilog
 * (DPI-C, through the hw_conv_new / hw_run pair or the scalar leaves at the end).
 *
 * Rules of this interface
 *  - Errors are data: hw_status holds (code, index, value); nothing prints, nothing aborts. hw_status_text names the code.
 *  - An operator (hw_op) is immutable once made, owns copies of everything it was given, and may be run by any number of
 *    threads at once. hw_op_free releases it; no call may be using it then.
 *  - Nothing borrowed outlives a call: hw_run reads its calls, tensors and taps and keeps none of them.
 *  - The same inputs give the same codes, accumulators and event counts on every instruction set and thread count.
 *
 * Memory of a tensor: codes lie N H W C, the channel contiguous. `data` is the address of element (0, 0, 0, 0). Around
 * the h x w image lies a border of the zero point's code, border_h rows above and below, border_w pixels left and right;
 * operators write the image only, so the border stays as it is. The pixel pitch stride_w may exceed c: the branches of a concatenation write
 * side by side into one buffer. At least HW_SLACK readable bytes must lie before the first and behind the last byte
 * (border included) of every input: wide loads read there, and ignore it.
 */
#ifndef HWSIM_H
#define HWSIM_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifdef __GNUC__
#pragma GCC visibility push(default)
#endif

enum { HW_ABI_VERSION = 4, HW_SLACK = 4096 };

/* Counters of a call: how often an exact result did not fit, by place, and of these the transient ones (the exact final
 * value fits the accumulator); then how many outputs were proven free of events by their bounds, by their sums, or walked
 * step by step. */
enum hw_counter {
    HW_AT_ACCUMULATOR = 0, HW_AT_OUTPUT = 1, HW_AT_TREE = 2, HW_AT_SPILL = 3,
    HW_TRANSIENT_ACCUMULATOR = 4, HW_TRANSIENT_TREE = 5, HW_TRANSIENT_SPILL = 6,
    HW_BY_BOUNDS = 7, HW_BY_SUMS = 8, HW_WALKED = 9, HW_COUNTERS = 10
};

/* Element types. */
enum hw_type { HW_S8 = 0, HW_U8 = 1, HW_S16 = 2, HW_U16 = 3, HW_S32 = 4, HW_U32 = 5, HW_S64 = 6 };

/* hwsim.arith.Rounding, same names and values. */
enum hw_rounding {
    HW_FLOOR = 0, HW_CEIL = 1, HW_TOWARD_ZERO = 2, HW_AWAY_FROM_ZERO = 3, HW_TIES_UP = 4,
    HW_TIES_DOWN = 5, HW_TIES_AWAY = 6, HW_TIES_TO_ZERO = 7, HW_TIES_EVEN = 8, HW_TIES_ODD = 9
};

/* hwsim.arith.Overflow. TRAP computes what WRAP does: who stops is the caller, who reads events and flags. An hw_output takes
 * the first two; symmetric saturation is HW_SATURATE with low = -high there. */
enum hw_overflow { HW_WRAP = 0, HW_SATURATE = 1, HW_SATURATE_SYMMETRIC = 2, HW_TRAP = 3 };

/* hwsim.contract.Activation. */
enum hw_activation { HW_NONE = 0, HW_RELU_BEFORE = 1, HW_RELU_AFTER = 2 };

/* hwsim.arith.Scaling: how value * multiplier / 2^shift is rounded. */
enum hw_scaling { HW_SHIFT = 0, HW_MULTIPLY = 1, HW_HIGH_MULTIPLY = 2, HW_DOUBLE_ROUND = 3, HW_FLOAT32 = 4, HW_FLOAT64 = 5 };

/* hwsim.arith.Pairing: which values one level of an adder tree adds. */
enum hw_pairing { HW_ADJACENT = 0, HW_HALVES = 1, HW_CHAIN = 2 };

/* hwsim.arith.minifloat.Specials: which codes are no numbers. */
enum hw_specials { HW_IEEE = 0, HW_FN = 1, HW_FNUZ = 2, HW_NO_SPECIALS = 3 };

/* Instruction sets. HW_ISA_AUTO: the fastest that this processor has. */
enum hw_isa { HW_ISA_AUTO = 0, HW_ISA_PORTABLE = 1, HW_ISA_AVX2 = 2, HW_ISA_AVX512VNNI = 3, HW_ISA_AMX = 4 };

/* Who divides in an average: the pixels of the window inside the image; the whole window; or the window cut at the
 * padded image's edge (Caffe). */
enum hw_count { HW_EXCLUDE_PADDING = 0, HW_INCLUDE_PADDING = 1, HW_INCLUDE_PADDING_CLIPPED = 2 };

/* Status codes. `index` says which item (channel, input, call), `value` what was found there. */
enum hw_code {
    HW_OK = 0,
    HW_NO_MEMORY = 1,        /* value: bytes asked for */
    HW_BAD_SHAPE = 2,        /* value: the size that contradicts the others */
    HW_BAD_TYPE = 3,         /* value: the element type that this operator does not take */
    HW_BAD_ARGUMENT = 4,     /* value: the argument outside its range; index: which field, in order */
    HW_ISA_MISSING = 5,      /* value: the instruction set that this processor lacks */
    HW_OUT_OF_RANGE = 6      /* index: channel; value: the weight or limit that leaves its type */
};

typedef struct hw_status {
    int32_t code;
    int32_t call;            /* in hw_run: which call */
    int64_t index, value;
} hw_status;

typedef struct hw_tensor {
    void *data;              /* element (0, 0, 0, 0) */
    int32_t type;            /* hw_type */
    int32_t border_h, border_w, reserved; /* rows above and below, pixels left and right, full of the zero point */
    int64_t n, h, w, c;
    int64_t stride_n, stride_h, stride_w; /* in elements */
} hw_tensor;

/* The last stage of every operator that computes:
 *     exact = (total << product_shift[k]) + bias[k]
 *     acc   = exact wrapped to acc_bits                (event 0 iff they differ)
 *     v     = max(acc, 0) if activation is HW_RELU_BEFORE, else acc
 *     r     = round(v * multiplier[k] / 2^shift[k])    as hw_scale_value has it; HW_SHIFT multiplies by 1
 *     c     = r + zero_point, clipped to clamp_low..clamp_high if `clamps` says so
 *     code  = c wrapped or clipped to low..high        (event 1 iff c is outside low..high)
 *     code  = max(code, 0) if activation is HW_RELU_AFTER
 */
typedef struct hw_output {
    int32_t acc_bits;        /* 2..64 */
    int32_t rounding;        /* hw_rounding, of the scaling's last step */
    int32_t overflow;        /* hw_overflow; HW_WRAP needs high - low + 1 = 2^bits */
    int32_t activation;      /* hw_activation */
    int64_t low, high;       /* of the code; -2^47..2^48 - 1 */
    int32_t scaling;         /* hw_scaling */
    int32_t clamps;          /* 1: clamp_low..clamp_high is a declared activation; 0: none is, and they are not read */
    int64_t zero_point;      /* within +-2^48 */
    int64_t clamp_low, clamp_high;
    const int64_t *multiplier; /* per channel, 0..2^31 - 1 (HW_FLOAT32: 2^24 - 1, HW_FLOAT64: 2^53 - 1); not read with HW_SHIFT */
} hw_output;

/* A declared order: what the accumulator does step by step (hwsim.arith.accumulate). The accumulator's width is the output's
 * acc_bits. With steps of taps:
 *     acc = bias_last ? 0 : bias[k]
 *     each step: acc = overflow(acc + round(tree(products) * 2^step_shift[k])); every spill_every steps: to the buffer and back
 *     bias_last: acc = overflow(acc + bias[k])
 * Then the output's stage without its first two lines. */
typedef struct hw_walk {
    int64_t steps;           /* 1..2^24; steps * lanes <= 2^24 */
    int32_t lanes;           /* 1..4096 */
    int32_t packed;          /* 1: the taps that are left after skips close up; 0: a step whose taps are all skipped is none */
    const int32_t *taps;     /* [steps][lanes], (c * R + r) * S + s within the group, each tap once; -1: an idle lane */
    int32_t skip_padded, skip_zero_inputs, skip_zero_weights; /* taps that are none */
    int32_t pairing;         /* hw_pairing */
    int32_t levels;          /* of the adder tree: lanes - 1 where HW_CHAIN, else ceil(log2(lanes)) */
    const int32_t *level_bits; /* [levels], 2..62 */
    int32_t tree_overflow, overflow, rounding; /* of the tree; of the accumulator; of products and steps on their way to it */
    int32_t bias_last;
    const int32_t *drop;     /* [k], 0..62: bits that each product loses before the tree */
    const int32_t *step_shift; /* [k], -63..63 */
    int64_t spill_every;     /* 0: no spill */
    int32_t spill_bits, spill_shift, spill_rounding, spill_overflow, spill_last; /* bits + shift <= 64 */
} hw_walk;

/* Weights +-2^exponent; product = round(+-x * 2^(exponent + guard_bits)), made without a multiplier. */
typedef struct hw_shift_add {
    const uint8_t *negative, *nonzero; /* [k][c / groups][r][s], 0 or 1 */
    const int8_t *exponent;  /* likewise; exponent <= 62 - guard_bits - 17, and -exponent <= 62 */
    int32_t guard_bits;      /* 0..62 */
    int32_t rounding;        /* hw_rounding */
    int32_t sign_after;      /* 1: the sign is applied to what has been rounded */
} hw_shift_add;

typedef struct hw_conv {
    int64_t c, k, r, s;      /* input channels, output channels, kernel rows, kernel columns */
    int64_t groups;
    int64_t stride_h, stride_w, dilation_h, dilation_w;
    int64_t pad_h, pad_w;    /* above and left */
    int64_t pad_end_h, pad_end_w; /* below and right, at most; what is needed of it follows from the output's size */
    int64_t in_low, in_high; /* range of the input codes: exactness is proven for it */
    int64_t in_zero;         /* subtracted from each code, in_low..in_high or 0; padded taps hold it */
    const int32_t *weights;  /* [k][c / groups][r][s] less their zero point, -65535..65535; not read where shift_add is given */
    const int64_t *bias;     /* [k], on the accumulator's grid */
    const int32_t *product_shift; /* [k], 0..63; not read where walk is given */
    const int32_t *shift;    /* [k], see hw_scale_value */
    hw_output output;
    const hw_walk *walk;     /* NULL: no declared order, the exact sum modulo 2^acc_bits */
    const hw_shift_add *shift_add; /* NULL: products are x * weight */
} hw_conv;

typedef struct hw_pool {
    int64_t r, s, stride_h, stride_w, pad_h, pad_w;
    int64_t pad_end_h, pad_end_w; /* below and right: what HW_INCLUDE_PADDING_CLIPPED counts */
    int32_t count;           /* hw_count; the rest is of averages only */
    int32_t shift;           /* fl_in - fl_out, -31..31 */
    int64_t zero;            /* subtracted from each code; within +-2^48 */
    int64_t offset;          /* added back to each counted position before the division, behind ReLU; within +-2^48 */
    int64_t reciprocals;     /* 0: (total + counted * offset) / (counted * 2^shift), rounded once; else how many there are: */
    const int64_t *counts;   /* ascending: a window that counts counts[i] positions makes hw_scale_value of its total */
    const int64_t *multiplier; /* with multiplier[i], */
    const int32_t *multiplier_shift; /* multiplier_shift[i] and output.scaling; shift and offset are 0 then */
    hw_output output;        /* all but acc_bits; its multiplier is not read */
} hw_pool;

/* Through the last stage: ((pixel << mean_shift) - mean) * scale, from 8-bit pixels. */
typedef struct hw_encode {
    int64_t c, h, w;
    const int64_t *mean;     /* [c], or [c][h][w] when mean_per_pixel; on the grid 2^-mean_shift */
    int32_t mean_per_pixel;  /* 0 or 1 */
    int32_t mean_shift;      /* 0..32 */
    int64_t scale;           /* 1..2^31 */
    int32_t shift;           /* as in hw_output, one for all channels, and so is the multiplier */
    hw_output output;        /* all but acc_bits */
} hw_encode;

/* One operand of a sum: sign * scale_value((code - zero) << align), hwsim.arith.operand.term_value. */
typedef struct hw_operand {
    int64_t low, high;       /* range of the codes */
    int64_t zero, multiplier; /* the latter not read with HW_SHIFT */
    int32_t align;           /* 0..60; (code - zero) << align fits 62 bits */
    int32_t scaling;         /* hw_scaling; HW_SHIFT: nothing more is done */
    int32_t shift, rounding; /* of the scaling */
    int32_t sign, reserved;  /* 1 or -1 */
} hw_operand;

/* Through the last stage: the sum of n operands. n = 1: rescale, ReLU. */
typedef struct hw_sum {
    int64_t c, n;            /* channels; inputs, 1..2^14 */
    const hw_operand *terms;    /* [n] */
    const int32_t *shift;    /* [c], of the output */
    hw_output output;        /* all but acc_bits */
} hw_sum;

/* Rounding by noise: lane l has a shift register, seeds[l] in the first turn and `clocks` clocks on in each turn that
 * follows. Draw d of an image belongs to lane d % lanes in turn d / lanes; the outputs draw in the order of their places.
 *     r = (v + noise) >> shift[k], noise = the top (align_low: the bottom) shift[k] bits of the lane's state
 * A register: all bits move up by one and the parity of state & taps enters at the bottom; or, galois, all move down and
 * the taps are added where the bit that leaves is set. */
typedef struct hw_noise {
    int64_t k;               /* output channels */
    int32_t width;           /* bits of a register, 2..64 */
    int32_t galois;          /* 0 or 1 */
    uint64_t taps;           /* bit i - 1 for each term x^i of the polynomial, x^width included */
    int64_t lanes;           /* 1..4096 */
    int64_t clocks;          /* per turn, 1.. */
    const uint64_t *seeds;   /* [lanes], not 0 */
    int32_t order[3];        /* axes of the outputs, slowest first: 0 channels, 1 rows, 2 columns */
    int32_t idle_tail;       /* 1: each run along the fastest axis begins in lane 0 */
    int32_t align_low, zero_shift_draws; /* 0 or 1; the latter: outputs of shift <= 0 draw, too */
    const int32_t *shift;    /* [k], -62..62 */
    hw_output output;        /* overflow, activation, low, high; its rounding is not used */
} hw_noise;

/* A minifloat: hwsim.arith.minifloat.FloatLayout, field by field. */
typedef struct hw_float {
    int64_t man_bits;        /* 0..23 */
    int64_t sign_shift;      /* exp_bits + man_bits, 2..31 */
    int64_t bias;            /* -512..512 */
    int64_t lowest;          /* smallest exponent field of a normal number, 0 or 1 */
    int64_t subnormals;      /* 0 or 1 */
    int64_t specials;        /* hw_specials */
    int64_t largest;         /* code of the largest number */
    int64_t saturate;        /* 0 or 1 */
    int64_t zero;            /* code of +0 */
    int64_t signed_zero;     /* 0 or 1 */
} hw_float;

/* A convolution with a minifloat among its operands, or with a float register.
 *
 * Operands: x is a minifloat code, or an integer (input_fixed) times 2^input_exponent; w = (-1)^sign * significand *
 * 2^exponent. Products are exact, or rounded to `product` where product_rounds says so.
 * Register: exact, a two's complement integer of `words` words of 64 bits on the grid 2^grid[k], wide enough for every sum
 * (the caller's promise; its tap is [n][h][w][k][words] of HW_S64, little end first), or the float `register_format`,
 * rounded at every add in the order of `table` (its tap: codes).
 * table: [steps][lanes], (c * R + r) * S + s of the tap taken there, -1 for an idle lane; pairing of the lanes' tree.
 * Output: the value rounded once to the minifloat `out`, or to an integer on the grid 2^-output_length.
 */
typedef struct hw_float_conv {
    int64_t c, k, r, s;      /* as in hw_conv, and so are the next three lines */
    int64_t groups;
    int64_t stride_h, stride_w, dilation_h, dilation_w;
    int64_t pad_h, pad_w, pad_end_h, pad_end_w;
    int64_t in_low, in_high; /* range of the input codes, within 32 bits; of a minifloat, all words of its width */
    int32_t input_fixed;     /* 0 or 1 */
    int32_t input_exponent;  /* -600..600 */
    hw_float input;
    const uint8_t *weight_sign;         /* [k][c / groups][r][s], 0 or 1 */
    const int32_t *weight_significand;  /* 0..2^24 - 1 */
    const int32_t *weight_exponent;     /* -1200..1200 */
    int32_t exact;           /* 0 or 1 */
    int32_t words;           /* 1..64 */
    const int32_t *grid;     /* [k], exact only: no product of the channel is finer */
    int32_t product_rounds, reserved; /* 0 or 1 */
    hw_float register_format;
    int32_t register_rounding, product_rounding; /* hw_rounding */
    hw_float product;
    const int64_t *bias;     /* exact: [k][words], little end first; else [k] codes of the register */
    const int64_t *table;
    int64_t steps, lanes;
    int32_t pairing;         /* hw_pairing */
    int32_t packed;          /* 1: taps that are left after skips close up */
    int32_t bias_last;       /* 1: the bias is added behind the last step */
    int32_t skip_padded, skip_zero_inputs, skip_zero_weights; /* taps that are none */
    int32_t output_fixed;    /* 0 or 1 */
    int32_t output_length;   /* -600..600 */
    hw_float out;
    hw_output output;        /* rounding, activation; of an integer also overflow, low, high */
} hw_float_conv;

/* One code to one code, where a minifloat enters or leaves.
 *
 * relu: a negative number and -0 become +0, all else stays; input and output are one minifloat. Without it, rounded once as in
 * hw_float_conv: the number of a minifloat code, or where input_fixed the integer ((code << mean_shift) - mean) * scale times
 * 2^input_exponent. */
typedef struct hw_float_value {
    int64_t c, h, w;
    const int64_t *mean;     /* [c], or [c][h][w] when mean_per_pixel, within +-2^37; NULL: no mean, and any h, w */
    int64_t scale;           /* 1..2^24 */
    int32_t mean_per_pixel;  /* 0 or 1 */
    int32_t mean_shift;      /* 0..20; 0, and scale 1, for inputs of more than 8 bits */
    int32_t relu, input_fixed; /* 0 or 1 */
    int32_t input_bits;      /* 1..32 */
    int32_t input_signed;    /* 0 or 1; minifloat codes are not */
    int32_t input_exponent;  /* -600..600 */
    int32_t output_fixed;    /* 0 or 1 */
    int32_t output_length, reserved; /* -600..600 */
    hw_float input, out;
    hw_output output;        /* as in hw_float_conv */
} hw_float_value;

/* The exact sum of the numbers under a window, of one input or of several of one shape, divided and rounded once as in
 * hw_float_conv: averages, and with windows of one pixel eltwise sums. NaN and infinities decide as they would in a sum of
 * floats; a sum of 0 is +0. Sums must fit 126 bits on the grid 2^grid. */
typedef struct hw_float_sum {
    int64_t n;               /* inputs, 1..2^14 */
    const hw_float *format;  /* [n]; not read where fixed */
    const int32_t *fixed;    /* [n], 0 or 1: integers times 2^exponent */
    const int32_t *bits;     /* [n], 1..32, of the codes */
    const int32_t *exponent; /* [n], -600..600; of fixed ones */
    hw_pool window;          /* r * s up to 2^20; its count says what divides, the rest is not read */
    int32_t divides;         /* 0 or 1; the grid then lies 64 bits below every term, so that a quotient may end in a sticky
                                bit; towards integers also two below the output's */
    int32_t grid;
    int32_t output_fixed;    /* 0 or 1 */
    int32_t output_length;   /* -600..600 */
    hw_float out;
    hw_output output;        /* as in hw_float_conv */
} hw_float_sum;

/* out[y, x, c] = in[rows[y], columns[x], channels[c]], or `fill` where one of them is negative; same element type. */
typedef struct hw_move {
    int64_t in_h, in_w, in_c, h, w, c;
    const int32_t *rows;     /* [h], below in_h */
    const int32_t *columns;  /* [w], below in_w */
    const int32_t *channels; /* [c], below in_c */
    int64_t fill;
} hw_move;

/* value(p) = round((t[i] * 2^f + (t[i + 1] - t[i]) * (p mod 2^f)) / 2^dropped_bits), i = p >> f, of p = code - low, with f =
 * fraction_bits; the entry itself where f is 0. Words of minifloats are codes from 0 on. */
typedef struct hw_lookup {
    int64_t low, high;       /* of the input codes, at most 2^16 of them */
    int64_t entries;         /* ((high - low) >> f) + 1, and one more where f > 0 */
    const int64_t *table;    /* [entries]; times 2^(f - dropped_bits) within -2^47..2^48 - 1 */
    int32_t fraction_bits, dropped_bits; /* 0..15; 0..f */
    int32_t rounding, reserved; /* hw_rounding */
} hw_lookup;

/* Through the last stage, v = code - zero: v by multiplier[0] and shift[0] where v >= 0, else v * slope by the second ones. */
typedef struct hw_prelu {
    int64_t c, slopes;       /* channels; 1 or c */
    int64_t low, high, zero; /* of the input codes; subtracted */
    const int32_t *slope;    /* [slopes]; v * slope stays within +-2^62 */
    int64_t multiplier[2];
    int32_t shift[2];
    hw_output output;        /* its multiplier is not read */
} hw_prelu;

/* How operands are put together: through the last stage, or (HW_MAXIMUM, HW_MINIMUM, HW_SHIFT_RIGHT) as codes that pass. The
 * float ways are hwsim.contract.FloatSteps: each operation rounded to float32, then an integer; with an offset the last two. */
enum hw_way {
    HW_SUM = 0, HW_PRODUCT = 1, HW_MAXIMUM = 2, HW_MINIMUM = 3, HW_SHIFT_RIGHT = 4,
    HW_FLOAT_SUM = 5, HW_FLOAT_PRODUCT = 6, HW_FUSED_SUM = 7, HW_OFFSET_PRODUCT = 8
};

/* Operands position by position. Along each axis an operand has the output's extent, or one position that stands for all. */
typedef struct hw_combine {
    int64_t n;               /* operands, 2..2^14, the constant counted */
    const hw_operand *terms; /* [n]; but for HW_SUM only range and zero point are read */
    const int64_t *constant; /* [constant_h][constant_w][constant_c] codes of the last operand; NULL: it is an input as well */
    int64_t constant_h, constant_w, constant_c;
    int32_t way, rounding;   /* hw_way; hw_rounding, of HW_SHIFT_RIGHT */
    const float *scales;     /* [n], of HW_OFFSET_PRODUCT one; not read without float ways */
    float divisor, offset;
    int32_t shift, reserved; /* of the output */
    hw_output output;        /* all but acc_bits; not read where codes pass */
} hw_combine;

/* Shares of the channels at each pixel, in integers: hwsim.layers.SoftmaxFixed. */
typedef struct hw_softmax {
    int64_t c, multiplier;   /* 1..4095; 1..2^31 - 1 */
    int64_t reach;           /* distance from the largest code that counts; reach << left within 31 bits */
    int32_t left, bits;      /* 0..30; a share of 1 is 2^bits, 1..16 */
    hw_output output;        /* its rounding is the share's; HW_SHIFT, no activation */
} hw_softmax;

/* out = stage(v * factor(sum of v^2 within reach)), v = code - zero; outside the image v is 0. The factor of a sum t: with
 * drop = max(bits(t) - 1 - mantissa_bits, shift), i = ((drop - shift) << mantissa_bits) + (t >> drop) and x the first
 * f = fraction_bits bits of t below drop, round((table[i] * (2^f - x) + table[i + 1] * x) / 2^dropped_bits); from the last entry on
 * that one. Every product stays below 2^62, and so does every sum. */
typedef struct hw_lrn {
    int64_t low, high, zero; /* of the input codes, -2^15..2^16 - 1; subtracted */
    int64_t reach_c, reach_h, reach_w; /* 0..65535: so many on either side */
    int64_t entries;         /* 1..65536 */
    const int64_t *table;    /* [entries], within +-2^32 */
    int32_t shift;           /* 0..62 */
    int32_t mantissa_bits;   /* 0..16, or 62: every segment is 2^shift wide */
    int32_t fraction_bits, dropped_bits; /* 0..16; 0..f */
    int32_t rounding;        /* hw_rounding, of the dropped bits */
    int32_t output_shift;    /* of the product */
    hw_output output;
} hw_lrn;

typedef struct hw_op hw_op;

/* Makers: NULL and a filled status on error. isa: hw_isa. */
hw_op *hw_conv_new(const hw_conv *conv, int32_t isa, hw_status *status);
hw_op *hw_max_pool_new(const hw_pool *pool, int32_t isa, hw_status *status);
/* of minifloat codes: the greatest number, -0 below +0; NaN where there is one. */
hw_op *hw_float_max_pool_new(const hw_pool *pool, const hw_float *format, int32_t isa, hw_status *status);
hw_op *hw_average_pool_new(const hw_pool *pool, int32_t isa, hw_status *status);
hw_op *hw_sum_new(const hw_sum *sum, int32_t isa, hw_status *status);
/* the inputs' channels one after the other; same element type everywhere. */
hw_op *hw_concat_new(int64_t n, hw_status *status);
hw_op *hw_move_new(const hw_move *move, hw_status *status);
/* the image's codes as the channels of one pixel, in the order c, y, x or (channels_last) y, x, c; same element type. */
hw_op *hw_flatten_new(int32_t channels_last, hw_status *status);
hw_op *hw_lookup_new(const hw_lookup *lookup, hw_status *status);
hw_op *hw_prelu_new(const hw_prelu *prelu, hw_status *status);
hw_op *hw_lrn_new(const hw_lrn *lrn, hw_status *status);
hw_op *hw_combine_new(const hw_combine *combine, hw_status *status);
hw_op *hw_softmax_new(const hw_softmax *softmax, hw_status *status);
hw_op *hw_encode_new(const hw_encode *encode, int32_t isa, hw_status *status);
/* inputs: exact values [n][h][w][k] of any type, then int64 [n][1][1][1]: the turn in which each image begins. */
hw_op *hw_noise_new(const hw_noise *noise, hw_status *status);
hw_op *hw_float_conv_new(const hw_float_conv *conv, int32_t isa, hw_status *status);
hw_op *hw_float_value_new(const hw_float_value *value, int32_t isa, hw_status *status);
hw_op *hw_float_sum_new(const hw_float_sum *sum, int32_t isa, hw_status *status);
void hw_op_free(hw_op *op);
/* How it is computed: of a convolution "amx s8s8s32", "avx2 s16s16s64", "portable any", ...; else the instruction set. */
const char *hw_op_path(const hw_op *op);

/* One operator bound to its tensors.
 * acc: the accumulators after the bias, wrapped: [n][h][w][k] dense, of acc_type HW_S32 (acc_bits <= 32) or HW_S64;
 *      NULL: not wanted. Convolutions only.
 * flags: dense [n][h][w][k], zeroed by the caller; bit 0 is set where the tree, 1 where the accumulator, 2 where the spill and
 *      3 where the output overflowed (hwsim.arith.Place); NULL: not wanted. Convolutions only.
 * events: [HW_COUNTERS]; hw_run adds to them. */
typedef struct hw_call {
    const hw_op *op;
    const hw_tensor *inputs;
    int64_t n_inputs;
    hw_tensor output;
    void *acc;
    int32_t acc_type, reserved;
    int64_t *events;
    uint8_t *flags;
} hw_call;

/* Run the calls in order, each finished before the next. threads: 1..256. Returns HW_OK or the code in *status; all calls
 * are checked before the first one runs. */
int32_t hw_run(hw_call *calls, int64_t n_calls, int32_t threads, hw_status *status);

int32_t hw_abi_version(void);
/* Bit i is set iff this processor (and the operating system) can run hw_isa i and this library was built with it. */
int32_t hw_isa_available(void);
const char *hw_isa_name(int32_t isa);
const char *hw_status_text(int32_t code);

/* The scalar leaves, as in hwsim/arith. */
int64_t hw_round_shift(int64_t x, int32_t shift, int32_t rounding);
int64_t hw_round_ratio(int64_t x, int64_t unit, int32_t rounding);
int64_t hw_wrap(int64_t x, int32_t bits, int32_t is_signed);
int64_t hw_saturate(int64_t x, int64_t low, int64_t high);
int64_t hw_fit(int64_t x, int32_t overflow, int32_t bits, int32_t is_signed, int64_t low, int64_t high);
int32_t hw_sum_fits(int64_t a, int64_t b, int64_t low, int64_t high);
int64_t hw_requantize(int64_t acc, int32_t shift, int32_t rounding, int64_t low, int64_t high);

/* Those of hwsim/arith/scale.py, whose limits of multiplier and shift hold here, too. HW_SHIFT: -63..63. */
int64_t hw_high_multiply(int64_t value, int64_t multiplier, int32_t shift, int32_t rounding);
int64_t hw_double_round(int64_t value, int64_t multiplier, int32_t shift);
int64_t hw_float32_multiply(int64_t value, int64_t multiplier, int32_t shift, int32_t rounding);
int64_t hw_float64_multiply(int64_t value, int64_t multiplier, int32_t shift, int32_t rounding);
int64_t hw_scale_value(int64_t value, int64_t multiplier, int32_t shift, int32_t rule, int32_t rounding);

/* The leaves of hwsim/arith/minifloat.py: the code; *event is set to 0 or 1. */
void hw_float_unpack(int64_t code, const hw_float *f, int64_t parts[3]); /* sign, significand, exponent */
int64_t hw_float_round_pack(int32_t sign, int64_t significand, int64_t exponent, int32_t rounding, const hw_float *f,
                            int32_t *event);
int64_t hw_float_add(int64_t a, const hw_float *of_a, int64_t b, const hw_float *of_b, const hw_float *f,
                     int32_t rounding, int32_t *event);
int64_t hw_float_multiply(int64_t a, const hw_float *of_a, int64_t b, const hw_float *of_b, const hw_float *f,
                          int32_t rounding, int32_t *event);
int64_t hw_float_multiply_add(int64_t a, const hw_float *of_a, int64_t b, const hw_float *of_b, int64_t c,
                              const hw_float *of_c, const hw_float *f, int32_t rounding, int32_t *event);
int64_t hw_float_cast(int64_t code, const hw_float *of_code, const hw_float *f, int32_t rounding, int32_t *event);
int64_t hw_float_from_fixed(int64_t code, int32_t fractional_length, const hw_float *f, int32_t rounding, int32_t *event);
int64_t hw_float_to_fixed(int64_t code, const hw_float *of_code, int32_t fractional_length, const hw_output *output,
                          int32_t *event);

#ifdef __GNUC__
#pragma GCC visibility pop
#endif

#ifdef __cplusplus
}
#endif

#endif
