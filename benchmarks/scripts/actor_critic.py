"""Actor-critic on CartPole: one observation at a time, an update after 20 of them."""

from benchmarks.scripts.cart_pole import CartPole
from benchmarks.scripts.harness import log, torch

nn, F, Categorical = torch.nn, torch.nn.functional, torch.distributions.Categorical
LOSSES = (2.1307, 0.115222, 4.07234)


class Policy(nn.Module):
    def __init__(self):
        super().__init__()
        self.affine = nn.Linear(4, 128)
        self.action_head = nn.Linear(128, 2)
        self.value_head = nn.Linear(128, 1)

    def forward(self, x):
        x = F.relu(self.affine(x))
        return F.softmax(self.action_head(x), dim=-1), self.value_head(x)


env = CartPole()
model = Policy()
log.initialize(model)
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
state, _ = env.reset(seed=1)

for _ in log.steps(250):
    saved, rewards = [], []
    for _ in range(20):
        probs, value = model(torch.from_numpy(state))
        m = Categorical(probs)
        action = m.sample() if not log.is_checking else torch.tensor(int(log.rng.integers(2)))
        saved.append((m.log_prob(action), value))
        state, reward, terminated, truncated, _ = env.step(action.item())
        rewards.append(reward)
        if terminated or truncated:
            state, _ = env.reset()
    returns, total = [], 0.0
    for reward in reversed(rewards):
        total = reward + 0.99 * total
        returns.insert(0, total)
    returns = torch.tensor(returns)
    returns = (returns - returns.mean()) / (returns.std() + 1e-6)
    policy_losses, value_losses = [], []
    for (log_prob, value), target in zip(saved, returns):
        advantage = target - value.item()
        policy_losses.append(-log_prob * advantage)
        value_losses.append(F.smooth_l1_loss(value, torch.tensor([target])))
    optimizer.zero_grad()
    loss = torch.stack(policy_losses).sum() + torch.stack(value_losses).sum()
    loss.backward()
    optimizer.step()
    log(loss)
