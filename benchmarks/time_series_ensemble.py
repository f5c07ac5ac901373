"""Many networks of one architecture trained at once: stacked parameters, one vectorised forward and backward.

A member is a seed or a data set of its own: its weights, its data, its order of batches, its k, its end. What is
computed is exactly what training it alone computes (tests/benchmarks/test_time_series.py), because the rows of all
members go through the same `saliency_guided_loss`: members differ in the weights that `torch.func.vmap` gives to their
rows, and in nothing else. Two modules are exchanged for the same arithmetic in a form that suits: the fused LSTM, for
which vmap has no rule, and dropout, whose random numbers are the largest part of a small network's time on CPU.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from transformers import PreTrainedModel


class Ensemble:
    """Models of one architecture as one function of all their rows.

    Args:
        models: M members, without buffers; copied. Called with rows in the members' order, each as many.

    Raises:
        ValueError: A member has buffers, which would have to be stacked too.
    """

    def __init__(self, models: Sequence[PreTrainedModel]) -> None:
        parameters, buffers = stack_module_state(list(models))
        if buffers:
            raise ValueError(f"ensembles are made of parameters alone, and the models have buffers {sorted(buffers)}")
        self.parameters: dict[str, Tensor] = parameters
        self.size = len(models)
        self.template = vectorisable(copy.deepcopy(models[0]))
        self.forward = vmap(self._member, randomness="different")

    def __call__(self, input_values: Tensor) -> Tensor:
        """Return (M · B, K) logits of (M · B, T, C), the first B rows being the first member's."""
        rows = input_values.unflatten(0, (self.size, -1))
        return self.forward(self.parameters, rows).flatten(0, 1)

    def _member(self, parameters: dict[str, Tensor], input_values: Tensor) -> Tensor:
        return functional_call(self.template, parameters, (input_values,)).logits

    def keep(self, members: Sequence[int]) -> None:
        """Go on with some members only."""
        index = torch.tensor(members, device=next(iter(self.parameters.values())).device)
        for name, stacked in self.parameters.items():
            self.parameters[name] = stacked.detach()[index].requires_grad_()
        self.size = len(members)

    def state(self, member: int) -> dict[str, Tensor]:
        """Return one member's own state dict."""
        return {name: stacked[member].detach().clone() for name, stacked in self.parameters.items()}


class EnsembleAdam:
    """Adam for an ensemble: torch's own, whose state follows the members that remain.

    Adam works element by element, and all members have taken equally many steps; so it is each member's own Adam.

    Args:
        ensemble: Its parameters are stepped.
        learning_rate: Of all members.
    """

    def __init__(self, ensemble: Ensemble, learning_rate: float) -> None:
        self.ensemble = ensemble
        self.learning_rate = learning_rate
        self.adam = torch.optim.Adam(ensemble.parameters.values(), lr=learning_rate)

    def step(self, loss: Tensor) -> None:
        """Take a step down the sum of the members' losses."""
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()

    def keep(self, members: Sequence[int]) -> None:
        """Go on with some members only, in the ensemble too."""
        states = [self.adam.state[parameter] for parameter in self.ensemble.parameters.values()]
        self.ensemble.keep(members)
        self.adam = torch.optim.Adam(self.ensemble.parameters.values(), lr=self.learning_rate)
        index = torch.tensor(members)
        for parameter, state in zip(self.ensemble.parameters.values(), states, strict=True):
            moments = {name: state[name][index.to(state[name].device)] for name in ("exp_avg", "exp_avg_sq")}
            self.adam.state[parameter] = moments | {"step": state["step"]}


def vectorisable(module: nn.Module) -> nn.Module:
    """Exchange what vmap cannot do or does slowly, in place; parameters keep their names and values."""
    for name, child in module.named_children():
        if isinstance(child, nn.LSTM):
            setattr(module, name, UnfusedLstm(child))
        elif type(child) is nn.Dropout:
            setattr(module, name, QuickDropout(child.p))
        else:
            vectorisable(child)
    return module


class UnfusedLstm(nn.Module):
    """One direction and layer of nn.LSTM, batch first, in steps of its own.

    Args:
        lstm: Whose parameters are taken.

    Raises:
        ValueError: The LSTM has several layers or directions, or is not batch first.
    """

    def __init__(self, lstm: nn.LSTM) -> None:
        super().__init__()
        if lstm.num_layers != 1 or lstm.bidirectional or not lstm.batch_first or lstm.proj_size:
            raise ValueError(f"only a plain one-layer, batch-first LSTM can be in an ensemble, got {lstm}")
        for name, parameter in lstm.named_parameters():
            self.register_parameter(name, parameter)

    def forward(self, inputs: Tensor) -> tuple[Tensor, None]:
        """Return the states (B, T, H) of inputs (B, T, C)."""
        flat = inputs.flatten(0, 1) @ self.weight_ih_l0.T + (self.bias_ih_l0 + self.bias_hh_l0)
        projected = flat.unflatten(0, inputs.shape[:2])
        recurrent = self.weight_hh_l0.T
        state = cell = torch.zeros_like(projected[:, 0, : recurrent.shape[0]])
        states = []
        for step in projected.unbind(1):
            enter, forget, candidate, leave = (step + state @ recurrent).chunk(4, dim=-1)
            cell = forget.sigmoid() * cell + enter.sigmoid() * candidate.tanh()
            state = leave.sigmoid() * cell.tanh()
            states.append(state)
        return torch.stack(states, dim=1), None


class QuickDropout(nn.Module):
    """Dropout whose random numbers are 16 bits wide: p is met to 1 / 65,536.

    Args:
        p: Probability of a zero.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, values: Tensor) -> Tensor:
        """Return the values, in train mode p of them zero and the others divided by 1 − p."""
        if not self.training or self.p == 0:
            return values
        return values * _Kept.apply(values.detach(), self.p)


class _Kept(torch.autograd.Function):
    """What dropout multiplies by: 0, or 1 / (1 − p). A function, to be given the batch that vmap hides."""

    @staticmethod
    def forward(values: Tensor, p: float) -> Tensor:
        count = values.numel()
        words = torch.empty((count + 3) // 4, dtype=torch.int64, device=values.device).random_(-(2**63), None)
        draws = words.view(torch.int16)[:count].view(values.shape)
        return (draws >= round(p * 2**16) - 2**15).to(values.dtype).mul_(1 / (1 - p))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None]:
        return None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, None], values: Tensor, p: float) -> tuple[Tensor, int | None]:
        return _Kept.apply(values, p), in_dims[0]
