/* Elements moved: picked at labels and put there, rows and columns exchanged. */

/* Elements at labels, 0 for a negative one; and numbers put there, none for a negative one. */
static void KERNEL(rows_pick)(const REAL *x, ptrdiff_t stride, ptrdiff_t rows, const ptrdiff_t *label, double *out) {
    for (ptrdiff_t i = 0; i < rows; ++i) out[i] = label[i] < 0 ? 0.0 : (double)x[i * stride + label[i]];
}
static void KERNEL(rows_put)(REAL *out, ptrdiff_t stride, ptrdiff_t rows, const ptrdiff_t *label, const double *value) {
    for (ptrdiff_t i = 0; i < rows; ++i)
        if (label[i] >= 0) out[i * stride + label[i]] = (REAL)value[i];
}

static FX_INLINE void KERNEL(transpose_tile)(const REAL *x, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t n, REAL *out,
                                             ptrdiff_t out_stride) {
    V tile[LANES];
    for (int u = 0; u < LANES; ++u) tile[u] = u < rows ? OP(load_some)(x + u * stride, n, 0) : OP(set)(0);
    OP(transpose)(tile);
    for (int u = 0; u < LANES; ++u)
        if (u < n) OP(store_some)(out + u * out_stride, tile[u], rows);
}

/* out[j, i] = x[i, j]. On the side whose rows are many, each of them is far from the last: the memory is asked for ahead. */
static void KERNEL(transpose)(const REAL *x, ptrdiff_t stride, ptrdiff_t rows, ptrdiff_t n, REAL *out,
                              ptrdiff_t out_stride) {
    const ptrdiff_t ahead = 64;
    for (ptrdiff_t i = 0; i < rows; i += LANES) {
        ptrdiff_t k = rows - i < LANES ? rows - i : LANES;
        for (ptrdiff_t j = 0; j < n; j += LANES) {
            const REAL *from = x + i * stride + j;
            REAL *to = out + j * out_stride + i;
            if (i + ahead < rows)
                for (int u = 0; u < LANES; ++u) __builtin_prefetch(from + (u + ahead) * stride, 0);
            if (j + ahead < n)
                for (int u = 0; u < LANES; ++u) __builtin_prefetch(to + (u + ahead) * out_stride, 1);
            if (k == LANES && n - j >= LANES)
                KERNEL(transpose_tile)(from, stride, LANES, LANES, to, out_stride);
            else
                KERNEL(transpose_tile)(from, stride, k, n - j < LANES ? n - j : LANES, to, out_stride);
        }
    }
}
