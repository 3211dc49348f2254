"""``torch.utils.tensorboard.summary``: the summaries of hyperparameters, for libraries that write them themselves."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["hparams"]


def hparams(
    hparam_dict: dict[str, Any] | None = None, metric_dict: dict[str, Any] | None = None,
    hparam_domain_discrete: dict[str, list[Any]] | None = None,
) -> tuple[Any, Any, Any]:  # fmt: skip
    """The summaries of an experiment, of the start and of the end of a session.

    Args:
        hparam_dict: the hyperparameters, numbers, bools and texts, by name.
        metric_dict: the metrics; only their names are used.
        hparam_domain_discrete: the values that a hyperparameter may have.

    Raises: TypeError if an argument is no dictionary; ImportError if neither tensorboardX nor tensorboard is installed.
    """
    for name, value in (("hparam_dict", hparam_dict), ("metric_dict", metric_dict)):
        if not isinstance(value, dict):
            raise TypeError(f"parameter: {name} should be a dictionary, found {type(value).__name__}")
    assert hparam_dict is not None
    assert metric_dict is not None
    domains = hparam_domain_discrete or {}
    try:
        own: Any = importlib.import_module("tensorboardX.summary")
    except ImportError:
        pass
    else:
        made: tuple[Any, Any, Any] = own.hparams(hparam_dict, metric_dict)
        return made
    try:
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2, summary_v2
    except ImportError:
        raise ImportError("hparams needs a package that writes TensorBoard's files: pip install tensorboardX") from None
    names = [
        summary_v2.HParam(name, summary_v2.Discrete(domains[name]) if name in domains else None) for name in hparam_dict
    ]
    metrics = [summary_v2.Metric(name) for name in metric_dict]
    end = plugin_data_pb2.SessionEndInfo(status=api_pb2.Status.Value("STATUS_SUCCESS"))
    about = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(session_end_info=end))
    return (
        summary_v2.hparams_config_pb(names, metrics), summary_v2.hparams_pb(hparam_dict),
        Summary(value=[Summary.Value(tag=metadata.SESSION_END_INFO_TAG, metadata=about)]),
    )  # fmt: skip
