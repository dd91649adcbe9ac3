#define HW_WALK_SET hw_walk_set__portable
#include "walk_lanes.inc"
