/* Register blocks in host floats: any processor. */
#define ISA portable
#define VECTOR_BYTES 16
#define WIDTH32 1
#define WIDTH64 1
#include "float_rows_all.inc"
