/* Constants of exp and log, from tools/derive_polynomials.py, which derives them and prints their errors. */
#ifndef FX_POLYNOMIALS_H
#define FX_POLYNOMIALS_H

/* LN2_HIGH ends in zeros, so that n * LN2_HIGH is exact for every n that occurs, with and without a fused
   multiply-add. */
#define F64_LOG2E 0x1.71547652b82fep+0
#define F64_LN2_HIGH 0x1.62e42fefa4p-1
#define F64_LN2_LOW -0x1.8432a1b0e2634p-43
#define F32_LOG2E 0x1.715476p+0f
#define F32_LN2_HIGH 0x1.62e8p-1f
#define F32_LN2_LOW -0x1.e8082ep-16f

/* (e^r - 1 - r) / r^2 = c0 + c1 r + ... */
static const double f64_exp_coefficients[] = {
    0x1.000000000000ap-1, 0x1.555555555550cp-3,  0x1.555555555079fp-5,  0x1.111111112473cp-7, 0x1.6c16c18438d9bp-10,
    0x1.a01a0137fde3p-13, 0x1.a0199a0d76783p-16, 0x1.71df0d0544345p-19, 0x1.28ad5ebb259ep-22, 0x1.ad9efbb018a07p-26,
};
static const float f32_exp_coefficients[] = {
    0x1.fffffcp-2f, 0x1.555492p-3f, 0x1.5558aap-5f, 0x1.12396ep-7f, 0x1.6a524ep-10f,
};

/* (log(1 + f) - 2 s) / (s z) = c0 + c1 z + ..., s = f / (2 + f), z = s^2 */
static const double f64_log_coefficients[] = {
    0x1.555555555554fp-1, 0x1.999999999c179p-2, 0x1.24924921e457ep-2, 0x1.c71c748fb089ep-3,
    0x1.745c4ae001cd6p-3, 0x1.3b35c025330ep-3,  0x1.0dcba24c535c3p-3, 0x1.1b81300c8f62ep-3,
};
static const float f32_log_coefficients[] = {0x1.5555b4p-1f, 0x1.992a9ap-2f, 0x1.36eeb6p-2f};

/* The same with digits to spare, for powers. In pairs of doubles:
   e^r = 1 + r + r^2 / 2 + r^3 / 6 + r^4 (c0 + c1 r + ...),  log(1 + f) = s (2 + 2/3 z + z^2 (c0 + c1 z + ...)) */
#define PAIR_LN2 0x1.62e42fefa39efp-1
#define PAIR_LN2_REST 0x1.abc9e3b39803fp-56
#define PAIR_SIXTH 0x1.5555555555555p-3
#define PAIR_SIXTH_REST 0x1.5555555555555p-57
#define PAIR_TWO_THIRDS 0x1.5555555555555p-1
#define PAIR_TWO_THIRDS_REST 0x1.5555555555555p-55
static const double pair_exp_coefficients[] = {
    0x1.5555555555558p-5,  0x1.1111111111112p-7,  0x1.6c16c16c150fp-10,  0x1.a01a01a01afb1p-13, 0x1.a01a01ad00a43p-16,
    0x1.71de3a4c54794p-19, 0x1.27e4cd6404e53p-22, 0x1.ae647b1823235p-26, 0x1.1f898c7fb655bp-29, 0x1.6135a41dd5d76p-33,
};
static const double pair_log_coefficients[] = {
    0x1.9999999999968p-2, 0x1.2492492498d44p-2, 0x1.c71c71bc76ebfp-3, 0x1.745d1bc366908p-3,
    0x1.3b1298ef1ca7fp-3, 0x1.113a09ede848fp-3, 0x1.dad1ff3169133p-4, 0x1.0178f6dc32641p-3,
};
/* In double, for floats:  e^r = 1 + r + r^2 (c0 + c1 r + ...),  log(1 + f) = s (2 + z (c0 + c1 z + ...)), z <= 1/9 */
static const double plain_exp_coefficients[] = {
    0x1.0000003a2370bp-1, 0x1.555554433b7cbp-3,  0x1.55548dc498863p-5,
    0x1.111270b3a91a7p-7, 0x1.6d8d06d843c12p-10, 0x1.9f0895750552ep-13,
};
static const double plain_log_coefficients[] = {
    0x1.5555553b4bf3bp-1, 0x1.9999bcca1371ep-2, 0x1.248a65be38c26p-2,
    0x1.c8b9e0f21bd16p-3, 0x1.5f42410e71d19p-3, 0x1.be1795316bc4fp-3,
};

#endif
