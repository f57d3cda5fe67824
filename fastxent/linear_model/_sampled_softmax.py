"""A linear classifier for so many classes that each step of its training looks at a sample of them."""

from __future__ import annotations

import copy
import math
import time
import warnings
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import type_of_target, unique_labels
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from fastxent import _validate
from fastxent.linear import linear_cross_entropy
from fastxent.linear_model._progress import Progress
from fastxent.linear_model._scores import close_to_best, scores_of, top_k
from fastxent.linear_model._whole import all_or_nothing
from fastxent.row_sparse import RowSparse
from fastxent.sampled import nce_loss, sampled_softmax_loss
from fastxent.samplers import LearnedUnigramSampler, LogUniformSampler, UniformSampler
from fastxent.special import log_softmax, softmax

# The function of each loss, and whether what is sampled and true is left out among the sampled.
_LOSSES: dict[str, tuple[Any, bool]] = {
    "sampled_softmax": (sampled_softmax_loss, True),
    "nce": (nce_loss, False),
    "sampled_logistic": (nce_loss, True),
}
_SAMPLERS: dict[str, Any] = {
    "unigram": LearnedUnigramSampler,
    "log_uniform": LogUniformSampler,
    "uniform": UniformSampler,
}
# Where Adagrad's sums of squares begin: from 0, first steps would be of the learning rate's length, however small the
# gradient. Gradients are those of sums over rows, of the size of the features.
_FIRST_SUM = 0.01


class TopK(NamedTuple):
    """The likeliest classes of each row, likeliest first.

    Parameters
    ----------
    classes : ndarray, shape (n, k)
    probabilities : ndarray, shape (n, k)
        Of the softmax over all classes, so that a row adds up to 1 at most.
    """

    classes: np.ndarray
    probabilities: np.ndarray


class SampledSoftmaxClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Multinomial logistic regression for very many classes, trained on a sample of them at a time.

    For weights ``w_c`` and intercepts ``b_c`` of classes c, and n examples of features x and a class y::

        P(c | x) = softmax(z)_c,    z_c = w_c . x + b_c
        objective = -1/n sum_i log P(y_i | x_i) + alpha/2 sum_c |w_c|^2

    A step of Adagrad takes `batch_size` examples and `num_sampled` classes: by `loss` an estimate of the gradient, of
    which only the rows of sampled and true classes are not 0. Predictions are exact, from the scores of all classes.
    Where there are no more than `num_sampled` classes nothing is sampled, and whatever the `loss`, a step takes the
    exact gradient of the objective.

    A row with several labels (`y` an indicator matrix) is an example for each of them, of equal weights that add up to
    that of the row: P is the distribution of a label picked from the row's. Rows without a label are no examples.

    Parameters
    ----------
    loss : {"sampled_softmax", "nce", "sampled_logistic"}, default "sampled_softmax"
        `fastxent.sampled_softmax_loss`; `fastxent.nce_loss` without and with the removal of accidental hits.
    sampler : {"unigram", "log_uniform", "uniform"} or a sampler of `fastxent.samplers`, default "unigram"
        Distribution of the sampled classes. "unigram": how often they were labels so far, plus 1; "log_uniform": Zipf's
        law, for `classes_` in the order of falling frequency. Of a sampler, a copy is used.
    num_sampled : int, default 1024
        Different classes to sample for a batch, if the sampler's are different ones.
    learning_rate : float, default 0.1
        Of Adagrad.
    alpha : float, default 0.0
        Factor of the penalty. The weights of a class are pulled towards 0 by steps for which it is sampled or true.
    fit_intercept : bool, default True
        Whether there are intercepts. They begin as the logarithms of the frequencies of the classes, plus 1.
    batch_size : int, default 256
        Examples of a step.
    max_iter : int, default 100
        Epochs at most, in each of which every example is seen once.
    tol : float or None, default 1e-3
        An epoch is an improvement if its mean loss is below the best by more than that. None: all of `max_iter`.
    n_iter_no_change : int, default 5
        Epochs in a row without an improvement after which training ends.
    shuffle : bool, default True
        Whether to mix the examples anew in each epoch.
    random_state : int, RandomState or None, default None
        Where the sampled classes and the order of examples come from. A sampler that is given has its own `rng`.
    warm_start : bool, default False
        Whether `fit` goes on from where it ended before, with the same classes.
    n_threads : int, optional
        How many threads to use at most; the result has the same bits for every number.
    verbose : int, default 0
        Whether to show a progress bar, with the loss and rows per second (needs rich).

    Attributes
    ----------
    classes_ : ndarray, shape (C,)
        The sorted labels; of an indicator matrix, the numbers of its columns unless `partial_fit` was given others.
    coef_ : ndarray of float32 or float64, shape (C, d)
        Weights, of the dtype of X. Two classes have a row each, too.
    intercept_ : ndarray, shape (C,)
    multilabel_ : bool
        Whether `y` was an indicator matrix.
    loss_curve_ : list of float
        Mean loss of each epoch, in nats, while its steps were made; without the penalty. Sampled losses of different
        samplers or numbers of samples cannot be compared.
    n_iter_ : int
        Epochs, those before a warm start and calls of `partial_fit` included.
    n_features_in_ : int
    feature_names_in_ : ndarray, shape (d,)
        Where X has names of columns that are strings.

    Examples
    --------
    >>> import numpy as np
    >>> from fastxent.linear_model import SampledSoftmaxClassifier
    >>> rng = np.random.default_rng(0)
    >>> directions = rng.standard_normal((5000, 32)).astype(np.float32)
    >>> y = np.tile(np.arange(5000), 4)
    >>> X = directions[y] + 0.5 * rng.standard_normal((20_000, 32), dtype=np.float32)
    >>> model = SampledSoftmaxClassifier(num_sampled=256, max_iter=3, tol=None, random_state=0).fit(X, y)
    >>> bool(model.score(directions, np.arange(5000)) > 0.9)
    True
    >>> model.predict_top_k(directions[:1], k=3).classes[0, 0]
    np.int64(0)

    Sources: Jean, Cho, Memisevic and Bengio, "On using very large target vocabulary" (2015); Duchi, Hazan and Singer,
    "Adaptive subgradient methods" (2011); for several labels Menon, Rawat, Reddi and Kumar, "Multilabel reductions:
    what is my loss optimising?" (2019), "pick all labels, normalised".
    """

    classes_: np.ndarray
    coef_: np.ndarray
    intercept_: np.ndarray
    multilabel_: bool
    loss_curve_: list[float]
    n_iter_: int

    def __init__(
        self,
        loss: str = "sampled_softmax",
        *,
        sampler: Any = "unigram",
        num_sampled: int = 1024,
        learning_rate: float = 0.1,
        alpha: float = 0.0,
        fit_intercept: bool = True,
        batch_size: int = 256,
        max_iter: int = 100,
        tol: float | None = 1e-3,
        n_iter_no_change: int = 5,
        shuffle: bool = True,
        random_state: Any = None,
        warm_start: bool = False,
        n_threads: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.loss = loss
        self.sampler = sampler
        self.num_sampled = num_sampled
        self.learning_rate = learning_rate
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.shuffle = shuffle
        self.random_state = random_state
        self.warm_start = warm_start
        self.n_threads = n_threads
        self.verbose = verbose

    # ---- training --------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> SampledSoftmaxClassifier:
        """Train, from the start unless `warm_start` says otherwise. Interrupted or refused, it changes nothing.

        Parameters
        ----------
        X : array_like or scipy.sparse CSR, shape (n, d)
            Features, finite. float32 is computed with as such, all else as float64. If classes are sampled, batches of
            sparse rows are made dense.
        y : array_like, shape (n,), or array_like or scipy.sparse CSR, shape (n, C)
            Labels of any kind; or an indicator of 0 and 1, for any number of labels a row.
        sample_weight : array_like, shape (n,), optional
            Weight of each row, finite and not negative. Rows of weight 0 are left out.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            Arguments and options outside their domains, a single class, a loss that is not finite any more.
        """
        with all_or_nothing(self):
            again = bool(self.warm_start) and hasattr(self, "coef_")
            before = self.classes_ if again else None
            X, y = self._checked(X, y, again)
            examples = self._examples(y, sample_weight, None)
            if before is not None and not np.array_equal(before, self.classes_):
                raise ValueError(
                    "warm_start can only be used where `y` has the same classes as in the previous call to fit."
                    f" Previously got {before}, `y` has {self.classes_}"
                )
            if again:
                # Steps are made in place, and may be interrupted.
                for name in ("coef_", "intercept_", "_squares", "_sampler", "_rng"):
                    setattr(self, name, copy.deepcopy(getattr(self, name)))
            else:
                self._begin(X, examples)
            self._train(X, examples, _validate.count_of("max_iter", self.max_iter))
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> SampledSoftmaxClassifier:
        """Train for one epoch on a part of the data; the weights are changed in place.

        Refused, it changes nothing; interrupted, or if the loss is not finite any more, steps that were made stay.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.
        classes : array_like, shape (C,), optional
            All labels that there are, for the first call; for an indicator matrix, labels of its columns, by default
            their numbers. Later calls may leave it out.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            As `fit`; labels that are not among the classes; other classes, features or kinds of `y` than before.
        """
        with all_or_nothing(self):
            first = not hasattr(self, "coef_")
            X, y = self._checked(X, y, not first)
            examples = self._examples(y, sample_weight, self._given_classes(y, classes, first))
            if first:
                self._begin(X, examples)
            self._train(X, examples, None)
        return self

    def _checked(self, X: Any, y: Any, again: bool) -> tuple[Any, Any]:
        """Features and labels, or what is wrong with them or with the options."""
        _validate.choice_of("loss", self.loss, tuple(_LOSSES))
        if isinstance(self.sampler, str):
            _validate.choice_of("sampler", self.sampler, tuple(_SAMPLERS))
        elif not callable(getattr(self.sampler, "sample", None)):
            raise TypeError(f"sampler is {self.sampler!r}: give {', '.join(_SAMPLERS)} or one of fastxent.samplers")
        for name in ("num_sampled", "batch_size", "n_iter_no_change"):
            _validate.count_of(name, getattr(self, name))
        for name in ("learning_rate", "alpha", *(() if self.tol is None else ("tol",))):
            _validate.number(name, getattr(self, name), 0.0, math.inf)
        for name in ("fit_intercept", "shuffle"):
            _validate.flag(name, getattr(self, name))
        dtype = self.coef_.dtype if again else [np.float64, np.float32]
        _validate.check_unmasked("X", X)
        _validate.check_unmasked("y", y)
        X, y = validate_data(self, X, y, accept_sparse="csr", dtype=dtype, multi_output=True, reset=not again)
        if scipy.sparse.issparse(y):
            strange = (y.data != 0) & (y.data != 1)
            if strange.any():
                raise ValueError(f"y holds {y.data[strange][0]}: give an indicator matrix of 0 and 1")
            multilabel = True
        else:
            # Without the warning that so many classes might be a regression target.
            kind = type_of_target(y, input_name="y")
            if kind not in ("binary", "multiclass", "multilabel-indicator"):
                raise ValueError(
                    f"Unknown label type: {kind}: give labels (n,), or an indicator matrix (n, C) of 0 and 1"
                )
            multilabel = kind == "multilabel-indicator"
        if again and multilabel != self.multilabel_:
            kinds = "labels", "an indicator matrix"
            raise ValueError(f"y is {kinds[multilabel]}, but was {kinds[not multilabel]} in calls before")
        self.multilabel_ = multilabel
        self._sparse_output = scipy.sparse.issparse(y)
        return X, y if multilabel else column_or_1d(y, warn=True)

    def _given_classes(self, y: Any, classes: Any, first: bool) -> np.ndarray:
        """The classes that hold for a call of `partial_fit`, in scikit-learn's words where they do not."""
        if classes is None and not first:
            return self.classes_
        if classes is None:
            if not self.multilabel_:
                raise ValueError("classes must be passed on the first call to partial_fit.")
            return np.arange(y.shape[1])
        given = np.asarray(classes) if self.multilabel_ else unique_labels(classes)
        if not first and not np.array_equal(given, self.classes_):
            raise ValueError(
                f"`classes={classes!r}` is not the same as on last call to partial_fit, was: {self.classes_!r}"
            )
        return given

    def _examples(self, y: Any, sample_weight: Any, classes: np.ndarray | None) -> _Examples:
        """Rows and their labels as numbers of classes, which become `classes_`, by default those that there are."""
        weights = _validate.weights_of("sample_weight", sample_weight, y.shape[:1])
        rows = np.arange(y.shape[0]) if weights is None else np.flatnonzero(weights)
        if len(rows) == 0:
            raise ValueError("sample_weight is zero in every row: there is nothing to fit to")
        if self.multilabel_:
            indicator = scipy.sparse.csr_array(y)[rows]
            indicator.sum_duplicates()
            indicator.eliminate_zeros()
            columns = indicator.shape[1]
            self.classes_ = np.arange(columns) if classes is None else classes
            if self.classes_.shape != (columns,):
                raise ValueError(
                    f"y has {columns} columns, but classes has shape {self.classes_.shape}: give one for each column"
                )
            counts = np.diff(indicator.indptr)
            if not counts.any():
                raise ValueError("y has no label in any row: there is nothing to fit to")
            shares = (1.0 if weights is None else weights[rows]) / np.maximum(counts, 1)
            return _Examples(np.repeat(rows, counts), indicator.indices.astype(np.int64), np.repeat(shares, counts))
        y = y[rows]
        if classes is None:
            self.classes_, labels = np.unique(y, return_inverse=True)
        else:
            self.classes_ = classes
            labels = np.minimum(np.searchsorted(classes, y), len(classes) - 1)
            strange = classes[labels] != y
            if strange.any():
                raise ValueError(
                    f"The target label(s) {np.unique(y[strange])} in y do not exist in the initial classes {classes}"
                )
        return _Examples(rows, labels, None if weights is None else weights[rows])

    def _begin(self, X: Any, examples: _Examples) -> None:
        """Weights and all that goes with them, as they are before the first step."""
        classes, features = len(self.classes_), X.shape[1]
        if classes < 2:
            raise ValueError("The number of classes has to be greater than one; got 1 class")
        seeds = check_random_state(self.random_state).randint(np.iinfo(np.int32).max, size=4)
        self._rng, for_sampler = np.random.default_rng(seeds).spawn(2)
        if isinstance(self.sampler, str):
            self._sampler = _SAMPLERS[self.sampler](classes, rng=for_sampler)
        else:
            self._sampler = copy.deepcopy(self.sampler)
            drawn = getattr(self._sampler, "n_classes", classes)
            if drawn != classes:
                raise ValueError(f"sampler draws from {drawn} classes, but y has {classes}: give one for these")
        self.coef_ = np.zeros((classes, features), X.dtype)
        self.intercept_ = np.zeros(classes, X.dtype)
        if self.fit_intercept:
            counts = 1.0 + np.bincount(examples.labels, examples.weights, classes)
            self.intercept_[:] = np.log(counts / counts.sum())
        self._squares = np.full_like(self.coef_, _FIRST_SUM), np.full_like(self.intercept_, _FIRST_SUM)
        self.loss_curve_ = []
        self.n_iter_ = 0

    def _train(self, X: Any, examples: _Examples, max_iter: int | None) -> None:
        """Epochs until nothing improves, `max_iter` at most; or a single one."""
        rows, labels, weights = examples
        count = len(labels)
        best, waited, done, started = math.inf, 0, 0, time.perf_counter()
        with Progress(self.verbose, count * (max_iter or 1), "training") as progress:
            for _ in range(max_iter or 1):
                order = self._rng.permutation(count) if self.shuffle else np.arange(count)
                loss = weight = 0.0
                for first in range(0, count, self.batch_size):
                    batch = order[first : first + self.batch_size]
                    batch_weights = None if weights is None else weights[batch]
                    batch_weight = len(batch) if batch_weights is None else float(batch_weights.sum())
                    loss += self._step(X[rows[batch]], labels[batch], batch_weights, batch_weight)
                    weight += batch_weight
                    done += len(batch)
                    speed = done / (time.perf_counter() - started)
                    progress.advance(len(batch), loss=loss / weight, rows_per_second=speed)
                loss /= weight
                self.loss_curve_ = [*self.loss_curve_, loss]
                self.n_iter_ += 1
                if not math.isfinite(loss):
                    raise ValueError(
                        f"the mean loss of epoch {self.n_iter_} is {loss}: scale X, as with StandardScaler, or give a"
                        " smaller learning_rate"
                    )
                if max_iter is None or self.tol is None:
                    continue
                waited = 0 if loss < best - self.tol else waited + 1
                best = min(best, loss)
                if waited == self.n_iter_no_change:
                    return
        if max_iter is not None and self.tol is not None:
            warnings.warn(
                f"training took all of max_iter={max_iter} epochs and was still improving by more than tol={self.tol}:"
                " give a larger max_iter, or tol=None if that many are wanted",
                ConvergenceWarning,
                stacklevel=3,
            )

    def _step(self, X: Any, labels: np.ndarray, weights: np.ndarray | None, weight: float) -> float:
        """A step along the gradient of a batch of so much weight; the sum of its losses."""
        bias = self.intercept_ if self.fit_intercept else None
        options: dict[str, Any] = {"sample_weight": weights, "reduction": "sum", "n_threads": self.n_threads}
        of_bias: RowSparse | None = None
        if len(self.classes_) <= self.num_sampled:
            asked = False, True, bias is not None
            loss, (_, d_weight, d_bias) = linear_cross_entropy(X, self.coef_, labels, bias=bias, grad=asked, **options)
            every = np.arange(len(self.classes_))
            of_weight = RowSparse(every, d_weight, self.coef_.shape)
            if bias is not None:
                of_bias = RowSparse(every, d_bias, bias.shape)
        else:
            function, remove = _LOSSES[self.loss]
            loss, (_, of_weight, of_bias) = function(
                self.coef_,
                bias,
                X.toarray() if scipy.sparse.issparse(X) else X,
                labels,
                sampler=self._sampler,
                num_sampled=self.num_sampled,
                remove_accidental_hits=remove,
                grad=True,
                **options,
            )
        if self.alpha:
            of_weight.values[...] += self.alpha * weight * self.coef_[of_weight.ids]
        of_weight.adagrad(self.coef_, self._squares[0], self.learning_rate, n_threads=self.n_threads)
        if of_bias is not None:
            of_bias.adagrad(self.intercept_, self._squares[1], self.learning_rate, n_threads=self.n_threads)
        return float(loss)

    # ---- prediction ------------------------------------------------------------------------------------------

    def predict_top_k(self, X: Any, k: int = 5) -> TopK:
        """The k likeliest classes of each row with their probabilities, in memory for some blocks of scores.

        Parameters
        ----------
        X : array_like or scipy.sparse CSR, shape (n, d)
            Features, of which float64 ones are rounded where the weights are float32.
        k : int, default 5
            How many classes, no more than there are.

        Returns
        -------
        TopK (classes, probabilities)
            Arrays (n, k), likeliest first; equally likely classes in the order of `classes_`.

        Raises
        ------
        TypeError, ValueError
            A `k` that is no whole number from 1 to the number of classes; what scikit-learn refuses.
        """
        X = self._features(X)
        if _validate.count_of("k", k) > len(self.classes_):
            raise ValueError(f"k is {k}, but there are {len(self.classes_)} classes: give that many at most")
        classes, scores, log_sums = top_k(X, self.coef_, self.intercept_, int(k), self.n_threads)
        with np.errstate(under="ignore"):
            probabilities = np.exp(scores - log_sums[:, None]).astype(scores.dtype)
        return TopK(self.classes_[classes], probabilities)

    def predict(self, X: Any) -> np.ndarray | scipy.sparse.csr_array:
        """The likeliest class of each row, of equal ones the first; or for several labels, all classes that are more
        than half as likely as that.

        Parameters
        ----------
        X : array_like or scipy.sparse CSR, shape (n, d)

        Returns
        -------
        ndarray, shape (n,), or ndarray or csr_array of int64, shape (n, C)
            Labels, or an indicator matrix where `fit` was given one: sparse if that was.
        """
        X = self._features(X)
        if not self.multilabel_:
            best = top_k(X, self.coef_, self.intercept_, 1, self.n_threads, normalize=False)[0]
            return np.asarray(self.classes_[best[:, 0]])
        places = close_to_best(X, self.coef_, self.intercept_, math.log(2), self.n_threads)
        shape = X.shape[0], len(self.classes_)
        indicator = scipy.sparse.csr_array((np.ones(len(places[0]), np.int64), places), shape=shape)
        return indicator if self._sparse_output else np.asarray(indicator.toarray())

    def decision_function(self, X: Any) -> np.ndarray:
        """Scores of all classes.

        Parameters
        ----------
        X : array_like or scipy.sparse CSR, shape (n, d)

        Returns
        -------
        ndarray, shape (n, C), or (n,) for labels of two classes
            For these the log-odds of the second.
        """
        scores = self._scores(X)
        return np.asarray(scores[:, 1] - scores[:, 0]) if scores.shape[1] == 2 and not self.multilabel_ else scores

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of all classes, the softmax of their scores.

        Parameters
        ----------
        X : array_like or scipy.sparse CSR, shape (n, d)

        Returns
        -------
        ndarray, shape (n, C)
        """
        scores = self._scores(X)
        return np.asarray(softmax(scores, axis=1, out=scores, n_threads=self.n_threads))

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Logarithms of the probabilities of all classes, none of them -inf.

        Parameters
        ----------
        X : array_like or scipy.sparse CSR, shape (n, d)

        Returns
        -------
        ndarray, shape (n, C)
        """
        scores = self._scores(X)
        return np.asarray(log_softmax(scores, axis=1, out=scores, n_threads=self.n_threads))

    def _scores(self, X: Any) -> np.ndarray:
        return scores_of(self._features(X), self.coef_, self.intercept_, self.n_threads)

    def _features(self, X: Any) -> Any:
        check_is_fitted(self, "coef_")
        _validate.check_unmasked("X", X)
        return validate_data(self, X, accept_sparse="csr", dtype=self.coef_.dtype, reset=False)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.classifier_tags.multi_label = True
        return tags


class _Examples(NamedTuple):
    """Rows of X, the number of one class of each, and their weights, None if all are 1."""

    rows: np.ndarray
    labels: np.ndarray
    weights: np.ndarray | None
