// Attention within whole pictures against a plain softmax in double; part of check.cpp.
#pragma once

#include <algorithm>

#include "plain.h"

struct Pictures {
    int64_t pictures, tokens, heads, head_dim;
    float size = 2;  // of queries and keys: large ones give sharp weights
};

struct Seen {
    Pictures p;
    Halves16 query, key, value, out, room;
    static constexpr uint16_t UNTOUCHED = 0x1234;

    Seen(Random &random, const Pictures &p, int64_t threads) : p(p) {
        const int64_t count = p.pictures * p.tokens * p.heads * p.head_dim;
        query = to_bf16(random.normals(count, p.size)), key = to_bf16(random.normals(count, p.size));
        value = to_bf16(random.normals(count));
        room.resize(2 * p.pictures * p.heads * ((p.tokens + MET - 1) / MET) * MET * p.head_dim + 64, UNTOUCHED);
        run(threads);
    }

    void run(int64_t threads) {
        out.assign(query.size() + 64, UNTOUCHED);
        const AttendAll call = {p.pictures,   p.tokens,     p.heads,    p.head_dim, scale(), query.data(),
                                key.data(), value.data(), out.data(), room.data()};
        gw_attend_all(&call, threads);
    }

    float scale() const { return 1 / std::sqrt((float)p.head_dim); }

    int64_t at(int64_t picture, int64_t token, int64_t head) const {
        return ((picture * p.tokens + token) * p.heads + head) * p.head_dim;
    }

    // One head of one token, within what rounding weights and result to bfloat16 can do.
    bool head_is_right(int64_t picture, int64_t token, int64_t head) const {
        Doubles scores, total(p.head_dim, 0), size(p.head_dim, 0);
        double all = 0, most = -INFINITY;
        const int64_t row = at(picture, token, head);
        for (int64_t k = 0; k < p.tokens; k++) {
            double score = 0;
            for (int64_t i = 0; i < p.head_dim; i++)
                score += bf16_value(query[row + i]) * bf16_value(key[at(picture, k, head) + i]);
            scores.push_back(score * scale()), most = std::fmax(most, scores.back());
        }
        for (int64_t k = 0; k < p.tokens; k++) {
            const double weight = std::exp(scores[k] - most);
            all += weight;
            for (int64_t i = 0; i < p.head_dim; i++) {
                const double term = weight * bf16_value(value[at(picture, k, head) + i]);
                total[i] += term, size[i] += std::fabs(term);
            }
        }
        for (int64_t i = 0; i < p.head_dim; i++)
            if (!(std::fabs(bf16_value(out[row + i]) - total[i] / all) <= size[i] / all / 128 + 1e-5)) return false;
        return true;
    }

    bool is_right() const {
        for (int64_t picture = 0; picture < p.pictures; picture++)
            for (int64_t token = 0; token < p.tokens; token++)
                for (int64_t head = 0; head < p.heads; head++)
                    if (!head_is_right(picture, token, head)) return false;
        return true;
    }

    bool keeps_to_its_room() const {
        const auto untouched = [](uint16_t x) { return x == UNTOUCHED; };
        return std::all_of(out.end() - 64, out.end(), untouched) && std::all_of(room.end() - 64, room.end(), untouched);
    }
};

static std::vector<Heard> check_attention_all(Random &random) {
    const std::vector<std::pair<std::string, Pictures>> cases = {
        {"one token", {1, 1, 2, 6}},
        {"an odd number of tokens, several pictures", {3, 37, 2, 18}},
        {"more keys than are met at once", {1, 205, 1, 72}},
        {"sharp weights", {1, 130, 2, 8, 30}},
        {"many channels", {1, 40, 1, 130}},
    };
    std::vector<Heard> heard;
    for (const auto &[name, pictures] : cases) {
        Seen seen(random, pictures, 1);
        heard.push_back({seen.is_right(), "attention within a picture is a plain softmax: " + name});
        heard.push_back({seen.keeps_to_its_room(), "nothing is written behind its rows: " + name});
        const Halves16 alone = seen.out;
        seen.run(3);
        heard.push_back({seen.out == alone, "three threads give the bits of one: " + name});
    }
    return heard;
}
