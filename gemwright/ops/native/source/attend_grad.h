// Attention's gradients over whole documents: no memory, bfloat16 in and out, products of bfloat16 summed in float32.
//
// Two passes. The first gives each block of queries its gradient, the second each chunk of keys and values theirs: both
// compute the weights again from the scores' log-sum-exp, and each result has one owner, so that nothing depends on who
// shares the work.
#pragma once

#include "training.h"

struct AttendGrad {
    int64_t tokens, heads, kv_heads, head_dim, window;
    float scale, cap;
    const uint16_t *query, *key, *value;          // [N, H or G, K]
    const uint16_t *out, *dout;                   // [N, H, K]
    const float *lse;                             // [N, H]
    float *delta;                                 // scratch [N, H]
    uint16_t *dquery, *dkey, *dvalue;
    const int64_t *starts;                        // [documents + 1]
    int64_t documents;
    const int64_t *ahead;                         // [N], see Attend; or null
};

namespace {

struct GradRoom {
    uint32_t *first, *second, *third, *fourth;  // four packed chunks
    float *scores, *weights_grad, *sum, *other;
    uint16_t *rows, *other_rows, *narrow, *narrow_grad, *zeros;
};

inline GradRoom grad_room(int64_t rows, int64_t width) {
    const int64_t words = CHUNK * width / 2;
    float *at = scratch(4 * words + 2 * rows * CHUNK + 2 * rows * width + (2 * rows * width + 2 * rows * CHUNK + width) / 2 + 128);
    GradRoom room;
    uint32_t **packed[4] = {&room.first, &room.second, &room.third, &room.fourth};
    for (auto to : packed) *to = (uint32_t *)at, at += words;
    room.scores = at, at += rows * CHUNK;
    room.weights_grad = at, at += rows * CHUNK;
    room.sum = at, at += rows * width;
    room.other = at, at += rows * width;
    room.rows = (uint16_t *)at;
    room.other_rows = room.rows + rows * width;
    room.narrow = room.other_rows + rows * width;
    room.narrow_grad = room.narrow + rows * CHUNK;
    room.zeros = room.narrow_grad + rows * CHUNK;
    std::memset(room.zeros, 0, 2 * width);
    return room;
}

// out [rows, 64] = rows of x times a chunk's rows, packed by pack_keys.
inline void rows_by_chunk(const uint32_t *packed, const uint16_t *x, int64_t stride, int64_t rows, int64_t width, float *out) {
    by_rows(0, rows, [&](auto size, int64_t r) {
        constexpr int R = decltype(size)::value;
        for (int64_t t = 0; t < CHUNK / 16; t += TILES_AT_ONCE)
            multiply<R, TILES_AT_ONCE>(packed + t * width / 2 * 16, width / 2, x + r * stride, stride, out + r * CHUNK + 16 * t, CHUNK, false);
    });
}

// out [rows, K] += weights [rows, 64] times a chunk's rows, packed by pack_values.
inline void chunk_by_weights(const uint32_t *packed, const uint16_t *weights, int64_t rows, int64_t width, float *out) {
    by_rows(0, rows, [&](auto size, int64_t r) {
        constexpr int R = decltype(size)::value;
        int64_t t = 0;
        for (; t + TILES_AT_ONCE <= width / 16; t += TILES_AT_ONCE)
            multiply<R, TILES_AT_ONCE>(packed + t * CHUNK / 2 * 16, CHUNK / 2, weights + r * CHUNK, CHUNK, out + r * width + 16 * t, width, true);
        if (t < width / 16)
            multiply<R, 1>(packed + t * CHUNK / 2 * 16, CHUNK / 2, weights + r * CHUNK, CHUNK, out + r * width + 16 * t, width, true);
    });
}

// The weight of a score, and the gradient of the score from its weight's.
inline void score_grad(const AttendGrad &a, f32x16 score, f32x16 dweight, f32x16 lse, f32x16 delta, i32x16 seen, f32x16 *weight, f32x16 *dscore) {
    f32x16 s = score * a.scale, slope = splat(a.scale);
    if (a.cap > 0) {
        const f32x16 bent = tanh(s * (1.0f / a.cap));
        s = bent * a.cap, slope = slope * (1.0f - bent * bent);
    }
    *weight = select(seen, exp(s - lse), f32x16{});
    *dscore = *weight * (dweight - delta) * slope;
}

// The last token that a token of a document sees; the document starts at row `first`.
inline int64_t last_seen(const AttendGrad &a, int64_t first, int64_t token) {
    return token + (a.ahead ? a.ahead[first + token] : 0);
}

// Tokens begin … end of a document that starts at row `first`, and one key head: dquery.
inline void query_grad(const AttendGrad &a, int64_t first, int64_t begin, int64_t end, int64_t head) {
    const int64_t group = a.heads / a.kv_heads, rows = (end - begin) * group, width = a.head_dim;
    const GradRoom room = grad_room(rows, width);
    for (int64_t token = begin; token < end; token++) {
        const int64_t at = ((first + token) * a.heads + head * group) * width, to = (token - begin) * group * width;
        std::memcpy(room.rows + to, a.query + at, 2 * group * width);
        std::memcpy(room.other_rows + to, a.dout + at, 2 * group * width);
    }
    std::memset(room.sum, 0, 4 * rows * width);
    const int64_t lowest = a.window && begin - a.window + 1 > 0 ? begin - a.window + 1 : 0;
    int64_t past_last = end;  // behind the last key that is seen
    for (int64_t token = begin; a.ahead && token < end; token++)
        past_last = last_seen(a, first, token) + 1 > past_last ? last_seen(a, first, token) + 1 : past_last;
    const i32x16 lane = load<i32x16>(LANES);
    for (int64_t start = lowest / CHUNK * CHUNK; start < past_last; start += CHUNK) {
        Chunk keys, values;
        for (int64_t i = 0; i < CHUNK; i++) {
            const int64_t at = ((first + start + i) * a.kv_heads + head) * width;
            const bool there = start + i < past_last;
            keys.rows[i] = there ? a.key + at : room.zeros, values.rows[i] = there ? a.value + at : room.zeros;
        }
        pack_keys(keys, width, 0, room.first);
        pack_keys(values, width, 0, room.second);
        pack_values(keys, width, 0, room.third);
        rows_by_chunk(room.first, room.rows, width, rows, width, room.scores);
        rows_by_chunk(room.second, room.other_rows, width, rows, width, room.weights_grad);
        for (int64_t r = 0; r < rows; r++) {
            const int64_t token = begin + r / group, at = (first + token) * a.heads + head * group + r % group;
            const int32_t last = (int32_t)(last_seen(a, first, token) - start);
            const int32_t early = (int32_t)(a.window ? token - a.window + 1 - start : 0);
            for (int64_t t = 0; t < CHUNK; t += 16) {
                const i32x16 column = lane + splat((int32_t)t);
                f32x16 weight, dscore;
                score_grad(a, load<f32x16>(room.scores + r * CHUNK + t), load<f32x16>(room.weights_grad + r * CHUNK + t),
                           splat(a.lse[at]), splat(a.delta[at]), (column < splat(last + 1)) & (column >= splat(early)), &weight, &dscore);
                store(room.narrow_grad + r * CHUNK + t, narrow(dscore));
            }
        }
        chunk_by_weights(room.third, room.narrow_grad, rows, width, room.sum);
    }
    for (int64_t r = 0; r < rows; r++) {
        uint16_t *to = a.dquery + ((first + begin + r / group) * a.heads + head * group + r % group) * width;
        for (int64_t i = 0; i < width; i += 16) store(to + i, narrow(load<f32x16>(room.sum + r * width + i)));
    }
}

// Keys begin … end (at most 64) of a document of `count` tokens, and their head: dkey, dvalue.
inline void key_grad(const AttendGrad &a, int64_t first, int64_t count, int64_t begin, int64_t end, int64_t head) {
    const int64_t group = a.heads / a.kv_heads, rows = end - begin, width = a.head_dim;
    const GradRoom room = grad_room(CHUNK, width);
    const int64_t after = a.window && end - 1 + a.window < count ? end - 1 + a.window : count;
    const int64_t stride = a.kv_heads * width, at = ((first + begin) * a.kv_heads + head) * width;
    std::memset(room.sum, 0, 4 * rows * width);
    std::memset(room.other, 0, 4 * rows * width);
    int64_t earliest = begin;  // token that sees one of the keys: a picture's first, maybe
    while (a.ahead && earliest > 0 && last_seen(a, first, earliest - 1) >= begin) earliest--;
    alignas(64) int32_t token[CHUNK], sight[CHUNK];
    alignas(64) float lse[CHUNK], delta[CHUNK];
    // The chunk's columns: (token, head) pairs, all heads of a token together.
    for (int64_t next = earliest * group; next < after * group; next += CHUNK) {
        Chunk queries, douts;
        for (int64_t i = 0; i < CHUNK; i++) {
            const bool there = next + i < after * group;
            const int64_t t = (next + i) / group, row = (first + t) * a.heads + head * group + (next + i) % group;
            queries.rows[i] = there ? a.query + row * width : room.zeros, douts.rows[i] = there ? a.dout + row * width : room.zeros;
            token[i] = there ? (int32_t)t : -1, sight[i] = there ? (int32_t)last_seen(a, first, t) : -1;
            lse[i] = there ? a.lse[row] : 0, delta[i] = there ? a.delta[row] : 0;
        }
        pack_keys(queries, width, 0, room.first);
        pack_keys(douts, width, 0, room.second);
        pack_values(queries, width, 0, room.third);
        pack_values(douts, width, 0, room.fourth);
        rows_by_chunk(room.first, a.key + at, stride, rows, width, room.scores);
        rows_by_chunk(room.second, a.value + at, stride, rows, width, room.weights_grad);
        for (int64_t r = 0; r < rows; r++) {
            const int32_t key = (int32_t)(begin + r), late = a.window ? key + (int32_t)a.window : INT32_MAX;
            for (int64_t t = 0; t < CHUNK; t += 16) {
                const i32x16 who = load<i32x16>(token + t);
                f32x16 weight, dscore;
                score_grad(a, load<f32x16>(room.scores + r * CHUNK + t), load<f32x16>(room.weights_grad + r * CHUNK + t),
                           load<f32x16>(lse + t), load<f32x16>(delta + t), (load<i32x16>(sight + t) >= splat(key)) & (who < splat(late)), &weight, &dscore);
                store(room.narrow + r * CHUNK + t, narrow(weight));
                store(room.narrow_grad + r * CHUNK + t, narrow(dscore));
            }
        }
        chunk_by_weights(room.third, room.narrow_grad, rows, width, room.sum);
        chunk_by_weights(room.fourth, room.narrow, rows, width, room.other);
    }
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < width; i += 16) {
            store(a.dkey + at + r * stride + i, narrow(load<f32x16>(room.sum + r * width + i)));
            store(a.dvalue + at + r * stride + i, narrow(load<f32x16>(room.other + r * width + i)));
        }
}

}  // namespace

extern "C" {

void gw_attend_grad(const AttendGrad *call, int64_t threads) {
    const AttendGrad &a = *call;
    struct Piece {
        int64_t first, count, begin, end, head;
        bool query;
    };
    const int64_t group = a.heads / a.kv_heads, most = BLOCK_ROWS / group > 0 ? BLOCK_ROWS / group : 1;
    std::vector<Piece> pieces;
    for (int64_t d = 0; d < a.documents; d++) {
        const int64_t first = a.starts[d], count = a.starts[d + 1] - first;
        for (int64_t head = 0; head < a.kv_heads; head++) {
            // Early keys and late queries have the most to do.
            for (int64_t begin = 0; begin < count; begin += CHUNK)
                pieces.push_back({first, count, begin, begin + CHUNK < count ? begin + CHUNK : count, head, false});
            for (int64_t begin = (count - 1) / most * most; begin >= 0; begin -= most)
                pieces.push_back({first, count, begin, begin + most < count ? begin + most : count, head, true});
        }
    }
#pragma omp parallel num_threads(threads)
    {
#pragma omp for schedule(static)
        for (int64_t row = 0; row < a.tokens * a.heads; row++) {
            f32x16 total = {};
            for (int64_t i = 0; i < a.head_dim; i += 16)
                total = fma(get(a.out + row * a.head_dim + i), get(a.dout + row * a.head_dim + i), total);
            a.delta[row] = sum(total);
        }
#pragma omp for schedule(dynamic, 1)
        for (int64_t i = 0; i < (int64_t)pieces.size(); i++) {
            const Piece &p = pieces[i];
            if (p.query)
                query_grad(a, p.first, p.begin, p.end, p.head);
            else
                key_grad(a, p.first, p.count, p.begin, p.end, p.head);
        }
    }
}

}  // extern "C"
