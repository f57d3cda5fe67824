/* Holds the kernels of every instruction set that this machine has against the scalar ones, on random rows of all
   lengths up to 200 and some longer ones: aligned and not, in place and not, with NaN, infinities and ties. Prints a
   line for each instruction set and kernel with the largest difference, and fails if one is too large.

   The kernels are those of kernels.def: one that has no check here does not compile. */
#include "kernels.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Each is within 4 ulp of the exact result. */
#define MOST_ULPS 8.0

enum { LONGEST = 1031, ROWS = 37, LENGTHS = 203, SIZE = ROWS * (LONGEST + 3) + 8, ENTRIES = 40 };

/* What buffers are filled with: whatever a kernel writes beyond its row shows as a difference. */
#define UNTOUCHED 7.25

/* The largest difference of the kernel under test, in ulps, and where it was. */
static struct {
    double ulps;
    const char *where;
    ptrdiff_t n;
} worst;

static void differ(const char *where, ptrdiff_t n, double ulps) {
    if (isnan(ulps)) ulps = INFINITY; /* one of the two results is NaN */
    if (ulps > worst.ulps) {
        worst.ulps = ulps;
        worst.where = where;
        worst.n = n;
    }
}

static void must_equal(const char *where, ptrdiff_t n, double got, double wanted) {
    if (!(got == wanted || (isnan(got) && isnan(wanted)))) differ(where, n, INFINITY);
}

/* The generator of Steele, Lea and Flood (2014), "SplitMix". */
static uint64_t random_bits(void) {
    static uint64_t state;
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static double uniform(void) { return (double)(random_bits() >> 11) * 0x1p-53; }
static ptrdiff_t pick(ptrdiff_t n) { return (ptrdiff_t)(random_bits() % (uint64_t)n); }

/* 1 to 200, then two that leave a part of a vector and one that does not. */
static ptrdiff_t length_of(int i) {
    static const ptrdiff_t longer[] = {511, 768, LONGEST};
    return i < 200 ? i + 1 : longer[i - 200];
}

#define CONCATENATE_(a, b) a##b
#define CONCATENATE(a, b) CONCATENATE_(a, b)

#define REAL double
#define NAME(name) CONCATENATE(f64_, name)
#define KERNELS fx_f64_kernels
#define DIGITS DBL_MANT_DIG
#define SMALLEST_NORMAL DBL_MIN
#include "check_kernels_body.h"
#undef REAL
#undef NAME
#undef KERNELS
#undef DIGITS
#undef SMALLEST_NORMAL

#define REAL float
#define NAME(name) CONCATENATE(f32_, name)
#define KERNELS fx_f32_kernels
#define DIGITS FLT_MANT_DIG
#define SMALLEST_NORMAL FLT_MIN
#include "check_kernels_body.h"

static void f64_check_exp(const fx_f64_kernels *ours, const fx_f64_kernels *scalar) {
    static double x[SIZE], got[SIZE], wanted[SIZE];
    for (int i = 0; i < LENGTHS; ++i) {
        ptrdiff_t n = length_of(i), shift = pick(4);
        for (ptrdiff_t j = 0; j < n; ++j) x[shift + j] = pick(20) ? -uniform() * 750.0 : -uniform();
        if (pick(2)) x[shift + pick(n)] = pick(2) ? -INFINITY : NAN;
        f64_clear(got, wanted);
        ours->exp(x + shift, got + shift, n);
        scalar->exp(x + shift, wanted + shift, n);
        f64_compare_all("", n, got, wanted);
    }
}

static void f64_check_log1p(const fx_f64_kernels *ours, const fx_f64_kernels *scalar) {
    static double x[SIZE], rest[2][SIZE], got[SIZE], wanted[SIZE];
    for (int i = 0; i < LENGTHS; ++i) {
        ptrdiff_t n = length_of(i), shift = pick(4);
        f64_clear(got, wanted);
        f64_clear(rest[0], rest[1]);
        for (ptrdiff_t j = shift; j < shift + n; ++j) {
            x[j] = exp((uniform() - 0.6) * 100.0);
            rest[0][j] = rest[1][j] = x[j] * (uniform() - 0.5) * 0x1p-52;
        }
        if (pick(2)) x[shift + pick(n)] = pick(2) ? NAN : 0.0; /* infinity does not occur */
        ours->log1p(x + shift, got + shift, rest[0] + shift, n);
        scalar->log1p(x + shift, wanted + shift, rest[1] + shift, n);
        f64_compare_all("", n, got, wanted);
        for (ptrdiff_t j = 0; j < SIZE; ++j)
            if (isfinite(wanted[j])) f64_compare("rest", n, rest[0][j], rest[1][j], wanted[j]);
    }
}

static void f64_check_log(const fx_f64_kernels *ours, const fx_f64_kernels *scalar) {
    static double rest[2][SIZE], got[SIZE], wanted[SIZE];
    for (int i = 0; i < LENGTHS; ++i) {
        ptrdiff_t n = length_of(i);
        double *x = f64_draw_probabilities(n);
        if (pick(2)) x[pick(n)] = pick(2) ? NAN : 1e300;
        f64_clear(got, wanted);
        f64_clear(rest[0], rest[1]);
        ours->log(x, got, rest[0], n);
        scalar->log(x, wanted, rest[1], n);
        f64_compare_all("", n, got, wanted);
        for (ptrdiff_t j = 0; j < SIZE; ++j)
            if (isfinite(wanted[j])) f64_compare("rest", n, rest[0][j], rest[1][j], wanted[j]);
    }
}

static void f64_check_any_beyond(const fx_f64_kernels *ours, const fx_f64_kernels *scalar) {
    static const int64_t beyond[] = {-1, INT64_MIN, INT64_MAX, (int64_t)1 << 32, 1000};
    static int64_t labels[LONGEST];
    for (int i = 0; i < LENGTHS; ++i) {
        ptrdiff_t n = length_of(i);
        for (ptrdiff_t j = 0; j < n; ++j) labels[j] = pick(1000);
        int wanted = (int)pick(2);
        if (wanted) labels[pick(n)] = beyond[pick(5)];
        must_equal("ours", n, ours->any_beyond(labels, n, 1000) != 0, wanted);
        must_equal("scalar", n, scalar->any_beyond(labels, n, 1000) != 0, wanted);
    }
}

/* What rows_expsum may say of `rows` rows. */
static fx_rows draw_figures(ptrdiff_t rows) {
    static double max[LONGEST], ties[LONGEST], others[LONGEST], rest[LONGEST], stored[LONGEST], stored_rest[LONGEST];
    for (ptrdiff_t i = 0; i < rows; ++i) {
        max[i] = (uniform() - 0.5) * 100.0;
        ties[i] = pick(8) ? 1.0 : (double)(1 + pick(5));
        others[i] = exp((uniform() - 0.8) * 50.0);
        rest[i] = others[i] * (uniform() - 0.5) * 0x1p-53;
        stored[i] = (ties[i] + others[i]) * exp((uniform() - 0.5) * 80.0);
        stored_rest[i] = stored[i] * (uniform() - 0.5) * 0x1p-53;
        if (pick(16) == 0) others[i] = rest[i] = 0.0;
        if (pick(32) == 0) others[i] = NAN;
    }
    return (fx_rows){.max = max,
                     .ties = ties,
                     .others = others,
                     .rest = rest,
                     .stored = stored,
                     .stored_rest = stored_rest,
                     .coarse = (int)pick(2)};
}

static void f64_check_rows_log_total(const fx_f64_kernels *ours, const fx_f64_kernels *scalar) {
    static double rest[2][SIZE], got[SIZE], wanted[SIZE];
    for (int i = 0; i < LENGTHS; ++i) {
        ptrdiff_t n = length_of(i);
        fx_rows of = draw_figures(n);
        f64_clear(got, wanted);
        f64_clear(rest[0], rest[1]);
        ours->rows_log_total(n, &of, got, rest[0]);
        scalar->rows_log_total(n, &of, wanted, rest[1]);
        f64_compare_all("", n, got, wanted);
        for (ptrdiff_t j = 0; j < SIZE; ++j)
            if (isfinite(wanted[j])) f64_compare("rest", n, rest[0][j], rest[1][j], wanted[j]);
    }
}

static void f64_check_hard_figures(const fx_f64_kernels *ours, const fx_f64_kernels *scalar) {
    static double log_total[SIZE], rest[SIZE], weight[SIZE], mass[SIZE], score[SIZE], margin[SIZE], out[2][3][SIZE];
    for (int i = 0; i < LENGTHS; ++i) {
        ptrdiff_t n = length_of(i);
        fx_rows of = draw_figures(n);
        for (ptrdiff_t j = 0; j < n; ++j) {
            weight[j] = pick(4) ? uniform() : 0.0;
            mass[j] = uniform() * 2.0;
            margin[j] = of.ties[j] > 1.0 || pick(3) == 0 ? 0.0 : -log(uniform()) * 10.0;
            score[j] = of.max[j] - margin[j];
            if (margin[j] > 0.0) of.others[j] += exp(-margin[j]); /* the label's is one of them */
        }
        scalar->rows_log_total(n, &of, log_total, rest);
        int weighted = (int)pick(2), massive = (int)pick(2), scored = (int)pick(2), graded = (int)pick(2);
        for (int k = 0; k < 2; ++k) {
            for (int part = 0; part < 3; ++part) f64_clear(out[k][part], out[k][part]);
            fx_hard to = {weighted ? weight : NULL,
                          massive ? mass : NULL,
                          scored ? score : NULL,
                          margin,
                          0.125,
                          0x1p-60,
                          out[k][0],
                          graded ? out[k][1] : NULL,
                          out[k][2]};
            (k ? scalar : ours)->hard_figures(n, &of, log_total, rest, &to);
        }
        f64_compare_all("loss", n, out[0][0], out[1][0]);
        f64_compare_all("factor", n, out[0][1], out[1][1]);
        f64_compare_all("at_label", n, out[0][2], out[1][2]);
    }
}

static void f64_check_sum(const fx_f64_kernels *ours, const fx_f64_kernels *scalar) {
    static double x[SIZE];
    for (int i = 0; i < LENGTHS; ++i) {
        ptrdiff_t n = length_of(i), shift = pick(4);
        double special[] = {INFINITY, -INFINITY, NAN}, size = 0.0;
        for (ptrdiff_t j = 0; j < n; ++j) {
            x[shift + j] = uniform() - 0.25;
            size += fabs(x[shift + j]);
        }
        if (pick(8) == 0) x[shift + pick(n)] = special[pick(3)];
        double rest, wanted_rest, got = ours->sum(x + shift, n, &rest),
                                  wanted = scalar->sum(x + shift, n, &wanted_rest);
        f64_compare("", n, got, wanted, size);
        if (isfinite(wanted)) f64_compare("rest", n, (got - wanted) + rest, wanted_rest, size * 0x1p-40);
    }
}

static void check_widening(void (*ours)(const uint16_t *, float *, ptrdiff_t),
                           void (*scalar)(const uint16_t *, float *, ptrdiff_t)) {
    static uint16_t half[65536];
    static float got[65536], wanted[65536];
    for (int i = 0; i < 65536; ++i) half[i] = (uint16_t)i;
    for (ptrdiff_t n = 1; n <= 65536; n = n < 200 ? n + 1 : n * 4) {
        ptrdiff_t shift = pick(65536 - n + 1);
        n = n + 3 * 65536 / 4 > 65536 ? 65536 - shift : n;
        memset(got, 0x41, sizeof got);
        memset(wanted, 0x41, sizeof wanted);
        ours(half + shift, got, n);
        scalar(half + shift, wanted, n);
        for (ptrdiff_t i = 0; i < 65536; ++i) must_equal("", n, (double)got[i], (double)wanted[i]);
        if (n == 65536) break;
    }
}

/* Rows one by one, with the bits of rows_scale and rows_put, wherever they begin, and nothing beside them. */
static void f32_check_rows_stream(const fx_f32_kernels *ours, const fx_f32_kernels *scalar) {
    static float e[SIZE], streamed[SIZE], stored[SIZE];
    const fx_f32_kernels *both[] = {ours, scalar};
    for (int i = 2 * (int)FX_FEW(sizeof(float)); i < 2 * LENGTHS; ++i) {
        ptrdiff_t n = length_of(i / 2), rows = 1 + pick(ROWS), label[ROWS], shift = pick(8);
        double factor[ROWS], offset[ROWS], at_label[ROWS];
        const double *offsets = pick(2) ? offset : NULL;
        for (ptrdiff_t j = 0; j < rows * n; ++j) e[j] = pick(9) ? (float)exp(-100.0 * uniform()) : 0.0f;
        for (ptrdiff_t row = 0; row < rows; ++row) {
            factor[row] = (pick(4) ? 1.0 : 1e-38) * (uniform() - 0.2);
            offset[row] = -uniform() / (double)n;
            at_label[row] = -uniform();
            label[row] = pick(n + 1) - 1;
        }
        for (int k = 0; k < 2; ++k) {
            f32_clear(streamed, stored);
            both[k]->rows_stream(e, rows, n, factor, offsets, label, at_label, streamed + shift);
            both[k]->rows_scale(e, n, rows, n, factor, offsets, stored + shift, n);
            both[k]->rows_put(stored + shift, n, rows, label, at_label);
            if (memcmp(streamed, stored, sizeof stored)) differ("", n, INFINITY); /* zeros have signs */
        }
    }
}

static void f32_check_row_exp_stream(const fx_f32_kernels *ours, const fx_f32_kernels *scalar) {
    static float x[SIZE], streamed[SIZE], stored[SIZE];
    const fx_f32_kernels *both[] = {ours, scalar};
    for (int i = 0; i < 60; ++i) {
        ptrdiff_t n = 1 + pick(SIZE - 8), shift = pick(8);
        double max = i % 3 ? 9.0 : 90.0;
        fx_rows of = {.max = &max, .precise = i % 2};
        for (ptrdiff_t j = 0; j < n; ++j) x[j] = (float)(max - 60.0 * uniform());
        for (int k = 0; k < 2; ++k) {
            f32_clear(streamed, stored);
            both[k]->row_exp_stream(x, n, &of, 1e-10, streamed + shift);
            both[k]->row_exp_scaled(x, n, &of, 1e-10, stored + shift);
            for (ptrdiff_t j = 0; j < SIZE; ++j) must_equal("", n, (double)streamed[j], (double)stored[j]);
        }
    }
}

static void f32_check_from_f16(const fx_f32_kernels *ours, const fx_f32_kernels *scalar) {
    check_widening(ours->from_f16, scalar->from_f16);
}
static void f32_check_from_bf16(const fx_f32_kernels *ours, const fx_f32_kernels *scalar) {
    check_widening(ours->from_bf16, scalar->from_bf16);
}

/* Rounding to nearest of any float, and what is widened comes back. */
static void f32_check_to_bf16(const fx_f32_kernels *ours, const fx_f32_kernels *scalar) {
    static float x[SIZE], back[SIZE];
    static uint16_t got[SIZE], again[SIZE];
    for (int i = 0; i < LENGTHS; ++i) {
        ptrdiff_t n = length_of(i);
        for (ptrdiff_t j = 0; j < n; ++j) {
            uint32_t bits = (uint32_t)random_bits();
            if (pick(4) == 0) bits = (bits & 0xffff0000u) | 0x8000u;
            memcpy(x + j, &bits, sizeof bits);
        }
        ours->to_bf16(x, got, n);
        scalar->from_bf16(got, back, n);
        scalar->to_bf16(back, again, n);
        for (ptrdiff_t j = 0; j < n; ++j) {
            double unit = ldexp(1.0, (isfinite(x[j]) && x[j] != 0 && ilogb(x[j]) > -126 ? ilogb(x[j]) : -126) - 7);
            int even = (got[j] & 1) == 0;
            double error = fabs((double)back[j] - (double)x[j]);
            must_equal("again", n, again[j], got[j]);
            if (isnan(x[j]) || isinf(x[j]) || isinf(back[j]))
                must_equal("special", n, isnan(x[j]) ? 0.0 : fabs((double)x[j]) > 3.38e38, isnan(back[j]) ? 0.0 : 1.0);
            else
                must_equal("nearest", n, error < unit / 2 || (error == unit / 2 && even), 1.0);
        }
    }
}

/* Floats between, at and half way between halves, of all sizes. */
static void f32_check_to_f16(const fx_f32_kernels *ours, const fx_f32_kernels *scalar) {
    static float x[SIZE];
    static uint16_t got[SIZE], wanted[SIZE];
    for (int i = 0; i < LENGTHS; ++i) {
        ptrdiff_t n = length_of(i), shift = pick(4);
        memset(got, 0x41, sizeof got);
        memset(wanted, 0x41, sizeof wanted);
        for (ptrdiff_t j = shift; j < shift + n; ++j) {
            uint32_t bits = (uint32_t)random_bits() & 0x8fffffffu;
            bits += (uint32_t)pick(4) << 28;
            if (pick(2)) bits &= pick(2) ? 0xfffff000u : 0xffffe000u;
            memcpy(&x[j], &bits, sizeof bits);
            if (pick(4) == 0) x[j] = (float)(uniform() * 7e4);
        }
        if (pick(4) == 0) x[shift + pick(n)] = pick(2) ? INFINITY : NAN;
        ours->to_f16(x + shift, got + shift, n);
        scalar->to_f16(x + shift, wanted + shift, n);
        for (ptrdiff_t j = 0; j < SIZE; ++j) {
            int both_nan = (got[j] & 0x7fff) > 0x7c00 && (wanted[j] & 0x7fff) > 0x7c00;
            if (!both_nan) must_equal("", n, got[j], wanted[j]);
        }
    }
}

static int report(const char *isa, const char *type, const char *kernel) {
    int refused = !(worst.ulps <= MOST_ULPS);
    printf("%-8s %s %-18s %6.2f ulp", isa, type, kernel, worst.ulps);
    if (worst.ulps > 0.0) printf("   at length %td %s", worst.n, worst.where);
    printf("%s\n", refused ? "   TOO LARGE" : "");
    worst.ulps = 0.0;
    return refused;
}

int main(void) {
    const fx_table *tables[4];
    int count = fx_tables(tables, 4), refused = 0;
    const fx_table *scalar = tables[count - 1];
    for (int i = 0; i < count - 1; ++i) {
        const fx_table *ours = tables[i];
#define FX_KERNEL(type, name, arguments)        \
    f32_check_##name(&ours->f32, &scalar->f32); \
    refused += report(ours->isa, "f32", #name);
#define FX_FLOAT(type, name, arguments) FX_KERNEL(type, name, arguments)
#include "kernels.def"
#define FX_KERNEL(type, name, arguments)        \
    f64_check_##name(&ours->f64, &scalar->f64); \
    refused += report(ours->isa, "f64", #name);
#define FX_DOUBLE(type, name, arguments) FX_KERNEL(type, name, arguments)
#include "kernels.def"
    }
    printf("%d instruction sets beside %s, %d kernels differ by more than %g ulp\n", count - 1, scalar->isa, refused,
           MOST_ULPS);
    return refused != 0;
}
