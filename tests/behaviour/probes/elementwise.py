"""Probes of elementwise functions: one operand, two, dtypes of the result, special values, in place."""

from __future__ import annotations

from probes.tables import DTYPES, MAIN_DTYPES, lines, product

UNARY = """abs acos acosh asin asinh atan atanh ceil cos cosh deg2rad digamma erf erfc erfinv exp exp2 expm1 floor frac
 i0 isfinite isinf isnan isneginf isposinf isreal lgamma log log10 log1p log2 logical_not logit nan_to_num neg positive
 rad2deg reciprocal relu round rsqrt sgn sigmoid sign signbit sin sinc sinh sqrt square tan tanh trunc bitwise_not
 special.entr special.erfcx special.i0e special.i1 special.i1e special.log_ndtr special.ndtr special.ndtri
 """.replace("\n", " ")
ACTIVATIONS = """celu elu gelu hardshrink hardsigmoid hardswish hardtanh leaky_relu logsigmoid mish relu relu6 selu silu
 softplus softshrink softsign tanhshrink""".replace("\n", " ")
IN_PLACE = """abs acos asin atan ceil cos cosh deg2rad digamma erf erfc erfinv exp exp2 expm1 floor frac lgamma log log10
 log1p log2 logical_not logit nan_to_num neg rad2deg reciprocal relu round rsqrt sgn sigmoid sign sin sinc sinh sqrt
 square tan tanh trunc zero""".replace("\n", " ")
# Other names of functions, and the forms in place of functions of two.
ALIASES = """absolute arccos arccosh arcsin arcsinh arctan arctanh conj fix negative resolve_conj real special.expit special.psi
 special.gammaln""".replace("\n", " ")
COMPARISONS = "eq ne lt le gt ge greater greater_equal less less_equal not_equal subtract multiply divide arctan2 isclose"
BINARY_IN_PLACE = """add_ sub_ subtract_ mul_ multiply_ div_ divide_ true_divide_ floor_divide_ fmod_ remainder_ pow_ float_power_
 atan2_ arctan2_ copysign_ hypot_ nextafter_ heaviside_ ldexp_ xlogy_ gcd_ lcm_ logical_and_ logical_or_ logical_xor_ bitwise_and_
 bitwise_or_ bitwise_xor_ bitwise_left_shift_ bitwise_right_shift_ eq_ ne_ lt_ le_ gt_ ge_ greater_ greater_equal_ less_
 less_equal_ not_equal_ copy_ clamp_min_ clamp_max_""".replace("\n", " ")
MORE_IN_PLACE = """acosh_ asinh_ atanh_ absolute_ arccos_ arccosh_ arcsin_ arcsinh_ arctan_ arctanh_ fix_ negative_ i0_
 bitwise_not_ clip_(0,2) clamp_max_(1) triu_ tril_ cumprod_(0) cumsum_(0) renorm_(2,0,1.) mvlgamma_(1) swapaxes_(0,1)
 swapdims_(0,1) masked_scatter_(mask,positive) scatter_add_(1,targets,other) scatter_reduce_(1,targets,other,"amax")
 index_copy_(0,labels[1:],other[:1]) index_put_((labels[1:],),scalar) put_(labels,vector[:2]) addcdiv_(other,positive)
 addmm_(other,square) addmv_(matrix,vector) addr_(vector[:2],vector) random_(1,2) bernoulli_(1.) bernoulli_(2.)
 geometric_(1.) fill_(nan) requires_grad_() sigmoid_ rsqrt_ logit_(0.1) nan_to_num_ index_reduce_(0,labels[1:],other[:1],"prod")
 masked_fill_(mask,nan) index_fill_(1,labels,nan) lerp_(other,0.5) addcmul_(other,other,value=2)""".replace("\n", " ")
WITH_ARGUMENTS = """
torch.round(<x>, decimals=1)
torch.round(<x>, decimals=-1)
torch.clamp(<x>, -1, 2)
torch.clamp(<x>, min=0.5)
torch.clamp(<x>, max=True)
torch.clamp(<x>, 3, 1)
torch.clamp(<x>, nan, 1)
torch.clamp(<x>)
torch.clamp_min(<x>, 1)
torch.clamp_max(<x>, 0.5)
torch.pow(<x>, 2)
torch.pow(<x>, 3)
torch.pow(<x>, 0)
torch.pow(<x>, -1)
torch.pow(<x>, 0.5)
torch.pow(<x>, -0.5)
torch.pow(<x>, 2.5)
torch.pow(2, <x>)
torch.pow(0, <x>)
torch.pow(-1.5, <x>)
torch.pow(1, <x>)
torch.float_power(<x>, 2)
torch.nan_to_num(<x>, 1.0)
torch.nan_to_num(<x>, nan=2.0, posinf=3.0, neginf=-3.0)
torch.logit(<x>, 0.1)
torch.polygamma(1, <x>)
torch.polygamma(0, <x>)
torch.mvlgamma(<x>, 1)
torch.xlogy(<x>, 2)
torch.xlogy(2, <x>)
torch.fmod(<x>, 2)
torch.fmod(<x>, 0)
torch.fmod(<x>, -1.5)
torch.remainder(<x>, 2)
torch.remainder(<x>, 0)
torch.remainder(<x>, -1.5)
torch.remainder(3, <x>)
torch.div(<x>, 2, rounding_mode="floor")
torch.div(<x>, -2, rounding_mode="trunc")
torch.div(<x>, 0)
torch.div(<x>, 0.0, rounding_mode="floor")
torch.div(<x>, 2, rounding_mode="ceil")
torch.copysign(<x>, -1)
torch.copysign(<x>, -0.0)
torch.ldexp(<x>, torch.tensor(2))
torch.rsub(<x>, 1)
torch.add(<x>, 1, alpha=2)
torch.add(<x>, 1, alpha=0.5)
torch.sub(<x>, True)
torch.mul(<x>, 0)
torch.lerp(<x>, <x>, 0.25)
torch.addcmul(<x>, <x>, <x>, value=2)
torch.addcdiv(<x>, <x>, <x>, value=0.5)
torch.heaviside(<x>, <x>)
torch.where(<x> > 0, <x>, 0)
torch.where(<x> > 0, 1.5, <x>)
torch.where(<x> > 0)
torch.where(<x>, 1, 0)
torch.isclose(<x>, <x>)
torch.isclose(<x>, <x>, equal_nan=True)
torch.allclose(<x>, <x>)
torch.allclose(<x>, <x>, equal_nan=True)
torch.equal(<x>, <x>)
torch.isin(<x>, <x>[1:3])
torch.isin(<x>, 1)
torch.bitwise_left_shift(<x>, 1)
torch.bitwise_right_shift(<x>, 1)
F.elu(<x>, 0.5)
F.celu(<x>, 2.0)
F.gelu(<x>, approximate="tanh")
F.gelu(<x>, approximate="other")
F.hardtanh(<x>, -0.5, 1.5)
F.hardtanh(<x>, 2, 1)
F.leaky_relu(<x>, 0.2)
F.leaky_relu(<x>, -1.0)
F.softplus(<x>, 2.0)
F.softplus(<x>, beta=1, threshold=2)
F.softshrink(<x>, 1.0)
F.softshrink(<x>, -1.0)
F.hardshrink(<x>, 1.0)
F.threshold(<x>, 0.5, -3.0)
F.threshold(<x>, 1, 7)
F.prelu(<x>, torch.tensor(0.5))
F.rrelu(<x>)
F.dropout(<x>, 0.5, training=False)
F.dropout(<x>, 0.0)
F.dropout(<x>, 1.0)
F.normalize(<x>, dim=0)
F.softmax(<x>, 0)
F.log_softmax(<x>, 0)
F.softmin(<x>, 0)
F.softmax(<x>, 0, dtype=torch.float64)
F.log_softmax(<x>, dim=0, dtype=torch.float32)
"""
BINARY_OPERATORS = "+ - * / // % ** < <= > >= == != & | ^ << >>"
BINARY = """add sub mul div floor_divide remainder fmod maximum minimum fmax fmin atan2 pow logical_and logical_or
 logical_xor bitwise_and bitwise_or bitwise_xor bitwise_left_shift bitwise_right_shift eq lt copysign hypot
 logaddexp logaddexp2 nextafter gcd lcm xlogy heaviside ldexp float_power true_divide special.xlog1py""".replace("\n", " ")
# Functions tested with all pairs of dtypes.
PROMOTING = """maximum fmin atan2 pow fmod logical_and copysign heaviside xlogy float_power logaddexp gcd hypot
 remainder floor_divide""".replace("\n", " ")
SCALARS = ("2", "0", "-1", "2.5", "True", "300", "2**40")
SHAPES = """matrix row column scalar one vector square empty narrow nothing cube expanded transposed strided"""
COMPARED = "add maximum fmod atan2 pow eq div"

GROUPS = {
    "unary functions of special values": product("torch.<f>(special_<d>)", f=UNARY, d=MAIN_DTYPES),
    "unary functions of ordinary values": product(
        "torch.<f>(<x>)", f=UNARY, x="unit double_matrix scalar empty strided"
    ),
    "activations of special values": product(
        "F.<f>(<x>)", f=ACTIVATIONS, x=[*[f"special_{d}" for d in MAIN_DTYPES], "scalar", "empty", "strided"]
    ),
    "functions with arguments": product(
        lines(WITH_ARGUMENTS), x="special_float32 special_float64 special_float16 special_int64 special_uint8 "
        "special_bool empty scalar",
    ),
    "unary functions in place": [
        *product("then(<x>, lambda t: t.<f>_())", f=IN_PLACE, x="unit special_int64 strided expanded a_bool"),
        *product("then(unit.requires_grad_(), lambda t: t.<f>_())", f=IN_PLACE),
        *product("F.<f>(<x>, inplace=True)", f="elu hardtanh leaky_relu relu selu celu silu mish hardswish relu6",
                 x="special_float32 a_int64 strided"),
    ],
    "other names": [
        *product("torch.<f>(<x>)", f=ALIASES, x="unit special_float32 special_int64 special_bool scalar empty"),
        *product("torch.<f>(<x>, <y>)", f=COMPARISONS, x="matrix special_int64[:3] scalar", y="vector special_bool[:1] 1 2.5"),
        *product("torch.clip(<x>, <a>)", x="matrix special_int64 scalar", a="0,1 min=0.5 max=-1 vector 1,0"),
    ],
    "functions of two in place": [
        *product("then(a_<a>, lambda t: t.<f>(b_<b>))", f=BINARY_IN_PLACE, a="float32 int64 uint8 bool",
                 b="float32 float64 int64 bool"),
        *product("then(matrix, lambda t: t.<f>(<y>))", f=BINARY_IN_PLACE, y="vector scalar 2 2.5 square"),
        *product("(matrix * 1).<f>", f=[f if "(" in f else f"{f}()" for f in MORE_IN_PLACE.split()]),
        *product("a_int64.<f>", f=[f if "(" in f else f"{f}()" for f in MORE_IN_PLACE.split()]),
    ],
    "promotion by operators": product("a_<a> <o> b_<b>", a=DTYPES, o=BINARY_OPERATORS, b=DTYPES),
    "promotion by functions": product("torch.<f>(a_<a>, b_<b>)", f=PROMOTING, a=MAIN_DTYPES, b=MAIN_DTYPES),
    "promotion with a tensor of no dimension": [
        *product("(a_<a> <o> zero_<b>)", a=MAIN_DTYPES, o="+ * / ** // <", b=DTYPES),
        *product("zero_<a> <o> zero_<b>", a=MAIN_DTYPES, o="- / %", b=MAIN_DTYPES),
    ],
    "promotion with a Python number": [
        *product("b_<a> <o> <s>", a=DTYPES, o="+ - * / // % ** < == & <<", s=SCALARS),
        *product("<s> <o> b_<a>", a=MAIN_DTYPES, o="+ - / // % ** < &", s="2 2.5 True -3"),
        *product("torch.<f>(b_<a>, <s>)", a=MAIN_DTYPES, f="add sub div fmod remainder pow eq", s="1 0.5 False"),
    ],
    "operators in place": [
        *product("then(a_<a>, lambda t: t.<f>_(b_<b>))", a=MAIN_DTYPES, f="add sub mul div pow remainder",
                 b=MAIN_DTYPES),
        *product("then(b_<a>, lambda t: t.<f>_(<s>))", a=MAIN_DTYPES, f="add sub mul div pow floor_divide fmod fill",
                 s="2 2.5 True nan"),
        *product("then(a_<a>, lambda t: t.copy_(special_<b>[:3]))", a=MAIN_DTYPES, b="float32 float64 int64 uint8 int8"),
    ],
    "rules of promotion": [
        *product("torch.promote_types(torch.<a>, torch.<b>)", a=DTYPES, b=DTYPES),
        *product("torch.can_cast(torch.<a>, torch.<b>)", a=DTYPES, b=DTYPES),
        *product("torch.result_type(a_<a>, <s>)", a=DTYPES, s="1 1.5 True zero_float64 zero_int64 b_float16 b_uint8"),
    ],
    "binary functions of special values": [
        *product("torch.<f>(special_<d>[:, None], special_<d>[None, :9]).flatten()[:48]", f=BINARY,
                 d="float32 float64 float16"),
        # Without the smallest integer: dividing it by -1 traps.
        *product("torch.<f>(special_<d>[1:, None], special_<d>[None]).flatten()[:48]", f=BINARY,
                 d="int64 int32 int8 uint8 bool"),
    ],
    "broadcasting": [
        *product("torch.<f>(<x>, <y>)", f="add eq", x=SHAPES, y=SHAPES),
        *product("torch.<f>(<x>, <y>)", f="maximum atan2 div", x="matrix row column empty expanded",
                 y="vector square narrow scalar strided"),
        *product("then(<x>, lambda t: t.<f>_(<y>))", f="add mul", x="matrix column scalar empty transposed expanded",
                 y="matrix row scalar empty square cube"),
        *product("torch.where(<c>, <x>, <y>)", c="mask rows mask[0] mask[:1]", x="matrix vector scalar 1 2.5",
                 y="matrix column empty 3 a_int64"),
        *product("torch.broadcast_tensors(<x>, <y>)[0]", x=SHAPES, y="matrix row scalar empty"),
    ],
    "conversions": [
        *product("special_<a>.to(torch.<b>)", a=DTYPES, b=[*DTYPES, "bfloat16"]),
        *product("special_<a>.<m>()", a=DTYPES, m="float double half int long short char byte bool tolist numpy"),
        *product("<f>(zero_<a>)", a=DTYPES, f="int float bool str repr len list abs round"),
        *product("zero_<a>.<m>", a=DTYPES, m="item() dtype is_floating_point() element_size() type() is_signed()"),
        *product("<f>(<x>)", f="int float bool len list", x="one matrix vector empty nothing scalar mask special_float32"),
        *product("<x>.<m>", x="one matrix vector empty nothing scalar", m="item() tolist() numpy() numel() ndim"),
        *product("matrix.to(<x>)", x="scalar a_int64 torch.float64,copy=True dtype=torch.float16 'cpu' 'meta' 'cuda' "
                 "torch.device('cpu') None 1.5 'cpu',torch.int64 device='cpu',dtype=torch.bool"),
        *product("np.<f>(<x>)", f="asarray sqrt sum", x="matrix scalar mask a_int64 matrix.requires_grad_()"),
    ],
}  # fmt: skip
