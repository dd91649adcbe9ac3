#define HW_DEPTH hw_depth_s16__portable
#include "depth.inc"
