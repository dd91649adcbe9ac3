/* The common case of the stage: folded sums, saturation, 8-bit codes, no tap. Two pixels at a time are scaled, packed to words,
 * clipped and counted there, and packed to bytes.
 *
 * Every rule is monotone and brings 0 to 0, so ReLU before it is a lower limit behind it, and nothing below is an event; nor is
 * what a declared clamp cuts off. Packing works in lanes of 128 bits: 4 channels of block 0, 4 of block 1, ... are put in order by
 * one permutation. */
#include "stage_lanes__avx512vnni.h"

typedef struct limits {
    __m512i zero_point, low, high, event_low, event_high;
    bool counts;             /* something can be an event */
} limits;

static limits load_limits(const hw_stage *s)
{
    const int32_t zero = s->zero_point, relu_before = s->output.activation == HW_RELU_BEFORE ? zero : INT32_MIN;
    const int64_t low = max64(max64(s->low, s->clamp32_low), max64(relu_before, s->relu_after_low));
    const int64_t high = max64(min64(s->high, s->clamp32_high), s->relu_after_low); /* ReLU stands behind the clamp */
    const bool below = s->clamp32_low < s->low && relu_before < s->low, above = s->clamp32_high > s->high;
    return (limits){
        .zero_point = _mm512_set1_epi16((short)zero),
        .low = _mm512_set1_epi16((short)low),
        .high = _mm512_set1_epi16((short)high),
        .event_low = _mm512_set1_epi16(below ? (short)s->low : INT16_MIN),
        .event_high = _mm512_set1_epi16(above ? (short)s->high : INT16_MAX),
        .counts = below || above,
    };
}

/* What the high half of a product doubled holds, `add` in it; see stage.h. */
static inline __m512i high_doubled(__m512i value, const lanes *l)
{
    const halves product = multiply(_mm512_sllv_epi32(value, l->left), l);
    const __m512i even = _mm512_add_epi64(product.even, l->nudge.even), odd = _mm512_add_epi64(product.odd, l->nudge.odd);
    return _mm512_castps_si512(_mm512_mask_movehdup_ps(_mm512_castsi512_ps(odd), 0x5555, _mm512_castsi512_ps(even)));
}

static inline __attribute__((always_inline)) __m512i scaled_sums(const int32_t *sums, const lanes *l, const enum hw_scaling rule,
                                                                 const bool plain)
{
    const __m512i value = _mm512_loadu_si512(sums);
    if (plain)
        return rounded(value, l);
    return rule == HW_HIGH_MULTIPLY ? rounded(high_doubled(value, l), l) : scaled(value, l, rule);
}

static inline __attribute__((always_inline)) __m512i clip(__m512i scaled_words, const limits *to, __mmask32 counted,
                                                          __m512i *events, const bool plain, const bool counts)
{
    const __m512i words = plain ? scaled_words : _mm512_adds_epi16(scaled_words, to->zero_point);
    if (counts) {
        const __m512i kept = _mm512_min_epi16(_mm512_max_epi16(words, to->event_low), to->event_high);
        const __mmask32 left = _mm512_mask_cmpneq_epi16_mask(counted, kept, words);
        *events = _mm512_mask_sub_epi16(*events, left, *events, _mm512_set1_epi16(-1));
        if (plain) /* which has no clamp: the upper limits are one */
            return _mm512_max_epi16(kept, to->low);
    }
    return _mm512_min_epi16(_mm512_max_epi16(words, to->low), to->high);
}

static inline __m512i pack_bytes(__m512i words0, __m512i words1, bool code_signed)
{
    const __m512i in_order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i bytes = code_signed ? _mm512_packs_epi16(words0, words1) : _mm512_packus_epi16(words0, words1);
    return _mm512_permutexvar_epi32(in_order, bytes);
}

/* The sum of the 32 counters, each at most MAX_PIXELS. */
static inline int64_t sum_words(__m512i words)
{
    return _mm512_reduce_add_epi32(_mm512_madd_epi16(words, _mm512_set1_epi16(1)));
}

static inline __attribute__((always_inline)) lanes load_byte_lanes(const hw_stage *s, int64_t k, const enum hw_scaling rule)
{
    lanes l = load_lanes(s, k);
    if (rule == HW_HIGH_MULTIPLY)
        l.left = _mm512_add_epi32(l.left, _mm512_set1_epi32(1));
    return l;
}

/* Two blocks. Everything the loop reads is in locals: the stores to `out` could alias what the pointers show. */
static inline __attribute__((always_inline)) int64_t pair_bytes(const hw_stage *s, const hw_row *row, const hw_places *places,
                                                                int64_t block, const enum hw_scaling rule, const bool plain,
                                                                const bool counts)
{
    const int64_t k = row->first_channel + block * LANES, plane = row->plane, count = places->count;
    const lanes a = load_byte_lanes(s, k, rule), b = load_byte_lanes(s, k + LANES, rule);
    const limits to = load_limits(s);
    const __mmask32 mask = (__mmask32)b.mask << 16 | a.mask;
    const bool code_signed = s->code_signed;
    const int32_t *sums = row->sums + block * plane;
    uint8_t *out = (uint8_t *)row->out + block * LANES;
    __m512i events = _mm512_setzero_si512();
    int64_t i = 0;
    for (; i + 2 <= count; i += 2) {
        const int32_t *p = sums + places->sums[i], *q = sums + places->sums[i + 1];
        const __m512i first = clip(_mm512_packs_epi32(scaled_sums(p, &a, rule, plain), scaled_sums(p + plane, &b, rule, plain)), &to,
                                   UINT32_MAX, &events, plain, counts);
        const __m512i second = clip(_mm512_packs_epi32(scaled_sums(q, &a, rule, plain), scaled_sums(q + plane, &b, rule, plain)),
                                    &to, UINT32_MAX, &events, plain, counts);
        const __m512i codes = pack_bytes(first, second, code_signed);
        _mm256_mask_storeu_epi8(out + places->out[i], mask, _mm512_castsi512_si256(codes));
        _mm256_mask_storeu_epi8(out + places->out[i + 1], mask, _mm512_extracti64x4_epi64(codes, 1));
    }
    if (i < count) {
        const int32_t *p = sums + places->sums[i];
        const __m512i last = clip(_mm512_packs_epi32(scaled_sums(p, &a, rule, plain), scaled_sums(p + plane, &b, rule, plain)), &to,
                                  UINT32_MAX, &events, plain, counts);
        _mm256_mask_storeu_epi8(out + places->out[i], mask, _mm512_castsi512_si256(pack_bytes(last, last, code_signed)));
    }
    return counts ? sum_words(events) : 0;
}

/* One block: 16 words of each of two pixels. */
static inline __attribute__((always_inline)) int64_t single_bytes(const hw_stage *s, const hw_row *row, const hw_places *places,
                                                                  int64_t block, const enum hw_scaling rule, const bool plain,
                                                                  const bool counts)
{
    enum { FIRST_PIXEL = 0x0f0f0f0f };
    const lanes l = load_byte_lanes(s, row->first_channel + block * LANES, rule);
    const limits to = load_limits(s);
    const int64_t count = places->count;
    const bool code_signed = s->code_signed;
    const int32_t *sums = row->sums + block * row->plane;
    uint8_t *out = (uint8_t *)row->out + block * LANES;
    __m512i events = _mm512_setzero_si512();
    for (int64_t i = 0; i < count; i += 2) {
        const bool two = i + 1 < count;
        const __m512i words = _mm512_packs_epi32(scaled_sums(sums + places->sums[i], &l, rule, plain),
                                                 scaled_sums(sums + places->sums[i + two], &l, rule, plain));
        const __m512i clipped = clip(words, &to, two ? UINT32_MAX : FIRST_PIXEL, &events, plain, counts);
        const __m512i codes = pack_bytes(clipped, clipped, code_signed);
        _mm_mask_storeu_epi8(out + places->out[i], l.mask, _mm512_castsi512_si128(codes));
        _mm_mask_storeu_epi8(out + places->out[i + two], l.mask, two ? _mm512_extracti32x4_epi32(codes, 1) : _mm512_castsi512_si128(codes));
    }
    return counts ? sum_words(events) : 0;
}

static inline __attribute__((always_inline)) void all_blocks(const hw_stage *s, const hw_row *row, const hw_places *places,
                                                             int64_t *events, const enum hw_scaling rule, const bool plain,
                                                             const bool counts)
{
    int64_t block = 0;
    for (; block + 2 <= row->blocks; block += 2)
        *events += pair_bytes(s, row, places, block, rule, plain, counts);
    if (block < row->blocks)
        *events += single_bytes(s, row, places, block, rule, plain, counts);
}

#define RULE(rule, plain)                                         \
    if (counts)                                                   \
        all_blocks(s, row, places, events, rule, plain, true);    \
    else                                                          \
        all_blocks(s, row, places, events, rule, plain, false);   \
    break;

void hw_folded_bytes__avx512vnni(const hw_stage *s, const hw_row *row, const hw_places *places, int64_t *events)
{
    const bool counts = load_limits(s).counts;
    switch (s->output.scaling) {
    case HW_HIGH_MULTIPLY: RULE(HW_HIGH_MULTIPLY, false)
    case HW_MULTIPLY: RULE(HW_MULTIPLY, false)
    case HW_DOUBLE_ROUND: RULE(HW_DOUBLE_ROUND, false)
    case HW_FLOAT32: RULE(HW_FLOAT32, false)
    default:
        if (s->plain)
            all_blocks(s, row, places, events, HW_SHIFT, true, true);
        else
            all_blocks(s, row, places, events, HW_SHIFT, false, true);
    }
}
