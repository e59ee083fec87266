"""What the venue says of an account's money: answers and ACCOUNT_UPDATE, in the venue's own shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from connectors.simulator.listing import Listed
from connectors.simulator.private_account import Account, Margin, OpenNotional, Position, scaled
from connectors.simulator.private_amounts import average_text, quantity_text, short_signed, signed_text
from connectors.simulator.private_event import Event
from connectors.simulator.private_terms import quoted


def account_update(account: Account, why: str, now_ms: int, marks: Mapping[str, int], change_e8: int = 0) -> Event:
    """ACCOUNT_UPDATE.

    Args:
        why: ORDER or FUNDING_FEE.
        marks: mark prices of the symbols whose positions changed; none for funding of cross positions.
        change_e8: of the balance, without profit and fees.
    """
    wallet = signed_text(account.wallet_e8)
    told = ",".join([_position_told(symbol, account.position(symbol), mark_e8) for symbol, mark_e8 in marks.items()])
    now = str(now_ms)
    body = (
        f'{{"e":"ACCOUNT_UPDATE","E":{now},"T":{now},"a":{{"B":[{{"a":{quoted(account.config.asset)},'
        f'"wb":"{wallet}","cw":"{wallet}","bc":"{signed_text(change_e8)}"}}],"P":[{told}],"m":"{why}"}}}}'
    )
    return Event("ACCOUNT_UPDATE", body.encode())


def _position_told(symbol: str, position: Position, mark_e8: int) -> str:
    entry = average_text(position.entry_e8)
    return (
        f'{{"s":{quoted(symbol)},"pa":"{short_signed(position.amount_e8)}","ep":"{entry}","bep":"{entry}",'
        f'"cr":"{signed_text(position.realised_e8)}","up":"{signed_text(position.unrealised_e8(mark_e8))}",'
        f'"mt":"cross","iw":"0","ps":"BOTH"}}'
    )


def account_document(account: Account, margins: Mapping[str, Margin]) -> dict[str, object]:
    """GET /fapi/v3/account."""
    total = account.total(margins)
    money = _money(account, total)
    asset = {
        "asset": account.config.asset,
        "walletBalance": money["wallet"],
        "unrealizedProfit": money["unrealised"],
        "marginBalance": money["margin"],
        "maintMargin": money["maintenance"],
        "initialMargin": money["initial"],
        "positionInitialMargin": money["positions"],
        "openOrderInitialMargin": money["orders"],
        "crossWalletBalance": money["wallet"],
        "crossUnPnl": money["unrealised"],
        "availableBalance": money["available"],
        "maxWithdrawAmount": money["available"],
        "updateTime": account.updated_ms,
    }
    return {
        "totalInitialMargin": money["initial"],
        "totalMaintMargin": money["maintenance"],
        "totalWalletBalance": money["wallet"],
        "totalUnrealizedProfit": money["unrealised"],
        "totalMarginBalance": money["margin"],
        "totalPositionInitialMargin": money["positions"],
        "totalOpenOrderInitialMargin": money["orders"],
        "totalCrossWalletBalance": money["wallet"],
        "totalCrossUnPnl": money["unrealised"],
        "availableBalance": money["available"],
        "maxWithdrawAmount": money["available"],
        "assets": [asset],
        "positions": [_account_position(account, symbol, margin) for symbol, margin in margins.items()],
    }


def _money(account: Account, total: Margin) -> dict[str, str]:
    values = {
        "wallet": account.wallet_e8,
        "unrealised": total.unrealised_e8,
        "margin": account.wallet_e8 + total.unrealised_e8,
        "maintenance": total.maintenance_e8,
        "initial": total.initial_e8,
        "positions": total.position_e8,
        "orders": total.orders_e8,
        "available": max(0, account.available_e8(total)),
    }
    return {name: signed_text(value) for name, value in values.items()}


def _account_position(account: Account, symbol: str, margin: Margin) -> dict[str, object]:
    position = account.position(symbol)
    return {
        "symbol": symbol,
        "positionSide": "BOTH",
        "positionAmt": short_signed(position.amount_e8),
        "unrealizedProfit": signed_text(margin.unrealised_e8),
        "isolatedMargin": "0",
        "notional": signed_text(position.cost_e8 + margin.unrealised_e8),
        "isolatedWallet": "0",
        "initialMargin": signed_text(margin.initial_e8),
        "maintMargin": signed_text(margin.maintenance_e8),
        "updateTime": position.updated_ms,
    }


def balance_document(account: Account, margins: Mapping[str, Margin]) -> list[dict[str, object]]:
    """GET /fapi/v3/balance."""
    money = _money(account, account.total(margins))
    return [
        {
            "accountAlias": account.config.name,
            "asset": account.config.asset,
            "balance": money["wallet"],
            "crossWalletBalance": money["wallet"],
            "crossUnPnl": money["unrealised"],
            "availableBalance": money["available"],
            "maxWithdrawAmount": money["available"],
            "marginAvailable": True,
            "updateTime": account.updated_ms,
        }
    ]


def position_document(
    account: Account, listed: Listed, margin: Margin, mark_e8: int, orders: OpenNotional
) -> dict[str, object]:
    """A row of GET /fapi/v3/positionRisk: a symbol with a position or an open order."""
    position = account.position(listed.symbol)
    return {
        "symbol": listed.symbol,
        "positionSide": "BOTH",
        "positionAmt": quantity_text(listed, position.amount_e8),
        "entryPrice": average_text(position.entry_e8),
        "breakEvenPrice": average_text(position.entry_e8),
        "markPrice": signed_text(mark_e8),
        "unRealizedProfit": signed_text(margin.unrealised_e8),
        "liquidationPrice": "0",
        "isolatedMargin": "0",
        "notional": signed_text(scaled(position.amount_e8, mark_e8)),
        "marginAsset": listed.assets[1],
        "isolatedWallet": "0",
        "initialMargin": signed_text(margin.initial_e8),
        "maintMargin": signed_text(margin.maintenance_e8),
        "positionInitialMargin": signed_text(margin.position_e8),
        "openOrderInitialMargin": signed_text(margin.orders_e8),
        "adl": 0,
        "bidNotional": signed_text(orders.bids_e8),
        "askNotional": signed_text(orders.asks_e8),
        "updateTime": position.updated_ms,
    }


def income_row(
    account: Account, symbol: str, kind: str, amount_e8: int, time_ms: int, ids: Sequence[int]
) -> dict[str, object]:
    """A row of GET /fapi/v1/income. `ids`: of the row, and of the trade or 0."""
    return {
        "symbol": symbol,
        "incomeType": kind,
        "income": signed_text(amount_e8),
        "asset": account.config.asset,
        "info": str(ids[1]) if ids[1] else kind,
        "time": time_ms,
        "tranId": ids[0],
        "tradeId": str(ids[1]) if ids[1] else "",
    }


def restrictions_document(account: Account) -> dict[str, object]:
    """GET /sapi/v1/account/apiRestrictions: what the key may do."""
    config = account.config
    return {
        "ipRestrict": False,
        "createTime": 1_700_000_000_000,
        "enableReading": True,
        "enableWithdrawals": config.can_withdraw,
        "enableInternalTransfer": config.can_withdraw,
        "permitsUniversalTransfer": config.can_withdraw,
        "enableVanillaOptions": False,
        "enableFixApiTrade": False,
        "enableFixReadOnly": True,
        "enableFutures": config.can_trade,
        "enableMargin": False,
        "enableSpotAndMarginTrading": False,
        "enablePortfolioMarginTrading": False,
    }
