#define HW_ROW hw_row_s32__avx2
#define HW_ROW64 hw_row_s64__avx2
#include "stage_rows.inc"
#include "stage_rows64.inc"
