/* hw_stage: proofs, parameters, and the form that is exact for everything. */
#include "core.h"
#include "scalar.h"

#include <stdlib.h>

/* Rounding parameters for a shift of s >= 1 in lanes of `bits` bits, from the comment in stage.h. */
typedef struct rule {
    int64_t add, pick_shift, pick_mask;
} rule;

static rule rounding_rule(int mode, int s, int bits)
{
    const int64_t half = (int64_t)1 << (s - 1), most = ((int64_t)1 << s) - 1, sign = bits - 1;
    const rule rules[10] = {
        [HW_FLOOR] = {0, sign, 0},
        [HW_CEIL] = {most, sign, 0},
        [HW_TOWARD_ZERO] = {0, sign, most},      /* where v < 0 */
        [HW_AWAY_FROM_ZERO] = {0, sign, most},   /* flipped: where v >= 0 */
        [HW_TIES_UP] = {half, sign, 0},
        [HW_TIES_DOWN] = {half - 1, sign, 0},
        [HW_TIES_AWAY] = {half - 1, sign, 1},    /* flipped: where v >= 0 */
        [HW_TIES_TO_ZERO] = {half - 1, sign, 1}, /* where v < 0 */
        [HW_TIES_EVEN] = {half - 1, s, 1},       /* where q is odd */
        [HW_TIES_ODD] = {half - 1, s, 1},        /* flipped: where q is even */
    };
    return rules[mode];
}

/* Whether every intermediate of channel k fits lanes of `bits` bits, for totals in low..high. */
static bool fits_lanes(const hw_stage *stage, int64_t k, int64_t total_low, int64_t total_high, int bits, bool *leaves_acc)
{
    const hw_wide most = ((hw_wide)1 << (bits - 1)) - 1, least = -most - 1;
    const int product_shift = stage->product_shift[k], shift = stage->shift[k], acc_bits = stage->output.acc_bits;
    hw_wide low = ((hw_wide)total_low << product_shift) + stage->bias[k];
    hw_wide high = ((hw_wide)total_high << product_shift) + stage->bias[k];
    if (low < least || high > most || shift > bits - 2 || shift < 1 - bits)
        return false;
    const hw_wide acc_high = ((hw_wide)1 << (acc_bits - 1)) - 1;
    if (low < -acc_high - 1 || high > acc_high) {
        *leaves_acc = true;
        low = -acc_high - 1;
        high = acc_high;
    }
    const hw_wide room = shift > 0 ? (hw_wide)1 << shift : 0;
    const int left = shift < 0 ? -shift : 0;
    return ((low - room) << left) >= least && ((high + room) << left) <= most;
}

static void set_lanes(hw_stage *stage, int64_t k)
{
    const int shift = stage->shift[k];
    const rule none = {0, 31, 0};
    const rule narrow = shift > 0 && stage->narrow ? rounding_rule(stage->output.rounding, shift, 32) : none;
    const rule wide = shift > 0 ? rounding_rule(stage->output.rounding, shift, 64) : none;
    stage->bias32[k] = (int32_t)stage->bias[k];
    stage->left[k] = (int32_t)(stage->lanes64.left[k] = shift < 0 ? -shift : 0);
    stage->right[k] = (int32_t)(stage->lanes64.right[k] = shift > 0 ? shift : 0);
    stage->add[k] = (int32_t)narrow.add;
    stage->pick_shift[k] = (int32_t)narrow.pick_shift;
    stage->pick_mask[k] = (int32_t)narrow.pick_mask;
    stage->lanes64.product_shift[k] = stage->product_shift[k];
    stage->lanes64.add[k] = wide.add;
    stage->lanes64.pick_shift[k] = wide.pick_shift;
    stage->lanes64.pick_mask[k] = wide.pick_mask;
}

static void prove(hw_stage *stage, const int64_t *total_low, const int64_t *total_high)
{
    const hw_output *o = &stage->output;
    bool leaves_acc = false;
    stage->narrow = o->low >= INT32_MIN && o->high <= INT32_MAX;
    stage->wide = stage->fits_sum32 = true;
    stage->plain = o->overflow == HW_SATURATE;
    for (int64_t k = 0; k < stage->channels; k++) {
        const int64_t low = total_low[k], high = total_high[k];
        stage->narrow = stage->narrow && fits_lanes(stage, k, low, high, 32, &leaves_acc);
        stage->wide = stage->wide && fits_lanes(stage, k, low, high, 64, &leaves_acc);
        stage->plain = stage->plain && stage->product_shift[k] == 0 && stage->shift[k] >= 0;
        stage->fits_sum32 = stage->fits_sum32 && low >= INT32_MIN && high <= INT32_MAX;
    }
    stage->may_leave_acc = leaves_acc;
    stage->plain = stage->plain && stage->narrow && !leaves_acc;
    stage->foldable = stage->plain && o->low <= 0 && o->high >= 0;
    for (int64_t k = 0; k < stage->channels; k++)
        set_lanes(stage, k);
}

static void set_limits(hw_stage *stage)
{
    const hw_output *o = &stage->output;
    const int mode = o->rounding;
    stage->pick_flip = mode == HW_TIES_ODD || mode == HW_TIES_AWAY || mode == HW_AWAY_FROM_ZERO ? -1 : 0;
    stage->low = (int32_t)o->low;
    stage->high = (int32_t)o->high;
    stage->relu_before_low = o->activation == HW_RELU_BEFORE ? 0 : INT32_MIN;
    stage->relu_after_low = o->activation == HW_RELU_AFTER ? 0 : INT32_MIN;
}

static int code_width(hw_stage *stage, hw_status *status)
{
    const hw_output *o = &stage->output;
    stage->code_signed = o->low < 0;
    while (stage->code_bits < 33 && ((hw_wide)1 << stage->code_bits) <= (hw_wide)o->high - o->low)
        stage->code_bits++;
    const hw_wide low = stage->code_signed ? -((hw_wide)1 << (stage->code_bits - 1)) : 0;
    if (o->overflow == HW_WRAP && (o->low != low || (hw_wide)o->high - o->low + 1 != (hw_wide)1 << stage->code_bits))
        return hw_fail(status, HW_OUT_OF_RANGE, 0, o->high);
    return HW_OK;
}

int hw_stage_init(hw_stage *stage, int64_t channels, const hw_output *output, const int64_t *bias,
                  const int32_t *product_shift, const int32_t *shift, const int64_t *total_low,
                  const int64_t *total_high, hw_status *status)
{
    *stage = (hw_stage){.channels = channels, .padded = ceil_div(channels, LANES) * LANES, .output = *output};
    if (hw_check_output(output, status) || code_width(stage, status))
        return status->code;
    const size_t n = (size_t)stage->padded;
    int64_t *wide = hw_alloc(7 * n * sizeof(int64_t), status);
    int32_t *lanes = hw_alloc(8 * n * sizeof(int32_t), status);
    stage->bias = wide;
    stage->product_shift = lanes;
    if (!wide || !lanes)
        return status->code;
    int32_t **arrays[] = {&stage->product_shift, &stage->shift, &stage->bias32, &stage->left,
                          &stage->right, &stage->add, &stage->pick_shift, &stage->pick_mask};
    for (size_t i = 0; i < 8; i++)
        *arrays[i] = lanes + i * n;
    int64_t **wide_arrays[] = {&stage->bias, &stage->lanes64.product_shift, &stage->lanes64.left, &stage->lanes64.right,
                               &stage->lanes64.add, &stage->lanes64.pick_shift, &stage->lanes64.pick_mask};
    for (size_t i = 0; i < 7; i++)
        *wide_arrays[i] = wide + i * n;
    for (int64_t k = 0; k < channels; k++) {
        if (product_shift[k] < 0 || product_shift[k] > 63)
            return hw_fail(status, HW_OUT_OF_RANGE, k, product_shift[k]);
        if (shift[k] < -63 || shift[k] > 63)
            return hw_fail(status, HW_OUT_OF_RANGE, k, shift[k]);
        stage->bias[k] = bias[k];
        stage->product_shift[k] = product_shift[k];
        stage->shift[k] = shift[k];
    }
    set_limits(stage);
    prove(stage, total_low, total_high);
    return HW_OK;
}

void hw_stage_free(hw_stage *stage)
{
    free(stage->bias);
    free(stage->product_shift);
}

int64_t hw_stage_code(const hw_stage *stage, int64_t k, int64_t total, int64_t *acc, uint8_t *flag,
                      int64_t events[HW_COUNTERS])
{
    const hw_output *o = &stage->output;
    const hw_wide exact = ((hw_wide)total << stage->product_shift[k]) + stage->bias[k];
    *acc = wrap_signed(exact, o->acc_bits);
    const int64_t value = o->activation == HW_RELU_BEFORE && *acc < 0 ? 0 : *acc;
    const hw_wide rounded = round_shift(value, stage->shift[k], o->rounding);
    const bool left_acc = *acc != exact, left_output = !fits(rounded, o->low, o->high);
    events[HW_AT_ACCUMULATOR] += left_acc;
    events[HW_AT_OUTPUT] += left_output;
    if (flag)
        *flag |= (uint8_t)(left_acc << 1 | left_output << 3);
    const int64_t code = fit(rounded, o->overflow, stage->code_bits, stage->code_signed, o->low, o->high);
    return o->activation == HW_RELU_AFTER && code < 0 ? 0 : code;
}

void hw_row__exact(const hw_stage *stage, const hw_row *row, int64_t events[HW_COUNTERS])
{
    const int64_t last = min64(stage->channels, row->first_channel + row->blocks * LANES);
    for (int64_t p = 0; p < row->pixels; p++) {
        for (int64_t k = row->first_channel; k < last; k++) {
            const int64_t lane = k - row->first_channel;
            const int64_t i = lane / LANES * row->plane + p * LANES + lane % LANES;
            const int64_t total = row->sums ? row->sums[i] : row->wide_sums[i];
            int64_t acc;
            uint8_t *flag = row->flags ? row->flags + p * row->acc_stride + lane : NULL;
            hw_store(row->out, row->out_type, p * row->out_stride + lane, hw_stage_code(stage, k, total, &acc, flag, events));
            if (row->acc)
                hw_store(row->acc, row->acc_type, p * row->acc_stride + lane, acc);
        }
    }
}

hw_row_fn *hw_row_function(const hw_stage *stage, int32_t isa)
{
    if (!stage->narrow && !stage->wide)
        return hw_row__exact;
#ifdef HW_X86
    if (isa >= HW_ISA_AVX512VNNI)
        return stage->narrow ? hw_row_s32__avx512vnni : hw_row_s64__avx512vnni;
    if (isa == HW_ISA_AVX2)
        return stage->narrow ? hw_row_s32__avx2 : hw_row_s64__avx2;
#endif
    (void)isa;
    return stage->narrow ? hw_row_s32__portable : hw_row_s64__portable;
}
