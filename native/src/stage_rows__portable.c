#define HW_ROW hw_row_s32__portable
#define HW_ROW64 hw_row_s64__portable
#include "stage_rows.inc"
#include "stage_rows64.inc"
