"""What users add to the project: functions of their own, by kind and name."""

from __future__ import annotations

from typing import Any

KINDS = ("attack", "corruption", "dataset", "objective", "saliency_method")

ADDED: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
"""Kind to name to what was added."""
