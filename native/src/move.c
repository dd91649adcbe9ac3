/* Codes moved, none computed: each axis of the output takes a place of the input's or a constant (padding, slices, resizing,
 * shuffles, spreading pixels apart), and flattening. One task is one row of one output image; of a flattening, one image. */
#include "core.h"

#include <stdlib.h>
#include <string.h>

/* Outputs from first on, of channels or columns: `count` inputs from `from` on, or where that is negative the constant. */
typedef struct run {
    int64_t first, from, count;
} run;

typedef struct hw_move_op {
    hw_op op;
    int64_t in_h, in_w, in_c, h, w, c, fill;
    int32_t *rows, *columns, *channels; /* [h], [w], [c] */
    int64_t channel_runs, column_runs;
    run *by_channel, *by_column;
    bool whole;              /* each pixel goes as it is */
} hw_move_op;

enum { SHORT_RUN = 4 };      /* runs of fewer codes on average are moved code by code */

static int move_bind(const hw_op *handle, hw_plan *plan, hw_status *status)
{
    const hw_move_op *op = (const hw_move_op *)handle;
    const hw_tensor *in = &plan->call->inputs[0], *out = &plan->call->output;
    if (plan->call->n_inputs != 1 || plan->call->acc)
        return hw_fail(status, HW_BAD_ARGUMENT, 0, plan->call->n_inputs);
    if (in->type != out->type || hw_type_low(out->type) > op->fill || hw_type_high(out->type) < op->fill)
        return hw_fail(status, HW_BAD_TYPE, 0, in->type);
    const int64_t found[] = {in->n, in->h, in->w, in->c, out->h, out->w, out->c};
    const int64_t wanted[] = {out->n, op->in_h, op->in_w, op->in_c, op->h, op->w, op->c};
    for (int i = 0; i < 7; i++)
        if (found[i] != wanted[i])
            return hw_fail(status, HW_BAD_SHAPE, i, found[i]);
    plan->tasks[1] = out->n * out->h;
    return HW_OK;
}

static void fill_codes(uint8_t *out, int32_t type, int64_t count, int64_t code)
{
    if (hw_type_bytes(type) == 1)
        memset(out, (int)(uint8_t)code, (size_t)count);
    else
        for (int64_t i = 0; i < count; i++)
            hw_store(out, type, i, code);
}

/* Output runs of `unit` codes each; from NULL: the constant throughout. */
static void move_runs(const run *runs, int64_t count, int64_t unit, int64_t fill, uint8_t *to, const uint8_t *from, int32_t type)
{
    const int64_t bytes = unit * hw_type_bytes(type);
    for (int64_t i = 0; i < count; i++) {
        const run *r = &runs[i];
        if (!from || r->from < 0)
            fill_codes(to + r->first * bytes, type, r->count * unit, fill);
        else
            memcpy(to + r->first * bytes, from + r->from * bytes, (size_t)(r->count * bytes));
    }
}

#define PICK(kind)                                                                                                    \
    for (int64_t c = 0; c < op->c; c++)                                                                               \
    ((kind *)to)[c] = op->channels[c] < 0 ? (kind)op->fill : ((const kind *)from)[op->channels[c]]

static void move_pixel(const hw_move_op *op, uint8_t *to, const uint8_t *from, int32_t type)
{
    if (!from || op->channel_runs * SHORT_RUN <= op->c) {
        move_runs(op->by_channel, op->channel_runs, 1, op->fill, to, from, type);
        return;
    }
    switch (hw_type_bytes(type)) {
    case 1: PICK(uint8_t); break;
    case 2: PICK(uint16_t); break;
    case 4: PICK(uint32_t); break;
    default: PICK(uint64_t);
    }
}

static void move_task(const hw_plan *plan, int phase, int64_t task, hw_worker *worker, int64_t events[HW_COUNTERS])
{
    (void)phase;
    (void)worker;
    (void)events;
    const hw_move_op *op = (const hw_move_op *)plan->op;
    const hw_tensor *in = &plan->call->inputs[0], *out = &plan->call->output;
    const int64_t n = task / out->h, y = task % out->h;
    const uint8_t *row = op->rows[y] < 0 ? NULL : hw_pixel(in, n, op->rows[y], 0);
    if (op->whole && in->stride_w == in->c && out->stride_w == out->c) {
        move_runs(op->by_column, op->column_runs, out->c, op->fill, hw_pixel(out, n, y, 0), row, out->type);
        return;
    }
    for (int64_t x = 0; x < out->w; x++) {
        const bool inside = row && op->columns[x] >= 0;
        move_pixel(op, hw_pixel(out, n, y, x), inside ? hw_pixel(in, n, op->rows[y], op->columns[x]) : NULL, out->type);
    }
}

static void move_free(hw_op *handle)
{
    hw_move_op *op = (hw_move_op *)handle;
    free(op->rows);
    free(op->columns);
    free(op->channels);
    free(op->by_channel);
    free(op->by_column);
    free(op);
}

static const hw_family move_family = {move_bind, move_task, move_free};

/* A copy of places, each below `limit`. */
static int32_t *places_of(const int32_t *given, int64_t count, int64_t limit, hw_status *status)
{
    int32_t *places = status->code ? NULL : hw_alloc((size_t)count * sizeof(int32_t), status);
    for (int64_t i = 0; places && i < count; i++) {
        places[i] = given[i];
        if (given[i] >= limit)
            hw_fail(status, HW_OUT_OF_RANGE, i, given[i]);
    }
    return places;
}

/* The runs of `count` places, and how many there are. */
static run *runs_of(const int32_t *places, int64_t count, int64_t *found, hw_status *status)
{
    run *runs = status->code ? NULL : hw_alloc((size_t)count * sizeof(run), status);
    *found = 0;
    for (int64_t i = 0; runs && i < count; i++) {
        const int64_t from = places[i] < 0 ? -1 : places[i];
        run *last = *found ? &runs[*found - 1] : NULL;
        if (last && (from < 0 ? last->from < 0 : last->from >= 0 && last->from + last->count == from))
            last->count++;
        else
            runs[(*found)++] = (run){i, from, 1};
    }
    return runs;
}

hw_op *hw_move_new(const hw_move *move, hw_status *status)
{
    *status = (hw_status){0};
    const int64_t sizes[] = {move->in_h, move->in_w, move->in_c, move->h, move->w, move->c};
    for (int i = 0; i < 6; i++)
        if (!status->code && (sizes[i] < 1 || sizes[i] > INT32_MAX))
            hw_fail(status, HW_BAD_SHAPE, i, sizes[i]);
    hw_move_op *op = status->code ? NULL : hw_alloc(sizeof *op, status);
    if (!op)
        return NULL;
    *op = (hw_move_op){.op = {.family = &move_family, .isa = HW_ISA_PORTABLE}, .in_h = move->in_h, .in_w = move->in_w,
                       .in_c = move->in_c, .h = move->h, .w = move->w, .c = move->c, .fill = move->fill};
    op->rows = places_of(move->rows, op->h, op->in_h, status);
    op->columns = places_of(move->columns, op->w, op->in_w, status);
    op->channels = places_of(move->channels, op->c, op->in_c, status);
    op->by_channel = runs_of(op->channels, op->c, &op->channel_runs, status);
    op->by_column = runs_of(op->columns, op->w, &op->column_runs, status);
    op->whole = !status->code && op->c == op->in_c && op->channel_runs == 1 && op->channels[0] == 0;
    if (status->code) {
        move_free(&op->op);
        return NULL;
    }
    return &op->op;
}

typedef struct hw_flatten_op {
    hw_op op;
    bool channels_last;
} hw_flatten_op;

static int flatten_bind(const hw_op *handle, hw_plan *plan, hw_status *status)
{
    (void)handle;
    const hw_tensor *in = &plan->call->inputs[0], *out = &plan->call->output;
    if (plan->call->n_inputs != 1 || plan->call->acc)
        return hw_fail(status, HW_BAD_ARGUMENT, 0, plan->call->n_inputs);
    if (in->type != out->type)
        return hw_fail(status, HW_BAD_TYPE, 0, in->type);
    if (in->n != out->n || out->h != 1 || out->w != 1 || out->c % in->c || out->c / in->c % in->h ||
        out->c / in->c / in->h != in->w)
        return hw_fail(status, HW_BAD_SHAPE, 1, out->c);
    plan->tasks[1] = out->n;
    return HW_OK;
}

static void flatten_task(const hw_plan *plan, int phase, int64_t n, hw_worker *worker, int64_t events[HW_COUNTERS])
{
    (void)phase;
    (void)worker;
    (void)events;
    const hw_tensor *in = &plan->call->inputs[0], *out = &plan->call->output;
    const int64_t bytes = hw_type_bytes(in->type), plane = in->h * in->w;
    uint8_t *to = hw_pixel(out, n, 0, 0);
    for (int64_t i = 0; i < plane; i++) {
        const uint8_t *from = hw_pixel(in, n, i / in->w, i % in->w);
        if (((const hw_flatten_op *)plan->op)->channels_last)
            memcpy(to + i * in->c * bytes, from, (size_t)(in->c * bytes));
        else
            for (int64_t c = 0; c < in->c; c++)
                hw_store(to, out->type, c * plane + i, hw_load(from, in->type, c));
    }
}

static void flatten_free(hw_op *op) { free(op); }

static const hw_family flatten_family = {flatten_bind, flatten_task, flatten_free};

hw_op *hw_flatten_new(int32_t channels_last, hw_status *status)
{
    *status = (hw_status){0};
    hw_flatten_op *op = hw_alloc(sizeof *op, status);
    if (!op)
        return NULL;
    *op = (hw_flatten_op){.op = {.family = &flatten_family, .isa = HW_ISA_PORTABLE}, .channels_last = channels_last != 0};
    return &op->op;
}
