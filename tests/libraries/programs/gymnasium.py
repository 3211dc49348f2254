"""Agents in a single file each, as CleanRL's: PPO, DQN and SAC on environments of gymnasium."""

import copy

import gymnasium as gym
import numpy as np
import torch
import torch.nn.functional as F
from harness import initialize, probe, timed
from torch import nn, optim
from torch.distributions.categorical import Categorical
from torch.distributions.normal import Normal


def layer_init(layer, std=np.sqrt(2), bias=0.0):
    torch.nn.init.orthogonal_(layer.weight, std)
    torch.nn.init.constant_(layer.bias, bias)
    return layer


class Agent(nn.Module):
    def __init__(self, observations, actions):
        super().__init__()
        self.critic = nn.Sequential(
            layer_init(nn.Linear(observations, 64)), nn.Tanh(), layer_init(nn.Linear(64, 64)), nn.Tanh(), layer_init(nn.Linear(64, 1), std=1.0)
        )
        self.actor = nn.Sequential(
            layer_init(nn.Linear(observations, 64)), nn.Tanh(), layer_init(nn.Linear(64, 64)), nn.Tanh(), layer_init(nn.Linear(64, actions), std=0.01)
        )

    def get_value(self, x):
        return self.critic(x)

    def get_action_and_value(self, x, action=None):
        probs = Categorical(logits=self.actor(x))
        if action is None:
            action = probs.sample()
        return action, probs.log_prob(action), probs.entropy(), self.critic(x)


def ppo(num_envs=4, num_steps=128, iterations=14, epochs=4, minibatches=4, gamma=0.99, gae_lambda=0.95, clip=0.2):
    envs = gym.vector.SyncVectorEnv([lambda: gym.wrappers.RecordEpisodeStatistics(gym.make("CartPole-v1")) for _ in range(num_envs)])
    agent = Agent(4, 2)
    optimizer = optim.Adam(agent.parameters(), lr=2.5e-4, eps=1e-5)
    obs = torch.zeros((num_steps, num_envs, 4))
    actions = torch.zeros((num_steps, num_envs))
    logprobs, rewards, dones, values = (torch.zeros((num_steps, num_envs)) for _ in range(4))
    next_obs, _ = envs.reset(seed=1)
    next_obs, next_done = torch.Tensor(next_obs), torch.zeros(num_envs)
    lengths = []
    for iteration in range(1, iterations + 1):
        optimizer.param_groups[0]["lr"] = (1.0 - (iteration - 1.0) / iterations) * 2.5e-3
        for step in range(num_steps):
            obs[step], dones[step] = next_obs, next_done
            with torch.no_grad():
                action, logprob, _, value = agent.get_action_and_value(next_obs)
                values[step] = value.flatten()
            actions[step], logprobs[step] = action, logprob
            next_obs, reward, terminations, truncations, infos = envs.step(action.cpu().numpy())
            done = np.logical_or(terminations, truncations)
            rewards[step] = torch.tensor(reward).view(-1)
            next_obs, next_done = torch.Tensor(next_obs), torch.Tensor(done)
            if "episode" in infos:
                lengths += infos["episode"]["l"][infos["_episode"]].tolist()
        with torch.no_grad():
            next_value = agent.get_value(next_obs).reshape(1, -1)
            advantages = torch.zeros_like(rewards)
            last = 0
            for t in reversed(range(num_steps)):
                alive = 1.0 - (next_done if t == num_steps - 1 else dones[t + 1])
                following = next_value if t == num_steps - 1 else values[t + 1]
                delta = rewards[t] + gamma * following * alive - values[t]
                advantages[t] = last = delta + gamma * gae_lambda * alive * last
            returns = advantages + values
        b_obs, b_logprobs, b_actions = obs.reshape((-1, 4)), logprobs.reshape(-1), actions.reshape(-1)
        b_advantages, b_returns = advantages.reshape(-1), returns.reshape(-1)
        b_inds = np.arange(num_steps * num_envs)
        size = len(b_inds) // minibatches
        for _ in range(epochs):
            np.random.shuffle(b_inds)
            for start in range(0, len(b_inds), size):
                mb = b_inds[start : start + size]
                _, newlogprob, entropy, newvalue = agent.get_action_and_value(b_obs[mb], b_actions.long()[mb])
                ratio = (newlogprob - b_logprobs[mb]).exp()
                mb_advantages = b_advantages[mb]
                mb_advantages = (mb_advantages - mb_advantages.mean()) / (mb_advantages.std() + 1e-8)
                pg_loss = torch.max(-mb_advantages * ratio, -mb_advantages * torch.clamp(ratio, 1 - clip, 1 + clip)).mean()
                v_loss = 0.5 * ((newvalue.view(-1) - b_returns[mb]) ** 2).mean()
                loss = pg_loss - 0.01 * entropy.mean() + v_loss * 0.5
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
                optimizer.step()
    probe("ppo_learns", np.mean(lengths[-10:]) > 40, 0)


class Replay:
    """Draws from NumPy, as Stable-Baselines3's buffer, from which CleanRL's comes."""

    def __init__(self, size, observations, actions, rng):
        self.arrays = [np.zeros((size, n), np.float32) for n in (observations, observations, actions, 1, 1)]
        self.size, self.count, self.rng = size, 0, rng

    def add(self, *values):
        for array, value in zip(self.arrays, values):
            array[self.count % self.size] = value
        self.count += 1

    def sample(self, n):
        rows = self.rng.integers(0, min(self.count, self.size), n)
        return [torch.as_tensor(array[rows]) for array in self.arrays]


class QNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(nn.Linear(4, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 2))

    def forward(self, x):
        return self.network(x)


def dqn(total=5000, start=500):
    rng = np.random.default_rng(0)
    env = gym.make("CartPole-v1")
    q_network = initialize(QNetwork())
    optimizer = optim.Adam(q_network.parameters(), lr=2.5e-4)
    target = QNetwork()
    target.load_state_dict(q_network.state_dict())
    buffer = Replay(2000, 4, 1, rng)
    obs, _ = env.reset(seed=0)
    losses = []
    for step in range(total):
        epsilon = max(1 - 0.95 * step / (total / 2), 0.05)
        if rng.random() < epsilon:
            action = int(rng.integers(2))
        else:
            action = torch.argmax(q_network(torch.Tensor(obs).unsqueeze(0)), dim=1).item()
        next_obs, reward, terminated, truncated, _ = env.step(action)
        buffer.add(obs, next_obs, action, reward, terminated)
        obs = env.reset()[0] if terminated or truncated else next_obs
        if step > start and step % 2 == 0:
            o, n, a, r, d = buffer.sample(128)
            with torch.no_grad():
                target_max, _ = target(n).max(dim=1)
                td_target = r.flatten() + 0.99 * target_max * (1 - d.flatten())
            old = q_network(o).gather(1, a.long()).squeeze()
            loss = F.mse_loss(td_target, old)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        if step % 250 == 0:
            for t, q in zip(target.parameters(), q_network.parameters()):
                t.data.copy_(1.0 * q.data + 0.0 * t.data)
    probe("dqn_first", np.mean(losses[:20]), 1e-3)
    probe("dqn_falls", np.mean(losses[-200:]) < np.max(losses), 0)


class SoftQNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(4, 128), nn.Linear(128, 128), nn.Linear(128, 1)

    def forward(self, x, a):
        x = F.relu(self.fc1(torch.cat([x, a], 1)))
        return self.fc3(F.relu(self.fc2(x)))


class Actor(nn.Module):
    def __init__(self, low=-2.0, high=2.0):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(3, 128), nn.Linear(128, 128)
        self.fc_mean, self.fc_logstd = nn.Linear(128, 1), nn.Linear(128, 1)
        self.register_buffer("action_scale", torch.tensor((high - low) / 2.0, dtype=torch.float32))
        self.register_buffer("action_bias", torch.tensor((high + low) / 2.0, dtype=torch.float32))

    def forward(self, x):
        x = F.relu(self.fc2(F.relu(self.fc1(x))))
        log_std = torch.tanh(self.fc_logstd(x))
        return self.fc_mean(x), -5 + 0.5 * 7 * (log_std + 1)

    def get_action(self, x):
        mean, log_std = self(x)
        normal = Normal(mean, log_std.exp())
        x_t = normal.rsample()
        y_t = torch.tanh(x_t)
        log_prob = normal.log_prob(x_t) - torch.log(self.action_scale * (1 - y_t.pow(2)) + 1e-6)
        return y_t * self.action_scale + self.action_bias, log_prob.sum(1, keepdim=True), torch.tanh(mean) * self.action_scale


def sac(total=700, start=150, gamma=0.99, tau=0.005):
    env = gym.make("Pendulum-v1")
    actor, qf1, qf2 = initialize(Actor(), 0), initialize(SoftQNetwork(), 1), initialize(SoftQNetwork(), 2)
    qf1_target, qf2_target = copy.deepcopy(qf1), copy.deepcopy(qf2)
    q_optimizer = optim.Adam(list(qf1.parameters()) + list(qf2.parameters()), lr=1e-3)
    actor_optimizer = optim.Adam(list(actor.parameters()), lr=3e-4)
    log_alpha = torch.zeros(1, requires_grad=True)
    alpha, a_optimizer = log_alpha.exp().item(), optim.Adam([log_alpha], lr=1e-3)
    buffer = Replay(2000, 3, 1, np.random.default_rng(0))
    obs, _ = env.reset(seed=0)
    env.action_space.seed(0)
    with torch.no_grad():
        probe("sac_mean", actor(torch.ones(2, 3))[0].sum(), 1e-4)
    for step in range(total):
        if step < start:
            action = env.action_space.sample()
        else:
            action = actor.get_action(torch.Tensor(obs[None]))[0].detach().cpu().numpy()[0]
        next_obs, reward, terminated, truncated, _ = env.step(action)
        buffer.add(obs, next_obs, action, reward, terminated)
        obs = env.reset()[0] if terminated or truncated else next_obs
        if step <= start:
            continue
        o, n, a, r, d = buffer.sample(256)
        with torch.no_grad():
            next_action, next_log_pi, _ = actor.get_action(n)
            smallest = torch.min(qf1_target(n, next_action), qf2_target(n, next_action)) - alpha * next_log_pi
            next_q = r.flatten() + (1 - d.flatten()) * gamma * smallest.view(-1)
        qf_loss = F.mse_loss(qf1(o, a).view(-1), next_q) + F.mse_loss(qf2(o, a).view(-1), next_q)
        q_optimizer.zero_grad()
        qf_loss.backward()
        q_optimizer.step()
        if step % 2 == 0:
            for _ in range(2):
                pi, log_pi, _ = actor.get_action(o)
                actor_loss = ((alpha * log_pi) - torch.min(qf1(o, pi), qf2(o, pi))).mean()
                actor_optimizer.zero_grad()
                actor_loss.backward()
                actor_optimizer.step()
                with torch.no_grad():
                    _, log_pi, _ = actor.get_action(o)
                alpha_loss = (-log_alpha.exp() * (log_pi - 1.0)).mean()
                a_optimizer.zero_grad()
                alpha_loss.backward()
                a_optimizer.step()
                alpha = log_alpha.exp().item()
        for q, t in ((qf1, qf1_target), (qf2, qf2_target)):
            for param, target_param in zip(q.parameters(), t.parameters()):
                target_param.data.copy_(tau * param.data + (1 - tau) * target_param.data)
    probe("sac_alpha", alpha, 0.1)


torch.manual_seed(1)
np.random.seed(1)
with timed():
    ppo()
with timed():
    dqn()
with timed():
    sac()
