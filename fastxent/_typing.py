"""Types of the losses' arguments, for their overloads."""

from __future__ import annotations

from typing import Any, Literal, TypedDict

import numpy as np

# What asks for a gradient or a Hessian: True, or an array to write it to.
Asked = Literal[True] | np.ndarray
Reduced = Literal["mean", "sum"]


class SigmoidOptions(TypedDict, total=False):
    """Options that do not change what a sigmoid loss returns."""

    sample_weight: Any
    pos_weight: Any
    label_smoothing: float
    n_threads: int | None


class FocalOptions(SigmoidOptions, total=False):
    """The same of the focal loss."""

    gamma: float
    alpha: Any


class SoftmaxOptions(TypedDict, total=False):
    """Options that do not change what a softmax loss returns."""

    axis: int
    sample_weight: Any
    class_weight: Any
    label_smoothing: float
    ignore_index: int | None
    class_mask: Any
    temperature: float
    softcap: float | None
    logit_bias: Any
    z_loss: float
    n_threads: int | None


class BinaryOptions(TypedDict, total=False):
    """Options that do not change what `binary_cross_entropy` returns."""

    sample_weight: Any
    pos_weight: Any
    label_smoothing: float
    eps: float
    n_threads: int | None


class CategoricalOptions(TypedDict, total=False):
    """Options that do not change what `categorical_cross_entropy` returns."""

    axis: int
    sample_weight: Any
    class_weight: Any
    label_smoothing: float
    ignore_index: int | None
    eps: float
    normalize: bool
    n_threads: int | None


# The same of the gradients by inputs, weight and bias.
LinearAsked = Literal[True] | tuple[bool | np.ndarray | None, bool | np.ndarray | None, bool | np.ndarray | None]


class LinearOptions(TypedDict, total=False):
    """Options that do not change what `linear_cross_entropy` returns."""

    bias: Any
    loss: Any
    sample_weight: Any
    class_weight: Any
    pos_weight: Any
    label_smoothing: float
    ignore_index: int | None
    class_mask: Any
    temperature: float
    softcap: float | None
    logit_bias: Any
    z_loss: float
    n_threads: int | None
