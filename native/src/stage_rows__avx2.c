#define HW_ROW hw_row_s32__avx2
#include "stage_rows.inc"
