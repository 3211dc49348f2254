"""Deep Q-learning on CartPole: a replay buffer, a target network that follows slowly, an update a step."""

import random
from collections import deque

from benchmarks.scripts.cart_pole import CartPole
from benchmarks.scripts.harness import log, torch

nn, F = torch.nn, torch.nn.functional
LOSSES = (0.573452, 0.550933, 0.528548)
BATCH = 64


class QNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer1 = nn.Linear(4, 128)
        self.layer2 = nn.Linear(128, 128)
        self.layer3 = nn.Linear(128, 2)

    def forward(self, x):
        x = F.relu(self.layer1(x))
        x = F.relu(self.layer2(x))
        return self.layer3(x)


rng = random.Random(1)
env, policy, target = CartPole(), QNetwork(), QNetwork()
log.initialize(policy)
target.load_state_dict(policy.state_dict())
optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-3, amsgrad=True)
memory = deque(maxlen=10_000)
state, _ = env.reset(seed=1)
state = torch.tensor(state).unsqueeze(0)

for i in log.steps(1500):
    for _ in range(BATCH if i == 0 else 1):
        if i == 0 or rng.random() < 0.1:
            action = torch.tensor([[rng.randrange(2)]])
        else:
            with torch.no_grad():
                action = policy(state).max(1).indices.view(1, 1)
        observation, reward, terminated, truncated, _ = env.step(action.item())
        following = None if terminated else torch.tensor(observation).unsqueeze(0)
        memory.append((state, action, following, torch.tensor([reward])))
        state = following if not (terminated or truncated) else torch.tensor(env.reset()[0]).unsqueeze(0)
    states, actions, followings, rewards = zip(*rng.sample(memory, BATCH))
    going = torch.tensor([s is not None for s in followings])
    values = policy(torch.cat(states)).gather(1, torch.cat(actions))
    next_values = torch.zeros(BATCH)
    with torch.no_grad():
        next_values[going] = target(torch.cat([s for s in followings if s is not None])).max(1).values
    expected = next_values * 0.99 + torch.cat(rewards)
    loss = F.smooth_l1_loss(values, expected.unsqueeze(1))
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_value_(policy.parameters(), 100)
    optimizer.step()
    with torch.no_grad():
        for slow, fast in zip(target.parameters(), policy.parameters()):
            slow.mul_(0.995).add_(fast, alpha=0.005)
    log(loss)
