#define HW_WINDOW hw_window__avx512vnni
#include "window.inc"
