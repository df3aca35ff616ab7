// Bfloat16 in 12 bits, without loss.
//
// A bfloat16's upper byte is its sign and seven bits of its exponent, the lower byte the exponent's last bit and the
// fraction. Fractions are noise, but trained weights have few exponents: of the 128 pairs of neighbouring ones, eight hold
// all but one weight in some thousands. So the lower byte is kept and the upper one becomes a code of 4 bits. That is
// three quarters of the bytes to read for each token, and the very same words for the products.
//
// A unit is 32 outputs, two tiles of 16. For each 8 columns it holds GROUP_BYTES, for each tile 64 lower bytes of the
// first four columns, 64 of the others, and 64 bytes of codes, of the first four columns in the low halves. Byte by byte
// the three lie so that a processor's unpacking of bytes, lane of 128 bits by lane, makes a tile's words of them (see
// matrix.h). A unit's head says what the codes stand for. Weights outside of that are on the unit's list of patches; a
// unit with too many of them is kept whole.
#pragma once

#include "weave.h"

struct Head {
    uint8_t upper[16];  // by code: bit 3 is the sign; upper[i] = upper[0] - i but for upper[7], which may be 0
    uint64_t extra;     // address of the patches, ending with NO_PATCH, or of the whole unit; 0: nothing was written yet
    int64_t count;      // patches; -1: the unit is kept whole
    uint8_t unused[32];
};
static_assert(sizeof(Head) == 64, "Python counts 64 bytes for each unit");

namespace {

constexpr int64_t GROUP_COLUMNS = 8, GROUP_WEIGHTS = 256, GROUP_BYTES = 384, HALF_GROUP = 192;

// A patch: the number of the weight among the unit's words, group by group (group, tile, pair, output, column), and the
// upper byte.
constexpr uint32_t NO_PATCH = 0xffffffffu;
constexpr int64_t MOST_COLUMNS = 1 << 18;  // of a row whose weights can be numbered so
inline int64_t group_of(uint32_t patch) { return patch >> 16; }
inline int64_t within(uint32_t patch) { return patch >> 8 & 255; }

inline const uint32_t *patches_of(const Head &head) {
    static const uint32_t none[] = {NO_PATCH};
    return head.extra && head.count >= 0 ? (const uint32_t *)head.extra : none;
}

inline const uint8_t *whole_of(const Head &head) { return head.count < 0 ? (const uint8_t *)head.extra : nullptr; }

// Four words of each of a tile's 16 outputs, from a group on: those of its eight columns.
GW_INLINE void words_of(const uint8_t *half_group, const Codes &upper, u32x16 *words) {
    const u32x16 codes = load<u32x16>(half_group + 128), mask = splat(0x0f0f0f0fu);
    weave(load<u32x16>(half_group), pick(upper, codes & mask), words);
    weave(load<u32x16>(half_group + 64), pick(upper, codes >> 4 & mask), words + 2);
}

// The words of `count` of a unit's columns from `begin` on: the first tile's, then the second's. `patch`: the first of these
// columns'; returns the first behind them.
inline const uint32_t *expand(const Head &head, const uint8_t *data, int64_t begin, int64_t count, const uint32_t *patch, uint8_t *to) {
    const Codes upper = load_codes(head.upper);
    const int64_t first = begin / GROUP_COLUMNS, groups = count / GROUP_COLUMNS, tile_bytes = 32 * count;
    data += GROUP_BYTES * first;
    for (int64_t g = 0; g < groups; g++)
        for (int tile = 0; tile < 2; tile++) {
            u32x16 words[4];
            words_of(data + GROUP_BYTES * g + HALF_GROUP * tile, upper, words);
            for (int i = 0; i < 4; i++) store(to + tile_bytes * tile + 64 * (4 * g + i), words[i]);
        }
    for (; group_of(*patch) < first + groups; patch++) {
        const int64_t place = within(*patch), tile = place / 128;
        to[tile_bytes * tile + 256 * (group_of(*patch) - first) + 2 * (place % 128) + 1] = (uint8_t)*patch;
    }
    return patch;
}

// The same of one group. Apart, so that a product's own registers are not spilled for it.
__attribute__((noinline)) inline const uint32_t *patched(const Head &head, const uint8_t *group, int64_t g, const uint32_t *patch,
                                                         uint8_t *to) {
    return expand(head, group - GROUP_BYTES * g, GROUP_COLUMNS * g, GROUP_COLUMNS, patch, to);
}

// Which exponents' upper bytes the codes stand for: those that the most of a few thousand of the words have. One of the
// eight may be 0, for zeros.
inline void choose_codes(const uint8_t *words, int64_t weights, uint8_t *upper) {
    int counts[128] = {};
    const int64_t step = weights / 4096 | 1;  // odd: it meets every output
    for (int64_t i = 0; i < weights; i += step) counts[words[2 * i + 1] & 127]++;
    int most = -1, top = 7, last = 0;
    for (int first = 7; first < 128; first++) {
        int found = 0;
        for (int i = 0; i < 7; i++) found += counts[first - i];
        const bool zeros = counts[0] > counts[first - 7];
        found += zeros ? counts[0] : counts[first - 7];
        if (found > most) most = found, top = first, last = zeros ? 0 : first - 7;
    }
    for (int i = 0; i < 7; i++) upper[i] = (uint8_t)(top - i);
    upper[7] = (uint8_t)last;
    for (int i = 0; i < 8; i++) upper[i + 8] = upper[i] | 128;
}

// Packs a unit's words. `extra`, as large as they are, gets what the head's address is to point to; returns how many bytes.
inline int64_t pack_unit(const uint8_t *words, int64_t columns, Head &head, uint8_t *data, uint8_t *extra) {
    const int64_t weights = 32 * columns, most = columns < MOST_COLUMNS ? weights / 32 : -1;
    choose_codes(words, weights, head.upper);
    const uint8_t top = head.upper[0], last = head.upper[7];
    uint32_t *patches = (uint32_t *)extra;
    int64_t count = 0;
    for (int64_t half = 0; half < columns / GROUP_COLUMNS * 2 && count <= most; half++) {
        const int64_t g = half / 2, tile = half % 2;
        uint8_t *to = data + HALF_GROUP * half;
        uint8_t codes[2][64];
        for (int k = 0; k < 2; k++) {
            const uint8_t *from = words + 32 * columns * tile + 256 * g + 128 * k;
            uint8_t high[64];
            unweave(from, from + 64, to + 64 * k, high);
            uint8_t outside = 0;
            for (int i = 0; i < 64; i++) {
                const uint8_t pair = high[i] & 127, below = (uint8_t)(top - pair);
                outside |= (below > 6) & (pair != last);
                codes[k][i] = (below > 6 ? 7 : below) | (high[i] >> 4 & 8);
            }
            for (int i = 0; i < 64 && outside; i++) {
                const uint8_t pair = high[i] & 127;
                if (pair == last || (uint8_t)(top - pair) <= 6) continue;
                if (++count > most) break;
                const uint32_t place = 128 * tile + 32 * (2 * k + i % 16 / 8) + 8 * (i / 16) + i % 8;
                patches[count - 1] = (uint32_t)g << 16 | place << 8 | high[i];
            }
        }
        for (int i = 0; i < 64; i++) to[128 + i] = (uint8_t)(codes[0][i] | codes[1][i] << 4);
    }
    if (count > most) {
        std::memcpy(extra, words, 2 * weights);
        head.count = -1;
        return 2 * weights;
    }
    patches[count] = NO_PATCH;
    head.count = count;
    return 4 * (count + 1);
}

// One output's words, column by column; `output` counts within the unit.
inline void unpack_output(const Head &head, const uint8_t *data, int64_t columns, int64_t output, uint16_t *to) {
    const int64_t tile = output / 16, lane = output % 16;
    if (const uint8_t *whole = whole_of(head)) {
        for (int64_t p = 0; p < columns / 2; p++) std::memcpy(to + 2 * p, whole + 32 * columns * tile + 64 * p + 4 * lane, 4);
        return;
    }
    for (int64_t i = 0; i < columns; i++) {
        const uint8_t *half_group = data + i / 8 * GROUP_BYTES + tile * HALF_GROUP;
        const int64_t at = 16 * (lane / 4) + i / 2 % 2 * 8 + 2 * (lane % 4) + i % 2;
        const bool second = i % 8 >= 4;
        const uint8_t code = half_group[128 + at] >> (second ? 4 : 0) & 15;
        to[i] = (uint16_t)(head.upper[code] << 8 | half_group[(second ? 64 : 0) + at]);
    }
    for (const uint32_t *patch = patches_of(head); *patch != NO_PATCH; patch++) {
        const int64_t place = within(*patch);
        if (place / 128 != tile || place % 32 / 2 != lane) continue;
        const int64_t column = 8 * group_of(*patch) + place % 128 / 32 * 2 + place % 2;
        to[column] = (uint16_t)((to[column] & 255) | (uint8_t)*patch << 8);
    }
}

}  // namespace
