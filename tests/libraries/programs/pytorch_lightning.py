"""An MLP on the digits with the Trainer: checkpoints, early stopping, clipping, accumulation, schedules, resuming."""

import logging
import os
import warnings

import numpy as np
import pytorch_lightning as pl
import torch
from harness import digits, initialize, probe, timed
from pytorch_lightning.callbacks import (
    Callback, EarlyStopping, GradientAccumulationScheduler, LearningRateMonitor, ModelCheckpoint, ModelSummary,
    RichProgressBar, StochasticWeightAveraging, Timer, TQDMProgressBar,
)
from pytorch_lightning.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

warnings.filterwarnings("ignore", ".*does not have many workers.*")
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
pl.seed_everything(7)


class Digits(pl.LightningDataModule):
    def __init__(self, batch_size=50):
        super().__init__()
        self.save_hyperparameters()

    def setup(self, stage):
        x, y, x_test, y_test = (torch.from_numpy(part) for part in digits())
        self.train, self.valid = TensorDataset(x[:1200], y[:1200]), TensorDataset(x[1200:], y[1200:])
        self.test = TensorDataset(x_test, y_test)

    def train_dataloader(self):
        return DataLoader(self.train, batch_size=self.hparams.batch_size)

    def val_dataloader(self):
        return DataLoader(self.valid, batch_size=100)

    def test_dataloader(self):
        return DataLoader(self.test, batch_size=100)

    predict_dataloader = test_dataloader


class Classifier(pl.LightningModule):
    def __init__(self, hidden=64, lr=2e-3, dropout=0.0):
        super().__init__()
        self.save_hyperparameters()
        self.example_input_array = torch.zeros(2, 64)
        self.net = initialize(nn.Sequential(
            nn.Linear(64, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, 10)))
        metrics = MetricCollection({"acc": MulticlassAccuracy(10), "f1": MulticlassF1Score(10)})
        self.train_metrics, self.valid_metrics = metrics.clone(prefix="train_"), metrics.clone(prefix="val_")
        self.mean = MeanMetric()

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        logits = self(x)
        loss = nn.functional.cross_entropy(logits, y)
        self.log("train_loss", loss, on_step=True, on_epoch=True, prog_bar=True)
        self.log_dict(self.train_metrics(logits, y), on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        logits = self(x)
        self.log("val_loss", nn.functional.cross_entropy(logits, y), prog_bar=True)
        self.valid_metrics.update(logits, y)

    def on_validation_epoch_end(self):
        self.log_dict(self.valid_metrics.compute(), prog_bar=True)
        self.valid_metrics.reset()

    def test_step(self, batch, batch_idx):
        x, y = batch
        self.mean.update((self(x).argmax(1) == y).float())
        self.log("test_acc", self.mean)

    def predict_step(self, batch, batch_idx, dataloader_idx=0):
        return self(batch[0]).softmax(-1)

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.hparams.lr, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=self.trainer.estimated_stepping_batches)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Norms(Callback):
    def __init__(self):
        self.norms, self.calls = [], []

    def on_before_optimizer_step(self, trainer, module, optimizer):
        self.norms.append(sum(p.grad.square().sum() for p in module.parameters()).sqrt().item())

    def on_train_start(self, trainer, module):
        self.calls.append("start")

    def on_train_epoch_end(self, trainer, module):
        self.calls.append("epoch")

    def state_dict(self):
        return {"norms": self.norms}

    def load_state_dict(self, state):
        self.norms = state["norms"]


options = {"accelerator": "cpu", "devices": 1, "enable_progress_bar": False, "enable_model_summary": False, "log_every_n_steps": 10}
data = Digits()
model = Classifier()
norms = Norms()
best = ModelCheckpoint(dirpath="run", filename="{epoch}-{val_acc:.2f}", monitor="val_loss", save_top_k=2, save_last=True)
with timed():
    trainer = pl.Trainer(
        max_epochs=6, logger=CSVLogger("logs"), gradient_clip_val=1.0, num_sanity_val_steps=2, default_root_dir=".",
        callbacks=[best, EarlyStopping("val_loss", patience=3), LearningRateMonitor("step"), norms, Timer()], **options)
    trainer.fit(model, datamodule=data)
metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
for name in ("train_loss_epoch", "train_acc", "val_loss", "val_acc", "val_f1"):
    probe(name, metrics[name], 3e-2)
probe("steps", trainer.global_step, 0)
probe("norms", len(norms.norms), 0)
probe("norm_0", norms.norms[0], 1e-3)
probe("norm_9", norms.norms[9], 2e-2)
probe("calls", "_".join(norms.calls))
probe("checkpoints", len(os.listdir("run")), 0)
with open(trainer.logger.log_dir + "/metrics.csv") as file:
    lines = file.read().splitlines()
probe("logged", len(lines), 0)
probe("columns", lines[0].replace(",", "_"))
probe("hparams", os.path.exists(trainer.logger.log_dir + "/hparams.yaml"), 0)
with timed():
    test = trainer.test(model, datamodule=data, verbose=False)[0]
    predictions = torch.cat(trainer.predict(model, datamodule=data))
    best_test = trainer.test(ckpt_path="best", datamodule=data, verbose=False)[0]
    valid = trainer.validate(model, datamodule=data, verbose=False)[0]
probe("test_acc", test["test_acc"], 3e-2)
probe("best_test", best_test["test_acc"], 3e-2)
probe("predictions", predictions.sum(), 1e-5)
probe("valid", valid["val_loss"], 3e-2)

# Read again, and on from the last checkpoint.
loaded = Classifier.load_from_checkpoint("run/last.ckpt")
loaded.eval()
model.eval()
x_test = torch.from_numpy(digits()[2])
with torch.no_grad():
    last = torch.load("run/last.ckpt", weights_only=False)
    probe("loaded", sum((v - last["state_dict"][k]).abs().float().sum() for k, v in loaded.state_dict().items()), 0)
probe("keys", "_".join(sorted(last)))
probe("hidden", loaded.hparams.hidden, 0)
with timed():
    resumed = pl.Trainer(max_epochs=8, logger=False, callbacks=[Norms()], **options)


class Steady(Classifier):
    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)
        return [optimizer], [{"scheduler": torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5),
                              "monitor": "val_loss", "interval": "epoch", "strict": False}]


with timed():
    first = pl.Trainer(max_epochs=2, logger=False, callbacks=[ModelCheckpoint("steady", filename="two")], **options)
    steady = Steady()
    first.fit(steady, datamodule=data)
    second = pl.Trainer(max_epochs=4, logger=False, enable_checkpointing=False, accumulate_grad_batches=2, gradient_clip_val=0.5,
                        gradient_clip_algorithm="value", check_val_every_n_epoch=2, **options)
    second.fit(Steady(), datamodule=data, ckpt_path="steady/two.ckpt")
probe("resumed_epoch", second.current_epoch, 0)
probe("resumed_step", second.global_step, 0)
probe("resumed_loss", second.callback_metrics["train_loss_epoch"], 3e-2)


# By hand, two optimizers; limits; a sanity run; a summary; averaged weights; a stop after some steps.
class Manual(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False
        self.encoder = initialize(nn.Sequential(nn.Linear(64, 16), nn.Tanh()))
        self.decoder = initialize(nn.Linear(16, 64))
        self.losses = []

    def training_step(self, batch, batch_idx):
        x, _ = batch
        loss = nn.functional.mse_loss(self.decoder(self.encoder(x)), x)
        optimizers = self.optimizers()
        for optimizer in optimizers:
            optimizer.zero_grad()
        self.manual_backward(loss)
        for optimizer in optimizers:
            self.clip_gradients(optimizer, gradient_clip_val=0.5, gradient_clip_algorithm="norm")
            optimizer.step()
        if self.trainer.is_last_batch:
            self.lr_schedulers()[0].step()
        self.losses.append(loss.item())

    def configure_optimizers(self):
        one = torch.optim.Adam(self.encoder.parameters(), lr=5e-3)
        two = torch.optim.SGD(self.decoder.parameters(), lr=0.5)
        return [one, two], [torch.optim.lr_scheduler.ExponentialLR(one, 0.9), torch.optim.lr_scheduler.StepLR(two, 1)]


with timed():
    manual = Manual()
    pl.Trainer(max_epochs=3, logger=False, enable_checkpointing=False, **options).fit(manual, data)
probe("manual_first", manual.losses[0], 1e-4)
probe("manual_last", manual.losses[-1], 2e-2)
with timed():
    trainer = pl.Trainer(max_steps=25, limit_val_batches=1, logger=False, enable_checkpointing=False, overfit_batches=5, **options)
    rows = TensorDataset(*map(torch.from_numpy, digits()[:2]))
    trainer.fit(Steady(), train_dataloaders=DataLoader(rows, batch_size=50), val_dataloaders=DataLoader(rows, batch_size=50))
probe("max_steps", trainer.global_step, 0)
trainer = pl.Trainer(fast_dev_run=2, **{**options, "enable_model_summary": True})
trainer.fit(Classifier(), datamodule=data)
probe("dev", trainer.global_step, 0)
summary = pl.utilities.model_summary.ModelSummary(Classifier(), max_depth=2)
probe("parameters", summary.total_parameters, 0)
print(summary)
probe("summary", "_".join(str(summary).split())[:400])
with timed():
    averaged = Steady()
    pl.Trainer(max_epochs=4, logger=False, enable_checkpointing=False, callbacks=[
        StochasticWeightAveraging(swa_lrs=1e-2, swa_epoch_start=2), GradientAccumulationScheduler({0: 2, 2: 1})], **options).fit(averaged, datamodule=data)
averaged.eval()
with torch.no_grad():
    probe("averaged", nn.functional.cross_entropy(averaged(x_test), torch.from_numpy(digits()[3])), 5e-2)
with timed():
    trainer = pl.Trainer(max_epochs=1, precision="64-true", logger=False, enable_checkpointing=False, **options)
    double = Steady()
    trainer.fit(double, datamodule=data)
probe("double", str(next(double.parameters()).dtype))
probe("double_loss", trainer.callback_metrics["train_loss_epoch"], 1e-2)
from pytorch_lightning.tuner import Tuner

tuned = Steady()
trainer = pl.Trainer(max_epochs=1, logger=False, enable_checkpointing=False, **options)
found = Tuner(trainer).lr_find(tuned, datamodule=data, num_training=30, early_stop_threshold=None)
probe("lr_find", len(found.results["lr"]), 0)
print(TQDMProgressBar(refresh_rate=10))
with timed():
    trainer = pl.Trainer(max_epochs=1, logger=False, enable_checkpointing=False, **{**options, "enable_progress_bar": True, "enable_model_summary": True})
    trainer.fit(Steady(), datamodule=data)
probe("bar", trainer.global_step, 0)
