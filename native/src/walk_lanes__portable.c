#define HW_WALK hw_walk_lanes__portable
#include "walk_lanes.inc"
