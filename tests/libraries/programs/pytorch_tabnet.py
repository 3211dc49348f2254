"""TabNet: a classifier with a schedule and early stopping, a regressor with categories, pretraining, several tasks."""

import warnings

import numpy as np
import torch
from harness import digits, initialize, probe, regression, timed
from pytorch_tabnet.augmentations import ClassificationSMOTE
from pytorch_tabnet.multitask import TabNetMultiTaskClassifier
from pytorch_tabnet.pretraining import TabNetPretrainer
from pytorch_tabnet.tab_model import TabNetClassifier, TabNetRegressor

warnings.simplefilter("ignore")
x, y, x_test, y_test = digits()


def started(kind):
    """The class with weights from NumPy."""

    class Started(kind):
        def _set_network(self):
            super()._set_network()
            initialize(self.network)

    return Started


with timed():
    model = started(TabNetClassifier)(
        n_d=8, n_a=8, n_steps=3, verbose=0, mask_type="entmax", optimizer_fn=torch.optim.Adam, optimizer_params={"lr": 0.02},
        scheduler_fn=torch.optim.lr_scheduler.StepLR, scheduler_params={"step_size": 5, "gamma": 0.9}, momentum=0.3,
    )  # fmt: skip
    model.fit(x, y, eval_set=[(x_test, y_test)], eval_metric=["balanced_accuracy", "accuracy"], max_epochs=15, patience=10, batch_size=256,
              virtual_batch_size=128, weights=1)
probe("learns", (model.predict(x_test) == y_test).mean() > 0.3, 0)
probe("proba", model.predict_proba(x_test).sum(), 1e-4)
probe("importance", model.feature_importances_.sum(), 1e-4)
explained, masks = model.explain(x_test[:10])
probe("masks", len(masks), 0)
path = model.save_model("model")
again = TabNetClassifier()
again.load_model(path)
probe("loaded", np.abs(again.predict_proba(x_test) - model.predict_proba(x_test)).max(), 1e-5)

xr, yr = regression()
xr[:, 0] = np.random.default_rng(1).integers(0, 5, len(xr))
with timed():
    regressor = started(TabNetRegressor)(verbose=0, cat_idxs=[0], cat_dims=[5], cat_emb_dim=2)
    regressor.fit(xr[:1600], yr[:1600], eval_set=[(xr[1600:], yr[1600:])], eval_metric=["rmse"], max_epochs=8, batch_size=400, loss_fn=torch.nn.functional.huber_loss)
probe("regressor_improves", regressor.history["loss"][-1] < regressor.history["loss"][0], 0)
probe("regressor", "x".join(map(str, regressor.predict(xr[:3]).shape)))

with timed():
    pretrained = TabNetPretrainer(verbose=0)
    pretrained.fit(x, eval_set=[x_test], max_epochs=3, batch_size=256, pretraining_ratio=0.8)
    model = TabNetClassifier(verbose=0)
    model.fit(x, y, eval_set=[(x_test, y_test)], max_epochs=4, batch_size=256, from_unsupervised=pretrained, augmentations=ClassificationSMOTE(p=0.2))
probe("pretrained_epochs", len(model.history["loss"]), 0)

with timed():
    several = TabNetMultiTaskClassifier(verbose=0)
    several.fit(x, np.stack([y, y % 2], 1), max_epochs=3, batch_size=256)
probe("tasks", len(several.predict(x_test[:5])), 0)
