"""``torch.distributed``: processes that train together, by MPI; docs/distributed.md shows how.

Without mpi4py (``pip install 'fastnn[mpi]'``) a process works alone, as a group of one.
"""

from __future__ import annotations

import dataclasses
import sys
from typing import Any, ClassVar

from fastnn._core.absent import NotComputedError, absent_class, absent_function, absent_modules
from fastnn.distributed import comm_hooks as _comm_hooks
from fastnn.distributed.collectives import (
    P2POp,
    ReduceOp,
    Work,
    all_gather,
    all_gather_into_tensor,
    all_gather_object,
    all_reduce,
    all_to_all,
    all_to_all_single,
    barrier,
    batch_isend_irecv,
    broadcast,
    broadcast_object_list,
    gather,
    gather_object,
    irecv,
    isend,
    monitored_barrier,
    recv,
    reduce,
    reduce_scatter,
    reduce_scatter_tensor,
    scatter,
    scatter_object_list,
    send,
)
from fastnn.distributed.join import Join, Joinable, JoinHook
from fastnn.distributed.process_group import (
    GroupMember,
    ProcessGroup,
    default_pg_timeout,
    destroy_process_group,
    get_backend,
    get_global_rank,
    get_group_rank,
    get_node_local_rank,
    get_process_group_ranks,
    get_rank,
    get_world_size,
    group,
    init_process_group,
    is_available,
    is_backend_available,
    is_gloo_available,
    is_initialized,
    is_mpi_available,
    is_nccl_available,
    is_torchelastic_launched,
    is_ucc_available,
    is_xccl_available,
    new_group,
    new_subgroups,
)
from fastnn.distributed.process_group import world as _world

_WHY = "fastnn's torch.distributed trains copies of a model on parts of the data: {} cannot be used"

__all__ = [
    "Backend", "DistBackendError", "DistError", "DistNetworkError", "DistStoreError", "GroupMember", "Join", "JoinHook",
    "Joinable", "P2POp", "ProcessGroup", "ReduceOp", "Work", "all_gather", "all_gather_into_tensor",
    "all_gather_object", "all_reduce", "all_to_all", "all_to_all_single", "barrier", "batch_isend_irecv", "broadcast",
    "broadcast_object_list", "default_pg_timeout", "destroy_process_group", "gather", "gather_object", "get_backend",
    "get_global_rank", "get_group_rank", "get_node_local_rank", "get_process_group_ranks", "get_rank",
    "get_world_size", "group", "init_process_group", "irecv", "is_available", "is_backend_available",
    "is_gloo_available", "is_initialized", "is_mpi_available", "is_nccl_available", "is_torchelastic_launched",
    "is_ucc_available", "is_xccl_available", "isend", "monitored_barrier", "new_group", "new_subgroups", "recv",
    "reduce", "reduce_scatter", "reduce_scatter_tensor", "scatter", "scatter_object_list", "send",
]  # fmt: skip

_FUNCTIONS = ("init_device_mesh",)
_CLASSES = ("DeviceMesh", "FileStore", "HashStore", "PrefixStore", "Store", "TCPStore")
for _name in _FUNCTIONS:
    _full = f"torch.distributed.{_name}"
    globals()[_name] = absent_function(_full, _WHY.format(_full))
for _name in _CLASSES:
    _full = f"torch.distributed.{_name}"
    globals()[_name] = absent_class(_full, (), _WHY.format(_full))

class Backend(str):
    """The names of the backends: "gloo" and "mpi", which are both MPI.

    >>> Backend("GLOO")
    'gloo'
    """

    UNDEFINED, GLOO, NCCL, MPI, UCC, XCCL = "undefined", "gloo", "nccl", "mpi", "ucc", "xccl"
    # By type of device; Lightning asks for it before it asks whether there are processes.
    default_device_backend_map: ClassVar[dict[str, str]] = {"cpu": "gloo"}

    def __new__(cls, name: str) -> Any:
        return str.__new__(cls, name.lower())


class DistError(RuntimeError):
    """PyTorch's error of processes, for ``except``."""


DistBackendError = DistNetworkError = DistStoreError = DistError


@dataclasses.dataclass
class _StateDictOptions:
    """The options of ``torch.distributed.checkpoint.state_dict``; in one process ``strict`` and
    ``ignore_frozen_params`` mean something.
    """

    full_state_dict: bool = False
    cpu_offload: bool = False
    ignore_frozen_params: bool = False
    keep_submodule_prefixes: bool = True
    strict: bool = True
    broadcast_from_rank0: bool = False
    flatten_optimizer_state_dict: bool = False
    dsd_fqn_modules: set[str] = dataclasses.field(default_factory=set)


def _get_model_state_dict(model: Any, *, submodules: Any = None, options: Any = None) -> dict[str, Any]:
    """``model.state_dict()``, without the parameters that are frozen if the options say so."""
    if submodules:
        raise NotComputedError("torch.distributed.checkpoint.state_dict.get_model_state_dict of submodules")
    found = dict(model.state_dict())
    if options is not None and options.ignore_frozen_params:
        for name, parameter in model.named_parameters():
            if not parameter.requires_grad:
                found.pop(name, None)
    return found


def _set_model_state_dict(model: Any, model_state_dict: Any, *, options: Any = None) -> Any:
    """``model.load_state_dict(model_state_dict)``."""
    return model.load_state_dict(model_state_dict, strict=options is None or options.strict)


_MODULES = {
    "_composable": "fully_shard replicate checkpoint contract",
    "_composable.fsdp": "CPUOffloadPolicy FSDPModule MixedPrecisionPolicy OffloadPolicy fully_shard",
    "_functional_collectives": """
        AsyncCollectiveTensor all_gather_tensor all_reduce all_to_all_single broadcast reduce_scatter_tensor
    """,
    "_shard": "",
    "_shard.sharded_tensor": "Shard ShardedTensor",
    "_tensor": "= tensor",
    "_tensor.experimental": "= tensor.experimental",
    "algorithms": "",
    "algorithms._checkpoint": "",
    "algorithms._checkpoint.checkpoint_wrapper":
        "CheckpointImpl CheckpointWrapper apply_activation_checkpointing checkpoint_wrapper offload_wrapper",
    "algorithms.ddp_comm_hooks": "DDPCommHookType register_ddp_comm_hook",
    "algorithms.ddp_comm_hooks.default_hooks":
        "allreduce_hook bf16_compress_hook bf16_compress_wrapper fp16_compress_hook fp16_compress_wrapper",
    "algorithms.ddp_comm_hooks.post_localSGD_hook": "PostLocalSGDState post_localSGD_hook",
    "algorithms.ddp_comm_hooks.powerSGD_hook": "PowerSGDState batched_powerSGD_hook powerSGD_hook",
    "algorithms.join": "Join JoinHook Joinable",
    "algorithms.model_averaging": "",
    "algorithms.model_averaging.averagers": "ModelAverager PeriodicModelAverager",
    "checkpoint": """
        DefaultLoadPlanner DefaultSavePlanner FileSystemReader FileSystemWriter LoadPlan LoadPlanner Metadata SavePlan
        SavePlanner StorageReader StorageWriter async_save load load_state_dict save save_state_dict
    """,
    "checkpoint.default_planner": "DefaultLoadPlanner DefaultSavePlanner",
    "checkpoint.format_utils": "dcp_to_torch_save torch_save_to_dcp",
    "checkpoint.metadata": "Metadata",
    "checkpoint.optimizer": "load_sharded_optimizer_state_dict",
    "checkpoint.state_dict": """
        StateDictOptions get_model_state_dict get_optimizer_state_dict get_state_dict set_model_state_dict
        set_optimizer_state_dict set_state_dict
    """,
    "checkpoint.stateful": "Stateful",
    "constants": "default_pg_timeout",
    "device_mesh": "DeviceMesh init_device_mesh",
    "distributed_c10d": """
        Backend DistBackendError DistError DistNetworkError DistStoreError FileStore GroupMember HashStore P2POp
        PrefixStore ProcessGroup ReduceOp Store TCPStore Work _get_default_group get_rank get_world_size group
        is_available is_initialized all_gather all_gather_object all_reduce all_to_all barrier broadcast
        broadcast_object_list destroy_process_group gather gather_object get_global_rank init_process_group new_group
        reduce reduce_scatter scatter
    """,
    "elastic": "",
    "elastic.multiprocessing": "start_processes",
    "elastic.multiprocessing.errors": "ChildFailedError record",
    "fsdp": """
        BackwardPrefetch CPUOffload CPUOffloadPolicy FSDPModule FullOptimStateDictConfig FullStateDictConfig
        FullyShardedDataParallel LocalOptimStateDictConfig LocalStateDictConfig MixedPrecision MixedPrecisionPolicy
        OffloadPolicy OptimStateDictConfig OptimStateKeyType ShardedOptimStateDictConfig ShardedStateDictConfig
        ShardingStrategy StateDictConfig StateDictSettings StateDictType UnshardHandle fully_shard
        register_fsdp_forward_method
    """,
    "fsdp._common_utils": "_FSDPState TrainingState",
    "fsdp.api": "= fsdp",
    "fsdp.fully_sharded_data_parallel": "= fsdp",
    "fsdp.sharded_grad_scaler": "ShardedGradScaler",
    "fsdp.wrap": """
        CustomPolicy ModuleWrapPolicy _FSDPPolicy _Policy _or_policy always_wrap_policy enable_wrap
        lambda_auto_wrap_policy size_based_auto_wrap_policy transformer_auto_wrap_policy wrap
    """,
    "launcher": "LaunchConfig elastic_launch launch_agent",
    "launcher.api": "LaunchConfig elastic_launch launch_agent",
    "optim": "DistributedOptimizer PostLocalSGDOptimizer ZeroRedundancyOptimizer",
    "optim.zero_redundancy_optimizer": "ZeroRedundancyOptimizer",
    "pipelining": "Pipe PipelineStage Schedule1F1B ScheduleGPipe SplitPoint build_stage pipe_split pipeline",
    "rpc": "RRef init_rpc remote rpc_async rpc_sync shutdown",
    "run": "get_args_parser main run",
    "tensor": """
        DTensor DeviceMesh Partial Placement Replicate Shard distribute_module distribute_tensor empty full
        init_device_mesh ones rand randn zeros
    """,
    "tensor.device_mesh": "DeviceMesh init_device_mesh",
    "tensor.experimental": "context_parallel implicit_replication local_map register_sharding",
    "tensor.experimental._attention": "context_parallel set_rotate_method",
    "tensor.parallel": """
        ColwiseParallel ParallelStyle PrepareModuleInput PrepareModuleOutput RowwiseParallel SequenceParallel
        loss_parallel parallelize_module
    """,
    "tensor.placement_types": "Partial Placement Replicate Shard",
}  # fmt: skip
_made = {
    **globals(), "StateDictOptions": _StateDictOptions, "get_model_state_dict": _get_model_state_dict,
    "set_model_state_dict": _set_model_state_dict, "_get_default_group": _world,
    **{name: getattr(_comm_hooks, name) for name in _comm_hooks.__all__},
}  # fmt: skip
absent_modules(sys.modules[__name__], _MODULES, _WHY, _made)
