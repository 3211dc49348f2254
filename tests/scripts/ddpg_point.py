"""DDPG that moves a point to the origin: replay buffer, target networks, soft updates."""

import copy
import os
import random
from collections import deque

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

STEPS = int(os.environ.get("STEPS", 40))
rng = np.random.default_rng(117)
random.seed(117)


class Actor(nn.Module):
    def __init__(self, state_dim, action_dim, max_action):
        super(Actor, self).__init__()
        self.l1 = nn.Linear(state_dim, 64)
        self.l2 = nn.Linear(64, 64)
        self.l3 = nn.Linear(64, action_dim)
        self.max_action = max_action

    def forward(self, state):
        a = F.relu(self.l1(state))
        a = F.relu(self.l2(a))
        return self.max_action * torch.tanh(self.l3(a))


class Critic(nn.Module):
    def __init__(self, state_dim, action_dim):
        super(Critic, self).__init__()
        self.l1 = nn.Linear(state_dim + action_dim, 64)
        self.l2 = nn.Linear(64, 64)
        self.l3 = nn.Linear(64, 1)

    def forward(self, state, action):
        q = F.relu(self.l1(torch.cat([state, action], 1)))
        q = F.relu(self.l2(q))
        return self.l3(q)


class DDPG(object):
    def __init__(self, state_dim, action_dim, max_action, discount=0.95, tau=0.01):
        self.actor = Actor(state_dim, action_dim, max_action)
        self.critic = Critic(state_dim, action_dim)
        for p in list(self.actor.parameters()) + list(self.critic.parameters()):
            p.data.copy_(torch.from_numpy(rng.uniform(-0.2, 0.2, p.shape)))
        self.actor_target, self.critic_target = copy.deepcopy(self.actor), copy.deepcopy(self.critic)
        self.actor_optimizer = torch.optim.Adam(self.actor.parameters(), lr=1e-3)
        self.critic_optimizer = torch.optim.Adam(self.critic.parameters(), lr=2e-3, weight_decay=1e-2)
        self.discount, self.tau = discount, tau

    def select_action(self, state):
        state = torch.FloatTensor(state.reshape(1, -1))
        return self.actor(state).cpu().data.numpy().flatten()

    def train(self, replay_buffer, batch_size=64):
        state, action, next_state, reward = map(lambda x: torch.FloatTensor(np.array(x)), zip(*random.sample(replay_buffer, batch_size)))
        target_Q = self.critic_target(next_state, self.actor_target(next_state))
        target_Q = reward.unsqueeze(1) + (self.discount * target_Q).detach()
        current_Q = self.critic(state, action)
        critic_loss = F.mse_loss(current_Q, target_Q)
        self.critic_optimizer.zero_grad()
        critic_loss.backward()
        self.critic_optimizer.step()

        actor_loss = -self.critic(state, self.actor(state)).mean()
        self.actor_optimizer.zero_grad()
        actor_loss.backward()
        self.actor_optimizer.step()

        for net, target in ((self.critic, self.critic_target), (self.actor, self.actor_target)):
            for param, target_param in zip(net.parameters(), target.parameters()):
                target_param.data.copy_(self.tau * param.data + (1 - self.tau) * target_param.data)
        return critic_loss.item(), actor_loss.item()


def move(state, action):
    following = np.clip(state + 0.2 * action, -2, 2)
    return following, -float(np.square(following).sum())


policy = DDPG(2, 2, 1.0)
buffer = deque(maxlen=5000)
state = rng.uniform(-1, 1, 2)
for t in range(STEPS + 64):
    action = (policy.select_action(np.array(state)) + rng.normal(0, 0.3, 2)).clip(-1, 1)
    next_state, reward = move(state, action)
    buffer.append((state, action, next_state, reward))
    state = rng.uniform(-1, 1, 2) if t % 20 == 19 else next_state
    if t >= 64:
        losses = policy.train(buffer)
        if t % 10 == 9:
            print(f"T: {t + 1} critic {losses[0]:.3f} actor {losses[1]:.3f}")
