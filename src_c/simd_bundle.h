/* Bundles: several vectors that go through the same operations side by side. One operation waits for the one before it,
   so that a chain as long as an exponential's leaves a processor idle most of the time, unless there are others to take
   in turn: it looks ahead by itself, but no further than two or three such chains. */
#ifndef FX_SIMD_BUNDLE_H
#define FX_SIMD_BUNDLE_H

/* Of four, all that is alive of an exponential fits sixteen registers. */
#define BUNDLE 4
#define FX_EACH(expression)                                       \
    {                                                             \
        for (int u = 0; u < BUNDLE; ++u) of.at[u] = (expression); \
        return of;                                                \
    }

#define FX_BUNDLE(real, vector, mask, f, fb)                              \
    typedef struct {                                                      \
        vector at[BUNDLE];                                                \
    } fb, fb##_vector;                                                    \
    typedef struct {                                                      \
        mask at[BUNDLE];                                                  \
    } fb##_mask;                                                          \
    static FX_INLINE fb fb##_all(vector a) {                              \
        fb of;                                                            \
        FX_EACH(a)                                                        \
    }                                                                     \
    static FX_INLINE fb fb##_set(real a) { return fb##_all(f##_set(a)); } \
    static FX_INLINE fb fb##_load(const real *p, ptrdiff_t lanes) {       \
        fb of;                                                            \
        FX_EACH(f##_load(p + u * lanes))                                  \
    }                                                                     \
    FX_UNARY(f, fb, abs)                                                  \
    FX_BINARY(f, fb, fb, add)                                             \
    FX_BINARY(f, fb, fb, sub)                                             \
    FX_BINARY(f, fb, fb, mul)                                             \
    FX_BINARY(f, fb, fb, div)                                             \
    FX_BINARY(f, fb, fb, max)                                             \
    FX_BINARY(f, fb, fb##_mask, lt)                                       \
    FX_BINARY(f, fb, fb##_mask, not_lt)                                   \
    FX_BINARY(f, fb, fb##_mask, ne)                                       \
    FX_TERNARY(f, fb, fma)                                                \
    FX_TERNARY(f, fb, fnma)                                               \
    FX_TERNARY(f, fb, remainder)                                          \
    static FX_INLINE fb fb##_keep(fb##_mask m, fb a) {                    \
        fb of;                                                            \
        FX_EACH(f##_keep(m.at[u], a.at[u]))                               \
    }                                                                     \
    static FX_INLINE fb fb##_select(fb##_mask m, fb a, fb b) {            \
        fb of;                                                            \
        FX_EACH(f##_select(m.at[u], a.at[u], b.at[u]))                    \
    }

#define FX_UNARY(f, fb, op)               \
    static FX_INLINE fb fb##_##op(fb a) { \
        fb of;                            \
        FX_EACH(f##_##op(a.at[u]))        \
    }
#define FX_BINARY(f, fb, result, op)                \
    static FX_INLINE result fb##_##op(fb a, fb b) { \
        result of;                                  \
        FX_EACH(f##_##op(a.at[u], b.at[u]))         \
    }
#define FX_TERNARY(f, fb, op)                         \
    static FX_INLINE fb fb##_##op(fb a, fb b, fb c) { \
        fb of;                                        \
        FX_EACH(f##_##op(a.at[u], b.at[u], c.at[u]))  \
    }

FX_BUNDLE(double, f64v, f64m, f64, f64b)
FX_BUNDLE(float, f32v, f32m, f32, f32b)

#ifdef FX_SCALES
FX_BINARY(f64, f64b, f64b, scale2)
FX_BINARY(f32, f32b, f32b, scale2)
#else
FX_BINARY(f64, f64b, f64b, times_lifted)
FX_BINARY(f32, f32b, f32b, times_lifted)
#endif

#ifdef FX_LOOKUP
static FX_INLINE f64b f64b_lookup(f64b index, const double *table) {
    f64b of;
    FX_EACH(f64_lookup(index.at[u], table))
}
static FX_INLINE f32b f32b_lookup(f32b index, const float *table) {
    f32b of;
    FX_EACH(f32_lookup(index.at[u], table))
}
#endif

#endif
