/* Codes of any type as int64 lanes, the type decided once for a whole row of channels. */
#ifndef HW_LANES_H
#define HW_LANES_H

#include "core.h"

#define HW_EACH(type, action)                   \
    for (int64_t i = 0; i < count; i++) {       \
        type *code = (type *)data + i;          \
        action;                                 \
    }                                           \
    break

/* to[i] = codes[i] - zero. */
static inline void hw_load_lanes(const void *codes, int32_t type, int64_t count, int64_t zero, int64_t *to)
{
    void *data = (void *)(uintptr_t)codes;
    switch (type) {
    case HW_S8: HW_EACH(int8_t, to[i] = *code - zero);
    case HW_U8: HW_EACH(uint8_t, to[i] = *code - zero);
    case HW_S16: HW_EACH(int16_t, to[i] = *code - zero);
    case HW_U16: HW_EACH(uint16_t, to[i] = *code - zero);
    case HW_S32: HW_EACH(int32_t, to[i] = *code - zero);
    case HW_U32: HW_EACH(uint32_t, to[i] = *code - zero);
    default: HW_EACH(int64_t, to[i] = *code - zero);
    }
}

static inline void hw_store_lanes(void *data, int32_t type, int64_t count, const int64_t *values)
{
    switch (hw_type_bytes(type)) {
    case 1: HW_EACH(uint8_t, *code = (uint8_t)values[i]);
    case 2: HW_EACH(uint16_t, *code = (uint16_t)values[i]);
    case 4: HW_EACH(uint32_t, *code = (uint32_t)values[i]);
    default: HW_EACH(int64_t, *code = values[i]);
    }
}

#undef HW_EACH
#endif
