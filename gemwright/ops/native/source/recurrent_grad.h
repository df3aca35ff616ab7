// Griffin's temporal mixing in training: the convolution and the gated recurrence, forwards and backwards.
#pragma once

#include "recurrent.h"
#include "training.h"

struct ScanGrad {
    int64_t rows, width, kind;
    const void *u, *decay, *input;   // [N, R]: the convolution's output, and the two gates before their sigmoids
    const float *a_param;            // [R]
    const int32_t *position;         // [N]: 0 where a document begins
    float *states;                   // [N, R]
    void *out;                       // the states in the activations' type; null where that is float32
    const void *dout;
    void *du, *ddecay, *dinput;
    float *da_param;                 // [R]
};

namespace {

constexpr int64_t SCAN_COLUMNS = 32;

inline float softplus(float x) { return x > 20.0f ? x : std::log1p(std::exp(x)); }

// What a row makes of its gates: the decay, its logarithm, and the share of the input that enters.
struct Gates {
    f32x16 log_a, a, root, enters, keeps;
};

inline Gates gates_of(f32x16 rate, f32x16 decay, f32x16 input) {
    Gates g;
    g.keeps = sigmoid(decay), g.enters = sigmoid(input);
    g.log_a = rate * g.keeps;
    g.a = exp(g.log_a);
    g.root = square_root(-expm1(g.log_a + g.log_a));
    return g;
}

// The log of the decay at a gate of one, by columns.
inline void rates(const ScanGrad &s, int64_t begin, int64_t end, f32x16 *rate) {
    for (int64_t i = begin; i < end; i += 16) {
        float values[16];
        for (int64_t j = 0; j < 16; j++) values[j] = -8.0f * softplus(s.a_param[i + j]);
        rate[(i - begin) / 16] = load<f32x16>(values);
    }
}

template <class T> inline void scan_part(const ScanGrad &s, int64_t begin, int64_t end) {
    f32x16 rate[SCAN_COLUMNS / 16], h[SCAN_COLUMNS / 16] = {};
    rates(s, begin, end, rate);
    for (int64_t row = 0; row < s.rows; row++)
        for (int64_t i = begin; i < end; i += 16) {
            const int64_t at = row * s.width + i, k = (i - begin) / 16;
            const f32x16 u = get((const T *)s.u + at);
            if (s.position[row] == 0) {
                h[k] = sigmoid(get((const T *)s.input + at)) * u;
            } else {
                const Gates g = gates_of(rate[k], get((const T *)s.decay + at), get((const T *)s.input + at));
                h[k] = fma(g.a, h[k], g.root * g.enters * u);
            }
            store(s.states + at, h[k]);
            if (s.out) put((T *)s.out + at, h[k]);
        }
}

template <class T> inline void scan_part_grad(const ScanGrad &s, int64_t begin, int64_t end) {
    f32x16 rate[SCAN_COLUMNS / 16], carried[SCAN_COLUMNS / 16] = {}, rate_grad[SCAN_COLUMNS / 16] = {};
    rates(s, begin, end, rate);
    for (int64_t row = s.rows - 1; row >= 0; row--)
        for (int64_t i = begin; i < end; i += 16) {
            const int64_t at = row * s.width + i, k = (i - begin) / 16;
            const f32x16 u = get((const T *)s.u + at), total = get((const T *)s.dout + at) + carried[k];
            f32x16 du, ddecay = {}, denters;
            f32x16 enters;
            if (s.position[row] == 0) {
                enters = sigmoid(get((const T *)s.input + at));
                du = total * enters, denters = total * u;
                carried[k] = f32x16{};
            } else {
                const Gates g = gates_of(rate[k], get((const T *)s.decay + at), get((const T *)s.input + at));
                enters = g.enters;
                du = total * g.root * enters, denters = total * g.root * u;
                // d root / d log a = -a² / root, its square root never below 1e-3 (RecurrentGemma report, section 2)
                const f32x16 bounded = square_root(maximum(g.root * g.root * 4.0f, splat(1e-6f)));
                const f32x16 droot = total * enters * u;
                const f32x16 dlog = total * load<f32x16>(s.states + at - s.width) * g.a - droot * 2.0f * g.a * g.a / bounded;
                ddecay = dlog * rate[k] * g.keeps * (1.0f - g.keeps);
                rate_grad[k] = fma(dlog, g.keeps, rate_grad[k]);
                carried[k] = g.a * total;
            }
            put((T *)s.du + at, du);
            put((T *)s.ddecay + at, ddecay);
            put((T *)s.dinput + at, denters * enters * (1.0f - enters));
        }
    for (int64_t i = begin; i < end; i++) {
        float values[16];
        store(values, rate_grad[(i - begin) / 16]);
        s.da_param[i] = values[(i - begin) % 16] * -8.0f * sigmoid(s.a_param[i]);
    }
}

template <class Use> inline void by_columns(int64_t width, int64_t threads, Use use) {
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
    for (int64_t part = 0; part < (width + SCAN_COLUMNS - 1) / SCAN_COLUMNS; part++) {
        const int64_t begin = part * SCAN_COLUMNS, end = begin + SCAN_COLUMNS;
        use(begin, end < width ? end : width);
    }
}

}  // namespace

extern "C" {

void gw_scan(const ScanGrad *s, int64_t threads) {
    by_columns(s->width, threads, [&](int64_t begin, int64_t end) {
        typed(s->kind, s->u, [&](auto *u) { scan_part<std::remove_reference_t<decltype(*u)>>(*s, begin, end); });
    });
}

void gw_scan_grad(const ScanGrad *s, int64_t threads) {
    by_columns(s->width, threads, [&](int64_t begin, int64_t end) {
        typed(s->kind, s->u, [&](auto *u) { scan_part_grad<std::remove_reference_t<decltype(*u)>>(*s, begin, end); });
    });
}

// x [N, R] → out [N, R] = bias + Σ_s weight[s] x_{t - s} within each document; weight [taps, R], the current token's first.
void gw_conv(int64_t n, int64_t width, int64_t taps, int64_t kind, const void *x, const float *weight, const float *bias,
             const int32_t *position, void *out, int64_t threads) {
    typed(kind, x, [&](auto *xs) {
        auto *outs = (std::remove_reference_t<decltype(*xs)> *)out;
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int64_t row = 0; row < n; row++)
            for (int64_t i = 0; i < width; i += 16) {
                f32x16 total = load<f32x16>(bias + i);
                for (int64_t s = 0; s < taps && s <= position[row]; s++)
                    total = fma(get(xs + (row - s) * width + i), load<f32x16>(weight + s * width + i), total);
                put(outs + row * width + i, total);
            }
    });
}

// dy [N, R] → dx [N, R]; sums [PARTS, taps + 1, R]: dweight, and dbias last.
void gw_conv_grad(int64_t n, int64_t width, int64_t taps, int64_t kind, const void *x, const float *weight, const int32_t *position,
                  const void *dy, void *dx, float *sums, int64_t threads) {
    typed(kind, x, [&](auto *xs) {
        typedef std::remove_reference_t<decltype(*xs)> T;
        const T *dys = (const T *)dy;
        by_parts(n, (taps + 1) * width, sums, threads, [&](Part part, float *into) {
            for (int64_t row = part.begin; row < part.end; row++)
                for (int64_t i = 0; i < width; i += 16) {
                    const f32x16 d = get(dys + row * width + i);
                    for (int64_t s = 0; s < taps && s <= position[row]; s++) {
                        float *to = into + s * width + i;
                        store(to, fma(d, get(xs + (row - s) * width + i), load<f32x16>(to)));
                    }
                    float *bias = into + taps * width + i;
                    store(bias, load<f32x16>(bias) + d);
                    f32x16 total = {};
                    for (int64_t s = 0; s < taps && row + s < n && position[row + s] >= s; s++)
                        total = fma(get(dys + (row + s) * width + i), load<f32x16>(weight + s * width + i), total);
                    put((T *)dx + row * width + i, total);
                }
        });
    });
}

}  // extern "C"
