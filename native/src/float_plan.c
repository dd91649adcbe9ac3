/* Which path computes a convolution with a minifloat in it, by proof; and the operands made ready for that path.
 *
 * Notation: x, w: operands, stripped of trailing zeros where they are constants; *_low: exponent under their last bits,
 * *_top: least exponent above their first; m: bits of a product's significand; p: bits of the register's.
 *
 * EXACT: limbs are chosen so that sum over taps of max |x limb| * |w limb| <= 2^53: then no partial sum in doubles rounds,
 * in any order (2^24 in floats).
 *
 * ADD: the host's sum, then rounded to the register (ties to even), equals the register's own rounding if
 *   (a) every sum is exact in the host's q bits; or
 *   (b) m <= p and q >= 2p + 2: two numbers of p bits (Figueroa, When is double rounding innocuous?, 1995); or
 *   (c) one lane, q >= m + p + 3, and the register's whole span has at most q bits: an inexact sum is then one of the
 *       register's content and a product too small to reach a midpoint;
 * (b) and (c) look at numbers of p bits. Where the format ends in subnormals or in zero, sums near its smallest normal
 * number must be exact for (c) without subnormals, for (b) likewise and for every tree. */
#include "float_conv.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct hw_spans {
    int x_bits, x_low, x_top;    /* x_bits: of a significand */
    int w_bits, w_low, w_top;    /* over all channels */
    int w_range;                 /* most bits between the low and the top of one channel's weights */
    int *w_low_of;               /* [k] */
} hw_spans;

static int bits_of(int64_t x) { return bit_length((uint64_t)x); }

static void span_input(const hw_float_conv *v, hw_spans *s)
{
    if (v->input_fixed) {
        s->x_bits = bits_of(max64(-v->in_low, v->in_high));
        s->x_low = v->input_exponent;
        s->x_top = s->x_low + s->x_bits;
        return;
    }
    const hw_parts largest = unpack(v->input.largest, &v->input);
    s->x_bits = (int)v->input.man_bits + 1;
    s->x_low = (int)(v->input.lowest - v->input.bias - v->input.man_bits);
    s->x_top = largest.exponent + bits_of(largest.significand);
}

static void span_weights(const hw_float_conv_op *op, hw_spans *s)
{
    bool any = false;
    for (int64_t k = 0; k < op->conv.k; k++) {
        int low = INT32_MAX, top = INT32_MIN;
        for (int64_t t = 0; t < op->taps; t++) {
            const hw_parts w = op->weights[k * op->taps + t];
            if (w.significand == 0)
                continue;
            const int bits = bits_of(w.significand);
            low = (int)min64(low, w.exponent);
            top = (int)max64(top, w.exponent + bits);
            s->w_bits = (int)max64(s->w_bits, bits);
        }
        if (low == INT32_MAX)
            low = top = 0;
        else {
            s->w_low = any ? (int)min64(s->w_low, low) : low;
            s->w_top = any ? (int)max64(s->w_top, top) : top;
            any = true;
        }
        s->w_low_of[k] = low;
        s->w_range = (int)max64(s->w_range, top - low);
    }
}

/* ---- exact sums */

static int64_t limb_of(int64_t value, int limb, int bits)
{
    return bits >= 63 ? (limb ? 0 : value) : value >> (limb * bits) & (((int64_t)1 << bits) - 1);
}

/* Largest sum over taps of one limb of |w|, any channel. */
static double most_of_limb(const hw_float_conv_op *op, const hw_spans *s, int limbs, int bits)
{
    double most = 0;
    for (int64_t k = 0; k < op->conv.k; k++) {
        for (int limb = 0; limb < limbs; limb++) {
            double sum = 0; /* an upper bound will do: each addition rounds by less than the 2^-40 put on top */
            for (int64_t t = 0; t < op->taps; t++) {
                const hw_parts w = op->weights[k * op->taps + t];
                if (w.significand)
                    sum += (double)limb_of(w.significand << (w.exponent - s->w_low_of[k]), limb, bits);
            }
            most = fmax(most, sum);
        }
    }
    return most * (1 + 0x1p-20);
}

/* The fewest products of limbs. */
static bool choose_limbs(hw_float_conv_op *op, const hw_spans *s)
{
    const int x_range = s->x_top - s->x_low;
    int best = 0;
    if (x_range > 62 || s->w_range > 62)
        return false;
    for (int nw = 1; nw <= FLOAT_LIMBS && (!best || nw < best); nw++) {
        const int w_bits = (int)max64(1, ceil_div(s->w_range, nw));
        const double most = most_of_limb(op, s, nw, w_bits);
        for (int nx = 1; nx <= FLOAT_LIMBS; nx++) {
            const int x_bits = (int)max64(1, ceil_div(x_range, nx));
            if (ldexp(most, x_bits) > 0x1p53 || (best && nx * nw >= best))
                continue;
            best = nx * nw;
            op->x_limbs = nx;
            op->w_limbs = nw;
            op->x_limb_bits = x_bits;
            op->w_limb_bits = w_bits;
            op->host64 = nx * nw > 1 || ldexp(most, x_bits) > 0x1p24;
        }
    }
    return best > 0;
}

/* Whether the sum with its bias fits 126 bits, and 62. */
static bool fits_wide(hw_float_conv_op *op, const hw_spans *s)
{
    const hw_float_conv *v = &op->conv;
    const int taps_bits = bits_of(op->taps), reach = s->x_top - s->x_low + s->w_range + taps_bits;
    op->narrow = true;
    for (int64_t k = 0; k < v->k; k++) {
        const int64_t *bias = op->bias + k * v->words;
        op->lift[k] = s->x_low + s->w_low_of[k] - op->grid[k];
        for (int64_t t = 0; op->lift[k] < 0 && t < op->taps; t++)
            if (op->weights[k * op->taps + t].significand)
                return false;
        op->lift[k] = (int)max64(op->lift[k], 0);
        if (reach + op->lift[k] > 124)
            return false;
        for (int64_t i = 1; i < v->words; i++)
            if (i > 1 ? bias[i] != bias[1] >> 63 : bias[i] != bias[0] >> 63) {
                if (i > 1)
                    return false;
                op->narrow = false;
            }
        if (v->words > 1 && (bias[1] > INT64_MAX >> 2 || bias[1] < INT64_MIN >> 2))
            return false;
        op->narrow = op->narrow && reach + op->lift[k] <= 60 && bias[0] < (int64_t)1 << 60 && bias[0] > -((int64_t)1 << 60);
    }
    return true;
}

static bool plan_exact(hw_float_conv_op *op, const hw_spans *s)
{
    if (!fits_wide(op, s) || !choose_limbs(op, s))
        return false;
    op->x_low = s->x_low;
    return true;
}

/* ---- float registers */

static bool products_exact(const hw_spans *s, bool host64)
{
    const int q = host64 ? 53 : 24, least = host64 ? -1074 : -149, most = host64 ? 1024 : 128;
    return s->x_bits + s->w_bits <= q && s->x_low + s->w_low >= least && s->x_top + s->w_top <= most;
}

static bool operands_exact(const hw_spans *s, bool host64)
{
    const int q = host64 ? 53 : 24, least = host64 ? -1074 : -149, most = host64 ? 1024 : 128;
    return s->x_bits <= q && s->w_bits <= q && s->x_low >= least && s->w_low >= least && s->x_top <= most && s->w_top <= most;
}

static bool is_host32(const hw_float *f)
{
    return f->man_bits == 23 && f->sign_shift == 31 && f->bias == 127 && f->lowest == 1 && f->subnormals &&
           f->specials == HW_IEEE;
}

static bool is_half(const hw_float *f)
{
    return f->man_bits == 10 && f->sign_shift == 15 && f->bias == 15 && f->lowest == 1 && f->subnormals &&
           f->specials == HW_IEEE;
}

/* See the head of this file. */
static bool rounds_alike(const hw_float_conv *v, const hw_spans *s, bool host64)
{
    const hw_float *f = &v->register_format;
    const hw_parts largest = unpack(f->largest, f);
    const int q = host64 ? 53 : 24, host_bias = host64 ? 1023 : 127;
    const int p = (int)f->man_bits + 1, m = s->x_bits + s->w_bits;
    const int normal = 1 - (int)f->bias, quantum = normal - (int)f->man_bits;
    const int register_top = largest.exponent + bits_of(largest.significand);
    const int top = (int)max64(register_top, s->x_top + s->w_top) + 1, finest = (int)min64(quantum, s->x_low + s->w_low);
    if (f->lowest != 1 || !products_exact(s, host64) || !operands_exact(s, host64))
        return false;
    if (q - 1 - f->man_bits < 2 || top + q - f->man_bits + 1 > host_bias || normal + host_bias < 1 || quantum < -host_bias)
        return false;
    const bool exact_near_zero = normal + 2 - finest <= q;
    if (top - finest <= q)
        return true;
    if (m <= p && q >= 2 * p + 2)
        return exact_near_zero || (v->lanes == 1 && f->subnormals);
    return v->lanes == 1 && q >= m + p + 3 && register_top + 2 - quantum <= q && (f->subnormals || exact_near_zero);
}

static void set_rounding(hw_float_conv_op *op)
{
    const hw_float *f = &op->conv.register_format;
    const int64_t man = op->host64 ? 52 : 23, host_bias = op->host64 ? 1023 : 127;
    const hw_parts largest = unpack(f->largest, f);
    const double value = ldexp((double)largest.significand, largest.exponent);
    op->rounding.least_exponent = (1 - f->bias + host_bias) << man;
    op->rounding.magic = ((man - f->man_bits) << man) + ((int64_t)1 << (man - 1));
    op->rounding.least_normal = f->subnormals ? 0 : op->rounding.least_exponent;
    if (op->host64) {
        memcpy(&op->rounding.largest, &value, sizeof value);
    } else {
        const float narrow = (float)value;
        int32_t bits;
        memcpy(&bits, &narrow, sizeof bits);
        op->rounding.largest = bits;
    }
}

static bool plan_add(hw_float_conv_op *op, const hw_spans *s, const hw_float_table *table)
{
    const hw_float_conv *v = &op->conv;
    const bool skips = v->skip_padded || v->skip_zero_inputs || v->skip_zero_weights;
    if (v->register_rounding != HW_TIES_EVEN || v->product_rounds || v->lanes > FLOAT_LANES || (skips && v->lanes > 1))
        return false;
    op->x_limbs = op->w_limbs = 1;
    for (int64_t k = 0; k < v->k; k++)
        if (is_nan(op->bias[k], &v->register_format) || is_infinite(op->bias[k], &v->register_format))
            return false;
    if (is_host32(&v->register_format)) {
        const bool exact = products_exact(s, false);
        if (!operands_exact(s, false) || (!exact && v->lanes > 1))
            return false;
        op->kernel = v->lanes > 1 ? table->tree32 : exact ? table->sum32 : table->fused32;
        op->name = v->lanes > 1 ? "tree of floats" : exact ? "floats in order" : "fused floats in order";
        return true;
    }
    op->host64 = !rounds_alike(v, s, false);
    if (op->host64 && !rounds_alike(v, s, true))
        return false;
    set_rounding(op);
    if (op->host64)
        op->kernel = v->lanes > 1 ? table->tree64 : table->rounded64;
    else
        op->kernel = v->lanes > 1 ? table->tree32 : is_half(&v->register_format) ? table->half32 : table->rounded32;
    op->name = op->host64 ? "doubles rounded in order" : "floats rounded in order";
    return true;
}

/* ---- the last stage */

/* Everything that goes into a double on its way to the output must stay inside its exponents. */
static void set_rule(hw_float_conv_op *op, const hw_spans *s, const hw_float_table *table)
{
    const hw_float_conv *v = &op->conv;
    const hw_float *f = &v->out;
    hw_float_rule *rule = &op->rule;
    const int top = s->x_top + s->w_top + bits_of(op->taps), low = s->x_low + s->w_low;
    if (v->output_fixed || v->output.rounding != HW_TIES_EVEN || (v->exact && (top > 900 || low < -900)))
        return;
    for (int64_t k = 0; v->exact && k < v->k; k++)
        if (op->grid[k] < -900 || op->grid[k] > 700)
            return;
    op->codes = table->codes;
    rule->man_bits = f->man_bits;
    rule->sign_shift = f->sign_shift;
    rule->lowest = f->lowest;
    rule->largest = f->largest;
    rule->zero = f->zero;
    rule->signed_zero = f->signed_zero;
    rule->relu = v->output.activation;
    rule->least_exponent = (f->lowest - f->bias + 1023) << 52;
    rule->magic = ((52 - f->man_bits) << 52) + ((int64_t)1 << 51);
    rule->least_normal = f->subnormals ? 0 : rule->least_exponent;
    for (int sign = 0; sign < 2; sign++)
        rule->overflow[sign] = infinity_code(sign, f);
    rule->nan_overflow = is_nan(rule->overflow[1], f);
}

/* What the sums of an exact path mean, and whether one sum and its bias add up exactly in doubles. */
static int set_scales(hw_float_conv_op *op, const hw_spans *s, hw_status *status)
{
    const hw_float_conv *v = &op->conv;
    op->scale = hw_alloc(2 * (size_t)v->k * sizeof(double), status);
    op->real_bias = op->scale ? op->scale + v->k : NULL;
    op->direct = op->x_limbs * op->w_limbs == 1;
    for (int64_t k = 0; op->scale && k < v->k; k++) {
        const int64_t *bias = op->bias + k * v->words;
        const int sum_bits = s->x_top - s->x_low + s->w_range + bits_of(op->taps) + op->lift[k];
        bool small = bias[0] > -((int64_t)1 << 51) && bias[0] < (int64_t)1 << 51 && sum_bits <= 52;
        for (int64_t i = 1; i < v->words; i++)
            small = small && bias[i] == bias[0] >> 63;
        op->direct = op->direct && small;
        op->real_bias[k] = small ? ldexp((double)bias[0], op->grid[k]) : 0;
    }
    for (int64_t k = 0; op->scale && k < v->k; k++)
        op->scale[k] = ldexp(1, op->grid[k] + (op->direct ? op->lift[k] : 0));
    return status->code;
}

/* ---- packing */

static void put(const hw_float_conv_op *op, void *base, int64_t i, double value)
{
    if (op->host64)
        ((double *)base)[i] = value;
    else
        ((float *)base)[i] = (float)value;
}

static double host_value(hw_parts p)
{
    const double magnitude = ldexp((double)p.significand, p.exponent);
    return p.sign ? -magnitude : magnitude;
}

void hw_float_decode(const hw_float_conv_op *op, int64_t code, void *host)
{
    const hw_float_conv *v = &op->conv;
    const bool special = !v->input_fixed && (is_nan(code, &v->input) || is_infinite(code, &v->input));
    const hw_parts x = hw_float_operand(v, code);
    for (int limb = 0; limb < op->x_limbs; limb++) {
        double value = host_value(x);
        if (op->path == FLOAT_EXACT && x.significand) {
            const int64_t whole = special ? 0 : x.significand << (x.exponent - op->x_low);
            value = (double)limb_of(whole, limb, op->x_limb_bits);
            value = x.sign ? -value : value;
        }
        put(op, host, limb, special ? NAN : value);
    }
}

static int decode_all(hw_float_conv_op *op, hw_status *status)
{
    const hw_float_conv *v = &op->conv;
    const int64_t words = v->in_high - min64(v->in_low, 0) + 1, bytes = op->x_limbs * (op->host64 ? 8 : 4);
    if (words > 1 << 16)
        return HW_OK;
    op->decoded = hw_alloc((size_t)(words * bytes), status);
    for (int64_t i = 0; op->decoded && i < words; i++)
        hw_float_decode(op, i + min64(v->in_low, 0), (uint8_t *)op->decoded + i * bytes);
    return status->code;
}

/* Rows in the order in which they are read: a kernel's pixels one after the other where any order will do. */
static int set_order(hw_float_conv_op *op, hw_status *status)
{
    const hw_float_conv *v = &op->conv;
    op->rows = op->path == FLOAT_EXACT ? op->taps : v->steps * v->lanes;
    op->order = hw_alloc((size_t)op->rows * sizeof(int64_t), status);
    const int64_t pixels = v->r * v->s, channels = v->c / v->groups;
    for (int64_t i = 0; op->order && i < op->rows; i++)
        op->order[i] = op->path == FLOAT_EXACT ? i % channels * pixels + i / channels : op->table[i];
    return status->code;
}

static int set_places(hw_float_conv_op *op, hw_status *status)
{
    const hw_float_conv *v = &op->conv;
    const int64_t per_group = v->k / v->groups, in_group = ceil_div(per_group, FLOAT_BLOCK);
    op->blocks = v->groups * in_group;
    op->place = hw_alloc((size_t)op->blocks * sizeof *op->place, status);
    for (int64_t b = 0; op->place && b < op->blocks; b++) {
        const int64_t group = b / in_group, at = b % in_group * FLOAT_BLOCK;
        op->place[b] = (hw_float_block_place){group * per_group + at, min64(FLOAT_BLOCK, per_group - at),
                                              group * (v->c / v->groups)};
    }
    return status->code;
}

static double packed_weight(const hw_float_conv_op *op, const hw_spans *s, int64_t k, int64_t tap, int limb)
{
    const hw_parts w = op->weights[k * op->taps + tap];
    if (op->path == FLOAT_ADD || w.significand == 0)
        return host_value(w);
    const double value = (double)limb_of(w.significand << (w.exponent - s->w_low_of[k]), limb, op->w_limb_bits);
    return w.sign ? -value : value;
}

static int pack_operands(hw_float_conv_op *op, const hw_spans *s, hw_status *status)
{
    const hw_float_conv *v = &op->conv;
    const int64_t bytes = op->host64 ? 8 : 4;
    op->packed = hw_alloc((size_t)(op->w_limbs * op->blocks * op->rows * FLOAT_BLOCK * bytes), status);
    op->first = hw_alloc((size_t)(op->blocks * FLOAT_BLOCK * bytes), status);
    op->last = v->bias_last && op->path == FLOAT_ADD ? hw_alloc((size_t)(op->blocks * FLOAT_BLOCK * bytes), status) : NULL;
    for (int64_t b = 0; b < op->blocks && !status->code; b++) {
        for (int64_t lane = 0; lane < op->place[b].outputs; lane++) {
            const int64_t k = op->place[b].first_output + lane;
            for (int limb = 0; limb < op->w_limbs; limb++)
                for (int64_t row = 0; row < op->rows; row++)
                    if (op->order[row] >= 0)
                        put(op, op->packed, ((limb * op->blocks + b) * op->rows + row) * FLOAT_BLOCK + lane,
                            packed_weight(op, s, k, op->order[row], limb));
            if (op->path == FLOAT_ADD)
                put(op, v->bias_last ? op->last : op->first, b * FLOAT_BLOCK + lane,
                    host_value(unpack(op->bias[k], &v->register_format)));
        }
    }
    return status->code;
}

static const hw_float_table *table_for(int32_t isa)
{
#ifdef HW_X86
    if (isa >= HW_ISA_AVX512VNNI)
        return &hw_float_table__avx512vnni;
    if (isa == HW_ISA_AVX2)
        return &hw_float_table__avx2;
#endif
    (void)isa;
    return &hw_float_table__portable;
}

int hw_float_plan(hw_float_conv_op *op, hw_status *status)
{
    hw_spans s = {0};
    const hw_float_table *table = table_for(op->op.isa);
    s.w_low_of = hw_alloc((size_t)op->conv.k * sizeof(int), status);
    op->lift = hw_alloc((size_t)op->conv.k * sizeof(int32_t), status);
    if (!status->code) {
        span_input(&op->conv, &s);
        span_weights(op, &s);
        op->path = FLOAT_WALK;
        op->name = "integers";
        if (op->conv.exact && plan_exact(op, &s)) {
            op->path = FLOAT_EXACT;
            op->kernel = op->host64 ? table->sum64 : table->sum32;
            op->name = op->host64 ? "exact doubles" : "exact floats";
            set_scales(op, &s, status);
        } else if (!op->conv.exact && plan_add(op, &s, table)) {
            op->path = FLOAT_ADD;
        }
        set_rule(op, &s, table);
    }
    if (!status->code && op->path != FLOAT_WALK && set_order(op, status) == HW_OK && set_places(op, status) == HW_OK &&
        decode_all(op, status) == HW_OK)
        pack_operands(op, &s, status);
    free(s.w_low_of);
    return status->code;
}
