/* Products with the rows of a CSR matrix, for REAL = double and REAL = float. An entry goes with a row of a dense matrix, of n
   columns: so many at a time as stay in registers. */

#ifndef FX_SPARSE
#define FX_SPARSE
/* Vectors of columns at a time, and entries whose rows are asked for before they are needed. */
#define MOST_VECTORS 4
#define ENTRIES_AHEAD 12

static inline ptrdiff_t fx_index(const fx_entries *of, ptrdiff_t i) {
    return of->wide ? (ptrdiff_t)((const int64_t *)of->indices)[i] : (ptrdiff_t)((const int32_t *)of->indices)[i];
}

/* A row's first lines; of longer ones the processor then finds the rest. */
static inline void fx_fetch(const char *row, ptrdiff_t size) { fx_ask_for(row, size < 512 ? size : 512); }
#endif

/* The vectors of a row; the last has `part` elements. */
static FX_INLINE void OP(load_row)(const REAL *x, int vectors, ptrdiff_t part, V *row) {
    for (int u = 0; u < vectors - 1; ++u) row[u] = OP(load)(x + u * LANES);
    row[vectors - 1] = OP(load_some)(x + (vectors - 1) * LANES, part, 0);
}

static FX_INLINE void OP(gather)(const fx_entries *of, const REAL *values, const REAL *dense, ptrdiff_t n,
                                 ptrdiff_t column, int vectors, ptrdiff_t part, REAL *out) {
    V sum[MOST_VECTORS], row[MOST_VECTORS];
    ptrdiff_t size = n * (ptrdiff_t)sizeof *dense, count = of->count;
    OP(load_row)(out + column, vectors, part, sum);
    if (column == 0)
        for (ptrdiff_t i = 0; i < count && i < ENTRIES_AHEAD; ++i)
            fx_fetch((const char *)(dense + fx_index(of, i) * n), size);
    for (ptrdiff_t i = 0; i < count; ++i) {
        if (column == 0 && i + ENTRIES_AHEAD < count)
            fx_fetch((const char *)(dense + fx_index(of, i + ENTRIES_AHEAD) * n), size);
        V value = OP(set)(values[i]);
        OP(load_row)(dense + fx_index(of, i) * n + column, vectors, part, row);
        for (int u = 0; u < vectors; ++u) sum[u] = OP(fma)(value, row[u], sum[u]);
    }
    for (int u = 0; u < vectors - 1; ++u) OP(store)(out + column + u * LANES, sum[u]);
    OP(store_some)(out + column + (vectors - 1) * LANES, sum[vectors - 1], part);
}

/* out += sum of values[i] dense[index of i] */
static void KERNEL(row_gather)(const fx_entries *of, const REAL *values, const REAL *dense, ptrdiff_t n, REAL *out) {
    for (ptrdiff_t column = 0; column < n; column += MOST_VECTORS * LANES) {
        ptrdiff_t left = n - column;
        if (left > 3 * LANES)
            OP(gather)(of, values, dense, n, column, 4, left < 4 * LANES ? left - 3 * LANES : LANES, out);
        else if (left > 2 * LANES)
            OP(gather)(of, values, dense, n, column, 3, left - 2 * LANES, out);
        else if (left > LANES)
            OP(gather)(of, values, dense, n, column, 2, left - LANES, out);
        else
            OP(gather)(of, values, dense, n, column, 1, left, out);
    }
}

/* dense[index of i] += values[i] x, where the index is from `first` to `last` */
static void KERNEL(row_scatter)(const fx_entries *of, const REAL *values, ptrdiff_t first, ptrdiff_t last,
                                const REAL *x, ptrdiff_t n, REAL *dense) {
    for (ptrdiff_t i = 0; i < of->count; ++i) {
        ptrdiff_t ahead = i + ENTRIES_AHEAD, index = fx_index(of, i);
        if (ahead < of->count) {
            ahead = fx_index(of, ahead);
            if (first <= ahead && ahead < last)
                fx_fetch((const char *)(dense + ahead * n), n * (ptrdiff_t)sizeof *dense);
        }
        if (index < first || index >= last) continue;
        REAL *to = dense + index * n;
        V value = OP(set)(values[i]);
        for (ptrdiff_t j = 0; j < n; j += LANES) {
            ptrdiff_t k = n - j < LANES ? n - j : LANES;
            OP(store_some)(to + j, OP(fma)(value, OP(load_some)(x + j, k, 0), OP(load_some)(to + j, k, 0)), k);
        }
    }
}
