"""Agents of Stable-Baselines3: PPO, A2C, DQN, SAC and TD3, with callbacks, saved and loaded."""

import os

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from harness import initialize, probe, timed
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3, HerReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback, EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import SubprocVecEnv, VecNormalize
from torch import nn


class Count(BaseCallback):
    steps = 0

    def _on_step(self):
        self.steps += 1
        return True


class Features(BaseFeaturesExtractor):
    def __init__(self, space, features_dim=16):
        super().__init__(space, features_dim)
        self.net = nn.Sequential(nn.Linear(space.shape[0], 32), nn.LayerNorm(32), nn.SiLU(), nn.Linear(32, features_dim))

    def forward(self, observations):
        return self.net(observations)


class Bits(gym.Env):
    """Flip bits until they are the goal's."""

    def __init__(self, n=4):
        self.n = n
        bits = spaces.MultiBinary(n)
        self.observation_space = spaces.Dict({"observation": bits, "achieved_goal": bits, "desired_goal": bits})
        self.action_space = spaces.Discrete(n)

    def _seen(self):
        state = self.state.copy()
        return {"observation": state, "achieved_goal": state.copy(), "desired_goal": self.goal.copy()}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state, self.goal = self.np_random.integers(0, 2, (2, self.n)).astype(np.int8)
        self.count = 0
        return self._seen(), {}

    def step(self, action):
        self.state[action] ^= 1
        self.count += 1
        reward = float(self.compute_reward(self.state, self.goal, None))
        return self._seen(), reward, reward == 0, self.count >= self.n, {}

    def compute_reward(self, achieved, desired, info):
        return -np.any(achieved != desired, axis=-1).astype(np.float32)


def saved_and_loaded(model, env=None):
    """Whether a loaded model acts as the saved one."""
    name = type(model).__name__
    model.save(f"{name}.zip")
    again = type(model).load(f"{name}.zip", env=env)
    observations = np.stack([model.observation_space.sample() for _ in range(8)])
    same = np.array_equal(model.predict(observations, deterministic=True)[0], again.predict(observations, deterministic=True)[0])
    probe(f"{name}_loaded", same, 0)
    return again


def main():
    env = VecNormalize(make_vec_env("CartPole-v1", n_envs=4, seed=0))
    count = Count()
    model = PPO(
        "MlpPolicy", env, n_steps=128, batch_size=64, ent_coef=0.01, learning_rate=lambda left: 1e-3 * left, seed=0, target_kl=0.1,
        policy_kwargs={"features_extractor_class": Features, "net_arch": {"pi": [32], "vf": [32, 32]}, "activation_fn": nn.ReLU},
    )  # fmt: skip
    initialize(model.policy)
    before = model.policy.evaluate_actions(torch.linspace(-1, 1, 16).reshape(4, 4), torch.tensor([0, 1, 1, 0]))
    for name, value in zip(("value", "log_prob", "entropy"), before):
        probe(f"PPO_{name}", value.sum().item(), 1e-4)
    with timed():
        model.learn(6144, callback=[count, CheckpointCallback(512, "checkpoints")])
    probe("PPO_steps", count.steps, 0)
    probe("PPO_files", len(os.listdir("checkpoints")), 0)
    probe("PPO_learns", evaluate_policy(model, env, n_eval_episodes=5)[0] > 60, 0)
    saved_and_loaded(model, env).learn(512, reset_num_timesteps=False)

    with timed():
        model = A2C("MlpPolicy", make_vec_env("Pendulum-v1", n_envs=2, seed=0), use_sde=True, seed=0, gae_lambda=0.9)
        model.learn(3000, callback=EvalCallback(make_vec_env("Pendulum-v1"), eval_freq=700, n_eval_episodes=1, best_model_save_path="best", verbose=0))
    probe("A2C_best", "_".join(os.listdir("best")))
    saved_and_loaded(model)

    # Exploration and replay draw from NumPy, so the whole training is the same.
    model = DQN("MlpPolicy", gym.make("CartPole-v1"), learning_starts=200, train_freq=4, seed=0, buffer_size=5000, learning_rate=5e-4, policy_kwargs={"net_arch": [32, 32]})
    initialize(model.q_net)
    model.q_net_target.load_state_dict(model.q_net.state_dict())
    with timed():
        model.learn(4000)
    probe("DQN_loss", model.logger.name_to_value.get("train/loss", 0) < 10, 0)
    probe("DQN_episodes", model._episode_num, 0.2)
    with torch.no_grad():
        probe("DQN_q", model.q_net(torch.zeros(1, 4)).mean(), 0.3)
    saved_and_loaded(model)

    with timed():
        model = DQN(
            "MultiInputPolicy", Bits(), replay_buffer_class=HerReplayBuffer, learning_starts=100, seed=1, learning_rate=1e-3, gamma=0.9,
            replay_buffer_kwargs={"n_sampled_goal": 4, "goal_selection_strategy": "future"}, policy_kwargs={"net_arch": [64]},
        ).learn(3000, log_interval=100)  # fmt: skip
    probe("HER_learns", evaluate_policy(model, Bits(), n_eval_episodes=20, warn=False)[0] > -3.5, 0)

    with timed():
        model = SAC("MlpPolicy", "Pendulum-v1", learning_starts=100, seed=0, policy_kwargs={"net_arch": [64, 64]}).learn(500)
    probe("SAC_entropy", model.log_ent_coef.exp().item(), 0.1)
    model.save_replay_buffer("buffer.pkl")
    again = saved_and_loaded(model, model.get_env())
    again.load_replay_buffer("buffer.pkl")
    probe("SAC_buffer", again.replay_buffer.size(), 0)
    again.learn(50, reset_num_timesteps=False)

    model = TD3(
        "MlpPolicy", "Pendulum-v1", learning_starts=100, seed=0, target_policy_noise=0.0, policy_kwargs={"net_arch": [64, 64]},
        action_noise=NormalActionNoise(np.zeros(1), np.full(1, 0.1)),
    )  # fmt: skip
    for source, target in ((model.actor, model.actor_target), (model.critic, model.critic_target)):
        target.load_state_dict(initialize(source).state_dict())
    with timed():
        model.learn(500)
    observations = torch.linspace(-1, 1, 12).reshape(4, 3)
    with torch.no_grad():
        probe("TD3_actions", model.actor(observations).mean(), 0.1)
    saved_and_loaded(model)

    env = SubprocVecEnv([lambda: gym.make("CartPole-v1")] * 2)
    with timed():
        PPO("MlpPolicy", env, n_steps=64, seed=0).learn(256)
    env.close()


if __name__ == "__main__":
    main()
