/* Register blocks in host floats: AVX2. */
#define ISA avx2
#define VECTOR_BYTES 32
#define WIDTH32 2
#define WIDTH64 2
#include "float_rows_all.inc"
