#define HW_DEPTH hw_depth_s16__avx2
#include "depth.inc"
