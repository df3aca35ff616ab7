// Packed matrices and their products with rows of activations.
//
// A matrix [O, I] is cut into tiles of 16 outputs, two tiles a unit; missing outputs are zeros. What is packed is read
// from its first byte to its last. Each output of each row has one accumulator that meets the columns in order, so a row's
// result has the same bits whichever rows are worked on beside it.
//
//   BF16        units in 12 bits a weight, see lossless.h; unpacked, a tile has for each pair of columns 16 words of two
//               bfloat16
//   Q8_0, INT8  for each group of 32 columns, 8 vectors: lane i of vector j holds columns 4 j … 4 j + 3 of output i, as
//               unsigned bytes, code + 128
//   Q4_0, INT4  likewise 4 vectors: columns 4 j … of the group in the low halves of the bytes, columns 16 + 4 j … in
//               the high ones, code + 8
//
// Scales: Q8_0 and Q4_0 have float16 [tiles, groups, 16], INT8 and INT4 one float32 for each output. BF16 has the units'
// heads there.
#pragma once

#include <cstdlib>
#include <type_traits>
#include <vector>

#include "lossless.h"

enum Format : int32_t { BF16 = 0, Q8_0 = 1, Q4_0 = 2, INT8 = 3, INT4 = 4 };

struct Matrix {
    int64_t format, outputs, columns;
    const uint8_t *data;
    const uint8_t *scales;
    const float *bias;  // [outputs] or null
};

// Activations ready for a product: bfloat16, or signed bytes with a scale for each group of 32 and where each group's
// integer sum starts (-128 times the sum of its codes). The rows of a panel (see `panel_of`) lie interleaved, in pairs of
// bfloat16 and groups of bytes, so that a product reads them from one address on. A product begins at column `skip`.
struct Rows {
    int64_t count, columns, skip;
    uint16_t *bf16;
    int8_t *codes;
    float *scales;
    int32_t *starts;
};

namespace {

// How many bytes ahead a matrix is asked for. With one row the processor foresees the stream by itself, but not as fast as
// four bits are used up; with several, the work between two loads hides it from there, and eight rows at 8 bits were 40%
// slower without this.
constexpr int64_t AHEAD = 8192;
constexpr int64_t GROUP = 32, TILE = 16, UNIT = 32;

// MOST: rows whose accumulators stay in registers, beside TILES_AT_ONCE tiles of bfloat16. DIRECT: as many rows or fewer
// unpack bfloat16 on their way; for more a unit is unpacked before.
#if GW_AVX512_BF16
constexpr int MOST = 12, TILES_AT_ONCE = 2, DIRECT = 8;
#elif GW_AVX512
constexpr int MOST = 12, TILES_AT_ONCE = 2, DIRECT = 4;
#elif GW_AVX2 || GW_ARM64
constexpr int MOST = 4, TILES_AT_ONCE = 1, DIRECT = 2;
#else
constexpr int MOST = 2, TILES_AT_ONCE = 1, DIRECT = 1;
#endif

// Scratch of this thread at a multiple of 64 bytes, kept between calls; each KIND has its own.
enum Scratch { SUMS, UNPACKED, GATES, ROW };

template <Scratch KIND> inline uint8_t *room(int64_t bytes) {
    static thread_local std::vector<uint8_t> held;
    if ((int64_t)held.size() < bytes + 64) held.resize(bytes + 64);
    return (uint8_t *)(((uintptr_t)held.data() + 63) / 64 * 64);
}

inline float *scratch(int64_t floats) { return (float *)room<ROW>(4 * floats); }

inline bool is_float(const Matrix &m) { return m.format == BF16; }
inline bool is_half_byte(const Matrix &m) { return m.format == Q4_0 || m.format == INT4; }
inline bool is_grouped(const Matrix &m) { return m.format == Q8_0 || m.format == Q4_0; }
inline int64_t units(const Matrix &m) { return (m.outputs + UNIT - 1) / UNIT; }
inline int64_t tile_bytes(const Matrix &m) { return m.columns * (is_half_byte(m) ? TILE / 2 : TILE); }  // of integers
inline int64_t unit_bytes(const Matrix &m) { return is_float(m) ? m.columns / GROUP_COLUMNS * GROUP_BYTES : 2 * tile_bytes(m); }
inline Head &head_of(const Matrix &m, int64_t u) { return ((Head *)m.scales)[u]; }
inline const uint8_t *unit_of(const Matrix &m, int64_t u) { return m.data + u * unit_bytes(m); }

// Rows are worked on in panels, as many at once as stay in registers: MOST while there are so many, then fewer.
struct Panel {
    int64_t first, size;
};

inline Panel panel_of(int64_t count, int64_t row) {
    int64_t first = 0;
    for (int64_t size : {12, 8, 4, 2, 1}) {
        if (size > MOST) continue;
        const int64_t end = first + (count - first) / size * size;
        if (row < end) return {first + (row - first) / size * size, size};
        first = end;
    }
    return {row, 1};
}

// Four codes of each of a tile's outputs, the group's j-th vector.
template <int BITS> inline u32x16 codes_at(const uint8_t *group, int j) {
    if (BITS == 8) return load<u32x16>(group + 64 * j);
    const u32x16 both = load<u32x16>(group + 64 * (j % 4));
    return (j < 4 ? both : both >> 4) & 0x0f0f0f0fu;
}

// ROWS of a panel's R rows, from `first` on, and their products with TILES tiles; the next tile begins `tile` bytes behind.
template <int R, int ROWS, int TILES, int BITS, bool GROUPED>
inline void tiles_integer(const uint8_t *codes, int64_t tile, const uint8_t *scales, int64_t groups, const Rows &x,
                          int64_t row, int first, f32x16 *out) {
    constexpr int OFFSET = BITS == 8 ? 128 : 8;
    constexpr int TOGETHER = ROWS % 6 == 0 ? 6 : ROWS % 4 ? ROWS : 4, SUMS = TOGETHER * TILES;
    const int64_t from = (row * x.columns + x.skip * R) / GROUP + first;
    const int32_t *words = (const int32_t *)(x.codes + from * GROUP), *starts = x.starts + from;
    const float *steps = x.scales + from;
    f32x16 total[ROWS * TILES] = {};
    for (int64_t g = 0; g < groups; g++) {
        const uint8_t *group = codes + TILE * GROUP * BITS / 8 * g;
        if constexpr (TILES == 1 && (R > 1 || BITS == 4))
            for (int line = 0; line < BITS; line++) __builtin_prefetch(group + AHEAD + 64 * line, 0, 1);
        f32x16 scale = {}, next_scale = {};
        if constexpr (GROUPED) scale = load_half(scales + 32 * g);
        if constexpr (GROUPED && TILES == 2) next_scale = load_half(scales + 32 * (groups + g));
#pragma GCC unroll 3
        for (int begin = 0; begin < ROWS; begin += TOGETHER) {
            i32x16 sums[SUMS];  // side by side they hide each other's latency
#pragma GCC unroll 12
            for (int k = 0; k < SUMS; k++) sums[k] = begin_dot<OFFSET>(starts[begin + k / TILES]);
            // Not unrolled: compilers would do all products before the sums, and run out of registers.
#pragma GCC unroll 1
            for (int i = 0; i < 4; i++)
#pragma GCC unroll 2
                for (int half = 0; half < 2; half++) {
                    const int j = BITS == 8 ? 2 * i + half : i + 4 * half;
                    const u32x16 w = codes_at<BITS>(group, j), next = TILES == 2 ? codes_at<BITS>(group + tile, j) : w;
#pragma GCC unroll 12
                    for (int k = 0; k < SUMS; k++)
                        sums[k] = dot<OFFSET>(sums[k], k % TILES ? next : w, words[8 * (begin + k / TILES) + j]);
                }
#pragma GCC unroll 12
            for (int k = 0; k < SUMS; k++) {
                const int r = begin + k / TILES;
                const f32x16 value = to_float(end_dot<OFFSET>(sums[k], starts[r])), step = splat(steps[r]);
                const f32x16 factor = GROUPED ? (k % TILES ? next_scale : scale) * step : step;
                total[TILES * begin + k] = fma(value, factor, total[TILES * begin + k]);
            }
        }
        words += 8 * R, starts += R, steps += R;
    }
    for (int r = 0; r < ROWS; r++)
        for (int t = 0; t < TILES; t++) out[2 * (first + r) + t] = total[r * TILES + t];
}

// A unit's two tiles, TILES at once, and a panel's rows, ROWS at once.
template <int R, int ROWS, int TILES>
inline void tiles_integers(const Matrix &m, int64_t u, const Rows &x, int64_t row, f32x16 *out) {
    const int64_t bytes = tile_bytes(m), n = m.columns / GROUP;
    for (int t = 0; t < 2; t += TILES)
        for (int first = 0; first < R; first += ROWS) {
            const uint8_t *codes = m.data + (2 * u + t) * bytes, *scales = m.scales + (2 * u + t) * n * 32;
            switch (m.format) {
            case Q8_0: tiles_integer<R, ROWS, TILES, 8, true>(codes, bytes, scales, n, x, row, first, out + t); break;
            case Q4_0: tiles_integer<R, ROWS, TILES, 4, true>(codes, bytes, scales, n, x, row, first, out + t); break;
            case INT8: tiles_integer<R, ROWS, TILES, 8, false>(codes, bytes, scales, n, x, row, first, out + t); break;
            default: tiles_integer<R, ROWS, TILES, 4, false>(codes, bytes, scales, n, x, row, first, out + t);
            }
        }
}

// R rows' further products with TILES_AT_ONCE tiles of words, added to sums[2 r] and on; the next tile begins `next` bytes
// behind. On the way the same columns of the rows behind these, `further` on, are asked for: the processor foresees nothing
// across a gap. And, where that is said, as many columns of the packed unit, from `ahead` on.
template <int R, bool ASKS>
inline void tiles_bf16(const uint8_t *tile, int64_t next, int64_t pairs, const uint32_t *words, int64_t further, const uint8_t *ahead,
                       f32x16 *sums) {
    f32x16 total[R * TILES_AT_ONCE];
    for (int r = 0; r < R; r++)
        for (int t = 0; t < TILES_AT_ONCE; t++) total[r * TILES_AT_ONCE + t] = sums[2 * r + t];
    for (int64_t p = 0; p < pairs; p++) {
        u32x16 w[TILES_AT_ONCE];
        __builtin_prefetch(words + further);
        if constexpr (ASKS)
            for (int64_t part : {0, 1}) __builtin_prefetch(ahead + GROUP_BYTES / 8 * (2 * p + part), 0, 1);
#pragma GCC unroll 2
        for (int t = 0; t < TILES_AT_ONCE; t++) w[t] = load<u32x16>(tile + t * next + 64 * p);
#pragma GCC unroll 12
        for (int r = 0; r < R; r++)
#pragma GCC unroll 2
            for (int t = 0; t < TILES_AT_ONCE; t++) total[r * TILES_AT_ONCE + t] = dot_bf16(total[r * TILES_AT_ONCE + t], w[t], words[r]);
        words += R;
    }
    for (int r = 0; r < R; r++)
        for (int t = 0; t < TILES_AT_ONCE; t++) sums[2 * r + t] = total[r * TILES_AT_ONCE + t];
}

// All products of R rows with a unit whose words are made on the way, in the same order.
template <int R> inline void unit_bf16(const Matrix &m, int64_t u, const uint32_t *words, f32x16 *out) {
    const Head &head = head_of(m, u);
    const Codes upper = load_codes(head.upper);
    const uint32_t *patch = patches_of(head);
    const uint8_t *group = unit_of(m, u);
    f32x16 total[2 * R] = {};
    const auto meet = [&](int t, const u32x16 *w) {
#pragma GCC unroll 4
        for (int p = 0; p < 4; p++)
#pragma GCC unroll 8
            for (int r = 0; r < R; r++) total[2 * r + t] = dot_bf16(total[2 * r + t], w[p], words[p * R + r]);
    };
    for (int64_t g = 0; g < m.columns / GROUP_COLUMNS; g++) {
        u32x16 w[4];
        for (int line = 0; line < 6; line++) __builtin_prefetch(group + AHEAD + 64 * line, 0, 1);
        if (__builtin_expect(g == group_of(*patch), 0)) {
            alignas(64) uint8_t group_words[2 * GROUP_WEIGHTS];
            patch = patched(head, group, g, patch, group_words);
            for (int t = 0; t < 2; t++) {
                for (int p = 0; p < 4; p++) w[p] = load<u32x16>(group_words + 64 * (4 * t + p));
                meet(t, w);
            }
        } else {
#pragma GCC unroll 2
            for (int t = 0; t < 2; t++) {
                words_of(group + t * HALF_GROUP, upper, w);
                meet(t, w);
            }
        }
        words += 4 * R, group += GROUP_BYTES;
    }
    for (int i = 0; i < 2 * R; i++) out[i] = total[i];
}

// Calls use(size, row) with a compile-time number of rows until `count` rows are done.
template <class Use> inline void by_rows(int64_t begin, int64_t end, Use use) {
    int64_t row = begin;
    if constexpr (MOST >= 12)
        for (; end - row >= 12; row += 12) use(std::integral_constant<int, 12>(), row);
    if constexpr (MOST >= 8)
        for (; end - row >= 8; row += 8) use(std::integral_constant<int, 8>(), row);
    if constexpr (MOST >= 4)
        for (; end - row >= 4; row += 4) use(std::integral_constant<int, 4>(), row);
    for (; end - row >= 2; row += 2) use(std::integral_constant<int, 2>(), row);
    for (; end > row; row += 1) use(std::integral_constant<int, 1>(), row);
}

inline const uint32_t *words_of_rows(const Rows &x, int64_t row, int size, int64_t column) {
    return (const uint32_t *)(x.bf16 + row * x.columns + (x.skip + column) * size);
}

// A unit of bfloat16 and rows in several panels: up to WORDS columns after the other, unpacked once, so that all panels find
// them in the nearest cache. With more, an exit from the loop over them is rarer, but too few of them stay there.
constexpr int64_t WORDS = 512;

inline f32x16 *sums_bf16(const Matrix &m, int64_t u, const Rows &x, int64_t first, int64_t last) {
    f32x16 *sums = (f32x16 *)room<SUMS>(128 * (last - first));
    std::memset((void *)sums, 0, 128 * (last - first));
    const Head &head = head_of(m, u);
    const uint8_t *whole = whole_of(head);
    const uint32_t *patch = patches_of(head);
    const int64_t parts = (m.columns + WORDS - 1) / WORDS, most = (m.columns / GROUP + parts - 1) / parts * GROUP;
    for (int64_t begin = 0; begin < m.columns; begin += most) {
        const int64_t count = m.columns - begin < most ? m.columns - begin : most, next = 32 * (whole ? m.columns : count);
        const uint8_t *words = whole ? whole + 32 * begin : room<UNPACKED>(UNIT * WORDS * 2);
        if (!whole) patch = expand(head, unit_of(m, u), begin, count, patch, (uint8_t *)words);
        by_rows(first, last, [&](auto size, int64_t row) {
            constexpr int R = decltype(size)::value;
            const uint32_t *from = words_of_rows(x, row, R, begin);
            const uint8_t *ahead = unit_of(m, u) + (begin + count) / GROUP_COLUMNS * GROUP_BYTES;
            const int64_t further = R * x.columns / 2;
            f32x16 *to = sums + 2 * (row - first);
            for (int t = 0; t < 2; t += TILES_AT_ONCE)
                if (row == first && t == 0)
                    tiles_bf16<R, true>(words + t * next, next, count / 2, from, further, ahead, to + t);
                else
                    tiles_bf16<R, false>(words + t * next, next, count / 2, from, further, nullptr, to + t);
        });
    }
    return sums;
}

// What a unit's 32 sums of R rows lack.
template <int R> inline void finish(const Matrix &m, int64_t u, f32x16 *out) {
    if (!is_float(m) && !is_grouped(m))
        for (int half = 0; half < 2; half++) {
            const f32x16 scale = load<f32x16>(m.scales + (2 * u + half) * 64);
            for (int r = 0; r < R; r++) out[2 * r + half] *= scale;
        }
    if (m.bias)
        for (int r = 0; r < R; r++)
            for (int half = 0; half < 2; half++) out[2 * r + half] += load<f32x16>(m.bias + 32 * u + 16 * half);
}

// A unit and rows first … last - 1, panel by panel: use(size, row, out) finds in out[2 r] and out[2 r + 1] the 32 outputs of
// row + r, bias and all. Other rows that have just met the unit leave it in a cache; then two tiles of integers at once are
// faster, which need each activation half as often. From memory, one stream is.
template <class Use> inline void meet(const Matrix &m, int64_t u, const Rows &x, int64_t first, int64_t last, Use use) {
    const int64_t rows = last - first;
    if (is_float(m) && (whole_of(head_of(m, u)) || rows > DIRECT || panel_of(rows, 0).size != rows)) {
        f32x16 *sums = sums_bf16(m, u, x, first, last);
        by_rows(first, last, [&](auto size, int64_t row) {
            f32x16 *out = sums + 2 * (row - first);
            finish<decltype(size)::value>(m, u, out);
            use(size, row, out);
        });
        return;
    }
    by_rows(first, last, [&](auto size, int64_t row) {
        constexpr int R = decltype(size)::value;
        constexpr bool PAIRS = R == 12 && TILES_AT_ONCE == 2;
        f32x16 out[2 * R];
        if (is_float(m)) {
            if constexpr (R <= DIRECT) unit_bf16<R>(m, u, words_of_rows(x, row, R, 0), out);
        } else if (PAIRS && row > first) {
            tiles_integers<R, PAIRS ? 6 : R, PAIRS ? 2 : 1>(m, u, x, row, out);
        } else {
            tiles_integers<R, R, 1>(m, u, x, row, out);
        }
        finish<R>(m, u, out);
        use(size, row, out);
    });
}

// Shares the work of a step among the threads of the parallel region that it is called in: use(unit, first row, last
// row). Rows come in blocks whose activations stay in the second-level cache while the matrix streams by.
template <class Use> inline void by_units(int64_t count, int64_t rows, int64_t row_bytes, int threads, Use use) {
    const int64_t fitting = (640 << 10) / row_bytes / 24 * 24, block = fitting < 24 ? 24 : fitting;
    const int64_t blocks = (rows + block - 1) / block, share = count / (threads * 6) + 1;
#pragma omp for schedule(dynamic, share) nowait
    for (int64_t task = 0; task < blocks * count; task++) {
        const int64_t first = task / count * block, last = first + block;
        use(task % count, first, last < rows ? last : rows);
    }
}

// What a row takes of that cache. Of bfloat16 only some columns are at work: the blocks may be larger, and units be unpacked
// less often.
inline int64_t row_bytes(const Matrix &m) { return is_float(m) ? m.columns / 2 : m.columns + m.columns / 4; }

// A unit's outputs of rows first … last - 1, row by row.
template <class Put> inline void product_of_unit(const Matrix &m, int64_t u, const Rows &x, int64_t first, int64_t last, Put put) {
    meet(m, u, x, first, last, [&](auto size, int64_t row, const f32x16 *out) {
        for (int r = 0; r < decltype(size)::value; r++) put(row + r, u, out[2 * r], out[2 * r + 1]);
    });
}

// Every output of every row. No barrier at the end.
template <class Put> inline void product(const Matrix &m, const Rows &x, int threads, Put put) {
    by_units(units(m), x.count, row_bytes(m), threads,
             [&](int64_t u, int64_t first, int64_t last) { product_of_unit(m, u, x, first, last, put); });
}

// Writes 32 outputs, or as many as there are.
struct Store {
    float *out;
    int64_t stride, outputs;
    void operator()(int64_t row, int64_t u, f32x16 a, f32x16 b) const {
        float *to = out + row * stride + UNIT * u;
        const int64_t left = outputs - UNIT * u;
        if (left >= UNIT) {
            store(to, a), store(to + 16, b);
        } else {
            float values[UNIT];
            store(values, a), store(values + 16, b);
            std::memcpy(to, values, 4 * left);
        }
    }
};

// One group of 32 activations: its codes, its step, and where its sums start.
inline void quantise_group(f32x16 a, f32x16 b, int8_t *codes, float *scale, int32_t *start) {
    const float most = highest(maximum(absolute(a), absolute(b)));
    const float inverse = most > 0 ? 127.0f / most : 0.0f;
    *scale = most / 127.0f;
    int32_t total = 0;
    const f32x16 values[2] = {a, b};
    for (int half = 0; half < 2; half++) {
        // Adding 1.5 · 2^23 rounds to the nearest whole number, ties to even.
        const i32x16 code = as_int(values[half] * inverse + 12582912.0f) - 0x4b400000;
        store(codes + 16 * half, to_bytes(code));
        total += (int32_t)sum(to_float(code));  // small whole numbers: exact
    }
    *start = -128 * total;
}

inline void prepare_group(const Rows &to, int64_t row, const Panel &panel, int64_t column, f32x16 a, f32x16 b) {
    const int64_t start = panel.first * to.columns, lane = row - panel.first;
    if (to.bf16) {
        u32x16 pairs[2];
        store(pairs, narrow(a)), store((uint16_t *)pairs + 16, narrow(b));
        uint32_t *out = (uint32_t *)(to.bf16 + start) + column / 2 * panel.size + lane;
        for (int i = 0; i < 16; i++) out[i * panel.size] = ((const uint32_t *)pairs)[i];
    }
    if (to.codes) {
        const int64_t at = start / GROUP + column / GROUP * panel.size + lane;
        quantise_group(a, b, to.codes + at * GROUP, to.scales + at, to.starts + at);
    }
}

// The columns are a multiple of 32.
inline void prepare_row(const Rows &to, int64_t row, const float *x) {
    const Panel panel = panel_of(to.count, row);
    for (int64_t i = 0; i < to.columns; i += GROUP)
        prepare_group(to, row, panel, i, load<f32x16>(x + i), load<f32x16>(x + i + 16));
}

// x / rms(x) * (1 + weight); the columns are a multiple of 16. `gain` holds 1 + weight.
inline void norm_row(const float *x, const float *gain, float epsilon, int64_t columns, float *out) {
    f32x16 squares = {};
    for (int64_t i = 0; i < columns; i += 16) {
        const f32x16 v = load<f32x16>(x + i);
        squares = fma(v, v, squares);
    }
    const float factor = 1.0f / std::sqrt(sum(squares) / (float)columns + epsilon);
    for (int64_t i = 0; i < columns; i += 16)
        store(out + i, load<f32x16>(x + i) * factor * load<f32x16>(gain + i));
}

}  // namespace
