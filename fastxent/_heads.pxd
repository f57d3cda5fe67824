# Heads: a loss of the softmax family as a function of nll = -log p of one class. What it returns: its value, and its
# first and second derivative by nll. With targets y the loss of a row is sum_i y_i f(nll_i).
#
# A head is plain arithmetic on what it is given, in double for floats and in long double for doubles: nll, p, 1 - p,
# and for the head that asks for it (`raised`) a power (p or 1 - p to the power of the parameter) and 1 - power. All of
# these are exact to the precision of the type even where p is nearly 1, and none of them is computed here.

from libc.math cimport INFINITY

ctypedef long double extended

ctypedef fused wide:
    double
    extended

cdef enum Raised:
    NOTHING, P, NOT_P

cdef struct Head:
    Raised raised
    bint magnifies             # an error of 1 - p comes out larger in the loss, where 1 - p is small
    double parameter
    void (*of_double)(double nll, double p, double not_p, double power, double lack, double parameter,
                      double *at) noexcept nogil
    void (*of_extended)(extended nll, extended p, extended not_p, extended power, extended lack, extended parameter,
                        extended *at) noexcept nogil


cdef inline void cross_entropy(wide nll, wide p, wide not_p, wide power, wide lack, wide parameter,
                               wide *at) noexcept nogil:
    at[0] = nll
    at[1] = 1
    at[2] = 0


cdef inline void focal(wide nll, wide p, wide not_p, wide power, wide lack, wide gamma, wide *at) noexcept nogil:
    """(1 - p)^gamma nll; as p goes to 1, nll / (1 - p) goes to 1."""
    cdef wide share = p * nll if p != 0 else 0
    cdef wide ratio = share / not_p if not_p != 0 else 1
    at[0] = power * nll
    at[1] = power * (1 + gamma * ratio)
    at[2] = power / not_p * (gamma * ((gamma - 1) * p * ratio + 2 * p - share)) if not_p != 0 else 0


cdef inline wide excess(wide nll, wide not_p) noexcept nogil:
    """nll - (1 - exp(-nll)), by its series where that would cancel."""
    cdef wide sum = 1
    cdef int k
    if not nll < 0.25:
        return nll - not_p
    for k in range(15, 2, -1):
        sum = 1 - nll / k * sum
    return nll * nll / 2 * sum


cdef inline void poly(wide nll, wide p, wide not_p, wide power, wide lack, wide epsilon, wide *at) noexcept nogil:
    """nll + epsilon (1 - p), for an epsilon near -1 as well."""
    if epsilon > 0:
        at[0] = nll + epsilon * not_p
        at[1] = 1 + epsilon * p
    else:
        at[0] = (1 + epsilon) * nll - epsilon * excess(nll, not_p) if nll != INFINITY else nll
        at[1] = 1 + epsilon - epsilon * not_p
    at[2] = -epsilon * p


cdef inline void generalized(wide nll, wide p, wide not_p, wide power, wide lack, wide q, wide *at) noexcept nogil:
    """(1 - p^q) / q"""
    at[0] = lack / q
    at[1] = power
    at[2] = -q * power


cdef inline Head head_of(str name, double parameter) except *:
    cdef Head head
    head.parameter = parameter
    head.raised = NOTHING
    head.magnifies = False
    if name == "cross_entropy":
        head.of_double, head.of_extended = cross_entropy[double], cross_entropy[extended]
    elif name == "focal":
        head.raised = NOT_P
        head.magnifies = True
        head.of_double, head.of_extended = focal[double], focal[extended]
    elif name == "poly":
        head.magnifies = parameter < 0
        head.of_double, head.of_extended = poly[double], poly[extended]
    elif name == "generalized":
        head.raised = P
        head.of_double, head.of_extended = generalized[double], generalized[extended]
    else:
        raise ValueError(name)
    return head
