/* A convolution with a minifloat in it, by the definition: hwsim/arith/float_walk.py and exact_sum.py with integer leaves. */
#include "float_conv.h"

#include <string.h>

enum { FINITE = 0, INFINITE = 1, NOT_A_NUMBER = 2 };

typedef struct hw_term {
    hw_parts parts;
    int kind;
} hw_term;

static hw_term term_of(int64_t code, const hw_float *f)
{
    return (hw_term){unpack(code, f), is_nan(code, f) ? NOT_A_NUMBER : is_infinite(code, f) ? INFINITE : FINITE};
}

/* Weights are finite. */
static hw_term multiply_terms(hw_term x, hw_parts w)
{
    const int sign = x.parts.sign ^ w.sign;
    if (x.kind == FINITE)
        return (hw_term){{x.parts.significand * w.significand, sign, x.parts.exponent + w.exponent}, FINITE};
    return (hw_term){{0, sign, 0}, x.kind == NOT_A_NUMBER || w.significand == 0 ? NOT_A_NUMBER : INFINITE};
}

static hw_float_code round_term(hw_term a, const hw_float *f, int mode)
{
    if (a.kind == NOT_A_NUMBER)
        return (hw_float_code){nan_code(f), 0};
    if (a.kind == INFINITE)
        return (hw_float_code){infinity_code(a.parts.sign, f), 0};
    return round_pack(a.parts.sign, a.parts.significand, a.parts.exponent, mode, f);
}

static hw_float_code add_terms(hw_term a, hw_term b, const hw_float *f, int mode)
{
    if (a.kind == NOT_A_NUMBER || b.kind == NOT_A_NUMBER)
        return (hw_float_code){nan_code(f), 0};
    if (a.kind == INFINITE || b.kind == INFINITE)
        return (hw_float_code){add_infinities(a.kind == INFINITE, a.parts.sign, b.kind == INFINITE, b.parts.sign, f), 0};
    const hw_parts sum = add_exact(a.parts, b.parts, mode);
    return round_pack(sum.sign, sum.significand, sum.exponent, mode, f);
}

/* ---- the register of an exact sum */

typedef struct hw_digits {
    int64_t digit[FLOAT_DIGITS]; /* 32 bits each, little end first, with carries that wait */
} hw_digits;

static void add_digits(hw_digits *d, hw_parts p, int64_t exponent)
{
    if (p.significand == 0)
        return;
    const int64_t shift = p.exponent - exponent, at = shift >> 5;
    const hw_wide placed = (hw_wide)p.significand << (shift & 31);
    const int64_t sign = p.sign ? -1 : 1;
    d->digit[at] += sign * (int64_t)(placed & UINT32_MAX);
    d->digit[at + 1] += sign * (int64_t)(placed >> 32 & UINT32_MAX);
    d->digit[at + 2] += sign * (int64_t)(placed >> 64);
}

static void add_words(hw_digits *d, const int64_t *words, int64_t count)
{
    for (int64_t i = 0; i < FLOAT_DIGITS / 2; i++) {
        const int64_t word = i < count ? words[i] : words[count - 1] >> 63;
        d->digit[2 * i] += word & UINT32_MAX;
        d->digit[2 * i + 1] += word >> 32 & UINT32_MAX;
    }
}

static void settle(hw_digits *d)
{
    int64_t carry = 0;
    for (int i = 0; i < FLOAT_DIGITS; i++) {
        const int64_t total = d->digit[i] + carry;
        d->digit[i] = total & UINT32_MAX;
        carry = total >> 32;
    }
}

static int64_t word_at(const hw_digits *d, int64_t i)
{
    return (int64_t)((uint64_t)d->digit[2 * i + 1] << 32 | (uint64_t)d->digit[2 * i]);
}

/* Settled digits become their magnitude; return the sign. */
static int magnitude_of(hw_digits *d)
{
    const int sign = (int)(d->digit[FLOAT_DIGITS - 1] >> 31 & 1);
    for (int i = 0; sign && i < FLOAT_DIGITS; i++)
        d->digit[i] = -d->digit[i];
    if (sign)
        settle(d);
    return sign;
}

static int64_t length_of(const hw_digits *d)
{
    for (int i = FLOAT_DIGITS - 1; i >= 0; i--)
        if (d->digit[i])
            return 32 * (int64_t)i + bit_length((uint64_t)d->digit[i]);
    return 0;
}

/* 60 bits from bit `first` on, the last one set if any below is. */
static int64_t window_of(const hw_digits *d, int64_t first)
{
    int64_t window = 0, below = 0;
    for (int64_t bit = 59; bit >= 0; bit--) {
        const int64_t at = (first + bit) >> 5;
        window = window << 1 | (at < FLOAT_DIGITS ? d->digit[at] >> ((first + bit) & 31) & 1 : 0);
    }
    for (int64_t i = 0; i < FLOAT_DIGITS && 32 * i < first; i++)
        below |= 32 * (i + 1) <= first ? d->digit[i] : d->digit[i] & (((int64_t)1 << (first & 31)) - 1);
    return window | (below != 0);
}

hw_float_code hw_float_finish_exact(const hw_float_conv *v, int sign, int64_t significand, int64_t exponent, bool beyond)
{
    if ((significand == 0 && !beyond) || (sign && v->output.activation == HW_RELU_BEFORE)) {
        sign = 0;
        significand = 0;
        beyond = false;
    }
    const bool relu = v->output.activation == HW_RELU_AFTER;
    hw_float_code made;
    if (v->output_fixed) {
        made = fixed_from_exact(sign, significand, exponent + v->output_length, beyond, v->output.rounding,
                                v->output.overflow, v->output.low, v->output.high);
        made.code = relu ? max64(made.code, 0) : made.code;
    } else {
        made = round_pack(sign, significand, exponent, v->output.rounding, &v->out);
        made.code = relu ? relu_float(made.code, &v->out) : made.code;
    }
    return made;
}

hw_float_code hw_float_finish_code(const hw_float_conv *v, int64_t code, const hw_float *of)
{
    const bool relu = v->output.activation == HW_RELU_AFTER;
    hw_float_code made;
    if (v->output.activation == HW_RELU_BEFORE)
        code = relu_float(code, of);
    if (v->output_fixed) {
        made = fixed_from_float(code, of, v->output_length, v->output.rounding, v->output.overflow, v->output.low,
                                v->output.high);
        made.code = relu ? max64(made.code, 0) : made.code;
    } else {
        made = cast_float(code, of, &v->out, v->output.rounding);
        made.code = relu ? relu_float(made.code, &v->out) : made.code;
    }
    return made;
}

/* Where the window of a magnitude begins: its top towards a minifloat, two bits below the output's grid else. */
static int64_t window_start(const hw_float_conv *v, int64_t length, int64_t exponent)
{
    return v->output_fixed ? max64(-(exponent + v->output_length) - 2, 0) : max64(length - 60, 0);
}

hw_float_code hw_float_finish_wide(const hw_float_conv *v, hw_wide total, int64_t exponent)
{
    const int sign = total < 0;
    const unsigned __int128 magnitude = sign ? -(unsigned __int128)total : (unsigned __int128)total;
    const uint64_t high = (uint64_t)(magnitude >> 64);
    const int64_t length = high ? 64 + bit_length(high) : bit_length((uint64_t)magnitude);
    const int64_t first = window_start(v, length, exponent);
    if (first == 0 && length <= 60)
        return hw_float_finish_exact(v, sign, (int64_t)magnitude, exponent, false);
    if (first > length) /* all of it is sticky */
        return hw_float_finish_exact(v, sign, length > 0, exponent + first, false);
    const unsigned __int128 shifted = first < 128 ? magnitude >> first : 0;
    const bool below = first < 128 ? shifted << first != magnitude : magnitude != 0;
    const int64_t window = (int64_t)(shifted & (((int64_t)1 << 60) - 1)) | below;
    return hw_float_finish_exact(v, sign, window, exponent + first, v->output_fixed && length > first + 60);
}

static hw_float_code finish_digits(const hw_float_conv *v, hw_digits *d, int64_t exponent)
{
    const int sign = magnitude_of(d);
    const int64_t length = length_of(d), first = window_start(v, length, exponent);
    return hw_float_finish_exact(v, sign, window_of(d, first), exponent + first, v->output_fixed && length > first + 60);
}

/* ---- the taps of one output */

typedef struct hw_cell {
    const hw_float_conv_op *op;
    const hw_plan *plan;
    const hw_parts *weights;
    int64_t n, k, top, left, first; /* the window's first pixel and input channel */
} hw_cell;

static hw_term operand_at(const hw_cell *cell, int64_t tap, bool *padded)
{
    const hw_float_conv *v = &cell->op->conv;
    const hw_tensor *in = &cell->plan->call->inputs[0];
    const hw_tap *at = &cell->op->tap[tap];
    const int64_t iy = cell->top + at->row, ix = cell->left + at->column;
    *padded = iy < 0 || iy >= in->h || ix < 0 || ix >= in->w;
    if (*padded)
        return (hw_term){{0, 0, 0}, FINITE};
    const int64_t code = hw_load(hw_pixel(in, cell->n, iy, ix), in->type, cell->first + at->c);
    if (v->input_fixed)
        return (hw_term){hw_float_operand(v, code), FINITE};
    return term_of(code, &v->input);
}

/* The product of a tap, +0 where the contract leaves it out. */
static hw_term product_at(const hw_cell *cell, int64_t tap, bool *skipped)
{
    const hw_float_conv *v = &cell->op->conv;
    bool padded;
    const hw_term x = operand_at(cell, tap, &padded);
    const hw_parts w = cell->weights[tap];
    const bool zero_input = x.kind == FINITE && x.parts.significand == 0;
    *skipped = (padded && v->skip_padded) || (zero_input && v->skip_zero_inputs) ||
               (w.significand == 0 && v->skip_zero_weights);
    return *skipped ? (hw_term){{0, 0, 0}, FINITE} : multiply_terms(x, w);
}

static int64_t exact_cell(const hw_cell *cell, int64_t *acc, int64_t events[HW_COUNTERS])
{
    static const hw_float binary32 = {23, 31, 127, 1, 1, HW_IEEE, 0x7f7fffff, 0, 0, 1};
    const hw_float_conv *v = &cell->op->conv;
    const int64_t exponent = cell->op->grid[cell->k];
    hw_digits d = {{0}};
    bool special = false, infinite[2] = {false, false}, skipped;
    for (int64_t tap = 0; tap < cell->op->taps; tap++) {
        const hw_term product = product_at(cell, tap, &skipped);
        special = special || product.kind == NOT_A_NUMBER;
        if (product.kind == FINITE)
            add_digits(&d, product.parts, exponent);
        else
            infinite[product.parts.sign] |= product.kind == INFINITE;
    }
    add_words(&d, cell->op->bias + cell->k * v->words, v->words);
    settle(&d);
    for (int64_t i = 0; acc && i < v->words; i++)
        acc[i] = word_at(&d, i);
    hw_float_code made;
    if (special || (infinite[0] && infinite[1]))
        made = hw_float_finish_code(v, nan_code(&binary32), &binary32);
    else if (infinite[0] || infinite[1])
        made = hw_float_finish_code(v, infinity_code(infinite[1], &binary32), &binary32);
    else
        made = finish_digits(v, &d, exponent);
    events[HW_AT_OUTPUT] += made.event;
    return made.code;
}

/* ---- the float register */

typedef struct hw_steps_walk {
    const hw_cell *cell;
    int64_t acc, at_tree, at_accumulator;
} hw_steps_walk;

static int64_t tree_add(hw_steps_walk *w, hw_term a, hw_term b)
{
    const hw_float_conv *v = &w->cell->op->conv;
    const hw_float_code sum = add_terms(a, b, &v->register_format, v->register_rounding);
    w->at_tree += sum.event;
    return sum.code;
}

/* The sum of a step's terms, which are overwritten. */
static int64_t tree_of(hw_steps_walk *w, hw_term *terms)
{
    const hw_float_conv *v = &w->cell->op->conv;
    const hw_float *f = &v->register_format;
    int64_t code = 0;
    if (v->pairing == HW_CHAIN) {
        for (int64_t lane = 1; lane < v->lanes; lane++) {
            code = tree_add(w, terms[0], terms[lane]);
            terms[0] = term_of(code, f);
        }
        return code;
    }
    for (int64_t count = v->lanes; count > 1; count = (count + 1) / 2) {
        const int64_t half = (count + 1) / 2;
        for (int64_t i = 0; i < half; i++) {
            const int64_t a = v->pairing == HW_ADJACENT ? 2 * i : i, b = v->pairing == HW_ADJACENT ? a + 1 : i + half;
            if (b < count) {
                code = tree_add(w, terms[a], terms[b]);
            } else {
                const hw_float_code passed = round_term(terms[a], f, v->register_rounding);
                w->at_tree += passed.event;
                code = passed.code;
            }
            terms[i] = term_of(code, f);
        }
    }
    return code;
}

static void add_to_register(hw_steps_walk *w, hw_term term)
{
    const hw_float_conv *v = &w->cell->op->conv;
    const hw_float *f = &v->register_format;
    const hw_float_code sum = add_terms(term_of(w->acc, f), term, f, v->register_rounding);
    w->acc = sum.code;
    w->at_accumulator += sum.event;
}

static void take_step(hw_steps_walk *w, hw_term *terms)
{
    const hw_float_conv *v = &w->cell->op->conv;
    if (v->lanes == 1)
        add_to_register(w, terms[0]);
    else
        add_to_register(w, term_of(tree_of(w, terms), &v->register_format));
}

/* What enters the sum for a product: it, or it rounded. */
static hw_term entering(hw_steps_walk *w, hw_term product)
{
    const hw_float_conv *v = &w->cell->op->conv;
    if (!v->product_rounds)
        return product;
    const hw_float_code rounded = round_term(product, &v->product, v->product_rounding);
    w->at_tree += rounded.event;
    return term_of(rounded.code, &v->product);
}

static void walk_steps(hw_steps_walk *w)
{
    enum { MOST_LANES = 4096 };
    const hw_float_conv *v = &w->cell->op->conv;
    const hw_term zero = {{0, 0, 0}, FINITE};
    hw_term terms[MOST_LANES];
    int64_t filled = 0;
    bool live = false, skipped;
    for (int64_t i = 0; i < v->steps * v->lanes; i++) {
        const int64_t tap = w->cell->op->table[i];
        skipped = true;
        const hw_term product = tap < 0 ? zero : product_at(w->cell, tap, &skipped);
        const hw_term term = skipped ? zero : entering(w, product);
        live = live || !skipped;
        if (!skipped || !v->packed)
            terms[filled++] = term;
        if (filled == v->lanes) {
            if (live)
                take_step(w, terms);
            filled = 0;
            live = false;
        }
    }
    if (filled == 0)
        return;
    while (filled < v->lanes)
        terms[filled++] = zero;
    take_step(w, terms);
}

/* Whether the exact sum of the unrounded products and the bias rounds to a finite number of the register's format. */
static bool final_fits(const hw_cell *cell)
{
    const hw_float_conv *v = &cell->op->conv;
    const hw_float *f = &v->register_format;
    hw_digits d = {{0}};
    bool skipped;
    for (int64_t tap = 0; tap < cell->op->taps; tap++) {
        const hw_term product = product_at(cell, tap, &skipped);
        if (product.kind != FINITE)
            return false;
        add_digits(&d, product.parts, cell->op->witness);
    }
    add_digits(&d, unpack(cell->op->bias[cell->k], f), cell->op->witness);
    settle(&d);
    const int sign = magnitude_of(&d);
    const int64_t first = max64(length_of(&d) - 60, 0);
    return !round_pack(sign, window_of(&d, first), cell->op->witness + first, v->register_rounding, f).event;
}

static int64_t walked_cell(const hw_cell *cell, int64_t *acc, int64_t events[HW_COUNTERS])
{
    const hw_float_conv *v = &cell->op->conv;
    const hw_float *f = &v->register_format;
    const int64_t bias = cell->op->bias[cell->k];
    hw_steps_walk w = {.cell = cell, .acc = v->bias_last ? f->zero : bias};
    walk_steps(&w);
    if (v->bias_last)
        add_to_register(&w, term_of(bias, f));
    if (acc)
        *acc = w.acc;
    const hw_float_code made = hw_float_finish_code(v, w.acc, f);
    events[HW_AT_TREE] += w.at_tree;
    events[HW_AT_ACCUMULATOR] += w.at_accumulator;
    events[HW_AT_OUTPUT] += made.event;
    if (w.at_tree + w.at_accumulator && final_fits(cell)) {
        events[HW_TRANSIENT_TREE] += w.at_tree;
        events[HW_TRANSIENT_ACCUMULATOR] += w.at_accumulator;
    }
    return made.code;
}

int64_t hw_float_walk(const hw_plan *plan, int64_t n, int64_t k, int64_t y, int64_t x, int64_t *acc,
                      int64_t events[HW_COUNTERS])
{
    const hw_float_conv_op *op = (const hw_float_conv_op *)plan->op;
    const hw_float_conv *v = &op->conv;
    const hw_cell cell = {op, plan, op->weights + k * op->taps, n, k, y * v->stride_h - v->pad_h, x * v->stride_w - v->pad_w,
                          k / (v->k / v->groups) * (v->c / v->groups)};
    return v->exact ? exact_cell(&cell, acc, events) : walked_cell(&cell, acc, events);
}
