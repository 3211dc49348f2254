"""Q-learning of a walk along a chain, with a table of tensors and then with a linear layer."""

import numpy as np
import torch
import torch.nn.functional as F

STATES, GOAL, GAMMA = 7, 6, 0.9


def environment(state, action):
    next_state = min(max(state + (1 if action == 1 else -1), 0), STATES - 1)
    return next_state, float(next_state == GOAL), next_state == GOAL


rng = np.random.RandomState(21)
Q = torch.zeros([STATES, 2])
steps = []
for i_episode in range(60):
    s, count = 3, 0
    while True:
        noise = torch.from_numpy(rng.randn(2)).float() / (i_episode + 1)
        a = torch.max(Q[s] + noise, 0)[1].item()
        s1, reward, done = environment(s, a)
        Q[s, a] += 0.5 * (reward + GAMMA * Q[s1].max() * (not done) - Q[s, a])
        s, count = s1, count + 1
        if done or count == 100:
            break
    steps.append(count)
print(steps[:5], steps[-5:])
torch.set_printoptions(precision=3, sci_mode=False)
print(Q)
torch.set_printoptions(profile="default")

weight = torch.zeros(2, STATES, requires_grad=True)
optimizer = torch.optim.SGD([weight], lr=0.3)
for i_episode in range(60):
    s, done, count = int(rng.randint(0, GOAL)), False, 0
    while not done and count < 50:
        state = F.one_hot(torch.tensor(s), STATES).float()
        values = F.linear(state, weight)
        a = rng.randint(0, 2) if rng.rand() < 0.3 else int(values.argmax())
        s1, reward, done = environment(s, a)
        with torch.no_grad():
            target = values.clone()
            best = F.linear(F.one_hot(torch.as_tensor(s1), STATES).float(), weight).max()
            target[a] = reward + (0.0 if done else GAMMA * best)
        loss = torch.sum((target - values) ** 2) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        s, count = s1, count + 1
print("policy", ["left" if row[0] > row[1] else "right" for row in weight.t()[:GOAL]])
print(weight.detach().t()[3:6])
