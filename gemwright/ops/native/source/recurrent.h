// Griffin's temporal mixing behind its first projections: convolution, gates, and the real-gated linear recurrence.
#pragma once

#include "matrix.h"

struct RecurrentLayer {
    int64_t width, blocks, taps;     // taps: earlier inputs that the convolution sees
    const float *conv, *conv_bias;   // [taps + 1, R], the last row on the current token; [R]
    const float *rate;               // [R]: -8 softplus(a_param)
    const Matrix *decay, *input;     // the gates' diagonal blocks, [blocks] matrices of (R / blocks)²
};

struct Recurrence {
    const float *x, *gate;           // [N, R]: the recurrent branch, and the other one behind its gelu
    const uint16_t *tail;            // bfloat16 [D, taps, R]: the convolution's last inputs
    const float *state;              // [D, R]
    const int64_t *starts, *fresh;   // [D + 1] first rows; [D]: 1 where the document begins here
    int64_t documents;
    float *u, *decays, *inputs;      // scratch [N, R]
    uint16_t *rows;                  // scratch [N, R]
    float *states, *mixed;           // [N, R]: what to remember, and states * gate
};

namespace {

// exp(x) - 1 for x ≤ 0, without cancellation near 0.
inline f32x16 expm1(f32x16 x) {
    f32x16 p = splat(1.0f / 40320);
    for (float term : {1.0f / 5040, 1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f}) p = fma(p, x, splat(term));
    return select(x > splat(-0.5f), p * x, exp(x) - 1.0f);
}

inline f32x16 square_root(f32x16 x) {
    float v[16];
    store(v, x);
    for (int i = 0; i < 16; i++) v[i] = std::sqrt(v[i]);
    return load<f32x16>(v);
}

inline void convolve_row(const RecurrentLayer &l, const Recurrence &c, int64_t document, int64_t row) {
    const int64_t first = c.starts[document];
    for (int64_t i = 0; i < l.width; i += 16) {
        f32x16 total = load<f32x16>(l.conv_bias + i);
        for (int64_t back = 0; back <= l.taps; back++) {
            const int64_t at = row - back;
            const f32x16 value = at >= first ? load<f32x16>(c.x + at * l.width + i)
                                             : widen(load<u16x16>(c.tail + ((document + 1) * l.taps + at - first) * l.width + i));
            total = fma(value, load<f32x16>(l.conv + (l.taps - back) * l.width + i), total);
        }
        store(c.u + row * l.width + i, total);
    }
}

// COLUMNS columns from `begin` on, or as many as there are, of every document. A row's are worked on together: they lie side
// by side, and the next row's on another page.
constexpr int64_t COLUMNS = 64, ROWS_AHEAD = 4;

inline void scan_columns(const RecurrentLayer &l, const Recurrence &c, int64_t begin) {
    const int64_t left = l.width - begin, count = (left < COLUMNS ? left : COLUMNS) / 16;
    for (int64_t d = 0; d < c.documents; d++) {
        f32x16 h[COLUMNS / 16], rate[COLUMNS / 16];
        for (int64_t k = 0; k < count; k++) {
            h[k] = load<f32x16>(c.state + d * l.width + begin + 16 * k);
            rate[k] = load<f32x16>(l.rate + begin + 16 * k);
        }
        for (int64_t row = c.starts[d]; row < c.starts[d + 1]; row++) {
            const bool first = c.fresh[d] && row == c.starts[d];  // the first token enters whole
            for (int64_t k = 0; k < count; k++) {
                const int64_t at = row * l.width + begin + 16 * k, next = at + ROWS_AHEAD * l.width;
                for (const float *array : {(const float *)c.decays, (const float *)c.inputs, (const float *)c.u, c.gate})
                    __builtin_prefetch(array + next);
                const f32x16 log_a = rate[k] * sigmoid(load<f32x16>(c.decays + at));
                const f32x16 x = load<f32x16>(c.u + at) * sigmoid(load<f32x16>(c.inputs + at));
                h[k] = first ? x : fma(exp(log_a), h[k], square_root(-expm1(log_a + log_a)) * x);
                store(c.states + at, h[k]);
                store(c.mixed + at, h[k] * load<f32x16>(c.gate + at));
            }
        }
    }
}

// To be called by every thread of a parallel region; ends with a barrier.
inline void recur(const RecurrentLayer &l, const Recurrence &c, int64_t tokens) {
#pragma omp for schedule(static)
    for (int64_t row = 0; row < tokens; row++) {
        int64_t document = 0;
        while (c.starts[document + 1] <= row) document++;
        convolve_row(l, c, document, row);
        prepare_row({tokens, l.width, 0, c.rows, nullptr, nullptr, nullptr}, row, c.u + row * l.width);
    }
    const int64_t size = l.width / l.blocks, each = units(l.decay[0]);
#pragma omp for schedule(dynamic, 4)
    for (int64_t task = 0; task < 2 * l.blocks * each; task++) {
        const int64_t block = task / (2 * each), u = task % each;
        const bool second = task / each % 2;
        const Matrix &m = (second ? l.input : l.decay)[block];
        const Rows rows = {tokens, l.width, block * size, c.rows, nullptr, nullptr, nullptr};
        const Store put = {(second ? c.inputs : c.decays) + block * size, l.width, size};
        product_of_unit(m, u, rows, 0, tokens, put);
    }
    const int64_t parts = (l.width + COLUMNS - 1) / COLUMNS;
#pragma omp for schedule(dynamic, 1)
    for (int64_t part = 0; part < parts; part++) scan_columns(l, c, part * COLUMNS);
}

}  // namespace
