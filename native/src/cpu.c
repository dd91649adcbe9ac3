/* Which instruction sets this processor and its operating system can run. */
#include "core.h"

#ifdef HW_X86
#include <cpuid.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

static uint64_t enabled_state(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

#ifdef HW_AMX
/* The kernel hands the tile state out on request only, once per process. */
static bool tiles_granted(void)
{
#ifdef __linux__
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
#else
    return false;
#endif
}

/* edx: of cpuid leaf 7. */
static bool can_use_tiles(uint64_t state, uint32_t edx)
{
    const uint64_t tiles = 0x60000;
    const uint32_t tile_and_int8 = 1u << 24 | 1u << 25;
    return (state & tiles) == tiles && (edx & tile_and_int8) == tile_and_int8 && tiles_granted();
}
#else
static bool can_use_tiles(uint64_t state, uint32_t edx)
{
    (void)state;
    (void)edx;
    return false;
}
#endif

static int32_t detect(void)
{
    int32_t found = 1 << HW_ISA_PORTABLE;
    uint32_t eax, ebx, ecx, edx;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || !(ecx & bit_OSXSAVE))
        return found;
    const uint64_t state = enabled_state();
    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx))
        return found;
    const uint64_t ymm = 0x6, zmm = 0xe6;
    if ((state & ymm) == ymm && (ebx & bit_AVX2))
        found |= 1 << HW_ISA_AVX2;
    const uint32_t foundation = bit_AVX512F | bit_AVX512DQ | bit_AVX512BW | bit_AVX512VL;
    if ((state & zmm) == zmm && (ebx & foundation) == foundation && (ecx & bit_AVX512VNNI))
        found |= 1 << HW_ISA_AVX512VNNI;
    if ((found & 1 << HW_ISA_AVX512VNNI) && can_use_tiles(state, edx))
        found |= 1 << HW_ISA_AMX;
    return found;
}
#else
static int32_t detect(void) { return 1 << HW_ISA_PORTABLE; }
#endif

int32_t hw_isa_available(void)
{
    static int32_t found; /* detect() gives the same answer whoever asks first */
    int32_t known = __atomic_load_n(&found, __ATOMIC_RELAXED);
    if (known == 0) {
        known = detect();
        __atomic_store_n(&found, known, __ATOMIC_RELAXED);
    }
    return known;
}

const char *hw_isa_name(int32_t isa)
{
    static const char *const names[] = {"auto", "portable", "avx2", "avx512vnni", "amx"};
    return isa >= HW_ISA_AUTO && isa <= HW_ISA_AMX ? names[isa] : "unknown";
}

int hw_pick_isa(int32_t isa, hw_status *status)
{
    const int32_t available = hw_isa_available();
    if (isa < HW_ISA_AUTO || isa > HW_ISA_AMX || (isa != HW_ISA_AUTO && !(available & 1 << isa))) {
        hw_fail(status, HW_ISA_MISSING, 0, isa);
        return 0;
    }
    if (isa != HW_ISA_AUTO)
        return isa;
    int best = HW_ISA_AMX;
    while (!(available & 1 << best))
        best--;
    return best;
}
