"""All of the zoo."""

from __future__ import annotations

from tests.formats.hugging_face.zoo import dense, encoders, experts, recurrent, towers, unlike

ZOO = (*dense.MODELS, *unlike.MODELS, *experts.MODELS, *recurrent.MODELS, *towers.MODELS, *encoders.MODELS)
