"""Sums over a model's tensors: bytes by role and layer, parameters, number types."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from motorpool_formats.errors import ModelCorruptError
from motorpool_formats.facts import RoleBytes
from motorpool_formats.hugging_face.quantization import Quantization
from motorpool_formats.hugging_face.roles import Role, role_of
from motorpool_formats.hugging_face.safetensors import Header, Tensor, tensors

MAX_TENSORS = 1 << 19
"""Of a whole model; the largest mixtures of experts have 200,000."""

MAX_HEADERS_BYTES = 64 << 20
"""Of all files of a model together; the same have 30 MB."""

_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


class Tally:
    """What the headers of a model's files add up to. A tensor that two of them have counts once: it is loaded once."""

    def __init__(
        self, *, layers: int | None = None, encoder_decoder: bool = False, quantization: Quantization | None = None
    ) -> None:
        self._layers = layers
        self._encoder_decoder = encoder_decoder
        self._quantization = quantization
        self._names: set[int] = set()
        self._roles: Counter[Role] = Counter()
        self._by_layer = [0] * (layers or 0)
        self._experts_by_layer = [0] * (layers or 0)
        self._elements_by_dtype: Counter[str] = Counter()
        self._parameters: int | None = 0
        self._header_bytes = 0
        self.weight_bytes = 0

    def add_headers(self, headers: Iterable[Header]) -> None:
        """Take in all tensors of these headers."""
        for header in headers:
            self._header_bytes += len(header.content)
            if self._header_bytes > MAX_HEADERS_BYTES:
                raise ModelCorruptError(
                    header.file,
                    f"the headers together have more than {MAX_HEADERS_BYTES} bytes",
                    "check what files these are",
                )
            for tensor in tensors(header):
                self._add(tensor, header.file)

    def _add(self, tensor: Tensor, file: str) -> None:
        names = len(self._names)
        self._names.add(hash(tensor.name))  # 64 bits: half a million names would take too much memory
        if len(self._names) == names:
            return
        if names == MAX_TENSORS:
            raise ModelCorruptError(
                file, f"the files hold more than {MAX_TENSORS} tensors", "check what files these are"
            )
        role, layer = role_of(tensor.name, layers=self._layers, encoder_decoder=self._encoder_decoder)
        self.weight_bytes += tensor.size_bytes
        self._roles[role] += tensor.size_bytes
        if layer is not None and self._layers is not None:
            self._by_layer[layer] += tensor.size_bytes
            if role is Role.EXPERTS:
                self._experts_by_layer[layer] += tensor.size_bytes
        self._elements_by_dtype[tensor.dtype] += tensor.elements
        if self._parameters is not None:
            stood_for = self._quantization.parameters(tensor) if self._quantization else tensor.elements
            self._parameters = None if stood_for is None else self._parameters + stood_for

    @property
    def parameters(self) -> int | None:
        """The parameters that all tensors stand for."""
        return self._parameters

    @property
    def layer_bytes(self) -> tuple[int, ...] | None:
        """Bytes by layer; None where the number of layers is not known, or they are of two stacks."""
        return tuple(self._by_layer) if self._has_layers else None

    @property
    def layer_expert_bytes(self) -> tuple[int, ...] | None:
        """The experts' part of them; None where there is none."""
        return tuple(self._experts_by_layer) if self._has_layers and any(self._experts_by_layer) else None

    @property
    def roles(self) -> RoleBytes | None:
        """Bytes by what they are for; None where no name is of a layer, and so the names are not known here."""
        if not self._roles[Role.LAYERS]:
            return None
        return RoleBytes(**{role.value: self._roles[role] for role in Role})

    @property
    def dtype(self) -> str | None:
        """The number type of most weights, where they are as they were trained."""
        if self._quantization is not None or not self._elements_by_dtype:
            return None
        return _DTYPES.get(self._elements_by_dtype.most_common(1)[0][0])

    @property
    def _has_layers(self) -> bool:
        return self._layers is not None and not self._encoder_decoder and any(self._by_layer)
