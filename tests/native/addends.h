// What adapters add to products, against plain arithmetic.
#pragma once

#include "plain.h"

// One adapter's addend to one matrix, as the kernels read it: b transposed, with zeros up to whole units.
struct Low {
    int64_t rank, outputs, columns, stride;
    Floats a, b;

    Low(Random &random, int64_t rank, int64_t outputs, int64_t columns)
        : rank(rank), outputs(outputs), columns(columns), stride((outputs + 31) / 32 * 32),
          a(random.normals(rank * columns)), b(rank * stride) {
        for (int64_t k = 0; k < rank; k++)
            for (int64_t o = 0; o < outputs; o++) b[k * stride + o] = random.normal();
    }

    Addend addend() const { return {rank, stride, a.data(), b.data()}; }

    // Added to a product; `size`, if wanted: the sums of the magnitudes.
    void add(const Doubles &x, Doubles *product, Doubles *size = nullptr) const {
        for (int64_t k = 0; k < rank; k++) {
            double low = 0, most = 0;
            for (int64_t i = 0; i < columns; i++)
                low += (double)a[k * columns + i] * x[i], most += std::fabs((double)a[k * columns + i] * x[i]);
            for (int64_t o = 0; o < outputs; o++) {
                (*product)[o] += b[k * stride + o] * low;
                if (size) (*size)[o] += std::fabs(b[k * stride + o]) * most;
            }
        }
    }
};

// Rows of four adapters, of which the last has none here, and one row without.
static void check_sums(Random &random, std::vector<Heard> *heard) {
    const int64_t outputs = 70, columns = 96, n = 6;
    std::vector<Low> lows;
    std::vector<Addend> of;
    for (int64_t rank : {1, 4, 9}) lows.emplace_back(random, rank, outputs, columns);
    for (const Low &low : lows) of.push_back(low.addend());
    of.push_back({0, 0, nullptr, nullptr});
    const std::vector<int64_t> rows = {2, -1, 0, 3, 1, 2};
    Floats room(n * 9, -77);
    const Addends addends = {of.data(), rows.data(), 9, room.data()};
    const Floats x = random.normals(n * columns), before = random.normals(n * 96);
    bool close = true, left = true;
    for (int64_t row = 0; row < n; row++) {
        Doubles right(outputs), size(outputs, 1);
        const bool has = rows[row] >= 0 && rows[row] < 3;
        for (int64_t o = 0; o < outputs; o++) right[o] = before[row * 96 + o];
        if (has) lows[rows[row]].add(row_of(x, row, columns), &right, &size);
        addends.lower(row, &x[row * columns], columns);
        for (int64_t u = 0; u < 3; u++) {
            f32x16 a = load<f32x16>(&before[row * 96 + 32 * u]), b = load<f32x16>(&before[row * 96 + 32 * u + 16]);
            addends.add(row, u, a, b);
            float got[32];
            store(got, a), store(got + 16, b);
            for (int64_t i = 0; i < 32 && 32 * u + i < outputs; i++) {
                const int64_t o = 32 * u + i;
                close = close && std::fabs(got[i] - right[o]) <= 4e-6 * size[o];
                left = left && (has || got[i] == before[row * 96 + o]);
            }
        }
    }
    heard->push_back({close, "addends of rank 1, 4 and 9 are the plain ones"});
    heard->push_back({left, "a row without an addend keeps its bits"});
}

static void check_block_with_addends(Random &random, Format format, std::vector<Heard> *heard) {
    const int64_t width = 64, mixed = 96, hidden = 160, n = 14, most = 5;
    const Packed out(random, format, width, mixed), gate(random, format, hidden, width),
        up(random, format, hidden, width), down(random, format, width, hidden);
    const Floats gain = random.normals(width, 0.1f), from = random.normals(n * mixed), before = random.normals(n * width);
    const OutLayer layer = {width, mixed, hidden, out.m, gate.m, up.m, down.m, nullptr, gain.data(), nullptr, 1e-6f};
    std::vector<Low> lows;  // of two adapters, matrix by matrix
    for (const Packed *p : {&out, &gate, &up, &down})
        for (int64_t rank : {most, (int64_t)2}) lows.emplace_back(random, rank, p->outputs, p->columns);
    std::vector<Addend> of;
    for (const Low &low : lows) of.push_back(low.addend());
    of[2] = {0, 0, nullptr, nullptr};  // the first adapter leaves the gate alone
    std::vector<int64_t> rows(n);
    for (int64_t r = 0; r < n; r++) rows[r] = r % 3 - 1;
    const Adapters all = {2, most, rows.data(), of.data()};
    std::vector<uint8_t> room(n * (4 * mixed + 8 * width + 8 * hidden + 16 * most) + 4096);
    Floats x = before, bare = before;
    gw_block_out(&layer, n, from.data(), x.data(), &all, room.data(), 2);
    gw_block_out(&layer, n, from.data(), bare.data(), nullptr, room.data(), 2);
    bool kept = true, alone = true;
    Doubles right;
    for (int64_t r = 0; r < n; r++) {
        const int64_t which = rows[r];
        if (which < 0) kept = kept && std::memcmp(&x[r * width], &bare[r * width], 4 * width) == 0;
        Floats single(before.begin() + r * width, before.begin() + (r + 1) * width);
        const Adapters own = {2, most, &rows[r], of.data()};
        gw_block_out(&layer, 1, &from[r * mixed], single.data(), &own, room.data(), 1);
        alone = alone && std::memcmp(&x[r * width], single.data(), 4 * width) == 0;
        Doubles stream = row_of(before, r, width), entered = row_of(from, r, mixed), made = out.times(entered);
        if (which >= 0) lows[which].add(entered, &made);
        for (int64_t i = 0; i < width; i++) stream[i] += made[i];
        const Doubles inside = normed(stream, gain, 1e-6);
        Doubles gates = gate.times(inside), ups = up.times(inside);
        if (which > 0) lows[2 + which].add(inside, &gates);
        if (which >= 0) lows[4 + which].add(inside, &ups);
        for (int64_t i = 0; i < hidden; i++) gates[i] = gelu_value(gates[i]) * ups[i];
        made = down.times(gates);
        if (which >= 0) lows[6 + which].add(gates, &made);
        for (int64_t i = 0; i < width; i++) right.push_back(stream[i] + made[i]);
    }
    const std::string name = FORMATS[format];
    heard->push_back({distance(right, Doubles(x.begin(), x.end())) < 0.04, "a block with adapters is the plain one: " + name});
    heard->push_back({kept, "its rows without an adapter keep their bits: " + name});
    heard->push_back({alone, "its rows with one do not depend on each other: " + name});
}

static std::vector<Heard> check_addends(Random &random) {
    std::vector<Heard> heard;
    check_sums(random, &heard);
    for (Format format : {BF16, Q8_0, INT4}) check_block_with_addends(random, format, &heard);
    return heard;
}
