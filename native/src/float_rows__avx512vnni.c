/* Register blocks in host floats: AVX-512. */
#define ISA avx512vnni
#define VECTOR_BYTES 64
#define WIDTH32 2
#define WIDTH64 4
#include "float_rows_all.inc"
