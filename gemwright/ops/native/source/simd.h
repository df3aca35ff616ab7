// Sixteen numbers at a time: the few operations that differ between processors.
//
// Everything else is written once with the compiler's vector types. The flags of the compilation choose the
// processor. Contraction of products and sums is off (-ffp-contract=off) and `fma` is written where it is meant, so
// that a sum has the same bits however many rows are worked on beside it.
//
// Each processor brings its own types, conversions, `sum` and `highest` (always in the same order: halves, quarters,
// and so on), `fma`, `load_half` (sixteen float16 from memory), and the products of integers: a weight is a code plus
// OFFSET (8: codes of 4 bits, 128: of 8), an unsigned byte; an activation is a signed byte, -127 … 127. Lane i of
// `weights` holds four weights of output i, `x` the four activations that they meet. From `begin_dot`, over the eight
// `dot` of a group of 32, to `end_dot` a lane gathers Σ code x; `start` is -128 Σ x.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#if defined(__AVX512F__) && defined(__AVX512VNNI__) && defined(__AVX512BW__)
#define GW_AVX512 1
#if defined(__AVX512BF16__)
#define GW_AVX512_BF16 1
#endif
#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#define GW_AVX2 1
#elif defined(__SSE2__)
#define GW_SSE2 1  // every x86-64
#elif defined(__ARM_NEON) && defined(__aarch64__)
#define GW_ARM64 1  // every 64-bit ARM
#if defined(__ARM_FEATURE_DOTPROD)
#define GW_NEON 1
#endif
#endif

#define GW_INLINE inline __attribute__((always_inline))

namespace {

#if GW_AVX512
template <class V> inline V load(const void *from) {
    V out;
    std::memcpy(&out, from, sizeof out);
    return out;
}

template <class V> inline void store(void *to, V value) { std::memcpy(to, &value, sizeof value); }

typedef float f32x16 __attribute__((vector_size(64)));
typedef int32_t i32x16 __attribute__((vector_size(64)));
typedef uint32_t u32x16 __attribute__((vector_size(64)));
typedef uint16_t u16x16 __attribute__((vector_size(32)));
typedef int8_t i8x16 __attribute__((vector_size(16)));

inline f32x16 as_float(i32x16 x) { return (f32x16)x; }
inline f32x16 as_float(u32x16 x) { return (f32x16)x; }
inline i32x16 as_int(f32x16 x) { return (i32x16)x; }
inline u32x16 as_unsigned(f32x16 x) { return (u32x16)x; }
inline f32x16 to_float(i32x16 x) { return __builtin_convertvector(x, f32x16); }
inline f32x16 to_float(i8x16 x) { return __builtin_convertvector(x, f32x16); }
inline i8x16 to_bytes(i32x16 x) { return __builtin_convertvector(x, i8x16); }
inline u32x16 to_words(u16x16 x) { return __builtin_convertvector(x, u32x16); }
inline u16x16 to_halves(u32x16 x) { return __builtin_convertvector(x, u16x16); }
inline f32x16 splat(float x) { return f32x16{x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x}; }
inline i32x16 splat(int32_t x) { return i32x16{x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x}; }
inline u32x16 splat(uint32_t x) { return (u32x16)splat((int32_t)x); }
inline u32x16 splat_once(uint32_t x) { return splat(x); }

inline float sum(f32x16 x) {
    float a[16];
    store(a, x);
    for (int width = 8; width > 0; width /= 2)
        for (int i = 0; i < width; i++) a[i] += a[i + width];
    return a[0];
}

inline float highest(f32x16 x) {
    float a[16];
    store(a, x);
    for (int width = 8; width > 0; width /= 2)
        for (int i = 0; i < width; i++) a[i] = a[i] > a[i + width] ? a[i] : a[i + width];
    return a[0];
}

inline f32x16 fma(f32x16 a, f32x16 b, f32x16 c) { return (f32x16)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }

inline f32x16 load_half(const void *from) { return (f32x16)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)from)); }

template <int OFFSET> inline i32x16 begin_dot(int32_t start) { return OFFSET == 8 ? splat(start) >> 4 : splat(start); }

template <int OFFSET> inline i32x16 dot(i32x16 total, u32x16 weights, int32_t x) {
    return (i32x16)_mm512_dpbusd_epi32((__m512i)total, (__m512i)weights, _mm512_set1_epi32(x));
}

template <int OFFSET> inline i32x16 end_dot(i32x16 total, int32_t) { return total; }

#else
// Without 64-byte vectors: halves of halves, down to the processor's own vectors. Compilers spill arrays of vectors,
// and split what is wider than the processor badly; members of a struct they keep in registers. The operators take the
// halves apart; at the bottom stand the compiler's operators and the few intrinsics.
#if GW_AVX2
constexpr int NATIVE = 32;
#else
constexpr int NATIVE = 16;
#endif

template <class T, int LANES, bool = (LANES * sizeof(T) > NATIVE)> struct Wide {
    static constexpr bool IS_PAIR = true;
    Wide<T, LANES / 2> low, high;
};

template <class T, int LANES> struct Wide<T, LANES, false> {
    static constexpr bool IS_PAIR = false;
    typedef T Native __attribute__((vector_size(LANES * sizeof(T))));
    Native native;
};

template <class V> GW_INLINE V load(const void *from) {
    if constexpr (std::is_arithmetic<V>::value) {
        V out;
        std::memcpy(&out, from, sizeof out);
        return out;
    } else if constexpr (V::IS_PAIR) {
        return {load<decltype(V::low)>(from), load<decltype(V::high)>((const uint8_t *)from + sizeof(V) / 2)};
    } else {
        typename V::Native out;  // copied as a struct it would take two moves over the stack
        std::memcpy(&out, from, sizeof out);
        return {out};
    }
}

template <class V> GW_INLINE void store(void *to, V value) {
    if constexpr (V::IS_PAIR)
        store(to, value.low), store((uint8_t *)to + sizeof(V) / 2, value.high);
    else
        std::memcpy(to, &value.native, sizeof value.native);
}

typedef Wide<float, 16> f32x16;
typedef Wide<int32_t, 16> i32x16;
typedef Wide<uint32_t, 16> u32x16;
typedef Wide<uint16_t, 16> u16x16;
typedef Wide<int8_t, 16> i8x16;
typedef Wide<int32_t, NATIVE / 4> Integers;  // 32-bit numbers in one of the processor's vectors
typedef Wide<uint32_t, NATIVE / 4> Weights;

// An intrinsic's result as one of the types above.
template <class V, class X> GW_INLINE V as(X x) { return {(typename V::Native)x}; }

template <class V, class Part> GW_INLINE V repeat(Part x) {
    if constexpr (std::is_same<V, Part>::value) {
        return x;
    } else {
        const auto half = repeat<decltype(V::low)>(x);
        return {half, half};
    }
}

template <class V, class T> GW_INLINE V splat_to(T x) {
    if constexpr (V::IS_PAIR)
        return repeat<V>(splat_to<decltype(V::low)>(x));
    else
        return {x - typename V::Native{}};
}

template <class T> GW_INLINE Wide<T, 16> splat(T x) { return splat_to<Wide<T, 16>>(x); }

// A number in every lane, carried over once: without the empty instruction compilers do the next sums with the number
// itself, outside of the vectors, and carry each result over.
GW_INLINE u32x16 splat_once(uint32_t x) {
    Weights one = splat_to<Weights>(x);
#if GW_AVX2 || GW_SSE2
    asm("" : "+x"(one.native));
#elif GW_ARM64
    asm("" : "+w"(one.native));
#endif
    return repeat<u32x16>(one);
}

#define GW_OPERATOR(op)                                                                                         \
    template <class T, int N> GW_INLINE Wide<T, N> operator op(Wide<T, N> a, Wide<T, N> b) {                    \
        if constexpr (Wide<T, N>::IS_PAIR)                                                                      \
            return {a.low op b.low, a.high op b.high};                                                          \
        else                                                                                                    \
            return {a.native op b.native};                                                                      \
    }                                                                                                           \
    template <class T, int N, class S, class = std::enable_if_t<std::is_arithmetic<S>::value>>                  \
    GW_INLINE Wide<T, N> operator op(Wide<T, N> a, S b) { return a op splat_to<Wide<T, N>>((T)b); }             \
    template <class T, int N, class S, class = std::enable_if_t<std::is_arithmetic<S>::value>>                  \
    GW_INLINE Wide<T, N> operator op(S a, Wide<T, N> b) { return splat_to<Wide<T, N>>((T)a) op b; }
GW_OPERATOR(+) GW_OPERATOR(-) GW_OPERATOR(*) GW_OPERATOR(/) GW_OPERATOR(&) GW_OPERATOR(|) GW_OPERATOR(^)
#undef GW_OPERATOR

#define GW_SHIFT(op)                                                                                            \
    template <class T, int N> GW_INLINE Wide<T, N> operator op(Wide<T, N> a, int count) {                       \
        if constexpr (Wide<T, N>::IS_PAIR)                                                                      \
            return {a.low op count, a.high op count};                                                           \
        else                                                                                                    \
            return {a.native op count};                                                                         \
    }
GW_SHIFT(<<) GW_SHIFT(>>)
#undef GW_SHIFT

#define GW_COMPARE(op)                                                                                          \
    template <class T, int N> GW_INLINE Wide<int32_t, N> operator op(Wide<T, N> a, Wide<T, N> b) {              \
        if constexpr (Wide<T, N>::IS_PAIR)                                                                      \
            return {a.low op b.low, a.high op b.high};                                                          \
        else                                                                                                    \
            return {(typename Wide<int32_t, N>::Native)(a.native op b.native)};                                 \
    }
GW_COMPARE(<) GW_COMPARE(>) GW_COMPARE(>=)
#undef GW_COMPARE

template <class T, int N, class S> GW_INLINE Wide<T, N> &operator+=(Wide<T, N> &a, S b) { return a = a + b; }
template <class T, int N, class S> GW_INLINE Wide<T, N> &operator*=(Wide<T, N> &a, S b) { return a = a * b; }
GW_INLINE f32x16 operator-(f32x16 x) { return 0.0f - x; }
GW_INLINE i32x16 operator~(i32x16 x) { return -1 - x; }

template <class To, class From, int N> GW_INLINE Wide<To, N> same_bits(Wide<From, N> x) {
    if constexpr (Wide<From, N>::IS_PAIR)
        return {same_bits<To>(x.low), same_bits<To>(x.high)};
    else
        return {(typename Wide<To, N>::Native)x.native};
}

GW_INLINE f32x16 as_float(i32x16 x) { return same_bits<float>(x); }
GW_INLINE f32x16 as_float(u32x16 x) { return same_bits<float>(x); }
GW_INLINE i32x16 as_int(f32x16 x) { return same_bits<int32_t>(x); }
GW_INLINE u32x16 as_unsigned(f32x16 x) { return same_bits<uint32_t>(x); }

template <int N> GW_INLINE Wide<float, N> to_float(Wide<int32_t, N> x) {
    if constexpr (Wide<float, N>::IS_PAIR)
        return {to_float(x.low), to_float(x.high)};
    else
        return {__builtin_convertvector(x.native, typename Wide<float, N>::Native)};
}

template <int N> GW_INLINE Wide<float, N> fma(Wide<float, N> a, Wide<float, N> b, Wide<float, N> c) {
    if constexpr (Wide<float, N>::IS_PAIR)
        return {fma(a.low, b.low, c.low), fma(a.high, b.high, c.high)};
    else
#if GW_AVX2
        return as<Wide<float, N>>(_mm256_fmadd_ps((__m256)a.native, (__m256)b.native, (__m256)c.native));
#elif GW_ARM64
        return as<Wide<float, N>>(vfmaq_f32((float32x4_t)c.native, (float32x4_t)a.native, (float32x4_t)b.native));
#else
        return a * b + c;
#endif
}

// Between 16 or 8 bits and 32. Numbers that do not fit lose their upper bits.
#if GW_AVX2
GW_INLINE u32x16 to_words(u16x16 x) {
    const __m256i v = (__m256i)x.native;
    return {as<Weights>(_mm256_cvtepu16_epi32(_mm256_castsi256_si128(v))),
            as<Weights>(_mm256_cvtepu16_epi32(_mm256_extracti128_si256(v, 1)))};
}

GW_INLINE u16x16 to_halves(u32x16 x) {
    x = x & 0xffffu;  // packing saturates
    return as<u16x16>(
        _mm256_permute4x64_epi64(_mm256_packus_epi32((__m256i)x.low.native, (__m256i)x.high.native), 0xd8));
}

GW_INLINE f32x16 to_float(i8x16 x) {
    const __m128i v = (__m128i)x.native;
    return to_float(
        i32x16{as<Integers>(_mm256_cvtepi8_epi32(v)), as<Integers>(_mm256_cvtepi8_epi32(_mm_srli_si128(v, 8)))});
}

GW_INLINE i8x16 to_bytes(i32x16 x) {
    const __m256i halves = (__m256i)to_halves(same_bits<uint32_t>(x & 255)).native;
    return as<i8x16>(_mm_packus_epi16(_mm256_castsi256_si128(halves), _mm256_extracti128_si256(halves, 1)));
}
#else
// The same from and to 8 lanes of 16 bits.
typedef Wide<uint16_t, 8> Halves;
typedef Wide<uint32_t, 8> Words;

GW_INLINE Words to_words(Halves x) {
#if GW_SSE2
    const __m128i v = (__m128i)x.native, zero = _mm_setzero_si128();
    return {as<Weights>(_mm_unpacklo_epi16(v, zero)), as<Weights>(_mm_unpackhi_epi16(v, zero))};
#elif GW_ARM64
    const uint16x8_t v = (uint16x8_t)x.native;
    return {as<Weights>(vmovl_u16(vget_low_u16(v))), as<Weights>(vmovl_high_u16(v))};
#else
    return {{Weights::Native{x.native[0], x.native[1], x.native[2], x.native[3]}},
            {Weights::Native{x.native[4], x.native[5], x.native[6], x.native[7]}}};
#endif
}

GW_INLINE Halves to_halves(Words x) {
#if GW_SSE2
    // Sign-extended, since packing saturates.
    const Wide<int32_t, 8> v = same_bits<int32_t>(x << 16) >> 16;
    return as<Halves>(_mm_packs_epi32((__m128i)v.low.native, (__m128i)v.high.native));
#elif GW_ARM64
    return as<Halves>(vmovn_high_u32(vmovn_u32((uint32x4_t)x.low.native), (uint32x4_t)x.high.native));
#else
    Halves out;
    for (int i = 0; i < 4; i++)
        out.native[i] = (uint16_t)x.low.native[i], out.native[i + 4] = (uint16_t)x.high.native[i];
    return out;
#endif
}

GW_INLINE u32x16 to_words(u16x16 x) { return {to_words(x.low), to_words(x.high)}; }
GW_INLINE u16x16 to_halves(u32x16 x) { return {to_halves(x.low), to_halves(x.high)}; }

// Bytes 0 … 7, or 8 … 15, each twice: as words, the byte stands twice in the lower half.
GW_INLINE Wide<float, 8> to_float(Halves twice) { return to_float(same_bits<int32_t>(to_words(twice) << 16) >> 24); }

GW_INLINE f32x16 to_float(i8x16 x) {
#if GW_SSE2
    const __m128i v = (__m128i)x.native;
    return {to_float(as<Halves>(_mm_unpacklo_epi8(v, v))), to_float(as<Halves>(_mm_unpackhi_epi8(v, v)))};
#elif GW_ARM64
    const int8x16_t v = (int8x16_t)x.native;
    return {to_float(as<Halves>(vzip1q_s8(v, v))), to_float(as<Halves>(vzip2q_s8(v, v)))};
#else
    float out[16];
    for (int i = 0; i < 16; i++) out[i] = x.native[i];
    return load<f32x16>(out);
#endif
}

GW_INLINE i8x16 to_bytes(i32x16 x) {
    const u16x16 halves = to_halves(same_bits<uint32_t>(x & 255));
#if GW_SSE2
    return as<i8x16>(_mm_packus_epi16((__m128i)halves.low.native, (__m128i)halves.high.native));
#elif GW_ARM64
    return as<i8x16>(vmovn_high_u16(vmovn_u16((uint16x8_t)halves.low.native), (uint16x8_t)halves.high.native));
#else
    i8x16 out;
    for (int i = 0; i < 8; i++)
        out.native[i] = (int8_t)halves.low.native[i], out.native[i + 8] = (int8_t)halves.high.native[i];
    return out;
#endif
}
#endif

template <int N> inline float sum(Wide<float, N> x) {
    if constexpr (Wide<float, N>::IS_PAIR) {
        return sum(x.low + x.high);
    } else {
        for (int width = N / 2; width > 0; width /= 2)
            for (int i = 0; i < width; i++) x.native[i] += x.native[i + width];
        return x.native[0];
    }
}

template <int N> inline float highest(Wide<float, N> x) {
    if constexpr (Wide<float, N>::IS_PAIR) {
        const auto higher = same_bits<int32_t>(x.low) & (x.low > x.high);
        const auto other = same_bits<int32_t>(x.high) & (-1 - (x.low > x.high));
        return highest(same_bits<float>(higher | other));
    } else {
        float a[N];
        store(a, x);
        for (int width = N / 2; width > 0; width /= 2)
            for (int i = 0; i < width; i++) a[i] = a[i] > a[i + width] ? a[i] : a[i + width];
        return a[0];
    }
}

inline f32x16 load_half(const void *from) {
#if GW_AVX2
    const __m128i *at = (const __m128i *)from;
    return {as<Wide<float, 8>>(_mm256_cvtph_ps(_mm_loadu_si128(at))),
            as<Wide<float, 8>>(_mm256_cvtph_ps(_mm_loadu_si128(at + 1)))};
#else
    // Moves exponent and fraction into place; then zeros and subnormals, infinities and NaNs are mended. No float is
    // subnormal on the way: a thread may flush these to zero.
    const i32x16 x = same_bits<int32_t>(to_words(load<u16x16>(from))), magnitude = (x & 0x7fff) << 13;
    const i32x16 small = magnitude < splat(1 << 23), endless = magnitude >= splat(31 << 23);
    const i32x16 normal = magnitude + (112 << 23) + (endless & (112 << 23));
    const i32x16 value = as_int(to_float(x & 0x3ff) * 5.9604644775390625e-8f);
    return as_float((small & value) | (~small & normal) | (x & 0x8000) << 16);
#endif
}

// Four words of four rows, turned: of a matrix of 16 columns.
struct Square {
    typedef uint32_t Row __attribute__((vector_size(16)));
    Row a, b, c, d;
};

GW_INLINE Square turned(const uint32_t *from) {
    typedef Square::Row Row;
    Row a, b, c, d;
    std::memcpy(&a, from, 16), std::memcpy(&b, from + 16, 16), std::memcpy(&c, from + 32, 16),
        std::memcpy(&d, from + 48, 16);
#if GW_AVX2 || GW_SSE2
    const __m128i e = _mm_unpacklo_epi32((__m128i)a, (__m128i)b), f = _mm_unpackhi_epi32((__m128i)a, (__m128i)b);
    const __m128i g = _mm_unpacklo_epi32((__m128i)c, (__m128i)d), h = _mm_unpackhi_epi32((__m128i)c, (__m128i)d);
    return {(Row)_mm_unpacklo_epi64(e, g), (Row)_mm_unpackhi_epi64(e, g), (Row)_mm_unpacklo_epi64(f, h),
            (Row)_mm_unpackhi_epi64(f, h)};
#elif GW_ARM64
    const uint64x2_t e = (uint64x2_t)vtrn1q_u32((uint32x4_t)a, (uint32x4_t)b),
                     f = (uint64x2_t)vtrn2q_u32((uint32x4_t)a, (uint32x4_t)b);
    const uint64x2_t g = (uint64x2_t)vtrn1q_u32((uint32x4_t)c, (uint32x4_t)d),
                     h = (uint64x2_t)vtrn2q_u32((uint32x4_t)c, (uint32x4_t)d);
    return {(Row)vtrn1q_u64(e, g), (Row)vtrn1q_u64(f, h), (Row)vtrn2q_u64(e, g), (Row)vtrn2q_u64(f, h)};
#else
    return {Row{a[0], b[0], c[0], d[0]}, Row{a[1], b[1], c[1], d[1]}, Row{a[2], b[2], c[2], d[2]},
            Row{a[3], b[3], c[3], d[3]}};
#endif
}

GW_INLINE void put_square(uint32_t *to, const Square &x) {
    std::memcpy(to, &x.a, 16), std::memcpy(to + 16, &x.b, 16), std::memcpy(to + 32, &x.c, 16),
        std::memcpy(to + 48, &x.d, 16);
}

// Two squares of a 16 x 16 matrix of words, each turned, in each other's place.
inline void swap_turned(uint32_t *one, uint32_t *other) {
    const Square first = turned(one), second = turned(other);
    put_square(one, second), put_square(other, first);
}

// AVX2 multiplies unsigned by signed bytes and adds neighbours, in 16 bits that saturate: 4-bit codes cannot get there
// even if a group's eight sums are added (8 · 2 · 15 · 128 = 30720); 8-bit codes are centred, and the product of
// their magnitudes with activations of the codes' signs cannot either (2 · 128 · 127 = 32512).
template <int OFFSET> GW_INLINE Integers dot(Integers total, Weights weights, Integers x) {
#if GW_AVX2
    const __m256i sums = (__m256i)total.native, w = (__m256i)weights.native, xs = (__m256i)x.native;
    if constexpr (OFFSET == 8) {
        return as<Integers>(_mm256_add_epi16(sums, _mm256_maddubs_epi16(w, xs)));
    } else {
        const __m256i centred = _mm256_xor_si256(w, _mm256_set1_epi8((char)128));
        const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(centred), _mm256_sign_epi8(xs, centred));
        return as<Integers>(_mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))));
    }
#elif GW_ARM64
    const int8x16_t centred = vreinterpretq_s8_u8(vsubq_u8((uint8x16_t)weights.native, vdupq_n_u8(OFFSET)));
#if GW_NEON
    return as<Integers>(vdotq_s32((int32x4_t)total.native, centred, (int8x16_t)x.native));
#else
    // Two products of bytes fit 16 bits: 2 · 128 · 127 = 32512.
    const int16x8_t low = vmull_s8(vget_low_s8(centred), vget_low_s8((int8x16_t)x.native));
    const int16x8_t high = vmull_high_s8(centred, (int8x16_t)x.native);
    return as<Integers>(vpadalq_s16((int32x4_t)total.native, vpaddq_s16(low, high)));
#endif
#elif GW_SSE2
    const __m128i w = (__m128i)weights.native, xs = (__m128i)x.native;
    const __m128i even =
        _mm_madd_epi16(_mm_and_si128(w, _mm_set1_epi16(255)), _mm_srai_epi16(_mm_slli_epi16(xs, 8), 8));
    const __m128i odd = _mm_madd_epi16(_mm_srli_epi16(w, 8), _mm_srai_epi16(xs, 8));
    return as<Integers>(_mm_add_epi32((__m128i)total.native, _mm_add_epi32(even, odd)));
#else
    for (int shift = 0; shift < 32; shift += 8)
        total = total + same_bits<int32_t>((weights >> shift) & 255u) *
                            (same_bits<int32_t>(same_bits<uint32_t>(x) << (24 - shift)) >> 24);
    return total;
#endif
}

template <int OFFSET, int N>
GW_INLINE Wide<int32_t, N> dot(Wide<int32_t, N> total, Wide<uint32_t, N> weights, Wide<int32_t, N> x) {
    return {dot<OFFSET>(total.low, weights.low, x.low), dot<OFFSET>(total.high, weights.high, x.high)};
}

template <int OFFSET> GW_INLINE i32x16 dot(i32x16 total, u32x16 weights, int32_t x) {
    return dot<OFFSET>(total, weights, splat(x));
}

template <int OFFSET> GW_INLINE i32x16 begin_dot(int32_t start) {
#if GW_AVX2 || GW_ARM64
    return (void)start, i32x16{};
#else
    return splat(OFFSET == 8 ? start >> 4 : start);
#endif
}

template <int OFFSET> GW_INLINE i32x16 end_dot(i32x16 total, int32_t start) {
#if GW_AVX2
    if constexpr (OFFSET == 8) {  // from 16 bits to 32
        const __m256i one = _mm256_set1_epi16(1);
        return i32x16{as<Integers>(_mm256_madd_epi16((__m256i)total.low.native, one)),
                      as<Integers>(_mm256_madd_epi16((__m256i)total.high.native, one))} +
               (start >> 4);
    }
#endif
    return (void)start, total;
}
#endif

inline f32x16 select(i32x16 mask, f32x16 yes, f32x16 no) {
    return as_float((mask & as_int(yes)) | (~mask & as_int(no)));
}
#if GW_AVX512
inline f32x16 maximum(f32x16 a, f32x16 b) { return a > b ? a : b; }  // one instruction; `select` takes three
inline f32x16 minimum(f32x16 a, f32x16 b) { return a < b ? a : b; }
#else
inline f32x16 maximum(f32x16 a, f32x16 b) { return select(a > b, a, b); }
inline f32x16 minimum(f32x16 a, f32x16 b) { return select(a < b, a, b); }
#endif
inline f32x16 absolute(f32x16 x) { return as_float(as_int(x) & splat(0x7fffffff)); }

// bfloat16, the upper half of a float32; rounded to nearest, ties to even.
inline f32x16 widen(u16x16 x) { return as_float(to_words(x) << 16); }

inline u16x16 narrow(f32x16 x) {
    const u32x16 bits = as_unsigned(x);
    return to_halves((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

inline uint16_t narrow(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

inline float widen(uint16_t x) {
    const uint32_t bits = (uint32_t)x << 16;
    float out;
    std::memcpy(&out, &bits, 4);
    return out;
}

// float16 (the scales of GGUF's blocks) to float32.
inline float half(uint16_t x) {
    const uint32_t sign = (uint32_t)(x & 0x8000) << 16, exponent = (x >> 10) & 31, fraction = x & 1023;
    if (exponent == 0) {  // zero or subnormal
        const float value = (float)fraction * 5.9604644775390625e-8f;
        return sign ? -value : value;
    }
    const uint32_t bits = sign | ((exponent == 31 ? 255u : exponent + 112u) << 23) | (fraction << 13);
    float out;
    std::memcpy(&out, &bits, 4);
    return out;
}

// bfloat16 products: lane i of `weights` holds two neighbouring weights of output i, `x` the two activations.
inline f32x16 dot_bf16(f32x16 total, u32x16 weights, uint32_t x) {
#if GW_AVX512_BF16
    return (f32x16)_mm512_dpbf16_ps((__m512)total, (__m512bh)(__m512i)weights, (__m512bh)_mm512_set1_epi32((int)x));
#else
    const u32x16 both = splat_once(x);
    total = fma(as_float(weights << 16), as_float(both << 16), total);
    return fma(as_float(weights & 0xffff0000u), as_float(both & 0xffff0000u), total);
#endif
}

// exp to about one unit in the last place: 2^n times a polynomial on |r| ≤ ln 2 / 2. Below -87 it is 0, above 88 it
// stays at exp(88); what is not a number stays none: where a comparison fails, `minimum` and `maximum` take the second.
inline f32x16 exp(f32x16 x) {
    const i32x16 vanished = x < splat(-87.0f);
    x = minimum(splat(88.0f), maximum(splat(-87.0f), x));
    const f32x16 shifted = fma(x, splat(1.44269504f), splat(12582912.0f)), n = shifted - 12582912.0f;
    f32x16 r = fma(n, splat(-0.693359375f), x);
    r = fma(n, splat(2.12194440e-4f), r);
    f32x16 p = splat(1.9875691500e-4f);
    p = fma(p, r, splat(1.3981999507e-3f));
    p = fma(p, r, splat(8.3334519073e-3f));
    p = fma(p, r, splat(4.1665795894e-2f));
    p = fma(p, r, splat(1.6666665459e-1f));
    p = fma(p, r, splat(5.0000001201e-1f));
    p = fma(p * r, r, r + 1.0f);
    const i32x16 power = (as_int(shifted) - 0x4b400000) << 23;
    return select(vanished, f32x16{}, as_float(as_int(p) + power));
}

inline f32x16 sigmoid(f32x16 x) { return 1.0f / (1.0f + exp(-x)); }
inline f32x16 tanh(f32x16 x) { return 1.0f - 2.0f / (exp(x + x) + 1.0f); }

// gelu's tanh form: x (1 + tanh u) / 2 = x sigmoid(2 u), u = √(2/π) (x + 0.044715 x³).
inline f32x16 gelu(f32x16 x) {
    return x / (1.0f + exp(x * fma(x * x, splat(-0.0713548162726f), splat(-1.5957691216057f))));
}

inline float sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }

// The 16 x 16 words of 16 rows, turned: word i of row j becomes word j of row i.
inline void transpose(u32x16 *x) {
#if !GW_AVX512
    for (int i = 0; i < 16; i += 4)
        for (int j = i; j < 16; j += 4) swap_turned((uint32_t *)x + 16 * i + j, (uint32_t *)x + 16 * j + i);
#else
// Lanes of a, and of b from 16 on: clang and new versions of GCC have one name for it, old ones of GCC the other.
#ifdef __has_builtin
#if __has_builtin(__builtin_shufflevector)
#define GW_PICK(...) __builtin_shufflevector(a, b, __VA_ARGS__)
#endif
#endif
#ifndef GW_PICK
#define GW_PICK(...) __builtin_shuffle(a, b, u32x16{__VA_ARGS__})
#endif
#define GW_STEP(distance, low, high)                    \
    for (int i = 0; i < 16; i++)                        \
        if (!(i & distance)) {                          \
            const u32x16 a = x[i], b = x[i + distance]; \
            x[i] = GW_PICK low;                         \
            x[i + distance] = GW_PICK high;             \
        }
    GW_STEP(8, (0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23),
            (8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31))
    GW_STEP(4, (0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27),
            (4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31))
    GW_STEP(2, (0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29),
            (2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31))
    GW_STEP(1, (0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30),
            (1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31))
#undef GW_PICK
#undef GW_STEP
#endif
}

}  // namespace
