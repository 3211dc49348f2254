"""An MLP with metrics of classification and regression, aggregated over batches."""

import pickle

import numpy as np
import torch
import torchmetrics
from harness import digits, initialize, probe, regression, timed
from torch import nn
from torchmetrics import classification as C
from torchmetrics import functional as F
from torchmetrics import regression as R
from torchmetrics.nominal import CramersV
from torchmetrics.wrappers import (
    BootStrapper, ClasswiseWrapper, MetricTracker, MinMaxMetric, MultioutputWrapper, Running,
)

x, y, x_test, y_test = (torch.from_numpy(part) for part in digits())


def show(name, value, tolerance=3e-2):
    if isinstance(value, dict):
        for key, part in value.items():
            show(f"{name}_{key}", part, tolerance)
    elif isinstance(value, (tuple, list)):
        show(name, torch.stack([torch.as_tensor(part, dtype=torch.float64).sum() for part in value]).sum(), tolerance)
    else:
        probe(name, torch.as_tensor(value, dtype=torch.float64).sum(), tolerance)


model = initialize(nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10)))
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
shared = {"num_classes": 10}
metrics = torchmetrics.MetricCollection({
    "acc": C.MulticlassAccuracy(**shared), "micro": C.MulticlassAccuracy(**shared, average="micro"), "top2": C.MulticlassAccuracy(**shared, top_k=2),
    "precision": C.MulticlassPrecision(**shared), "recall": C.MulticlassRecall(**shared), "f1": C.MulticlassF1Score(**shared),
    "fbeta": C.MulticlassFBetaScore(beta=2.0, **shared), "specificity": C.MulticlassSpecificity(**shared), "kappa": C.MulticlassCohenKappa(**shared),
    "mcc": C.MulticlassMatthewsCorrCoef(**shared), "jaccard": C.MulticlassJaccardIndex(**shared), "hamming": C.MulticlassHammingDistance(**shared),
    "auroc": C.MulticlassAUROC(**shared, thresholds=50), "auroc_exact": C.MulticlassAUROC(**shared), "ap": C.MulticlassAveragePrecision(**shared),
    "hinge": C.MulticlassHingeLoss(**shared), "calibration": C.MulticlassCalibrationError(**shared, n_bins=10), "confusion": C.MulticlassConfusionMatrix(**shared),
    "stat": C.MulticlassStatScores(**shared, average="micro"), "roc": C.MulticlassROC(**shared, thresholds=20),
    "prc": C.MulticlassPrecisionRecallCurve(**shared, thresholds=20),
})
tracker = MetricTracker(C.MulticlassAccuracy(**shared), maximize=True)
with timed():
    for epoch in range(4):
        tracker.increment()
        for start in range(0, 1500, 50):
            logits = model(x[start : start + 50])
            loss = nn.functional.cross_entropy(logits, y[start : start + 50])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            tracker.update(logits.detach(), y[start : start + 50])
        with torch.no_grad():
            for start in range(0, 297, 99):
                metrics.update(model(x_test[start : start + 99]).softmax(-1), y_test[start : start + 99])
        found = metrics.compute()
        probe(f"acc_{epoch}", found["acc"], 3e-2)
        if epoch < 3:
            metrics.reset()
for name, value in found.items():
    show(name, value)
best, which = tracker.best_metric(return_step=True)
probe("tracked", best, 3e-2)
probe("which", which, 0)
probe("per_class", C.MulticlassRecall(10, average=None)(model(x_test), y_test).sum(), 0.3)
again = pickle.loads(pickle.dumps(metrics))
probe("pickled", again.compute()["f1"] - found["f1"], 0)
metrics.persistent(True)
state = metrics.state_dict()
probe("state", len(state), 0)
fresh = metrics.clone()
fresh.reset()
fresh.load_state_dict(state)
probe("restored", C.MulticlassAccuracy(10)(model(x_test), y_test), 3e-2)

# Two classes and several labels, of numbers that do not depend on the training.
generator = np.random.default_rng(5)
scores = torch.from_numpy(generator.uniform(size=(200,)).astype(np.float32))
truth = torch.from_numpy((generator.uniform(size=200) < scores.numpy()).astype(np.int64))
labels = torch.from_numpy(generator.integers(0, 2, (60, 4)))
many = torch.from_numpy(generator.uniform(size=(60, 4)).astype(np.float32))
with timed():
    for name in (
        "Accuracy", "AUROC", "AveragePrecision", "CalibrationError", "CohenKappa", "ConfusionMatrix", "F1Score", "HammingDistance",
        "HingeLoss", "JaccardIndex", "MatthewsCorrCoef", "Precision", "PrecisionRecallCurve", "Recall", "ROC", "Specificity", "StatScores", "EER", "LogAUC", "NegativePredictiveValue",
    ):
        metric = getattr(C, f"Binary{name}", None)
        if metric is not None:
            metric = metric()
            for start in range(0, 200, 50):
                metric.update(scores[start : start + 50], truth[start : start + 50])
            show(f"binary_{name}", metric.compute(), 1e-5)
    for name in ("Accuracy", "AUROC", "AveragePrecision", "CoverageError", "ExactMatch", "F1Score", "HammingDistance", "MatthewsCorrCoef",
                 "RankingAveragePrecision", "RankingLoss", "Precision", "Recall", "ConfusionMatrix", "JaccardIndex"):
        show(f"labels_{name}", getattr(C, f"Multilabel{name}")(num_labels=4)(many, labels), 1e-5)
    show("fixed", C.BinaryRecallAtFixedPrecision(min_precision=0.6)(scores, truth), 1e-5)
    show("fairness", C.BinaryFairness(2)(scores, truth, (scores > 0.3).long()), 1e-5)
    show("task", torchmetrics.Accuracy(task="binary")(scores, truth), 1e-5)

    # Regression.
    a = torch.from_numpy(generator.normal(size=(120,)).astype(np.float32))
    b = a + 0.3 * torch.from_numpy(generator.normal(size=(120,)).astype(np.float32))
    for name in (
        "ConcordanceCorrCoef", "CosineSimilarity", "CriticalSuccessIndex", "ExplainedVariance", "KendallRankCorrCoef", "LogCoshError", "MeanAbsoluteError",
        "MeanAbsolutePercentageError", "MeanSquaredError", "MinkowskiDistance", "NormalizedRootMeanSquaredError", "PearsonCorrCoef", "R2Score",
        "RelativeSquaredError", "SpearmanCorrCoef", "SymmetricMeanAbsolutePercentageError", "WeightedMeanAbsolutePercentageError",
    ):
        arguments = {"CriticalSuccessIndex": (0.1,), "MinkowskiDistance": (3,)}.get(name, ())
        metric = getattr(R, name)(*arguments)
        if name == "CosineSimilarity":
            show(name, metric(a.reshape(12, 10), b.reshape(12, 10)), 1e-5)
            continue
        for start in range(0, 120, 40):
            metric.update(a[start : start + 40], b[start : start + 40])
        show(name, metric.compute(), 1e-4)
    positive, other = a.abs() + 0.1, b.abs() + 0.1
    show("log_error", R.MeanSquaredLogError()(positive, other), 1e-5)
    show("tweedie", R.TweedieDevianceScore(power=1.5)(positive, other), 1e-5)
    show("divergence", R.KLDivergence()(positive.reshape(12, 10), other.reshape(12, 10)), 1e-5)
    show("divergence_js", R.JensenShannonDivergence()(positive.reshape(12, 10), other.reshape(12, 10)), 1e-5)

# Wrappers, aggregation, and gradients of metrics.
show("minmax", MinMaxMetric(C.BinaryAccuracy())(scores, truth), 1e-5)
show("classwise", ClasswiseWrapper(C.MulticlassAccuracy(10, average=None))(model(x_test), y_test), 5e-2)
show("multi", MultioutputWrapper(R.R2Score(), 2)(torch.stack([a, b], 1), torch.stack([b, a], 1)), 1e-4)
show("running", Running(torchmetrics.SumMetric(), window=3)(a), 1e-4)
boot = BootStrapper(C.BinaryAccuracy(), num_bootstraps=10)
boot.update(scores, truth)
show("bootstrap", boot.compute()["mean"], 0.1)
for aggregate in (torchmetrics.MeanMetric, torchmetrics.SumMetric, torchmetrics.MaxMetric, torchmetrics.MinMetric, torchmetrics.CatMetric):
    metric = aggregate()
    metric.update(1.0)
    metric.update(a)
    show(aggregate.__name__, metric.compute(), 1e-5)
composed = 2 * C.BinaryAccuracy()
show("composed", composed(scores, truth), 1e-5)
leaf = a.clone().requires_grad_()
F.mean_squared_error(leaf, b).backward()
show("gradient", leaf.grad.abs(), 1e-5)
leaf = a.clone().requires_grad_()
F.pearson_corrcoef(leaf, b).backward()
show("gradient_pearson", leaf.grad.abs(), 1e-4)
show("cosine", F.pairwise_cosine_similarity(a.reshape(12, 10), b.reshape(12, 10)), 1e-4)
show("euclid", F.pairwise_euclidean_distance(a.reshape(12, 10)), 1e-3)
show("retrieval", F.retrieval_normalized_dcg(scores, truth), 1e-5)
show("map", torchmetrics.retrieval.RetrievalMAP()(scores, truth, indexes=torch.arange(200) // 20), 1e-5)
show("nominal", CramersV(num_classes=2)(truth, (scores > 0.5).long()), 1e-4)
