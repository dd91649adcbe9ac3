/* Any function of one code: a table of every code, or of the ends of lines between codes; and PReLU, whose function differs by
 * channel. Codes of 8 bits (and tables' of 16) are worked out once for all. One task is one row of one image. */
#include "core.h"
#include "scalar.h"

#include <stdlib.h>

typedef struct hw_lookup_op {
    hw_op op;
    int64_t low, high;       /* of the input codes */
    int64_t least, most;     /* of the values */
    int64_t *values;         /* [2^16], by the code's low 16 bits */
    uint8_t bytes[256];      /* where codes and values have 8 bits: by the code's low byte */
} hw_lookup_op;

/* One input of the output's shape; types that hold the codes. */
static int value_bind(hw_plan *plan, int64_t low, int64_t high, hw_status *status)
{
    const hw_tensor *in = &plan->call->inputs[0], *out = &plan->call->output;
    if (plan->call->n_inputs != 1 || plan->call->acc)
        return hw_fail(status, HW_BAD_ARGUMENT, 0, plan->call->n_inputs);
    if (hw_check_same_image(in, out, status))
        return status->code;
    if (in->c != out->c)
        return hw_fail(status, HW_BAD_SHAPE, 1, in->c);
    if (hw_type_low(out->type) > low || hw_type_high(out->type) < high)
        return hw_fail(status, HW_BAD_TYPE, 1, out->type);
    plan->tasks[1] = out->n * out->h;
    return HW_OK;
}

static int lookup_bind(const hw_op *handle, hw_plan *plan, hw_status *status)
{
    const hw_lookup_op *op = (const hw_lookup_op *)handle;
    if (plan->call->n_inputs == 1 && hw_type_bytes(plan->call->inputs[0].type) > 2)
        return hw_fail(status, HW_BAD_TYPE, 0, plan->call->inputs[0].type);
    return value_bind(plan, op->least, op->most, status);
}

static void lookup_task(const hw_plan *plan, int phase, int64_t task, hw_worker *worker, int64_t events[HW_COUNTERS])
{
    (void)phase;
    (void)worker;
    (void)events;
    const hw_lookup_op *op = (const hw_lookup_op *)plan->op;
    const hw_tensor *in = &plan->call->inputs[0], *out = &plan->call->output;
    const int64_t n = task / out->h, y = task % out->h;
    const bool bytes = hw_type_bytes(in->type) == 1 && hw_type_bytes(out->type) == 1;
    for (int64_t x = 0; x < out->w; x++) {
        const uint8_t *from = hw_pixel(in, n, y, x);
        uint8_t *to = hw_pixel(out, n, y, x);
        if (bytes)
            for (int64_t c = 0; c < out->c; c++)
                to[c] = op->bytes[from[c]];
        else
            for (int64_t c = 0; c < out->c; c++)
                hw_store(to, out->type, c, op->values[(uint16_t)hw_load(from, in->type, c)]);
    }
}

static void lookup_free(hw_op *handle)
{
    free(((hw_lookup_op *)handle)->values);
    free(handle);
}

static const hw_family lookup_family = {lookup_bind, lookup_task, lookup_free};

/* round((t[i] * 2^f + (t[i + 1] - t[i]) * (p mod 2^f)) / 2^dropped), i = p >> f. */
static int64_t table_value(const hw_lookup *l, int64_t place)
{
    const int64_t index = place >> l->fraction_bits, part = place - (index << l->fraction_bits);
    if (l->fraction_bits == 0)
        return l->table[place];
    const int64_t line = l->table[index] * ((int64_t)1 << l->fraction_bits) + (l->table[index + 1] - l->table[index]) * part;
    return (int64_t)round_shift(line, l->dropped_bits, l->rounding);
}

static int check_lookup(const hw_lookup *l, hw_status *status)
{
    const int64_t far = (int64_t)1 << 48, reach = l->high - l->low;
    const int64_t entries = (reach >> (l->fraction_bits & 15)) + 1 + (l->fraction_bits > 0);
    const int64_t values[] = {l->low, reach, l->fraction_bits, l->dropped_bits, l->rounding, l->entries};
    const int64_t lows[] = {INT16_MIN, 0, 0, 0, HW_FLOOR, entries};
    const int64_t highs[] = {UINT16_MAX, UINT16_MAX, 15, l->fraction_bits, HW_TIES_ODD, entries};
    for (int i = 0; i < 6; i++)
        if (values[i] < lows[i] || values[i] > highs[i])
            return hw_fail(status, HW_BAD_ARGUMENT, i, values[i]);
    for (int64_t i = 0; i < entries; i++)
        if (l->table[i] < -far / 2 || l->table[i] >= far >> (l->fraction_bits - l->dropped_bits))
            return hw_fail(status, HW_OUT_OF_RANGE, i, l->table[i]);
    return HW_OK;
}

hw_op *hw_lookup_new(const hw_lookup *lookup, hw_status *status)
{
    *status = (hw_status){0};
    hw_lookup_op *op = check_lookup(lookup, status) ? NULL : hw_alloc(sizeof *op, status);
    if (!op)
        return NULL;
    *op = (hw_lookup_op){.op = {.family = &lookup_family, .isa = HW_ISA_PORTABLE}, .low = lookup->low, .high = lookup->high};
    op->values = hw_alloc(((size_t)UINT16_MAX + 1) * sizeof(int64_t), status);
    if (!op->values) {
        free(op);
        return NULL;
    }
    op->least = INT64_MAX;
    op->most = INT64_MIN;
    for (int64_t code = lookup->low; code <= lookup->high; code++) {
        const int64_t value = table_value(lookup, code - lookup->low);
        op->least = min64(op->least, value);
        op->most = max64(op->most, value);
        op->values[(uint16_t)code] = value;
    }
    for (int64_t byte = 0; byte < 256; byte++) {
        const int64_t code = byte > lookup->high ? byte - 256 : byte;
        op->bytes[byte] = (uint8_t)op->values[(uint16_t)code];
    }
    return &op->op;
}

typedef struct hw_prelu_op {
    hw_op op;
    hw_stage above, below;   /* of one channel: the slopes are what differs */
    int64_t channels, slopes, zero;
    int32_t *slope;          /* [slopes], one or as many as channels */
    int64_t low, high;       /* of the input codes */
    int64_t *table;          /* [slopes][256], 2 * code + event, by the code's low byte; NULL: codes of more than 8 bits */
} hw_prelu_op;

static int64_t prelu_code(const hw_prelu_op *op, int64_t code, int64_t slope, int64_t events[HW_COUNTERS])
{
    const int64_t value = code - op->zero;
    int64_t acc;
    if (value >= 0)
        return hw_stage_code(&op->above, 0, value, &acc, NULL, events);
    return hw_stage_code(&op->below, 0, value * slope, &acc, NULL, events);
}

static int prelu_bind(const hw_op *handle, hw_plan *plan, hw_status *status)
{
    const hw_prelu_op *op = (const hw_prelu_op *)handle;
    if (plan->call->output.c != op->channels)
        return hw_fail(status, HW_BAD_SHAPE, 1, plan->call->output.c);
    return value_bind(plan, op->above.output.low, op->above.output.high, status);
}

static void prelu_task(const hw_plan *plan, int phase, int64_t task, hw_worker *worker, int64_t events[HW_COUNTERS])
{
    (void)phase;
    (void)worker;
    const hw_prelu_op *op = (const hw_prelu_op *)plan->op;
    const hw_tensor *in = &plan->call->inputs[0], *out = &plan->call->output;
    const int64_t n = task / out->h, y = task % out->h;
    const bool known = op->table && hw_type_bytes(in->type) == 1;
    for (int64_t x = 0; x < out->w; x++) {
        const uint8_t *from = hw_pixel(in, n, y, x);
        for (int64_t c = 0; c < out->c; c++) {
            const int64_t k = op->slopes > 1 ? c : 0, entry = known ? op->table[256 * k + from[c]] : 0;
            const int64_t code = known ? entry >> 1 : prelu_code(op, hw_load(from, in->type, c), op->slope[k], events);
            events[HW_AT_OUTPUT] += entry & 1;
            hw_store(hw_pixel(out, n, y, x), out->type, c, code);
        }
    }
}

static void prelu_free(hw_op *handle)
{
    hw_prelu_op *op = (hw_prelu_op *)handle;
    hw_stage_free(&op->above);
    hw_stage_free(&op->below);
    free(op->slope);
    free(op->table);
    free(op);
}

static const hw_family prelu_family = {prelu_bind, prelu_task, prelu_free};

static int check_prelu(const hw_prelu *p, hw_status *status)
{
    const int64_t far = (int64_t)1 << 48;
    const int64_t values[] = {p->c, p->slopes, p->low, p->high, p->zero};
    const int64_t lows[] = {1, 1, -far / 2, p->low, -far};
    const int64_t highs[] = {INT32_MAX, p->slopes == 1 ? 1 : p->c, far, far - 1, far};
    for (int i = 0; i < 5; i++)
        if (values[i] < lows[i] || values[i] > highs[i])
            return hw_fail(status, HW_BAD_ARGUMENT, i, values[i]);
    if (p->slopes != 1 && p->slopes != p->c)
        return hw_fail(status, HW_BAD_ARGUMENT, 1, p->slopes);
    const int64_t least = p->low - p->zero;
    for (int64_t k = 0; k < p->slopes; k++) {
        const hw_wide product = (hw_wide)(least < 0 ? least : 0) * p->slope[k];
        if (product > ((hw_wide)1 << 62) || product < -((hw_wide)1 << 62))
            return hw_fail(status, HW_OUT_OF_RANGE, k, p->slope[k]);
    }
    return HW_OK;
}

/* Both sides' stages, of totals as far as they reach. */
static int fill_stages(hw_prelu_op *op, const hw_prelu *p, hw_status *status)
{
    const int64_t none = 0, top = max64(p->high - p->zero, 0), least = min64(p->low - p->zero, 0);
    const int32_t no_shift = 0;
    int64_t low = 0, high = 0;
    for (int64_t k = 0; k < p->slopes; k++) {
        low = min64(low, least * p->slope[k]);
        high = max64(high, least * p->slope[k]);
    }
    hw_output above = p->output, below = p->output;
    above.multiplier = &p->multiplier[0];
    below.multiplier = &p->multiplier[1];
    if (hw_stage_init(&op->above, 1, &above, &none, &no_shift, &p->shift[0], &none, &top, status))
        return status->code;
    return hw_stage_init(&op->below, 1, &below, &none, &no_shift, &p->shift[1], &low, &high, status);
}

static void fill_table(hw_prelu_op *op)
{
    for (int64_t k = 0; k < op->slopes; k++)
        for (int64_t code = op->low; code <= op->high; code++) {
            int64_t events[HW_COUNTERS] = {0};
            const int64_t found = prelu_code(op, code, op->slope[k], events);
            op->table[256 * k + (uint8_t)code] = 2 * found + events[HW_AT_OUTPUT];
        }
}

hw_op *hw_prelu_new(const hw_prelu *prelu, hw_status *status)
{
    *status = (hw_status){0};
    hw_prelu_op *op = check_prelu(prelu, status) ? NULL : hw_alloc(sizeof *op, status);
    if (!op)
        return NULL;
    *op = (hw_prelu_op){.op = {.family = &prelu_family, .isa = HW_ISA_PORTABLE}, .channels = prelu->c, .slopes = prelu->slopes,
                        .zero = prelu->zero, .low = prelu->low, .high = prelu->high};
    op->slope = hw_alloc((size_t)op->slopes * sizeof(int32_t), status);
    if (op->slope && prelu->high - prelu->low <= UINT8_MAX)
        op->table = hw_alloc((size_t)op->slopes * 256 * sizeof(int64_t), status);
    for (int64_t k = 0; op->slope && k < op->slopes; k++)
        op->slope[k] = prelu->slope[k];
    if (status->code || fill_stages(op, prelu, status)) {
        prelu_free(&op->op);
        return NULL;
    }
    if (op->table)
        fill_table(op);
    return &op->op;
}
