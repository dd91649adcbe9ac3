/* The narrow stage (stage.h), one register of 16 channels at a time. */
#include "core.h"

#include <immintrin.h>

/* What one block of 16 channels needs of the stage, in registers. */
typedef struct lanes {
    __m512i bias, product_shift, left, right, add, pick_shift, pick_flip, pick_mask;
    __m512i low, high, relu_before_low, relu_after_low;
    __m128i acc_unused, code_unused;
    __mmask16 mask;
} lanes;

static inline lanes load_lanes(const hw_stage *s, int64_t k)
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
        .low = _mm512_set1_epi32(s->low),
        .high = _mm512_set1_epi32(s->high),
        .relu_before_low = _mm512_set1_epi32(s->relu_before_low),
        .relu_after_low = _mm512_set1_epi32(s->relu_after_low),
        .acc_unused = _mm_cvtsi32_si128(s->output.acc_bits < 32 ? 32 - s->output.acc_bits : 0),
        .code_unused = _mm_cvtsi32_si128(32 - s->code_bits),
        .mask = (__mmask16)((1u << min64(LANES, s->channels - k)) - 1),
    };
}

static inline __m512i count(__m512i counted, __mmask16 where)
{
    return _mm512_mask_sub_epi32(counted, where, counted, _mm512_set1_epi32(-1));
}

/* round(acc / 2^shift) with ReLU before it; two shifts by register and one three-way logic operation. */
static inline __m512i rounded(__m512i acc, const lanes *l, bool plain)
{
    const __m512i v = _mm512_max_epi32(acc, l->relu_before_low);
    const __m512i q = _mm512_srav_epi32(v, l->pick_shift);
    const __m512i pick = _mm512_ternarylogic_epi32(q, l->pick_flip, l->pick_mask, 0x28); /* (q ^ flip) & mask */
    const __m512i r = _mm512_srav_epi32(_mm512_add_epi32(_mm512_add_epi32(v, l->add), pick), l->right);
    return plain ? r : _mm512_sllv_epi32(r, l->left);
}

static inline __m512i wrapped(__m512i r, const hw_stage *s, const lanes *l)
{
    const __m512i high_bits = _mm512_sll_epi32(r, l->code_unused);
    return s->code_signed ? _mm512_sra_epi32(high_bits, l->code_unused) : _mm512_srl_epi32(high_bits, l->code_unused);
}

static inline void store(void *out, int32_t type, int64_t at, __m512i codes, __mmask16 mask)
{
    switch (hw_type_bytes(type)) {
    case 1:
        if (mask == 0xffff)
            _mm_storeu_si128((__m128i *)((uint8_t *)out + at), _mm512_cvtepi32_epi8(codes));
        else
            _mm_mask_storeu_epi8((uint8_t *)out + at, mask, _mm512_cvtepi32_epi8(codes));
        break;
    case 2: _mm256_mask_storeu_epi16((uint16_t *)out + at, mask, _mm512_cvtepi32_epi16(codes)); break;
    case 4: _mm512_mask_storeu_epi32((uint32_t *)out + at, mask, codes); break;
    default:
        _mm512_mask_storeu_epi64((int64_t *)out + at, (__mmask8)mask,
                                 _mm512_cvtepi32_epi64(_mm512_castsi512_si256(codes)));
        _mm512_mask_storeu_epi64((int64_t *)out + at + 8, (__mmask8)(mask >> 8),
                                 _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64(codes, 1)));
    }
}

/* Any narrow stage; taps, accumulator wrap, shifts to the left. */
static void block_general(const hw_stage *s, const hw_row *row, int64_t block, __m512i counted[2])
{
    const lanes l = load_lanes(s, row->first_channel + block * LANES);
    for (int64_t p = 0; p < row->pixels; p++) {
        const __m512i sum = _mm512_loadu_si512(row->sums + block * row->plane + p * LANES);
        const __m512i exact = _mm512_add_epi32(_mm512_sllv_epi32(sum, l.product_shift), l.bias);
        const __m512i acc = _mm512_sra_epi32(_mm512_sll_epi32(exact, l.acc_unused), l.acc_unused);
        counted[0] = count(counted[0], _mm512_mask_cmpneq_epi32_mask(l.mask, acc, exact));
        if (row->acc)
            store(row->acc, row->acc_type, p * row->acc_stride + block * LANES, acc, l.mask);
        const __m512i r = rounded(acc, &l, false);
        const __m512i clipped = _mm512_min_epi32(_mm512_max_epi32(r, l.low), l.high);
        counted[1] = count(counted[1], _mm512_mask_cmpneq_epi32_mask(l.mask, clipped, r));
        const __m512i code = s->output.overflow == HW_WRAP ? wrapped(r, s, &l) : clipped;
        store(row->out, row->out_type, p * row->out_stride + block * LANES, _mm512_max_epi32(code, l.relu_after_low),
              l.mask);
    }
}

/* The common case: no tap, right shifts, saturation, an accumulator proven wide enough, 8-bit codes. */
static void block_bytes(const hw_stage *s, const hw_row *row, int64_t block, __m512i counted[2])
{
    const lanes l = load_lanes(s, row->first_channel + block * LANES);
    const int32_t *sums = row->sums + block * row->plane;
    uint8_t *out = (uint8_t *)row->out + block * LANES;
    __m512i events = counted[1];
    for (int64_t p = 0; p < row->pixels; p++, sums += LANES, out += row->out_stride) {
        const __m512i r = rounded(_mm512_add_epi32(_mm512_loadu_si512(sums), l.bias), &l, true);
        const __m512i clipped = _mm512_min_epi32(_mm512_max_epi32(r, l.low), l.high);
        events = count(events, _mm512_mask_cmpneq_epi32_mask(l.mask, clipped, r));
        const __m128i codes = _mm512_cvtepi32_epi8(_mm512_max_epi32(clipped, l.relu_after_low));
        if (l.mask == 0xffff)
            _mm_storeu_si128((__m128i *)out, codes);
        else
            _mm_mask_storeu_epi8(out, l.mask, codes);
    }
    counted[1] = events;
}

void hw_row_s32__avx512vnni(const hw_stage *s, const hw_row *row, int64_t events[2])
{
    __m512i counted[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
    const bool bytes = s->plain && !row->acc && hw_type_bytes(row->out_type) == 1;
    for (int64_t block = 0; block < row->blocks; block++) {
        if (bytes)
            block_bytes(s, row, block, counted);
        else
            block_general(s, row, block, counted);
    }
    events[0] += _mm512_reduce_add_epi32(counted[0]);
    events[1] += _mm512_reduce_add_epi32(counted[1]);
}
