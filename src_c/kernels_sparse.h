/* Products with the rows of a CSR matrix, included after kernels_body.h for REAL = double and REAL = float. An entry
   goes with a row of a dense matrix, of n columns: so many at a time as stay in registers. */

#ifndef FX_SPARSE
#define FX_SPARSE
/* Vectors of columns at a time, and entries whose rows are asked for before they are needed. */
#define MOST_VECTORS 4
#define ENTRIES_AHEAD 12

static inline ptrdiff_t fx_index(const fx_entries *of, ptrdiff_t i) {
    return of->wide ? (ptrdiff_t)((const int64_t *)of->indices)[i] : (ptrdiff_t)((const int32_t *)of->indices)[i];
}

static inline void fx_fetch(const char *row, ptrdiff_t size) {
    for (ptrdiff_t at = 0; at < size; at += 64) __builtin_prefetch(row + at);
}
#endif

/* The vectors of a row; the last has `part` elements. */
static FX_INLINE void OP(load_row)(const REAL *x, int vectors, ptrdiff_t part, V *row) {
    for (int u = 0; u < vectors - 1; ++u) row[u] = OP(load)(x + u * LANES);
    row[vectors - 1] = OP(load_some)(x + (vectors - 1) * LANES, part, 0);
}

static FX_INLINE void OP(store_row)(REAL *x, int vectors, ptrdiff_t part, const V *row) {
    for (int u = 0; u < vectors - 1; ++u) OP(store)(x + u * LANES, row[u]);
    OP(store_some)(x + (vectors - 1) * LANES, row[vectors - 1], part);
}

static FX_INLINE void OP(gather)(const fx_entries *of, const REAL *values, const REAL *dense, ptrdiff_t n,
                                 ptrdiff_t column, int vectors, ptrdiff_t part, REAL *out) {
    V sum[MOST_VECTORS], row[MOST_VECTORS];
    OP(load_row)(out + column, vectors, part, sum);
    for (ptrdiff_t i = 0; i < of->count; ++i) {
        if (column == 0 && i + ENTRIES_AHEAD < of->count)
            fx_fetch((const char *)(dense + fx_index(of, i + ENTRIES_AHEAD) * n), n * (ptrdiff_t)sizeof *dense);
        V value = OP(set)(values[i]);
        OP(load_row)(dense + fx_index(of, i) * n + column, vectors, part, row);
        for (int u = 0; u < vectors; ++u) sum[u] = OP(fma)(value, row[u], sum[u]);
    }
    OP(store_row)(out + column, vectors, part, sum);
}

static FX_INLINE void OP(scatter)(const fx_entries *of, const REAL *values, const REAL *x, ptrdiff_t n,
                                  ptrdiff_t column, int vectors, ptrdiff_t part, REAL *dense) {
    V factors[MOST_VECTORS], row[MOST_VECTORS];
    OP(load_row)(x + column, vectors, part, factors);
    for (ptrdiff_t i = 0; i < of->count; ++i) {
        ptrdiff_t ahead = i + ENTRIES_AHEAD, index = fx_index(of, i);
        if (column == 0 && ahead < of->count) {
            ahead = fx_index(of, ahead);
            if (of->first <= ahead && ahead < of->last)
                fx_fetch((const char *)(dense + ahead * n), n * (ptrdiff_t)sizeof *dense);
        }
        if (index < of->first || index >= of->last) continue;
        REAL *to = dense + index * n + column;
        V value = OP(set)(values[i]);
        OP(load_row)(to, vectors, part, row);
        for (int u = 0; u < vectors; ++u) row[u] = OP(fma)(value, factors[u], row[u]);
        OP(store_row)(to, vectors, part, row);
    }
}

/* `body` for all columns, the numbers of vectors and whether the last is whole known to the compiler. */
#define BY_COLUMNS(body)                                                                                     \
    for (ptrdiff_t column = 0; column < n; column += MOST_VECTORS * LANES) {                                 \
        ptrdiff_t columns = n - column, part = columns % LANES;                                              \
        int vectors = columns >= MOST_VECTORS * LANES ? MOST_VECTORS : (int)((columns + LANES - 1) / LANES); \
        if (columns >= MOST_VECTORS * LANES) part = 0;                                                       \
        if (vectors == 1 && part == 0)                                                                       \
            body(1, LANES) else if (vectors == 1) body(1, part) else if (vectors == 2 && part == 0)          \
                body(2, LANES) else if (vectors == 2) body(2, part) else if (vectors == 3 && part == 0)      \
                    body(3, LANES) else if (vectors == 3) body(3, part) else if (part == 0)                  \
                        body(4, LANES) else body(4, part)                                                    \
    }

/* out += sum of values[i] dense[index of i] */
static void KERNEL(row_gather)(const fx_entries *of, const REAL *values, const REAL *dense, ptrdiff_t n, REAL *out) {
#define GATHER(vectors, part) OP(gather)(of, values, dense, n, column, vectors, part, out);
    BY_COLUMNS(GATHER)
#undef GATHER
}

/* dense[index of i] += values[i] x, where the index is from `first` to `last` */
static void KERNEL(row_scatter)(const fx_entries *of, const REAL *values, const REAL *x, ptrdiff_t n, REAL *dense) {
#define SCATTER(vectors, part) OP(scatter)(of, values, x, n, column, vectors, part, dense);
    BY_COLUMNS(SCATTER)
#undef SCATTER
}
#undef BY_COLUMNS
