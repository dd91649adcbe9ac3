/* What every file of the core shares: operators, plans (an operator bound to tensors for one hw_run), workers. */
#ifndef HW_CORE_H
#define HW_CORE_H

#include "hwsim.h"
#include "stage.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    LANES = 16,          /* output channels of one weight block and of one 512-bit register of int32 */
    STEP_BYTES = 64,     /* input bytes that one step of a product sum consumes per pixel */
    STEP_DWORDS = 16,
    BLOCK_BYTES = LANES * STEP_BYTES, /* packed weights of one block in one step */
    MAX_PIXELS = 32,     /* pixels of one register block, at most */
    MAX_BLOCKS = 4       /* weight blocks of one register block, at most */
};

/* A thread's own memory: sums of one register block (two halves where products are split), and wide sums. */
typedef struct hw_worker {
    _Alignas(64) int32_t sums[MAX_BLOCKS * MAX_PIXELS * LANES];
    _Alignas(64) int32_t high_sums[MAX_BLOCKS * MAX_PIXELS * LANES];
    _Alignas(64) int64_t wide_sums[MAX_BLOCKS * MAX_PIXELS * LANES];
    _Alignas(64) int32_t part_sums[MAX_BLOCKS * MAX_PIXELS * LANES]; /* of one segment of a declared order */
    bool tiles_on;       /* AMX tiles are configured on this thread */
    void *scratch;       /* as many bytes as the plans of the run ask for */
} hw_worker;

typedef struct hw_plan hw_plan;
struct hw_gemm; /* conv.h */

/* One family of operators. bind checks the tensors and fills the plan; phases run one after the other, the tasks of a
 * phase in any order and on any thread. A task adds to the counters in events. */
typedef struct hw_family {
    int (*bind)(const hw_op *op, hw_plan *plan, hw_status *status);
    void (*task)(const hw_plan *plan, int phase, int64_t task, hw_worker *worker, int64_t events[HW_COUNTERS]);
    void (*free)(hw_op *op);
} hw_family;

struct hw_op {
    const hw_family *family;
    int32_t isa;
};

/* Which bytes a depthwise register block reads. Columns: input pixels from the first pixel's first tap on, `column` bytes apart;
 * pixel p's tap s reads column p * pixel_step + s * tap_step. */
typedef struct hw_depth {
    int64_t rows, taps;      /* of the kernel */
    int64_t row, column;     /* bytes */
    int64_t pixel_step, tap_step;
    int64_t together;        /* pixels whose columns are made at once; 1: pixel_step does not hold, the next one lies elsewhere */
} hw_depth;

struct hw_plan {
    const hw_op *op;
    const hw_call *call;
    int64_t tasks[2];        /* per phase; 0: the phase is empty */
    int32_t threads;
    int64_t *table;          /* malloc'ed by bind, freed by hw_run */
    int64_t staged_bytes, staged_origin; /* of the staged copy, in memory that the calls of a run share; 0: none */
    int64_t scratch_bytes;   /* of each worker; 64-byte aligned */
    hw_tensor input;         /* of a convolution: what its products read, the call's input or the staged copy */
    struct {
        int64_t segments, raster, valid, length, blocks, block_pixels, min_pixels; /* see conv_run.c */
        int64_t pixel_stride, segment_stride, image_stride; /* bytes */
        int64_t out_pixel, out_row, out_image;              /* elements */
        int64_t images, chunk, block_chunks, group_chunks, groups_per_chunk, groups;
        void (*gemm)(const struct hw_gemm *);
        void (*collect)(const struct hw_gemm *); /* NULL, or what stores the sums that gemm left in the tiles */
        const int32_t *start;
        int64_t magnitudes;  /* bytes from the input to its magnitudes */
        void (*magnitude_gemm)(const struct hw_gemm *);
        bool folded;         /* start holds the stage's bias */
        hw_depth depth;
    } conv;
};

#ifdef HW_AMX
void hw_tiles_on(void);  /* configure this thread's AMX tiles */
void hw_tiles_off(void);
#endif

extern const hw_family hw_float_conv_family;
const char *hw_float_conv_path(const hw_op *op); /* of that family */

int hw_fail(hw_status *status, int32_t code, int64_t index, int64_t value);
void *hw_alloc(size_t bytes, hw_status *status); /* 64-byte aligned, zeroed; release with free() */
int hw_pick_isa(int32_t isa, hw_status *status); /* the resolved instruction set, or 0 and a status */
int64_t hw_type_low(int32_t type);
int64_t hw_type_high(int32_t type);
int hw_check_float(const hw_float *f, hw_status *status);
int hw_check_output(const hw_output *output, hw_status *status);
int hw_check_scale(int32_t scaling, int64_t multiplier, int32_t shift, int64_t index, hw_status *status);
int hw_check_tensor(const hw_tensor *tensor, int64_t index, hw_status *status);
int hw_check_same_image(const hw_tensor *a, const hw_tensor *b, hw_status *status);

static inline int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* A loop over the channels of a block, for the compiler to vectorise: gcc must not unroll it before it looks. */
#define EACH_LANE _Pragma("GCC unroll 1") for (int i = 0; i < LANES; i++)

/* hw_type comes in pairs of 1, 2, 4 and 8 bytes. */
static inline int64_t hw_type_bytes(int32_t type) { return (int64_t)1 << (type / 2); }

/* The address of pixel (n, y, x), channel 0. */
static inline uint8_t *hw_pixel(const hw_tensor *t, int64_t n, int64_t y, int64_t x)
{
    return (uint8_t *)t->data + (n * t->stride_n + y * t->stride_h + x * t->stride_w) * hw_type_bytes(t->type);
}

static inline int64_t hw_load(const void *data, int32_t type, int64_t i)
{
    switch (type) {
    case HW_S8: return ((const int8_t *)data)[i];
    case HW_U8: return ((const uint8_t *)data)[i];
    case HW_S16: return ((const int16_t *)data)[i];
    case HW_U16: return ((const uint16_t *)data)[i];
    case HW_S32: return ((const int32_t *)data)[i];
    case HW_U32: return ((const uint32_t *)data)[i];
    default: return ((const int64_t *)data)[i];
    }
}

static inline void hw_store(void *data, int32_t type, int64_t i, int64_t value)
{
    switch (type) {
    case HW_S8: case HW_U8: ((uint8_t *)data)[i] = (uint8_t)value; break;
    case HW_S16: case HW_U16: ((uint16_t *)data)[i] = (uint16_t)value; break;
    case HW_S32: case HW_U32: ((uint32_t *)data)[i] = (uint32_t)value; break;
    default: ((int64_t *)data)[i] = value;
    }
}

#endif
