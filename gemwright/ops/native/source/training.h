// What training does between the products, forwards and backwards: norms, RoPE, gates, and the head's soft targets.
//
// Activations are float32 or bfloat16, as the caller says (`kind` 0 or 1); all arithmetic is float32. Sums over rows (the
// gradients of weights) are made in PARTS parts that the caller adds up in order, so that they have the same bits on
// any number of threads.
#pragma once

#include <algorithm>

#include "attend.h"

namespace {

constexpr int64_t PARTS = 32;

inline f32x16 get(const float *from) { return load<f32x16>(from); }
inline f32x16 get(const uint16_t *from) { return widen(load<u16x16>(from)); }
inline void put(float *to, f32x16 x) { store(to, x); }
inline void put(uint16_t *to, f32x16 x) { store(to, narrow(x)); }
inline float one(float x) { return x; }
inline float one(uint16_t x) { return widen(x); }
inline void put_one(float *to, float x) { *to = x; }
inline void put_one(uint16_t *to, float x) { *to = narrow(x); }

// use(a pointer of the right type)
template <class Use> inline void typed(int64_t kind, const void *at, Use use) {
    if (kind)
        use((uint16_t *)at);
    else
        use((float *)at);
}

// The rows of part `p` of PARTS: begin … end.
struct Part {
    int64_t begin, end;
    Part(int64_t rows, int64_t p) : begin(rows * p / PARTS), end(rows * (p + 1) / PARTS) {}
};

// use(part's rows, where its sums go) on every thread; `sums` is [PARTS, width] or null.
template <class Use> inline void by_parts(int64_t rows, int64_t width, float *sums, int64_t threads, Use use) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t p = 0; p < PARTS; p++) {
        float *to = sums ? sums + p * width : nullptr;
        if (to) std::memset(to, 0, 4 * width);
        use(Part(rows, p), to);
    }
}

// The factor of an RMS norm: 1 / sqrt(mean(x²) + epsilon).
template <class T> inline float norm_factor(const T *x, int64_t width, float epsilon) {
    f32x16 squares = {};
    for (int64_t i = 0; i < width; i += 16) {
        const f32x16 v = get(x + i);
        squares = fma(v, v, squares);
    }
    return 1.0f / std::sqrt(sum(squares) / (float)width + epsilon);
}

// dx of out = x factor (1 + weight); adds dy x factor to `sums`.
template <class X, class Y>
inline void norm_row_grad(const X *x, const float *weight, float factor, const Y *dy, int64_t width, X *dx, float *sums) {
    f32x16 both = {};
    for (int64_t i = 0; i < width; i += 16) both = fma(get(dy + i) * (load<f32x16>(weight + i) + 1.0f), get(x + i), both);
    const float share = sum(both) * factor * factor / (float)width;
    for (int64_t i = 0; i < width; i += 16) {
        const f32x16 v = get(x + i), d = get(dy + i);
        store(sums + i, fma(d * factor, v, load<f32x16>(sums + i)));
        put(dx + i, (d * (load<f32x16>(weight + i) + 1.0f) - v * share) * factor);
    }
}

// A head's channels: normed where there is a weight, then turned. Plain loops: compilers make vectors of them.
inline void turn_head(float *x, const float *weight, float epsilon, const float *cos, const float *sin, int64_t pairs, int64_t width) {
    if (weight) {
        const float factor = norm_factor(x, width, epsilon);
        for (int64_t i = 0; i < width; i++) x[i] = x[i] * factor * (1.0f + weight[i]);
    }
    for (int64_t i = 0; i < pairs; i++) {
        const float a = x[i], b = x[pairs + i];
        x[i] = a * cos[i] - b * sin[i], x[pairs + i] = b * cos[i] + a * sin[i];
    }
}

inline void turn_back(float *x, const float *cos, const float *sin, int64_t pairs) {
    for (int64_t i = 0; i < pairs; i++) {
        const float a = x[i], b = x[pairs + i];
        x[i] = a * cos[i] + b * sin[i], x[pairs + i] = b * cos[i] - a * sin[i];
    }
}

struct SoftTargets {
    int64_t rows, vocab, kind, targets;  // targets: of each row
    void *scores;                        // [rows, vocab]: in, the head's; out, the gradient
    const int64_t *ids;                  // [rows, targets], -1: none
    const float *shares, *weight;        // [rows, targets], [rows]
    float cap, temperature, z;           // cap 0: none
    float *loss, *lse;                   // [rows]: not weighted; and the logarithm of the normaliser
};

// A row's scores as the loss sees them. Those behind the last column are -infinity.
template <class T> inline f32x16 score_at(const T *row, int64_t i, int64_t vocab, const SoftTargets &s) {
    f32x16 x;
    if (i + 16 <= vocab) {
        x = get(row + i);
    } else {
        float values[16];
        for (int64_t j = 0; j < 16; j++) values[j] = i + j < vocab ? one(row[i + j]) : -INFINITY;
        x = load<f32x16>(values);
        if (s.cap > 0) x = maximum(splat(-1e30f), x);  // tanh of an infinity is not a number here
    }
    if (s.cap > 0) x = tanh(maximum(splat(-30.0f), minimum(splat(30.0f), x * (1.0f / s.cap)))) * s.cap;
    x = x * (1.0f / s.temperature);
    if (s.cap > 0 && i + 16 > vocab)
        x = select(load<i32x16>(LANES) < splat((int32_t)(vocab - i)), x, splat(-INFINITY));
    return x;
}

template <class T> inline void soft_targets_row(const SoftTargets &s, int64_t row) {
    T *scores = (T *)s.scores + row * s.vocab;
    const int64_t *ids = s.ids + row * s.targets;
    const float *shares = s.shares + row * s.targets;
    f32x16 most = splat(-INFINITY), total = {};
    for (int64_t i = 0; i < s.vocab; i += 16) most = maximum(most, score_at(scores, i, s.vocab, s));
    const float top = highest(most);
    for (int64_t begin = 0; begin < s.vocab; begin += 4096) {  // sums of sums: a long one would lose its last bits
        f32x16 part = {};
        for (int64_t i = begin; i < begin + 4096 && i < s.vocab; i += 16) part += exp(score_at(scores, i, s.vocab, s) - top);
        total += part;
    }
    const float lse = top + std::log(sum(total)), square = s.temperature * s.temperature, weight = s.weight[row];
    float *at = scratch(2 * s.targets), *chosen = at + s.targets;
    float all = 0;
    double loss = 0;
    for (int64_t k = 0; k < s.targets; k++) {
        if (ids[k] < 0) continue;
        f32x16 found = score_at(scores, ids[k] / 16 * 16, s.vocab, s);
        float values[16];
        store(values, found);
        at[k] = values[ids[k] % 16];
        all += shares[k];
        loss += (double)shares[k] * (lse - at[k]);
    }
    s.loss[row] = (float)(square * (loss + (double)s.z * lse * lse)), s.lse[row] = lse;
    // The square, less one for the division of the scores.
    const float p_share = weight * s.temperature * (all + 2.0f * s.z * lse), own = weight * s.temperature;
    // An id may stand more than once: its shares are gathered first.
    static thread_local std::vector<int64_t> order;
    order.resize(s.targets);
    for (int64_t k = 0; k < s.targets; k++) order[k] = k;
    std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return ids[a] != ids[b] ? ids[a] < ids[b] : a < b; });
    for (int64_t first = 0, next; first < s.targets; first = next) {
        float mine = 0;
        for (next = first; next < s.targets && ids[order[next]] == ids[order[first]]; next++) mine += shares[order[next]];
        const float score = at[order[first]], capped = s.cap > 0 ? score * s.temperature / s.cap : 0.0f;
        const float d = ids[order[first]] < 0 ? 0.0f : (p_share * exp_scalar(score - lse) - own * mine) * (1.0f - capped * capped);
        for (int64_t k = first; k < next; k++) chosen[order[k]] = d;
    }
    for (int64_t i = 0; i < s.vocab; i += 16) {
        const f32x16 x = score_at(scores, i, s.vocab, s);
        f32x16 d = exp(x - lse) * p_share;
        if (s.cap > 0) {
            const f32x16 capped = x * (s.temperature / s.cap);
            d = d * (1.0f - capped * capped);
        }
        if (i + 16 <= s.vocab) {
            put(scores + i, d);
        } else {
            float values[16];
            store(values, d);
            for (int64_t j = 0; i + j < s.vocab; j++) put_one(scores + i + j, values[j]);
        }
    }
    for (int64_t k = 0; k < s.targets; k++)
        if (ids[k] >= 0) put_one(scores + ids[k], chosen[k]);
}

}  // namespace

extern "C" {

// x [N, D] → out [N, D] = residual + x factor (1 + weight), and the factors [N]. residual (float32) may be null.
void gw_norm(int64_t n, int64_t width, int64_t from, const void *x, const float *weight, float epsilon, const float *residual,
             int64_t to, void *out, float *factors, int64_t threads) {
    typed(from, x, [&](auto *xs) {
        typed(to, out, [&](auto *outs) {
#pragma omp parallel for num_threads(threads) schedule(static)
            for (int64_t row = 0; row < n; row++) {
                const auto *v = xs + row * width;
                const float factor = factors[row] = norm_factor(v, width, epsilon);
                for (int64_t i = 0; i < width; i += 16) {
                    f32x16 y = get(v + i) * factor * (load<f32x16>(weight + i) + 1.0f);
                    if (residual) y += load<f32x16>(residual + row * width + i);
                    put(outs + row * width + i, y);
                }
            }
        });
    });
}

// dy [N, D] → dx [N, D] (as x), and dweight as PARTS sums [PARTS, D].
void gw_norm_grad(int64_t n, int64_t width, int64_t from, const void *x, const float *weight, const float *factors, int64_t to,
                  const void *dy, void *dx, float *sums, int64_t threads) {
    typed(from, x, [&](auto *xs) {
        typed(to, dy, [&](auto *dys) {
            auto *dxs = (std::remove_reference_t<decltype(*xs)> *)dx;
            by_parts(n, width, sums, threads, [&](Part part, float *into) {
                for (int64_t row = part.begin; row < part.end; row++)
                    norm_row_grad(xs + row * width, weight, factors[row], dys + row * width, width, dxs + row * width, into);
            });
        });
    });
}

// x [N, H, K] → out, the same form: QK-norm where there is a weight [K], then RoPE by cos, sin [N, pairs].
void gw_turn(int64_t n, int64_t heads, int64_t width, int64_t pairs, int64_t kind, const void *x, const float *weight, float epsilon,
             const float *cos, const float *sin, void *out, int64_t threads) {
    typed(kind, x, [&](auto *xs) {
        auto *outs = (std::remove_reference_t<decltype(*xs)> *)out;
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int64_t row = 0; row < n; row++)
            for (int64_t head = 0; head < heads; head++) {
                const int64_t at = (row * heads + head) * width;
                float *full = scratch(width);
                for (int64_t i = 0; i < width; i += 16) store(full + i, get(xs + at + i));
                turn_head(full, weight, epsilon, cos + row * pairs, sin + row * pairs, pairs, width);
                for (int64_t i = 0; i < width; i += 16) put(outs + at + i, load<f32x16>(full + i));
            }
    });
}

// dy [N, H, K] → dx, and dweight as PARTS sums [PARTS, K] where there is a weight.
void gw_turn_grad(int64_t n, int64_t heads, int64_t width, int64_t pairs, int64_t kind, const void *x, const float *weight, float epsilon,
                  const float *cos, const float *sin, const void *dy, void *dx, float *sums, int64_t threads) {
    typed(kind, x, [&](auto *xs) {
        typedef std::remove_reference_t<decltype(*xs)> T;
        by_parts(n, width, sums, threads, [&](Part part, float *into) {
            for (int64_t row = part.begin; row < part.end; row++)
                for (int64_t head = 0; head < heads; head++) {
                    const int64_t at = (row * heads + head) * width;
                    float *d = scratch(3 * width), *full = d + width, *made = full + width;
                    for (int64_t i = 0; i < width; i += 16) store(d + i, get((const T *)dy + at + i));
                    turn_back(d, cos + row * pairs, sin + row * pairs, pairs);
                    if (weight) {
                        for (int64_t i = 0; i < width; i += 16) store(full + i, get(xs + at + i));
                        norm_row_grad(full, weight, norm_factor(full, width, epsilon), d, width, made, into);
                        d = made;
                    }
                    for (int64_t i = 0; i < width; i += 16) put((T *)dx + at + i, load<f32x16>(d + i));
                }
        });
    });
}

// gelu(gate) up, element by element; `count` is a multiple of 16.
void gw_gated(int64_t count, int64_t kind, const void *gate, const void *up, void *out, int64_t threads) {
    typed(kind, gate, [&](auto *gates) {
        typedef std::remove_reference_t<decltype(*gates)> T;
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int64_t i = 0; i < count; i += 16) put((T *)out + i, gelu(get(gates + i)) * get((const T *)up + i));
    });
}

void gw_gated_grad(int64_t count, int64_t kind, const void *gate, const void *up, const void *dout, void *dgate, void *dup, int64_t threads) {
    typed(kind, gate, [&](auto *gates) {
        typedef std::remove_reference_t<decltype(*gates)> T;
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int64_t i = 0; i < count; i += 16) {
            const f32x16 x = get(gates + i), d = get((const T *)dout + i), square = x * x;
            const f32x16 share = sigmoid(x * fma(square, splat(0.0713548162726f), splat(1.5957691216057f)));
            const f32x16 slope = fma(square, splat(0.2140644488178f), splat(1.5957691216057f));
            put((T *)dup + i, d * x * share);
            put((T *)dgate + i, d * get((const T *)up + i) * fma(x * share * (1.0f - share), slope, share));
        }
    });
}

// Losses of rows of scores against soft targets; the scores become their gradients.
void gw_soft_targets(const SoftTargets *s, int64_t threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t row = 0; row < s->rows; row++)
        if (s->kind)
            soft_targets_row<uint16_t>(*s, row);
        else
            soft_targets_row<float>(*s, row);
}

}  // extern "C"
