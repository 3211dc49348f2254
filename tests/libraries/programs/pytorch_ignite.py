"""An MLP on the digits with ignite: engines, metrics, handlers."""

import os
import warnings

import numpy as np
import torch
from harness import digits, initialize, probe, timed
from ignite.engine import Engine, Events, create_supervised_evaluator, create_supervised_trainer
from ignite.handlers import (
    Checkpoint, CosineAnnealingScheduler, DiskSaver, EarlyStopping, EMAHandler, FastaiLRFinder, LRScheduler, ModelCheckpoint,
    ParamGroupScheduler, PiecewiseLinear, ProgressBar, TerminateOnNan, Timer, TimeLimit, create_lr_scheduler_with_warmup, global_step_from_engine,
)
from ignite.metrics import (
    Accuracy, Average, ClassificationReport, ConfusionMatrix, EpochMetric, Fbeta, Frequency, Loss, MeanAbsoluteError,
    MeanSquaredError, MetricsLambda, Precision, Recall, RootMeanSquaredError, RunningAverage, TopKCategoricalAccuracy,
)
from ignite.utils import convert_tensor, manual_seed, setup_logger, to_onehot
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

manual_seed(0)
x, y, x_test, y_test = (torch.from_numpy(part) for part in digits())
train = DataLoader(TensorDataset(x, y), batch_size=50)
test = DataLoader(TensorDataset(x_test, y_test), batch_size=100)
model = initialize(nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)))
optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
loss_of = nn.CrossEntropyLoss()

trainer = create_supervised_trainer(model, optimizer, loss_of, device="cpu", gradient_accumulation_steps=1)
precision, recall = Precision(average=False), Recall(average=False)
matrix = ConfusionMatrix(num_classes=10)
metrics = {
    "accuracy": Accuracy(), "loss": Loss(loss_of), "top3": TopKCategoricalAccuracy(k=3), "precision": precision,
    "recall": recall, "f1": MetricsLambda(lambda p, r: (2 * p * r / (p + r + 1e-9)).mean().item(), precision, recall),
    "fbeta": Fbeta(beta=0.5, average=True), "matrix": matrix, "miss": 1.0 - Accuracy(),
    "custom": EpochMetric(lambda found, wanted: (found.argmax(1) == wanted).float().mean().item(), check_compute_fn=False),
}  # fmt: skip
evaluator = create_supervised_evaluator(model, metrics=metrics, device="cpu")
RunningAverage(output_transform=lambda loss: loss).attach(trainer, "running")
ProgressBar(disable=True).attach(trainer, ["running"])
timer = Timer(average=True)
timer.attach(trainer, start=Events.STARTED, resume=Events.ITERATION_STARTED, pause=Events.ITERATION_COMPLETED, step=Events.ITERATION_COMPLETED)
trainer.add_event_handler(Events.ITERATION_COMPLETED, TerminateOnNan())
trainer.add_event_handler(Events.ITERATION_COMPLETED, TimeLimit(300))
schedule = create_lr_scheduler_with_warmup(
    CosineAnnealingScheduler(optimizer, "lr", 5e-3, 1e-4, 240), warmup_start_value=0.0, warmup_end_value=5e-3, warmup_duration=20)
trainer.add_event_handler(Events.ITERATION_STARTED, schedule)
ema = EMAHandler(model, momentum=0.02)
ema.attach(trainer, name="ema_momentum", event=Events.ITERATION_COMPLETED)
best = ModelCheckpoint("best", filename_prefix="best", n_saved=2, create_dir=True, require_empty=False,
                       score_function=lambda engine: engine.state.metrics["accuracy"], score_name="acc",
                       global_step_transform=global_step_from_engine(trainer))
evaluator.add_event_handler(Events.COMPLETED, best, {"model": model})
stopping = EarlyStopping(patience=5, score_function=lambda engine: -engine.state.metrics["loss"], trainer=trainer)
evaluator.add_event_handler(Events.COMPLETED, stopping)
to_save = {"model": model, "optimizer": optimizer, "trainer": trainer, "schedule": schedule}
saver = Checkpoint(to_save, DiskSaver("run", create_dir=True, require_empty=False), n_saved=None,
                   global_step_transform=lambda *_: trainer.state.epoch)
trainer.add_event_handler(Events.EPOCH_COMPLETED(every=2), saver)
seen = []


@trainer.on(Events.EPOCH_COMPLETED)
def evaluate(engine):
    evaluator.run(test)
    seen.append(evaluator.state.metrics["loss"])


@trainer.on(Events.ITERATION_COMPLETED(once=7))
def seventh(engine):
    probe("seventh", engine.state.output, 2e-3)


@trainer.on(Events.ITERATION_COMPLETED(event_filter=lambda engine, event: event % 50 == 0) | Events.COMPLETED)
def some(engine):
    seen.append(0)


with timed():
    trainer.run(train, max_epochs=6)
found = evaluator.state.metrics
for name in ("accuracy", "loss", "top3", "f1", "fbeta", "miss", "custom"):
    probe(name, found[name], 3e-2)
probe("running", trainer.state.metrics["running"], 3e-2)
probe("precision", found["precision"].mean(), 3e-2)
probe("matrix", found["matrix"].sum(), 0)
probe("events", len(seen), 0)
probe("lr", optimizer.param_groups[0]["lr"], 1e-6)
probe("timed", str(timer.value() > 0))
probe("ema", loss_of(ema.ema_model(x_test), y_test), 3e-2)
probe("best", len(os.listdir("best")), 0)
probe("files", "_".join(sorted(os.listdir("run"))))

# On from a checkpoint.
last = sorted(os.listdir("run"))[-1]
other = initialize(nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)), 1)
other_optimizer = torch.optim.Adam(other.parameters(), lr=2e-3)
resumed = create_supervised_trainer(other, other_optimizer, loss_of)
other_schedule = create_lr_scheduler_with_warmup(
    CosineAnnealingScheduler(other_optimizer, "lr", 5e-3, 1e-4, 240), warmup_start_value=0.0, warmup_end_value=5e-3, warmup_duration=20)
Checkpoint.load_objects(to_load={"model": other, "optimizer": other_optimizer, "trainer": resumed, "schedule": other_schedule},
                        checkpoint=torch.load(os.path.join("run", last)))
probe("loaded", (other(x_test) - model(x_test)).abs().max(), 0)
with timed():
    resumed.run(train, max_epochs=8)
probe("resumed_epoch", resumed.state.epoch, 0)
probe("resumed_loss", loss_of(other(x_test), y_test), 3e-2)


# An engine of one's own: accumulation, clipping, two groups of parameters, a schedule of PyTorch's, autocast.
net = initialize(nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 1)))
groups = torch.optim.SGD([{"params": net[0].parameters(), "lr": 0.1}, {"params": net[2].parameters(), "lr": 0.05}], momentum=0.9)


def step(engine, batch):
    net.train()
    data, target = (convert_tensor(part, device="cpu", non_blocking=True) for part in batch)
    loss = nn.functional.mse_loss(net(data), target[:, None].float() / 9) / 2
    loss.backward()
    if engine.state.iteration % 2 == 0:
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        groups.step()
        groups.zero_grad()
    return {"loss": loss.item() * 2, "y_pred": net(data).detach(), "y": target[:, None].float() / 9}


own = Engine(step)
MeanSquaredError(output_transform=lambda o: (o["y_pred"], o["y"])).attach(own, "mse")
RootMeanSquaredError(output_transform=lambda o: (o["y_pred"], o["y"])).attach(own, "rmse")
MeanAbsoluteError(output_transform=lambda o: (o["y_pred"], o["y"])).attach(own, "mae")
Average(output_transform=lambda o: o["loss"]).attach(own, "average")
own.add_event_handler(Events.EPOCH_COMPLETED, LRScheduler(torch.optim.lr_scheduler.StepLR(groups, 2, 0.5)))
linear = PiecewiseLinear(groups, "momentum", milestones_values=[(0, 0.5), (60, 0.9)], param_group_index=0)
own.add_event_handler(Events.ITERATION_STARTED, linear)
with timed():
    own.run(train, max_epochs=4)
for name in ("mse", "rmse", "mae", "average"):
    probe(name, own.state.metrics[name], 2e-2)
probe("group_lr", groups.param_groups[1]["lr"], 1e-9)
probe("momentum", groups.param_groups[0]["momentum"], 1e-6)
probe("onehot", to_onehot(y[:5], 10).sum(), 0)
report = ClassificationReport(output_dict=True)
report.update((model(x_test), y_test))
probe("report", report.compute()["macro avg"]["f1-score"], 3e-2)

finder = FastaiLRFinder()
probe_net = initialize(nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)))
probe_optimizer = torch.optim.SGD(probe_net.parameters(), lr=1e-4)
searching = create_supervised_trainer(probe_net, probe_optimizer, loss_of)
with timed(), finder.attach(searching, to_save={"model": probe_net, "optimizer": probe_optimizer}, end_lr=1.0, num_iter=60) as with_finder:
    with_finder.run(train)
probe("finder", len(finder.get_results()["lr"]), 0)
probe("suggested", finder.lr_suggestion(), 0.1)
bad = Engine(lambda engine, batch: float("nan"))
bad.add_event_handler(Events.ITERATION_COMPLETED, TerminateOnNan())
bad.run([1, 2, 3])
probe("stopped", bad.state.iteration, 0)
amp = create_supervised_trainer(probe_net, probe_optimizer, loss_of, amp_mode=None, deterministic=True)
amp.run(train, max_epochs=1)
probe("deterministic", amp.state.output, 5e-2)
