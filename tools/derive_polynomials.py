#!/usr/bin/env python3
"""Derive, and measure, the polynomials used by the SIMD kernels of fastxent.

The kernels need e^t and log(1+t) in float32 and float64.  Both are reduced to a short interval
on which a polynomial is enough:

    exp   e^t = 2^n e^r,  n = rint(t log2 e),  r = t - n ln 2,  |r| <= ln2/2 (1 + 1e-4)
          e^r = 1 + r (1 + r q(r))                   (the first two coefficients are exactly 1)
    log   log(1+f) = f - (hfsq - s (hfsq + R(z))),   f in [-1/4, 1/2]
          s = f / (2 + f),  z = s^2 <= 0.04,  hfsq = f^2 / 2,  R(z) = z (L1 + L2 z + ...)

This script
  1. finds the minimax q and R (smallest relative error of e^r and of log(1+f)) with the Remez
     exchange algorithm at 60 digits;
  2. rounds their coefficients to the dtype one by one from the lowest order up, refitting those
     not yet rounded, so that they absorb most of the rounding errors of the earlier ones;
  3. prints them as C hexadecimal literals; and
  4. measures the error of the polynomial alone (mpmath, dense grid) and of the whole evaluation
     in the arithmetic of the dtype, with and without fma, by the operation sequences of the
     functions exp_*, log1p_* below.  Kernels that follow them inherit the measured errors.

Where a table of sixteen numbers is looked up as fast as anything is computed, n is a multiple of 1/16 and fewer
terms do: derive_roots.

The powers of the focal loss need more digits than the result has: exp and log with 11 to spare, in
pairs of doubles for float64, in doubles for float32.  Of these series the first terms are the exact
ones, and the rest a polynomial in double: derive_powers.

Needs mpmath, numpy and an 80-bit (or wider) long double.  Deterministic.
"""

from dataclasses import dataclass
from functools import partial

import mpmath as mp
import numpy as np

mp.mp.dps = 60
LD = np.longdouble
CHUNK = 1 << 20
ROOTS = 16  # n is a multiple of 1 / ROOTS, see derive_roots


# ---------------------------------------------------------------------------------------------
# Formats and arithmetic
# ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Format:
    """A floating-point format and the parameters of the kernels written for it."""

    name: str
    dtype: type
    wide: type  # emulates fma: a*b+c is evaluated in it and then rounded to dtype
    precision: int
    ln2_hi_bits: int  # n * LN2_HI is exact while |n| < 2^(precision - ln2_hi_bits)
    exp_degree: int
    exp_lowest: int  # e^t is measured for t in [exp_lowest, 20]
    root_terms: int  # coefficients of q beside roots of two
    log_error: int  # allowed relative error of log(1+f), as a power of two

    @property
    def eps(self):
        return mp.ldexp(1, 1 - self.precision)

    def round(self, x, bits=None):
        """x (an mpf) rounded to nearest, to `bits` significant bits (default: all)."""
        with mp.workprec(bits or self.precision):
            return +x

    def literal(self, x):
        """x as a C hexadecimal literal."""
        mantissa, exponent = float(x).hex().split("p")
        return f"{mantissa.rstrip('0').rstrip('.')}p{exponent}{'f' * (self.precision == 24)}"

    def constants(self):
        hi = self.round(mp.ln2, self.ln2_hi_bits)
        return {"LOG2E": self.round(1 / mp.ln2), "LN2_HI": hi, "LN2_LO": self.round(mp.ln2 - hi)}


F32 = Format("float32", np.float32, np.float64, 24, 14, 6, -366, 2, -28)
F64 = Format("float64", np.float64, LD, 53, 41, 11, -2800, 6, -58)


class Arithmetic:
    """The constants of a format, and a*b+c either fused or as two rounded operations."""

    def __init__(self, fmt, fused):
        self.dtype, self.wide, self.fused = fmt.dtype, fmt.wide, fused
        self.log2e, self.ln2_hi, self.ln2_lo = (fmt.dtype(x) for x in fmt.constants().values())

    def fma(self, a, b, c):
        if not self.fused:
            return a * b + c
        return (self.wide(a) * self.wide(b) + self.wide(c)).astype(self.dtype)

    def horner(self, coefficients, x):
        p = np.full_like(x, coefficients[-1])
        for c in reversed(coefficients[:-1]):
            p = self.fma(p, x, self.dtype(c))
        return p


# ---------------------------------------------------------------------------------------------
# Minimax approximation
# ---------------------------------------------------------------------------------------------


def chebyshev_grid(low, high, size=2000):
    """Distributed like the extrema of a Chebyshev polynomial; an even size avoids the centre."""
    middle, radius = (low + high) / 2, (high - low) / 2
    return [middle - radius * mp.cos(mp.pi * i / (size - 1)) for i in range(size)]


def remez(grid, target, weight, count):
    """Polynomial P of `count` coefficients with the smallest max of weight * |target - P|.

    All three lists are sampled on the grid, and weight > 0.  The exchange runs on the grid, whose
    ~200 points per oscillation bring the continuous optimum within 1e-4 of its error.
    """
    size = len(grid)
    reference = [i * (size - 1) // count for i in range(count + 1)]
    for _ in range(50):
        system = mp.matrix(count + 1, count + 1)
        rhs = mp.matrix(count + 1, 1)
        for row, i in enumerate(reference):
            for k in range(count):
                system[row, k] = weight[i] * grid[i] ** k
            system[row, count] = (-1) ** row
            rhs[row] = weight[i] * target[i]
        *poly, level = mp.lu_solve(system, rhs)

        samples = zip(grid, target, weight, strict=True)
        error = [w * (g - mp.polyval(poly[::-1], x)) for x, g, w in samples]
        # The new reference: the largest error of each run of one sign.  Errors below the level
        # are left out (after a rounding there can be a small run next to 0), and as the old
        # reference reaches the level with alternating signs, enough runs remain.
        reference = []
        for i, e in enumerate(error):
            if abs(e) < abs(level) * (1 - mp.mpf("1e-30")):
                continue
            if reference and (e > 0) == (error[reference[-1]] > 0):
                if abs(e) > abs(error[reference[-1]]):
                    reference[-1] = i
            else:
                reference.append(i)
        while len(reference) > count + 1:
            reference.pop(0 if abs(error[reference[0]]) < abs(error[reference[-1]]) else -1)
        if max(map(abs, error)) <= abs(level) * (1 + mp.mpf("1e-9")):
            return poly
    raise ArithmeticError("the Remez exchange did not converge")


def round_coefficients(fmt, grid, target, weight, count):
    """As remez, but with coefficients of format fmt: fit, round the lowest, refit the others.

    With P = c + x Q the problem for Q is target' = (target - c) / x, weight' = weight |x|.
    """
    rounded = []
    for remaining in range(count, 0, -1):
        c = fmt.round(remez(grid, target, weight, remaining)[0])
        rounded.append(c)
        target = [(g - c) / x for x, g in zip(grid, target, strict=True)]
        weight = [w * abs(x) for x, w in zip(grid, weight, strict=True)]
    return rounded


def exp_bound(parts):
    """The largest |r| where n is a multiple of 1 / parts."""
    return mp.ln2 / (2 * parts) * mp.mpf("1.0001")


def exp_problem(parts=1):
    """q(r) = (e^r - 1 - r) / r^2, for the relative error of e^r."""
    bound = exp_bound(parts)
    grid = chebyshev_grid(-bound, bound)
    return grid, [(mp.exp(r) - 1 - r) / r**2 for r in grid], [r**2 / mp.exp(r) for r in grid]


def log_problem():
    """R(z)/z = (2 atanh(s)/s - 2) / z, s = sqrt(z), for the relative error of 2 atanh(s)."""
    grid = chebyshev_grid(mp.mpf(0), mp.mpf("0.04"))[1:]
    pairs = [(z, 2 * mp.atanh(mp.sqrt(z)) / mp.sqrt(z)) for z in grid]
    return grid, [(a - 2) / z for z, a in pairs], [z / a for z, a in pairs]


def exp_approximation_error(q, parts=1, size=10000):
    """Largest relative error of 1 + r (1 + r q(r)), evaluated exactly."""
    bound = exp_bound(parts)
    poly = [*reversed(q), 1, 1]
    points = (bound * i / size for i in range(-size, size + 1))
    return max(abs(mp.polyval(poly, r) / mp.exp(r) - 1) for r in points)


def log_approximation_error(coefficients, size=10000):
    """Largest relative error of f - (hfsq - s (hfsq + R(z))) = s (2 + R(z)), evaluated exactly."""
    poly = [*reversed(coefficients), 2]
    points = (mp.mpf(i) / (5 * size) for i in range(1, size + 1))
    return max(abs(s * mp.polyval(poly, s * s) / (2 * mp.atanh(s)) - 1) for s in points)


# ---------------------------------------------------------------------------------------------
# The evaluations, operation by operation.  `a` is an Arithmetic; fma is spelled a.fma, every
# other operation is rounded on its own.
# ---------------------------------------------------------------------------------------------


def exp_horner(a, q, t):
    """(n, p) with e^t = 2^n p.  The fewest operations."""
    n = np.rint(t * a.log2e)
    r = a.fma(-n, a.ln2_hi, t)  # exact
    r = a.fma(-n, a.ln2_lo, r)
    return n, a.horner([1, 1, *q], r)


def exp_split(a, q, t):
    """As exp_horner, but the sum starts from the exact part of r: its rounding hardly matters.

    Only worth it without fma, where the rounding of r (1 + r q) is what spoils exp_horner.
    """
    n = np.rint(t * a.log2e)
    hi = a.fma(-n, a.ln2_hi, t)  # exact
    w = n * a.ln2_lo
    r = hi - w
    return n, 1 + (hi + a.fma(a.horner(q, r), r * r, -w))


def exp_compensated(a, q, t):
    """As exp_split, with the rounding error of 1 + hi added back: little more than 1/2 ulp."""
    n = np.rint(t * a.log2e)
    hi = a.fma(-n, a.ln2_hi, t)  # exact
    r = a.fma(-n, a.ln2_lo, hi)
    head = 1 + hi
    tail = a.fma(-n, a.ln2_lo, (1 - head) + hi)  # the bracket is exact: |hi| < 1
    return n, head + a.fma(a.horner(q, r), r * r, tail)


def exp_from_root(a, q, roots, t):
    """(n, p) with e^t = 2^n p, by roots of two, each of them a number and what it rounds off."""
    k = np.rint(t * a.log2e * ROOTS)
    n = np.floor(k / ROOTS)
    r = a.fma(-k / ROOTS, a.ln2_lo, a.fma(-k / ROOTS, a.ln2_hi, t))
    root, low = roots[:, (k - ROOTS * n).astype(int)]
    return n, root + a.fma(root, a.fma(a.horner(q, r) * r, r, r), low)


def log_tail(a, coefficients, f, low):
    """hfsq - (s (hfsq + R) + low), for log(1+f) + low = f - tail."""
    s = f / (2 + f)
    z = s * s
    hfsq = a.dtype(0.5) * f * f
    hfsq_plus_r = a.fma(z, a.horner(coefficients, z), hfsq)
    return hfsq - a.fma(s, hfsq_plus_r, low)


def log1p_unit(a, coefficients, t):
    """log(1+t) for t in [0, 1]: 1 + t = 2 (1 + (t-1)/2) above 1/2."""
    big = t > 0.5
    f = np.where(big, (t - 1) * a.dtype(0.5), t)  # exact
    high = np.where(big, a.ln2_hi, a.dtype(0))
    low = np.where(big, a.ln2_lo, a.dtype(0))
    return high - (log_tail(a, coefficients, f, low) - f)


def split_1p(t):
    """(k, f, c) with 1 + t = u + c u, u = 2^k (1 + f) = 1 + t rounded; float64."""
    u = 1 + t
    bits = u.view(np.int64)
    k = (bits - np.float64(0.75).view(np.int64)) >> 52
    f = (bits - (k << 52)).view(np.float64) - 1  # exact
    c = np.where(t < 1, t - (u - 1), 1 - (u - t)) / u
    return k, f, np.where(k > 54, 0.0, c)


def log1p_corrected(a, coefficients, t):
    """log(1+t), float64, t >= 0.  Where 1 + t = 1, f is 0 and c = t is the result."""
    k, f, c = split_1p(t)
    k = k.astype(np.float64)
    return k * a.ln2_hi - (log_tail(a, coefficients, f, a.fma(k, a.ln2_lo, c)) - f)


def log1p_direct(a, coefficients, t):
    """As log1p_corrected, but where k = 0 no rounded 1 + t is needed: f = t, c = 0.

    The better choice: two selects buy 1/2 ulp, not 0.66, for tiny t.
    """
    k, f, c = split_1p(t)
    f = np.where(k == 0, t, f)
    c = np.where(k == 0, 0.0, c)
    k = k.astype(np.float64)
    return k * a.ln2_hi - (log_tail(a, coefficients, f, a.fma(k, a.ln2_lo, c)) - f)


# ---------------------------------------------------------------------------------------------
# Measurement
# ---------------------------------------------------------------------------------------------


def ulps(fmt, computed, exact):
    """|computed - exact| in units of the last place of the exact (wide) value."""
    _, exponent = np.frexp(exact)
    exponent = np.maximum(exponent, np.finfo(fmt.dtype).minexp + 1)
    return np.abs(np.ldexp(computed.astype(exact.dtype) - exact, fmt.precision - exponent))


def worst(fmt, function, reference, points, exact):
    """(largest error in ulp, its argument).

    The sweep uses the fast wide `reference`; the error reported is that of the worst arguments,
    recomputed against `exact` (mpmath).  function and reference return a tuple: scale
    information shared by both, then the value.
    """
    candidates = []
    for start in range(0, len(points), CHUNK):
        t = points[start : start + CHUNK]
        shared, value = function(t)
        error = ulps(fmt, value, reference(t, shared))
        top = np.argpartition(error, -3)[-3:] if len(t) > 3 else range(len(t))
        candidates += [(float(error[i]), t[i]) for i in top]
    best = (mp.mpf(-1), None)
    for _, t in sorted(candidates)[-20:]:
        shared, value = function(np.array([t]))
        truth = exact(mp.mpf(float(t)), None if shared is None else int(shared[0]))
        unit = mp.ldexp(1, max(int(mp.floor(mp.log(truth, 2))), np.finfo(fmt.dtype).minexp))
        best = max(best, (abs(mp.mpf(float(value[0])) - truth) / (unit * fmt.eps), t))
    return best


def sample(fmt, rng, *ranges, count=1_000_000):
    """Uniform random and evenly spaced arguments of each (low, high) range."""
    parts = []
    for low, high in ranges:
        parts += [rng.uniform(low, high, count), np.linspace(low, high, count)]
    return np.concatenate(parts).astype(fmt.dtype)


def exp_sample(fmt, rng):
    tiny = 2.0 ** -rng.uniform(1, fmt.precision + 2, 200_000)
    # Both sides of the points where n changes, where |r| is largest.
    n = np.arange(int(fmt.exp_lowest / np.log(2)), 29)
    seams = (n + 0.5) * np.log(2)
    seams = (seams[:, None] + rng.uniform(-1e-4, 1e-4, (len(n), 400))).ravel()
    seams = seams[(seams > fmt.exp_lowest) & (seams < 20)]
    points = sample(fmt, rng, (fmt.exp_lowest, 20), (-20, 20))
    return np.concatenate([points, tiny, -tiny, seams]).astype(fmt.dtype)


def log1p_unit_sample(fmt, rng):
    tiny = 2.0 ** rng.uniform(np.finfo(fmt.dtype).minexp, 0, 500_000)
    points = [sample(fmt, rng, (0, 1), (0.5, 0.56)), tiny.astype(fmt.dtype)]
    if fmt is F32:  # every float32 of [1/8, 1]
        low, high = (np.float32(x).view(np.int32) for x in (0.125, 1))
        points.append(np.arange(low, high + 1, dtype=np.int32).view(np.float32))
    points = np.concatenate(points)
    return points[points > 0]


def log1p_sample(fmt, rng):
    powers = 2.0 ** np.arange(-60, 61)
    near_powers = np.concatenate(
        [m * powers[:, None] * (1 + rng.uniform(-1e-3, 1e-3, (121, 2000))) for m in (1, 1.5)]
    ).ravel()
    tiny = sample(fmt, rng, (0, 1e-15), (0, 1e-8), (0, 1e-3), count=200_000)
    scales = 10.0 ** sample(fmt, rng, (-300, 300), (-20, 20), count=500_000)
    body = sample(fmt, rng, (0, 4), (0.49, 0.57), (0, 100), count=500_000)
    points = np.concatenate([near_powers, tiny, scales, body, [1e-20, 1e300]])
    return points[points > 0]


def exp_reference(fmt):
    """e^(t - n ln2) in the wide arithmetic, with ln2 in two parts so that nothing is lost."""
    hi = fmt.round(mp.ln2, fmt.ln2_hi_bits)
    wide_hi, wide_lo = fmt.wide(float(hi)), fmt.wide(mp.nstr(mp.ln2 - hi, 25))
    return lambda t, n: np.exp((fmt.wide(t) - n.astype(fmt.wide) * wide_hi) - n * wide_lo)


# ---------------------------------------------------------------------------------------------


def print_coefficients(fmt, name, first, coefficients):
    for k, c in enumerate(coefficients, first):
        print(f"  {name}{k:<2} {fmt.literal(c):<26} // {mp.nstr(c, 20)}")


def print_approximation_error(fmt, what, error):
    log2 = mp.nstr(mp.log(error, 2), 4)
    print(f"  approximation error, {what:<15} {mp.nstr(error / fmt.eps, 4):>9} eps = 2^{log2}")


def print_worst(what, fused, result):
    error, t = result
    what += ", with fma" if fused else ", without fma"
    print(f"  {what:<38} {float(error):.4f} ulp  at t = {t:.9g}")


def derive_exp(fmt, rng):
    print(f"\n{fmt.name} exp: e^r = 1 + r (1 + r (c2 + c3 r + ...)), degree {fmt.exp_degree}")
    problem = exp_problem()
    ideal = remez(*problem, fmt.exp_degree - 1)
    q = round_coefficients(fmt, *problem, fmt.exp_degree - 1)
    print_coefficients(fmt, "c", 2, q)
    print_approximation_error(fmt, "minimax", exp_approximation_error(ideal))
    print_approximation_error(fmt, "rounded", exp_approximation_error(q))

    points = exp_sample(fmt, rng)
    reference = exp_reference(fmt)
    for function in exp_horner, exp_split, exp_compensated:
        for fused in True, False:
            evaluate = partial(function, Arithmetic(fmt, fused), q)
            result = worst(fmt, evaluate, reference, points, lambda t, n: mp.exp(t - n * mp.ln2))
            print_worst(function.__name__, fused, result)


def derive_roots(fmt, rng):
    print(f"\n{fmt.name} exp: e^r as above for |r| <= ln 2 / 32, and roots of two")
    q = round_coefficients(fmt, *exp_problem(ROOTS), fmt.root_terms)
    print_coefficients(fmt, "c", 2, q)
    print_approximation_error(fmt, "rounded", exp_approximation_error(q, ROOTS))
    exact = [mp.mpf(2) ** (mp.mpf(j) / ROOTS) for j in range(ROOTS)]
    high = [fmt.round(root) for root in exact]
    low = [fmt.round(root - above) for root, above in zip(exact, high, strict=True)]
    for j, (above, below) in enumerate(zip(high, low, strict=True)):
        print(f"  2^({j:>2} / {ROOTS}) = {fmt.literal(above)} + {fmt.literal(below)}")

    evaluate = partial(exp_from_root, Arithmetic(fmt, True), q, np.array([high, low]).astype(fmt.dtype))
    points = exp_sample(fmt, rng)
    result = worst(fmt, evaluate, exp_reference(fmt), points, lambda t, n: mp.exp(t - n * mp.ln2))
    print_worst("exp_from_root", True, result)


def derive_log(fmt, rng):
    print(f"\n{fmt.name} log: R(z) = z (L1 + L2 z + ...), wanted error < 2^{fmt.log_error}")
    problem = log_problem()
    error, count = mp.inf, 0
    while error >= mp.ldexp(1, fmt.log_error):
        count += 1
        error = log_approximation_error(remez(*problem, count))
        print_approximation_error(fmt, f"{count} coefficients", error)
    coefficients = round_coefficients(fmt, *problem, count)
    print_approximation_error(fmt, "rounded", log_approximation_error(coefficients))
    print_coefficients(fmt, "L", 1, coefficients)

    def measure(what, function, points):
        def evaluate(arithmetic, t):
            return None, function(arithmetic, coefficients, t)

        def reference(t, _):
            return np.log1p(t.astype(fmt.wide))

        for fused in True, False:
            run = partial(evaluate, Arithmetic(fmt, fused))
            result = worst(fmt, run, reference, points, lambda t, _: mp.log1p(t))
            print_worst(what, fused, result)

    measure("log1p_unit, t <= 1", log1p_unit, log1p_unit_sample(fmt, rng))
    if fmt is F64:
        points = log1p_sample(fmt, rng)
        for function in log1p_corrected, log1p_direct:
            measure(function.__name__, function, points)
            measure(f"{function.__name__}, t < 1e-7", function, points[points < 1e-7])


def exp_remainder(terms):
    """The series of e^r behind its first terms, for the relative error of e^r."""
    bound = mp.ln2 / 2 * mp.mpf("1.0001")
    grid = chebyshev_grid(-bound, bound)
    target = [(mp.exp(r) - sum(r**k / mp.factorial(k) for k in range(terms))) / r**terms for r in grid]
    return grid, target, [abs(r) ** terms / mp.exp(r) for r in grid]


def log_remainder(bound, terms):
    """The series 2 atanh(s)/s = 2 + 2/3 z + ..., z = s^2 <= bound, behind its first terms."""
    grid = chebyshev_grid(mp.mpf(0), bound)[1:]
    values = [2 * mp.atanh(mp.sqrt(z)) / mp.sqrt(z) for z in grid]
    lead = [sum(2 * z**k / (2 * k + 1) for k in range(terms)) for z in grid]
    target = [(a - b) / z**terms for z, a, b in zip(grid, values, lead, strict=True)]
    return grid, target, [z**terms / a for z, a in zip(grid, values, strict=True)]


def derive_powers():
    cases = {
        "pair exp: 1 + r + r^2 / 2 + r^3 / 6 + r^4 (c0 + c1 r + ...)": (exp_remainder(4), 10),
        "pair log: s (2 + 2/3 z + z^2 (c0 + c1 z + ...)), z <= 1/25": (log_remainder(mp.mpf("0.04"), 2), 8),
        "plain exp: 1 + r + r^2 (c0 + c1 r + ...)": (exp_remainder(2), 6),
        "plain log: s (2 + z (c0 + c1 z + ...)), z <= 1/9": (log_remainder(mp.mpf(1) / 9, 1), 6),
    }
    for what, (problem, count) in cases.items():
        print(f"\n{what}")
        coefficients = round_coefficients(F64, *problem, count)
        print_coefficients(F64, "c", 0, coefficients)
        samples = zip(*problem, strict=True)
        error = max(w * abs(g - mp.polyval(coefficients[::-1], x)) for x, g, w in samples)
        print_approximation_error(F64, "rounded", error)
    for what, value in ("1/6", mp.mpf(1) / 6), ("2/3", mp.mpf(2) / 3), ("ln 2", mp.ln2):
        high = F64.round(value, F64.ln2_hi_bits if what == "ln 2" else None)
        low = F64.round(value - high)
        print(f"  {what} = {F64.literal(high)} + {F64.literal(low)} + {F64.literal(F64.round(value - high - low))}")


def main():
    if np.finfo(LD).nmant < 63:
        raise SystemExit("needs a long double of at least 64 bits")
    for fmt in F32, F64:
        rng = np.random.default_rng(20240607)
        print(f"\n{fmt.name} constants")
        for name, value in fmt.constants().items():
            print(f"  {name:<7} {fmt.literal(value):<26} // {mp.nstr(value, 20)}")
        derive_exp(fmt, rng)
        derive_roots(fmt, rng)
        derive_log(fmt, rng)
    derive_powers()


if __name__ == "__main__":
    main()
