#define HW_WALK_SET hw_walk_set__avx2
#include "walk_lanes.inc"
