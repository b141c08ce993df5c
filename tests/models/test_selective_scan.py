"""The selective scan: every backend against the stored recurrence, and each other."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import warnings
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from benchmark.models.layers import selective_scan as module
from benchmark.models.layers import selective_scan_native as native
from benchmark.models.layers.selective_scan import ScanCall, observers, selective_scan

REPOSITORY = Path(__file__).resolve().parents[2]


def make_inputs(
    batch: int = 2,
    channels: int = 8,
    length: int = 37,
    state: int = 5,
    groups: int = 2,
    dtype: torch.dtype = torch.float64,
) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(length)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()

    inputs = {name: draw(batch, channels, length) for name in ("u", "delta", "z")}
    inputs |= {name: draw(batch, groups, state, length) for name in ("B", "C")}
    inputs |= {name: draw(channels) for name in ("D", "delta_bias")}
    inputs["A"] = (-draw(channels, state).detach().exp()).requires_grad_()
    return inputs


def run(inputs: dict[str, torch.Tensor], backend: str, **options) -> dict[str, torch.Tensor]:
    """Output, last state and all gradients; the loss weighs both results."""
    inputs = {name: value.detach().clone().requires_grad_() for name, value in inputs.items()}
    y, last = selective_scan(**inputs, delta_softplus=True, return_last_state=True, backend=backend, **options)
    (y.double().square().sum() + last.double().square().sum()).backward()
    return {"y": y.detach(), "last": last.detach()} | {name: value.grad for name, value in inputs.items()}


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    scale = expected.double().norm()  # zero where a gradient is: with one step, nothing is carried over by A
    return ((found.double() - expected.double()).norm() / (scale if scale > 0 else 1)).item()


@pytest.mark.parity
@pytest.mark.parametrize(
    ("backend", "dtype", "tolerance"),
    [
        ("reference", torch.float64, 1e-10),
        ("native", torch.float64, 1e-10),
        ("native", torch.float32, 1e-5),
    ],
)
def test_values_and_gradients_of_the_stored_recurrence(parity, backend, dtype, tolerance):
    for case in parity("selective_scan")["cases"]:
        inputs = {
            name: None if value is None else value.to(dtype).requires_grad_() for name, value in case["inputs"].items()
        }
        y, last = selective_scan(
            **inputs, delta_softplus=case["delta_softplus"], return_last_state=True, backend=backend
        )
        (y * case["cotangent"].to(dtype)).sum().backward()
        assert relative(y, case["y"]) < tolerance, case["name"]
        assert relative(last, case["last_state"]) < tolerance, case["name"]
        for name, gradient in case["grads"].items():
            assert relative(inputs[name].grad, gradient) < tolerance, (case["name"], name)


@pytest.mark.parametrize("length", [1, 31, 32, 33, 97])
@pytest.mark.parametrize(("channels", "groups"), [(1, 1), (6, 3), (70, 2)])
def test_native_equals_the_recurrence_at_every_remainder(length, channels, groups):
    inputs = make_inputs(length=length, channels=channels, groups=groups)
    expected = run(inputs, "reference")
    for name, found in run(inputs, "native").items():
        assert relative(found, expected[name]) < 1e-12, name


def test_native_in_single_precision_over_ten_thousand_steps():
    inputs = make_inputs(batch=1, channels=4, length=10_000, state=3, groups=1)
    expected = run(inputs, "reference")
    single = {name: value.detach().float() for name, value in inputs.items()}
    for name, found in run(single, "native").items():
        assert found.dtype == torch.float32
        assert relative(found, expected[name]) < 1e-5, name


def test_gradcheck_of_the_native_backward():
    inputs = make_inputs(batch=1, channels=3, length=6, state=2, groups=1)
    names = list(inputs)

    def scan(*tensors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        named = dict(zip(names, tensors, strict=True))
        return selective_scan(**named, delta_softplus=True, return_last_state=True, backend="native")

    assert torch.autograd.gradcheck(scan, tuple(inputs.values()))


def test_the_polynomial_exponential_of_the_kernels():
    # One step with B = C = 1 from state 1 would need two; instead h_2 = exp(-x) h_1 with h_1 = 1 and no second input.
    x = torch.linspace(0, 86, 4000)
    u = torch.stack([torch.ones_like(x), torch.zeros_like(x)], -1)[None]
    delta = torch.stack([torch.ones_like(x), x], -1)[None]
    ones = torch.ones(1, 1, 2)
    y = selective_scan(u, delta, -torch.ones(4000, 1), ones, ones, backend="native")[0, :, 1]
    torch.testing.assert_close(y, torch.exp(-x.double()).float(), rtol=5e-7, atol=1e-38)


def test_not_a_number_is_not_hidden():
    inputs = make_inputs(dtype=torch.float32)
    inputs["delta"] = inputs["delta"].detach().clone()
    inputs["delta"][0, 0, 3] = float("nan")
    y = selective_scan(**inputs, delta_softplus=True, backend="native")
    assert y[0, 0, 3:].isnan().all()
    assert not y[0, 1:].isnan().any()


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_strides_do_not_matter(backend):
    """Neither those of the inputs nor those of the gradient that comes back (here of an expanded number)."""
    inputs = make_inputs()
    strided = {name: value.detach().transpose(0, -1).contiguous().transpose(0, -1) for name, value in inputs.items()}
    assert not strided["u"].is_contiguous() and not strided["B"].is_contiguous()
    results = []
    for tensors in (inputs, strided):
        tensors = {name: value.detach().requires_grad_() for name, value in tensors.items()}
        y = selective_scan(**tensors, delta_softplus=True, backend=backend)
        y.sum().backward()
        results.append([y.detach(), *(value.grad for value in tensors.values())])
    assert all(relative(b, a) < 1e-14 for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_computed_in_single(backend, half):
    inputs = {name: (value.detach() / 4).to(half) for name, value in make_inputs().items()}
    results = []
    for dtype in (half, torch.float32):
        tensors = {name: value.detach().to(dtype).requires_grad_() for name, value in inputs.items()}
        y, last = selective_scan(**tensors, delta_softplus=True, return_last_state=True, backend=backend)
        assert (y.dtype, last.dtype) == (dtype, torch.float32)
        y.to(half).float().sum().backward()
        results.append([y.detach(), *(value.grad for value in tensors.values())])
    for found, expected in zip(*results, strict=True):
        assert found.dtype == half and torch.equal(found, expected.to(half))


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_an_empty_batch_has_an_empty_result_and_zero_gradients(backend):
    inputs = make_inputs(batch=0)
    found = run(inputs, backend)
    assert found["y"].shape == (0, 8, 37) and found["last"].shape == (0, 8, 5)
    for name, value in inputs.items():
        assert found[name].shape == value.shape and not found[name].any(), name


def by_hand(u, delta, A, B, C, D=None, z=None, delta_bias=None, *, softplus):
    """The definition, number by number: no helper of the module is used."""
    outputs = []
    for b in range(u.shape[0]):
        for d in range(u.shape[1]):
            group, state = d // (u.shape[1] // B.shape[1]), [0.0] * A.shape[1]
            for t in range(u.shape[2]):
                step = delta[b, d, t] + (0.0 if delta_bias is None else delta_bias[d])
                step = (1 + step.exp()).log() if softplus else step
                drive = [step * B[b, group, n, t] * u[b, d, t] for n in range(A.shape[1])]
                state = [(step * A[d, n]).exp() * state[n] + drive[n] for n in range(A.shape[1])]
                y = sum(C[b, group, n, t] * state[n] for n in range(A.shape[1]))
                y = y if D is None else y + D[d] * u[b, d, t]
                outputs.append(y if z is None else y * z[b, d, t] / (1 + (-z[b, d, t]).exp()))
    return torch.stack(outputs).view_as(u)


@pytest.mark.parametrize("softplus", [True, False])
@pytest.mark.parametrize("absent", [c for n in range(4) for c in combinations(("D", "z", "delta_bias"), n)], ids=str)
def test_every_combination_of_options_by_hand(absent, softplus):
    """Values, and the gradient of every input, of both backends that run here; what is absent has none."""
    inputs = make_inputs(batch=2, channels=4, length=3, state=2)
    inputs = {name: None if name in absent else value.detach() for name, value in inputs.items()}
    if not softplus:
        inputs["delta"] = inputs["delta"].abs()
    weights = torch.linspace(-1, 1, inputs["u"].numel(), dtype=torch.float64).view_as(inputs["u"])
    results = {}
    for backend in ("by hand", "reference", "native"):
        tensors = {name: None if value is None else value.clone().requires_grad_() for name, value in inputs.items()}
        if backend == "by hand":
            y = by_hand(**tensors, softplus=softplus)
        else:
            y = selective_scan(**tensors, delta_softplus=softplus, backend=backend)
        (y * weights).sum().backward()
        results[backend] = {"y": y.detach()} | {k: value.grad for k, value in tensors.items() if value is not None}
    for backend in ("reference", "native"):
        for name, expected in results["by hand"].items():
            assert relative(results[backend][name], expected) < 1e-12, (backend, name)


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_a_tensor_used_twice_and_a_second_backward_pass(backend):
    """One tensor in two places of one scan, parameters in two scans, and the same graph walked twice."""
    inputs = {name: value.detach() for name, value in make_inputs(groups=1).items()}
    shared = {name: inputs[name].clone().requires_grad_() for name in ("u", "A", "D", "B")}

    def loss(u, A, D, B, backend: str) -> torch.Tensor:
        first = selective_scan(u, u, A, B, B, D, u, delta_softplus=True, backend=backend)
        return selective_scan(first, inputs["delta"], A, B, B, D, delta_softplus=True, backend=backend).square().sum()

    value = loss(**shared, backend=backend)
    value.backward(retain_graph=True)
    once = {name: tensor.grad.clone() for name, tensor in shared.items()}
    value.backward()
    separate = {name: tensor.detach().clone().requires_grad_() for name, tensor in shared.items()}
    loss(**separate, backend="reference").backward()
    for name, tensor in shared.items():
        assert relative(tensor.grad, 2 * once[name]) < 1e-14, name
        assert relative(once[name], separate[name].grad) < 1e-12, name


def test_a_second_derivative_is_refused_by_the_compiled_kernels():
    inputs = make_inputs(length=4)
    y = selective_scan(**inputs, delta_softplus=True, backend="native")
    (gradient,) = torch.autograd.grad(y.square().sum(), inputs["u"], create_graph=True)
    with pytest.raises(RuntimeError, match="autograd"):
        gradient.square().sum().backward()


def test_weights_without_time_or_groups_are_broadcast():
    inputs = make_inputs(groups=1)
    constant = {name: value.detach() for name, value in inputs.items()}
    constant["B"] = torch.randn(8, 5, dtype=torch.float64)
    expected = dict(
        constant, B=constant["B"][None, :, :, None].expand(2, -1, -1, 37), C=constant["C"].expand(2, 8, 5, 37)
    )
    torch.testing.assert_close(selective_scan(**constant), selective_scan(**expected, backend="reference"))
    three = dict(constant, B=constant["C"][:, 0], C=constant["C"][:, 0])
    four = dict(constant, B=constant["C"], C=constant["C"])
    assert torch.equal(selective_scan(**three), selective_scan(**four))


def test_the_number_of_threads_changes_nothing():
    inputs = make_inputs(batch=2, channels=96, length=70, groups=2, dtype=torch.float32)
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            results.append(run(inputs, "native"))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(results[0][name], other[name]) for other in results[1:] for name in results[0])


def test_a_forked_child_of_a_process_with_threads_can_scan():
    inputs = make_inputs(batch=4, channels=64, dtype=torch.float32)
    tensors = [inputs[name].detach() for name in ("u", "delta", "A", "B", "C")]
    tensors[1] = tensors[1].abs()
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        expected = native.forward(*tensors, keep=False)[0]
        with multiprocessing.get_context("fork").Pool(1) as pool:
            found = pool.apply_async(forward_sum, (tensors,)).get(timeout=60)
    finally:
        torch.set_num_threads(threads)
    assert found == expected.sum().item()


def forward_sum(tensors: list[torch.Tensor]) -> float:
    return native.forward(*tensors, keep=False)[0].sum().item()


def test_states_are_kept_only_for_the_backward_pass():
    tensors = [value.detach() for value in make_inputs(length=200).values()]
    u, delta, _, B, C, *_, A = tensors
    kept = native.forward(u, delta, A, B, C, keep=True)[2]
    dropped = native.forward(u, delta, A, B, C, keep=False)[2]
    assert kept.numel() == 2 * 7 * 5 * 8  # one in 32 steps of batch 2, state 5, 8 channels
    assert dropped.numel() == 0


@pytest.mark.parametrize("options", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_operator_keeps_its_contract_with_torch_and_compiles(dtype: torch.dtype, options: bool):
    inputs = make_inputs(dtype=torch.float32)
    varying, weights = (
        [inputs[name].detach().to(type_).requires_grad_() for name in names]
        for names, type_ in ((("u", "delta"), dtype), (("A", "B", "C", "D", "delta_bias"), torch.float32))
    )
    tensors = [*varying, *weights[:3], *(weights[3:] if options else (None, None))]
    torch.library.opcheck(torch.ops.retable.selective_scan.default, (*tensors, options, True, "native"))

    def loss(u: torch.Tensor, delta: torch.Tensor, *named: torch.Tensor | None) -> torch.Tensor:
        A, B, C, D, bias = named
        return selective_scan(u, delta, A, B, C, D, None, bias, delta_softplus=options).float().square().sum()

    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(*tensors), loss(*tensors))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_between_the_passes_nothing_is_kept_but_the_inputs_and_one_state_in_thirty_two(dtype: torch.dtype):
    inputs = make_inputs(length=200, dtype=torch.float32)
    inputs |= {name: inputs[name].detach().to(dtype).requires_grad_() for name in ("u", "delta")}
    del inputs["z"]
    kept: dict[int, tuple[int, ...]] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tuple(tensor.shape)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        selective_scan(**inputs, delta_softplus=True)
    for value in inputs.values():
        kept.pop(value.untyped_storage().data_ptr(), None)
    batch, channels, length = inputs["u"].shape
    state = inputs["A"].shape[1]
    marks = (batch, -(-length // native.STEPS), state, channels)
    repeated = inputs["B"].shape  # a small copy for the kernels at most
    assert marks in kept.values()
    assert all(shape in (marks, repeated) for shape in kept.values()), kept


@pytest.mark.parametrize(("groups", "parts"), [(1, 1), (3, 1), (4, 4), (24, 8)])
def test_the_backward_pass_goes_through_the_groups_part_by_part(monkeypatch, groups: int, parts: int):
    """So that what is as long as the input in float32 is held for some channels at a time; the result is the same."""
    inputs = make_inputs(length=70, channels=24, groups=groups)
    seen: list[int] = []
    whole = native.backward

    def watched(u: torch.Tensor, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        seen.append(u.shape[1])
        return whole(u, *tensors)

    monkeypatch.setattr(native, "backward", watched)
    found, expected = run(inputs, "native"), run(inputs, "reference")
    assert seen == [24 // parts] * parts
    torch.testing.assert_close(found, expected)


def test_observers_see_every_call_and_the_meta_device_runs_nothing():
    seen: list[ScanCall] = []
    observers.append(seen.append)
    try:
        varying = {name: torch.empty(3, 8, 10**7, device="meta") for name in ("u", "delta", "z")}
        weights = {name: torch.empty(3, 2, 5, 10**7, device="meta") for name in ("B", "C")}
        y = selective_scan(**varying, **weights, A=torch.empty(8, 5, device="meta"), D=torch.empty(8, device="meta"))
    finally:
        observers.remove(seen.append)
    assert y.is_meta
    assert y.shape == (3, 8, 10**7)
    assert seen == [ScanCall(batch=3, length=10**7, channels=8, state=5, skip=True, gate=True)]


def test_refusals():
    inputs = make_inputs()
    with pytest.raises(ValueError, match="backend"):
        selective_scan(**inputs, backend="cuda")
    with pytest.raises(ValueError, match="do not agree"):
        selective_scan(**dict(inputs, delta=inputs["delta"][..., :-1]))
    with pytest.raises(ValueError, match=r"B .* fits neither"):
        selective_scan(**dict(inputs, B=inputs["B"][:, :, :, :-1]))
    with pytest.raises(ValueError, match=r"C .* fits neither"):
        selective_scan(**dict(inputs, C=inputs["C"].repeat(1, 3, 1, 1)[:, :3]))
    with pytest.raises(ValueError, match=r"D \(1,\) has to be \(8,\)"):
        selective_scan(**dict(inputs, D=inputs["D"][:1]))
    with pytest.raises(ValueError, match=r"z .* has to be"):
        selective_scan(**dict(inputs, z=inputs["z"][:1]))
    with pytest.raises(ValueError, match=r"delta_bias .* has to be"):
        selective_scan(**dict(inputs, delta_bias=inputs["delta_bias"][:, None]))


@pytest.mark.parametrize("backend", ["triton", "mamba_ssm"])
def test_a_backend_that_cannot_run_says_why(backend, monkeypatch):
    inputs = make_inputs(dtype=torch.float32)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(module, "_installed", lambda name: False)
    with pytest.raises(RuntimeError, match=f"{backend} is not installed; use backend='auto'"):
        selective_scan(**inputs, backend=backend)
    monkeypatch.setattr(module, "_installed", lambda name: True)
    with pytest.raises(RuntimeError, match="runs on GPUs; these tensors are on the CPU"):
        selective_scan(**inputs, backend=backend)


def test_auto_takes_the_fastest_backend_that_runs(monkeypatch):
    """On the CPU ours; on a GPU the compiled kernel, else Triton, else the recurrence; float64 has the recurrence."""

    def choice(device: str, dtype: torch.dtype, *installed: str) -> str:
        monkeypatch.setattr(module, "_installed", lambda name: name in installed)
        return module._choose(SimpleNamespace(device=torch.device(device), dtype=dtype, numel=lambda: 1))

    assert choice("cpu", torch.float32, "mamba_ssm", "triton") == "native"
    assert choice("cuda", torch.float32, "mamba_ssm", "triton") == "mamba_ssm"
    assert choice("cuda", torch.bfloat16, "triton") == "triton"
    assert choice("cuda", torch.float32) == "reference"
    assert choice("cuda", torch.float64, "mamba_ssm", "triton") == "reference"
    assert choice("mps", torch.float32, "triton") == "reference"


@pytest.mark.parametrize(
    ("compiled", "fault"),
    [
        ("", None),
        (None, "ModuleNotFoundError"),  # a plain installation of mamba-ssm has the package alone
        ("raise ImportError('undefined symbol: _ZN3c104cuda9SetDeviceEi')", "undefined symbol"),
        ("raise OSError('libcudart.so.12: cannot open shared object file')", "libcudart"),
        ("raise RuntimeError('built for another torch')", "another torch"),
        ("import torch; torch.ops.load_library('/nowhere.so')", "nowhere"),
        ("1 +", "SyntaxError"),
    ],
)
def test_a_mamba_ssm_whose_compiled_scan_cannot_be_imported_is_not_taken(compiled, fault, tmp_path, monkeypatch):
    """Whatever its import raises: it is tried before mamba-ssm is preferred, not in the first forward."""
    (tmp_path / "mamba_ssm" / "ops").mkdir(parents=True)
    (tmp_path / "mamba_ssm" / "__init__.py").touch()
    (tmp_path / "mamba_ssm" / "ops" / "selective_scan_interface.py").touch()
    if compiled is not None:
        (tmp_path / "selective_scan_cuda.py").write_text(compiled, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("mamba_ssm", "mamba_ssm.ops", "mamba_ssm.ops.selective_scan_interface", "selective_scan_cuda"):
        monkeypatch.setitem(sys.modules, name, None)  # forgotten again at the end
        monkeypatch.delitem(sys.modules, name)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        faults = module._faults()
    assert set(faults) == (set() if fault is None else {"mamba_ssm"})
    assert [fault in str(warning.message) for warning in caught] == [True] * len(faults)

    monkeypatch.setattr(module, "FAULTS", faults)
    module._installed.cache_clear()
    gpu = SimpleNamespace(device=torch.device("cuda"), dtype=torch.float32, numel=lambda: 1)
    assert module._choose(gpu) == ("mamba_ssm" if fault is None else "triton")
    if fault is not None:
        with pytest.raises(RuntimeError, match=f"mamba_ssm cannot be imported: .*{fault}"):
            module._check_available("mamba_ssm", gpu)
    monkeypatch.undo()
    module._installed.cache_clear()


TRITON = """
import torch
from benchmark.models.layers import selective_scan_triton as triton_scan
from tests.models.test_selective_scan import make_inputs, relative, run
triton_scan.STEPS = 8
cases = dict(length=1, channels=2), dict(length=11, groups=1, channels=3, batch=1), dict(length=16, state=3, batch=1)
for sizes in cases:
    inputs = make_inputs(**sizes)
    expected = run(inputs, "reference")
    single = {name: value.detach().float() for name, value in inputs.items()}
    for name, found in run(single, "triton").items():
        error = relative(found, expected[name])
        assert error < 1e-5, (sizes, name, error)
u, B = torch.empty(0, 2, 3), torch.empty(0, 1, 4, 3)
assert triton_scan.forward(u, u, torch.empty(2, 4), B, B, True)[0].shape == u.shape
"""


def test_triton_kernels_in_the_interpreter():
    pytest.importorskip("triton")
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": str(REPOSITORY)}
    finished = subprocess.run(
        [sys.executable, "-c", TRITON], env=environment, capture_output=True, text=True, cwd=REPOSITORY, check=False
    )
    assert finished.returncode == 0, finished.stderr


def test_triton_kernels_compile_for_a_gpu_that_is_not_there(tmp_path, monkeypatch):
    triton = pytest.importorskip("triton")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from benchmark.models.layers import selective_scan_triton as triton_scan

    constants = {"state": 16, "STATE": 16, "T": triton_scan.STEPS, "KEEP": True, "WIDTH": triton_scan.BLOCK}
    integers = {"channels", "length", "chunks", "per_group", "blocks"}
    for kernel in (triton_scan._forward_kernel, triton_scan._carry_kernel, triton_scan._backward_kernel):
        kinds = {
            name: "constexpr" if name in constants else "i32" if name in integers else "*fp32"
            for name in kernel.arg_names
        }
        values = {(i,): constants[name] for i, name in enumerate(kernel.arg_names) if name in constants}
        compiled = triton.compile(ASTSource(kernel, kinds, constexprs=values), target=GPUTarget("cuda", 80, 32))
        assert compiled.asm["cubin"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("backend", ["triton", "mamba_ssm"])
def test_gpu_backends_equal_native(backend):
    if not module._installed(backend):
        pytest.skip(f"{backend} is not installed")
    inputs = make_inputs(channels=64, length=1000, state=16, groups=4, dtype=torch.float32)
    expected = run({name: value.detach().double() for name, value in inputs.items()}, "native")
    on_gpu = {name: value.detach().cuda() for name, value in inputs.items()}
    for name, found in run(on_gpu, backend).items():
        if backend == "mamba_ssm" and name == "last":
            continue
        assert relative(found.cpu(), expected[name]) < 1e-4, name
