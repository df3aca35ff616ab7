// What training does between the rows of a document (attention, convolution, recurrence), forwards and backwards,
// against plain loops in double; part of check.cpp.
#pragma once

#include "attention.h"
#include "training_rows.h"

struct GradCase {
    int64_t heads, kv_heads, head_dim, window;
    float cap;
    std::vector<int64_t> lengths;
};

// Attention over whole documents, and its gradients: the kernel's results beside the plain ones.
struct Documents {
    GradCase c;
    float scale;
    int64_t tokens = 0, many, few;  // numbers of all query heads, and of all key heads
    std::vector<int64_t> starts = {0};
    std::vector<Sequence> sequences;
    std::vector<Run> runs;
    Halves16 query, key, value, dout, out, dquery, dkey, dvalue;
    Floats lse, delta;
    Doubles right_out, right_lse, right_dquery, right_dkey, right_dvalue;

    Documents(Random &random, const GradCase &c) : c(c), scale(1 / std::sqrt((float)c.head_dim)) {
        for (int64_t length : c.lengths) {
            const int64_t run = (int64_t)runs.size();
            sequences.push_back({tokens, length, 0, run, run + 1}), runs.push_back({0, length, tokens, 1});
            starts.push_back(tokens += length);
        }
        many = tokens * c.heads * c.head_dim, few = tokens * c.kv_heads * c.head_dim;
        query = to_bf16(random.normals(many, 2)), key = to_bf16(random.normals(few, 2));
        value = to_bf16(random.normals(few)), dout = to_bf16(random.normals(many));
        out.assign(many, 0xffff), dquery = out, dkey.assign(few, 0xffff), dvalue = dkey;  // NaN, if left as it is
        lse.assign(tokens * c.heads, -77), delta = lse;
        right_out.assign(many, 0), right_dquery = right_out, right_dkey.assign(few, 0), right_dvalue = right_dkey;
        right_lse.assign(tokens * c.heads, 0);
    }

    void run(int64_t threads) {
        Attend a = {};
        a.tokens = tokens, a.heads = c.heads, a.kv_heads = c.kv_heads, a.head_dim = c.head_dim, a.window = c.window;
        a.scale = scale, a.cap = c.cap, a.query = query.data(), a.key = key.data(), a.value = value.data();
        a.sequences = sequences.data(), a.sequence_count = (int64_t)sequences.size(), a.runs = runs.data();
        a.narrow_out = out.data(), a.lse = lse.data();
        gw_attend(&a, threads);
        AttendGrad g = {};
        g.tokens = tokens, g.heads = c.heads, g.kv_heads = c.kv_heads, g.head_dim = c.head_dim, g.window = c.window;
        g.scale = scale, g.cap = c.cap, g.query = query.data(), g.key = key.data(), g.value = value.data();
        g.out = out.data(), g.dout = dout.data(), g.lse = lse.data(), g.delta = delta.data();
        g.dquery = dquery.data(), g.dkey = dkey.data(), g.dvalue = dvalue.data();
        g.starts = starts.data(), g.documents = (int64_t)c.lengths.size();
        gw_attend_grad(&g, threads);
    }

    double product(const Halves16 &a, int64_t at, const Halves16 &b, int64_t beside) const {
        double total = 0;
        for (int64_t i = 0; i < c.head_dim; i++) total += bf16_value(a[at + i]) * bf16_value(b[beside + i]);
        return total;
    }

    // One head of one token, which sees the tokens first … token.
    void plain_head(int64_t first, int64_t token, int64_t head) {
        const int64_t row = token * c.heads + head, at = row * c.head_dim, shared = head / (c.heads / c.kv_heads);
        const auto place = [&](int64_t k) { return (k * c.kv_heads + shared) * c.head_dim; };
        Doubles weights, slopes, dweights;
        double total = 0, mean = 0;
        for (int64_t k = first; k <= token; k++) {
            const double score = scale * product(query, at, key, place(k)), bent = std::tanh(score / c.cap);
            weights.push_back(std::exp(c.cap > 0 ? c.cap * bent : score)), total += weights.back();
            slopes.push_back(c.cap > 0 ? 1 - bent * bent : 1);
        }
        right_lse[row] = std::log(total);
        for (int64_t k = first; k <= token; k++) {
            dweights.push_back(product(dout, at, value, place(k)));
            mean += (weights[k - first] /= total) * dweights.back();
        }
        for (int64_t k = first; k <= token; k++) {
            const double weight = weights[k - first],
                         dscore = scale * slopes[k - first] * weight * (dweights[k - first] - mean);
            for (int64_t i = 0; i < c.head_dim; i++) {
                right_out[at + i] += weight * bf16_value(value[place(k) + i]);
                right_dvalue[place(k) + i] += weight * bf16_value(dout[at + i]);
                right_dquery[at + i] += dscore * bf16_value(key[place(k) + i]);
                right_dkey[place(k) + i] += dscore * bf16_value(query[at + i]);
            }
        }
    }

    void plain() {
        for (const Sequence &s : sequences)
            for (int64_t t = s.first; t < s.first + s.count; t++)
                for (int64_t head = 0; head < c.heads; head++)
                    plain_head(c.window ? std::max(s.first, t - c.window + 1) : s.first, t, head);
    }

    bool same(const Documents &other) const {
        return out == other.out && lse == other.lse && dquery == other.dquery && dkey == other.dkey &&
               dvalue == other.dvalue;
    }
};

// The weights, and the gradients of the scores, are rounded to bfloat16 before their products.
static bool roughly(const Doubles &right, const Halves16 &bits) {
    Doubles out, wrong;
    for (size_t i = 0; i < bits.size(); i++) out.push_back(bf16_value(bits[i])), wrong.push_back(out[i] - right[i]);
    return distance(right, out) < 0.2 && root_mean_square(wrong) <= 0.012 * root_mean_square(right) + 1e-5;
}

static std::vector<Heard> check_attention_grad(Random &random) {
    const std::vector<std::pair<std::string, GradCase>> cases = {
        {"several documents", {4, 1, 32, 0, 0, {1, 70, 0, 16, 3}}},
        {"capped", {6, 2, 48, 0, 3, {40, 65}}},
        {"a window", {3, 3, 16, 20, 0, {1, 90, 3}}},
        {"a window, capped", {4, 2, 32, 64, 3, {131, 2}}},
        {"a window of one token", {2, 1, 16, 1, 0, {70, 3}}},
        {"a window wider than the document", {2, 2, 16, 500, 0, {33}}},
        {"more than one span", {2, 1, 16, 270, 0, {300}}},
        {"wide heads", {8, 1, 256, 0, 0, {18, 2}}},
    };
    std::vector<Heard> heard;
    bool same = true;
    for (const auto &[name, c] : cases) {
        Documents some(random, c), again(some);
        some.run(1), again.run(3), some.plain();
        same = same && some.same(again);
        heard.push_back({distance(some.right_lse, doubles(some.lse)) < SLACK && roughly(some.right_out, some.out),
                         "attention in training is a plain softmax: " + name});
        heard.push_back({roughly(some.right_dquery, some.dquery) && roughly(some.right_dkey, some.dkey) &&
                             roughly(some.right_dvalue, some.dvalue),
                         "the gradients of attention are the plain ones: " + name});
    }
    heard.push_back({same, "attention in training does not depend on the number of threads"});
    return heard;
}

static std::vector<int32_t> positions(const std::vector<int64_t> &lengths) {
    std::vector<int32_t> out;
    for (int64_t length : lengths)
        for (int64_t t = 0; t < length; t++) out.push_back((int32_t)t);
    return out;
}

// The gated recurrence and its gradients. `slow` shifts a_param: a decay near 1, whose root has a bounded gradient.
struct Recurring {
    const std::vector<int32_t> position = positions({1, 40, 2, 17});
    const int64_t rows = (int64_t)position.size(), width = 48, count = rows * width;
    int64_t kind;
    Values u, decay, input, dout;
    Floats a_param, states, da_param;
    Values out, du, ddecay, dinput;
    Doubles right, right_du, right_ddecay, right_dinput, right_da;

    Recurring(Random &random, int64_t kind, float slow)
        : kind(kind), u(kind, random.normals(count, 2)), decay(kind, random.normals(count, 2)),
          input(kind, random.normals(count, 2)), dout(kind, random.normals(count)), a_param(random.normals(width)),
          states(count, -77), da_param(width, -77), out(kind, count), du(out), ddecay(out), dinput(out), right(count),
          right_du(count), right_ddecay(count), right_dinput(count), right_da(width) {
        for (float &a : a_param) a += slow;
    }

    void run(int64_t threads) {
        ScanGrad s = {};
        s.rows = rows, s.width = width, s.kind = kind, s.u = u.data(), s.decay = decay.data(), s.input = input.data();
        s.a_param = a_param.data(), s.position = position.data(), s.states = states.data();
        s.out = kind ? out.data() : nullptr;
        gw_scan(&s, threads);
        s.dout = dout.data(), s.du = du.data(), s.ddecay = ddecay.data(), s.dinput = dinput.data();
        s.da_param = da_param.data();
        gw_scan_grad(&s, threads);
    }

    // h = a h' + root in u, a = exp(rate · keeps), root = √(1 - a²); a document's first token: h = in u.
    void plain_column(int64_t column) {
        const double rate = -8 * std::log1p(std::exp((double)a_param[column]));
        double drate = 0, later = 0;
        for (int64_t t = 0; t < rows; t++) {
            const int64_t at = t * width + column;
            const double a = std::exp(rate * sigmoid_value(decay[at])), enters = u[at] * sigmoid_value(input[at]);
            right[at] = position[t] ? a * right[at - width] + root(rate, at) * enters : enters;
        }
        for (int64_t t = rows - 1; t >= 0; t--) {
            const int64_t at = t * width + column;
            const double keeps = sigmoid_value(decay[at]), in = sigmoid_value(input[at]), a = std::exp(rate * keeps),
                         dh = dout[at] + later, factor = position[t] ? root(rate, at) : 1;
            right_du[at] = dh * factor * in, right_dinput[at] = dh * factor * u[at] * in * (1 - in);
            later = 0;
            if (!position[t]) continue;
            // d root / d (1 - a²) is 1 / (2 root), at most 1000: where the root is below 0.0005
            const double dsquare = dh * in * u[at] / std::max(2 * factor, 1e-3),
                         dlog = dh * right[at - width] * a - 2 * dsquare * a * a;
            later = dh * a, right_ddecay[at] = dlog * rate * keeps * (1 - keeps), drate += dlog * keeps;
        }
        right_da[column] = drate * -8 * sigmoid_value(a_param[column]);
    }

    double root(double rate, int64_t at) const { return std::sqrt(-std::expm1(2 * rate * sigmoid_value(decay[at]))); }

    bool forwards() const {
        return distance(right, doubles(states)) < SLACK && (!kind || agree(right, out));
    }

    bool backwards() const {
        Doubles slopes[2];  // of the columns' own sizes, which differ by orders
        for (int64_t i = 0; i < width; i++) {
            const double size = sigmoid_value(a_param[i]);
            slopes[0].push_back(right_da[i] / size), slopes[1].push_back(da_param[i] / size);
        }
        return agree(right_du, du, 4e-5) && agree(right_ddecay, ddecay, 4e-5) && agree(right_dinput, dinput, 4e-5) &&
               distance(slopes[0], slopes[1]) < SLACK;
    }

    bool same(const Recurring &other) const {
        return states == other.states && out == other.out && du == other.du && ddecay == other.ddecay &&
               dinput == other.dinput && da_param == other.da_param;
    }
};

static std::vector<Heard> check_scan(Random &random) {
    std::vector<Heard> heard;
    bool same = true;
    for (int64_t kind : {0, 1})
        for (float slow : {-3.0f, -18.0f}) {
            Recurring some(random, kind, slow), again(some);
            some.run(1), again.run(3);
            for (int64_t i = 0; i < some.width; i++) some.plain_column(i);
            same = same && some.same(again);
            const std::string name = std::string(KINDS[kind]) + (slow < -10 ? ", hardly decaying" : "");
            heard.push_back({some.forwards(), "a recurrence in training is the plain one: " + name});
            heard.push_back({some.backwards(), "the gradients of a recurrence are the plain ones: " + name});
        }
    heard.push_back({same, "a recurrence in training does not depend on the number of threads"});
    return heard;
}

// The convolution of documents and its gradients; true where both are the plain ones.
static bool convolution_is_right(Random &random, int64_t kind, int64_t taps) {
    const std::vector<int32_t> position = positions({1, 2, 40, 3, 1});
    const int64_t n = (int64_t)position.size(), width = 48;
    Values x(kind, random.normals(n * width)), dy(kind, random.normals(n * width)), y(kind, n * width), dx(y);
    const Floats weight = random.normals(taps * width), bias = random.normals(width);
    Floats sums(PARTS * (taps + 1) * width, -77);
    gw_conv(n, width, taps, kind, x.data(), weight.data(), bias.data(), position.data(), y.data(), 2);
    gw_conv_grad(n, width, taps, kind, x.data(), weight.data(), position.data(), dy.data(), dx.data(), sums.data(), 3);
    Doubles right(n * width), right_dx(n * width, 0), dweight((taps + 1) * width, 0);
    for (int64_t t = 0; t < n; t++)
        for (int64_t i = 0; i < width; i++) {
            const int64_t at = t * width + i;
            right[at] = bias[i], dweight[taps * width + i] += dy[at];
            for (int64_t back = 0; back < std::min<int64_t>(taps, position[t] + 1); back++) {
                right[at] += weight[back * width + i] * x[at - back * width];
                right_dx[at - back * width] += weight[back * width + i] * dy[at];
                dweight[back * width + i] += x[at - back * width] * dy[at];
            }
        }
    return agree(right, y) && agree(right_dx, dx) && distance(dweight, summed(sums)) < SLACK;
}

static std::vector<Heard> check_convolution(Random &random) {
    std::vector<Heard> heard;
    for (int64_t kind : {0, 1})
        for (int64_t taps : {1, 4})
            heard.push_back({convolution_is_right(random, kind, taps),
                             std::string("a convolution in training, and its gradients, are the plain ones: ") +
                                 KINDS[kind] + ", taps " + std::to_string(taps)});
    return heard;
}
