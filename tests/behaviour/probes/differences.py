"""The probes whose results are known to differ from PyTorch's, by reasons quoted from the docs.

A reason is a sentence of ``docs/differences.md``; its patterns are regular expressions for probes. The tests fail for a
pattern that matches no differing probe.
"""

from __future__ import annotations

# Differences that depend on the processor: one of their patterns must still match; of the others, all must.
ROUNDING = (
    "What is nothing but rounding is rounded in another way: gradients of normalizations of two or three numbers, and "
    "what many steps of a line search make of the last digit."
)
# Probes that PyTorch answers in two ways: its rule at NaN depends on whether a vector of the processor is full. fastnn
# has the recorded way on all processors.
BY_PROCESSOR = (r"gradient\(lambda t: F\.(celu|elu|selu|hardswish)\(t\), edges\)",)
DIFFERENCES: tuple[tuple[str, tuple[str, ...]], ...] = (
    # -- Missing features
    (
        "Normalizations take parameters of the dtype of the input, or of float32 for float16, and `instance_norm` no "
        "float16.",
        (
            r"ran\(filled\(nn\.InstanceNorm1d\(3\)\).*half_matrix\)",
            r"ran\(filled\(nn\.RMSNorm\(3\)\)\.\w+\(\), double_matrix\)",
        ),
    ),
    (
        "Operations that write to repeated elements of memory, as after `expand` or `unfold`, are refused or take each "
        "element on its own.",
        (r"then\(expanded, lambda t: t\.zero_", r"expanded\.fill_diagonal_", r"expanded\.apply_", r"out_changed.*unfold"),
    ),
    ("Eigenvalues are those of symmetric matrices: `eig` and `eigvals` raise RuntimeError.", (r"eigvals\(spd",)),
    ("A generator that was not seeded has the seed 0.", (r"Generator\(\)\.initial_seed",)),
    ("Memory is not shared between processes: `share_memory` warns and does nothing.", (r"share_memory",)),
    (
        "Values without a meaning in PyTorch: a dtype made from a number, a bias of another shape than the outputs, two "
        "ellipses in one index, a size of -1 beside an empty dimension.",
        (
            r"matrix\.to\(1\.5\)", r"F\.linear\(matrix, square, matrix\)", r"F\.linear\(cube\.mT, square, batches\)",
            r"matrix\[\.\.\., \.\.\.\]", r"empty\.repeat\(-1, 1\)", r"scalar\.gather\(0, empty",
        ),
    ),
    # -- Computed by fastnn, refused by PyTorch
    (
        "Where PyTorch has no kernel for a dtype, a derivative or an order in memory, fastnn computes the result.",
        (
            r"special\.(erfcx|log_ndtr|ndtri)\(special_float16\)", r"special\.(erfcx|log_ndtr|i1)\(t\), half_matrix",
            r"torch\.kron\((transposed|permuted), vector\)", r"second\(.*(cdist|pdist|hardsigmoid|multi_margin_loss)",
            r"RReLU\(0\.25, 0\.25\)\).*train\(\), (half_matrix|cube\.half)", r"other\.scatter\(1, targets\[:, :1\], t\)",
            r"soft_margin_loss\(x, torch\.sign\(y\)", r"clip_grad_value_.*setattr\(ps\[0\]", r"logical_not_",
            r"uint8\), label_smoothing=0\.1, weight",
            r"EmbeddingBag.*torch\.tensor\(\[\[\]\]", r"embedding_bag\(torch\.tensor\(\[\[\]\]",
            r"nn\.BatchNorm1d\(0\)", r"multilabel_soft_margin_loss\(scalar", r"torch\.linalg\.norm\(scalar, 1\)",
            r"LazyLinear.*numel", r"ldexp_\(b_bool\)", r'PoissonNLLLoss\("none"\)', r"F\.bilinear\(.*, scalar\)",
        ),
    ),
    (
        "`dim=None` and an empty `dim` stand for all dimensions in every reduction, and a size or limit of None for one "
        "that is not given.",
        (
            r"torch\.(prod|logsumexp|median|nanmedian|max|min)\(\w+, dim=None", r"\.max\(None, True\)",
            r"torch\.logsumexp\(matrix, \(\)\)", r"torch\.arange\(\d, None", r"torch\.eye\(2, None\)",
        ),
    ),
    (
        "`resize_` takes the elements in the order of their indices, also of a view and of memory that is NumPy's.",
        (r"\.resize_\(2\)", r"\.resize_as_\(matrix\)"),
    ),
    (
        "NumPy's bool may stand beside integers in a sequence.",
        (r"torch\.tensor\(\[1, np\.bool_",),
    ),
    (
        "Where PyTorch's result of a distribution is wrong, fastnn's is right: draws of `LKJCholesky` with more than two "
        "rows, the mode of `Kumaraswamy` and of `Dirichlet` with small concentrations",
        (r"Kumaraswamy\(2\.0, 3\.0\); d\.mode", r"Dirichlet\(unit\); d\.mode"),
    ),
    # -- Refused by fastnn
    (
        "Integers as input of losses are refused where a number is computed from them.",
        (r"gaussian_nll_loss\(a_int64.*exp\(a_int64\)", r"hinge_embedding_loss\(a_int64.*none"),
    ),
    (
        "Options that make no sense are refused: a negative `label_smoothing`, a learning rate of NaN, a target of another "
        "shape.",
        (
            r"label_smoothing=-0\.1", r"SGD.*, lr=nan",
            r"multilabel_soft_margin_loss\(matrix, torch\.sigmoid\((vector|column|scalar)\)", r"BatchNorm1d\(4\)\).*empty",
            r"\[other, None\]",
        ),
    ),
    # -- Errors and warnings
    (
        "Of several things that are wrong another one may be named first, by an error of another kind.",
        (
            r"F\.(cross_entropy|nll_loss)\(empty, label", r"F\.nll_loss\(a_int64, (label|torch)",
            r"EmbeddingBag\(4, 3\)\), (matrix|mask|a_uint8), torch",
            r'(HingeEmbedding|MarginRanking)Loss\("none"\)', r"Loss\(reduction=None\)", r"scalar\[index\.to\(torch\.uint8\)\]",
        ),
    ),
    # -- Numbers
    (
        "NaN and infinite numbers: NaN stays NaN, a limit is taken where PyTorch's formula gives NaN, and NaN is the "
        "largest number when sorting.",
        (
            r"F\.gelu\(special_float32\)", r"gradient\(lambda t: F\.gelu\(t\), edges",
            r"special\.log_ndtr\(t\), edges", r"torch\.logit\(t\), edges", r"torch\.mode\(holes", r"torch\.tensor\(.*nan.*\)\.mode\(\)$", r"t\.mode\(1\).*holes",
            r"torch\.unique\(holes, dim=0\)",
            r"second\(lambda t: 0 \*\* t", r"(bce|binary_cross_entropy_with_logits|soft_margin_loss)\(edges",
            r"logdet.*torch\.zeros",
        ),
    ),
    (
        "Numbers that PyTorch computes with fewer digits: `digamma`, `polygamma` and the derivative of `hardsigmoid` in "
        "float64, `cosine_similarity` of two dtypes.",
        (
            r"torch\.polygamma\(1, special", r"gradient\(lambda t: torch\.digamma",
            r"Hardsigmoid\(\)\)\.\w+\(\), double_matrix", r"F\.hardsigmoid\(t\), double_matrix",
            r"F\.cosine_similarity\(double_matrix, vector",
        ),
    ),
    (
        "Losses of float32 beside float64 are computed in float64, and have that dtype.",
        (
            r"_loss\(matrix, (torch\.sign\()?double_matrix", r"multilabel_soft_margin_loss\(matrix, torch\.sigmoid\(double",
            r"binary_cross_entropy_with_logits\(matrix, double_matrix", r"cross_entropy\(matrix, torch\.softmax\(double",
            r"cross_entropy\(double_matrix, unit /", r"gaussian_nll_loss\(double_matrix", r"kl_div\(double_matrix",
        ),
    ),
    (
        ROUNDING,
        (
            r"ran\(filled\(nn\.BatchNorm1d\(3.*(matrix|transposed)\)", r"nn\.GroupNorm\(3, 3\)",
            r"F\.group_norm\(t, 3\)", r"F\.(batch|group)_norm\(torch\.outer", r"F\.batch_norm\(t, None, None", r"F\.instance_norm\(cube \* t",
            r"LayerNorm\(3, elementwise_affine=False\)\)\.train\(\), batches", r"second\(lambda t: F\.softmin",
            r'steps\("LBFGS", 1,', r"ran\(filled\(nn\.(BatchNorm1d|LayerNorm).*half", r"nn\.Softmax\(-1\)\)\.half",
            r"ran\(filled\(nn\.Sequential.*half\(\)\.\w+\(\), half_matrix",
        ),
    ),
    ("Greatest divisors and least multiples beyond the integers overflow to another number.", (r"torch\.(gcd|lcm)\(special",)),
    (
        "Of equal elements another one may be found: `kthvalue` takes the first.",
        (r"t\.kthvalue\(2\)\[0\], (torch|tied)",),
    ),
    (
        "PyTorch's median along a dimension of an expanded tensor mixes its columns.",
        (r"torch\.(nan)?median\(expanded, 0\)",),
    ),
    (
        "Integer buffers of an averaged model are the model's, not averages of them.",
        (r"AveragedModel\(m, use_buffers=True\)",),
    ),
    # -- Gradients
    (
        "A backward pass keeps fewer tensors: some changes in place that PyTorch refuses are allowed, and the views that "
        "`split`, `chunk` and `unbind` return may be read after a change of what they are views of.",
        (
            r"(in|out)_changed\(lambda t: torch\.sgn", r"in_changed.*(chunk|split|unbind|lerp)", r"y = [xa]\.sgn\(\)",
            r"vs = y\.(unbind\(0|chunk\(2|split\(1)\); y\.mul_",
        ),
    ),
    (
        "A node has edges to the tensors of an operation alone: hooks of the node of `w * 2` get one gradient, where "
        "PyTorch's get a None for the number as well.",
        (r"grad_fn\.register_hook",),
    ),
    (
        "Operations that are made of others have a node of the last of them: the name of that of `w @ w` is "
        "`ViewBackward0`, and of `torch.addmm` `AddBackward0`.",
        (
            r"\(w @ w\)\.grad_fn\.name", r"(masked_fill|diag|addmm|trace)\(.*\)\.grad_fn\.name",
            r"(F\.linear\(vector|F\.dropout|baddbmm|addcmul|cdist|dot|mv)\(?.*\.grad_fn\.name",
        ),
    ),
    (
        "A view that was made in `no_grad()` does not require a gradient, and changing it in place is a change of its base "
        "without a history.",
        (r"inside\(torch\.no_grad\(\), lambda: (w|\(w \* 1\))[.\[]",),
    ),
    (
        "A gradient that depends on nothing has no history: to differentiate it again is an error where PyTorch gives None "
        "or zeros.",
        (r"second\(lambda t: F\.(layer_norm\(other|prelu\(other|batch_norm\(t, torch\.zeros)",),
    ),
    # -- Memory
    (
        "Results and copies lie in memory in the order of their indices, whatever the order of the operand was, and strides "
        "of dimensions of size 1 and offsets of nothing are NumPy's.",
        (
            r"(clone|empty_like)\(transposed\)", r"t\.stride\(\), t\.storage_offset\(\), t\.is_contiguous.*\.(clone|flip)\(",
            r"t\.stride\(\).*(transposed|permuted|strided)\.unsqueeze\(-1\)", r"t\.stride\(\).*expanded", r"t\.stride\(\).*row\[1:\]",
            r"t\.stride\(\).*offset\.unfold",
        ),
    ),
    ("The state of LBFGS has the same names in another order.", (r"o\.state_dict\(\).*optim\.LBFGS\(\[p\]",)),
)
