// The kernels' arithmetic once more, as plain loops in double: what check.cpp compares them with.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "source/kernels.h"

typedef std::vector<double> Doubles;
typedef std::vector<float> Floats;
typedef std::vector<uint16_t> Halves16;  // bits of bfloat16 or float16

// A claim, and whether it holds.
struct Heard {
    bool holds;
    std::string what;
};

static const char *const FORMATS[] = {"BF16", "Q8_0", "Q4_0", "INT8", "INT4"};

struct Random {
    std::mt19937 engine{1};
    int64_t below(int64_t count) { return engine() % count; }
    float uniform() { return (float)(engine() >> 8) / (1 << 24); }
    float normal() {  // near enough: six uniform numbers
        float total = 0;
        for (int i = 0; i < 6; i++) total += uniform();
        return (total - 3) * 1.41421356f;
    }
    Floats normals(int64_t count, float size = 1) {
        Floats out(count);
        for (float &x : out) x = size * normal();
        return out;
    }
};

// To eight significant bits, ties to even.
static double round_bf16(double x) {
    if (x == 0 || !std::isfinite(x)) return x;
    int exponent;
    const double fraction = std::frexp(x, &exponent);
    return std::ldexp(std::nearbyint(std::ldexp(fraction, 8)), exponent - 8);
}

static uint16_t bf16_bits(double x) {
    const float rounded = (float)round_bf16(x);
    uint32_t bits;
    std::memcpy(&bits, &rounded, 4);
    return (uint16_t)(bits >> 16);
}

static double bf16_value(uint16_t bits) {
    const uint32_t whole = (uint32_t)bits << 16;
    float out;
    std::memcpy(&out, &whole, 4);
    return out;
}

static double half_value(uint16_t bits) {
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    const double size = exponent == 31  ? (fraction ? NAN : INFINITY)
                        : exponent == 0 ? std::ldexp(fraction, -24)
                                        : std::ldexp(1024 + fraction, exponent - 25);
    return bits & 0x8000 ? -size : size;
}

static Halves16 to_bf16(const Floats &x) {
    Halves16 out(x.size());
    for (size_t i = 0; i < x.size(); i++) out[i] = bf16_bits(x[i]);
    return out;
}

static double root_mean_square(const Doubles &x) {
    double squares = 0;
    for (double value : x) squares += value * value;
    return std::sqrt(squares / x.size());
}

// The largest difference, in parts of the right values' root mean square; as it is where these are all zero.
static double distance(const Doubles &right, const Doubles &out) {
    const double size = root_mean_square(right);
    double most = 0;
    for (size_t i = 0; i < right.size(); i++)
        most = std::fmax(most, std::isfinite(out[i]) ? std::fabs(right[i] - out[i]) : INFINITY);
    return size > 0 ? most / size : most;
}

// A row's codes, and the step of each group of 32: the largest magnitude becomes 127.
static void quantise(const float *x, int64_t count, std::vector<int> *codes, Floats *steps) {
    codes->resize(count), steps->resize(count / 32);
    for (int64_t g = 0; g < count / 32; g++) {
        float most = 0;
        for (int i = 0; i < 32; i++) most = std::fmax(most, std::fabs(x[32 * g + i]));
        (*steps)[g] = most / 127.0f;
        const float inverse = most > 0 ? 127.0f / most : 0;
        for (int i = 0; i < 32; i++) (*codes)[32 * g + i] = (int)std::nearbyint(x[32 * g + i] * inverse);
    }
}

// A packed matrix beside its plain values.
struct Packed {
    int64_t outputs, columns;
    Format format;
    std::vector<uint8_t> source, data, scales;  // source: rows as gw_pack takes them
    std::vector<std::vector<uint8_t>> extras;   // what bfloat16 needs beside its 12 bits
    std::vector<int> codes;                     // [O, I]
    std::vector<uint16_t> steps;                // bits of float16 [O, I / 32]
    Floats bias, values;                        // [O] and zeros; [O, I]
    Matrix m;

    int64_t source_bytes() const { return (int64_t)source.size() / outputs; }

    // Codes at random, or at either end of their range only.
    Packed(Random &random, Format format, int64_t outputs, int64_t columns, bool biased = false, bool ends = false)
        : outputs(outputs), columns(columns), format(format), codes(outputs * columns), values(outputs * columns) {
        const int64_t units = (outputs + 31) / 32, groups = columns / 32;
        const bool halves = format == Q4_0 || format == INT4, grouped = format == Q8_0 || format == Q4_0;
        data.assign(units * 32 * columns * (format == BF16 ? 3 : halves ? 1 : 2) / 2, 0);
        scales.assign(units * 32 * (grouped ? 2 * groups : 4), 0);
        const int64_t bytes = format == BF16   ? 2 * columns
                              : format == Q8_0 ? 34 * groups
                              : format == Q4_0 ? 18 * groups
                                               : columns;
        source.resize(outputs * bytes), steps.resize(outputs * groups);
        for (int &code : codes) {
            const int end = halves ? 8 : 128;
            code = ends ? (random.below(2) ? -end : end - 1) : (int)random.below(2 * end) - end;
        }
        for (uint16_t &step : steps) step = (uint16_t)(0x2000 + random.below(0x800));  // 0.008 … 0.03
        if (biased) bias = random.normals(outputs);
        bias.resize(units * 32, 0);
        m = {format, outputs, columns, data.data(), scales.data(), biased ? bias.data() : nullptr};
        for (int64_t o = 0; o < outputs && !grouped && format != BF16; o++) {
            const float step = 0.01f + 0.01f * random.uniform();
            std::memcpy(&scales[4 * o], &step, 4);
        }
        if (format == BF16)
            for (int64_t i = 0; i < outputs * columns; i++) {
                // Rarely small ones, of which lists are kept; among the second 32 outputs all sizes, so that these are kept whole.
                const bool wide = i / columns / 32 == 1;
                const int less = wide ? (int)random.below(40) : random.below(100) ? 0 : 30;
                const uint16_t bits = bf16_bits(std::ldexp(random.normal(), -less));
                std::memcpy(&source[2 * i], &bits, 2);
            }
        pack();
    }
    Packed(const Packed &) = delete;

    double step(int64_t output, int64_t column) const {
        if (format == Q8_0 || format == Q4_0) return half_value(steps[output * (columns / 32) + column / 32]);
        float out;
        std::memcpy(&out, &scales[4 * output], 4);
        return out;
    }

    // Writes the source and the values from the codes and steps, and packs.
    void pack() {
        for (int64_t o = 0; o < outputs; o++) {
            uint8_t *row = &source[o * source_bytes()];
            for (int64_t i = 0; i < columns; i++) {
                const int64_t g = i / 32, within = i % 32;
                const int code = codes[o * columns + i];
                uint16_t word;
                if (format == BF16)
                    std::memcpy(&word, row + 2 * i, 2), values[o * columns + i] = (float)bf16_value(word);
                else
                    values[o * columns + i] = (float)(code * step(o, i));
                if (format == Q8_0) row[34 * g + 2 + within] = (uint8_t)code;
                if (format == INT8 || format == INT4) row[i] = (uint8_t)code;
                if (format == Q4_0) {
                    uint8_t *both = row + 18 * g + 2 + within % 16;
                    *both = within < 16 ? (uint8_t)(code + 8) : (uint8_t)(*both | (code + 8) << 4);
                }
                if (within == 0 && (format == Q8_0 || format == Q4_0))
                    std::memcpy(row + (format == Q8_0 ? 34 : 18) * g, &steps[o * (columns / 32) + g], 2);
            }
        }
        put(0, outputs, 1);
    }

    void put(int64_t begin, int64_t end, int64_t threads) {
        const uint8_t *from = &source[begin * source_bytes()];
        if (format != BF16) return gw_pack(&m, begin, end, from, source_bytes(), threads);
        int64_t used = -1;
        extras.emplace_back((end - begin + 31) / 32 * 64 * columns);
        std::vector<uint8_t> &extra = extras.back();
        gw_pack_bf16(&m, begin, end, (const uint16_t *)from, extra.data(), &used, threads);
        extra.resize(used);
        for (int64_t u = begin / 32; u < (end + 31) / 32; u++) head_of(m, u).extra += (uint64_t)extra.data();
    }

    // Activations as the product meets them.
    Doubles seen(const float *x) const {
        Doubles out(columns);
        std::vector<int> whole;
        Floats step;
        if (format == BF16) {
            for (int64_t i = 0; i < columns; i++) out[i] = round_bf16(x[i]);
        } else {
            quantise(x, columns, &whole, &step);
            for (int64_t i = 0; i < columns; i++) out[i] = (double)whole[i] * step[i / 32];
        }
        return out;
    }

    // One row's product; `size`, if wanted: the sums of the magnitudes.
    Doubles times(const Doubles &x, Doubles *size = nullptr) const {
        const Doubles meets = seen(Floats(x.begin(), x.end()).data());
        Doubles out(outputs);
        if (size) size->assign(outputs, 0);
        for (int64_t o = 0; o < outputs; o++) {
            out[o] = m.bias ? bias[o] : 0;
            if (size) (*size)[o] = std::fabs(out[o]);
            for (int64_t i = 0; i < columns; i++) {
                const double part = meets[i] * values[o * columns + i];
                out[o] += part;
                if (size) (*size)[o] += std::fabs(part);
            }
        }
        return out;
    }
};

static Doubles row_of(const Floats &x, int64_t row, int64_t columns) {
    return Doubles(x.begin() + row * columns, x.begin() + (row + 1) * columns);
}

// x / rms(x) * gain.
static Doubles normed(const Doubles &x, const Floats &gain, double epsilon) {
    double squares = 0;
    for (double v : x) squares += v * v;
    Doubles out(x);
    for (size_t i = 0; i < x.size(); i++) out[i] *= gain[i] / std::sqrt(squares / x.size() + epsilon);
    return out;
}

static double gelu_value(double x) {
    return 0.5 * x * (1 + std::tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
}
static double sigmoid_value(double x) { return 1 / (1 + std::exp(-x)); }
