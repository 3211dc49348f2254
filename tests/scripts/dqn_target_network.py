"""Deep Q-learning on a grid of its own: replay memory, a target network, the Huber loss."""

import random
from collections import deque, namedtuple

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim

Transition = namedtuple("Transition", ("state", "action", "next_state", "reward", "done"))
random.seed(3)
rng = np.random.default_rng(3)


class Grid:
    """Walk from one corner of a 4 x 4 grid to the other."""

    MOVES = ((0, 1), (1, 0), (0, -1), (-1, 0))

    def reset(self):
        self.at, self.steps = (0, 0), 0
        return self.observe()

    def observe(self):
        state = np.zeros(16, dtype=np.float32)
        state[self.at[0] * 4 + self.at[1]] = 1
        return state

    def step(self, action):
        move = self.MOVES[action]
        self.at = tuple(int(np.clip(a + m, 0, 3)) for a, m in zip(self.at, move))
        self.steps += 1
        done = self.at == (3, 3) or self.steps == 30
        return self.observe(), 1.0 if self.at == (3, 3) else -0.05, done


class DQN(nn.Module):
    def __init__(self, n_observations, n_actions):
        super().__init__()
        self.layer1 = nn.Linear(n_observations, 24)
        self.layer2 = nn.Linear(24, n_actions)

    def forward(self, x):
        return self.layer2(F.relu(self.layer1(x)))


policy_net, target_net = DQN(16, 4), DQN(16, 4)
policy_net.load_state_dict(
    {k: torch.tensor(rng.normal(0, 0.3, v.shape), dtype=v.dtype) for k, v in policy_net.state_dict().items()}
)
target_net.load_state_dict(policy_net.state_dict())
optimizer = optim.AdamW(policy_net.parameters(), lr=5e-3, amsgrad=True)
memory = deque(maxlen=1000)


def optimize_model(batch_size=32, gamma=0.9):
    if len(memory) < batch_size:
        return
    batch = Transition(*zip(*random.sample(memory, batch_size)))
    states = torch.from_numpy(np.stack(batch.state))
    actions = torch.tensor(batch.action).view(-1, 1)
    rewards = torch.tensor(batch.reward)
    going_on = ~torch.tensor(batch.done)
    state_action_values = policy_net(states).gather(1, actions)
    next_state_values = torch.zeros(batch_size)
    with torch.no_grad():
        next_states = torch.stack([torch.from_numpy(s) for s, d in zip(batch.next_state, batch.done) if not d])
        next_state_values[going_on] = target_net(next_states).max(1).values
    expected = next_state_values * gamma + rewards
    loss = nn.SmoothL1Loss()(state_action_values, expected.unsqueeze(1))
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_value_(policy_net.parameters(), 100)
    optimizer.step()


env = Grid()
for episode in range(30):
    state, total, done = env.reset(), 0.0, False
    while not done:
        if rng.random() < max(0.1, 1 - episode / 20):
            action = int(rng.integers(4))
        else:
            with torch.no_grad():
                action = policy_net(torch.from_numpy(state)).argmax().item()
        next_state, reward, done = env.step(action)
        memory.append(Transition(state, action, next_state, reward, done))
        state, total = next_state, total + reward
        optimize_model()
        target_state, policy_state = target_net.state_dict(), policy_net.state_dict()
        for key in policy_state:
            target_state[key] = policy_state[key] * 0.05 + target_state[key] * (1 - 0.05)
        target_net.load_state_dict(target_state)
    if episode % 10 == 9:
        print(f"episode {episode + 1}: {env.steps} steps, reward {total:.2f}, memory {len(memory)}")

values = policy_net(torch.eye(16)).detach()
print(f"value of the start {values[0].max():.2f}, before the end {values[11].max():.2f}, best {values[11].argmax().item()}")
