/* The narrow stage (stage.h), one register of 16 channels at a time. */
#define HW_ROW64 hw_row_s64__avx512vnni
#include "stage_rows64.inc"

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

/* (v + pick) >> right: two shifts by register and one three-way logic operation. */
static inline __m512i rounded(__m512i v, const lanes *l)
{
    const __m512i q = _mm512_srav_epi32(v, l->pick_shift);
    const __m512i pick = _mm512_ternarylogic_epi32(q, l->pick_flip, l->pick_mask, 0x28); /* (q ^ flip) & mask */
    return _mm512_srav_epi32(_mm512_add_epi32(v, pick), l->right);
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
        const __m512i value = _mm512_max_epi32(acc, l.relu_before_low);
        const __m512i r = _mm512_sllv_epi32(rounded(_mm512_add_epi32(value, l.add), &l), l.left);
        const __m512i clipped = _mm512_min_epi32(_mm512_max_epi32(r, l.low), l.high);
        counted[1] = count(counted[1], _mm512_mask_cmpneq_epi32_mask(l.mask, clipped, r));
        const __m512i code = s->output.overflow == HW_WRAP ? wrapped(r, s, &l) : clipped;
        store(row->out, row->out_type, p * row->out_stride + block * LANES, _mm512_max_epi32(code, l.relu_after_low),
              l.mask);
    }
}

/* The common case: folded sums, right shifts, saturation, 8-bit codes, no tap. Rounding is monotonic and keeps 0, so ReLU
 * before it is a lower limit after it: then only codes above `high` are events.
 *
 * Two blocks of 16 channels: packed to 32 words of a pixel, clipped and counted there; the words of two pixels are packed to
 * bytes. Packing works in lanes of 128 bits: 4 channels of block 0, 4 of block 1, ... are put in order by one permutation. */
typedef struct word_limits {
    __m512i event_low, low, high;
} word_limits;

static inline word_limits load_limits(const hw_stage *s)
{
    const int relu = s->output.activation, low = s->low;
    return (word_limits){
        .event_low = _mm512_set1_epi16((short)(relu == HW_RELU_BEFORE ? INT16_MIN : low)),
        .low = _mm512_set1_epi16((short)(relu == HW_NONE ? low : 0)),
        .high = _mm512_set1_epi16((short)s->high),
    };
}

static inline __m512i clip_words(__m512i words, const word_limits *w, __mmask32 counted, __m512i *events)
{
    const __m512i clipped = _mm512_min_epi16(_mm512_max_epi16(words, w->event_low), w->high);
    const __mmask32 left = _mm512_mask_cmpneq_epi16_mask(counted, clipped, words);
    *events = _mm512_mask_sub_epi16(*events, left, *events, _mm512_set1_epi16(-1));
    return _mm512_max_epi16(clipped, w->low);
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

/* The codes of one pixel in two blocks, as words. */
static inline __m512i pair_words(const int32_t *sums, int64_t plane, const lanes l[2], const word_limits *limits,
                                 __m512i *events)
{
    const __m512i first = rounded(_mm512_loadu_si512(sums), &l[0]);
    const __m512i second = rounded(_mm512_loadu_si512(sums + plane), &l[1]);
    return clip_words(_mm512_packs_epi32(first, second), limits, UINT32_MAX, events);
}

/* Everything the loop reads is in locals: the stores to `out` could alias what the pointers show. */
static int64_t pair_bytes(const hw_stage *s, const hw_row *row, int64_t block)
{
    const lanes l[2] = {load_lanes(s, row->first_channel + block * LANES),
                        load_lanes(s, row->first_channel + block * LANES + LANES)};
    const word_limits limits = load_limits(s);
    const __mmask32 mask = (__mmask32)l[1].mask << 16 | l[0].mask;
    const int64_t plane = row->plane, stride = row->out_stride, pairs = row->pixels / 2;
    const bool code_signed = s->code_signed, odd = row->pixels % 2;
    const int32_t *sums = row->sums + block * plane;
    uint8_t *out = (uint8_t *)row->out + block * LANES;
    __m512i events = _mm512_setzero_si512();
    for (int64_t p = 0; p < pairs; p++, sums += 2 * LANES, out += 2 * stride) {
        const __m512i first = pair_words(sums, plane, l, &limits, &events);
        const __m512i second = pair_words(sums + LANES, plane, l, &limits, &events);
        const __m512i codes = pack_bytes(first, second, code_signed);
        _mm256_mask_storeu_epi8(out, mask, _mm512_castsi512_si256(codes));
        _mm256_mask_storeu_epi8(out + stride, mask, _mm512_extracti64x4_epi64(codes, 1));
    }
    if (odd) {
        const __m512i last = pair_words(sums, plane, l, &limits, &events);
        _mm256_mask_storeu_epi8(out, mask, _mm512_castsi512_si256(pack_bytes(last, last, code_signed)));
    }
    return sum_words(events);
}

/* One block: 16 words of each of two pixels. */
static int64_t single_bytes(const hw_stage *s, const hw_row *row, int64_t block)
{
    const lanes l = load_lanes(s, row->first_channel + block * LANES);
    const word_limits limits = load_limits(s);
    const __mmask32 first_pixel = 0x0f0f0f0f;
    const int32_t *sums = row->sums + block * row->plane;
    uint8_t *out = (uint8_t *)row->out + block * LANES;
    __m512i events = _mm512_setzero_si512();
    for (int64_t p = 0; p < row->pixels; p += 2) {
        const bool two = p + 1 < row->pixels;
        const __m512i words = _mm512_packs_epi32(rounded(_mm512_loadu_si512(sums + p * LANES), &l),
                                                 rounded(_mm512_loadu_si512(sums + (p + two) * LANES), &l));
        const __m512i clipped = clip_words(words, &limits, two ? UINT32_MAX : first_pixel, &events);
        const __m512i codes = pack_bytes(clipped, clipped, s->code_signed);
        _mm_mask_storeu_epi8(out + p * row->out_stride, l.mask, _mm512_castsi512_si128(codes));
        if (two)
            _mm_mask_storeu_epi8(out + (p + 1) * row->out_stride, l.mask, _mm512_extracti32x4_epi32(codes, 1));
    }
    return sum_words(events);
}

void hw_row_s32__avx512vnni(const hw_stage *s, const hw_row *row, int64_t events[HW_COUNTERS])
{
    if (row->folded) {
        int64_t block = 0;
        for (; block + 2 <= row->blocks; block += 2)
            events[1] += pair_bytes(s, row, block);
        if (block < row->blocks)
            events[1] += single_bytes(s, row, block);
        return;
    }
    __m512i counted[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
    for (int64_t block = 0; block < row->blocks; block++)
        block_general(s, row, block, counted);
    events[0] += _mm512_reduce_add_epi32(counted[0]);
    events[1] += _mm512_reduce_add_epi32(counted[1]);
}
