// Draws from rows of shares, each by random numbers that are looked up by place; `ops/draw.py` says what they mean.
#pragma once

#include <algorithm>
#include <vector>

#include "team.h"

struct Draw {
    int64_t rows, vocab, samples, depth;  // 2^depth leaves hold the vocabulary
    uint64_t seed;
    const float *shares;                  // [rows, vocab]
    const int64_t *serial, *position;     // [rows]
    int64_t *found;                       // [rows, samples], ascending
    double *total;                        // [rows]
};

namespace {

constexpr int64_t COUNTERS = 16;  // counters whose words are made together

// Philox4x32-10: the words of counters (first … first + COUNTERS - 1, place) go to `to`, four for each.
inline void philox(uint64_t seed, const uint64_t *place, uint64_t first, uint32_t *to) {
    uint64_t a[COUNTERS], b[COUNTERS], c[COUNTERS], d[COUNTERS];
    for (int64_t i = 0; i < COUNTERS; i++) a[i] = first + i, b[i] = place[0], c[i] = place[1], d[i] = place[2];
    uint64_t left = seed & 0xFFFFFFFF, right = seed >> 32;
    for (int64_t round = 0; round < 10; round++) {
        for (int64_t i = 0; i < COUNTERS; i++) {
            const uint64_t one = a[i] * 0xD2511F53, two = c[i] * 0xCD9E8D57;
            a[i] = (two >> 32) ^ b[i] ^ left, b[i] = two & 0xFFFFFFFF;
            c[i] = (one >> 32) ^ d[i] ^ right, d[i] = one & 0xFFFFFFFF;
        }
        left = (left + 0x9E3779B9) & 0xFFFFFFFF, right = (right + 0xBB67AE85) & 0xFFFFFFFF;
    }
    for (int64_t i = 0; i < COUNTERS; i++) {
        to[4 * i] = (uint32_t)a[i], to[4 * i + 1] = (uint32_t)b[i];
        to[4 * i + 2] = (uint32_t)c[i], to[4 * i + 3] = (uint32_t)d[i];
    }
}

// `tree` holds the sums of 1, 2, 4, … 2^depth shares one after the other; `words` a number for each fork.
inline void draw_row(const Draw &d, int64_t row, double *tree, uint32_t *words) {
    const int64_t leaves = (int64_t)1 << d.depth;
    double *below = tree + leaves - 1;
    const float *shares = d.shares + row * d.vocab;
    for (int64_t i = 0; i < d.vocab; i++) below[i] = shares[i];
    std::fill(below + d.vocab, below + leaves, 0.0);
    for (int64_t width = leaves / 2; width; width /= 2) {
        double *above = tree + width - 1;
        for (int64_t i = 0; i < width; i++) above[i] = below[i] + below[width + i];
        below = above;
    }
    d.total[row] = tree[0];
    const uint64_t serial = (uint64_t)d.serial[row];
    const uint64_t place[3] = {(uint64_t)d.position[row] & 0xFFFFFFFF, serial & 0xFFFFFFFF, serial >> 32};
    for (int64_t first = 0; first < (d.samples * d.depth + 3) / 4; first += COUNTERS)
        philox(d.seed, place, (uint64_t)first, words + 4 * first);
    int64_t *found = d.found + row * d.samples;
    std::fill(found, found + d.samples, (int64_t)0);
    for (int64_t level = 0; level < d.depth; level++) {
        const int64_t width = (int64_t)1 << level;
        const double *above = tree + width - 1, *next = tree + 2 * width - 1;
        const uint32_t *number = words + level * d.samples;
        for (int64_t i = 0; i < d.samples; i++) {
            const double at = ((double)number[i] + 0.5) * 0x1p-32;
            found[i] += at * above[found[i]] >= next[found[i]] ? width : 0;
        }
    }
    std::sort(found, found + d.samples);
}

}  // namespace

extern "C" {

void gw_draw(const Draw *d, int64_t threads) {
#pragma omp parallel num_threads(threads)
    {
        std::vector<double> tree(((size_t)2 << d->depth) - 1);
        std::vector<uint32_t> words((size_t)(4 * ((d->samples * d->depth + 3) / 4 + COUNTERS)));
#pragma omp for schedule(static)
        for (int64_t row = 0; row < d->rows; row++) draw_row(*d, row, tree.data(), words.data());
    }
}

}  // extern "C"
