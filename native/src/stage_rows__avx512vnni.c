/* The narrow stage (stage.h), one register of 16 channels at a time. */
#define HW_ROW64 hw_row_s64__avx512vnni
#include "stage_rows64.inc"

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

static inline halves load_halves(const int64_t *from)
{
    const __m512i low = _mm512_loadu_si512(from), high = _mm512_loadu_si512(from + 8);
    return (halves){_mm512_permutex2var_epi64(low, _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14), high),
                    _mm512_permutex2var_epi64(low, _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15), high)};
}

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

/* The common case: folded sums, plain right shifts, saturation, 8-bit codes, no tap. Rounding is monotonic and keeps 0, so ReLU
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

/* Folded sums, 8-bit codes: two pixels of one block at a time, clipped as words. */
typedef struct byte_limits {
    __m512i clamp_low, clamp_high, low, high, relu_low;
} byte_limits;

static inline short within16(int32_t x) { return (short)(x < INT16_MIN ? INT16_MIN : x > INT16_MAX ? INT16_MAX : x); }

static inline byte_limits load_byte_limits(const hw_stage *s)
{
    return (byte_limits){
        .clamp_low = _mm512_set1_epi16(within16(s->clamp32_low)),
        .clamp_high = _mm512_set1_epi16(within16(s->clamp32_high)),
        .low = _mm512_set1_epi16((short)s->low),
        .high = _mm512_set1_epi16((short)s->high),
        .relu_low = _mm512_set1_epi16(within16(s->relu_after_low)),
    };
}

static inline __attribute__((always_inline)) __m512i scaled_code(const int32_t *sums, const lanes *l, const enum hw_scaling rule)
{
    const __m512i value = _mm512_max_epi32(_mm512_loadu_si512(sums), l->relu_before_low);
    return _mm512_add_epi32(scaled(value, l, rule), l->zero_point);
}

static inline __attribute__((always_inline)) int64_t scaled_bytes(const hw_stage *s, const hw_row *row, int64_t block,
                                                                  const enum hw_scaling rule)
{
    const lanes l = load_lanes(s, row->first_channel + block * LANES);
    const byte_limits limits = load_byte_limits(s);
    const __m512i in_order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __mmask32 both = 0xffffffff, first_pixel = 0x0f0f0f0f;
    const int32_t *sums = row->sums + block * row->plane;
    uint8_t *out = (uint8_t *)row->out + block * LANES;
    const int64_t pixels = row->pixels, stride = row->out_stride;
    const bool code_signed = s->code_signed;
    __m512i events = _mm512_setzero_si512();
    for (int64_t p = 0; p < pixels; p += 2) {
        const bool two = p + 1 < pixels;
        const __m512i a = scaled_code(sums + p * LANES, &l, rule), b = scaled_code(sums + (p + two) * LANES, &l, rule);
        const __m512i words = _mm512_packs_epi32(a, b);
        const __m512i r = _mm512_min_epi16(_mm512_max_epi16(words, limits.clamp_low), limits.clamp_high);
        const __m512i clipped = _mm512_min_epi16(_mm512_max_epi16(r, limits.low), limits.high);
        const __mmask32 left = _mm512_mask_cmpneq_epi16_mask(two ? both : first_pixel, clipped, r);
        events = _mm512_mask_sub_epi16(events, left, events, _mm512_set1_epi16(-1));
        const __m512i codes = _mm512_max_epi16(clipped, limits.relu_low);
        const __m512i bytes = code_signed ? _mm512_packs_epi16(codes, codes) : _mm512_packus_epi16(codes, codes);
        const __m512i ordered = _mm512_permutexvar_epi32(in_order, bytes);
        _mm_mask_storeu_epi8(out + p * stride, l.mask, _mm512_castsi512_si128(ordered));
        if (two)
            _mm_mask_storeu_epi8(out + (p + 1) * stride, l.mask, _mm512_extracti32x4_epi32(ordered, 1));
    }
    return sum_words(events);
}

static int64_t scaled_block(const hw_stage *s, const hw_row *row, int64_t block)
{
    switch (s->output.scaling) {
    case HW_HIGH_MULTIPLY: return scaled_bytes(s, row, block, HW_HIGH_MULTIPLY);
    case HW_MULTIPLY: return scaled_bytes(s, row, block, HW_MULTIPLY);
    case HW_DOUBLE_ROUND: return scaled_bytes(s, row, block, HW_DOUBLE_ROUND);
    case HW_FLOAT32: return scaled_bytes(s, row, block, HW_FLOAT32);
    default: return scaled_bytes(s, row, block, HW_SHIFT);
    }
}

static void row_folded(const hw_stage *s, const hw_row *row, int64_t events[HW_COUNTERS])
{
    int64_t block = 0;
    for (; s->plain && block + 2 <= row->blocks; block += 2)
        events[1] += pair_bytes(s, row, block);
    for (; block < row->blocks; block++)
        events[1] += s->plain ? single_bytes(s, row, block) : scaled_block(s, row, block);
}

void hw_row_s32__avx512vnni(const hw_stage *s, const hw_row *row, int64_t events[HW_COUNTERS])
{
    if (row->folded) {
        row_folded(s, row, events);
        return;
    }
    __m512i counted[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
    row_general(s, row, counted);
    events[0] += _mm512_reduce_add_epi32(counted[0]);
    events[1] += _mm512_reduce_add_epi32(counted[1]);
}
