"""Classifiers and a regressor of skorch: pipelines, grid search, callbacks, checkpoints."""

import copy
import os
import pickle

import numpy as np
import torch
from harness import digits, probe, regression, timed
from sklearn.base import clone
from sklearn.metrics import make_scorer, r2_score
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNet, NeuralNetBinaryClassifier, NeuralNetClassifier, NeuralNetRegressor
from skorch.callbacks import (
    BatchScoring, Checkpoint, EarlyStopping, EpochScoring, Freezer, GradientNormClipping, Initializer, InputShapeSetter,
    LoadInitState, LRScheduler, ParamMapper, PrintLog, ProgressBar, TrainEndCheckpoint, WarmRestartLR,
)
from skorch.dataset import Dataset, ValidSplit
from skorch.helper import SliceDataset, SliceDict, predefined_split
from torch import nn

def weights(parameter):
    """Set from NumPy, by the shape, so that every net starts with the same numbers."""
    if parameter.ndim > 1:
        generator = np.random.default_rng(sum(parameter.shape))
        bound = (6 / sum(parameter.shape)) ** 0.5
        parameter.copy_(torch.from_numpy(generator.uniform(-bound, bound, tuple(parameter.shape)).astype(np.float32)))
    else:
        parameter.zero_()


class Module(nn.Module):
    def __init__(self, inputs=64, hidden=48, outputs=10, dropout=0.0, softmax=True, activation=nn.ReLU()):
        super().__init__()
        self.hidden, self.out = nn.Linear(inputs, hidden), nn.Linear(hidden, outputs)
        self.activation, self.dropout, self.softmax = activation, nn.Dropout(dropout), softmax

    def forward(self, x):
        x = self.out(self.dropout(self.activation(self.hidden(x))))
        return torch.softmax(x, dim=-1) if self.softmax else x


INIT = ("init", Initializer("*", fn=lambda p: weights(p.data)))
x, y, x_test, y_test = digits()

with timed():
    net = NeuralNetClassifier(
        Module, max_epochs=8, lr=0.1, optimizer=torch.optim.SGD, optimizer__momentum=0.9, batch_size=50, verbose=0,
        criterion=nn.NLLLoss, train_split=ValidSplit(5, stratified=True),
        callbacks=[
            INIT, ("clip", GradientNormClipping(1.0)), ("schedule", LRScheduler("StepLR", step_size=4, gamma=0.5)),
            ("accuracy", EpochScoring("accuracy", on_train=True, name="train_acc", lower_is_better=False)),
            ("early", EarlyStopping(patience=5)), ("best", Checkpoint(dirname="run", monitor="valid_loss_best")),
            ("end", TrainEndCheckpoint(dirname="run")),
        ],
    )  # fmt: skip
    net.fit(x, y)
probe("epochs", len(net.history), 0)
probe("train_loss", net.history[0, "train_loss"], 2e-3)
probe("valid_loss", net.history[-1, "valid_loss"], 2e-2)
probe("train_acc", net.history[-1, "train_acc"], 2e-2)
probe("event_lr", net.history[-1, "event_lr"], 1e-9)
probe("batches", len(net.history[-1, "batches"]), 0)
probe("score", net.score(x_test, y_test), 2e-2)
probe("proba", net.predict_proba(x_test).sum(), 1e-5)
probe("files", "_".join(sorted(os.listdir("run"))))

# Saved, loaded, pickled, copied, resumed.
again = NeuralNetClassifier(Module, max_epochs=2, lr=0.1, optimizer__momentum=0.9, optimizer=torch.optim.SGD, verbose=0).initialize()
again.load_params(checkpoint=net.callbacks_[[name for name, _ in net.callbacks_].index("best")][1])
probe("loaded", again.score(x_test, y_test), 2e-2)
net.save_params(f_params="model.pt", f_optimizer="optimizer.pt", f_history="history.json", f_criterion="criterion.pt")
again.load_params(f_params="model.pt", f_optimizer="optimizer.pt", f_history="history.json", f_criterion="criterion.pt")
probe("same", float(np.abs(again.predict_proba(x_test) - net.predict_proba(x_test)).max()), 0)
with timed():
    again.partial_fit(x, y)
probe("resumed_epochs", len(again.history), 0)
probe("resumed", again.score(x_test, y_test), 2e-2)
with open("net.pkl", "wb") as file:
    pickle.dump(again, file)
with open("net.pkl", "rb") as file:
    probe("pickled", float((pickle.load(file).predict(x_test) == again.predict(x_test)).mean()), 0)
probe("copied", float((copy.deepcopy(again).predict(x_test) == again.predict(x_test)).mean()), 0)
with timed():
    loading = NeuralNetClassifier(Module, max_epochs=1, lr=0.05, verbose=0, callbacks=[
        INIT, ("load", LoadInitState(Checkpoint(dirname="run")))], optimizer=torch.optim.SGD, optimizer__momentum=0.9,
        criterion=nn.NLLLoss)
    loading.fit(x, y)
probe("load_init_epochs", len(loading.history), 0)

# scikit-learn's pipelines and searches.
with timed():
    pipeline = Pipeline([("scale", StandardScaler()), ("net", NeuralNetClassifier(
        Module, criterion=nn.CrossEntropyLoss, module__softmax=False, max_epochs=4, verbose=0, train_split=None,
        optimizer=torch.optim.Adam, iterator_train__shuffle=False, callbacks=[INIT]))])
    search = GridSearchCV(pipeline, {"net__lr": [1e-3, 1e-2], "net__module__hidden": [16, 32]}, cv=2, scoring="accuracy", refit=True)
    search.fit(x[:600], y[:600])
probe("best_hidden", search.best_params_["net__module__hidden"], 0)
probe("best_score", search.best_score_, 2e-2)
probe("best_test", search.score(x_test, y_test), 3e-2)
with timed():
    scores = cross_val_score(clone(pipeline), x[:600], y[:600], cv=3)
    predicted = cross_val_predict(clone(pipeline), x[:300], y[:300], cv=2)
probe("cross", scores.mean(), 2e-2)
probe("predicted", (predicted == y[:300]).mean(), 3e-2)

# Regression, with frozen parameters, parameter groups, and a schedule.
xr, yr = regression()
with timed():
    regressor = NeuralNetRegressor(
        Module, module__inputs=10, module__outputs=1, module__softmax=False, module__activation=nn.Tanh(), max_epochs=8,
        lr=0.01, optimizer=torch.optim.AdamW, optimizer__weight_decay=1e-3, verbose=0, batch_size=64,
        optimizer__param_groups=[("out*", {"lr": 0.02})],
        callbacks=[INIT, ("r2", EpochScoring("r2", lower_is_better=False)), ("cyclic", LRScheduler("CosineAnnealingLR", T_max=8)),
                   ("freeze", Freezer("out.bias", at=1)), ("unfreeze", ParamMapper("out.bias", fn=lambda p: p.requires_grad_(True), at=3))],
    ).fit(xr, yr)
probe("r2", regressor.history[-1, "r2"], 2e-2)
probe("regression", r2_score(yr, regressor.predict(xr)), 2e-2)
with timed():
    regressor.set_params(lr=1e-4, max_epochs=1, optimizer__param_groups=[])
    regressor.partial_fit(xr, yr)
probe("lr", regressor.optimizer_.param_groups[0]["lr"], 1e-9)

# Two classes, class weights, a dict as the input, a predefined split, a data set, early stopping.
class Several(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(32, 16), nn.Linear(32, 16)
        self.out = nn.Linear(32, 1)

    def forward(self, left, right):
        return self.out(torch.relu(torch.cat([self.a(left), self.b(right)], 1))).squeeze(-1)


halves = SliceDict(left=x[:, :32], right=x[:, 32:])
binary = (y > 4).astype(np.float32)
valid = Dataset({"left": x_test[:, :32], "right": x_test[:, 32:]}, (y_test > 4).astype(np.float32))
with timed():
    two = NeuralNetBinaryClassifier(
        Several, max_epochs=30, lr=0.01, optimizer=torch.optim.RMSprop, verbose=0, threshold=0.4,
        criterion__pos_weight=torch.tensor(1.2), train_split=predefined_split(valid),
        callbacks=[INIT, ("early", EarlyStopping(patience=3, threshold=1e-2, load_best=True)), ("auc", EpochScoring("roc_auc", lower_is_better=False))],
    ).fit(halves, binary)
probe("auc", two.history[-1, "roc_auc"], 2e-2)
probe("binary", two.score(SliceDict(left=x_test[:, :32], right=x_test[:, 32:]), y_test > 4), 3e-2)
probe("stopped", len(two.history) < 30, 0)


# A net of one's own: a penalty, a closure's optimizer, and a hand-written step.
class Penalized(NeuralNet):
    def get_loss(self, y_pred, y_true, *args, **kwargs):
        loss = super().get_loss(y_pred, y_true, *args, **kwargs)
        return loss + 1e-3 * sum(w.abs().sum() for w in self.module_.parameters())


with timed():
    own = Penalized(Module, nn.MSELoss, module__inputs=10, module__outputs=1, module__softmax=False, max_epochs=3, verbose=0,
                    optimizer=torch.optim.LBFGS, lr=0.1, batch_size=-1, train_split=None, callbacks=[INIT]).fit(xr[:500], yr[:500])
probe("own", own.history[-1, "train_loss"], 5e-2)


class Accumulating(NeuralNetClassifier):
    steps = 4

    def get_loss(self, *args, **kwargs):
        return super().get_loss(*args, **kwargs) / self.steps

    def train_step(self, batch, **fit_params):
        n = len(self.history[-1, "batches"])
        step = self.train_step_single(batch, **fit_params)
        if n % self.steps == 0:
            self.optimizer_.step()
            self.optimizer_.zero_grad()
        return step


with timed():
    accumulating = Accumulating(
        Module, max_epochs=3, lr=0.2, batch_size=25, verbose=1, callbacks=[INIT], device="cpu",
        callbacks__print_log__sink=lambda line: None,
    ).fit(x, y)  # fmt: skip
probe("accumulating", accumulating.score(x_test, y_test), 3e-2)
probe("sliced", len(SliceDataset(Dataset(x, y), 1)[:10]), 0)
