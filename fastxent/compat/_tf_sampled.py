"""The sampled losses and candidate samplers of `tf.nn` and `tf.random`, for `fastxent.compat.tf_nn`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from fastxent import _validate
from fastxent._words import Words
from fastxent.sampled import accidental_hits
from fastxent.sampled import nce_loss as core_nce_loss
from fastxent.sampled import sampled_softmax_loss as core_sampled_softmax_loss
from fastxent.samplers import FixedUnigramSampler, LearnedUnigramSampler, LogUniformSampler, Sampled, UniformSampler

_LOSS_WORDS = Words(
    {"weight": "weights", "bias": "biases", "sampled": "sampled_values", "n_classes": "num_classes"},
    {"bias has": "biases have", "weight has": "weights have", "sampled ids": "sampled_candidates"},
)
_SAMPLER_WORDS = Words({"labels": "true_classes", "n_classes": "range_max", "counts": "unigrams"})


def sampled_softmax_loss(
    weights: Any,
    biases: Any,
    labels: Any,
    inputs: Any,
    num_sampled: int,
    num_classes: int,
    num_true: int = 1,
    sampled_values: Any = None,
    remove_accidental_hits: bool = True,
    seed: Any = None,
    name: str | None = "sampled_softmax_loss",
    *,
    grad: bool = False,
) -> Any:
    """Softmax cross-entropy of each row over its true classes and a sample of the others, as `tf.nn` has it.

    Parameters
    ----------
    weights : array_like, shape (num_classes, d), or a list of such arrays, which are put one below the other
        A row for each class.
    biases : array_like, shape (num_classes,)
        Added to the scores.
    labels : array_like of integers, shape (n, num_true)
        The true classes.
    inputs : array_like, shape (n, d)
        What the scores are linear in.
    num_sampled, num_classes, num_true : int
        How many classes to sample, how many there are, how many are true in each row.
    sampled_values : tuple (sampled_candidates, true_expected_count, sampled_expected_count), optional
        From a candidate sampler; `log_uniform_candidate_sampler` with unique candidates otherwise.
    remove_accidental_hits : bool, default True
        Whether to leave out sampled classes that are true ones of the row, wherever they stand.
    seed : int or numpy.random.Generator, optional
        Of the sampler.
    name : str, optional
        Ignored.
    grad : bool, default False
        Whether to return the gradient of the sum of the losses.

    Returns
    -------
    loss : ndarray, shape (n,)
    grad : SampledGradient (inputs, weight, bias), if asked for

    Raises
    ------
    TypeError, ValueError
        As `fastxent.sampled_softmax_loss`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastxent.compat import tf_nn
    >>> tf_nn.sampled_softmax_loss(np.zeros((4, 2)), np.zeros(4), [[1], [3]], np.ones((2, 2)), 4, 4, seed=0).round(6)
    array([1.386294, 1.386294])

    Source: TensorFlow, `tensorflow/python/ops/nn_impl.py`.
    """
    with _LOSS_WORDS:
        arguments, options = _arguments(
            weights, biases, labels, inputs, num_sampled, num_classes, num_true, sampled_values, seed, grad
        )
        return core_sampled_softmax_loss(*arguments, remove_accidental_hits=remove_accidental_hits, **options)


def nce_loss(
    weights: Any,
    biases: Any,
    labels: Any,
    inputs: Any,
    num_sampled: int,
    num_classes: int,
    num_true: int = 1,
    sampled_values: Any = None,
    remove_accidental_hits: bool = False,
    name: str | None = "nce_loss",
    *,
    seed: Any = None,
    grad: bool = False,
) -> Any:
    """Noise-contrastive estimation: the sigmoid cross-entropies of a row's true and sampled classes, as `tf.nn` has it.

    Parameters
    ----------
    weights, biases, labels, inputs, num_sampled, num_classes, num_true, sampled_values, name, grad
        As in `sampled_softmax_loss`.
    remove_accidental_hits : bool, default False
        Whether to leave out sampled classes that are true ones of the row ("sampled logistic").
    seed : int or numpy.random.Generator, optional
        Of the sampler; new.

    Returns
    -------
    loss : ndarray, shape (n,)
    grad : SampledGradient (inputs, weight, bias), if asked for

    Raises
    ------
    TypeError, ValueError
        As `fastxent.nce_loss`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastxent.compat import tf_nn
    >>> sampled_values = [2], [[1.0]], [1.0]
    >>> tf_nn.nce_loss(np.zeros((4, 2)), np.zeros(4), [[1]], [[1.0, 1.0]], 1, 4, sampled_values=sampled_values).round(6)
    array([1.386294])

    Source: TensorFlow, `tensorflow/python/ops/nn_impl.py`.
    """
    with _LOSS_WORDS:
        arguments, options = _arguments(
            weights, biases, labels, inputs, num_sampled, num_classes, num_true, sampled_values, seed, grad
        )
        return core_nce_loss(*arguments, remove_accidental_hits=remove_accidental_hits, **options)


def uniform_candidate_sampler(
    true_classes: Any,
    num_true: int,
    num_sampled: int,
    unique: bool,
    range_max: int,
    seed: Any = None,
    name: str | None = None,
) -> Sampled:
    """Candidates all alike, see `fastxent.samplers.UniformSampler`; `log_uniform_candidate_sampler` for the arguments.

    Source: TensorFlow, `tensorflow/python/ops/candidate_sampling_ops.py`.
    """
    with _SAMPLER_WORDS:
        sampler = UniformSampler(range_max, unique=unique, rng=seed)
        return sampler.sample(_true_classes("labels", true_classes, num_true), num_sampled)


def log_uniform_candidate_sampler(
    true_classes: Any,
    num_true: int,
    num_sampled: int,
    unique: bool,
    range_max: int,
    seed: Any = None,
    name: str | None = None,
) -> Sampled:
    """Candidates from Zipf's distribution, see `fastxent.samplers.LogUniformSampler`.

    Parameters
    ----------
    true_classes : array_like of integers, shape (n, num_true)
        The true classes, in [0, range_max).
    num_true, num_sampled : int
        How many classes are true in each row, and how many are to be sampled.
    unique : bool
        Whether the sampled ones are to be different.
    range_max : int
        How many classes there are.
    seed : int or numpy.random.Generator, optional
        Where random numbers come from: not those of TensorFlow for the same seed.
    name : str, optional
        Ignored.

    Returns
    -------
    Sampled (ids, true_expected, sampled_expected)
        TensorFlow's sampled_candidates, true_expected_count, sampled_expected_count.

    Raises
    ------
    TypeError, ValueError
        Classes that are no integers or out of range; more unique candidates than there are.

    Examples
    --------
    >>> from fastxent.compat import tf_nn
    >>> ids, true_expected, sampled_expected = tf_nn.log_uniform_candidate_sampler([[0], [2]], 1, 3, True, 3, seed=0)
    >>> sorted(ids.tolist()), true_expected.tolist()
    ([0, 1, 2], [[1.0], [1.0]])

    Source: TensorFlow, `tensorflow/python/ops/candidate_sampling_ops.py`.
    """
    with _SAMPLER_WORDS:
        sampler = LogUniformSampler(range_max, unique=unique, rng=seed)
        return sampler.sample(_true_classes("labels", true_classes, num_true), num_sampled)


def learned_unigram_candidate_sampler(
    true_classes: Any,
    num_true: int,
    num_sampled: int,
    unique: bool,
    range_max: int,
    seed: Any = None,
    name: str | None = None,
) -> Sampled:
    """Candidates from frequencies that are learned, see `fastxent.samplers.LearnedUnigramSampler`.

    A function remembers nothing from call to call, so that each begins where all classes are alike; what learns is a
    sampler that is kept. `log_uniform_candidate_sampler` for the arguments.

    Source: TensorFlow, `tensorflow/python/ops/candidate_sampling_ops.py`.
    """
    with _SAMPLER_WORDS:
        sampler = LearnedUnigramSampler(range_max, unique=unique, rng=seed)
        return sampler.sample(_true_classes("labels", true_classes, num_true), num_sampled)


def fixed_unigram_candidate_sampler(
    true_classes: Any,
    num_true: int,
    num_sampled: int,
    unique: bool,
    range_max: int,
    vocab_file: str = "",
    distortion: float = 1.0,
    num_reserved_ids: int = 0,
    num_shards: int = 1,
    shard: int = 0,
    unigrams: Any = (),
    seed: Any = None,
    name: str | None = None,
) -> Sampled:
    """Candidates from given frequencies, see `fastxent.samplers.FixedUnigramSampler`.

    Parameters
    ----------
    true_classes, num_true, num_sampled, unique, range_max, seed, name
        As of `log_uniform_candidate_sampler`.
    vocab_file : str, optional
        A file whose lines end in a frequency after a comma, or are one; lines that do not are passed over.
    distortion : float, at least 0, default 1
        The exponent of the frequencies.
    num_reserved_ids : int, default 0
        So many first classes are never sampled; the frequencies are those of the classes after them.
    num_shards, shard : int
        Of all classes those whose number is `shard` modulo `num_shards` are kept, and numbered anew.
    unigrams : array_like, optional
        The frequencies, if they are not in a file.

    Returns
    -------
    Sampled (ids, true_expected, sampled_expected)

    Raises
    ------
    TypeError, ValueError
        As `log_uniform_candidate_sampler`; both or neither of file and frequencies; another number of them than of
        classes.

    Examples
    --------
    >>> from fastxent.compat import tf_nn
    >>> tf_nn.fixed_unigram_candidate_sampler([[0], [1]], 1, 4, False, 2, unigrams=[1, 3], seed=0).true_expected
    array([[1.],
           [3.]])

    Source: TensorFlow, `tensorflow/python/ops/candidate_sampling_ops.py`.
    """
    with _SAMPLER_WORDS:
        classes = _validate.count_of("n_classes", range_max)
        shards = _validate.count_of("num_shards", num_shards)
        counts = np.empty(0) if unigrams is None else np.asarray(unigrams)
        if bool(vocab_file) == (counts.size > 0):
            raise ValueError("give either vocab_file or unigrams: both or neither were given")
        if vocab_file:
            counts = _frequencies(vocab_file)
        if counts.ndim != 1:
            raise ValueError(f"unigrams have shape {counts.shape}: give one for each class, of shape (n,)")
        reserved = _validate.count_of("num_reserved_ids", num_reserved_ids, 0)
        if _validate.count_of("shard", shard, 0) >= shards:
            raise ValueError(f"shard is {shard}: give one from 0 to {shards - 1}")
        kept = np.arange(reserved + len(counts)) % shards == shard
        reserved, counts = int(kept[:reserved].sum()), counts[kept[reserved:]]
        if reserved + len(counts) != classes:
            raise ValueError(
                f"range_max is {classes}, but {reserved} reserved ids and {len(counts)} frequencies are in the shard:"
                " give their sum"
            )
        sampler = FixedUnigramSampler(counts, distortion=distortion, num_reserved_ids=reserved, unique=unique, rng=seed)
        return sampler.sample(_true_classes("labels", true_classes, num_true), num_sampled)


def all_candidate_sampler(
    true_classes: Any, num_true: int, num_sampled: int, unique: bool, seed: Any = None, name: str | None = None
) -> Sampled:
    """All classes from 0 to `num_sampled`, each expected once; `log_uniform_candidate_sampler` for the arguments.

    Source: TensorFlow, `tensorflow/python/ops/candidate_sampling_ops.py`.
    """
    with _SAMPLER_WORDS:
        classes = _validate.count_of("num_sampled", num_sampled)
        true = _validate.candidate_labels(_true_classes("labels", true_classes, num_true), classes)
        return Sampled(np.arange(classes), np.ones(true.shape), np.ones(classes))


def compute_accidental_hits(
    true_classes: Any, sampled_candidates: Any, num_true: int, seed: Any = None, name: str | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where sampled candidates are true classes: rows, places among the candidates, and -FLT_MAX for each.

    Of a candidate that was sampled several times every place is found, where TensorFlow finds the last.

    Parameters
    ----------
    true_classes : array_like of integers, shape (n, num_true)
        The true classes.
    sampled_candidates : array_like of integers, shape (num_sampled,)
        The sampled ones.
    num_true : int
        How many classes are true in each row.
    seed, name
        Ignored.

    Returns
    -------
    indices : ndarray of int32
    ids : ndarray of int64
    weights : ndarray of float32

    Raises
    ------
    TypeError, ValueError
        Classes that are no integers, or negative.

    Examples
    --------
    >>> from fastxent.compat import tf_nn
    >>> indices, ids, weights = tf_nn.compute_accidental_hits([[3, 1], [5, 3]], [3, 2, 5], 2)
    >>> indices.tolist(), ids.tolist()
    ([0, 1, 1], [0, 2, 0])

    Source: TensorFlow, `tensorflow/python/ops/candidate_sampling_ops.py`.
    """
    with _SAMPLER_WORDS:
        most = np.iinfo(np.int64).max
        true = _validate.candidate_labels(_true_classes("labels", true_classes, num_true), most)
        ids = _validate.class_ids("sampled_candidates", sampled_candidates, most)
        if ids.ndim != 1:
            raise ValueError(f"sampled_candidates has shape {ids.shape}: give shape (num_sampled,)")
        rows, places = accidental_hits(true, ids)
        weights = np.full(len(rows), -np.finfo(np.float32).max, np.float32)
        return rows.astype(np.int32), places.astype(np.int64), weights


def _true_classes(name: str, value: Any, num_true: int) -> np.ndarray:
    """Refuse true classes that are not `num_true` in each row."""
    array = _validate.real_array(name, value)
    if array.ndim != 2 or array.shape[1] != num_true:
        raise ValueError(f"{name} have shape {array.shape}: give (n, num_true), with num_true = {num_true}")
    return array


def _arguments(
    weights: Any,
    biases: Any,
    labels: Any,
    inputs: Any,
    num_sampled: Any,
    num_classes: Any,
    num_true: Any,
    sampled_values: Any,
    seed: Any,
    grad: Any,
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Weights, biases, inputs, labels in the order of the core, and what is the same for both losses."""
    if isinstance(weights, (list, tuple)) and all(isinstance(part, np.ndarray) and part.ndim == 2 for part in weights):
        weights = np.concatenate(weights)
    true = _true_classes("labels", labels, num_true)
    sampler = None
    if sampled_values is None:
        rows = len(weights) if hasattr(weights, "__len__") else 0
        candidates = LogUniformSampler(num_classes, rng=seed)
        if candidates.n_classes > rows:
            raise ValueError(f"num_classes is {num_classes}, but weights have {rows} rows: give one for each class")
        # Draws when all else has been checked; rows of weights behind the last class are never sampled.
        sampler = SimpleNamespace(sample=candidates.sample)
    options = {
        "sampler": sampler,
        "sampled": sampled_values,
        "num_sampled": num_sampled,
        "reduction": "none",
        "grad": grad,
    }
    return (weights, biases, inputs, true), options


def _frequencies(path: str) -> np.ndarray:
    """The last field of each line that has a number there."""
    counts = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            last = line.rsplit(",", 1)[-1].strip()
            try:
                counts.append(float(last))
            except ValueError:
                continue
    return np.array(counts)
