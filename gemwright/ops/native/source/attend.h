// Attention over remembered keys and values, for one token or for thousands.
//
// Keys are met in chunks of 64 and spans of 256 positions, counted from the sequence's first token: within a span a
// running softmax, the spans joined in order. A row's result depends on its own position alone, not on the step's other
// rows nor on who shares the work: what a row cannot see adds zeros.
#pragma once

#include "matrix.h"
#include "team.h"

// Consecutive positions in consecutive rows, of the store or (own) of the step's new keys.
struct Run {
    int64_t position, count, row, own;
};

// A sequence's new tokens: rows first … first + count of the step, at positions past …; its keys are runs[begin, end).
struct Sequence {
    int64_t first, count, past, begin, end;
};

struct Attend {
    int64_t tokens, heads, kv_heads, head_dim, window;  // window 0: all of the past
    float scale, cap;                                   // cap 0: none
    const uint16_t *query, *key, *value;                // the step's, bfloat16 [N, heads, K]
    uint16_t *keys, *values;                            // the store's, bfloat16 [rows, G, K], or null: no memory
    int8_t *key_codes, *value_codes;                    // or signed bytes, with
    float *key_scales, *value_scales;                   // a scale for each row and head
    float *out;                                         // float32 [N, H, K]
    const int64_t *targets;                             // where each new token is remembered; -1: nowhere
    int64_t write_first;
    const Sequence *sequences;
    int64_t sequence_count;
    const Run *runs;
    uint16_t *narrow_out;  // for training: bfloat16 [N, H, K] in place of `out`, and
    float *lse;            // the scores' log-sum-exp [N, H]
    const int64_t *ahead;  // how many later positions each new token sees (a picture's tokens do), or null: none
};

namespace {

constexpr int32_t LANES[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
constexpr int64_t CHUNK = 64, SPAN = 256, BLOCK_ROWS = 128;

// A running softmax of `rows` queries: highest score, sum, and weighted values [rows, head_dim].
struct Partial {
    float *highest, *total, *values;
};

inline Partial partial_at(float *room, int64_t rows) { return {room, room + rows, room + (2 * rows + 15) / 16 * 16}; }
inline int64_t partial_floats(int64_t rows, int64_t head_dim) { return (2 * rows + 15) / 16 * 16 + rows * head_dim; }

inline void clear(const Partial &p, int64_t rows, int64_t head_dim) {
    for (int64_t r = 0; r < rows; r++) p.highest[r] = -INFINITY, p.total[r] = 0;
    std::memset(p.values, 0, 4 * rows * head_dim);
}

inline float exp_scalar(float x) {
    float out[16];
    store(out, exp(splat(x)));
    return out[0];
}

inline void join(const Partial &to, const Partial &part, int64_t rows, int64_t head_dim) {
    for (int64_t r = 0; r < rows; r++) {
        if (part.highest[r] == -INFINITY) continue;
        const float most = std::fmax(to.highest[r], part.highest[r]);
        const float old = exp_scalar(to.highest[r] - most), fresh = exp_scalar(part.highest[r] - most);
        to.highest[r] = most;
        to.total[r] = to.total[r] * old + part.total[r] * fresh;
        for (int64_t i = 0; i < head_dim; i += 16) {
            float *into = to.values + r * head_dim + i;
            store(into, fma(load<f32x16>(into), splat(old), load<f32x16>(part.values + r * head_dim + i) * fresh));
        }
    }
}

// A chunk's keys or values of one head: rows of bfloat16, zeros where there is no such position.
struct Chunk {
    alignas(64) const uint16_t *rows[CHUNK];
};

inline void widen_codes(const int8_t *codes, float scale, int64_t count, uint16_t *out) {
    for (int64_t i = 0; i < count; i += 16)
        store(out + i, narrow(to_float(load<i8x16>(codes + i)) * scale));
}

inline void find_rows(
    const Attend &a, const Sequence &s, int64_t head, int64_t start, const uint16_t *zeros, uint16_t *room, Chunk *keys, Chunk *values) {
    for (int64_t i = 0; i < CHUNK; i++) keys->rows[i] = values->rows[i] = zeros;
    int64_t low = s.begin, high = s.end;  // the first run that ends behind `start`
    while (low < high) {
        const int64_t middle = (low + high) / 2;
        if (a.runs[middle].position + a.runs[middle].count <= start) low = middle + 1; else high = middle;
    }
    for (; low < s.end && a.runs[low].position < start + CHUNK; low++) {
        const Run &run = a.runs[low];
        const int64_t from = run.position > start ? run.position : start;
        const int64_t end = run.position + run.count < start + CHUNK ? run.position + run.count : start + CHUNK;
        for (int64_t p = from; p < end; p++) {
            const int64_t at = (run.row + p - run.position) * a.kv_heads + head;
            if (run.own) {
                keys->rows[p - start] = a.key + at * a.head_dim, values->rows[p - start] = a.value + at * a.head_dim;
            } else if (a.key_codes) {
                uint16_t *key = room + (p - start) * 2 * a.head_dim, *value = key + a.head_dim;
                widen_codes(a.key_codes + at * a.head_dim, a.key_scales[at], a.head_dim, key);
                widen_codes(a.value_codes + at * a.head_dim, a.value_scales[at], a.head_dim, value);
                keys->rows[p - start] = key, values->rows[p - start] = value;
            } else {
                keys->rows[p - start] = a.keys + at * a.head_dim, values->rows[p - start] = a.values + at * a.head_dim;
            }
        }
    }
}

// Keys as tiles of 16 for a product over the head's channels: [4, K / 2, 16] words. `ahead` rows on, the next chunk is
// asked for: sixteen rows at once are more streams than processors follow by themselves.
inline void pack_keys(const Chunk &keys, int64_t head_dim, int64_t ahead, uint32_t *out) {
    for (int64_t tile = 0; tile < CHUNK / 16; tile++)
        for (int64_t pair = 0; pair < head_dim / 2; pair += 16) {
            u32x16 block[16];
            const int64_t left = head_dim / 2 - pair;
            for (int i = 0; i < 16; i++) {
                const uint16_t *from = keys.rows[16 * tile + i] + 2 * pair;
                __builtin_prefetch(from + ahead, 0, 1);
                if (left >= 16) {
                    block[i] = load<u32x16>(from);
                } else {
                    block[i] = u32x16{};
                    std::memcpy((void *)&block[i], from, 4 * left);
                }
            }
            transpose(block);
            for (int i = 0; i < (left < 16 ? left : 16); i++) store(out + (tile * head_dim / 2 + pair + i) * 16, block[i]);
        }
}

// Values as tiles of 16 channels for a product over keys: [K / 16, 32, 16] words.
inline void pack_values(const Chunk &values, int64_t head_dim, int64_t ahead, uint32_t *out) {
    for (int64_t pair = 0; pair < CHUNK / 2; pair++)
        for (int64_t tile = 0; tile < head_dim / 16; tile++) {
            const uint16_t *first = values.rows[2 * pair] + 16 * tile, *second = values.rows[2 * pair + 1] + 16 * tile;
            if (tile % 2 == 0) __builtin_prefetch(first + ahead, 0, 1), __builtin_prefetch(second + ahead, 0, 1);
            const u16x16 a = load<u16x16>(first), b = load<u16x16>(second);
            store(out + (tile * CHUNK / 2 + pair) * 16, to_words(a) | to_words(b) << 16);
        }
}

template <int R, int TILES>
inline void multiply(const uint32_t *tiles, int64_t pairs, const uint16_t *x, int64_t stride, float *out, int64_t out_stride, bool add) {
    f32x16 total[R * TILES];
    for (int r = 0; r < R; r++)
        for (int t = 0; t < TILES; t++)
            total[r * TILES + t] = add ? load<f32x16>(out + r * out_stride + 16 * t) : f32x16{};
    for (int64_t p = 0; p < pairs; p++) {
        u32x16 w[TILES];
#pragma GCC unroll 4
        for (int t = 0; t < TILES; t++) w[t] = load<u32x16>(tiles + (t * pairs + p) * 16);
#pragma GCC unroll 12
        for (int r = 0; r < R; r++) {
            const uint32_t pair = load<uint32_t>(x + r * stride + 2 * p);
#pragma GCC unroll 4
            for (int t = 0; t < TILES; t++) total[r * TILES + t] = dot_bf16(total[r * TILES + t], w[t], pair);
        }
    }
    for (int r = 0; r < R; r++)
        for (int t = 0; t < TILES; t++) store(out + r * out_stride + 16 * t, total[r * TILES + t]);
}

// The queries of one task: some of a sequence's new tokens, and the query heads that share one key head.
struct Task {
    const Sequence *sequence;
    int64_t head, begin, end;  // key head; tokens of the sequence
    int64_t low, high;         // spans
};

struct Room {
    uint32_t *keys, *values;
    uint16_t *query, *weights, *wide, *zeros;
    float *scores, *part, *joined;
};

// The last position that a sequence's token sees, and the last that any of begin … end - 1 sees.
inline int64_t last_seen(const Attend &a, const Sequence &s, int64_t token) {
    return s.past + token + (a.ahead ? a.ahead[s.first + token] : 0);
}

inline int64_t last_seen(const Attend &a, const Sequence &s, int64_t begin, int64_t end) {
    int64_t last = s.past + end - 1;
    if (a.ahead)
        for (int64_t token = begin; token < end; token++) last = last_seen(a, s, token) > last ? last_seen(a, s, token) : last;
    return last;
}

inline void one_span(const Attend &a, const Task &task, int64_t span, const Room &room, const Partial &part) {
    const Sequence &s = *task.sequence;
    const int64_t group = a.heads / a.kv_heads, rows = (task.end - task.begin) * group, width = a.head_dim;
    const int64_t last = last_seen(a, s, task.begin, task.end);
    const int64_t lowest = a.window ? s.past + task.begin - a.window + 1 : 0;
    const int64_t ahead = CHUNK * a.kv_heads * width;
    clear(part, rows, width);
    for (int64_t start = span * SPAN; start < (span + 1) * SPAN && start <= last; start += CHUNK) {
        if (start + CHUNK <= lowest) continue;
        Chunk keys, values;
        find_rows(a, s, task.head, start, room.zeros, room.wide, &keys, &values);
        pack_keys(keys, width, ahead, room.keys);
        by_rows(0, rows, [&](auto size, int64_t r) {
            constexpr int R = decltype(size)::value;
            for (int64_t t = 0; t < CHUNK / 16; t += TILES_AT_ONCE)
                multiply<R, TILES_AT_ONCE>(room.keys + t * width / 2 * 16, width / 2, room.query + r * width, width,
                               room.scores + r * CHUNK + 16 * t, CHUNK, false);
        });
        for (int64_t r = 0; r < rows; r++) {
            const int64_t token = task.begin + r / group, first = a.window ? s.past + token + 1 - a.window - start : 0;
            const int64_t end = last_seen(a, s, token) - start + 1;  // seen: first … end - 1
            f32x16 score[CHUNK / 16], most = splat(-INFINITY);
            const i32x16 lane = load<i32x16>(LANES);
            for (int t = 0; t < CHUNK / 16; t++) {
                f32x16 value = load<f32x16>(room.scores + r * CHUNK + 16 * t) * a.scale;
                if (a.cap > 0) value = tanh(value * (1.0f / a.cap)) * a.cap;
                if (first > 0 || end < CHUNK) {
                    const int32_t from = first > 0 ? (first < CHUNK ? (int32_t)first : (int32_t)CHUNK) : 0;
                    const int32_t to = end < CHUNK ? (end > 0 ? (int32_t)end : 0) : (int32_t)CHUNK;
                    value = select((lane + splat(16 * t) >= splat(from)) & (lane + splat(16 * t) < splat(to)), value, splat(-INFINITY));
                }
                score[t] = value, most = maximum(most, value);
            }
            const float before = part.highest[r], now = std::fmax(before, highest(most));
            f32x16 total = {};
            for (int t = 0; t < CHUNK / 16; t++) {
                const f32x16 weight = now == -INFINITY ? f32x16{} : exp(score[t] - now);
                total += weight;
                store(room.weights + r * CHUNK + 16 * t, narrow(weight));
            }
            if (now > before) {
                const float shrink = exp_scalar(before - now);
                part.highest[r] = now, part.total[r] *= shrink;
                for (int64_t i = 0; i < width; i += 16) {
                    float *at = part.values + r * width + i;
                    store(at, load<f32x16>(at) * shrink);
                }
            }
            part.total[r] += sum(total);
        }
        pack_values(values, width, ahead, room.values);
        by_rows(0, rows, [&](auto size, int64_t r) {
            constexpr int R = decltype(size)::value;
            int64_t t = 0;
            for (; t + TILES_AT_ONCE <= width / 16; t += TILES_AT_ONCE)
                multiply<R, TILES_AT_ONCE>(room.values + t * CHUNK / 2 * 16, CHUNK / 2, room.weights + r * CHUNK, CHUNK,
                               part.values + r * width + 16 * t, width, true);
            if (t < width / 16)
                multiply<R, 1>(room.values + t * CHUNK / 2 * 16, CHUNK / 2, room.weights + r * CHUNK, CHUNK,
                               part.values + r * width + 16 * t, width, true);
        });
    }
}

inline void gather_query(const Attend &a, const Task &task, uint16_t *out) {
    const int64_t group = a.heads / a.kv_heads;
    for (int64_t token = task.begin; token < task.end; token++) {
        const uint16_t *from = a.query + ((task.sequence->first + token) * a.heads + task.head * group) * a.head_dim;
        std::memcpy(out + (token - task.begin) * group * a.head_dim, from, 2 * group * a.head_dim);
    }
}

inline void put(const Attend &a, const Task &task, const Partial &joined) {
    const int64_t group = a.heads / a.kv_heads;
    for (int64_t r = 0; r < (task.end - task.begin) * group; r++) {
        const int64_t token = task.sequence->first + task.begin + r / group;
        const int64_t at = token * a.heads + task.head * group + r % group;
        const float share = 1.0f / joined.total[r], *from = joined.values + r * a.head_dim;
        if (a.lse) {
            a.lse[at] = joined.highest[r] + std::log(joined.total[r]);
            for (int64_t i = 0; i < a.head_dim; i += 16) store(a.narrow_out + at * a.head_dim + i, narrow(load<f32x16>(from + i) * share));
        } else {
            for (int64_t i = 0; i < a.head_dim; i += 16) store(a.out + at * a.head_dim + i, load<f32x16>(from + i) * share);
        }
    }
}

inline void quantise_cell(const uint16_t *from, int64_t count, int8_t *codes, float *scale) {
    f32x16 most = {};
    for (int64_t i = 0; i < count; i += 16) most = maximum(most, absolute(widen(load<u16x16>(from + i))));
    const float top = highest(most), inverse = top > 0 ? 127.0f / top : 0.0f;
    *scale = top / 127.0f;
    for (int64_t i = 0; i < count; i += 16) {
        const i32x16 code = as_int(widen(load<u16x16>(from + i)) * inverse + 12582912.0f) - 0x4b400000;
        store(codes + i, to_bytes(code));
    }
}

inline void remember(const Attend &a, int64_t token) {
    if (!a.targets || a.targets[token] < 0) return;
    const int64_t cells = a.kv_heads, to = a.targets[token] * cells, from = token * cells;
    if (a.key_codes) {
        for (int64_t g = 0; g < cells; g++) {
            quantise_cell(a.key + (from + g) * a.head_dim, a.head_dim, a.key_codes + (to + g) * a.head_dim, a.key_scales + to + g);
            quantise_cell(a.value + (from + g) * a.head_dim, a.head_dim, a.value_codes + (to + g) * a.head_dim, a.value_scales + to + g);
        }
    } else {
        std::memcpy(a.keys + to * a.head_dim, a.key + from * a.head_dim, 2 * cells * a.head_dim);
        std::memcpy(a.values + to * a.head_dim, a.value + from * a.head_dim, 2 * cells * a.head_dim);
    }
}

inline Room make_room(const Attend &a, int64_t rows) {
    const int64_t width = a.head_dim, part = partial_floats(rows, width);
    const int64_t words = CHUNK * width / 2;  // of packed keys, and of packed values
    const int64_t halves = rows * width + rows * CHUNK + 2 * CHUNK * width + width;
    float *at = scratch(2 * words + (halves + 1) / 2 + rows * CHUNK + 2 * part + 64);
    Room room;
    room.keys = (uint32_t *)at, at += words;
    room.values = (uint32_t *)at, at += words;
    room.scores = at, at += rows * CHUNK;
    room.part = at, at += part;
    room.joined = at, at += part;
    room.query = (uint16_t *)at;
    room.weights = room.query + rows * width;
    room.wide = room.weights + rows * CHUNK;
    room.zeros = room.wide + 2 * CHUNK * width;
    std::memset(room.zeros, 0, 2 * width);
    return room;
}

inline void attend(const Attend &a, int64_t most_threads) {
    Team team(most_threads, a.tokens);
    const int threads = team.size;
    const int64_t group = a.heads / a.kv_heads, most = BLOCK_ROWS / group > 0 ? BLOCK_ROWS / group : 1;
    std::vector<Task> tasks;
    int64_t longest = 0;
    for (int64_t i = 0; i < a.sequence_count; i++) {
        const Sequence &s = a.sequences[i];
        for (int64_t head = 0; head < a.kv_heads; head++)
            for (int64_t begin = 0; begin < s.count; begin += most) {
                const int64_t end = begin + most < s.count ? begin + most : s.count;
                const int64_t lowest = a.window && s.past + begin - a.window + 1 > 0 ? s.past + begin - a.window + 1 : 0;
                tasks.push_back({&s, head, begin, end, lowest / SPAN, last_seen(a, s, begin, end) / SPAN + 1});
                longest = end - begin > longest ? end - begin : longest;
            }
    }
    const int64_t rows = longest * group, floats = partial_floats(rows, a.head_dim), count = (int64_t)tasks.size();
    // Few tasks (decoding): their spans are shared among the threads too, and joined in order behind a barrier.
    const bool split = count < 4 * threads;
    std::vector<int64_t> offsets(count + 1, 0);
    static thread_local std::vector<float> kept;
    if (split) {
        for (int64_t t = 0; t < count; t++) offsets[t + 1] = offsets[t] + tasks[t].high - tasks[t].low;
        if ((int64_t)kept.size() < offsets[count] * floats) kept.resize(offsets[count] * floats);
    }
    float *const parts = kept.data();
#pragma omp parallel num_threads(threads)
    {
        const Team::Watch watch(team);
        if (a.write_first) {
#pragma omp for schedule(static)
            for (int64_t token = 0; token < a.tokens; token++) remember(a, token);
        }
        const Room room = make_room(a, rows);
        const Partial joined = partial_at(room.joined, rows);
        if (split) {
#pragma omp for schedule(dynamic, 1)
            for (int64_t piece = 0; piece < offsets[count]; piece++) {
                int64_t t = 0;
                while (offsets[t + 1] <= piece) t++;
                gather_query(a, tasks[t], room.query);
                one_span(a, tasks[t], tasks[t].low + piece - offsets[t], room, partial_at(parts + piece * floats, rows));
            }
#pragma omp for schedule(static)
            for (int64_t t = 0; t < count; t++) {
                const int64_t here = (tasks[t].end - tasks[t].begin) * group;
                clear(joined, here, a.head_dim);
                for (int64_t piece = offsets[t]; piece < offsets[t + 1]; piece++)
                    join(joined, partial_at(parts + piece * floats, rows), here, a.head_dim);
                put(a, tasks[t], joined);
            }
        } else {
            const Partial part = partial_at(room.part, rows);
#pragma omp for schedule(dynamic, 1)
            for (int64_t t = 0; t < count; t++) {
                const Task &task = tasks[count - 1 - t];  // the longest first
                const int64_t here = (task.end - task.begin) * group;
                gather_query(a, task, room.query);
                clear(joined, here, a.head_dim);
                for (int64_t span = task.low; span < task.high; span++) {
                    one_span(a, task, span, room, part);
                    join(joined, part, here, a.head_dim);
                }
                put(a, task, joined);
            }
        }
        if (!a.write_first) {
#pragma omp for schedule(static)
            for (int64_t token = 0; token < a.tokens; token++) remember(a, token);
        }
    }
}

}  // namespace
