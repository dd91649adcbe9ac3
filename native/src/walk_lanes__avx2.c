#define HW_WALK hw_walk_lanes__avx2
#include "walk_lanes.inc"
