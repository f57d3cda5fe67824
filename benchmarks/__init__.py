"""The speed of fastxent beside its peers and beside what the memory allows.

Run ``python -m benchmarks`` from the checkout; ``benchmarks/README.md`` says how it measures.
"""
