"""How long to wait before asking a server again that asked for a pause or failed."""

from __future__ import annotations

import random
import time
from email.utils import parsedate_to_datetime

BACK_OFF = 0.5
"""Seconds before the second try, about; twice that before the third, and so on."""
SPREAD = 0.25
"""Seconds over which retries are spread that were all given the same time."""

_rng = random.SystemRandom()  # no seed of the user's decides, or is moved by, when to knock again


def back_off(attempt: int) -> float:
    """Seconds to wait after the `attempt`-th try (from 1), between half and one and a half of the plain figure."""
    return BACK_OFF * 2.0 ** (attempt - 1) * _rng.uniform(0.5, 1.5)


def spread() -> float:
    """Seconds to come later than the others."""
    return _rng.uniform(0.0, SPREAD)


def retry_after(value: str | None) -> float | None:
    """Seconds that a Retry-After header (RFC 9110, section 10.2.3: seconds or a date) asks for.

    None where there is none, or nothing that can be read; 0 for a date that has passed.
    """
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:12])
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError, OSError):
        return None
