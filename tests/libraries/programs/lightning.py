"""An MLP on the digits with Fabric; an autoencoder with lightning.pytorch, a CSV logger and averaged weights."""

import logging
import os
import warnings

import lightning as L
import numpy as np
import torch
from harness import digits, initialize, probe, timed
from lightning.fabric.loggers import CSVLogger
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, WeightAveraging
from lightning.pytorch.utilities import CombinedLoader, rank_zero_only
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy
from torchmetrics.regression import MeanSquaredError

warnings.filterwarnings("ignore", ".*does not have many workers.*")
logging.getLogger("lightning").setLevel(logging.ERROR)
L.seed_everything(1)
x, y, x_test, y_test = (torch.from_numpy(part) for part in digits())


class Logged:
    def on_epoch_end(self, epoch, loss):
        probe(f"callback_{epoch}", loss, 1e-2)


fabric = L.Fabric(accelerator="cpu", devices=1, precision="32-true", loggers=CSVLogger("fabric"), callbacks=[Logged()])
fabric.launch()
model = initialize(nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)))
optimizer = torch.optim.NAdam(model.parameters(), lr=2e-3)
model, optimizer = fabric.setup(model, optimizer)
train = fabric.setup_dataloaders(DataLoader(TensorDataset(x, y), batch_size=50))
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=4)
accuracy = MulticlassAccuracy(num_classes=10).to(fabric.device)
with timed():
    for epoch in range(4):
        model.train()
        for i, (data, target) in enumerate(train):
            accumulating = i % 2 == 0
            with fabric.no_backward_sync(model, enabled=accumulating):
                loss = nn.functional.cross_entropy(model(data), target) / 2
                fabric.backward(loss)
            if not accumulating:
                fabric.clip_gradients(model, optimizer, max_norm=2.0)
                optimizer.step()
                optimizer.zero_grad()
        schedule.step()
        fabric.log_dict({"loss": loss, "lr": schedule.get_last_lr()[0]}, step=epoch)
        fabric.call("on_epoch_end", epoch=epoch, loss=loss)
        fabric.save(f"checkpoint-{epoch}.ckpt", {"model": model, "optimizer": optimizer, "epoch": epoch})
model.eval()
with torch.no_grad():
    accuracy.update(model(x_test), y_test)
probe("accuracy", accuracy.compute(), 3e-2)
state = {"model": model, "optimizer": optimizer, "epoch": 0}
rest = fabric.load("checkpoint-2.ckpt", state, strict=False)
probe("epoch", state["epoch"], 0)
probe("loaded", nn.functional.cross_entropy(model(x_test), y_test), 2e-2)
probe("gathered", fabric.all_gather(torch.ones(3)).sum(), 0)
probe("reduced", fabric.all_reduce(torch.tensor(3.0)), 0)
probe("module", type(model.module).__name__)
probe("logs", str(os.path.isdir("fabric")))
with fabric.autocast(), fabric.init_module():
    made = nn.Linear(3, 2)
probe("made", made(torch.ones(1, 3)).numel(), 0)
fabric.barrier()
fabric.print("done")
with timed():
    half = L.Fabric(accelerator="cpu", devices=1, precision="64-true")
    net = half.setup_module(initialize(nn.Linear(64, 10)))
    out = net(x_test.double())
probe("double", str(out.dtype))
probe("double_sum", out.double().sum(), 1e-5)


class Autoencoder(L.LightningModule):
    def __init__(self, width: int = 16):
        super().__init__()
        self.save_hyperparameters(ignore=["nothing"])
        self.encoder = initialize(nn.Sequential(nn.Linear(64, width), nn.SiLU()))
        self.decoder = initialize(nn.Linear(width, 64))
        self.error = MeanSquaredError()
        self.outputs = []

    def _step(self, batch):
        x, _ = batch
        return nn.functional.mse_loss(self.decoder(self.encoder(x)), x)

    def training_step(self, batch, batch_idx):
        loss = self._step(batch)
        self.log("loss", loss)
        return {"loss": loss, "extra": 1}

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        x, _ = batch
        self.error(self.decoder(self.encoder(x)), x)
        self.log("error", self.error, on_epoch=True, add_dataloader_idx=False)

    def on_train_batch_end(self, outputs, batch, batch_idx):
        self.outputs.append(float(outputs["loss"]))

    def configure_optimizers(self):
        return torch.optim.Adam([{"params": self.encoder.parameters()}, {"params": self.decoder.parameters(), "lr": 1e-2}], lr=3e-3)


model = Autoencoder()
logger = L.pytorch.loggers.CSVLogger("logs", name="auto")
with timed():
    trainer = L.Trainer(max_epochs=5, accelerator="auto", devices="auto", logger=logger, enable_progress_bar=False, val_check_interval=0.5,
                        callbacks=[ModelCheckpoint(monitor="error", mode="min"), EarlyStopping("error", min_delta=1e-4)],
                        deterministic=True, enable_model_summary=False, inference_mode=False, profiler="simple")
    trainer.fit(model, DataLoader(TensorDataset(x, y), batch_size=100), DataLoader(TensorDataset(x_test, y_test), batch_size=100))
probe("first", model.outputs[0], 1e-4)
probe("last", model.outputs[-1], 2e-2)
probe("error", trainer.callback_metrics["error"], 2e-2)
probe("best", str(os.path.exists(trainer.checkpoint_callback.best_model_path)))
again = Autoencoder.load_from_checkpoint(trainer.checkpoint_callback.best_model_path)
probe("width", again.hparams.width, 0)
with timed():
    trainer = L.Trainer(max_epochs=2, logger=False, enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
                        accelerator="cpu", reload_dataloaders_every_n_epochs=1, detect_anomaly=True)
    trainer.fit(Autoencoder(), DataLoader(TensorDataset(x, y), batch_size=100, shuffle=False))
probe("anomaly", trainer.callback_metrics["loss"], 2e-2)
combined = CombinedLoader({"a": DataLoader(x, batch_size=500), "b": DataLoader(y, batch_size=300)}, "max_size_cycle")
probe("combined", sum(1 for _ in combined), 0)
average = WeightAveraging(avg_fn=lambda mean, new, n: 0.9 * mean + 0.1 * new)
with timed():
    averaged = Autoencoder()
    L.Trainer(max_epochs=2, logger=False, enable_progress_bar=False, enable_model_summary=False, accelerator="cpu", callbacks=[average],
              enable_checkpointing=False).fit(averaged, DataLoader(TensorDataset(x, y), batch_size=100))
probe("averaged", averaged._step((x_test, None)), 2e-2)
