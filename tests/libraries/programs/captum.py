"""An MLP learns a regression and a classification; attributions of its inputs, layers and neurons."""

import os

import numpy as np
import torch
from captum.attr import (
    Deconvolution, DeepLift, DeepLiftShap, FeatureAblation, FeaturePermutation, GradientShap, GuidedBackprop,
    InputXGradient, IntegratedGradients, InternalInfluence, KernelShap, LayerActivation, LayerConductance, LayerDeepLift,
    LayerFeatureAblation, LayerGradientXActivation, LayerIntegratedGradients, Lime, LRP, NeuronConductance,
    NeuronDeepLift, NeuronGradient, NeuronIntegratedGradients, NoiseTunnel, Occlusion, Saliency, ShapleyValues,
    ShapleyValueSampling, configure_interpretable_embedding_layer, remove_interpretable_embedding_layer,
)
from captum.influence import TracInCP, TracInCPFast
from captum.metrics import infidelity, sensitivity_max
from harness import digits, initialize, probe, regression, timed
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.linear1, self.relu1 = nn.Linear(inputs, 32), nn.ReLU()
        self.linear2, self.tanh = nn.Linear(32, 16), nn.Tanh()
        self.linear3 = nn.Linear(16, outputs)

    def forward(self, x, offset=0.0):
        return self.linear3(self.tanh(self.linear2(self.relu1(self.linear1(x))))) + offset


def fit(model, loss_of, x, y, epochs):
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    orders = np.random.default_rng(0)
    for _ in range(epochs):
        for batch in np.array_split(orders.permutation(len(x)), len(x) // 50):
            batch = torch.from_numpy(batch)
            optimizer.zero_grad()
            loss_of(model(x[batch]), y[batch]).backward()
            optimizer.step()
    model.eval()


def show(name, attributions, tolerance=2e-2):
    attributions = attributions[0] if isinstance(attributions, tuple) else attributions
    probe(f"{name}_shape", "x".join(map(str, attributions.shape)))
    probe(name, attributions.detach().abs().sum() / len(attributions), tolerance)


x, y = (torch.from_numpy(part) for part in regression())
model = initialize(Net(10, 1))
with timed():
    fit(model, nn.MSELoss(), x, y, 5)
probe("loss", nn.functional.mse_loss(model(x), y), 1e-2)
x_train, y_train, x_test, y_test = (torch.from_numpy(part) for part in digits())
classifier = initialize(Net(64, 10))
with timed():
    fit(classifier, nn.CrossEntropyLoss(), x_train, y_train, 5)
probe("accuracy", (classifier(x_test).argmax(1) == y_test).float().mean(), 2e-2)

inputs, targets = x_test[:20], y_test[:20]
rows = x[:20]
rows.requires_grad_()
with timed():
    # Of inputs.
    gradients = IntegratedGradients(model)
    attributions, delta = gradients.attribute(rows, baselines=torch.zeros_like(rows), n_steps=40, return_convergence_delta=True)
    show("integrated", attributions)
    probe("integrated_delta", delta.abs().max(), 2e-2)
    for method in ("riemann_trapezoid", "riemann_left"):
        show(method, gradients.attribute(rows, method=method, n_steps=30, internal_batch_size=50))
    show("saliency", Saliency(classifier).attribute(inputs, target=targets))
    show("saliency_signed", Saliency(classifier).attribute(inputs, target=3, abs=False))
    show("input_x_gradient", InputXGradient(classifier).attribute(inputs, target=targets))
    attributions, delta = DeepLift(classifier).attribute(inputs, target=targets, return_convergence_delta=True)
    show("deeplift", attributions)
    probe("deeplift_delta", delta.abs().max(), 1e-3)
    show("deeplift_shap", DeepLiftShap(classifier).attribute(inputs, x_train[:10], target=targets))
    show("guided", GuidedBackprop(classifier).attribute(inputs, target=targets))
    show("deconvolution", Deconvolution(classifier).attribute(inputs, target=targets))
    show("lrp", LRP(nn.Sequential(*list(classifier.children()))).attribute(inputs, target=targets), 0.1)
    show("ablation", FeatureAblation(classifier).attribute(inputs, target=targets, perturbations_per_eval=8))
    mask = torch.arange(64)[None] // 8
    show("ablation_rows", FeatureAblation(classifier).attribute(inputs, target=targets, feature_mask=mask))
    show("occlusion", Occlusion(classifier).attribute(inputs, sliding_window_shapes=(8,), strides=4, target=targets))
    show("shapley", ShapleyValues(classifier).attribute(inputs[:2], target=targets[:2], feature_mask=mask // 2))
    torch.manual_seed(0)
    show("shapley_sampling", ShapleyValueSampling(classifier).attribute(inputs, target=targets, feature_mask=mask, n_samples=30), 0.3)
    show("permutation", FeaturePermutation(classifier).attribute(inputs, target=targets, feature_mask=mask), 0.6)
    show("kernel_shap", KernelShap(model).attribute(rows[:1].detach(), n_samples=300), 0.2)
    show("lime", Lime(model, similarity_func=lambda a, b, c, **kw: torch.exp(-(a - b).norm() / 10)).attribute(
        rows[:1].detach(), n_samples=100), 0.5)
    show("gradient_shap", GradientShap(model).attribute(rows, baselines=x[:50] * 0, n_samples=30, stdevs=0.05), 0.1)
    tunnel = NoiseTunnel(gradients)
    for kind in ("smoothgrad", "smoothgrad_sq", "vargrad"):
        show(kind, tunnel.attribute(rows, nt_type=kind, nt_samples=8, stdevs=0.02, n_steps=20), 0.2)
    show("forward_arguments", gradients.attribute(rows, additional_forward_args=(torch.ones(20, 1),), n_steps=20))

    # Of layers and neurons.
    show("activation", LayerActivation(classifier, classifier.relu1).attribute(inputs))
    show("conductance", LayerConductance(classifier, classifier.linear2).attribute(inputs, target=targets, n_steps=30))
    show("influence", InternalInfluence(classifier, classifier.relu1).attribute(inputs, target=targets, n_steps=30))
    show("layer_integrated", LayerIntegratedGradients(classifier, classifier.linear1).attribute(inputs, target=targets))
    show("layer_deeplift", LayerDeepLift(classifier, classifier.linear2).attribute(inputs, target=targets))
    show("layer_gradient", LayerGradientXActivation(classifier, classifier.tanh).attribute(inputs, target=targets))
    show("layer_ablation", LayerFeatureAblation(classifier, classifier.linear2).attribute(inputs, target=targets))
    show("neuron", NeuronConductance(classifier, classifier.linear2).attribute(inputs, 3, target=targets, n_steps=30))
    show("neuron_gradient", NeuronGradient(classifier, classifier.tanh).attribute(inputs, 5))
    show("neuron_integrated", NeuronIntegratedGradients(classifier, classifier.linear2).attribute(inputs, 1, n_steps=30))
    show("neuron_deeplift", NeuronDeepLift(classifier, classifier.linear2).attribute(inputs, 1))

    # Measures of attributions.
    def perturb(x, baselines=None):
        noise = torch.from_numpy(np.random.default_rng(len(x)).normal(0, 0.003, tuple(x.shape)).astype(np.float32))
        return noise, x - noise

    probe("infidelity", infidelity(model, perturb, rows.detach(), gradients.attribute(rows).detach()).mean(), 1e-3)
    probe("sensitivity", sensitivity_max(Saliency(model).attribute, rows.detach(), n_perturb_samples=3).mean(), 0.5)


class WithEmbedding(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.out = nn.Embedding(12, 8), nn.Linear(8, 2)

    def forward(self, words):
        return self.out(torch.relu(self.embedding(words)).mean(1))


words = torch.arange(12).reshape(3, 4)
text = initialize(WithEmbedding())
with timed():
    layer = LayerIntegratedGradients(text, text.embedding)
    show("embedding", layer.attribute(words, baselines=torch.zeros_like(words), target=1, n_steps=20))
    interpretable = configure_interpretable_embedding_layer(text, "embedding")
    show("interpretable", IntegratedGradients(text).attribute(interpretable.indices_to_embeddings(words), target=1, n_steps=20))
    remove_interpretable_embedding_layer(text, interpretable)

    # Which rows of the training data had which influence.
    paths = []
    for epoch in range(2):
        paths.append(f"checkpoint-{epoch}.pt")
        torch.save(classifier.state_dict(), paths[-1])

    def load(model, path):
        model.load_state_dict(torch.load(path))
        return 0.01

    data = TensorDataset(x_train[:60], y_train[:60])
    tracin = TracInCP(classifier, data, paths, load, loss_fn=nn.CrossEntropyLoss(reduction="sum"), batch_size=20, sample_wise_grads_per_batch=True)
    show("tracin", tracin.influence((inputs, targets)), 5e-2)
    fast = TracInCPFast(classifier, classifier.linear3, data, paths, load, loss_fn=nn.CrossEntropyLoss(reduction="sum"), batch_size=20)
    show("tracin_fast", fast.influence((inputs, targets)), 5e-2)
    indices, scores = fast.influence((inputs, targets), k=3, proponents=True)
    show("proponents", scores, 5e-2)
