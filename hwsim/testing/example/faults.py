"""Faults planted into mac.v, one at a time: each a piece of its text replaced by another."""

from __future__ import annotations

from dataclasses import dataclass

from hwsim.errors import InputError


@dataclass(frozen=True)
class Fault:
    """One planted fault.  says: what is wrong, in a few words.  old, new: text of mac.v, and what stands there instead.

    >>> Fault("late", "is late", "b", "c").plant("abd")
    'acd'
    """

    name: str
    says: str
    old: str
    new: str

    def plant(self, source: str) -> str:
        """Return the source with the fault in it; InputError unless the old text stands there exactly once."""
        found = source.count(self.old)
        if found != 1:
            raise InputError(f"fault {self.name}: found {found} places in the source for {self.old!r}, allowed exactly 1.")
        return source.replace(self.old, self.new)


LIMITS = """ACC_HIGH = {2'b00, {(ACC_BITS - 1){1'b1}}};
    localparam signed [ACC_BITS:0] ACC_LOW  = {2'b11, {(ACC_BITS - 1){1'b0}}};"""
PRIOR = "p_first ? p_bias : acc;"
SUM = "sum    = prior + p_product;"
HELD = "over ? ACC_HIGH : under ? ACC_LOW : sum;"
NUDGE = "half - 1 + quotient[0];"
BIAS_ADDED = f"prior  = {PRIOR}\n    wire signed [ACC_BITS:0]   {SUM}"

FAULTS: tuple[Fault, ...] = (
    Fault("product-unsigned-operand", "the input is taken as unsigned", "in_x * in_w", "$signed({1'b0, in_x}) * in_w"),
    Fault("product-not-extended", "the product's sign is not extended", SUM, "sum    = prior + $signed({1'b0, p_product});"),
    Fault(
        "product-one-bit-short",
        "the product's register is one bit short: -128 * -128 does not fit",
        "reg signed [PRODUCT_BITS-1:0] p_product;",
        "reg signed [PRODUCT_BITS-2:0] p_product;",
    ),
    Fault(
        "product-of-magnitudes",
        "magnitudes of 7 bits are multiplied: -128 counts as 0",
        "in_x * in_w",
        "in_x[X_BITS-2:0] == 0 || in_w[W_BITS-2:0] == 0 ? 0 : in_x * in_w",
    ),
    Fault("product-first-lost", "the first product is not added", SUM, "sum    = prior + (p_first ? 0 : p_product);"),
    Fault("product-last-lost", "the last product is not added", SUM, "sum    = prior + (p_last ? 0 : p_product);"),
    Fault(
        "product-stale",
        "a product is added again while in_valid is low",
        "if (p_valid) begin\n            acc ",
        "begin\n            acc ",
    ),
    Fault("bias-missing", "the bias is not loaded", PRIOR, "p_first ? 0 : acc;"),
    Fault(
        "bias-one-bit-short",
        "the bias's register is one bit short",
        "reg signed [ACC_BITS-1:0]     p_bias;",
        "reg signed [ACC_BITS-2:0]     p_bias;",
    ),
    Fault(
        "bias-a-cycle-late",
        "the bias is added a cycle late, with the second product",
        BIAS_ADDED,
        """prior = p_first ? 0 : acc;
    reg late;
    always @(posedge clk) if (p_valid) late <= p_first;
    wire signed [ACC_BITS+1:0] sum = prior + p_product + (late & ~p_first ? p_bias : 0);""",
    ),
    Fault(
        "bias-last",
        "the bias is added with the last product",
        BIAS_ADDED,
        """prior = p_first ? 0 : acc;
    wire signed [ACC_BITS+1:0] sum = prior + p_product + (p_last ? p_bias : 0);""",
    ),
    Fault("acc-not-cleared", "a job begins with what the job before it left", PRIOR, "p_first ? p_bias + acc : acc;"),
    Fault("acc-wraps", "the accumulator wraps", HELD, "sum;"),
    Fault("acc-wraps-below", "the accumulator wraps below its smallest value", HELD, "over ? ACC_HIGH : sum;"),
    Fault("acc-high-by-one", "one beyond the largest value is let through", "sum > ACC_HIGH;", "sum > ACC_HIGH + 1;"),
    Fault("acc-low-by-one", "one below the smallest value is let through", "sum < ACC_LOW;", "sum < ACC_LOW - 1;"),
    Fault(
        "acc-one-bit-short",
        "the accumulator is one bit short",
        LIMITS,
        LIMITS.replace("2'b00", "3'b000").replace("2'b11", "3'b111").replace("(ACC_BITS - 1)", "(ACC_BITS - 2)"),
    ),
    Fault(
        "acc-latches",
        "once at a limit, the accumulator stays there until the job's end",
        HELD,
        "~p_first && (acc == ACC_HIGH || acc == ACC_LOW) ? acc : over ? ACC_HIGH : under ? ACC_LOW : sum;",
    ),
    Fault(
        "acc-carry-cut",
        "a carry does not ripple through all of the upper 16 bits",
        SUM,
        """rippled = prior[3:0] + p_product[3:0];
    wire signed [ACC_BITS-1:0] addend = p_product;
    wire cut = rippled[4] & (&(prior[ACC_BITS-1:4] ^ addend[ACC_BITS-1:4]));
    wire signed [ACC_BITS:0] sum = prior + p_product - (cut ? 1 << (ACC_BITS - 4) : 0);""",
    ),
    Fault("round-floor", "bits are dropped without rounding", NUDGE, "0;"),
    Fault("round-ties-up", "ties go up", NUDGE, "half;"),
    Fault("round-ties-down", "ties go down", NUDGE, "half - 1;"),
    Fault("round-ties-away", "ties go away from zero", NUDGE, "half - acc[ACC_BITS-1];"),
    Fault("round-negative-ties-up", "ties of negative sums go up", NUDGE, "half - 1 + (quotient[0] | acc[ACC_BITS-1]);"),
    Fault("round-ties-up-at-15", "ties go up where the shift is 15", NUDGE, "half - 1 + (quotient[0] | (&a_shift));"),
    Fault("round-minus-half", "-1/2 is rounded to -1", NUDGE, "half - 1 + (quotient[0] & ~(&quotient));"),
    Fault("round-at-shift-0", "a shift of 0 rounds", f"a_shift == 0 ? 0 : {NUDGE}", NUDGE),
    Fault(
        "round-wraps",
        "what rounding adds carries beyond the accumulator's width",
        "wire signed [ACC_BITS:0]   nudged",
        "wire signed [ACC_BITS-1:0] nudged",
    ),
    Fault("shift-logical", "the shift fills with zeros", "nudged >>> a_shift", "nudged >> a_shift"),
    Fault("relu-passes-minus-1", "ReLU lets -1 through", "rounded < 0", "rounded < -1"),
    Fault("out-symmetric", "the output's smallest code is -127", "< OUT_LOW ? OUT_LOW", "<= OUT_LOW ? OUT_LOW + 1"),
    Fault("out-wraps-below", "the output wraps below its smallest code", "rectified < OUT_LOW ? OUT_LOW : ", ""),
    Fault("out-high-by-one", "one beyond the largest code is let through", "rectified > OUT_HIGH", "rectified > OUT_HIGH + 1"),
    Fault("out-before-rounding", "the output saturates before it rounds up", "rectified > OUT_HIGH", "quotient > OUT_HIGH"),
)
"""From the multiplier to the output."""


def fault(name: str) -> Fault:
    """Return the fault of that name; InputError where there is none.

    >>> fault("acc-wraps").says
    'the accumulator wraps'
    """
    named = {one.name: one for one in FAULTS}
    if name not in named:
        raise InputError(f"fault: found {name!r}, allowed are {', '.join(named)}.")
    return named[name]
