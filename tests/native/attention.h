// Attention over memory against a plain softmax in double; part of check.cpp.
#pragma once

#include <algorithm>

#include "plain.h"

enum Layout { STRAIGHT, RING, BLOCKS };

struct Case {
    int64_t heads, kv_heads, head_dim, window;
    float cap;
    bool coded, write_first;
    Layout layout;
    std::vector<std::pair<int64_t, int64_t>> sequences;  // past, count
};

constexpr float SCALE = 0.11f;
constexpr int64_t RING_ROWS = 96, BLOCK = 16, ROOM = 1024;  // rows of the store for each sequence

// A store, and everything that was ever written: what the kernel reads beside what the reference reads.
struct Memory {
    Case c;
    int64_t cell, tokens = 0;
    std::vector<Halves16> keys, values;  // of each sequence, [past + count, G, K]
    Halves16 query, new_keys, new_values, stored_keys, stored_values;
    std::vector<int8_t> key_codes, value_codes;
    Floats key_scales, value_scales, out;
    std::vector<int64_t> targets;
    std::vector<Sequence> steps;
    std::vector<Run> runs;

    Memory(Random &random, const Case &c) : c(c), cell(c.kv_heads * c.head_dim) {
        const int64_t rows = ROOM * (int64_t)c.sequences.size();
        stored_keys.resize(rows * cell), stored_values.resize(rows * cell);
        key_codes.resize(rows * cell), value_codes.resize(rows * cell);
        key_scales.resize(rows * c.kv_heads), value_scales.resize(rows * c.kv_heads);
        for (size_t s = 0; s < c.sequences.size(); s++) {
            const int64_t past = c.sequences[s].first, count = c.sequences[s].second;
            keys.push_back(to_bf16(random.normals((past + count) * cell, 2)));
            values.push_back(to_bf16(random.normals((past + count) * cell)));
            const Halves16 queries = to_bf16(random.normals(count * c.heads * c.head_dim, 2));
            query.insert(query.end(), queries.begin(), queries.end());
            new_keys.insert(new_keys.end(), keys[s].begin() + past * cell, keys[s].end());
            new_values.insert(new_values.end(), values[s].begin() + past * cell, values[s].end());
            for (int64_t p = std::max<int64_t>(0, c.layout == RING ? past - RING_ROWS : 0); p < past; p++)
                remember(s, p);
            add_step((int64_t)s, past, count);
        }
        out.assign(tokens * c.heads * c.head_dim, -77);
    }

    int64_t place(int64_t s, int64_t p) const {
        const int64_t within = c.layout == STRAIGHT ? p
                               : c.layout == RING   ? p % RING_ROWS
                                                    : (p / BLOCK * 7 % (ROOM / BLOCK)) * BLOCK + p % BLOCK;
        return s * ROOM + within;
    }

    void remember(int64_t s, int64_t p) {
        for (int64_t i = 0; i < cell; i++) {
            stored_keys[place(s, p) * cell + i] = keys[s][p * cell + i];
            stored_values[place(s, p) * cell + i] = values[s][p * cell + i];
        }
        for (int64_t g = 0; g < c.kv_heads; g++) {
            const int64_t to = place(s, p) * c.kv_heads + g, from = p * c.kv_heads + g;
            code(&keys[s][from * c.head_dim], &key_codes[to * c.head_dim], &key_scales[to]);
            code(&values[s][from * c.head_dim], &value_codes[to * c.head_dim], &value_scales[to]);
        }
    }

    void code(const uint16_t *from, int8_t *codes, float *scale) const {
        float top = 0;
        for (int64_t i = 0; i < c.head_dim; i++) top = std::max(top, (float)std::fabs(bf16_value(from[i])));
        for (int64_t i = 0; i < c.head_dim; i++)
            codes[i] = (int8_t)std::nearbyint((float)bf16_value(from[i]) * (127.0f / top));
        *scale = top / 127.0f;
    }

    void add_step(int64_t s, int64_t past, int64_t count) {
        const int64_t begin = (int64_t)runs.size(), end = c.write_first ? past + count : past;
        for (int64_t p = std::max<int64_t>(0, c.layout == RING ? end - RING_ROWS : 0); p < end; p++) {
            const bool goes_on = (int64_t)runs.size() > begin && runs.back().row + runs.back().count == place(s, p);
            if (goes_on)
                runs.back().count++;
            else
                runs.push_back({p, 1, place(s, p), 0});
        }
        if (!c.write_first) runs.push_back({past, count, tokens, 1});
        for (int64_t t = 0; t < count; t++) targets.push_back(place(s, past + t));
        steps.push_back({tokens, count, past, begin, (int64_t)runs.size()});
        tokens += count;
    }

    void run(int64_t threads) {
        Attend a = {};
        a.tokens = tokens, a.heads = c.heads, a.kv_heads = c.kv_heads, a.head_dim = c.head_dim, a.window = c.window;
        a.scale = SCALE, a.cap = c.cap, a.query = query.data(), a.key = new_keys.data(), a.value = new_values.data();
        a.out = out.data(), a.targets = targets.data(), a.write_first = c.write_first;
        a.sequences = steps.data(), a.sequence_count = (int64_t)steps.size(), a.runs = runs.data();
        if (c.coded) {
            a.key_codes = key_codes.data(), a.value_codes = value_codes.data();
            a.key_scales = key_scales.data(), a.value_scales = value_scales.data();
        } else {
            a.keys = stored_keys.data(), a.values = stored_values.data();
        }
        gw_attend(&a, threads);
    }

    // What a head sees of position p.
    Doubles seen(bool value, int64_t s, int64_t p, int64_t head) const {
        const uint16_t *from = &(value ? values : keys)[s][(p * c.kv_heads + head) * c.head_dim];
        Doubles out(c.head_dim);
        for (int64_t i = 0; i < c.head_dim; i++) out[i] = bf16_value(from[i]);
        if (c.coded && (p < c.sequences[s].first || c.write_first)) {
            std::vector<int8_t> codes(c.head_dim);
            float scale;
            code(from, codes.data(), &scale);
            for (int64_t i = 0; i < c.head_dim; i++) out[i] = round_bf16((float)codes[i] * scale);
        }
        return out;
    }

    // One head of one token, within what rounding the softmax's weights to bfloat16 can do.
    bool head_is_right(int64_t s, int64_t t, int64_t head) const {
        const int64_t p = c.sequences[s].first + t, row = ((steps[s].first + t) * c.heads + head) * c.head_dim;
        const int64_t first = c.window ? std::max<int64_t>(0, p - c.window + 1) : 0,
                      shared = head / (c.heads / c.kv_heads);
        Doubles weights, total(c.head_dim, 0), size(c.head_dim, 0);
        double all = 0, most = -INFINITY;
        for (int64_t k = first; k <= p; k++) {
            const Doubles key = seen(false, s, k, shared);
            double score = 0;
            for (int64_t i = 0; i < c.head_dim; i++) score += bf16_value(query[row + i]) * key[i];
            score *= SCALE;
            weights.push_back(c.cap > 0 ? c.cap * std::tanh(score / c.cap) : score);
            most = std::fmax(most, weights.back());
        }
        for (int64_t k = first; k <= p; k++) {
            const Doubles value = seen(true, s, k, shared);
            const double weight = std::exp(weights[k - first] - most);
            all += weight;
            for (int64_t i = 0; i < c.head_dim; i++)
                total[i] += weight * value[i], size[i] += weight * std::fabs(value[i]);
        }
        for (int64_t i = 0; i < c.head_dim; i++)
            if (!(std::fabs(out[row + i] - total[i] / all) <= size[i] / all / 256 + 1e-5)) return false;
        return true;
    }

    bool is_right() const {
        for (size_t s = 0; s < steps.size(); s++)
            for (int64_t t = 0; t < steps[s].count; t++)
                for (int64_t head = 0; head < c.heads; head++)
                    if (!head_is_right((int64_t)s, t, head)) return false;
        return true;
    }

    // The new tokens lie in the store as the reference would have put them there.
    bool remembers() {
        Memory right(*this);
        for (size_t s = 0; s < steps.size(); s++)
            for (int64_t t = 0; t < steps[s].count; t++) right.remember((int64_t)s, steps[s].past + t);
        if (c.coded)
            return right.key_codes == key_codes && right.value_codes == value_codes && right.key_scales == key_scales &&
                   right.value_scales == value_scales;
        return right.stored_keys == stored_keys && right.stored_values == stored_values;
    }
};

// A step of many tokens, and the same tokens one after the other.
static bool one_by_one(Random &random, Case c, int64_t threads) {
    Memory whole(random, c), single(whole);
    whole.run(threads);
    const int64_t past = c.sequences[0].first, row = c.heads * c.head_dim;
    for (int64_t t = 0; t < c.sequences[0].second; t++) {
        single.runs.clear(), single.steps.clear(), single.targets.clear();
        single.tokens = 0;
        single.add_step(0, past + t, 1);
        std::copy_n(&whole.query[t * row], row, single.query.begin());
        std::copy_n(&whole.new_keys[t * single.cell], single.cell, single.new_keys.begin());
        std::copy_n(&whole.new_values[t * single.cell], single.cell, single.new_values.begin());
        single.run(threads);
        if (std::memcmp(single.out.data(), &whole.out[t * row], 4 * row) != 0) return false;
    }
    return true;
}

static std::vector<Heard> check_attention(Random &random) {
    const std::vector<std::pair<std::string, Case>> cases = {
        {"a prompt", {4, 2, 48, 0, 0, false, false, STRAIGHT, {{0, 70}}}},
        {"two sequences, capped, in blocks", {4, 1, 32, 0, 50, false, false, BLOCKS, {{300, 3}, {0, 40}}}},
        {"a window in a ring", {2, 2, 64, 64, 0, false, false, RING, {{200, 20}, {30, 5}}}},
        {"a window in a ring, written first", {2, 1, 64, 64, 0, false, true, RING, {{200, 20}}}},
        {"bytes", {4, 2, 32, 0, 30, true, false, BLOCKS, {{90, 9}}}},
        {"bytes, written first, in a ring", {4, 4, 32, 40, 0, true, true, RING, {{130, 30}}}},
        {"one token far on", {8, 1, 256, 0, 0, false, false, STRAIGHT, {{530, 1}}}},
    };
    std::vector<Heard> heard;
    for (const auto &[name, c] : cases) {
        Memory memory(random, c);
        memory.run(1);
        heard.push_back({memory.is_right(), "attention is a plain softmax: " + name});
        heard.push_back({memory.remembers(), "new keys and values are remembered: " + name});
    }
    for (int64_t window : {0, 20})
        for (int64_t threads : {1, 2}) {
            const Case c = {4, 2, 48, window, 0, false, false, STRAIGHT, {{250, 40}}};
            heard.push_back({one_by_one(random, c, threads), "tokens one by one have the step's bits: window " +
                                                                 std::to_string(window) + ", threads " +
                                                                 std::to_string(threads)});
        }
    return heard;
}
