#define HW_ROW hw_row_s32__portable
#include "stage_rows.inc"
