// What training does with single rows (norms, RoPE, gates, the head's soft targets), forwards and backwards, against
// plain loops in double; part of check.cpp.
#pragma once

#include "plain.h"

static const char *const KINDS[] = {"float32", "bfloat16"};
constexpr double SLACK = 6e-6;  // of float32 sums, in parts of the right values' root mean square

// Activations as the kernels hold them.
struct Values {
    int64_t kind;
    Floats floats;
    Halves16 halves;

    Values(int64_t kind, const Floats &x)
        : kind(kind), floats(kind ? Floats() : x), halves(kind ? to_bf16(x) : Halves16()) {}
    Values(int64_t kind, int64_t count) : Values(kind, Floats(count, -77)) {}
    void *data() { return kind ? (void *)halves.data() : (void *)floats.data(); }
    double operator[](int64_t i) const { return kind ? bf16_value(halves[i]) : floats[i]; }
    int64_t size() const { return (int64_t)(kind ? halves.size() : floats.size()); }
    Doubles plain() const {
        Doubles out;
        for (int64_t i = 0; i < size(); i++) out.push_back((*this)[i]);
        return out;
    }
    bool operator==(const Values &other) const { return floats == other.floats && halves == other.halves; }
};

// Each number is the right one, rounded to its kind.
static bool agree(const Doubles &right, const Values &out, double slack = SLACK) {
    const double least = slack * root_mean_square(right), rounding = out.kind ? 1.0 / 255 : 1e-6;
    for (size_t i = 0; i < right.size(); i++)
        if (!(std::fabs(right[i] - out[i]) <= rounding * std::fabs(right[i]) + least)) return false;
    return true;
}

static Doubles doubles(const Floats &x) { return Doubles(x.begin(), x.end()); }

static Doubles part_of(const Values &x, int64_t begin, int64_t count) {
    Doubles out;
    for (int64_t i = begin; i < begin + count; i++) out.push_back(x[i]);
    return out;
}

static void append(Doubles *to, const Doubles &more) { to->insert(to->end(), more.begin(), more.end()); }

// The sum of a kernel's parts [PARTS, width].
static Doubles summed(const Floats &parts) {
    const size_t width = parts.size() / PARTS;
    Doubles out(width, 0);
    for (size_t i = 0; i < parts.size(); i++) out[i % width] += parts[i];
    return out;
}

static Floats one_more(Floats x) {
    for (float &value : x) value += 1;
    return x;
}

// dx of y = x / rms(x) (1 + weight); adds to dweight.
static Doubles plain_norm_grad(const Doubles &x, const Floats &weight, const Doubles &dy, Doubles *dweight) {
    const double width = (double)x.size();
    double squares = 0, product = 0;
    for (size_t i = 0; i < x.size(); i++) squares += x[i] * x[i], product += dy[i] * (1.0 + weight[i]) * x[i];
    const double rms = std::sqrt(squares / width + 1e-6);
    Doubles dx(x.size());
    for (size_t i = 0; i < x.size(); i++) {
        (*dweight)[i] += dy[i] * x[i] / rms;
        dx[i] = dy[i] * (1.0 + weight[i]) / rms - x[i] * product / (width * rms * rms * rms);
    }
    return dx;
}

// Are a norm and its gradients the plain ones, and the same for any number of threads?
struct Norm {
    bool out, grad, same;

    Norm(Random &random, int64_t n, int64_t width, int64_t from, int64_t to, bool joins) {
        Values x(from, random.normals(n * width)), dy(to, random.normals(n * width));
        const Floats weight = random.normals(width, 0.3f), residual = random.normals(joins ? n * width : 0);
        const float *beside = joins ? residual.data() : nullptr;
        Values y(to, n * width), y_again = y, dx(from, n * width), dx_again = dx;
        Floats factors(n), sums(PARTS * width, -77), sums_again = sums;
        for (int64_t threads : {3, 1}) {
            std::swap(y, y_again), std::swap(dx, dx_again), std::swap(sums, sums_again);
            gw_norm(n, width, from, x.data(), weight.data(), 1e-6f, beside, to, y.data(), factors.data(), threads);
            gw_norm_grad(n, width, from, x.data(), weight.data(), factors.data(), to, dy.data(), dx.data(), sums.data(),
                         threads);
        }
        same = y == y_again && dx == dx_again && sums == sums_again;
        Doubles right, right_dx, dweight(width, 0);
        for (int64_t row = 0; row < n; row++) {
            const Doubles in = part_of(x, row * width, width);
            append(&right, normed(in, one_more(weight), 1e-6));
            append(&right_dx, plain_norm_grad(in, weight, part_of(dy, row * width, width), &dweight));
        }
        for (size_t i = 0; i < residual.size(); i++) right[i] += residual[i];
        out = agree(right, y), grad = agree(right_dx, dx) && distance(dweight, summed(sums)) < SLACK;
    }
};

static std::vector<Heard> check_norms(Random &random) {
    std::vector<Heard> heard;
    bool same = true;
    for (int64_t from : {0, 1})
        for (int64_t to : {0, 1}) {
            bool close = true, slopes = true, joined = true;
            for (int64_t width : {16, 48, 320})
                for (int64_t n : {1, 37}) {
                    const Norm alone(random, n, width, from, to, false), beside(random, n, width, from, 0, true);
                    close = close && alone.out, slopes = slopes && alone.grad;
                    joined = joined && beside.out, same = same && alone.same && beside.same;
                }
            const std::string name = std::string(KINDS[from]) + " to " + KINDS[to];
            heard.push_back({close, "a norm is the plain one: " + name});
            heard.push_back({slopes, "a norm's gradients are the plain ones: " + name});
            if (!to) heard.push_back({joined, std::string("a norm joins the residual stream: ") + KINDS[from]});
        }
    heard.push_back({same, "norms and their gradients do not depend on the number of threads"});
    return heard;
}

// Turns each head's first channels, as pairs (i, pairs + i), by an angle, or back.
static void plain_turn(Doubles *head, const float *angles, int64_t pairs, double sign) {
    for (int64_t i = 0; i < pairs; i++) {
        const double a = (*head)[i], b = (*head)[pairs + i], c = std::cos((double)angles[i]),
                     s = sign * std::sin((double)angles[i]);
        (*head)[i] = a * c - b * s, (*head)[pairs + i] = b * c + a * s;
    }
}

struct Turn {
    bool out, grad, same;

    Turn(Random &random, int64_t kind, int64_t width, int64_t pairs, bool norms) {
        const int64_t n = 35, heads = 3, count = n * heads * width;
        Values x(kind, random.normals(count)), dy(kind, random.normals(count));
        const Floats weight = random.normals(width, 0.3f), angles = random.normals(n * pairs, 3);
        const float *gain = norms ? weight.data() : nullptr;
        Floats cos(n * pairs), sin(n * pairs), sums(PARTS * width, -77), sums_again = sums;
        for (int64_t i = 0; i < n * pairs; i++) cos[i] = std::cos(angles[i]), sin[i] = std::sin(angles[i]);
        Values y(kind, count), y_again = y, dx = y, dx_again = y;
        for (int64_t threads : {3, 1}) {
            std::swap(y, y_again), std::swap(dx, dx_again), std::swap(sums, sums_again);
            gw_turn(n, heads, width, pairs, kind, x.data(), gain, 1e-6f, cos.data(), sin.data(), y.data(), threads);
            gw_turn_grad(n, heads, width, pairs, kind, x.data(), gain, 1e-6f, cos.data(), sin.data(), dy.data(),
                         dx.data(), norms ? sums.data() : nullptr, threads);
        }
        same = y == y_again && dx == dx_again && sums == sums_again;
        Doubles right, right_dx, dweight(width, 0);
        for (int64_t i = 0; i < n * heads; i++) {
            const Doubles in = part_of(x, i * width, width);
            Doubles made = in, back = part_of(dy, i * width, width);
            if (norms) made = normed(in, one_more(weight), 1e-6);
            plain_turn(&made, &angles[i / heads * pairs], pairs, 1);
            plain_turn(&back, &angles[i / heads * pairs], pairs, -1);
            if (norms) back = plain_norm_grad(in, weight, back, &dweight);
            append(&right, made), append(&right_dx, back);
        }
        out = agree(right, y), grad = agree(right_dx, dx) && (!norms || distance(dweight, summed(sums)) < SLACK);
    }
};

static std::vector<Heard> check_turns(Random &random) {
    std::vector<Heard> heard;
    bool same = true;
    for (int64_t kind : {0, 1})
        for (bool norms : {false, true}) {
            bool close = true, slopes = true;
            for (const auto &[width, pairs] : {std::pair<int64_t, int64_t>{32, 16}, {48, 12}, {64, 5}, {256, 128}}) {
                const Turn found(random, kind, width, pairs, norms);
                close = close && found.out, slopes = slopes && found.grad, same = same && found.same;
            }
            const std::string name = std::string(KINDS[kind]) + (norms ? ", normed" : "");
            heard.push_back({close, "RoPE is a turn by an angle: " + name});
            heard.push_back({slopes, "the gradients of RoPE are the plain ones: " + name});
        }
    heard.push_back({same, "RoPE and its gradients do not depend on the number of threads"});
    return heard;
}

static double gelu_slope(double x) {
    const double inner = 0.7978845608028654 * (x + 0.044715 * x * x * x), bent = std::tanh(inner);
    return 0.5 * (1 + bent) + 0.5 * x * (1 - bent * bent) * 0.7978845608028654 * (1 + 3 * 0.044715 * x * x);
}

static std::vector<Heard> check_gates(Random &random) {
    std::vector<Heard> heard;
    for (int64_t kind : {0, 1}) {
        const int64_t count = 16 * 77;
        Floats gates = random.normals(count, 2);
        gates[0] = 0, gates[1] = 40, gates[2] = -40, gates[3] = 1e4f, gates[4] = -1e4f;
        Values gate(kind, gates), up(kind, random.normals(count)), dy(kind, random.normals(count));
        Values out(kind, count), dgate = out, dup = out;
        gw_gated(count, kind, gate.data(), up.data(), out.data(), 2);
        gw_gated_grad(count, kind, gate.data(), up.data(), dy.data(), dgate.data(), dup.data(), 2);
        bool close = true, slopes = true;
        for (int64_t i = 0; i < count; i++) {  // the gates are of very different sizes, so each has its own bound
            const double share = gelu_value(gate[i]), slope = dy[i] * up[i] * gelu_slope(gate[i]);
            const double allowed = kind ? 1.0 / 256 : 2e-6, least = 1e-6;
            const double size = std::fabs(dy[i] * up[i]);
            close = close && std::fabs(out[i] - share * up[i]) <= allowed * std::fabs(share * up[i]) + least;
            slopes = slopes && std::fabs(dup[i] - share * dy[i]) <= allowed * std::fabs(share * dy[i]) + least &&
                     std::fabs(dgate[i] - slope) <= allowed * std::fabs(slope) + 2e-6 * size + least;
        }
        heard.push_back({close, std::string("a gated product is the plain one: ") + KINDS[kind]});
        heard.push_back({slopes, std::string("the gradients of a gated product are the plain ones: ") + KINDS[kind]});
    }
    return heard;
}

// Rows of scores and their soft targets: in each an id that stands twice, the last column, and one that is none.
struct Targets {
    static constexpr int64_t rows = 5, count = 6;
    int64_t kind, vocab;
    Values scores;
    const Values raw;
    std::vector<int64_t> ids;
    Floats shares, weight;
    float cap, temperature, z;
    Floats loss, lse;

    Targets(Random &random, int64_t kind, int64_t vocab, float cap, float temperature, float z)
        : kind(kind), vocab(vocab), scores(kind, random.normals(rows * vocab, 4)), raw(far_scores(scores, cap, vocab)),
          ids(rows * count), shares(rows * count), weight(rows), cap(cap), temperature(temperature), z(z),
          loss(rows, -77), lse(rows, -77) {
        scores = raw;
        for (int64_t &id : ids) id = random.below(vocab);
        for (float &share : shares) share = random.uniform();
        for (float &w : weight) w = random.uniform() + 0.1f;
        for (int64_t row = 0; row < rows; row++) {
            ids[row * count + 3] = ids[row * count], ids[row * count + 1] = vocab - 1, ids[row * count + 4] = -1;
            if (row == 1) std::fill_n(&ids[row * count], count, -1);
            if (row == 2) weight[row] = 0;
        }
    }

    // The last row's scores lie far beyond a cap.
    static Values far_scores(Values scores, float cap, int64_t vocab) {
        for (int64_t i = (rows - 1) * vocab; cap > 0 && i < rows * vocab; i++) {
            if (scores.kind)
                scores.halves[i] = bf16_bits(100 * scores[i]);
            else
                scores.floats[i] *= 100;
        }
        return scores;
    }

    void run(int64_t threads) {
        SoftTargets s = {};
        s.rows = rows, s.vocab = vocab, s.kind = kind, s.targets = count, s.scores = scores.data(), s.ids = ids.data();
        s.shares = shares.data(), s.weight = weight.data(), s.cap = cap, s.temperature = temperature, s.z = z;
        s.loss = loss.data(), s.lse = lse.data();
        gw_soft_targets(&s, threads);
    }

    bool row_is_right(int64_t row) const {
        const int64_t *chosen = &ids[row * count];
        const float *parts = &shares[row * count];
        Doubles logits(vocab), slope(vocab), wanted(vocab, 0);
        double total = 0, all = 0, square = (double)temperature * temperature, right = 0;
        for (int64_t i = 0; i < vocab; i++) {
            const double x = raw[row * vocab + i], bent = std::tanh(x / cap);
            logits[i] = (cap > 0 ? cap * bent : x) / temperature;
            slope[i] = (cap > 0 ? 1 - bent * bent : 1) / temperature;
            total += std::exp(logits[i]);
        }
        const double log_total = std::log(total);
        for (int64_t k = 0; k < count; k++)
            if (chosen[k] >= 0)
                all += parts[k], right += parts[k] * (log_total - logits[chosen[k]]), wanted[chosen[k]] += parts[k];
        right = square * (right + z * log_total * log_total);
        bool good = std::fabs(loss[row] - right) <= 3e-6 * (1 + right) &&
                    std::fabs(lse[row] - log_total) <= 3e-6 * (1 + std::fabs(log_total));
        for (int64_t i = 0; i < vocab; i++) {
            const double share = std::exp(logits[i] - log_total),
                         grad = weight[row] * square * slope[i] * (share * (all + 2 * z * log_total) - wanted[i]),
                         allowed = std::fabs(grad) * (kind ? 1.0 / 255 : 2e-5) + 2e-6 * weight[row];
            good = good && std::fabs(scores[row * vocab + i] - grad) <= allowed;
        }
        return good;
    }

    bool is_right() const {
        for (int64_t row = 0; row < rows; row++)
            if (!row_is_right(row)) return false;
        return true;
    }
};

static std::vector<Heard> check_soft_targets(Random &random) {
    std::vector<Heard> heard;
    bool same = true;
    for (int64_t kind : {0, 1})
        for (float cap : {0.0f, 5.0f}) {
            bool right = true;
            for (int64_t vocab : {16, 250, 5003})
                for (float temperature : {1.0f, 2.0f}) {
                    Targets some(random, kind, vocab, cap, temperature, temperature > 1 ? 1e-2f : 0), again(some);
                    some.run(1), again.run(3);
                    right = right && some.is_right();
                    same = same && some.scores == again.scores && some.loss == again.loss && some.lse == again.lse;
                }
            const std::string name = std::string(KINDS[kind]) + (cap > 0 ? ", capped" : "");
            heard.push_back({right, "losses and gradients of soft targets are the plain ones: " + name});
        }
    heard.push_back({same, "soft targets do not depend on the number of threads"});
    bool told = true;
    for (float cap : {0.0f, 5.0f})
        for (int64_t at : {3, 249}) {
            Targets broken(random, 0, 250, cap, 1, 0);
            broken.scores.floats[at] = NAN;
            broken.run(1);
            told = told && std::isnan(broken.loss[0]) && !std::isnan(broken.loss[3]);
        }
    heard.push_back({told, "the loss of a row with a score that is not a number is none either"});
    return heard;
}
