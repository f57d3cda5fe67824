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

#ifdef FX_LOOKUP
/* The same for |r| <= ln 2 / 32, and 2^(j / 16) with what that rounds off. */
static const float f32_root_exp_coefficients[] = {0x1.00021ep-1f, 0x1.55559ap-3f};
static const double f64_root_exp_coefficients[] = {
    0x1.0000000000004p-1, 0x1.5555555555545p-3,  0x1.5555555484d6fp-5,
    0x1.111111125c5cbp-7, 0x1.6c183dc2966dap-10, 0x1.a0190d97d11d7p-13,
};
static const double f64_roots[] = {
    0x1p+0,
    0x1.0b5586cf9890fp+0,
    0x1.172b83c7d517bp+0,
    0x1.2387a6e756238p+0,
    0x1.306fe0a31b715p+0,
    0x1.3dea64c123422p+0,
    0x1.4bfdad5362a27p+0,
    0x1.5ab07dd485429p+0,
    0x1.6a09e667f3bcdp+0,
    0x1.7a11473eb0187p+0,
    0x1.8ace5422aa0dbp+0,
    0x1.9c49182a3f09p+0,
    0x1.ae89f995ad3adp+0,
    0x1.c199bdd85529cp+0,
    0x1.d5818dcfba487p+0,
    0x1.ea4afa2a490dap+0,
};
static const double f64_roots_low[] = {
    0x0p+0,
    0x1.8a62e4adc610bp-54,
    -0x1.19041b9d78a76p-55,
    0x1.9b07eb6c70573p-54,
    0x1.6f46ad23182e4p-55,
    0x1.ada0911f09ebcp-55,
    0x1.d4397afec42e2p-56,
    0x1.6324c054647adp-54,
    -0x1.bdd3413b26456p-54,
    -0x1.41577ee04992fp-55,
    0x1.6e9f156864b27p-54,
    0x1.c7c46b071f2bep-56,
    0x1.7a1cd345dcc81p-54,
    0x1.11065895048ddp-55,
    0x1.2ed02d75b3707p-55,
    -0x1.e9c23179c2893p-54,
};
static const float f32_roots[] = {
    0x1p+0f,        0x1.0b5586p+0f, 0x1.172b84p+0f, 0x1.2387a6p+0f, 0x1.306fep+0f,  0x1.3dea64p+0f,
    0x1.4bfdaep+0f, 0x1.5ab07ep+0f, 0x1.6a09e6p+0f, 0x1.7a1148p+0f, 0x1.8ace54p+0f, 0x1.9c4918p+0f,
    0x1.ae89fap+0f, 0x1.c199bep+0f, 0x1.d5818ep+0f, 0x1.ea4afap+0f,
};
static const float f32_roots_low[] = {
    0x0p+0f,          0x1.9f3122p-25f,  -0x1.c15742p-27f, 0x1.ceac48p-25f, 0x1.4636e2p-25f, 0x1.824684p-25f,
    -0x1.593abcp-25f, -0x1.5bd5ecp-27f, 0x1.9fcef4p-26f,  -0x1.829fdp-25f, 0x1.15506ep-27f, 0x1.51f848p-27f,
    -0x1.a94b14p-26f, -0x1.3d56b2p-27f, -0x1.822dbcp-27f, 0x1.52486cp-27f,
};
#endif

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
