"""What is known of operations in bfloat16 and under autocast, by PyTorch's name of the operation.

An operation that is in none of these lists gets float32 in the place of bfloat16, and its result is rounded.
"""

from __future__ import annotations


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# They compute nothing, or only move numbers within the memory of their tensor: they run on bfloat16 itself.
NATIVE = _names("""
    __array__ __bool__ __complex__ __contains__ __float__ __format__ __getitem__ __index__ __int__ __iter__ __len__
    __pos__ __repr__ __reversed__ __setitem__ adjoint apply_ arange as_strided atleast_1d atleast_2d atleast_3d
    backward bernoulli_ bfloat16 bool broadcast_shapes broadcast_tensors broadcast_to byte cauchy_ cdouble cfloat
    char chunk clone conj conj_physical contiguous copy_ cpu cuda data_ptr detach detach_ diagonal dim double dsplit
    element_size empty empty_like expand expand_as exponential_ eye fill fill_ fill_diagonal_ flatten float
    from_dlpack from_file full full_like geometric_ get_device half hsplit int is_complex is_conj is_contiguous
    is_floating_point is_inference is_neg is_nonzero is_pinned is_same_size is_shared is_signed item linspace
    log_normal_ logspace long meshgrid moveaxis movedim narrow ndimension nelement new new_empty new_full new_ones
    new_tensor new_zeros normal normal_ numel numpy ones ones_like permute pin_memory positive rand rand_like
    randint randint_like randn randn_like random_ randperm range ravel real register_hook
    register_post_accumulate_grad_hook requires_grad_ reshape reshape_as resize_ resize_as_ resolve_conj resolve_neg
    result_type retain_grad scalar_tensor select set_ share_memory_ short size split split_with_sizes squeeze
    squeeze_ storage storage_offset storage_type stride swap_tensors swapaxes swapaxes_ swapdims swapdims_ t t_
    tensor_split to tolist transpose transpose_ tril_indices triu_indices type type_as unbind unflatten unfold
    uniform_ unravel_index unsafe_chunk unsafe_split unsqueeze unsqueeze_ untyped_storage view view_as vsplit zero_
    zeros zeros_like
""")

# Their result has the dtype of the first tensor, whatever that of the weights is. It may have a lower precision than
# the weights, but not a higher one.
OF_FIRST = _names("""
    batch_norm batch_norm_activation group_norm instance_norm layer_norm layer_norm_activation rms_norm
""")

# Their floating point tensors must have one dtype.
STRICT = _names("""
    addbmm addbmm_ addmm addmm_ addmv addmv_ baddbmm baddbmm_ bilinear binary_cross_entropy bmm cross dot index_add
    index_add_ index_copy index_copy_ inner lerp lerp_ linear linear_activation masked_scatter masked_scatter_
    matmul mm mv prelu scaled_dot_product_attention scatter scatter_ scatter_add scatter_add_ scatter_reduce
    scatter_reduce_ tensordot vdot
""")

# A number among their operands, or a tensor without dimensions, is rounded to the dtype of the others first, as in
# PyTorch. Those that are not here, as products, take it as it is.
_OUT_OF_PLACE = _names("""
    __mod__ __ne__ __rfloordiv__ __rmod__ __rpow__ __rsub__ add arctan2 atan2 eq fmod ge greater greater_equal gt
    hardshrink hypot le less less_equal lt ne not_equal pow remainder rsub sub subtract
""")
ROUNDED = _OUT_OF_PLACE | {f"{name}_" for name in _OUT_OF_PLACE} | {"__eq__", "__imod__", "__ipow__"}
# The names of such numbers, as keywords.
NUMBERS = frozenset(("alpha", "exponent", "lambd", "other"))

# -- Autocast on the CPU: PyTorch's lists, and functions that PyTorch makes of these operations --------

LOWER = _names("""
    __rmatmul__ _attend addbmm addmm baddbmm bmm chain_matmul einsum inner linear linear_activation matmul mm
    multi_dot prelu scaled_dot_product_attention tensordot vecdot
""")
FLOAT32 = _names("""
    binary_cross_entropy binary_cross_entropy_with_logits cdist cholesky cholesky_ex cholesky_inverse cholesky_solve
    cond cosine_embedding_loss cross_entropy eig eigh eigvals eigvalsh hinge_embedding_loss householder_product
    huber_loss inv inv_ex inverse kl_div l1_loss lstsq lu_solve margin_ranking_loss matrix_rank mse_loss
    multi_margin_loss multilabel_margin_loss nanquantile nll_loss orgqr pad pinverse poisson_nll_loss prod qr
    quantile smooth_l1_loss soft_margin_loss solve svd svd_classic svdvals tensorinv tensorsolve trace
    triangular_solve triplet_margin_loss
""")
# Converted to the widest dtype among their tensors.
WIDEST = _names("""
    cat column_stack concat concatenate dstack hstack index_copy row_stack stack vstack
""")
# They use operations of the lists here, but not in PyTorch.
AS_GIVEN = _names("""
    addmv addmv_ bilinear dot mv
""")
LISTED = LOWER | FLOAT32 | WIDEST | AS_GIVEN
