/* Depthwise convolution: each output channel reads one input channel, so that lanes of channels need no broadcast and no
 * reduction but over the kernel. With several output channels to an input channel, the input is staged with its channels
 * repeated.
 *
 * Packed weights, [block of 16 channels]: of halves [r][s][16 channels]; of bytes [rows in fours][s][16 channels][4 rows], since
 * one instruction multiplies four bytes of a channel: four rows of one column. */
#include "conv.h"

enum { MAX_COLUMNS = 72, MAX_ROWS = 8 };

static int64_t fours(int64_t rows) { return ceil_div(rows, 4); }

bool hw_depth_takes(const hw_conv *v)
{
    return v->groups == v->c && v->c > 1 && v->r <= MAX_ROWS && v->s <= MAX_COLUMNS / fours(v->r);
}

static void pack_channel(hw_conv_op *op, const int32_t *weights, int64_t k)
{
    const hw_conv *v = &op->conv;
    uint8_t *block = op->packed + k / LANES * op->block_bytes;
    for (int64_t r = 0; r < v->r; r++)
        for (int64_t s = 0; s < v->s; s++) {
            const int32_t w = weights[(k * v->r + r) * v->s + s];
            const int64_t cell = ((r / 4 * v->s + s) * LANES + k % LANES) * 4 + r % 4;
            if (op->element == 1)
                ((int8_t *)block)[cell] = (int8_t)(w < INT8_MIN ? INT8_MIN : w > INT8_MAX ? INT8_MAX : w);
            else
                ((int16_t *)(void *)block)[(r * v->s + s) * LANES + k % LANES] = (int16_t)w;
        }
}

int hw_depth_pack(hw_conv_op *op, const int32_t *weights, hw_status *status)
{
    const hw_conv *v = &op->conv;
    op->block_bytes = op->element == 1 ? fours(v->r) * v->s * LANES * 4 : v->r * v->s * LANES * 2;
    op->packed = hw_alloc((size_t)(op->blocks * op->block_bytes), status);
    if (status->code)
        return status->code;
    for (int64_t b = 0; b < op->blocks; b++)
        op->first_channel[b] = b * LANES;
    for (int64_t k = 0; k < v->k; k++)
        pack_channel(op, weights, k);
    return HW_OK;
}

hw_gemm_fn *hw_depth_function(const hw_conv_op *op)
{
#ifdef HW_X86
    if (op->path == PATH_BYTES)
        return op->in_signed ? hw_depth_s8__avx512vnni : hw_depth_u8__avx512vnni;
    if (op->op.isa >= HW_ISA_AVX512VNNI)
        return hw_depth_s16__avx512vnni;
    if (op->op.isa == HW_ISA_AVX2)
        return hw_depth_s16__avx2;
#endif
    (void)op;
    return hw_depth_s16__portable;
}

/* Columns are shared by pixels where these lie a whole number of input pixels apart, and few columns cover a register block. */
void hw_depth_plan(const hw_conv_op *op, hw_plan *plan)
{
    const hw_conv *v = &op->conv;
    const hw_tensor *in = &plan->input;
    const int64_t pitch = in->stride_w * op->element, step = plan->conv.pixel_stride / pitch;
    const int64_t columns = (MAX_PIXELS - 1) * step + (v->s - 1) * v->dilation_w + 1;
    const bool shared = step * pitch == plan->conv.pixel_stride && columns * fours(v->r) <= MAX_COLUMNS;
    plan->conv.depth = (hw_depth){
        .rows = v->r,
        .taps = v->s,
        .row = v->dilation_h * in->stride_h * op->element,
        .column = shared ? pitch : v->dilation_w * pitch,
        .pixel_step = shared ? step : 0,
        .tap_step = shared ? v->dilation_w : 1,
        .together = shared ? MAX_PIXELS : 1,
    };
}
