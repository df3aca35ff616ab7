// Attention of every token of a picture to all of that picture: no mask, no memory, bfloat16 in and out.
//
// Scores are made turned: a vector holds one key's scores of sixteen queries. So keys are read as they lie, the softmax
// runs along lanes, and the weights come out in the layout in which they meet the values. A query meets the keys in
// order, MET at a time: its result depends neither on the other queries nor on who shares the work.
#pragma once

#include "attend.h"

struct AttendAll {
    int64_t pictures, tokens, heads, head_dim;  // tokens of each picture; an even number of channels
    float scale;                                // positive
    const uint16_t *query, *key, *value;        // [pictures, tokens, H, K]
    uint16_t *out;                              // likewise
    uint16_t *room;                             // scratch: [pictures, H, chunks of MET keys, 2, MET, K]
};

namespace {

// Keys that are met at once: whole chunks of 64, and whole panels of twelve rows. Queries whose scores are made at once:
// two tiles.
constexpr int64_t MET = 192, ASKING = 32;

// One head of one picture.
struct View {
    const AttendAll &a;
    int64_t picture, head;

    int64_t chunks() const { return (a.tokens + MET - 1) / MET; }
    int64_t at(int64_t token) const { return ((picture * a.tokens + token) * a.heads + head) * a.head_dim; }
    uint16_t *keys(int64_t chunk) const {
        return a.room + ((picture * a.heads + head) * chunks() + chunk) * 2 * MET * a.head_dim;
    }
    uint16_t *values(int64_t chunk) const { return keys(chunk) + MET * a.head_dim; }
};

struct ViewRoom {
    uint32_t *query, *weights;
    float *scores, *mixed, *highest, *total;
    uint16_t *zeros;
};

inline ViewRoom view_room(int64_t head_dim) {
    const int64_t weights = MET / 2 * ASKING, query = CHUNK * head_dim / 2, mixed = CHUNK * head_dim;
    float *at = scratch((MET + 1) * ASKING + weights + query + mixed + 2 * CHUNK + head_dim / 2 + 16);
    at = (float *)(((uintptr_t)at + 63) / 64 * 64);  // a vector that lies in two lines costs two loads
    ViewRoom room;
    room.scores = at, at += (MET + 1) * ASKING;
    room.weights = (uint32_t *)at, at += weights;
    room.query = (uint32_t *)at, at += query;
    room.mixed = at, at += mixed;
    room.highest = at, at += CHUNK;
    room.total = at, at += CHUNK;
    room.zeros = (uint16_t *)at;
    std::memset(room.zeros, 0, 2 * head_dim);
    return room;
}

// 64 tokens from `begin` on, zeros where there are no more.
inline Chunk chunk_of(const View &view, const uint16_t *from, int64_t begin, const uint16_t *zeros) {
    Chunk out;
    for (int64_t i = 0; i < CHUNK; i++) out.rows[i] = begin + i < view.a.tokens ? from + view.at(begin + i) : zeros;
    return out;
}

// A chunk's keys, one behind the other, and its values, a row for each channel.
inline void gather(const View &view, int64_t chunk) {
    const AttendAll &a = view.a;
    const ViewRoom room = view_room(a.head_dim);
    const int64_t begin = chunk * MET;
    uint16_t *const keys = view.keys(chunk), *const values = view.values(chunk);
    for (int64_t i = 0; i < MET && begin + i < a.tokens; i++)
        std::memcpy(keys + i * a.head_dim, a.key + view.at(begin + i), 2 * a.head_dim);
    for (int64_t part = 0; part < MET; part += CHUNK) {
        pack_keys(chunk_of(view, a.value, begin + part, room.zeros), a.head_dim, 0, room.query);
        for (int64_t tile = 0; tile < CHUNK / 16; tile++)
            for (int64_t pair = 0; pair < a.head_dim / 2; pair++) {
                const u32x16 both = load<u32x16>(room.query + (tile * a.head_dim / 2 + pair) * 16);
                uint16_t *to = values + 2 * pair * MET + part + 16 * tile;
                store(to, to_halves(both)), store(to + MET, to_halves(both >> 16));
            }
    }
}

// 2^x for x ≤ 0, to 3e-6 of it, which is lost when a weight is rounded: 2^n times a polynomial on |x - n| ≤ 1/2 that is
// 1 at 0 (fitted for the least relative error). Below -126 it stays at 2^-126; what is not a number stays none.
inline f32x16 power(f32x16 x) {
    x = maximum(splat(-126.0f), x);
    const f32x16 shifted = x + 12582912.0f, rest = x - (shifted - 12582912.0f);
    f32x16 p = splat(9.582853e-3f);
    p = fma(p, rest, splat(5.5906426e-2f));
    p = fma(p, rest, splat(2.4024099e-1f));
    p = fma(p, rest, splat(6.9312420e-1f));
    p = fma(p, rest, splat(1.0f));
    return as_float(as_int(p) + (as_int(shifted) << 23));
}

// Two keys' weights as words of bfloat16, the first one's in the lower halves. None is negative: half of the last place
// is added, and what is behind it cut off.
inline u32x16 weight_pairs(f32x16 first, f32x16 second) {
    return ((as_unsigned(first) + 0x8000u) >> 16) | ((as_unsigned(second) + 0x8000u) & 0xffff0000u);
}

// The highest of `count` scores, and of `before`, in each lane.
inline f32x16 highest_of(const float *scores, int64_t count, f32x16 before) {
    f32x16 most[4] = {before, before, before, before};
    int64_t key = 0;
    for (; key + 4 <= count; key += 4)
        for (int i = 0; i < 4; i++) most[i] = maximum(most[i], load<f32x16>(scores + (key + i) * ASKING));
    for (; key < count; key++) most[0] = maximum(most[0], load<f32x16>(scores + key * ASKING));
    return maximum(maximum(most[0], most[1]), maximum(most[2], most[3]));
}

// Scores [count, ASKING] of the queries from `from` on → weights, packed for a product over keys. What was mixed before
// shrinks as the highest score grows.
inline void soften(const AttendAll &a, int64_t count, int64_t from, const ViewRoom &room) {
    const int64_t pairs = (count + 1) / 2;
    const f32x16 scale = splat(a.scale * 1.44269504f);  // powers of 2 in place of e
    for (int64_t t = 0; t < ASKING; t += 16) {
        float *const scores = room.scores + t, *const mixed = room.mixed + from * a.head_dim + t;
        float *const highest = room.highest + from + t, *const total = room.total + from + t;
        if (count % 2) store(scores + count * ASKING, splat(-INFINITY));
        const f32x16 before = load<f32x16>(highest), now = highest_of(scores, count, before);
        const f32x16 top = 0.0f - now * scale, shrink = power(fma(before, scale, top));
        f32x16 sum = load<f32x16>(total) * shrink;
        for (int64_t pair = 0; pair < pairs; pair++) {
            const float *at = scores + 2 * pair * ASKING;
            const f32x16 first = power(fma(load<f32x16>(at), scale, top));
            const f32x16 second = power(fma(load<f32x16>(at + ASKING), scale, top));
            sum += first + second;
            store(room.weights + (t / 16 * pairs + pair) * 16, weight_pairs(first, second));
        }
        store(highest, now), store(total, sum);
        for (int64_t i = 0; i < a.head_dim * ASKING; i += ASKING) store(mixed + i, load<f32x16>(mixed + i) * shrink);
    }
}

// out [count, ASKING] = or += rows of x times two tiles.
inline void turned_product(const uint32_t *tiles, int64_t pairs, const uint16_t *x, int64_t stride, int64_t count,
                           float *out, bool add) {
    by_rows(0, count, [&](auto size, int64_t r) {
        constexpr int R = decltype(size)::value;
        for (int64_t t = 0; t < ASKING / 16; t += TILES_AT_ONCE)
            multiply<R, TILES_AT_ONCE>(tiles + t * pairs * 16, pairs, x + r * stride, stride,
                                       out + r * ASKING + 16 * t, ASKING, add);
    });
}

// mixed [K, 16 of ASKING] over `total` → rows of `out`, from token `begin` on.
inline void put_turned(const View &view, int64_t begin, const float *total, const float *mixed) {
    const AttendAll &a = view.a;
    const f32x16 share = 1.0f / load<f32x16>(total);
    for (int64_t channel = 0; channel < a.head_dim; channel += 32) {
        const int64_t left = a.head_dim - channel < 32 ? a.head_dim - channel : 32;
        u32x16 block[16] = {};
        for (int64_t i = 0; i < left; i += 2) {
            const float *at = mixed + (channel + i) * ASKING;
            const u16x16 first = narrow(load<f32x16>(at) * share);
            const u16x16 second = narrow(load<f32x16>(at + ASKING) * share);
            block[i / 2] = to_words(first) | to_words(second) << 16;
        }
        transpose(block);
        for (int64_t i = 0; i < 16 && begin + i < a.tokens; i++)
            std::memcpy(a.out + view.at(begin + i) + channel, (const void *)&block[i], 2 * left);
    }
}

// 64 queries from token `begin` on.
inline void answer(const View &view, int64_t begin) {
    const AttendAll &a = view.a;
    const int64_t width = a.head_dim, pairs = width / 2;
    const int64_t asking = a.tokens - begin < CHUNK ? a.tokens - begin : CHUNK;
    const ViewRoom room = view_room(width);
    pack_keys(chunk_of(view, a.query, begin, room.zeros), width, 0, room.query);
    std::memset(room.mixed, 0, 4 * CHUNK * width);
    for (int64_t i = 0; i < CHUNK; i++) room.highest[i] = -3e38f, room.total[i] = 0;
    for (int64_t chunk = 0; chunk < view.chunks(); chunk++) {
        const int64_t left = a.tokens - chunk * MET, count = left < MET ? left : MET;
        for (int64_t from = 0; from < asking; from += ASKING) {
            float *mixed = room.mixed + from * width;
            turned_product(room.query + from * pairs, pairs, view.keys(chunk), width, count, room.scores, false);
            soften(a, count, from, room);
            turned_product(room.weights, (count + 1) / 2, view.values(chunk), MET, width, mixed, true);
        }
    }
    for (int64_t from = 0; from < asking; from += 16) {
        const int64_t half = from % ASKING;
        put_turned(view, begin + from, room.total + from, room.mixed + (from - half) * width + half);
    }
}

}  // namespace

extern "C" {

void gw_attend_all(const AttendAll *call, int64_t threads) {
    const AttendAll &a = *call;
    const int64_t views = a.pictures * a.heads, chunks = View{a, 0, 0}.chunks();
    const int64_t blocks = (a.tokens + CHUNK - 1) / CHUNK;
#pragma omp parallel num_threads(threads)
    {
#pragma omp for schedule(static)
        for (int64_t task = 0; task < views * chunks; task++)
            gather({a, task / chunks / a.heads, task / chunks % a.heads}, task % chunks);
#pragma omp for schedule(dynamic, 1)
        for (int64_t task = 0; task < views * blocks; task++)
            answer({a, task / blocks / a.heads, task / blocks % a.heads}, task % blocks * CHUNK);
    }
}

}  // extern "C"
