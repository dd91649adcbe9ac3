// bench: reads jobs from standard input and writes answers to standard output for as long as there are any.
//
//     COUNT SHIFT RELU BIAS x w x w ...        a job: COUNT pairs; one output
//     0                                        the end of a batch
//
// At the end of a batch: one line for each job, its code, or "none" where the unit gave none; then "end", or "more" where it
// gave too many. All is flushed, and the unit is reset, so that a batch knows nothing of the batches before it.
// in_valid drops every now and then, in a pattern that begins anew with each batch.

`timescale 1ns / 1ns

module bench;
    parameter X_BITS = 8, W_BITS = 8, ACC_BITS = 20, OUT_BITS = 8, SHIFT_BITS = 4;

    localparam STDIN = 32'h8000_0000;
    localparam DRAIN = 8;  // cycles in which the unit must have answered

    reg                        clk = 0, rst = 1, in_valid = 0, in_first = 0, in_last = 0, in_relu = 0;
    reg signed [X_BITS-1:0]    in_x = 0;
    reg signed [W_BITS-1:0]    in_w = 0;
    reg signed [ACC_BITS-1:0]  in_bias = 0;
    reg [SHIFT_BITS-1:0]       in_shift = 0;
    wire                       out_valid;
    wire signed [OUT_BITS-1:0] out_code;

    mac #(
        .X_BITS(X_BITS), .W_BITS(W_BITS), .ACC_BITS(ACC_BITS), .OUT_BITS(OUT_BITS), .SHIFT_BITS(SHIFT_BITS)
    ) dut (
        .clk(clk), .rst(rst),
        .in_valid(in_valid), .in_first(in_first), .in_last(in_last),
        .in_x(in_x), .in_w(in_w), .in_bias(in_bias), .in_shift(in_shift), .in_relu(in_relu),
        .out_valid(out_valid), .out_code(out_code)
    );

    integer   count, shift, relu, bias, x, w, step, jobs, answers;
    reg [7:0] noise;
    reg       more;

    // One cycle: the clock rises, then what the unit answers is read.
    task tick;
        begin
            #1 clk = 1;
            #1 clk = 0;
            if (out_valid === 1'b1) begin
                if (answers == jobs) more = 1;
                else begin
                    $display("%0d", out_code);
                    answers = answers + 1;
                end
            end
        end
    endtask

    // Now and then a cycle without a product, with nonsense on the other wires, from a shift register of all 255 states.
    task idle;
        begin
            noise = {noise[6:0], noise[7] ^ noise[5] ^ noise[4] ^ noise[3]};
            if (noise[1:0] == 2'b00) begin
                in_valid = 0;
                in_x     = noise;
                in_w     = ~noise;
                in_first = noise[4];
                in_last  = noise[5];
                tick;
            end
        end
    endtask

    task start;
        begin
            in_valid = 0;
            jobs = 0;
            answers = 0;
            more = 0;
            noise = 8'h5a;
            rst = 1;
            repeat (4) tick;
            rst = 0;
        end
    endtask

    task finish_batch;
        begin
            in_valid = 0;
            repeat (DRAIN) tick;
            for (step = answers; step < jobs; step = step + 1) $display("none");
            if (more) $display("more");
            else $display("end");
            $fflush;
            start;
        end
    endtask

    task job;
        begin
            if ($fscanf(STDIN, "%d %d %d", shift, relu, bias) != 3) $finish;
            jobs = jobs + 1;
            for (step = 0; step < count; step = step + 1) begin
                if ($fscanf(STDIN, "%d %d", x, w) != 2) $finish;
                idle;
                in_valid = 1;
                in_first = step == 0;
                in_last  = step == count - 1;
                in_x     = x;
                in_w     = w;
                in_bias  = bias;
                in_shift = shift;
                in_relu  = relu;
                tick;
            end
            in_valid = 0;
        end
    endtask

    initial begin
        start;
        while ($fscanf(STDIN, "%d", count) == 1)
            if (count == 0) finish_batch;
            else job;
        $finish;
    end
endmodule
