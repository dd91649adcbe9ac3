#define HW_WINDOW hw_window__avx2
#include "window.inc"
