// Rows of a matrix into its packed form and back, and the lookup of single rows.
#pragma once

#include "matrix.h"

namespace {

// Where the code of one element lies: byte, and whether it is the byte's high half.
inline int64_t code_place(const Matrix &m, int64_t output, int64_t column, bool *high) {
    const int64_t tile = output / TILE, lane = output % TILE, group = column / GROUP, within = column % GROUP;
    *high = is_half_byte(m) && within >= 16;
    const int64_t vector = is_half_byte(m) ? 4 * group + within % 16 / 4 : 8 * group + within / 4;
    return tile * tile_bytes(m) + 64 * vector + 4 * lane + within % 4;
}

inline uint8_t *scale_place(const Matrix &m, int64_t output, int64_t group) {
    const int64_t tile = output / TILE, groups = m.columns / GROUP;
    return (uint8_t *)m.scales + ((tile * groups + group) * TILE + output % TILE) * 2;
}

// One output's row of integers. `source`: GGUF blocks (18 bytes: scale, then element i beside element i + 16; or 34:
// scale, 32 codes); or, for one scale an output, signed bytes.
inline void pack_row(const Matrix &m, int64_t output, const uint8_t *source) {
    uint8_t *data = (uint8_t *)m.data;
    const int64_t tile = output / TILE, lane = output % TILE, groups = m.columns / GROUP;
    for (int64_t g = 0; g < groups; g++) {
        uint8_t codes[GROUP];
        if (m.format == Q4_0) {
            std::memcpy(scale_place(m, output, g), source + 18 * g, 2);
            for (int i = 0; i < 16; i++) {
                codes[i] = source[18 * g + 2 + i] & 15;
                codes[i + 16] = source[18 * g + 2 + i] >> 4;
            }
        } else if (m.format == Q8_0) {
            std::memcpy(scale_place(m, output, g), source + 34 * g, 2);
            for (int i = 0; i < GROUP; i++) codes[i] = source[34 * g + 2 + i] ^ 128;
        } else {
            for (int i = 0; i < GROUP; i++) codes[i] = source[GROUP * g + i] + (m.format == INT8 ? 128 : 8);
        }
        if (is_half_byte(m)) {
            for (int j = 0; j < 4; j++)
                for (int k = 0; k < 4; k++)
                    data[tile * tile_bytes(m) + 64 * (4 * g + j) + 4 * lane + k] = codes[4 * j + k] | codes[16 + 4 * j + k] << 4;
        } else {
            for (int j = 0; j < 8; j++) std::memcpy(data + tile * tile_bytes(m) + 64 * (8 * g + j) + 4 * lane, codes + 4 * j, 4);
        }
    }
}

// Sixteen rows at once, which is what fills a tile: in every form but INT4 a tile holds the words of its rows turned, word
// after word. `next` is how far apart the rows lie.
inline bool packs_tiles(const Matrix &m) { return m.format != INT4; }

inline void pack_tile(const Matrix &m, int64_t tile, const uint8_t *source, int64_t next) {
    const int64_t groups = m.columns / GROUP;
    const int64_t head = is_grouped(m) ? 2 : 0;                                       // bytes of a block before its codes
    const int64_t each = m.format == Q4_0 ? 16 : 32;                                  // bytes of a group's codes
    const int64_t together = 64 / each;                                               // groups that make 16 words
    uint8_t *out = (uint8_t *)m.data + tile * tile_bytes(m);
    for (int64_t g = 0; g < groups; g += together) {
        const int64_t count = groups - g < together ? groups - g : together;
        u32x16 block[16];
        for (int row = 0; row < 16; row++) {
            uint8_t words[64] = {};
            for (int64_t i = 0; i < count; i++)
                std::memcpy(words + i * each, source + row * next + (g + i) * (each + head) + head, each);
            block[row] = load<u32x16>(words);
        }
        transpose(block);
        for (int64_t w = 0; w < count * each / 4; w++) {
            const u32x16 turned = m.format == Q8_0 || m.format == INT8 ? block[w] ^ 0x80808080u : block[w];
            store(out + 64 * (g * each / 4 + w), turned);
        }
    }
    for (int64_t g = 0; g < groups && is_grouped(m); g++)
        for (int64_t row = 0; row < 16; row++)
            std::memcpy(scale_place(m, tile * TILE + row, g), source + row * next + g * (each + head), 2);
}

// The words of a tile of bfloat16 from its rows, `rows` of them if there are fewer than 16.
inline void turn_tile(const uint16_t *source, int64_t columns, int64_t rows, uint8_t *out) {
    for (int64_t i = 0; i < columns; i += 32) {
        u32x16 block[16] = {};
        for (int64_t row = 0; row < rows && row < TILE; row++) block[row] = load<u32x16>(source + row * columns + i);
        transpose(block);
        for (int w = 0; w < 16; w++) store(out + 64 * (i / 2 + w), block[w]);
    }
}

inline void unpack_row(const Matrix &m, int64_t output, float scale, float *out) {
    if (is_float(m)) {
        const int64_t u = output / UNIT;
        uint16_t *words = (uint16_t *)room<UNPACKED>(2 * m.columns);
        unpack_output(head_of(m, u), unit_of(m, u), m.columns, output % UNIT, words);
        for (int64_t i = 0; i < m.columns; i++) out[i] = widen(words[i]) * scale;
        return;
    }
    for (int64_t i = 0; i < m.columns; i++) {
        bool high;
        const uint8_t both = m.data[code_place(m, output, i, &high)];
        const int code = is_half_byte(m) ? (high ? both >> 4 : both & 15) - 8 : both - 128;
        float step;
        if (is_grouped(m)) {
            uint16_t stored;
            std::memcpy(&stored, scale_place(m, output, i / GROUP), 2);
            step = half(stored);
        } else {
            std::memcpy(&step, m.scales + 4 * output, 4);
        }
        out[i] = (float)code * step * scale;
    }
}

}  // namespace
