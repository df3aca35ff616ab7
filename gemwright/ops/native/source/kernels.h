// What Python calls: plain functions over pointers. Threads come from OpenMP's one pool, torch's.
#pragma once

#include <initializer_list>

#include "attend.h"
#include "layout.h"
#include "low_rank.h"
#include "matrix.h"
#include "recurrent.h"
#include "team.h"
#include "attend_all.h"
#include "attend_grad.h"
#include "draw.h"
#include "quantise.h"
#include "recurrent_grad.h"

struct AttentionLayer {
    int64_t width, heads, kv_heads, head_dim, pairs;   // pairs: channel pairs that RoPE turns
    Matrix query, key, value;
    const float *norm, *query_norm, *key_norm;         // 1 + weight; the last two may be null
    float epsilon;
};

struct OutLayer {
    int64_t width, mixed, hidden;
    Matrix out, gate, up, down;
    const float *post_norm, *mlp_norm, *mlp_post_norm;  // 1 + weight; post norms may be null
    float epsilon;
};

struct RecurrentIn {
    int64_t width;
    Matrix x, y;
    const float *norm;
    float epsilon;
    RecurrentLayer layer;
};

namespace {

// Cuts a piece of scratch memory into arrays, each at a multiple of 64 bytes.
struct Cut {
    uint8_t *at;
    template <class T> T *take(int64_t count) {
        T *out = (T *)at;
        at += (count * (int64_t)sizeof(T) + 63) / 64 * 64;
        return out;
    }
};

// Rows for matrices of these kinds. Python's `rows_bytes` counts the same.
inline Rows take_rows(Cut *cut, int64_t count, int64_t columns, bool floats, bool integers) {
    Rows rows = {count, columns, 0, nullptr, nullptr, nullptr, nullptr};
    if (floats) rows.bf16 = cut->take<uint16_t>(count * columns);
    if (integers) {
        rows.codes = cut->take<int8_t>(count * columns);
        rows.scales = cut->take<float>(count * columns / GROUP);
        rows.starts = cut->take<int32_t>(count * columns / GROUP);
    }
    return rows;
}

// One matrix's addends, by its number among those of the call.
inline Addends take_addends(Cut *cut, int64_t count, const Adapters *all, int64_t matrix) {
    if (!all) return {};
    return {all->of + matrix * all->count, all->rows, all->most, cut->take<float>(count * all->most)};
}

inline void turn(const float *x, const float *gain, float epsilon, const float *cos, const float *sin, int64_t pairs,
                 int64_t head_dim, uint16_t *out) {
    float *full = scratch(2 * head_dim), *turned = full + head_dim;
    if (gain) {
        norm_row(x, gain, epsilon, head_dim, full);
        x = full;
    }
    std::memcpy(turned, x, 4 * head_dim);
    int64_t i = 0;
    for (; i + 16 <= pairs; i += 16) {
        const f32x16 a = load<f32x16>(x + i), b = load<f32x16>(x + pairs + i);
        const f32x16 c = load<f32x16>(cos + i), s = load<f32x16>(sin + i);
        store(turned + i, a * c - b * s), store(turned + pairs + i, b * c + a * s);
    }
    for (; i < pairs; i++) {
        turned[i] = x[i] * cos[i] - x[pairs + i] * sin[i];
        turned[pairs + i] = x[pairs + i] * cos[i] + x[i] * sin[i];
    }
    for (i = 0; i < head_dim; i += 16) store(out + i, narrow(load<f32x16>(turned + i)));
}

inline void narrow_row(const float *x, int64_t count, uint16_t *out) {
    for (int64_t i = 0; i < count; i += 16) store(out + i, narrow(load<f32x16>(x + i)));
}

inline void add_row(const float *x, const float *gain, float epsilon, int64_t columns, float *residual) {
    if (gain) {
        float *normed = scratch(columns);
        norm_row(x, gain, epsilon, columns, normed);
        x = normed;
    }
    for (int64_t i = 0; i < columns; i += 16) store(residual + i, load<f32x16>(residual + i) + load<f32x16>(x + i));
}

inline bool any_float(const Matrix *a, const Matrix *b, const Matrix *c = nullptr) {
    return is_float(*a) || is_float(*b) || (c && is_float(*c));
}

inline bool any_integer(const Matrix *a, const Matrix *b, const Matrix *c = nullptr) {
    return !is_float(*a) || !is_float(*b) || (c && !is_float(*c));
}

// Rows normed, where there is a gain, and made ready for products, with their addends.
inline void prepare_normed(const Rows &rows, const float *x, const float *gain, float epsilon,
                           std::initializer_list<const Addends *> all = {}) {
#pragma omp for schedule(static)
    for (int64_t row = 0; row < rows.count; row++) {
        const float *from = x + row * rows.columns;
        if (gain) {
            float *normed = scratch(rows.columns);
            norm_row(from, gain, epsilon, rows.columns, normed);
            from = normed;
        }
        prepare_row(rows, row, from);
        for (const Addends *addends : all) addends->lower(row, from, rows.columns);
    }
}

// The addends of a block's four last matrices, and room [N, F] for the inputs of the last one's.
struct OutAddends {
    Addends out, gate, up, down;
    float *inner;
};

// gelu(gate) * up, ready for the next product.
inline void gated(const OutLayer &l, const Rows &x, const Rows &to, const OutAddends &addends, int threads) {
    by_units(units(l.gate), x.count, 2 * row_bytes(l.gate), threads, [&](int64_t u, int64_t first, int64_t last) {
        f32x16 *gates = (f32x16 *)room<GATES>(128 * (last - first));
        meet(l.gate, u, x, first, last, [&](auto size, int64_t row, const f32x16 *out) {
            std::memcpy((void *)(gates + 2 * (row - first)), out, 128 * decltype(size)::value);
        });
        meet(l.up, u, x, first, last, [&](auto size, int64_t row, f32x16 *up) {
            constexpr int R = decltype(size)::value;
            f32x16 *gate = gates + 2 * (row - first);
            for (int r = 0; r < R && addends.gate.of; r++) {
                addends.gate.add(row + r, u, gate[2 * r], gate[2 * r + 1]);
                addends.up.add(row + r, u, up[2 * r], up[2 * r + 1]);
            }
            for (int i = 0; i < 2 * R; i++) up[i] *= gelu(gate[i]);
            for (int r = 0; r < R; r++) prepare_group(to, row + r, {row, R}, UNIT * u, up[2 * r], up[2 * r + 1]);
            for (int r = 0; r < R && addends.down.of; r++) {
                if (!addends.down.at(row + r)) continue;
                float *inner = addends.inner + (row + r) * l.hidden + UNIT * u;
                store(inner, up[2 * r]), store(inner + 16, up[2 * r + 1]);
            }
        });
    });
}

}  // namespace

extern "C" {

// x [N, I], normed first where there is a gain → out [N, O], capped where there is a cap.
void gw_linear(const Matrix *m, int64_t n, const float *x, const float *gain, float epsilon, float cap, int64_t gelus,
               float *out, uint8_t *room, int64_t threads) {
    Cut cut = {room};
    const Rows rows = take_rows(&cut, n, m->columns, is_float(*m), !is_float(*m));
    const Store put = {out, m->outputs, m->outputs};
    Team team(threads, n);
    const int size = team.size;
#pragma omp parallel num_threads(size)
    {
        const Team::Watch watch(team);
        prepare_normed(rows, x, gain, epsilon);
        product(*m, rows, size, [&](int64_t row, int64_t u, f32x16 a, f32x16 b) {
            if (cap > 0) a = tanh(a * (1.0f / cap)) * cap, b = tanh(b * (1.0f / cap)) * cap;
            if (gelus) a = gelu(a), b = gelu(b);
            put(row, u, a, b);
        });
    }
}

// x [N, D] → query bfloat16 [N, H, K], key, value bfloat16 [N, G, K]: norm, products, QK-norm, RoPE. `adapters`, here and
// below: null where no row has one; their matrices stand in the layer's order.
void gw_attention_in(const AttentionLayer *l, int64_t n, const float *x, const float *cos, const float *sin, uint16_t *query,
                     uint16_t *key, uint16_t *value, const Adapters *adapters, uint8_t *room, int64_t threads) {
    Cut cut = {room};
    const Rows rows = take_rows(&cut, n, l->width, any_float(&l->query, &l->key, &l->value), any_integer(&l->query, &l->key, &l->value));
    const int64_t wide = l->heads * l->head_dim, narrow_ = l->kv_heads * l->head_dim, all = wide + 2 * narrow_;
    float *made = cut.take<float>(n * all);
    const Addends of_query = take_addends(&cut, n, adapters, 0), of_key = take_addends(&cut, n, adapters, 1),
                  of_value = take_addends(&cut, n, adapters, 2);
    Team team(threads, n);
    const int size = team.size;
#pragma omp parallel num_threads(size)
    {
        const Team::Watch watch(team);
        prepare_normed(rows, x, l->norm, l->epsilon, {&of_query, &of_key, &of_value});
        product(l->query, rows, size, added(of_query, Store{made, all, wide}));
        product(l->key, rows, size, added(of_key, Store{made + wide, all, narrow_}));
        product(l->value, rows, size, added(of_value, Store{made + wide + narrow_, all, narrow_}));
#pragma omp barrier
        const int64_t heads = l->heads + 2 * l->kv_heads;
#pragma omp for schedule(static)
        for (int64_t task = 0; task < n * heads; task++) {
            const int64_t row = task / heads, head = task % heads;
            const float *from = made + row * all + head * l->head_dim, *c = cos + row * l->pairs, *s = sin + row * l->pairs;
            if (head < l->heads) {
                turn(from, l->query_norm, l->epsilon, c, s, l->pairs, l->head_dim, query + (row * l->heads + head) * l->head_dim);
            } else if (head < l->heads + l->kv_heads) {
                uint16_t *to = key + (row * l->kv_heads + head - l->heads) * l->head_dim;
                turn(from, l->key_norm, l->epsilon, c, s, l->pairs, l->head_dim, to);
            } else {
                narrow_row(from, l->head_dim, value + (row * l->kv_heads + head - l->heads - l->kv_heads) * l->head_dim);
            }
        }
    }
}

void gw_attend(const Attend *a, int64_t threads) { attend(*a, threads); }

// mixed [N, M] → the residual stream x [N, D], in place: projection, post norm, and the whole MLP.
void gw_block_out(const OutLayer *l, int64_t n, const float *mixed, float *x, const Adapters *adapters, uint8_t *room,
                  int64_t threads) {
    Cut cut = {room};
    const Rows first = take_rows(&cut, n, l->mixed, is_float(l->out), !is_float(l->out));
    const Rows second = take_rows(&cut, n, l->width, any_float(&l->gate, &l->up), any_integer(&l->gate, &l->up));
    const Rows third = take_rows(&cut, n, l->hidden, is_float(l->down), !is_float(l->down));
    float *made = cut.take<float>(n * l->width);
    OutAddends addends = {};
    addends.out = take_addends(&cut, n, adapters, 0), addends.gate = take_addends(&cut, n, adapters, 1);
    addends.up = take_addends(&cut, n, adapters, 2), addends.down = take_addends(&cut, n, adapters, 3);
    if (adapters) addends.inner = cut.take<float>(n * l->hidden);
    Team team(threads, n);
    const int size = team.size;
#pragma omp parallel num_threads(size)
    {
        const Team::Watch watch(team);
        prepare_normed(first, mixed, nullptr, 0, {&addends.out});
        product(l->out, first, size, added(addends.out, Store{made, l->width, l->width}));
#pragma omp barrier
#pragma omp for schedule(static)
        for (int64_t row = 0; row < n; row++) {
            float *residual = x + row * l->width;
            add_row(made + row * l->width, l->post_norm, l->epsilon, l->width, residual);
            float *normed = scratch(l->width);
            norm_row(residual, l->mlp_norm, l->epsilon, l->width, normed);
            prepare_row(second, row, normed);
            addends.gate.lower(row, normed, l->width), addends.up.lower(row, normed, l->width);
        }
        gated(*l, second, third, addends, size);
#pragma omp barrier
        if (adapters) {
#pragma omp for schedule(static)
            for (int64_t row = 0; row < n; row++) addends.down.lower(row, addends.inner + row * l->hidden, l->hidden);
        }
        product(l->down, third, size, added(addends.down, Store{made, l->width, l->width}));
#pragma omp barrier
#pragma omp for schedule(static)
        for (int64_t row = 0; row < n; row++)
            add_row(made + row * l->width, l->mlp_post_norm, l->epsilon, l->width, x + row * l->width);
    }
}

// x [N, D] → states and mixed [N, R], and the convolution's inputs in bfloat16 [N, R]: a recurrent layer up to its last
// projection. `c` brings the memory; its scratch is taken from `room`.
void gw_recurrent_in(const RecurrentIn *l, int64_t n, const float *x, Recurrence *c, uint16_t *inputs,
                     const Adapters *adapters, uint8_t *room, int64_t threads) {
    Cut cut = {room};
    const int64_t width = l->layer.width;
    const Rows rows = take_rows(&cut, n, l->width, any_float(&l->x, &l->y), any_integer(&l->x, &l->y));
    float *branch = cut.take<float>(n * width), *gate = cut.take<float>(n * width);
    c->x = branch, c->gate = gate;
    c->u = cut.take<float>(n * width), c->decays = cut.take<float>(n * width), c->inputs = cut.take<float>(n * width);
    c->rows = cut.take<uint16_t>(n * width);
    const Addends of_x = take_addends(&cut, n, adapters, 0), of_y = take_addends(&cut, n, adapters, 1);
    Team team(threads, n);
    const int size = team.size;
#pragma omp parallel num_threads(size)
    {
        const Team::Watch watch(team);
        prepare_normed(rows, x, l->norm, l->epsilon, {&of_x, &of_y});
        product(l->x, rows, size, added(of_x, Store{branch, width, width}));
        const Store put = {gate, width, width};
        product(l->y, rows, size, added(of_y, [&](int64_t row, int64_t u, f32x16 a, f32x16 b) { put(row, u, gelu(a), gelu(b)); }));
#pragma omp barrier
#pragma omp for schedule(static)
        for (int64_t row = 0; row < n; row++) {
            narrow_row(branch + row * width, width, inputs + row * width);
            // What is remembered is what is used, so that a later step finds the same inputs.
            for (int64_t i = 0; i < width; i += 16) store(branch + row * width + i, widen(load<u16x16>(inputs + row * width + i)));
        }
        recur(l->layer, *c, n);
    }
}

// Rows `ids` of a packed table, times `scale` → out [N, I].
void gw_lookup(const Matrix *m, int64_t n, const int64_t *ids, float scale, float *out) {
    for (int64_t i = 0; i < n; i++) unpack_row(*m, ids[i], scale, out + i * m->columns);
}

// Rows begin … end of a matrix of integers from `source` (see pack_row), `bytes` of it a row.
void gw_pack(const Matrix *m, int64_t begin, int64_t end, const uint8_t *source, int64_t bytes, int64_t threads) {
    // A tile is one thread's: its rows share bytes.
#pragma omp parallel for num_threads(threads) schedule(dynamic, 4)
    for (int64_t tile = begin / TILE; tile < (end + TILE - 1) / TILE; tile++) {
        if (packs_tiles(*m) && tile * TILE >= begin && (tile + 1) * TILE <= end) {
            pack_tile(*m, tile, source + (tile * TILE - begin) * bytes, bytes);
            continue;
        }
        for (int64_t row = tile * TILE < begin ? begin : tile * TILE; row < end && row < (tile + 1) * TILE; row++)
            pack_row(*m, row, source + (row - begin) * bytes);
    }
}

// Rows begin … end, whole units, of a matrix of bfloat16 from its values. What they need beside their 12 bits stands at
// `extra`, which has room for the values of whole units, and their heads say where, counted from there: whoever keeps the
// first `used` bytes of it adds the address to the heads.
void gw_pack_bf16(const Matrix *m, int64_t begin, int64_t end, const uint16_t *source, uint8_t *extra, int64_t *used, int64_t threads) {
    const int64_t first = begin / UNIT, last = (end + UNIT - 1) / UNIT, most = 2 * UNIT * m->columns;
    std::vector<int64_t> sizes(last - first);
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
    for (int64_t u = first; u < last; u++) {
        uint8_t *words = room<UNPACKED>(most);
        for (int tile = 0; tile < 2; tile++) {
            const int64_t row = UNIT * u + TILE * tile, rows = end - row;
            turn_tile(source + (row - begin) * m->columns, m->columns, rows, words + tile * most / 2);
        }
        sizes[u - first] = pack_unit(words, m->columns, head_of(*m, u), (uint8_t *)unit_of(*m, u), extra + (u - first) * most);
    }
    *used = 0;
    for (int64_t u = first; u < last; u++) {
        if (head_of(*m, u).count < 0) *used = (*used + 63) / 64 * 64;
        std::memmove(extra + *used, extra + (u - first) * most, sizes[u - first]);
        head_of(*m, u).extra = *used;
        *used += sizes[u - first];
    }
}

void gw_unpack(const Matrix *m, int64_t begin, int64_t end, float *out) {
    for (int64_t row = begin; row < end; row++) unpack_row(*m, row, 1.0f, out + (row - begin) * m->columns);
}

// The quantised rows that a product with an integer matrix meets: codes [N, I], scales [N, I / 32].
void gw_quantise_rows(int64_t n, int64_t columns, const float *x, int8_t *codes, float *scales, int32_t *starts) {
    const int64_t groups = columns / GROUP;
    for (int64_t row = 0; row < n; row++)
        prepare_row({1, columns, 0, nullptr, codes + row * columns, scales + row * groups, starts + row * groups}, 0, x + row * columns);
}

const char *gw_name(void) {
#if GW_AVX512_BF16
    return "AVX-512 BF16";
#elif GW_AVX512
    return "AVX-512 VNNI";
#elif GW_AVX2
    return "AVX2";
#elif GW_NEON
    return "NEON";
#else
    return "portable";
#endif
}

}  // extern "C"
