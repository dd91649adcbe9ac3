/* hw_lane_walk in registers of 512 bits: 32 channels of 16 bits, two times 16 of 32, four times 8 of 64. Several pixels at
 * once, since each step of a pixel waits for the one before it. */
#include "order.h"

#include <immintrin.h>

typedef enum lane_mode { SATURATES, CLIPS, WRAPS } lane_mode; /* SATURATES: the register is as wide as the lane */

static inline __m512i entry(const hw_lane_walk *v, int pixel, int64_t at) { return _mm512_set1_epi32(v->columns[pixel][at]); }

/* Steps from..to-1, at most 65,535 of them: the counters have 16 bits. */
static inline __attribute__((always_inline)) void steps_16(hw_lane_walk *v, int64_t from, int64_t to, const int pixels,
                                                           const lane_mode mode)
{
    const __m512i low = _mm512_set1_epi16((short)v->order->low), high = _mm512_set1_epi16((short)v->order->high);
    const __m512i one = _mm512_set1_epi16(-1);
    const __m128i unused = _mm_cvtsi32_si128(16 - v->order->bits);
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
            if (mode != SATURATES)
                kept = _mm512_min_epi16(_mm512_max_epi16(kept, low), high);
            events[p] = _mm512_mask_sub_epi16(events[p], _mm512_cmpneq_epi16_mask(kept, wrapped), events[p], one);
            acc[p] = mode == WRAPS ? _mm512_sra_epi16(_mm512_sll_epi16(wrapped, unused), unused) : kept;
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

/* The sum of a step in 16 channels of 32 bits. */
static inline __attribute__((always_inline)) __m512i step_sum(const hw_lane_walk *v, int pixel, int64_t at, const int16_t *w,
                                                              const bool single)
{
    __m512i sum = _mm512_madd_epi16(entry(v, pixel, at), _mm512_loadu_si512(w));
    for (int64_t pair = 1; !single && pair < v->lanes->pairs; pair++)
        sum = _mm512_dpwssd_epi32(sum, entry(v, pixel, at + pair), _mm512_loadu_si512(w + pair * 2 * WALK_LANES));
    return sum;
}

static inline __attribute__((always_inline)) void steps_32(hw_lane_walk *v, const int pixels, const lane_mode mode, const bool single)
{
    const __m512i low = _mm512_set1_epi32((int)v->order->low), high = _mm512_set1_epi32((int)v->order->high);
    const __m512i one = _mm512_set1_epi32(-1);
    const __m128i unused = _mm_cvtsi32_si128(32 - v->order->bits);
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
                const __m512i exact = _mm512_add_epi32(acc[p][h], step_sum(v, p, at, w + h * WALK_LANES, single));
                const __m512i kept = _mm512_min_epi32(_mm512_max_epi32(exact, low), high);
                events[p][h] = _mm512_mask_sub_epi32(events[p][h], _mm512_cmpneq_epi32_mask(kept, exact), events[p][h], one);
                acc[p][h] = mode == WRAPS ? _mm512_sra_epi32(_mm512_sll_epi32(exact, unused), unused) : kept;
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
                                                           const lane_mode mode, const bool single)
{
    const __m512i low = _mm512_set1_epi64(v->order->low), high = _mm512_set1_epi64(v->order->high);
    const __m512i one = _mm512_set1_epi64(-1);
    const __m128i unused = _mm_cvtsi64_si128(64 - v->order->bits);
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
                const __m512i exact = _mm512_add_epi64(acc[p][q], _mm512_sllv_epi64(_mm512_cvtepi32_epi64(part), shift[q]));
                const __m512i kept = _mm512_min_epi64(_mm512_max_epi64(exact, low), high);
                events[p][q] = _mm512_mask_sub_epi64(events[p][q], _mm512_cmpneq_epi64_mask(kept, exact), events[p][q], one);
                acc[p][q] = mode == WRAPS ? _mm512_sra_epi64(_mm512_sll_epi64(exact, unused), unused) : kept;
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

static inline __attribute__((always_inline)) void walk_wide(hw_lane_walk *v, const lane_mode mode, const bool single)
{
    if (v->lanes->width == LANES_32) {
        if (v->pixels == 1)
            steps_32(v, 1, mode, single);
        else
            steps_32(v, WALK_PIXELS, mode, single);
        return;
    }
    for (int half = 0; half < 2; half++)
        for (int first = 0; first < v->pixels; first += 2)
            steps_64(v, first, 2, half, mode, single);
}

/* Columns beyond `pixels` are read, too: the caller repeats one. */
void hw_walk_lanes__avx512vnni(hw_lane_walk *v)
{
    const int mode = v->order->walk.overflow;
    const bool wraps = mode == HW_WRAP || mode == HW_TRAP, single = v->lanes->pairs == 1;
    if (v->lanes->width == LANES_16) {
        if (wraps)
            walk_16(v, WRAPS);
        else if (v->order->low == INT16_MIN)
            walk_16(v, SATURATES);
        else
            walk_16(v, CLIPS);
    } else if (wraps) {
        if (single)
            walk_wide(v, WRAPS, true);
        else
            walk_wide(v, WRAPS, false);
    } else if (single) {
        walk_wide(v, CLIPS, true);
    } else {
        walk_wide(v, CLIPS, false);
    }
}
