"""Models of scikit-learn, converted to tensors: forests, boosted trees, linear models, pipelines."""

import numpy as np
import torch
from harness import probe, timed
from hummingbird.ml import constants, convert, load
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    ExtraTreesClassifier, GradientBoostingClassifier, GradientBoostingRegressor, HistGradientBoostingRegressor, IsolationForest, RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler, Normalizer, PolynomialFeatures, RobustScaler, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

x, y = load_breast_cancer(return_X_y=True)
x = x.astype(np.float32)
iris, kinds = load_iris(return_X_y=True)
iris = iris.astype(np.float32)
diabetes, target = load_diabetes(return_X_y=True)
diabetes = diabetes.astype(np.float32)


def check(name, model, data, method="predict", options=None, backend="torch", tolerance=1e-4):
    converted = convert(model, backend, data, extra_config=options or {})
    with timed():
        for _ in range(3):
            found = getattr(converted, method)(data)
    expected = getattr(model, method)(data)
    probe(f"{name}_error", np.abs(np.asarray(found, dtype=np.float64) - expected).max(), tolerance)
    probe(f"{name}_sum", np.asarray(found, dtype=np.float64).sum(), 1e-4)
    return converted


forest = RandomForestClassifier(20, max_depth=6, random_state=0).fit(x, y)
for strategy in ("gemm", "tree_trav", "perf_tree_trav"):
    check(f"forest_{strategy}", forest, x, "predict_proba", {constants.TREE_IMPLEMENTATION: strategy})
check("forest", forest, x)
check("extra", ExtraTreesClassifier(10, max_depth=8, random_state=0).fit(iris, kinds), iris, "predict_proba")
check("tree", DecisionTreeClassifier(max_depth=4, random_state=0).fit(iris, kinds), iris)
check("tree_regressor", DecisionTreeRegressor(max_depth=5, random_state=0).fit(diabetes, target), diabetes)
check("forest_regressor", RandomForestRegressor(10, max_depth=5, random_state=0).fit(diabetes, target), diabetes, tolerance=1e-2)
check("boosting", GradientBoostingClassifier(n_estimators=20, random_state=0).fit(x, y), x, "predict_proba")
check("boosting_regressor", GradientBoostingRegressor(n_estimators=20, random_state=0).fit(diabetes, target), diabetes, tolerance=1e-2)
check("isolation", IsolationForest(n_estimators=10, random_state=0).fit(x), x, "decision_function")
for name, model in {
    "logistic": LogisticRegression(max_iter=500), "sgd": SGDClassifier(loss="log_loss", random_state=0), "svc_linear": LinearSVC(random_state=0),
    "mlp": MLPClassifier(hidden_layer_sizes=(16,), max_iter=100, random_state=0), "bayes": GaussianNB(),
}.items():
    check(name, model.fit(iris, kinds), iris)
check("logistic_proba", LogisticRegression(max_iter=500).fit(iris, kinds), iris, "predict_proba")
check("linear", LinearRegression().fit(diabetes, target), diabetes, tolerance=1e-2)
check("ridge", Ridge().fit(diabetes, target), diabetes, tolerance=1e-2)
check("mlp_regressor", MLPRegressor(hidden_layer_sizes=(16,), max_iter=200, random_state=0).fit(diabetes, target), diabetes, tolerance=1e-2)
check("svc", SVC(kernel="rbf").fit(iris, kinds), iris)
check("neighbors", KNeighborsClassifier(3).fit(iris, kinds), iris, options={constants.BATCH_SIZE: len(iris)})
for name, model in {"standard": StandardScaler(), "minmax": MinMaxScaler(), "robust": RobustScaler(), "norm": Normalizer(), "pca": PCA(2), "poly": PolynomialFeatures(2)}.items():
    check(name, model.fit(iris), iris, "transform", tolerance=1e-3)
pipeline = Pipeline([("scale", StandardScaler()), ("pca", PCA(3)), ("forest", RandomForestClassifier(10, max_depth=5, random_state=0))]).fit(iris, kinds)
converted = check("pipeline", pipeline, iris, "predict_proba")

converted.save("pipeline")
loaded = load("pipeline", override_flag=True)
probe("loaded", np.abs(loaded.predict_proba(iris) - converted.predict_proba(iris)).max(), 0)

# The converted model is a module, with gradients.
inner = convert(LogisticRegression(max_iter=500).fit(iris, kinds), "torch").model
probe("module", str(isinstance(inner, torch.nn.Module)))
parameters = list(inner.parameters())
probe("parameters", sum(p.numel() for p in parameters), 0)
