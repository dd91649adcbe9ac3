/* hw_lane_walk in registers of 512 bits: 32 channels of 16 bits, two times 16 of 32, four times 8 of 64. Several pixels at
 * once, since each step of a pixel waits for the one before it. */
#define HW_OWN_WALK
#define HW_WALK_SET hw_walk_set__avx512vnni
#include "walk_lanes.inc"

#include <immintrin.h>

/* CLIPS, WRAPS: the register is narrower than the lane. SATURATES, TURNS: it is as wide, and clips or wraps by itself. */
typedef enum lane_mode { CLIPS, WRAPS, SATURATES, TURNS } lane_mode;

/* Bits of what a segment does not prove. sum: C before it, C + S behind it. */
static inline __mmask16 not_proven(const hw_sixteen *v, int64_t p, __m512i most, __m512i least, __m512i *sum)
{
    const __m512i magnitude = _mm512_loadu_si512(v->magnitudes + p * LANES), before = _mm512_loadu_si512(v->sums + p * LANES);
    __m512i middle = *sum = before;
    if (v->part) {
        *sum = _mm512_add_epi32(before, _mm512_loadu_si512(v->part + p * LANES));
        middle = _mm512_add_epi32(before, *sum);
    }
    const __mmask16 above = _mm512_cmpgt_epi32_mask(_mm512_add_epi32(middle, magnitude), most);
    return above | _mm512_cmpgt_epi32_mask(least, _mm512_sub_epi32(middle, magnitude));
}

static void prove_segment(const hw_sixteen *v, int64_t pixels, uint16_t *unproven)
{
    const __m512i most = _mm512_loadu_si512(v->proof->limit_high + v->k), least = _mm512_loadu_si512(v->proof->limit_low + v->k);
    for (int64_t p = 0; p < pixels; p++) {
        __m512i sum;
        unproven[p] |= not_proven(v, p, most, least, &sum);
        _mm512_storeu_si512(v->sums + p * LANES, sum);
    }
}

static void prove_quickly(const hw_sixteen *v, int64_t pixels, uint16_t *unproven)
{
    if (v->more) {
        prove_segment(v, pixels, unproven);
        return;
    }
    if (v->order->bits > 32) {
        prove_pixels(v, pixels, unproven);
        return;
    }
    const __m512i most = _mm512_loadu_si512(v->proof->limit_high + v->k), least = _mm512_loadu_si512(v->proof->limit_low + v->k);
    const __m512i shift = _mm512_loadu_si512(v->proof->shift32 + v->k), bias = _mm512_loadu_si512(v->proof->bias32 + v->k);
    const __m512i start = v->add ? _mm512_add_epi32(bias, _mm512_loadu_si512(v->add)) : bias;
    for (int64_t p = 0; p < pixels; p++) {
        __m512i sum;
        unproven[p] |= not_proven(v, p, most, least, &sum);
        if (unproven[p])
            _mm512_storeu_si512(v->magnitudes + p * LANES, sum);
        _mm512_storeu_si512(v->sums + p * LANES, _mm512_add_epi32(_mm512_sllv_epi32(sum, shift), start));
    }
}

static inline __m512i codes_at(const uint8_t *pixel, __m512i offsets, __mmask16 mask, int32_t type)
{
    const __m512i dwords = _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), mask, offsets, pixel, 1);
    if (type == HW_S8)
        return _mm512_srai_epi32(_mm512_slli_epi32(dwords, 24), 24);
    return _mm512_and_si512(dwords, _mm512_set1_epi32(type == HW_U8 ? 0xff : 0xffff));
}

/* The gathers read up to three bytes behind a code: within HW_SLACK. */
static void read_column(const hw_lanes *l, const uint8_t *pixel, const int32_t *offsets, int32_t type, int32_t *column)
{
    const int32_t *second = offsets + l->entries;
    for (int64_t i = 0; i < l->entries; i += 16) {
        const __mmask16 mask = l->entries - i >= 16 ? 0xffff : (__mmask16)((1u << (l->entries - i)) - 1);
        const __m512i low = codes_at(pixel, _mm512_maskz_loadu_epi32(mask, offsets + i), mask, type);
        const __m512i high = l->width == LANES_16 ? low
                             : l->lone            ? _mm512_setzero_si512()
                                                  : codes_at(pixel, _mm512_maskz_loadu_epi32(mask, second + i), mask, type);
        const __m512i joined = _mm512_mask_blend_epi16(0xaaaaaaaa, low, _mm512_slli_epi32(high, 16));
        _mm512_mask_storeu_epi32(column + i, mask, joined);
    }
}

static inline __m512i entry(const hw_lane_walk *v, int pixel, int64_t at) { return _mm512_set1_epi32(v->columns[pixel][at]); }

/* Steps from..to-1, at most 65,535 of them: the counters have 16 bits. */
static inline __attribute__((always_inline)) void steps_16(hw_lane_walk *v, int64_t from, int64_t to, const int pixels,
                                                           const lane_mode mode)
{
    const __m512i low = _mm512_set1_epi16((short)v->order->low), high = _mm512_set1_epi16((short)v->order->high);
    const __m512i one = _mm512_set1_epi16(-1);
    const __m512i unused = _mm512_set1_epi16((short)(16 - v->order->bits));
    const int16_t *w = v->lanes->weights + (v->block * v->lanes->entries + from) * WALK_LANES;
    __m512i acc[WALK_PIXELS], events[WALK_PIXELS];
#pragma GCC unroll 4
    for (int p = 0; p < pixels; p++) {
        __m256i half[2];
        for (int h = 0; h < 2; h++) {
            const __m512i a = _mm512_loadu_si512(v->acc[p] + 16 * h), b = _mm512_loadu_si512(v->acc[p] + 16 * h + 8);
            half[h] = _mm256_set_m128i(_mm512_cvtepi64_epi16(b), _mm512_cvtepi64_epi16(a));
        }
        acc[p] = _mm512_inserti64x4(_mm512_castsi256_si512(half[0]), half[1], 1);
        events[p] = _mm512_setzero_si512();
    }
    for (int64_t at = from; at < to; at++, w += WALK_LANES) {
        const __m512i weights = _mm512_loadu_si512(w);
#pragma GCC unroll 4
        for (int p = 0; p < pixels; p++) {
            const __m512i product = _mm512_mullo_epi16(entry(v, p, at), weights);
            const __m512i wrapped = _mm512_add_epi16(acc[p], product);
            __m512i kept = _mm512_adds_epi16(acc[p], product);
            if (mode == CLIPS || mode == WRAPS)
                kept = _mm512_min_epi16(_mm512_max_epi16(kept, low), high);
            events[p] = _mm512_mask_sub_epi16(events[p], _mm512_cmpneq_epi16_mask(kept, wrapped), events[p], one);
            acc[p] = mode == TURNS   ? wrapped
                     : mode == WRAPS ? _mm512_srav_epi16(_mm512_sllv_epi16(wrapped, unused), unused) : kept;
        }
    }
#pragma GCC unroll 4
    for (int p = 0; p < pixels; p++) {
        for (int h = 0; h < 4; h++) {
            const __m128i a = h == 0   ? _mm512_castsi512_si128(acc[p])
                              : h == 1 ? _mm512_extracti32x4_epi32(acc[p], 1)
                              : h == 2 ? _mm512_extracti32x4_epi32(acc[p], 2)
                                       : _mm512_extracti32x4_epi32(acc[p], 3);
            _mm512_storeu_si512(v->acc[p] + 8 * h, _mm512_cvtepi16_epi64(a));
        }
        for (int h = 0; h < 2; h++) {
            const __m256i counted = h ? _mm512_extracti64x4_epi64(events[p], 1) : _mm512_castsi512_si256(events[p]);
            int32_t *to32 = v->events[p] + 16 * h;
            _mm512_storeu_si512(to32, _mm512_add_epi32(_mm512_loadu_si512(to32), _mm512_cvtepu16_epi32(counted)));
        }
    }
}

static inline __attribute__((always_inline)) void across(hw_across_walk *v, const lane_mode mode)
{
    const __m512i low = _mm512_set1_epi16((short)v->order->low), high = _mm512_set1_epi16((short)v->order->high);
    const __m512i one = _mm512_set1_epi16(-1);
    const __m512i unused = _mm512_set1_epi16((short)(16 - v->order->bits));
    __m512i acc[ACROSS_CHANNELS], events[ACROSS_CHANNELS];
#pragma GCC unroll 4
    for (int k = 0; k < ACROSS_CHANNELS; k++) {
        acc[k] = _mm512_load_si512(v->acc[k]);
        events[k] = _mm512_setzero_si512();
    }
    for (int64_t at = 0; at < v->entries; at++) {
        const __m512i codes = _mm512_loadu_si512(v->codes + at * ACROSS_PIXELS);
#pragma GCC unroll 4
        for (int k = 0; k < ACROSS_CHANNELS; k++) {
            const __m512i product = _mm512_mullo_epi16(codes, _mm512_set1_epi32(v->weights[k][at]));
            const __m512i wrapped = _mm512_add_epi16(acc[k], product);
            __m512i kept = _mm512_adds_epi16(acc[k], product);
            if (mode == CLIPS || mode == WRAPS)
                kept = _mm512_min_epi16(_mm512_max_epi16(kept, low), high);
            events[k] = _mm512_mask_sub_epi16(events[k], _mm512_cmpneq_epi16_mask(kept, wrapped), events[k], one);
            acc[k] = mode == TURNS   ? wrapped
                     : mode == WRAPS ? _mm512_srav_epi16(_mm512_sllv_epi16(wrapped, unused), unused) : kept;
        }
    }
#pragma GCC unroll 4
    for (int k = 0; k < ACROSS_CHANNELS; k++) {
        _mm512_store_si512(v->acc[k], acc[k]);
        _mm512_store_si512(v->events[k], events[k]);
    }
}

static void walk_across(hw_across_walk *v)
{
    const bool wraps = v->order->walk.overflow == HW_WRAP || v->order->walk.overflow == HW_TRAP;
    if (v->order->low == INT16_MIN)
        wraps ? across(v, TURNS) : across(v, SATURATES);
    else
        wraps ? across(v, WRAPS) : across(v, CLIPS);
}

/* As read_column, with a pixel to each lane. */
static void read_rows(const hw_lanes *l, const uint8_t *first, int64_t stride, int64_t pixels, const int32_t *offsets,
                      int32_t type, int16_t *codes)
{
    int32_t from[ACROSS_PIXELS];
    for (int64_t p = 0; p < ACROSS_PIXELS; p++)
        from[p] = (int32_t)(min64(p, pixels - 1) * stride);
    const __m512i low = _mm512_loadu_si512(from), high = _mm512_loadu_si512(from + 16);
    for (int64_t i = 0; i < l->entries; i++) {
        const __m512i a = codes_at(first + offsets[i], low, 0xffff, type), b = codes_at(first + offsets[i], high, 0xffff, type);
        _mm256_storeu_si256((__m256i *)(codes + i * ACROSS_PIXELS), _mm512_cvtepi32_epi16(a));
        _mm256_storeu_si256((__m256i *)(codes + i * ACROSS_PIXELS + 16), _mm512_cvtepi32_epi16(b));
    }
}

/* The sum of a step in 16 channels of 32 bits. */
static inline __attribute__((always_inline)) __m512i step_sum(const hw_lane_walk *v, int pixel, int64_t at, const int16_t *w,
                                                              const bool single)
{
    __m512i sum = _mm512_madd_epi16(entry(v, pixel, at), _mm512_loadu_si512(w));
    for (int64_t pair = 1; !single && pair < v->lanes->pairs; pair++)
        sum = _mm512_dpwssd_epi32(sum, entry(v, pixel, at + pair), _mm512_loadu_si512(w + pair * 2 * WALK_LANES));
    return sum;
}

static inline __attribute__((always_inline)) void steps_32(hw_lane_walk *v, const int pixels,
                                                           const lane_mode mode, const bool single)
{
    const __m512i low = _mm512_set1_epi32((int)v->order->low), high = _mm512_set1_epi32((int)v->order->high);
    const __m512i one = _mm512_set1_epi32(-1);
    const __m512i unused = _mm512_set1_epi32(32 - v->order->bits);
    const int64_t entries = v->lanes->entries, pairs = single ? 1 : v->lanes->pairs;
    const int16_t *w = v->lanes->weights + v->block * entries * 2 * WALK_LANES;
    __m512i acc[WALK_PIXELS][2], events[WALK_PIXELS][2];
#pragma GCC unroll 4
    for (int p = 0; p < pixels; p++)
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
            const __m256i a = _mm512_cvtepi64_epi32(_mm512_loadu_si512(v->acc[p] + 16 * h));
            const __m256i b = _mm512_cvtepi64_epi32(_mm512_loadu_si512(v->acc[p] + 16 * h + 8));
            acc[p][h] = _mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1);
            events[p][h] = _mm512_setzero_si512();
        }
    for (int64_t at = 0; at < entries; at += pairs, w += pairs * 2 * WALK_LANES) {
#pragma GCC unroll 4
        for (int p = 0; p < pixels; p++)
#pragma GCC unroll 2
            for (int h = 0; h < 2; h++) {
                const __m512i sum = step_sum(v, p, at, w + h * WALK_LANES, single);
                const __m512i exact = _mm512_add_epi32(acc[p][h], sum);
                if (mode == SATURATES || mode == TURNS) { /* it left int32 iff its sign is neither summand's */
                    const __m512i sign = _mm512_ternarylogic_epi32(acc[p][h], sum, exact, 0x42);
                    const __mmask16 left = _mm512_movepi32_mask(sign);
                    events[p][h] = _mm512_mask_sub_epi32(events[p][h], left, events[p][h], one);
                    acc[p][h] = mode == TURNS ? exact
                                              : _mm512_mask_xor_epi32(exact, left, _mm512_srai_epi32(sum, 31), high);
                    continue;
                }
                const __m512i kept = _mm512_min_epi32(_mm512_max_epi32(exact, low), high);
                events[p][h] = _mm512_mask_sub_epi32(events[p][h], _mm512_cmpneq_epi32_mask(kept, exact), events[p][h], one);
                acc[p][h] = mode == WRAPS ? _mm512_srav_epi32(_mm512_sllv_epi32(exact, unused), unused) : kept;
            }
    }
#pragma GCC unroll 4
    for (int p = 0; p < pixels; p++)
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
            _mm512_storeu_si512(v->acc[p] + 16 * h, _mm512_cvtepi32_epi64(_mm512_castsi512_si256(acc[p][h])));
            _mm512_storeu_si512(v->acc[p] + 16 * h + 8, _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64(acc[p][h], 1)));
            _mm512_storeu_si512(v->events[p] + 16 * h, events[p][h]);
        }
}

/* 16 of the 32 channels, two pixels at most: registers are few. */
static inline __attribute__((always_inline)) void steps_64(hw_lane_walk *v, const int first, const int pixels, const int half,
                                                           const lane_mode mode, const bool single, const bool shifts)
{
    const __m512i low = _mm512_set1_epi64(v->order->low), high = _mm512_set1_epi64(v->order->high);
    const __m512i one = _mm512_set1_epi64(-1);
    const __m512i unused = _mm512_set1_epi64(64 - v->order->bits);
    const int64_t entries = v->lanes->entries, pairs = single ? 1 : v->lanes->pairs;
    const int16_t *w = v->lanes->weights + v->block * entries * 2 * WALK_LANES + half * WALK_LANES;
    const int64_t *by = v->lanes->shift + v->block * WALK_LANES + half * 16;
    const __m512i shift[2] = {_mm512_loadu_si512(by), _mm512_loadu_si512(by + 8)};
    __m512i acc[2][2], events[2][2];
#pragma GCC unroll 2
    for (int p = 0; p < pixels; p++)
#pragma GCC unroll 2
        for (int q = 0; q < 2; q++) {
            acc[p][q] = _mm512_loadu_si512(v->acc[first + p] + half * 16 + 8 * q);
            events[p][q] = _mm512_setzero_si512();
        }
    for (int64_t at = 0; at < entries; at += pairs, w += pairs * 2 * WALK_LANES) {
#pragma GCC unroll 2
        for (int p = 0; p < pixels; p++) {
            const __m512i sum = step_sum(v, first + p, at, w, single);
#pragma GCC unroll 2
            for (int q = 0; q < 2; q++) {
                const __m256i part = q ? _mm512_extracti64x4_epi64(sum, 1) : _mm512_castsi512_si256(sum);
                const __m512i wide = _mm512_cvtepi32_epi64(part);
                const __m512i exact = _mm512_add_epi64(acc[p][q], shifts ? _mm512_sllv_epi64(wide, shift[q]) : wide);
                const __m512i kept = _mm512_min_epi64(_mm512_max_epi64(exact, low), high);
                events[p][q] = _mm512_mask_sub_epi64(events[p][q], _mm512_cmpneq_epi64_mask(kept, exact), events[p][q], one);
                acc[p][q] = mode == WRAPS ? _mm512_srav_epi64(_mm512_sllv_epi64(exact, unused), unused) : kept;
            }
        }
    }
#pragma GCC unroll 2
    for (int p = 0; p < pixels; p++)
#pragma GCC unroll 2
        for (int q = 0; q < 2; q++) {
            _mm512_storeu_si512(v->acc[first + p] + half * 16 + 8 * q, acc[p][q]);
            _mm256_storeu_si256((__m256i *)(v->events[first + p] + half * 16 + 8 * q), _mm512_cvtepi64_epi32(events[p][q]));
        }
}

static inline __attribute__((always_inline)) void walk_16(hw_lane_walk *v, const lane_mode mode)
{
    enum { MOST = 65535 };
    for (int64_t from = 0; from < v->lanes->entries; from += MOST) {
        const int64_t to = min64(v->lanes->entries, from + MOST);
        if (v->pixels == 1)
            steps_16(v, from, to, 1, mode);
        else
            steps_16(v, from, to, WALK_PIXELS, mode);
    }
}

static inline __attribute__((always_inline)) void walk_32(hw_lane_walk *v, const lane_mode mode, const bool single)
{
    if (v->pixels == 1)
        steps_32(v, 1, mode, single);
    else
        steps_32(v, WALK_PIXELS, mode, single);
}

static inline __attribute__((always_inline)) void walk_64(hw_lane_walk *v, const lane_mode mode, const bool single,
                                                          const bool shifts)
{
    for (int half = 0; half < 2; half++)
        for (int first = 0; first < v->pixels; first += 2)
            steps_64(v, first, 2, half, mode, single, shifts);
}

static void walk_lanes(hw_lane_walk *v)
{
    const int mode = v->order->walk.overflow;
    const bool wraps = mode == HW_WRAP || mode == HW_TRAP, single = v->lanes->single, shifts = v->lanes->shifts;
    const bool full = v->order->low == (v->lanes->width == LANES_16 ? INT16_MIN : INT32_MIN);
    switch ((int)v->lanes->width * 4 + full * 2 + wraps) {
    case LANES_16 * 4: walk_16(v, CLIPS); break;
    case LANES_16 * 4 + 1: walk_16(v, WRAPS); break;
    case LANES_16 * 4 + 2: walk_16(v, SATURATES); break;
    case LANES_16 * 4 + 3: walk_16(v, TURNS); break;
    case LANES_32 * 4: single ? walk_32(v, CLIPS, true) : walk_32(v, CLIPS, false); break;
    case LANES_32 * 4 + 1: single ? walk_32(v, WRAPS, true) : walk_32(v, WRAPS, false); break;
    case LANES_32 * 4 + 2: single ? walk_32(v, SATURATES, true) : walk_32(v, SATURATES, false); break;
    case LANES_32 * 4 + 3: single ? walk_32(v, TURNS, true) : walk_32(v, TURNS, false); break;
    default:
        if (wraps)
            walk_64(v, WRAPS, single, true);
        else if (single && !shifts)
            walk_64(v, CLIPS, true, false);
        else
            walk_64(v, CLIPS, single, true);
    }
}
