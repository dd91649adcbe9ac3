/* hw_stage: proofs, parameters, and the form that is exact for everything. */
#include "core.h"
#include "scalar.h"

#include <math.h>
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

typedef struct range {
    hw_wide low, high;
} range;

static range lanes_of(int bits)
{
    const hw_wide high = ((hw_wide)1 << (bits - 1)) - 1;
    return (range){-high - 1, high};
}

static bool holds(range lanes, hw_wide low, hw_wide high) { return low >= lanes.low && high <= lanes.high; }

/* What channel k's accumulator holds, for totals in low..high. */
static range accumulated(const hw_stage *stage, int64_t k, int64_t total_low, int64_t total_high, bool *leaves)
{
    const range acc = lanes_of(stage->output.acc_bits);
    const range exact = {((hw_wide)total_low << stage->product_shift[k]) + stage->bias[k],
                         ((hw_wide)total_high << stage->product_shift[k]) + stage->bias[k]};
    *leaves = !holds(acc, exact.low, exact.high);
    return *leaves ? acc : exact;
}

/* Whether round(v / 2^shift) + zero_point of v in low..high is exact in lanes, on the way, too. */
static bool shift_fits(const hw_stage *stage, hw_wide low, hw_wide high, int shift, int bits)
{
    const hw_wide zero = stage->output.zero_point, room = shift > 0 ? (hw_wide)1 << shift : 0;
    const int left = shift < 0 ? -shift : 0;
    if (shift > bits - 2 || shift < 1 - bits)
        return false;
    return holds(lanes_of(bits), ((low - room) << left) + (zero < 0 ? zero : 0), ((high + room) << left) + (zero > 0 ? zero : 0));
}

/* Whether a product in 64-bit lanes, and what is added to it, stays there, and its code in 32. */
static bool product_fits(const hw_stage *stage, range acc, hw_wide m, int shift)
{
    const hw_wide room = ((hw_wide)1 << shift) + ((hw_wide)1 << 31);
    if (!holds(lanes_of(64), acc.low * m - room, acc.high * m + room))
        return false;
    const hw_wide low = (acc.low * m - room) >> shift, high = (acc.high * m + room) >> shift, zero = stage->output.zero_point;
    return holds(lanes_of(32), low + zero, high + zero) && holds(lanes_of(32), low, high);
}

/* Products are clipped far outside of the codes before they are rounded. */
static bool float_fits(const hw_stage *stage, int64_t k)
{
    const hw_output *o = &stage->output;
    const int64_t reach = (int64_t)HW_FLOAT_REACH / 2;
    return o->rounding == HW_TIES_EVEN && o->low >= -reach / 2 && o->high <= reach / 2 && llabs(o->zero_point) <= reach / 2 &&
           o->overflow == HW_SATURATE && stage->shift[k] >= -64 && stage->shift[k] <= 96;
}

/* Whether every intermediate of channel k fits int32 lanes behind the accumulator; products have 64. */
static bool fits_narrow(const hw_stage *stage, int64_t k, range acc)
{
    const int s = stage->shift[k];
    const hw_wide m = stage->multiplier[k];
    switch (stage->output.scaling) {
    case HW_SHIFT: return shift_fits(stage, acc.low, acc.high, s, 32);
    case HW_MULTIPLY: return s >= 1 && s <= 61 && product_fits(stage, acc, m, s);
    case HW_DOUBLE_ROUND: return s >= 2 && s <= 61 && product_fits(stage, acc, m, s);
    case HW_FLOAT32: return float_fits(stage, k);
    case HW_FLOAT64: return false;
    default: break;
    }
    const int left = s < 31 ? 31 - s : 0, right = s > 31 ? s - 31 : 0;
    range high = {((acc.low << left) * m >> 31) - 1, ((acc.high << left) * m >> 31) + 1};
    if (!holds(lanes_of(32), acc.low << left, acc.high << left))
        high = (range){-m - 1, m + 1};
    return shift_fits(stage, high.low, high.high, right, 32);
}

static bool fits_wide(const hw_stage *stage, int64_t k, range acc)
{
    const hw_wide m = stage->multiplier[k];
    const int scaling = stage->output.scaling;
    return (scaling == HW_SHIFT || scaling == HW_MULTIPLY) && shift_fits(stage, acc.low * m, acc.high * m, stage->shift[k], 64);
}

/* What the shift behind the multiplication is, in 32-bit lanes. */
static int narrow_shift(const hw_stage *stage, int64_t k)
{
    const int s = stage->shift[k];
    return stage->output.scaling == HW_HIGH_MULTIPLY ? s - 31 : stage->output.scaling == HW_SHIFT ? s : 0;
}

static void set_lanes(hw_stage *stage, int64_t k)
{
    const int shift = stage->shift[k], narrow_by = narrow_shift(stage, k), mode = stage->output.rounding;
    const rule none = {0, 31, 0};
    const rule narrow = narrow_by > 0 && narrow_by < 31 ? rounding_rule(mode, narrow_by, 32) : none;
    const rule wide = shift > 0 && shift < 63 ? rounding_rule(mode, shift, 64) : none;
    const bool doubles = stage->output.scaling == HW_DOUBLE_ROUND;
    stage->bias32[k] = (int32_t)stage->bias[k];
    stage->left[k] = narrow_by < 0 ? -narrow_by : 0;
    stage->right[k] = narrow_by > 0 ? narrow_by : 0;
    stage->add[k] = (int32_t)narrow.add;
    stage->folded_add[k] = stage->plain ? stage->add[k] : 0;
    stage->pick_shift[k] = (int32_t)narrow.pick_shift;
    stage->pick_mask[k] = (int32_t)narrow.pick_mask;
    stage->multiplier32[k] = (int32_t)stage->multiplier[k];
    stage->scale[k] = stage->output.scaling == HW_FLOAT32 ? ldexpf((float)stage->multiplier[k], -shift) : 0;
    stage->lanes64.left[k] = shift < 0 ? -shift : 0;
    stage->lanes64.right[k] = shift > 0 ? shift : 0;
    stage->lanes64.product_shift[k] = stage->product_shift[k];
    stage->lanes64.multiplier[k] = stage->multiplier[k];
    stage->lanes64.nudge[k] = doubles && shift > 31 ? (int64_t)1 << 30 : 0;
    if (stage->output.scaling == HW_HIGH_MULTIPLY) /* of a product that is doubled: half of its high half, and `add` */
        stage->lanes64.nudge[k] = ((int64_t)1 << 31) + ((int64_t)stage->add[k] << 32);
    stage->lanes64.add[k] = doubles && shift < 63 ? (int64_t)1 << (shift - 1) : wide.add;
    stage->lanes64.pick_shift[k] = wide.pick_shift;
    stage->lanes64.pick_mask[k] = doubles ? 0 : wide.pick_mask;
}

/* Whether the left shift before the high half, and one more, keep channel k's accumulator within 32 bits. */
static bool doubles32(const hw_stage *stage, int64_t k, range acc)
{
    const int left = (stage->shift[k] < 31 ? 31 - stage->shift[k] : 0) + 1;
    return stage->output.scaling != HW_HIGH_MULTIPLY || holds(lanes_of(32), acc.low << left, acc.high << left);
}

/* A declared clamp has its limits among the codes, where it has them at all. */
static bool clamps_codes(const hw_stage *stage)
{
    const hw_output *o = &stage->output;
    const int64_t low = stage->clamp_low, high = stage->clamp_high;
    return (low < o->low || low <= o->high) && (high > o->high || high >= o->low);
}

static void prove(hw_stage *stage, const int64_t *total_low, const int64_t *total_high)
{
    const hw_output *o = &stage->output;
    stage->narrow = o->low >= INT32_MIN && o->high <= INT32_MAX;
    stage->wide = stage->fits_sum32 = true;
    bool right = o->scaling == HW_SHIFT && o->zero_point == 0 && !o->clamps && o->low <= 0 && o->high >= 0, folds = true;
    for (int64_t k = 0; k < stage->channels; k++) {
        bool leaves;
        const int64_t low = total_low[k], high = total_high[k];
        const range acc = accumulated(stage, k, low, high, &leaves);
        const hw_wide least = ((hw_wide)low << stage->product_shift[k]) + stage->bias[k];
        const hw_wide most = ((hw_wide)high << stage->product_shift[k]) + stage->bias[k];
        stage->narrow = stage->narrow && holds(lanes_of(32), least, most) && fits_narrow(stage, k, acc);
        stage->wide = stage->wide && holds(lanes_of(64), least, most) && fits_wide(stage, k, acc);
        stage->may_leave_acc |= leaves;
        right = right && stage->shift[k] >= 0;
        folds = folds && stage->product_shift[k] == 0 && doubles32(stage, k, acc);
        stage->fits_sum32 = stage->fits_sum32 && low >= INT32_MIN && high <= INT32_MAX;
    }
    const int64_t idle = max64(stage->clamp_low, min64(o->zero_point, stage->clamp_high)); /* code of a lane without a channel */
    stage->foldable = stage->narrow && o->overflow == HW_SATURATE && folds && !stage->may_leave_acc && idle >= o->low &&
                      idle <= o->high && clamps_codes(stage) && o->zero_point >= INT16_MIN && o->zero_point <= INT16_MAX;
    stage->plain = stage->foldable && right;
    for (int64_t k = 0; k < stage->channels; k++)
        set_lanes(stage, k);
}

static int32_t within32(int64_t x) { return (int32_t)max64(INT32_MIN, min64(INT32_MAX, x)); }

static void set_limits(hw_stage *stage)
{
    const hw_output *o = &stage->output;
    const int mode = o->rounding;
    stage->pick_flip = mode == HW_TIES_ODD || mode == HW_TIES_AWAY || mode == HW_AWAY_FROM_ZERO ? -1 : 0;
    stage->low = (int32_t)o->low;
    stage->high = (int32_t)o->high;
    stage->relu_before_low = o->activation == HW_RELU_BEFORE ? 0 : INT32_MIN;
    stage->relu_after_low = o->activation == HW_RELU_AFTER ? 0 : INT32_MIN;
    stage->zero_point = (int32_t)o->zero_point;
    stage->clamp_low = o->clamps ? o->clamp_low : INT64_MIN;
    stage->clamp_high = o->clamps ? o->clamp_high : INT64_MAX;
    stage->clamp32_low = within32(stage->clamp_low);
    stage->clamp32_high = within32(stage->clamp_high);
}

/* Limits of shift and multiplier, as contract/scaling.py has them. */
int hw_check_scale(int32_t scaling, int64_t multiplier, int32_t shift, int64_t index, hw_status *status)
{
    static const struct { int low, high, bits; } limits[] = {
        [HW_SHIFT] = {-63, 63, 62},      [HW_MULTIPLY] = {-62, 62, 31}, [HW_HIGH_MULTIPLY] = {0, 62, 31},
        [HW_DOUBLE_ROUND] = {2, 62, 31}, [HW_FLOAT32] = {-200, 200, 24}, [HW_FLOAT64] = {-200, 200, 53},
    };
    if (shift < limits[scaling].low || shift > limits[scaling].high)
        return hw_fail(status, HW_OUT_OF_RANGE, index, shift);
    if (scaling != HW_SHIFT && (multiplier < 0 || multiplier >> limits[scaling].bits))
        return hw_fail(status, HW_OUT_OF_RANGE, index, multiplier);
    return HW_OK;
}

static int code_width(hw_stage *stage, hw_status *status)
{
    const hw_output *o = &stage->output;
    stage->code_signed = o->low < 0;
    while (stage->code_bits < 49 && ((hw_wide)1 << stage->code_bits) <= (hw_wide)o->high - o->low)
        stage->code_bits++;
    const hw_wide low = stage->code_signed ? -((hw_wide)1 << (stage->code_bits - 1)) : 0;
    if (o->overflow == HW_WRAP && (o->low != low || (hw_wide)o->high - o->low + 1 != (hw_wide)1 << stage->code_bits))
        return hw_fail(status, HW_OUT_OF_RANGE, 0, o->high);
    return HW_OK;
}

static int allocate(hw_stage *stage, hw_status *status)
{
    const size_t n = (size_t)stage->padded;
    int32_t **narrow[] = {&stage->product_shift, &stage->shift, &stage->bias32, &stage->folded_add, &stage->left, &stage->right,
                          &stage->add, &stage->pick_shift, &stage->pick_mask, &stage->multiplier32};
    int64_t **wide[] = {&stage->bias, &stage->multiplier, &stage->lanes64.product_shift, &stage->lanes64.left,
                        &stage->lanes64.right, &stage->lanes64.add, &stage->lanes64.pick_shift, &stage->lanes64.pick_mask,
                        &stage->lanes64.multiplier, &stage->lanes64.nudge};
    enum { NARROW = sizeof narrow / sizeof *narrow, WIDE = sizeof wide / sizeof *wide };
    int64_t *lanes64 = hw_alloc(WIDE * n * sizeof(int64_t), status);
    int32_t *lanes32 = hw_alloc(NARROW * n * sizeof(int32_t), status);
    for (size_t i = 0; i < NARROW && lanes32; i++)
        *narrow[i] = lanes32 + i * n;
    for (size_t i = 0; i < WIDE && lanes64; i++)
        *wide[i] = lanes64 + i * n;
    stage->scale = hw_alloc(n * sizeof(float), status);
    return status->code;
}

int hw_stage_init(hw_stage *stage, int64_t channels, const hw_output *output, const int64_t *bias,
                  const int32_t *product_shift, const int32_t *shift, const int64_t *total_low,
                  const int64_t *total_high, hw_status *status)
{
    *stage = (hw_stage){.channels = channels, .padded = ceil_div(channels, LANES) * LANES, .output = *output};
    if (hw_check_output(output, status) || code_width(stage, status))
        return status->code;
    if (allocate(stage, status))
        return status->code;
    for (int64_t k = 0; k < channels; k++) {
        stage->bias[k] = bias[k];
        stage->product_shift[k] = product_shift[k];
        stage->shift[k] = shift[k];
        stage->multiplier[k] = output->scaling == HW_SHIFT ? 1 : output->multiplier[k];
        if (product_shift[k] < 0 || product_shift[k] > 63)
            return hw_fail(status, HW_OUT_OF_RANGE, k, product_shift[k]);
        if (hw_check_scale(output->scaling, stage->multiplier[k], shift[k], k, status))
            return status->code;
    }
    stage->output.multiplier = NULL; /* the caller's: nothing borrowed stays */
    set_limits(stage);
    prove(stage, total_low, total_high);
    return HW_OK;
}

void hw_stage_free(hw_stage *stage)
{
    free(stage->bias);
    free(stage->product_shift);
    free(stage->scale);
}

int64_t hw_stage_finish(const hw_stage *stage, hw_wide scaled, uint8_t *flag, int64_t events[HW_COUNTERS])
{
    const hw_output *o = &stage->output;
    const hw_wide moved = scaled + o->zero_point, low = stage->clamp_low, high = stage->clamp_high;
    const hw_wide clamped = moved < low ? low : moved > high ? high : moved;
    const bool left = !fits(clamped, o->low, o->high);
    events[HW_AT_OUTPUT] += left;
    if (flag)
        *flag |= (uint8_t)(left << 3);
    const int64_t code = fit(clamped, o->overflow, stage->code_bits, stage->code_signed, o->low, o->high);
    return o->activation == HW_RELU_AFTER && code < 0 ? 0 : code;
}

int64_t hw_stage_code(const hw_stage *stage, int64_t k, int64_t total, int64_t *acc, uint8_t *flag,
                      int64_t events[HW_COUNTERS])
{
    const hw_output *o = &stage->output;
    const hw_wide exact = ((hw_wide)total << stage->product_shift[k]) + stage->bias[k];
    *acc = wrap_signed(exact, o->acc_bits);
    const int64_t value = o->activation == HW_RELU_BEFORE && *acc < 0 ? 0 : *acc;
    events[HW_AT_ACCUMULATOR] += *acc != exact;
    if (flag)
        *flag |= (uint8_t)((*acc != exact) << 1);
    return hw_stage_finish(stage, scale_value(value, stage->multiplier[k], stage->shift[k], o->scaling, o->rounding), flag,
                           events);
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
