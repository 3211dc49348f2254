"""REINFORCE with a baseline and a Gaussian policy whose deviation is learnt."""

import os

import numpy as np
import torch
import torch.nn as nn
from torch.distributions import Normal

EPISODES = int(os.environ.get("STEPS", 40)) // 2
rng = np.random.default_rng(119)


class Policy(nn.Module):
    def __init__(self):
        super().__init__()
        self.affine1 = nn.Linear(2, 32)
        self.affine2 = nn.Linear(32, 32)
        self.mean_head = nn.Linear(32, 1)
        self.value_head = nn.Linear(32, 1)
        self.log_std = nn.Parameter(torch.zeros(1))
        self.saved = []
        self.rewards = []

    def forward(self, x):
        x = torch.tanh(self.affine1(x))
        x = torch.tanh(self.affine2(x))
        return self.mean_head(x), self.log_std.exp(), self.value_head(x)


policy = Policy()
for name, p in policy.named_parameters():
    if name != "log_std":
        p.data.copy_(torch.from_numpy(rng.normal(0, 0.4, p.shape)))
optimizer = torch.optim.Adam(policy.parameters(), lr=3e-3)
eps = np.finfo(np.float32).eps.item()


def select_action(state):
    mean, std, value = policy(torch.from_numpy(state).float().unsqueeze(0))
    m = Normal(mean, std)
    action = (mean + std * float(rng.normal())).detach()
    policy.saved.append((m.log_prob(action).sum(), value, m.entropy().sum()))
    return action.item()


def finish_episode(gamma=0.95):
    R, returns = 0, []
    for r in policy.rewards[::-1]:
        R = r + gamma * R
        returns.insert(0, R)
    returns = torch.tensor(returns, dtype=torch.float32)
    returns = (returns - returns.mean()) / (returns.std() + eps)
    policy_losses, value_losses, entropies = [], [], []
    for (log_prob, value, entropy), R in zip(policy.saved, returns):
        policy_losses.append(-log_prob * (R - value.item()))
        value_losses.append(torch.nn.functional.smooth_l1_loss(value.view(1), R.view(1)))
        entropies.append(entropy)
    optimizer.zero_grad()
    loss = torch.stack(policy_losses).sum() + torch.stack(value_losses).sum() - 0.01 * torch.stack(entropies).sum()
    loss.backward()
    optimizer.step()
    policy.rewards, policy.saved = [], []
    return loss.item()


running = 0.0
for i_episode in range(EPISODES):
    position, velocity, total = rng.uniform(-1, 1), 0.0, 0.0
    for t in range(15):
        force = np.clip(select_action(np.array([position, velocity])), -2, 2)
        velocity = 0.9 * velocity + 0.2 * force
        position += 0.2 * velocity
        reward = -(position**2 + 0.01 * force**2)
        policy.rewards.append(reward)
        total += reward
    running = 0.1 * total + 0.9 * running
    loss = finish_episode()
    if i_episode % 5 == 4:
        print("Episode {}\tLast reward: {:.3f}\tAverage reward: {:.3f}\tloss {:.2f}".format(i_episode + 1, total, running, loss))
