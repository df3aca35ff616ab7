// Compares the native kernels, as compiled by these flags, with plain.h. Prints a line for each claim; the exit status
// is the number of claims that failed.
#include <cstdio>
#include <memory>

#include "addends.h"
#include "attention.h"
#include "attention_all.h"
#include "plain.h"
#include "team.h"
#include "training_mixing.h"
#include "training_rows.h"

static int failures = 0;

static void claim(bool holds, const std::string &what) {
    std::printf("%s %s\n", holds ? "PASS" : "FAIL", what.c_str());
    failures += !holds;
}

static Floats linear(const Packed &p, const Floats &x, int64_t threads = 1, const float *gain = nullptr, float cap = 0,
                     bool gelus = false) {
    const int64_t n = (int64_t)x.size() / p.columns;
    Floats out(n * p.outputs + 64, -77);
    std::vector<uint8_t> room(4 * n * p.columns + 256);
    gw_linear(&p.m, n, x.data(), gain, 1e-6f, cap, gelus, out.data(), room.data(), threads);
    for (int i = 0; i < 64; i++)
        if (out[n * p.outputs + i] != -77) claim(false, "nothing is written behind the last output");
    out.resize(n * p.outputs);
    return out;
}

static bool near(double a, double b, double allowed) { return std::fabs(a - b) <= allowed; }

static void check_products(Random &random) {
    for (int f = 0; f < 5; f++) {
        bool close = true, alone = true;
        for (int64_t outputs : {1, 17, 33, 100})
            for (int64_t columns : {32, 96, 512}) {
                const Packed p(random, (Format)f, outputs, columns, outputs != 33);
                const int64_t most = columns == 512 ? 5 : 30;
                Floats x = random.normals(most * columns);
                std::fill(x.begin(), x.begin() + 32, 0.0f);  // a group of zeros has no step
                std::vector<Doubles> right(most), size(most);
                for (int64_t r = 0; r < most; r++) right[r] = p.times(row_of(x, r, columns), &size[r]);
                const Floats whole = linear(p, x);
                for (int64_t n : {1, 2, 3, 4, 7, 8, 12, 13, 30}) {
                    if (n > most) continue;
                    const Floats some = linear(p, Floats(x.begin(), x.begin() + n * columns), n == 13 ? 2 : 1);
                    alone = alone && std::memcmp(some.data(), whole.data(), 4 * some.size()) == 0;
                    for (int64_t i = 0; i < n * outputs; i++)
                        close = close &&
                                near(some[i], right[i / outputs][i % outputs], 4e-6 * size[i / outputs][i % outputs]);
                }
            }
        claim(close, std::string("products equal plain ones: ") + FORMATS[f]);
        claim(alone, std::string("a row's bits do not depend on the rows beside it: ") + FORMATS[f]);
    }
}

// One group of columns: the sum of integers is exact, and so is what follows. The ends of the codes' range meet the
// ends of the activations', where narrow sums would overflow.
static void check_extremes(Random &random) {
    for (int f = 1; f < 5; f++) {
        const Packed p(random, (Format)f, 64, 32, false, true);
        Floats x(26 * 32);
        for (size_t i = 0; i < x.size(); i++) x[i] = random.below(2) || i % 32 == 0 ? 1.5f : -1.5f;
        for (size_t i = 0; i < 64; i++) x[i] = i < 32 ? 1.5f : -1.5f;
        const Floats out = linear(p, x);
        bool same = true;
        for (int64_t r = 0; r < 26; r++)
            for (int64_t o = 0; o < 64; o++) {
                double total = 0;
                for (int i = 0; i < 32; i++) total += p.codes[32 * o + i] * (x[32 * r + i] > 0 ? 127 : -127);
                const float step = 1.5f / 127.0f, scale = (float)p.step(o, 0);
                const bool grouped = f == Q8_0 || f == Q4_0;
                same = same &&
                       out[64 * r + o] == (grouped ? (float)(total * (scale * step)) : (float)(total * step) * scale);
            }
        claim(same, std::string("the ends of the range are summed without loss: ") + FORMATS[f]);
    }
}

static void check_half_scales(Random &random) {
    Packed p(random, Q8_0, 65536, 32);
    for (int64_t o = 0; o < 65536; o++) p.steps[o] = (uint16_t)o;
    p.pack();
    const Floats x(32, 1.0f), out = linear(p, x);
    Floats back(32 * 65536);
    gw_unpack(&p.m, 0, 65536, back.data());
    bool product = true, values = true;
    for (int64_t o = 0; o < 65536; o++) {
        double total = 0;
        for (int i = 0; i < 32; i++) {
            total += 127 * p.codes[32 * o + i];
            const float a = back[32 * o + i], b = p.values[32 * o + i];
            values = values && (a == b || (std::isnan(a) && std::isnan(b)));
        }
        const float right = (float)(total * (float)((float)half_value((uint16_t)o) * (1.0f / 127.0f)));
        product = product && (out[o] == right || (std::isnan(out[o]) && std::isnan(right)));
    }
    claim(product, "products are exact under every float16 scale: zeros, subnormals, infinities, NaNs");
    claim(values, "every float16 scale is unpacked exactly");
}

static void check_options(Random &random) {
    const Packed p(random, BF16, 40, 64, true);
    const Floats x = random.normals(3 * 64), gain = random.normals(64);
    const Floats plain = linear(p, x), gelus = linear(p, x, 1, nullptr, 0, true), capped = linear(p, x, 1, nullptr, 5),
                 norms = linear(p, x, 1, gain.data());
    bool good[3] = {true, true, true};
    for (int64_t r = 0; r < 3; r++) {
        const Doubles right = p.times(normed(row_of(x, r, 64), gain, 1e-6));
        for (int64_t o = 0; o < 40; o++) {
            const int64_t i = 40 * r + o;
            good[0] = good[0] && near(gelus[i], gelu_value(plain[i]), 2e-6 * (1 + std::fabs(plain[i])));
            good[1] = good[1] && near(capped[i], 5 * std::tanh(plain[i] / 5.0), 2e-6);
            good[2] = good[2] && near(norms[i], right[o], 0.05);
        }
    }
    claim(good[0], "gelu is its tanh form"), claim(good[1], "the cap is cap tanh(x / cap)"),
        claim(good[2], "the norm comes first");
}

static void check_packing(Random &random) {
    for (int f = 0; f < 5; f++) {
        bool whole = true, looked = true, parts = true, rows = true;
        for (int64_t outputs : {1, 17, 100}) {
            const int64_t columns = 96;
            Packed p(random, (Format)f, outputs, columns);
            Floats back(outputs * columns);
            gw_unpack(&p.m, 0, outputs, back.data());
            whole = whole && back == p.values;
            const int64_t ids[] = {outputs - 1, 0, outputs / 2};
            Floats found(3 * columns);
            gw_lookup(&p.m, 3, ids, 1.5f, found.data());
            for (int64_t i = 0; i < 3 * columns; i++)
                looked = looked && found[i] == p.values[ids[i / columns] * columns + i % columns] * 1.5f;
            const std::vector<uint8_t> once = p.data;
            std::fill(p.data.begin(), p.data.end(), 0);
            const int64_t together = f == BF16 ? 32 : 7;
            for (int64_t at = 0; at < outputs; at += together) p.put(at, std::min(at + together, outputs), 2);
            gw_unpack(&p.m, 0, outputs, back.data());
            parts = parts && p.data == once && back == p.values;
            const Floats x = random.normals(2 * columns);
            std::vector<int8_t> codes(2 * columns);
            Floats scales(2 * columns / 32), steps;
            std::vector<int32_t> starts(2 * columns / 32);
            gw_quantise_rows(2, columns, x.data(), codes.data(), scales.data(), starts.data());
            for (int64_t r = 0; r < 2; r++) {
                std::vector<int> right;
                quantise(&x[r * columns], columns, &right, &steps);
                for (int64_t i = 0; i < columns; i++)
                    rows =
                        rows && codes[r * columns + i] == right[i] && scales[(r * columns + i) / 32] == steps[i / 32];
            }
        }
        claim(whole, std::string("unpacked is what was packed: ") + FORMATS[f]);
        claim(looked, std::string("rows that are looked up are the table's: ") + FORMATS[f]);
        claim(parts, std::string("packed in parts is packed whole: ") + FORMATS[f]);
        if (f == INT8) claim(rows, "activations are rounded to the nearest step of their group");
    }
}

static void check_attention_in(Random &random, Format format, bool norms, int64_t pairs) {
    const int64_t width = 64, heads = 4, kv_heads = 2, head_dim = 48, n = 5, all = heads + 2 * kv_heads;
    const Packed query(random, format, heads * head_dim, width), key(random, Q8_0, kv_heads * head_dim, width, true),
        value(random, format, kv_heads * head_dim, width);
    const Floats x = random.normals(n * width), gain = random.normals(width), query_gain = random.normals(head_dim),
                 key_gain = random.normals(head_dim), angles = random.normals(n * pairs);
    Floats cos(n * pairs), sin(n * pairs);
    for (int64_t i = 0; i < n * pairs; i++) cos[i] = std::cos(angles[i]), sin[i] = std::sin(angles[i]);
    const float *inner[] = {norms ? query_gain.data() : nullptr, norms ? key_gain.data() : nullptr};
    const AttentionLayer layer = {width, heads,   kv_heads,    head_dim, pairs,    query.m,
                                  key.m, value.m, gain.data(), inner[0], inner[1], 1e-6f};
    Halves16 out[3] = {Halves16(n * heads * head_dim), Halves16(n * kv_heads * head_dim),
                       Halves16(n * kv_heads * head_dim)};
    std::vector<uint8_t> room(n * (8 * width + 4 * all * head_dim) + 1024);
    gw_attention_in(&layer, n, x.data(), cos.data(), sin.data(), out[0].data(), out[1].data(), out[2].data(),
                    nullptr, room.data(), 2);
    double worst = 0;
    for (int64_t kind = 0; kind < 3; kind++) {
        const Packed &p = kind == 0 ? query : kind == 1 ? key : value;
        Doubles right, got;
        for (int64_t r = 0; r < n; r++) {
            const Doubles made = p.times(normed(row_of(x, r, width), gain, 1e-6));
            for (int64_t from = 0; from < (int64_t)made.size(); from += head_dim) {
                Doubles head(made.begin() + from, made.begin() + from + head_dim);
                if (norms && kind < 2) head = normed(head, kind ? key_gain : query_gain, 1e-6);
                const Doubles before = head;
                for (int64_t i = 0; i < pairs && kind < 2; i++) {
                    const double a = before[i], b = before[pairs + i], angle = angles[r * pairs + i];
                    head[i] = a * std::cos(angle) - b * std::sin(angle),
                    head[pairs + i] = b * std::cos(angle) + a * std::sin(angle);
                }
                right.insert(right.end(), head.begin(), head.end());
            }
        }
        for (uint16_t bits : out[kind]) got.push_back(bf16_value(bits));
        worst = std::fmax(worst, distance(right, got));
    }
    claim(worst < 0.04,
          std::string("queries, keys and values are the plain ones: ") + FORMATS[format] + (norms ? ", normed" : ""));
}

static void check_block_out(Random &random, Format format, Format other, bool posts) {
    const int64_t width = 64, mixed = 96, hidden = 160, n = 14;
    const Packed out(random, other, width, mixed), gate(random, format, hidden, width),
        up(random, other, hidden, width), down(random, format, width, hidden);
    const Floats post = random.normals(width), inner = random.normals(width, 0.1f), last = random.normals(width),
                 from = random.normals(n * mixed), before = random.normals(n * width);
    const float *outer[] = {posts ? post.data() : nullptr, posts ? last.data() : nullptr};
    const OutLayer layer = {width, mixed, hidden, out.m, gate.m, up.m, down.m, outer[0], inner.data(), outer[1], 1e-6f};
    std::vector<uint8_t> room(n * (4 * mixed + 8 * width + 4 * hidden) + 2048);
    Floats x = before, single(width);
    gw_block_out(&layer, n, from.data(), x.data(), nullptr, room.data(), 2);
    std::copy(before.end() - width, before.end(), single.begin());
    gw_block_out(&layer, 1, &from[(n - 1) * mixed], single.data(), nullptr, room.data(), 1);
    Doubles right;
    for (int64_t r = 0; r < n; r++) {
        Doubles projected = out.times(row_of(from, r, mixed)), stream = row_of(before, r, width);
        if (posts) projected = normed(projected, post, 1e-6);
        for (int64_t i = 0; i < width; i++) stream[i] += projected[i];
        const Doubles inside = normed(stream, inner, 1e-6), ups = up.times(inside);
        Doubles gates = gate.times(inside);
        for (int64_t i = 0; i < hidden; i++) gates[i] = gelu_value(gates[i]) * ups[i];
        Doubles made = down.times(gates);
        if (posts) made = normed(made, last, 1e-6);
        for (int64_t i = 0; i < width; i++) right.push_back(stream[i] + made[i]);
    }
    const std::string name = std::string(FORMATS[format]) + " and " + FORMATS[other];
    claim(distance(right, Doubles(x.begin(), x.end())) < 0.04, "a block's second half is the plain one: " + name);
    claim(std::memcmp(&x[(n - 1) * width], single.data(), 4 * width) == 0,
          "its rows do not depend on each other: " + name);
}

// Two documents of a recurrent layer, the second a fresh one, and what the kernel makes of them.
struct Recurrent {
    static constexpr int64_t width = 64, size = 32, blocks = 3, inner = size * blocks, taps = 3, n = 9;
    Packed x_matrix, y_matrix;
    std::vector<std::unique_ptr<Packed>> gates;
    Floats x, gain, conv, conv_bias, state, rate, states, mixed;
    Halves16 tail, inputs;
    const std::vector<int64_t> starts = {0, 5, n}, fresh = {0, 1};

    Recurrent(Random &random, Format format)
        : x_matrix(random, format, inner, width, true), y_matrix(random, format, inner, width, true),
          x(random.normals(n * width, 0.3f)), gain(random.normals(width, 0.1f)),
          conv(random.normals((taps + 1) * inner)), conv_bias(random.normals(inner)), state(random.normals(2 * inner)),
          rate(inner), states(n * inner), mixed(n * inner), tail(to_bf16(random.normals(2 * taps * inner))),
          inputs(n * inner) {
        std::vector<Matrix> decay, input;
        for (int64_t b = 0; b < 2 * blocks; b++) {
            gates.emplace_back(new Packed(random, BF16, size, size, true));
            (b < blocks ? decay : input).push_back(gates.back()->m);
        }
        for (float &r : rate) r = -0.02f - random.uniform();
        const RecurrentLayer inside = {inner,       blocks,       taps,        conv.data(), conv_bias.data(),
                                       rate.data(), decay.data(), input.data()};
        const RecurrentIn layer = {width, x_matrix.m, y_matrix.m, gain.data(), 1e-6f, inside};
        Recurrence call = {};
        call.tail = tail.data(), call.state = state.data(), call.starts = starts.data(), call.fresh = fresh.data();
        call.documents = 2, call.states = states.data(), call.mixed = mixed.data();
        std::vector<uint8_t> room(n * (8 * width + 24 * inner) + 2048);
        gw_recurrent_in(&layer, n, x.data(), &call, inputs.data(), nullptr, room.data(), 2);
    }

    // The convolution of one row, over the inputs that the kernel says to remember.
    Doubles convolved(int64_t row, int64_t document) const {
        Doubles out(conv_bias.begin(), conv_bias.end());
        for (int64_t back = 0; back <= taps; back++) {
            const int64_t within = row - back - starts[document];
            const uint16_t *from =
                within >= 0 ? &inputs[(row - back) * inner] : &tail[((document + 1) * taps + within) * inner];
            for (int64_t i = 0; i < inner; i++) out[i] += conv[(taps - back) * inner + i] * bf16_value(from[i]);
        }
        return out;
    }
};

static void check_recurrent_in(Random &random, Format format) {
    const Recurrent c(random, format);
    const int64_t size = c.size;
    Doubles made, remembered, right, products, h(c.inner);
    for (int64_t row = 0; row < c.n; row++) {
        const int64_t document = row >= c.starts[1];
        const bool first = row == c.starts[document];
        const Doubles seen = normed(row_of(c.x, row, c.width), c.gain, 1e-6), branch = c.y_matrix.times(seen);
        const Doubles entered = c.x_matrix.times(seen), u = c.convolved(row, document);
        made.insert(made.end(), entered.begin(), entered.end());
        if (first) h = row_of(c.state, document, c.inner);
        for (int64_t b = 0; b < c.blocks; b++) {
            const Doubles part(u.begin() + b * size, u.begin() + (b + 1) * size);
            const Doubles decay = c.gates[b]->times(part), input = c.gates[c.blocks + b]->times(part);
            for (int64_t i = 0; i < size; i++) {
                const int64_t at = b * size + i;
                const double kept = std::exp(c.rate[at] * sigmoid_value(decay[i])),
                             enters = u[at] * sigmoid_value(input[i]);
                h[at] = first && c.fresh[document] ? enters : kept * h[at] + std::sqrt(1 - kept * kept) * enters;
                right.push_back(h[at]), products.push_back(h[at] * gelu_value(branch[at]));
            }
        }
    }
    for (uint16_t bits : c.inputs) remembered.push_back(bf16_value(bits));
    const Doubles states(c.states.begin(), c.states.end()), mixed(c.mixed.begin(), c.mixed.end());
    const std::string name = FORMATS[format];
    claim(distance(made, remembered) < 0.03, "a convolution's inputs are the plain ones: " + name);
    claim(distance(right, states) < 0.01, "recurrent states are the plain ones: " + name);
    claim(distance(products, mixed) < 0.03, "their gated products too: " + name);
}

// Each value is as near to its code as rounding allows; the scale is float16.
static void check_quantising(Random &random) {
    for (int format : {Q8_0, Q4_0})
        for (bool is_half : {false, true}) {
            const int64_t blocks = 40, bytes = format == Q8_0 ? 34 : 18;
            Floats x = random.normals(32 * blocks);
            const Halves16 narrow = to_bf16(x);
            for (int64_t i = 0; i < 32 * blocks && is_half; i++) x[i] = (float)bf16_value(narrow[i]);
            std::vector<uint8_t> out(bytes * blocks);
            int64_t odd = -1;
            gw_quantise_blocks(format, blocks, is_half ? (const void *)narrow.data() : x.data(), is_half, out.data(), &odd, 2);
            bool near_enough = odd == 0;
            for (int64_t i = 0; i < 32 * blocks; i++) {
                const uint8_t *block = &out[i / 32 * bytes];
                uint16_t stored;
                std::memcpy(&stored, block, 2);
                const uint8_t both = block[2 + i % (format == Q8_0 ? 32 : 16)];
                const int code = format == Q8_0 ? (int8_t)both : (i % 32 < 16 ? both & 15 : both >> 4) - 8;
                const double scale = half_value(stored), end = format == Q4_0 && code == 7 ? 1 : 0.5;
                near_enough = near_enough && near(x[i], code * scale, (end + 0.07) * std::fabs(scale));
            }
            x[32 * blocks - 1] = INFINITY;
            gw_quantise_blocks(format, blocks, x.data(), false, out.data(), &odd, 1);
            claim(near_enough && odd == 1, std::string("values become the nearest codes: ") + FORMATS[format]);
        }
}

int main() {
    std::printf("%s\n", gw_name());
    Random random;
    check_products(random), check_extremes(random), check_half_scales(random), check_options(random),
        check_packing(random);
        check_quantising(random);
    check_attention_in(random, BF16, true, 24), check_attention_in(random, Q4_0, false, 12);
    check_block_out(random, BF16, BF16, true), check_block_out(random, Q4_0, INT8, false);
    check_recurrent_in(random, BF16), check_recurrent_in(random, INT4);
    for (const auto &check : {check_addends, check_attention, check_attention_all, check_norms, check_turns, check_gates,
                              check_soft_targets, check_attention_grad, check_scan, check_convolution, check_team})
        for (const Heard &heard : check(random)) claim(heard.holds, heard.what);
    return failures;
}
