"""A language model with another wavelet basis: angles are turned, fewer levels and narrower windows make it smaller."""

from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from undula.hf.configuration import UndulaConfig
from undula.hf.modeling import UndulaForCausalLM
from undula.models.evolvable import WAVELETS, evolvable, wavelet_mixers
from undula.nn.wavelet_basis import WaveletBasis, angle_rows
from undula.optim.basis import BasisFunction

EACH_LEVEL, EACH_BAND = ("detail",), ("level_key", "band_weight")
"""Parameters of a mixer with an entry for each level of its tree, and those with one more, for what is smooth."""


def basis_of(model: UndulaForCausalLM) -> BasisFunction:
    """Return the wavelets of a model, as they are now, the levels of its deepest tree, and no sparsity.

    Raises:
        ValueError: when it has no wavelets that could evolve, or layers with different ones.
    """
    evolvable(model.config.model_config)  # says what is wrong with a model that has none
    bases = [part for part in model.modules() if isinstance(part, WaveletBasis)]
    rows = [angle_rows(part.wavelets) if part.angles is None else part.angles.double().tolist() for part in bases]
    if any(found != rows[0] for found in rows):
        raise ValueError(f"{len(rows)} layers have different wavelets; wanted the same in all that have some")
    name, levels = bases[0].wavelets[0], max(part.levels for part in bases)
    return BasisFunction(name if isinstance(name, str) else "lattice", {"angles": rows[0], "levels": levels})


def with_basis(model: UndulaForCausalLM, basis: BasisFunction) -> UndulaForCausalLM:
    """Return a copy of a model with another basis, which an ordinary checkpoint can hold.

    Levels beyond the basis's are cut off, with their parameters; of the sparsity s, wavelet attention sees a share
    1 - s of the coefficients of each level, the last ones. What is left out is not computed.

    Args:
        model: any causal language model with wavelets.
        basis: has as many angles as the model's own.

    Raises:
        ValueError: for another number of angles, or a model without wavelets.
    """
    config = evolvable(model.config.model_config)
    given = config.backbone.mixer_options
    changed: dict[str, dict[str, Any]] = {}
    for name, own in wavelet_mixers(config).items():
        if [len(row) for row in own[WAVELETS]] != [basis.angles.shape[1]] * len(basis.angles):
            raise ValueError(
                f"a basis of {basis.angles.shape} angles; {name} has {len(own[WAVELETS])} wavelets of "
                f"{len(own[WAVELETS][0])}"
            )
        sizes = {WAVELETS: basis.angles.tolist(), "levels": min(basis.levels, own["levels"])}
        if "window" in own:
            sizes["window"] = max(1, round((1 - basis.sparsity) * own["window"]))
        changed[name] = {**given.get(name, {}), **sizes}
    config = replace(config, backbone=replace(config.backbone, mixer_options={**given, **changed}))
    ids = {name: getattr(model.config, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    made = UndulaForCausalLM(UndulaConfig(model=config, **ids))
    values = dict(model.state_dict())
    for place, part in made.named_modules():
        if isinstance(part, WaveletBasis) and part.angles is not None:
            values |= _cut(values, place, part)
    cast(nn.Module, made).to(device=model.device, dtype=model.dtype)
    made.load_state_dict(values)
    return made.train(model.training)


def _cut(values: dict[str, Tensor], place: str, basis: WaveletBasis) -> dict[str, Tensor]:
    """The parameters of one mixer that depend on its basis, for the basis that it gets."""
    mixer, levels = place.rpartition(".")[0], basis.levels
    found = {f"{place}.angles": cast(Tensor, basis.angles)}
    for name in (f"{place}.mix", *(f"{mixer}.{name}" for name in EACH_LEVEL)):
        if name in values:
            found[name] = values[name][:levels]
    for name in (f"{mixer}.{name}" for name in EACH_BAND):
        if name in values:
            whole = values[name]
            last = whole[levels : levels + 1] if name.endswith("key") else whole[-1:]
            found[name] = torch.cat([whole[:levels], last])
    return found
