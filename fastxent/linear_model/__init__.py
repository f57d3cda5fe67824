"""Linear classifiers as scikit-learn has them, fitted by the losses of this package."""

import importlib.util

if not importlib.util.find_spec("sklearn"):
    raise ImportError('fastxent.linear_model needs scikit-learn: pip install "fastxent[sklearn]"')

from fastxent.linear_model._cross_entropy import CrossEntropyClassifier
from fastxent.linear_model._sampled_softmax import SampledSoftmaxClassifier, TopK

__all__ = ["CrossEntropyClassifier", "SampledSoftmaxClassifier", "TopK"]
