/* The stage's rules in registers of 16 channels: what stage_rows__avx512vnni.c and stage_bytes__avx512vnni.c share. */
#ifndef HW_STAGE_LANES_AVX512VNNI_H
#define HW_STAGE_LANES_AVX512VNNI_H

#include "core.h"

#include <immintrin.h>

/* Eight 64-bit numbers of the even channels of a block, and of the odd ones: as products of 32-bit lanes come. */
typedef struct halves {
    __m512i even, odd;
} halves;

/* What one block of 16 channels needs of the stage, in registers. */
typedef struct lanes {
    __m512i bias, product_shift, left, right, add, pick_shift, pick_flip, pick_mask;
    __m512i low, high, relu_before_low, relu_after_low, zero_point, clamp_low, clamp_high;
    __m128i acc_unused, code_unused;
    __mmask16 mask;
    halves multiplier, wide_right, wide_add, wide_pick_shift, wide_pick_mask, nudge;
    __m512 scale;
} lanes;

static inline __attribute__((always_inline)) halves load_halves(const int64_t *from)
{
    const __m512i low = _mm512_loadu_si512(from), high = _mm512_loadu_si512(from + 8);
    return (halves){_mm512_permutex2var_epi64(low, _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14), high),
                    _mm512_permutex2var_epi64(low, _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15), high)};
}

/* Inlined, so that what a rule does not need is not loaded. */
static inline __attribute__((always_inline)) lanes load_lanes(const hw_stage *s, int64_t k)
{
    return (lanes){
        .bias = _mm512_loadu_si512(s->bias32 + k),
        .product_shift = _mm512_loadu_si512(s->product_shift + k),
        .left = _mm512_loadu_si512(s->left + k),
        .right = _mm512_loadu_si512(s->right + k),
        .add = _mm512_loadu_si512(s->add + k),
        .pick_shift = _mm512_loadu_si512(s->pick_shift + k),
        .pick_flip = _mm512_set1_epi32(s->pick_flip),
        .pick_mask = _mm512_loadu_si512(s->pick_mask + k),
        .zero_point = _mm512_set1_epi32(s->zero_point),
        .clamp_low = _mm512_set1_epi32(s->clamp32_low),
        .clamp_high = _mm512_set1_epi32(s->clamp32_high),
        .multiplier = load_halves(s->lanes64.multiplier + k),
        .wide_right = load_halves(s->lanes64.right + k),
        .wide_add = load_halves(s->lanes64.add + k),
        .wide_pick_shift = load_halves(s->lanes64.pick_shift + k),
        .wide_pick_mask = load_halves(s->lanes64.pick_mask + k),
        .nudge = load_halves(s->lanes64.nudge + k),
        .scale = _mm512_loadu_ps(s->scale + k),
        .low = _mm512_set1_epi32(s->low),
        .high = _mm512_set1_epi32(s->high),
        .relu_before_low = _mm512_set1_epi32(s->relu_before_low),
        .relu_after_low = _mm512_set1_epi32(s->relu_after_low),
        .acc_unused = _mm_cvtsi32_si128(s->output.acc_bits < 32 ? 32 - s->output.acc_bits : 0),
        .code_unused = _mm_cvtsi32_si128(32 - s->code_bits),
        .mask = (__mmask16)((1u << min64(LANES, s->channels - k)) - 1),
    };
}

/* (v + pick) >> right: two shifts by register and one three-way logic operation. */
static inline __m512i rounded(__m512i v, const lanes *l)
{
    const __m512i q = _mm512_srav_epi32(v, l->pick_shift);
    const __m512i pick = _mm512_ternarylogic_epi32(q, l->pick_flip, l->pick_mask, 0x28); /* (q ^ flip) & mask */
    return _mm512_srav_epi32(_mm512_add_epi32(v, pick), l->right);
}

static inline halves multiply(__m512i value, const lanes *l)
{
    return (halves){_mm512_mul_epi32(value, l->multiplier.even), _mm512_mul_epi32(_mm512_srli_epi64(value, 32), l->multiplier.odd)};
}

/* The low halves of the even channels' numbers, and the odd channels' moved up beside them. */
static inline __m512i join(__m512i even, __m512i odd_moved_up)
{
    return _mm512_mask_blend_epi32(0xaaaa, even, odd_moved_up);
}

/* The doubling high half, ties up; then what is left of the shift. */
static inline __m512i high_multiplied(__m512i value, const lanes *l)
{
    const __m512i half = _mm512_set1_epi64(1 << 30);
    const halves product = multiply(_mm512_sllv_epi32(value, l->left), l);
    const __m512i even = _mm512_add_epi64(product.even, half), odd = _mm512_add_epi64(product.odd, half);
    const __m512i high = join(_mm512_srli_epi64(even, 31), _mm512_slli_epi64(odd, 1));
    return rounded(_mm512_add_epi32(high, l->add), l);
}

static inline __m512i shift_wide(__m512i product, __m512i add, __m512i pick_shift, __m512i flip, __m512i mask, __m512i right)
{
    const __m512i v = _mm512_add_epi64(product, add);
    const __m512i pick = _mm512_ternarylogic_epi64(_mm512_srav_epi64(v, pick_shift), flip, mask, 0x28);
    return _mm512_srav_epi64(_mm512_add_epi64(v, pick), right);
}

static inline __m512i multiplied(__m512i value, const lanes *l)
{
    const halves product = multiply(value, l);
    const __m512i even = shift_wide(product.even, l->wide_add.even, l->wide_pick_shift.even, l->pick_flip,
                                    l->wide_pick_mask.even, l->wide_right.even);
    const __m512i odd = shift_wide(product.odd, l->wide_add.odd, l->wide_pick_shift.odd, l->pick_flip,
                                   l->wide_pick_mask.odd, l->wide_right.odd);
    return join(even, _mm512_slli_epi64(odd, 32));
}

/* `nudge` is added away from zero, and a product of 0 does not mind. */
static inline __m512i nudged(__m512i product, __m512i add, __m512i nudge, __m512i right)
{
    const __m512i sum = _mm512_add_epi64(product, add);
    const __m512i up = _mm512_add_epi64(sum, nudge);
    return _mm512_srav_epi64(_mm512_mask_sub_epi64(up, _mm512_movepi64_mask(product), sum, nudge), right);
}

static inline __m512i double_rounded(__m512i value, const lanes *l)
{
    const halves product = multiply(value, l);
    return join(nudged(product.even, l->wide_add.even, l->nudge.even, l->wide_right.even),
                _mm512_slli_epi64(nudged(product.odd, l->wide_add.odd, l->nudge.odd, l->wide_right.odd), 32));
}

static inline __m512i float_multiplied(__m512i value, const lanes *l)
{
    const __m512 most = _mm512_set1_ps(HW_FLOAT_REACH), magic = _mm512_set1_ps(HW_FLOAT_MAGIC);
    const __m512 product = _mm512_mul_ps(_mm512_cvtepi32_ps(value), l->scale);
    const __m512 near = _mm512_min_ps(_mm512_max_ps(product, _mm512_sub_ps(_mm512_setzero_ps(), most)), most);
    return _mm512_cvttps_epi32(_mm512_sub_ps(_mm512_add_ps(near, magic), magic));
}

/* From what `value` holds in the rule's place: the accumulator, or for HW_SHIFT the accumulator plus `add`. */
static inline __attribute__((always_inline)) __m512i scaled(__m512i value, const lanes *l, const enum hw_scaling rule)
{
    switch (rule) {
    case HW_HIGH_MULTIPLY: return high_multiplied(value, l);
    case HW_MULTIPLY: return multiplied(value, l);
    case HW_DOUBLE_ROUND: return double_rounded(value, l);
    case HW_FLOAT32: return float_multiplied(value, l);
    default: return _mm512_sllv_epi32(rounded(_mm512_add_epi32(value, l->add), l), l->left);
    }
}

#endif
