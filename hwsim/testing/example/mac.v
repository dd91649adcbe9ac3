// mac: a multiply-accumulate unit with a saturating accumulator and a requantizing output stage.
//
// One product a cycle, jobs back to back: the cycle after in_last may carry the next job's in_first. in_valid may drop at any
// time; there is no back pressure. out_valid comes three cycles after in_last. rst is synchronous.
//
// Its numbers are those of this contract, bit for bit:
//
//     acc  = bias                                            preloaded, ACC_BITS wide
//     acc  = saturate(acc + x * w)                           at every step
//     code = saturate(relu(round(acc / 2**shift)))           ties to even, OUT_BITS wide
//
// which hwsim writes, with fractional lengths that make shift = fl_x + fl_w - fl_out, as
//
//     MacContract(
//         FixedPoint(X_BITS, fl_x), FixedPoint(W_BITS, fl_w),
//         Output(FixedPoint(OUT_BITS, fl_out), Rounding.TIES_EVEN, Overflow.SATURATE, activation),
//         Accumulator(ACC_BITS, overflow=Overflow.SATURATE),
//     )
//
// ACC_BITS must be at least OUT_BITS, X_BITS + W_BITS - 1 and the largest shift, 2**SHIFT_BITS - 1.

`default_nettype none

module mac #(
    parameter X_BITS     = 8,
    parameter W_BITS     = 8,
    parameter ACC_BITS   = 20,
    parameter OUT_BITS   = 8,
    parameter SHIFT_BITS = 4
) (
    input  wire                       clk,
    input  wire                       rst,
    input  wire                       in_valid,
    input  wire                       in_first,  // of the job's products
    input  wire                       in_last,
    input  wire signed [X_BITS-1:0]   in_x,
    input  wire signed [W_BITS-1:0]   in_w,
    input  wire signed [ACC_BITS-1:0] in_bias,   // taken with in_first
    input  wire [SHIFT_BITS-1:0]      in_shift,  // taken with in_last, as is in_relu
    input  wire                       in_relu,
    output reg                        out_valid,
    output reg  signed [OUT_BITS-1:0] out_code
);
    localparam PRODUCT_BITS = X_BITS + W_BITS;

    localparam signed [ACC_BITS:0] ACC_HIGH = {2'b00, {(ACC_BITS - 1){1'b1}}};
    localparam signed [ACC_BITS:0] ACC_LOW  = {2'b11, {(ACC_BITS - 1){1'b0}}};
    localparam signed [ACC_BITS:0] OUT_HIGH = {{(ACC_BITS - OUT_BITS + 2){1'b0}}, {(OUT_BITS - 1){1'b1}}};
    localparam signed [ACC_BITS:0] OUT_LOW  = {{(ACC_BITS - OUT_BITS + 2){1'b1}}, {(OUT_BITS - 1){1'b0}}};

    // Stage 1: multiply.
    reg                           p_valid, p_first, p_last, p_relu;
    reg signed [PRODUCT_BITS-1:0] p_product;
    reg signed [ACC_BITS-1:0]     p_bias;
    reg [SHIFT_BITS-1:0]          p_shift;

    always @(posedge clk) begin
        p_valid <= in_valid & ~rst;
        if (in_valid) begin
            p_first   <= in_first;
            p_last    <= in_last;
            p_product <= in_x * in_w;
            p_bias    <= in_bias;
            p_shift   <= in_shift;
            p_relu    <= in_relu;
        end
    end

    // Stage 2: accumulate. The sum is one bit wider than the register, so it is exact.
    reg                        a_last, a_relu;
    reg signed [ACC_BITS-1:0]  acc;
    reg [SHIFT_BITS-1:0]       a_shift;

    wire signed [ACC_BITS-1:0] prior  = p_first ? p_bias : acc;
    wire signed [ACC_BITS:0]   sum    = prior + p_product;
    wire                       over   = sum > ACC_HIGH;
    wire                       under  = sum < ACC_LOW;
    wire signed [ACC_BITS:0]   held   = over ? ACC_HIGH : under ? ACC_LOW : sum;

    always @(posedge clk) begin
        a_last <= p_valid & p_last & ~rst;
        if (rst) acc <= 0;
        if (p_valid) begin
            acc     <= held[ACC_BITS-1:0];
            a_shift <= p_shift;
            a_relu  <= p_relu;
        end
    end

    // Stage 3: requantize. half - 1, and one more where the quotient is odd, sends ties to even; a shift of 0 drops nothing.
    wire [ACC_BITS:0]          half      = ({{ACC_BITS{1'b0}}, 1'b1} << a_shift) >> 1;
    wire signed [ACC_BITS-1:0] quotient  = acc >>> a_shift;
    wire signed [ACC_BITS:0]   nudge     = a_shift == 0 ? 0 : half - 1 + quotient[0];
    wire signed [ACC_BITS:0]   nudged    = acc + nudge;
    wire signed [ACC_BITS:0]   rounded   = nudged >>> a_shift;
    wire signed [ACC_BITS:0]   rectified = a_relu && rounded < 0 ? 0 : rounded;
    wire signed [ACC_BITS:0]   clipped   = rectified > OUT_HIGH ? OUT_HIGH : rectified < OUT_LOW ? OUT_LOW : rectified;

    always @(posedge clk) begin
        out_valid <= a_last & ~rst;
        if (a_last) out_code <= clipped[OUT_BITS-1:0];
    end
endmodule

`default_nettype wire
