"""Every strategy there is: rule name → class. A new one is a file here and a line below."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from processors.strategies.api import Strategy
from processors.strategies.market_making import MarketMaking
from processors.strategies.momentum import Momentum

STRATEGIES: Mapping[str, type[Strategy[Any]]] = {
    "market_making": MarketMaking,
    "momentum": Momentum,
}
