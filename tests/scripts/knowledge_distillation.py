"""A student learns from a teacher's softened probabilities."""

import os

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

STEPS = int(os.environ.get("STEPS", 40))
rng = np.random.default_rng(105)


def mlp(*sizes):
    net = nn.Sequential()
    for i, (a, b) in enumerate(zip(sizes, sizes[1:])):
        net.add_module(f"linear{i}", nn.Linear(a, b))
        if i < len(sizes) - 2:
            net.add_module(f"relu{i}", nn.ReLU())
    for p in net.parameters():
        bound = p.shape[-1] ** -0.5
        p.data = torch.as_tensor(rng.uniform(-bound, bound, p.shape), dtype=torch.float32)
    return net


def loss_fn_kd(outputs, labels, teacher_outputs, alpha=0.7, T=3.0):
    soft = nn.KLDivLoss(reduction="batchmean")(F.log_softmax(outputs / T, dim=1), F.softmax(teacher_outputs / T, dim=1))
    return soft * (alpha * T * T) + F.cross_entropy(outputs, labels) * (1.0 - alpha)


x = rng.normal(size=(800, 12)).astype("f")
hidden = np.maximum(x @ rng.normal(size=(12, 16)), 0)
labels = (hidden @ rng.normal(size=(16, 6))).argmax(1)
X, Y = torch.from_numpy(x), torch.from_numpy(labels)
teacher, student = mlp(12, 128, 128, 6), mlp(12, 16, 6)

opt = torch.optim.Adam(teacher.parameters(), lr=3e-3)
for i in range(STEPS):
    rows = slice(80 * (i % 10), 80 * (i % 10) + 80)
    opt.zero_grad()
    loss = F.cross_entropy(teacher(X[rows]), Y[rows])
    loss.backward()
    opt.step()
print(f"teacher: {loss.item():.4f}")

teacher.eval()
for p in teacher.parameters():
    p.requires_grad = False
opt = torch.optim.Adam(student.parameters(), lr=1e-2)
for i in range(STEPS):
    rows = slice(80 * (i % 10), 80 * (i % 10) + 80)
    with torch.no_grad():
        teacher_logits = teacher(X[rows])
    student_logits = student(X[rows])
    loss = loss_fn_kd(student_logits, Y[rows], teacher_logits)
    opt.zero_grad()
    loss.backward()
    opt.step()
    if i % 10 == 9:
        agreement = (student_logits.argmax(-1) == teacher_logits.argmax(-1)).float().mean()
        print(f"student {i + 1}: {loss.item():.4f}, agreement {agreement:.2f}")
