/* Windows over an image: what pooling and sums of minifloats share. */
#ifndef HW_POOL_H
#define HW_POOL_H

#include "core.h"

typedef struct hw_span {
    int64_t first, last;     /* clipped to the image */
    int64_t counted;         /* what an average counts along this axis */
} hw_span;

hw_span hw_window_span(int64_t index, int64_t kernel, int64_t stride, int64_t pad, int64_t pad_end, int64_t extent,
                       int32_t rule);
int hw_check_windows(const hw_pool *v, const hw_tensor *in, const hw_tensor *out, hw_status *status);
int hw_check_pool(const hw_pool *v, bool average, hw_status *status);

#endif
