// What adapters add to products (LoRA). A row x that has an adapter gets B (A x) beside W x, in float32, of x as it is
// before it is rounded for the product; each sum has one accumulator and a fixed order. Other rows stay as they are.
#pragma once

#include "matrix.h"

// One adapter's addend to one matrix: a [rank, columns]; b [rank, stride], transposed and times the scale, zeros up to
// whole units of outputs. Rank 0: none.
struct Addend {
    int64_t rank, stride;
    const float *a, *b;
};

// The adapters of a step's rows, for the matrices of one call.
struct Adapters {
    int64_t count, most;  // adapters, and their largest rank
    const int64_t *rows;  // [N]: which each row has, -1 for none
    const Addend *of;     // [matrices, count]
};

namespace {

// One matrix's addends. `low` [N, most] holds A x of the rows that have an adapter.
struct Addends {
    const Addend *of = nullptr;  // null: no row has an adapter
    const int64_t *rows = nullptr;
    int64_t most = 0;
    float *low = nullptr;

    const Addend *at(int64_t row) const {
        if (!of || rows[row] < 0) return nullptr;
        const Addend *one = of + rows[row];
        return one->rank ? one : nullptr;
    }

    // Makes A x of a row; the columns are a multiple of 32.
    void lower(int64_t row, const float *x, int64_t columns) const {
        const Addend *one = at(row);
        if (!one) return;
        float *to = low + row * most;
        int64_t k = 0;
        for (; k + 4 <= one->rank; k += 4) lower_some<4>(one->a + k * columns, x, columns, to + k);
        for (; k < one->rank; k++) lower_some<1>(one->a + k * columns, x, columns, to + k);
    }

    // Adds to 32 outputs of a row whose A x is made.
    void add(int64_t row, int64_t u, f32x16 &a, f32x16 &b) const {
        if (const Addend *one = at(row)) add_some(*one, low + row * most, u, a, b);
    }

  private:
    template <int K> static void lower_some(const float *a, const float *x, int64_t columns, float *to) {
        f32x16 total[K] = {};
        for (int64_t i = 0; i < columns; i += 16) {
            const f32x16 v = load<f32x16>(x + i);
            for (int k = 0; k < K; k++) total[k] = fma(load<f32x16>(a + k * columns + i), v, total[k]);
        }
        for (int k = 0; k < K; k++) to[k] = sum(total[k]);
    }

    // Apart, so that a product's own registers are not spilled for it.
    __attribute__((noinline)) static void add_some(const Addend &one, const float *low, int64_t u, f32x16 &a, f32x16 &b) {
        f32x16 first = {}, second = {};
        for (int64_t k = 0; k < one.rank; k++) {
            const float *from = one.b + k * one.stride + UNIT * u;
            const f32x16 v = splat(low[k]);
            first = fma(v, load<f32x16>(from), first), second = fma(v, load<f32x16>(from + 16), second);
        }
        a = a + first, b = b + second;
    }
};

// What a product's outputs go through on their way: `put` gets the sums.
template <class Put> struct Added {
    const Addends &addends;
    Put put;
    void operator()(int64_t row, int64_t u, f32x16 a, f32x16 b) const {
        addends.add(row, u, a, b);
        put(row, u, a, b);
    }
};

template <class Put> inline Added<Put> added(const Addends &addends, Put put) { return {addends, put}; }

}  // namespace
