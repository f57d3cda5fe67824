/* Kernels over rows of scores: what they promise, and the table through which they are called.

   Precision. Elements are in the type of the row; every sum over a row ends in double. Nothing cancels:
   the element equal to the row's maximum is left out of the sum of exponentials and counted instead, so
   that callers form log1p(others) and (ties - e_y + others) / total without subtracting nearly equal
   numbers. Scores are reduced without a rounding error:

       exp(x - c) = 2^n p(r),  n = rint((x - c) log2 e),  r = (x - c) - n ln 2,

   with c = 0 while |max| < FAR (the reduction absorbs the shift: only n is compared with the maximum's),
   and c = max beyond, where x - max is exact by Sterbenz' lemma for every x that still counts; few doubles a row have c = max
   everywhere, and what x - max rounds off in r. Stored exponentials are therefore not relative to exp(max): probability = e /
   `stored`, the sum of them all.

   NaN anywhere in a row makes `others` NaN. -inf is a masked class: its exponential is exactly 0. +inf: the
   limit, all mass on the classes at +inf. A row of -inf only: ties = NaN. Results below the smallest normal
   number are flushed to zero, by comparison before the multiplication: no kernel touches the processor's modes.

   The same bits whatever the alignment of the pointers, the stride, the number of rows in the call. Every
   kernel reads an element before it writes it, so that output may be input (few classes: a whole group
   of rows). Rows of at most FX_FEW(size of an element) classes are taken with rows in lanes; their exponentials are stored by
   columns, in groups of lanes, in a buffer of FX_FEW_SIZE(rows, n) that must not be the output. */
#ifndef FX_KERNELS_H
#define FX_KERNELS_H

#include <stddef.h>
#include <stdint.h>

/* Measured with vector instructions: of more classes, gradients take less time row by row (in plain C, of 60 floats and more). */
#define FX_FEW(size) ((size) == sizeof(double) ? 40 : 80)
#define FX_MAX_LANES 16
#define FX_FEW_SIZE(rows, n) (((rows) + FX_MAX_LANES - 1) / FX_MAX_LANES * FX_MAX_LANES * (n))

/* `margins` of rows and `margin` of targets are counted in these: no difference of two scores is too large for its type then. */
#define FX_MARGIN_UNIT(size) ((size) == sizeof(double) ? 0x1p64 : 2.0)

/* What scores go through first: (cap tanh(x / cap) + bias) / temperature. */
typedef struct {
    double scale;      /* 1 / temperature */
    double scale_rest; /* what that rounds off */
    double cap;        /* 0 for none */
    int loose;         /* a bias may leave less of a score than has been rounded off before */
} fx_transform;

/* Where rows_expsum puts what it learns of each row; `margins` and `classes` may both be NULL. Scores may be sums of two,
   x + low, as rows_transform makes them: then the largest is given, max + max_low. In rows of more than FX_FEW classes, floats
   that are only to be multiplied, or only to be left out, may be given as they are: then max, and max_low, are found. */
typedef struct {
    double *max;          /* the largest score */
    double *max_low;      /* NULL where scores are single numbers */
    double *ties;         /* how many scores equal it (1 or more) */
    double *others;       /* sum of exp(x - max) over all other scores */
    double *rest;         /* what `others` rounds off (double only) */
    double *stored;       /* sum of all stored exponentials, those equal to max included */
    double *stored_rest;  /* what `stored` rounds off */
    double *margins;      /* sum of max - x over scores above -inf; asks that exponentials of -inf be stored as -1 */
    double *margins_rest; /* what `margins` rounds off */
    double *classes;      /* how many scores are above -inf */
    int max_given;        /* the largest scores are there already, as rows_transform finds them */
    int coarse;           /* logarithms, and what hard_figures finds, to the digits that floats need */
    int precise; /* `others` to more digits than usual, for losses that would magnify its error; e must not be x */
    const fx_transform *by;  /* of floats that are yet to be multiplied by its scale, or NULL */
    const uint8_t *left_out; /* of floats: not 0 where scores are yet to become -inf, or NULL; not together with `by` */
    ptrdiff_t left_out_stride;
    int near;            /* memory is asked for as AMD's processors gain from it: see look_ahead */
    ptrdiff_t long_from; /* see fx_is_long; 0 for no such rows */
    const void *next; /* memory to ask for instead of the next rows, or NULL; for each row so many bytes further on */
    ptrdiff_t next_stride;
} fx_rows;

/* A row of FX_PART scores or more is summed up in parts, of FX_PART scores and the last one of what remains, so that several
   threads may take one row: with the same bits. Each way of taking it may ask for another. */
#define FX_PART 16384
enum { FX_DONE, FX_WHOLE, FX_APART, FX_STORED, FX_OWN };

/* A long row may have left the caches from one pass to the next. Where nothing but its scores is given, and nothing but their
   exponentials summed up, each part is taken relative to its own maximum (FX_OWN): so such a row comes from memory once. For
   its gradient the exponentials are not kept but made anew (row_exp_scaled). */
static inline int fx_is_long(ptrdiff_t n, const fx_rows *of) {
    return of->long_from && n >= of->long_from && !of->max_given && !of->margins && !of->by && !of->left_out;
}

/* How many scores of a row of n the part that begins at `start` has. */
static inline ptrdiff_t fx_part_size(ptrdiff_t start, ptrdiff_t n) {
    return n - start < 2 * FX_PART ? n - start : FX_PART;
}

/* Whatever a thread has streamed is there for others from now on. */
static inline void fx_fence(void) {
#ifdef __SSE2__
    __builtin_ia32_sfence();
#endif
}

/* So many bytes are asked for, to be read soon. */
static inline void fx_ask_for(const char *from, ptrdiff_t bytes) {
    for (ptrdiff_t i = 0; i < bytes; i += 64) __builtin_prefetch(from + i, 0);
}

/* The larger of what was found so far and in one more part; a NaN is larger than what came before. */
static inline double fx_larger(double max, double more) { return more > max || more != more ? more : max; }

typedef struct {
    double ties; /* the figures of fx_rows, of this part */
    double others, rest;
    double margins, margins_rest;
    double classes;
    double max, shift, top, top_rest; /* what it is relative to: with FX_OWN the part's own */
} fx_part;

/* Rows whose target is one class, and what hard_figures finds: of a row's loss f(-log p) = -log p alone. */
typedef struct {
    const double *weight; /* 0 for a row that does not count; NULL for all 1 */
    const double *mass;   /* the target; NULL for all 1 */
    const double *score;  /* of the class, or NULL */
    const double *margin; /* max - score, if there is no score */
    double scale;         /* multiplies the gradient */
    double scale_rest;    /* what that rounds off */
    double *loss;
    double *factor;   /* the gradient is factor * exponential, but for the target; NULL: not wanted */
    double *at_label; /* where it is this */
} fx_hard;

/* What row_target learns of a dense target. */
typedef struct {
    double sum;      /* of the targets */
    double margin;   /* sum of y (max - x), with 0 (max - -inf) = 0 */
    double sum_rest; /* what the two sums round off (double only) */
    double margin_rest;
    ptrdiff_t count; /* of targets other than 0 */
    ptrdiff_t last;  /* where it stands if there is one; otherwise no figure */
    int refused;     /* a target is negative, NaN or infinite */
} fx_target;

typedef struct {
    double scale;              /* multiplies the gradient and the curvature */
    double smoothing;          /* targets become y (1 - smoothing) + smoothing / 2 */
    double gamma;              /* exponent of the focal loss; 0 for cross-entropy */
    double pos_weight;         /* multiplies the term of y */
    double neg_weight;         /* multiplies the term of 1 - y */
    const double *pos_weights; /* the same for each element, or NULL */
    const double *neg_weights;
} fx_sigmoid;

/* Of binary_loss. Its `positive`, weights of the positive targets one by one or NULL for pos_weight, has FX_MAX_LANES
   elements to spare. Targets and probabilities outside [0, 1] are counted as refused. */
typedef struct {
    double scale;      /* multiplies the gradient and the curvature */
    double smoothing;  /* targets become y (1 - smoothing) + smoothing / 2 */
    double pos_weight; /* multiplies the term of y */
    double low;        /* probabilities are clipped to [low, 1 - low] */
    double at_low;     /* -log(low) */
    double at_low_rest;
    double at_high; /* -log(1 - low) */
    double at_high_rest;
} fx_binary;

/* What row_mass learns of a row of targets. */
typedef struct {
    double sum, rest; /* and what it rounds off (double only) */
    ptrdiff_t count;  /* of targets other than 0 */
    ptrdiff_t last;   /* where it stands if there is one; otherwise no figure */
    int refused;      /* a target is negative, NaN or infinite */
} fx_mass;

/* How row_surprisal reads a row: -log of p, clipped; or of p / total, the clipping bounds being multiplied by the total. */
typedef struct {
    double shift;     /* the total is 2^shift to 2^(shift + 1); 0 for no total */
    double log_total; /* log(total / 2^shift); 0 for no total */
    double log_total_rest;
    double half;            /* of the total: the element above it is left out; infinity for no total */
    double low, high;       /* clipping bounds; 0 and infinity for none */
    double at_low, at_high; /* -log of the bounds as probabilities */
    double at_low_rest, at_high_rest;
} fx_simplex;

/* What row_surprisal sums up, each with what it rounds off (double only). */
typedef struct {
    double sum, sum_rest;       /* y times -log p, with 0 (-log 0) = 0 */
    double even, even_rest;     /* -log p, if asked for */
    double inside, inside_rest; /* y where p is not clipped */
    ptrdiff_t inside_count;     /* how many are not clipped, if asked for; these where there are totals or bounds */
    ptrdiff_t top;              /* the element left out, or -1 */
} fx_surprisal;

/* Of row_slope, for p' = p / 2^shift: gradient = (offset - (kept y + mixed) / p') / 2^shift, and curvature
   = ((kept y + mixed) / p'^2 - bend) / 4^shift, so that no difference is one of infinities; where p is outside
   [low, high], without the terms in p. */
typedef struct {
    double kept, mixed, offset, bend, shift, low, high;
} fx_slope;

/* Entries of a CSR row: their columns, int64 or int32. */
typedef struct {
    const void *indices;
    int wide;
    ptrdiff_t count;
} fx_entries;

#define FX_MEMBER(type, name, arguments) type(*name) arguments;

typedef struct {
#define real float
#define FX_KERNEL FX_MEMBER
#define FX_FLOAT FX_MEMBER
#include "kernels.def"
#undef real
} fx_f32_kernels;

typedef struct {
#define real double
#define FX_KERNEL FX_MEMBER
#define FX_DOUBLE FX_MEMBER
#include "kernels.def"
#undef real
} fx_f64_kernels;

typedef struct {
    const char *isa;
    int streams; /* whether it has stores that go past the caches */
    fx_f32_kernels f32;
    fx_f64_kernels f64;
} fx_table;

/* The tables of the instruction sets that this machine has, best first, at most `room`; returns how many. */
int fx_tables(const fx_table **tables, int room);

/* From how many bytes on results are to be streamed, on this machine. */
ptrdiff_t fx_streamed_from(void);

/* What pays in fx_rows, on this machine: `near` and `long_from`. */
int fx_fetches_near(void);
ptrdiff_t fx_long_from(void);

#endif
