/* The narrow stage (stage.h), one register of 16 channels at a time. */
#define HW_ROW64 hw_row_s64__avx512vnni
#include "stage_rows64.inc"

#include "stage_lanes__avx512vnni.h"

static inline __m512i count(__m512i counted, __mmask16 where)
{
    return _mm512_mask_sub_epi32(counted, where, counted, _mm512_set1_epi32(-1));
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
static inline __attribute__((always_inline)) void block_general(const hw_stage *s, const hw_row *row, int64_t block,
                                                                __m512i counted[2], const enum hw_scaling rule)
{
    const lanes l = load_lanes(s, row->first_channel + block * LANES);
    for (int64_t p = 0; p < row->pixels; p++) {
        const __m512i sum = _mm512_loadu_si512(row->sums + block * row->plane + p * LANES);
        const __m512i exact = _mm512_add_epi32(_mm512_sllv_epi32(sum, l.product_shift), l.bias);
        const __m512i acc = _mm512_sra_epi32(_mm512_sll_epi32(exact, l.acc_unused), l.acc_unused);
        counted[0] = count(counted[0], _mm512_mask_cmpneq_epi32_mask(l.mask, acc, exact));
        if (row->acc)
            store(row->acc, row->acc_type, p * row->acc_stride + block * LANES, acc, l.mask);
        const __m512i moved = _mm512_add_epi32(scaled(_mm512_max_epi32(acc, l.relu_before_low), &l, rule), l.zero_point);
        const __m512i r = _mm512_min_epi32(_mm512_max_epi32(moved, l.clamp_low), l.clamp_high);
        const __m512i clipped = _mm512_min_epi32(_mm512_max_epi32(r, l.low), l.high);
        counted[1] = count(counted[1], _mm512_mask_cmpneq_epi32_mask(l.mask, clipped, r));
        const __m512i code = s->output.overflow == HW_WRAP ? wrapped(r, s, &l) : clipped;
        store(row->out, row->out_type, p * row->out_stride + block * LANES, _mm512_max_epi32(code, l.relu_after_low),
              l.mask);
    }
}

static void row_general(const hw_stage *s, const hw_row *row, __m512i counted[2])
{
    for (int64_t block = 0; block < row->blocks; block++)
        switch (s->output.scaling) {
        case HW_HIGH_MULTIPLY: block_general(s, row, block, counted, HW_HIGH_MULTIPLY); break;
        case HW_MULTIPLY: block_general(s, row, block, counted, HW_MULTIPLY); break;
        case HW_DOUBLE_ROUND: block_general(s, row, block, counted, HW_DOUBLE_ROUND); break;
        case HW_FLOAT32: block_general(s, row, block, counted, HW_FLOAT32); break;
        default: block_general(s, row, block, counted, HW_SHIFT);
        }
}

void hw_row_s32__avx512vnni(const hw_stage *s, const hw_row *row, int64_t events[HW_COUNTERS])
{
    __m512i counted[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
    row_general(s, row, counted);
    events[0] += _mm512_reduce_add_epi32(counted[0]);
    events[1] += _mm512_reduce_add_epi32(counted[1]);
}
