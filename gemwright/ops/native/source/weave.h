// Bytes into words of bfloat16: what of it differs between processors.
//
// `pick` looks 64 codes of 4 bits up in a table of 16 bytes (see lossless.h). `weave` puts 64 lower and 64 upper bytes
// together: of each 16 of them, eight for the first words and eight for the second. `unweave` takes them apart again.
#pragma once

#include "simd.h"

namespace {

#if GW_AVX512
typedef u32x16 Codes;
inline Codes load_codes(const uint8_t *table) {
    return (Codes)_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)table));
}

inline u32x16 pick(const Codes &table, u32x16 codes) { return (u32x16)_mm512_shuffle_epi8((__m512i)table, (__m512i)codes); }

inline void weave(u32x16 low, u32x16 high, u32x16 *words) {
    words[0] = (u32x16)_mm512_unpacklo_epi8((__m512i)low, (__m512i)high);
    words[1] = (u32x16)_mm512_unpackhi_epi8((__m512i)low, (__m512i)high);
}

#else
struct Codes {
#if GW_AVX2 || GW_ARM64
    Weights table;
#else
    uint8_t first, last;
#endif
};

GW_INLINE Codes load_codes(const uint8_t *table) {
#if GW_AVX2
    return {as<Weights>(_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)table)))};
#elif GW_ARM64
    return {as<Weights>(vld1q_u8(table))};
#else
    return {table[0], table[7]};
#endif
}

GW_INLINE Weights pick(const Codes &codes, Weights x) {
#if GW_AVX2
    return as<Weights>(_mm256_shuffle_epi8((__m256i)codes.table.native, (__m256i)x.native));
#elif GW_ARM64
    return as<Weights>(vqtbl1q_u8((uint8x16_t)codes.table.native, (uint8x16_t)x.native));
#elif GW_SSE2
    // There is no table in a vector: it is reckoned.
    const __m128i v = (__m128i)x.native, seven = _mm_set1_epi8(7), code = _mm_and_si128(v, seven);
    const __m128i is_last = _mm_cmpeq_epi8(code, seven), sign = _mm_slli_epi16(_mm_and_si128(v, _mm_set1_epi8(8)), 4);
    const __m128i other = _mm_andnot_si128(is_last, _mm_sub_epi8(_mm_set1_epi8((char)codes.first), code));
    return as<Weights>(_mm_or_si128(sign, _mm_or_si128(other, _mm_and_si128(is_last, _mm_set1_epi8((char)codes.last)))));
#else
    uint8_t bytes[sizeof(Weights)];
    store(bytes, x);
    for (uint8_t &byte : bytes) {
        const uint8_t code = byte & 7, upper = code == 7 ? codes.last : (uint8_t)(codes.first - code);
        byte = (uint8_t)(upper | (byte & 8) << 4);
    }
    return load<Weights>(bytes);
#endif
}

template <int N> GW_INLINE Wide<uint32_t, N> pick(const Codes &codes, Wide<uint32_t, N> x) {
    return {pick(codes, x.low), pick(codes, x.high)};
}

GW_INLINE void weave(Weights low, Weights high, Weights *first, Weights *second) {
#if GW_AVX2
    *first = as<Weights>(_mm256_unpacklo_epi8((__m256i)low.native, (__m256i)high.native));
    *second = as<Weights>(_mm256_unpackhi_epi8((__m256i)low.native, (__m256i)high.native));
#elif GW_SSE2
    *first = as<Weights>(_mm_unpacklo_epi8((__m128i)low.native, (__m128i)high.native));
    *second = as<Weights>(_mm_unpackhi_epi8((__m128i)low.native, (__m128i)high.native));
#elif GW_ARM64
    *first = as<Weights>(vzip1q_u8((uint8x16_t)low.native, (uint8x16_t)high.native));
    *second = as<Weights>(vzip2q_u8((uint8x16_t)low.native, (uint8x16_t)high.native));
#else
    uint8_t bytes[2][16], out[32];
    store(bytes[0], low), store(bytes[1], high);
    for (int i = 0; i < 32; i++) out[i] = bytes[i % 2][i / 2];
    *first = load<Weights>(out), *second = load<Weights>(out + 16);
#endif
}

template <int N>
GW_INLINE void weave(Wide<uint32_t, N> low, Wide<uint32_t, N> high, Wide<uint32_t, N> *first, Wide<uint32_t, N> *second) {
    weave(low.low, high.low, &first->low, &second->low);
    weave(low.high, high.high, &first->high, &second->high);
}

GW_INLINE void weave(u32x16 low, u32x16 high, u32x16 *words) { weave(low, high, words, words + 1); }
#endif

// What `weave` made its words of: 64 lower bytes and 64 upper ones, of 64 bytes of words and 64 more.
inline void unweave(const uint8_t *first, const uint8_t *second, uint8_t *low, uint8_t *high) {
    for (int lane = 0; lane < 64; lane += 16) {
#if GW_AVX512 || GW_AVX2 || GW_SSE2
        const __m128i a = _mm_loadu_si128((const __m128i *)(first + lane)), b = _mm_loadu_si128((const __m128i *)(second + lane));
        const __m128i mask = _mm_set1_epi16(255);
        _mm_storeu_si128((__m128i *)(low + lane), _mm_packus_epi16(_mm_and_si128(a, mask), _mm_and_si128(b, mask)));
        _mm_storeu_si128((__m128i *)(high + lane), _mm_packus_epi16(_mm_srli_epi16(a, 8), _mm_srli_epi16(b, 8)));
#elif GW_ARM64
        const uint8x16_t a = vld1q_u8(first + lane), b = vld1q_u8(second + lane);
        vst1q_u8(low + lane, vuzp1q_u8(a, b)), vst1q_u8(high + lane, vuzp2q_u8(a, b));
#else
        for (int i = 0; i < 16; i++) {
            const uint8_t *word = (i < 8 ? first : second) + lane + 2 * (i % 8);
            low[lane + i] = word[0], high[lane + i] = word[1];
        }
#endif
    }
}

}  // namespace
