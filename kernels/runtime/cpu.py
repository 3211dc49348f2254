"""The vectors of the CPU that Numba compiles for."""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm

_PROBE = """
declare <16 x float> @llvm.fma.v16f32(<16 x float>, <16 x float>, <16 x float>)
define void @probe(<16 x float>* %a, <16 x float>* %b) {
  %x = load <16 x float>, <16 x float>* %a
  %y = load <16 x float>, <16 x float>* %b
  %z = call <16 x float> @llvm.fma.v16f32(<16 x float> %x, <16 x float> %y, <16 x float> %y)
  store <16 x float> %z, <16 x float>* %a
  ret void
}
"""


def find_vectors(codegen: Any) -> tuple[int, bool]:
    """Bytes in a vector register, 64, 32 or 16, and whether the CPU fuses multiply and add.

    Only the compiler knows the abilities of a CPU given by NUMBA_CPU_NAME and NUMBA_CPU_FEATURES (the name alone leaves
    this CPU's features on), so a multiply-add of 64 bytes is compiled and its registers are read from the assembly. AVX
    without fused multiply-add counts as 16.
    """
    return _read_vectors(_assembly(codegen))


def _assembly(codegen: Any) -> str:
    module = llvm.parse_assembly(_PROBE.replace("<16 x float>*", "ptr"))
    module.triple = codegen._tm.triple
    return str(codegen._tm.emit_assembly(module))


def _read_vectors(assembly: str) -> tuple[int, bool]:
    fused = "vfmadd" in assembly or "fmla" in assembly
    if "zmm" in assembly:
        return 64, fused
    return 32 if "ymm" in assembly and "vfmadd" in assembly else 16, fused
