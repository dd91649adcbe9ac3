#define HW_WINDOW hw_window__portable
#include "window.inc"
