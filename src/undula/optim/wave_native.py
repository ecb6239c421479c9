"""Wave-native optimizer: damped motion of the parameters, driven by gradients projected onto what the matrices span."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT

from undula.ops.projection import column_basis, leading_bases, projected

Group = dict[str, Any]

foreach: Any = torch
"""torch's own optimizers call its `_foreach` functions, too; type checkers are not told of them."""
STACKED = 2**24
"""Numbers of the matrices whose bases are computed at once: enough to keep a device busy, 64 MB in float32."""
EPSILON = 1e-8


class WaveNativeOptimizer(Optimizer):
    """Moves parameters as damped oscillators under a partly coherent force.

    With the singular vectors U, V of a matrix W (thin SVD) and its gradient g:

        g <- g + weight_decay W
        g <- coherence_weight U U^T g V V^T + (1 - coherence_weight) g
        v <- (1 - damping) v - lr g
        W <- W + v

    Of U U^T and V V^T, only that of the longer side of a matrix can differ from the identity, and it is Q Q^T of a
    thin QR decomposition: nothing is done to square matrices, and no SVD is computed. Where a matrix has not full
    rank, Q Q^T projects onto the columns (rows) that there are; onto nothing for a matrix of zeros, which at
    coherence_weight=1 therefore stays. Parameters that are no matrices, and groups with `"coherent": False` (for
    embeddings, whose rows would be mixed), are not projected.

    A steady gradient moves a parameter by lr / damping each step. In a valley of curvature h the motion is stable while
    lr h < 2 (2 - damping).

    Cost: 4 times a matrix' long side times the square of its short side a step, and as much again when its basis is
    refreshed; memory of a velocity for each number and of a basis as large as each rectangular matrix. Parameters
    and gradients are float32 or float64, dense and whole (not sharded); for bfloat16 use autocast.

    Args:
        params: parameters, or groups of them; any argument below but `params` may differ between groups.
        lr: length of a step per unit of gradient.
        damping: part of the velocity that is lost each step, 0 to 1.
        coherence_weight: part of the force that is projected, 0 to 1.
        weight_decay: pull towards zero, part of the gradient; with `adaptive` apart, W <- (1 - lr weight_decay) W.
        refresh: steps between two computations of the bases, at least; 1 is exactly the update above, more is a basis
            that lags. They are computed in steps that project.
        project_every: steps between two projections; 1 is exactly the update above. Between them the whole force acts,
            and then what it did outside the span, to velocity and position, is taken back but for the share
            1 - coherence_weight. Every k-th step costs 2 / k of the products, and two more numbers for each that moves.
        rank: project onto this many leading singular directions of both sides, square matrices too, tracked by one
            block power iteration at each refresh; None: onto all of them.
        adaptive: divide by the root of the mean square of the force, so that steps have Adam's size: with m and s the
            averages of the force and its square, corrected for their start at zero, W <- W - lr m / (sqrt(s) + 1e-8).
        beta2: memory of that mean square; read where `adaptive` is set.

    Raises:
        ValueError: for an argument out of range, parameters of another kind, and, before anything has changed, NaN or
            infinity in a gradient.

    Source: Wave-Native GPT, WaveNativeOptimizer; the mean square as in Kingma and Ba, "Adam", arXiv 1412.6980.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        damping: float = 0.1,
        coherence_weight: float = 0.7,
        weight_decay: float = 0.01,
        *,
        refresh: int = 1,
        project_every: int = 1,
        rank: int | None = None,
        adaptive: bool = False,
        beta2: float = 0.99,
    ) -> None:
        options = {"lr": lr, "damping": damping, "coherence_weight": coherence_weight, "weight_decay": weight_decay}
        options |= {"refresh": refresh, "project_every": project_every}
        options |= {"rank": rank, "adaptive": adaptive, "beta2": beta2}
        super().__init__(params, {**options, "coherent": True})

    def add_param_group(self, param_group: Group) -> None:
        """Add parameters with options of their own.

        Raises:
            ValueError: for an option out of range, and parameters in half precision or complex.
        """
        check_options({**self.defaults, **param_group})
        super().add_param_group(param_group)
        bad = {p.dtype for p in self.param_groups[-1]["params"]} - {torch.float32, torch.float64}
        if bad:
            self.param_groups.pop()
            raise ValueError(
                f"parameters in {min(map(str, bad))}; wanted float32 or float64: half precision loses steps this "
                "small, use autocast"
            )

    @torch.no_grad()
    def step(self, closure: Callable[[], float | Tensor] | None = None) -> float | Tensor | None:
        """Move the parameters that have a gradient.

        Args:
            closure: computes the loss and the gradients anew.

        Returns:
            The loss, where there is a closure.

        Raises:
            ValueError: for NaN or infinity in a gradient, which parameter it is; nothing has changed then.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._check_gradients()
        for group in self.param_groups:
            moved = [p for p in group["params"] if p.grad is not None]
            if moved:
                self._start(moved, group)
                self._refresh([p for p in moved if is_bound(p, group)], group)
                move = self._move_adaptively if group["adaptive"] else self._move
                for piece in pieces(moved):
                    bound = [p for p in piece if is_bound(p, group)]
                    move([p for p in piece if not is_bound(p, group)], bound, group)
        return loss

    def _start(self, moved: list[Tensor], group: Group) -> None:
        for p in moved:
            state = self.state[p]
            if not state:
                names = ["velocity", *(["square"] if group["adaptive"] else [])]
                state.update({name: torch.zeros_like(p) for name in names}, step=0)
            if group["project_every"] > 1 and is_bound(p, group) and "last_step" not in state:
                self._launch(p)
            state["step"] += 1

    def _launch(self, p: Tensor) -> None:
        """Remember where a motion starts that a later projection corrects."""
        state = self.state[p]
        state.update(last_step=state["step"], last_velocity=state["velocity"].clone(), last_position=p.clone())

    def _projects(self, p: Tensor, group: Group) -> bool:
        state = self.state[p]
        return "last_step" not in state or state["step"] - state["last_step"] >= group["project_every"]

    def _move(self, free: list[Tensor], bound: list[Tensor], group: Group) -> None:
        lr, decay, coherent, keep = group["lr"], group["weight_decay"], group["coherence_weight"], 1 - group["damping"]
        later = [p for p in bound if "last_step" in self.state[p]]
        if later:
            free, bound = free + later, [p for p in bound if "last_step" not in self.state[p]]
        if free:
            velocities = self._all("velocity", free)
            foreach._foreach_mul_(velocities, keep)
            foreach._foreach_add_(velocities, gradients(free), alpha=-lr)
            if decay:
                foreach._foreach_add_(velocities, free, alpha=-lr * decay)
        for p in bound:
            force = gradient(p).add(p, alpha=decay) if decay else gradient(p)
            velocity = self.state[p]["velocity"]
            velocity.addmm_(*self._projected(force, p), beta=keep, alpha=-lr * coherent)
            if coherent < 1:
                velocity.add_(force, alpha=-lr * (1 - coherent))
        foreach._foreach_add_(free + bound, self._all("velocity", free + bound))
        for p in later:
            if self._projects(p, group):
                self._take_back(p, group)

    def _take_back(self, p: Tensor, group: Group) -> None:
        """Take back what forces did outside the span since the last projection."""
        state, keep = self.state[p], 1 - group["damping"]
        launch, steps = state["last_velocity"], state["step"] - state["last_step"]
        # Without any force the velocity would be keep^steps of the last, and the way the sum of keep^1 to keep^steps.
        left, way = keep**steps, sum(keep**i for i in range(1, steps + 1))
        for value, unforced in ((state["velocity"], launch * left), (p, state["last_position"] + launch * way)):
            forced = value - unforced
            value.sub_(forced, alpha=group["coherence_weight"])
            value.addmm_(*self._projected(forced, p), alpha=group["coherence_weight"])
        if group["project_every"] > 1:
            self._launch(p)
        else:
            for name in ("last_step", "last_velocity", "last_position"):
                del state[name]

    def _move_adaptively(self, free: list[Tensor], bound: list[Tensor], group: Group) -> None:
        lr, coherent, beta2 = group["lr"], group["coherence_weight"], group["beta2"]
        parameters, keep = free + bound, 1 - group["damping"]
        steps = self._all("step", parameters)
        velocities, squares = self._all("velocity", parameters), self._all("square", parameters)
        mixed = [
            torch.addmm(gradient(p), *self._projected(gradient(p), p), beta=1 - coherent, alpha=coherent) for p in bound
        ]
        forces = gradients(free) + mixed
        foreach._foreach_lerp_(velocities, forces, group["damping"])
        foreach._foreach_mul_(squares, beta2)
        foreach._foreach_addcmul_(squares, forces, forces, value=1 - beta2)
        sizes = foreach._foreach_sqrt(squares)
        foreach._foreach_div_(sizes, [math.sqrt(1 - beta2**t) for t in steps])
        foreach._foreach_add_(sizes, EPSILON)
        if group["weight_decay"]:
            foreach._foreach_mul_(parameters, 1 - lr * group["weight_decay"])
        foreach._foreach_addcdiv_(parameters, velocities, sizes, [-lr / (1 - keep**t) for t in steps])

    def _all(self, name: str, parameters: list[Tensor]) -> list[Any]:
        return [self.state[p][name] for p in parameters]

    def _projected(self, force: Tensor, parameter: Tensor) -> tuple[Tensor, Tensor]:
        state = self.state[parameter]
        return projected(force, state.get("left"), state.get("right"))

    def _refresh(self, bound: list[Tensor], group: Group) -> None:
        """Compute the bases that are due and used in this step, matrices of the same shape together."""
        due = [p for p in bound if self._projects(p, group) and self._is_stale(p, group)]
        for stack in stacks(due):
            states = [self.state[p] for p in stack]
            if group["rank"] is None:
                side = "left" if stack[0].shape[0] > stack[0].shape[1] else "right"
                bases = {side: column_basis(torch.stack([p if side == "left" else p.mT for p in stack]))}
            else:
                bases = self._leading(torch.stack(stack), states, group["rank"])
            for name, tensors in bases.items():
                for state, basis in zip(states, tensors.unbind(), strict=True):
                    # In memory of its own and in order, as a loaded state is: the last bit of a product depends on it.
                    state[name] = basis.clone(memory_format=torch.contiguous_format)
                    state["basis_step"] = state["step"]

    def _is_stale(self, p: Tensor, group: Group) -> bool:
        state = self.state[p]
        return "basis_step" not in state or state["step"] - state["basis_step"] >= group["refresh"]

    def _leading(self, matrices: Tensor, states: list[dict[str, Any]], rank: int) -> dict[str, Tensor]:
        rank = min(rank, *matrices.shape[1:])
        known = [state.get("right") for state in states]
        ready = [basis for basis in known if basis is not None and basis.shape[1] == rank]
        # A stack in which one matrix is new starts from the SVD: parameters rarely get their first gradient late.
        right = torch.stack(ready) if len(ready) == len(known) else None
        return dict(zip(("left", "right"), leading_bases(matrices, rank, right), strict=True))

    def _check_gradients(self) -> None:
        found = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        if any(gradient(p).is_sparse for p in found):
            raise ValueError("a gradient is sparse; wanted dense ones: sparse=False in nn.Embedding")
        # One number for each: a norm is finite, or the gradient is not, or it is very long.
        norms = foreach._foreach_norm(gradients(found)) if found else []
        finite = [norm.isfinite().to(norms[0].device) for norm in norms]
        if finite and not torch.stack(finite).all():
            self._refuse()

    def _refuse(self) -> None:
        for number, group in enumerate(self.param_groups):
            for place, p in enumerate(group["params"]):
                if p.grad is not None and not p.grad.isfinite().all():
                    names = group.get("param_names")
                    what = names[place] if names else f"parameter {place} of group {number}"
                    raise ValueError(
                        f"the gradient of {what}, shape {tuple(p.shape)}, holds NaN or infinity; nothing was changed: "
                        "lower the learning rate or leave out this batch"
                    )


def gradient(parameter: Tensor) -> Tensor:
    """Return a parameter's gradient.

    Raises:
        ValueError: when it has none.
    """
    if parameter.grad is None:
        raise ValueError(f"a parameter of shape {tuple(parameter.shape)} has no gradient; call backward first")
    return parameter.grad


def gradients(parameters: list[Tensor]) -> list[Tensor]:
    """Return the gradients of parameters that have one."""
    return [gradient(p) for p in parameters]


def is_bound(parameter: Tensor, group: Group) -> bool:
    """Return whether projecting a parameter's gradient changes it."""
    if parameter.ndim != 2 or not group["coherent"] or not group["coherence_weight"] or not parameter.numel():
        return False
    return group["rank"] is not None or parameter.shape[0] != parameter.shape[1]


def pieces(parameters: list[Tensor]) -> list[list[Tensor]]:
    """Return what is moved together: on a CPU each parameter alone, which then stays in the cache, else all."""
    return [[p] for p in parameters] if parameters[0].device.type == "cpu" else [parameters]


def stacks(matrices: list[Tensor]) -> Iterator[list[Tensor]]:
    """Yield matrices of one shape, type and device together, at most `STACKED` numbers at once."""
    alike: dict[Any, list[Tensor]] = defaultdict(list)
    for matrix in matrices:
        alike[matrix.shape, matrix.dtype, matrix.device].append(matrix)
    for same in alike.values():
        size = max(1, STACKED // same[0].numel())
        yield from (same[i : i + size] for i in range(0, len(same), size))


def check_options(group: Group) -> None:
    """Refuse a group with an option out of range.

    Raises:
        ValueError: names the option.
    """
    for name in ("lr", "weight_decay"):
        if not 0 <= group[name] < math.inf:
            raise ValueError(f"{name}={group[name]}; wanted 0 or more")
    for name in ("damping", "coherence_weight"):
        if not 0 <= group[name] <= 1:
            raise ValueError(f"{name}={group[name]}; wanted a number from 0 to 1")
    if not 0 <= group["beta2"] < 1:
        raise ValueError(f"beta2={group['beta2']}; wanted a number from 0 up to, not including, 1")
    for name in ("refresh", "project_every"):
        if group[name] < 1:
            raise ValueError(f"{name}={group[name]}; wanted a whole number of steps, at least 1")
    if group["rank"] is not None and group["rank"] < 1:
        raise ValueError(f"rank={group['rank']}; wanted at least 1 direction, or None for all of them")
    if group["adaptive"]:
        _check_adaptive(group)


def _check_adaptive(group: Group) -> None:
    if not group["damping"]:
        raise ValueError("damping=0 with adaptive=True; wanted more than 0: an average without end forgets nothing")
    if group["project_every"] > 1:
        raise ValueError(
            f"project_every={group['project_every']} with adaptive=True; wanted 1: rare projections have no mean square"
        )
