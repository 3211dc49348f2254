"""Advantage actor-critic in a small grid, with several workers and n-step returns."""

import os

import numpy as np
import torch
import torch.nn as nn
import torch.optim as optim
from torch.distributions import Categorical

ROUNDS = int(os.environ.get("STEPS", 40)) // 4
rng = np.random.default_rng(118)
SIZE, WORKERS, N_STEPS, GAMMA = 5, 8, 5, 0.95


class Grid:
    moves = np.array([[0, 1], [0, -1], [1, 0], [-1, 0]])

    def __init__(self):
        self.at = rng.integers(0, SIZE, (WORKERS, 2))

    def observe(self):
        return (self.at / (SIZE - 1)).astype(np.float32)

    def step(self, actions):
        self.at = np.clip(self.at + self.moves[actions], 0, SIZE - 1)
        done = (self.at == SIZE - 1).all(1)
        reward = np.where(done, 1.0, -0.05).astype(np.float32)
        self.at[done] = rng.integers(0, SIZE - 1, (int(done.sum()), 2))
        return self.observe(), reward, done.astype(np.float32)


class ActorCritic(nn.Module):
    def __init__(self, num_inputs, num_outputs, hidden_size):
        super(ActorCritic, self).__init__()
        self.critic = nn.Sequential(nn.Linear(num_inputs, hidden_size), nn.ReLU(), nn.Linear(hidden_size, 1))
        self.actor = nn.Sequential(nn.Linear(num_inputs, hidden_size), nn.ReLU(), nn.Linear(hidden_size, num_outputs), nn.Softmax(dim=1))

    def forward(self, x):
        return Categorical(self.actor(x)), self.critic(x)


def compute_returns(next_value, rewards, masks, gamma=GAMMA):
    R, returns = next_value, []
    for step in reversed(range(len(rewards))):
        R = rewards[step] + gamma * R * masks[step]
        returns.insert(0, R)
    return returns


model = ActorCritic(2, 4, 64)
for p in model.parameters():
    p.data.copy_(torch.tensor(rng.normal(0, 0.3, p.shape)))
optimizer = optim.RMSprop(model.parameters(), lr=2e-3, alpha=0.99, eps=1e-5)
envs = Grid()
state = envs.observe()
for update in range(ROUNDS):
    log_probs, values, rewards, masks, entropy = [], [], [], [], 0
    for _ in range(N_STEPS):
        state = torch.FloatTensor(state)
        dist, value = model(state)
        action = torch.from_numpy((dist.probs.detach().double().cumsum(1).numpy() < rng.random((WORKERS, 1))).sum(1).clip(max=3))
        next_state, reward, done = envs.step(action.cpu().numpy())
        log_probs.append(dist.log_prob(action))
        entropy += dist.entropy().mean()
        values.append(value)
        rewards.append(torch.FloatTensor(reward).unsqueeze(1))
        masks.append(torch.FloatTensor(1 - done).unsqueeze(1))
        state = next_state
    _, next_value = model(torch.FloatTensor(next_state))
    returns = torch.cat(compute_returns(next_value, rewards, masks)).detach()
    advantage = returns - torch.cat(values)
    actor_loss = -(torch.cat(log_probs).unsqueeze(1) * advantage.detach()).mean()
    critic_loss = advantage.pow(2).mean()
    loss = actor_loss + 0.5 * critic_loss - 0.001 * entropy
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 0.5)
    optimizer.step()
    if update % 2 == 1:
        print(f"{update + 1}: actor {actor_loss.item():+.4f} critic {critic_loss.item():.4f} entropy {entropy.item() / N_STEPS:.4f}")
