// Weights into GGUF's blocks of 32, rounded as ggml's reference rounds them. `ops/blocks.py` is the plain reference.
#pragma once

#include "matrix.h"

namespace {

// To float16, to nearest, ties to even.
inline uint16_t to_half(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    const uint16_t sign = bits >> 16 & 0x8000;
    bits &= 0x7fffffff;
    if (bits >= 0x47800000) return sign | 0x7c00;  // 2^16 and more
    if (bits < 0x38800000) {                       // subnormal there: the sum's last bit is theirs
        float value;
        std::memcpy(&value, &bits, 4);
        value += 0.5f;
        std::memcpy(&bits, &value, 4);
        return sign | (uint16_t)(bits - 0x3f000000);
    }
    return sign | (uint16_t)((bits - (112u << 23) + 0xfff + (bits >> 13 & 1)) >> 13);
}

inline float inverse_of(float scale) {
    const float inverse = 1.0f / scale;
    return std::isfinite(inverse) ? inverse : 0.0f;
}

// The largest magnitude gets the code 127 or -127; halves go away from 0.
inline void block_q8_0(const float *x, uint8_t *out) {
    float most = 0;
    for (int i = 0; i < GROUP; i++) most = std::fabs(x[i]) > most ? std::fabs(x[i]) : most;
    const float scale = most / 127.0f, inverse = inverse_of(scale);
    const uint16_t stored = to_half(scale);
    std::memcpy(out, &stored, 2);
    for (int i = 0; i < GROUP; i++) {
        const float step = x[i] * inverse, size = std::fabs(step);
        const int whole = (int)size, rounded = whole + (size - (float)whole >= 0.5f), code = rounded < 127 ? rounded : 127;
        out[2 + i] = (uint8_t)(step < 0 ? -code : code);
    }
}

// The first of the largest magnitudes gets the code -8, exactly.
inline void block_q4_0(const float *x, uint8_t *out) {
    float most = 0, value = 0;
    for (int i = 0; i < GROUP; i++)
        if (std::fabs(x[i]) > most) most = std::fabs(x[i]), value = x[i];
    const float scale = value / -8.0f, inverse = inverse_of(scale);
    const uint16_t stored = to_half(scale);
    std::memcpy(out, &stored, 2);
    uint8_t codes[GROUP];
    for (int i = 0; i < GROUP; i++) {
        const float code = x[i] * inverse + 8.5f;
        codes[i] = (uint8_t)(int)(code < 0 ? 0 : code > 15 ? 15 : code);
    }
    for (int i = 0; i < 16; i++) out[2 + i] = (uint8_t)(codes[i] | codes[i + 16] << 4);
}

}  // namespace

extern "C" {

// Blocks of 32 values, float32 or, where `is_half`, bfloat16 → 34 bytes each (Q8_0) or 18 (Q4_0). `odd` gets how many hold an
// infinity or what is no number; nothing is said about these.
void gw_quantise_blocks(int64_t format, int64_t blocks, const void *x, int64_t is_half, uint8_t *out, int64_t *odd, int64_t threads) {
    int64_t found = 0;
#pragma omp parallel for num_threads(threads) schedule(static) reduction(+ : found)
    for (int64_t b = 0; b < blocks; b++) {
        float values[GROUP];
        if (is_half)
            for (int i = 0; i < GROUP; i += 16) store(values + i, widen(load<u16x16>((const uint16_t *)x + GROUP * b + i)));
        else
            std::memcpy(values, (const float *)x + GROUP * b, sizeof values);
        int32_t strange = 0;
        for (int i = 0; i < GROUP; i++) {
            int32_t bits;
            std::memcpy(&bits, values + i, 4);
            strange |= (bits & 0x7f800000) == 0x7f800000;
        }
        if (strange)
            found++;
        else if (format == Q8_0)
            block_q8_0(values, out + 34 * b);
        else
            block_q4_0(values, out + 18 * b);
    }
    *odd = found;
}

}  // extern "C"
