"""A search of the layers, optimizer and learning rate of an MLP on the digits, with pruning."""

import os
import warnings

import numpy as np
import optuna
import torch
from harness import digits, initialize, probe, timed
from torch import nn, optim
from torch.utils.data import DataLoader, TensorDataset

warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
optuna.logging.set_verbosity(optuna.logging.WARNING)
x, y, x_test, y_test = (torch.from_numpy(part) for part in digits())
train, test = TensorDataset(x, y), TensorDataset(x_test, y_test)
test_loader = DataLoader(test, batch_size=100)


def define_model(trial):
    layers, inputs = [], 64
    for i in range(trial.suggest_int("n_layers", 1, 3)):
        outputs = trial.suggest_int(f"n_units_l{i}", 16, 64, step=16)
        layers += [nn.Linear(inputs, outputs), getattr(nn, trial.suggest_categorical("activation", ["ReLU", "Tanh", "GELU"]))()]
        inputs = outputs
    return initialize(nn.Sequential(*layers, nn.Linear(inputs, 10), nn.LogSoftmax(dim=1)))


def objective(trial):
    model = define_model(trial)
    name = trial.suggest_categorical("optimizer", ["Adam", "RMSprop", "SGD"])
    optimizer = getattr(optim, name)(model.parameters(), lr=trial.suggest_float("lr", 1e-4, 1e-1, log=True))
    for epoch in range(5):
        model.train()
        for data, target in DataLoader(train, batch_size=75):
            optimizer.zero_grad()
            nn.functional.nll_loss(model(data), target).backward()
            optimizer.step()
        model.eval()
        right = 0
        with torch.no_grad():
            for data, target in test_loader:
                right += model(data).argmax(dim=1, keepdim=True).eq(target.view_as(model(data).argmax(1))[:, None]).sum().item()
        accuracy = right / len(test)
        trial.report(accuracy, epoch)
        if trial.should_prune():
            raise optuna.exceptions.TrialPruned
    torch.save(model.state_dict(), f"trial_{trial.number}.pt")
    return accuracy


with timed():
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=1),
                                pruner=optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=1))
    study.optimize(objective, n_trials=12)
states = [trial.state.name for trial in study.trials]
probe("complete", states.count("COMPLETE"), 2)
probe("pruned", states.count("PRUNED"), 2)
probe("best", study.best_value, 0.02)
probe("files", len(os.listdir(".")) == states.count("COMPLETE"), 0)

# A data base, another sampler, a trial that is given, and a resumed study.
storage = "sqlite:///study.db"
with timed():
    study = optuna.create_study(study_name="digits", storage=storage, direction="maximize",
                                sampler=optuna.samplers.TPESampler(seed=0, n_startup_trials=3))
    study.enqueue_trial({"n_layers": 1, "n_units_l0": 64, "activation": "ReLU", "optimizer": "Adam", "lr": 1e-2})
    study.optimize(objective, n_trials=3)
probe("given", study.trials[0].value, 0.02)
again = optuna.load_study(study_name="digits", storage=storage)
again.optimize(objective, n_trials=1, callbacks=[lambda study, trial: study.set_user_attr("last", trial.number)])
probe("resumed", len(again.trials), 0)
probe("last", again.user_attrs["last"], 0)

# Several objectives; one is a tensor's number.
def two(trial):
    width = trial.suggest_int("width", 4, 32)
    model = initialize(nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10)))
    loss = nn.functional.cross_entropy(model(x), y)
    return loss, sum(p.numel() for p in model.parameters())


several = optuna.create_study(directions=["minimize", "minimize"], sampler=optuna.samplers.NSGAIISampler(seed=0))
several.optimize(two, n_trials=8)
probe("front", len(several.best_trials), 0)
probe("first", several.trials[0].values[0], 1e-5)
space = {"width": [8, 16]}
grid = optuna.create_study(directions=["minimize", "minimize"], sampler=optuna.samplers.GridSampler(space))
grid.optimize(two)
probe("grid", len(grid.trials), 0)
