"""Word embeddings by skip-gram with negative samples: a text of words that go in pairs."""

import os

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

STEPS = int(os.environ.get("STEPS", 40))
rng = np.random.default_rng(128)


class SkipGramModel(nn.Module):
    def __init__(self, emb_size, emb_dimension):
        super(SkipGramModel, self).__init__()
        self.u_embeddings = nn.Embedding(emb_size, emb_dimension)
        self.v_embeddings = nn.Embedding(emb_size, emb_dimension)
        initrange = 1.0 / emb_dimension
        self.u_embeddings.weight.data.copy_(torch.from_numpy(rng.uniform(-initrange, initrange, (emb_size, emb_dimension))))
        self.v_embeddings.weight.data.copy_(torch.from_numpy(rng.normal(0, 0.1, (emb_size, emb_dimension))))

    def forward(self, pos_u, pos_v, neg_v):
        emb_u = self.u_embeddings(pos_u)
        emb_v = self.v_embeddings(pos_v)
        emb_neg_v = self.v_embeddings(neg_v)
        score = torch.sum(torch.mul(emb_u, emb_v), dim=1)
        score = -F.logsigmoid(torch.clamp(score, max=10, min=-10))
        neg_score = torch.bmm(emb_neg_v, emb_u.unsqueeze(2)).squeeze(2)
        neg_score = -torch.sum(F.logsigmoid(-torch.clamp(neg_score, max=10, min=-10)), dim=1)
        return torch.mean(score + neg_score)


VOCABULARY = 40
model = SkipGramModel(VOCABULARY, 16)
optimizer = torch.optim.Adam(model.parameters(), lr=2e-2)
for step in range(STEPS):
    centre = rng.integers(0, VOCABULARY, 128)
    context = centre // 4 * 4 + rng.integers(0, 4, 128)
    negative = rng.integers(0, VOCABULARY, (128, 5))
    loss = model(*map(torch.from_numpy, (centre, context, negative)))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 10 == 9:
        print(f"Loss at step {step + 1}: {loss.item():.4f}")

vectors = model.u_embeddings.weight.detach()
vectors = vectors / vectors.norm(dim=1, keepdim=True)
similarity = (vectors @ vectors.t()).numpy()
group = np.arange(VOCABULARY) // 4
print(f"similarity within groups {similarity[group[:, None] == group].mean():.3f}, all {similarity.mean():.3f}")
