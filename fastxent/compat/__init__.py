"""The names that Keras, TensorFlow and torch give to cross-entropies, with their arguments and reductions.

Code written for one of them runs on fastxent by changing an import: `fastxent.compat.keras`, `fastxent.compat.tf_nn`,
`fastxent.compat.tf_losses`, `fastxent.compat.torch`. None of the three is needed for it, but torch for the last. What
they compute is the same, except where they lose digits or compute nonsense; each module says where.
"""
