cimport numpy as cnp

cdef cnp.ndarray empty(int ndim, cnp.npy_intp *shape, int type_number)
