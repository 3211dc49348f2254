"""PPO on CartPole: 128 steps of the environment, then four epochs over minibatches of 32."""

from benchmarks.scripts import cart_pole
from benchmarks.scripts.harness import log, torch

nn, Categorical = torch.nn, torch.distributions.Categorical
LOSSES = (23.6741, 20.7602, 21.177)
HORIZON, EPOCHS, BATCH = 128, 4, 32


class Agent(nn.Module):
    def __init__(self):
        super().__init__()
        self.critic = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))
        self.actor = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 2))

    def act(self, x, action=None):
        probs = Categorical(logits=self.actor(x))
        if action is None:
            action = probs.sample()
        return action, probs.log_prob(action), probs.entropy(), self.critic(x)


env, note = cart_pole.make()
log.notes.append(note)
agent = Agent()
log.initialize(agent)
optimizer = torch.optim.Adam(agent.parameters(), lr=2.5e-4, eps=1e-5)
state, _ = env.reset(seed=1)
done = 0.0
obs, actions = torch.zeros(HORIZON, 4), torch.zeros(HORIZON)
logprobs, rewards, dones, values = [torch.zeros(HORIZON) for _ in range(4)]

for _ in log.steps(20):
    for step in range(HORIZON):
        obs[step], dones[step] = torch.as_tensor(state), done
        with torch.no_grad():
            given = torch.tensor(int(log.rng.integers(2))) if log.is_checking else None
            action, logprob, _, value = agent.act(obs[step], given)
            values[step] = value.flatten()
        actions[step], logprobs[step] = action, logprob
        state, reward, terminated, truncated, _ = env.step(action.item())
        rewards[step], done = reward, float(terminated or truncated)
        if done:
            state, _ = env.reset()
    with torch.no_grad():
        following = agent.critic(torch.as_tensor(state)).reshape(())
        advantages, last = torch.zeros(HORIZON), 0.0
        for t in reversed(range(HORIZON)):
            going = 1.0 - (done if t == HORIZON - 1 else dones[t + 1])
            next_value = following if t == HORIZON - 1 else values[t + 1]
            delta = rewards[t] + 0.99 * next_value * going - values[t]
            advantages[t] = last = delta + 0.99 * 0.95 * going * last
        returns = advantages + values
    for _ in range(EPOCHS):
        order = log.rng.permutation(HORIZON)
        for start in range(0, HORIZON, BATCH):
            chosen = torch.from_numpy(order[start : start + BATCH])
            _, new, entropy, value = agent.act(obs[chosen], actions[chosen].long())
            ratio = (new - logprobs[chosen]).exp()
            advantage = advantages[chosen]
            advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
            policy_loss = torch.max(-advantage * ratio, -advantage * torch.clamp(ratio, 0.8, 1.2)).mean()
            value_loss = 0.5 * ((value.view(-1) - returns[chosen]) ** 2).mean()
            loss = policy_loss - 0.01 * entropy.mean() + 0.5 * value_loss
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
            optimizer.step()
    log(loss)
