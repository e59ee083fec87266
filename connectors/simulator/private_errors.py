"""Refusals of the private half: the venue's codes, their words and HTTP status. The table is the whole list."""

from __future__ import annotations

from connectors.simulator.rest import Refused

WORDS: dict[int, str] = {
    -1000: "Unknown error, please check your request or try again later.",
    -1001: "Internal error; unable to process your request. Please try again.",
    -1007: "Timeout waiting for response from backend server. Send status unknown; execution status unknown.",
    -1008: "Request throttled by system-level protection. Reduce-only/close-position orders are exempt. "
    "Please try again.",
    -1015: "Too many new orders; current limit is {} orders per {}.",
    -1021: "Timestamp for this request is outside of the recvWindow.",
    -1022: "Signature for this request is not valid.",
    -1100: "Illegal characters found in parameter '{}'; legal range is '{}'.",
    -1102: "Mandatory parameter '{}' was not sent, was empty/null, or malformed.",
    -1106: "Parameter '{}' sent when not required.",
    -1111: "Precision is over the maximum defined for this asset.",
    -1115: "Invalid timeInForce.",
    -1116: "Invalid orderType.",
    -1117: "Invalid side.",
    -1121: "Invalid symbol.",
    -1125: "This listenKey does not exist.",
    -1128: "Combination of optional parameters invalid.",
    -1130: "Data sent for parameter '{}' is not valid.",
    -1131: "recvWindow must be less than 60000.",
    -2010: "NEW_ORDER_REJECTED",
    -2011: "Unknown order sent.",
    -2013: "Order does not exist.",
    -2014: "API-key format invalid.",
    -2015: "Invalid API-key, IP, or permissions for action.",
    -2019: "Margin is insufficient.",
    -2020: "Unable to fill.",
    -2021: "Order would immediately trigger.",
    -2022: "ReduceOnly Order is rejected.",
    -2023: "User in liquidation mode now.",
    -2025: "Reach max open order limit.",
    -4001: "Price less than 0.",
    -4002: "Price greater than max price.",
    -4003: "Quantity less than or equal to zero.",
    -4004: "Quantity less than min quantity.",
    -4005: "Quantity greater than max quantity.",
    -4013: "Price less than min price.",
    -4014: "Price not increased by tick size.",
    -4015: "Client order id is not valid.",
    -4016: "Limit price can't be higher than {}.",
    -4023: "Quantity not increased by step size.",
    -4024: "Limit price can't be lower than {}.",
    -4028: "Leverage {} is not valid.",
    -4045: "Reach max stop order limit.",
    -4061: "Order's position side does not match user's setting.",
    -4116: "ClientOrderId is duplicated.",
    -4120: "Order type not supported for this endpoint. Please use the Algo Order API endpoints instead.",
    -4131: "The counterparty's best price does not meet the PERCENT_PRICE filter limit.",
    -4137: "Quantity must be zero with closePosition equals true.",
    -4142: "REJECT: take-profit or stop order will be triggered immediately.",
    -4164: "Order's notional must be no smaller than {} (unless you choose reduce only).",
    -5021: "Due to the order could not be filled immediately, the FOK order has been rejected. The order will not be "
    "recorded in the order history.",
    -5022: "Due to the order could not be executed as maker, the Post Only order will be rejected. The order will not "
    "be recorded in the order history.",
    -5025: "Only limit order is supported.",
    -5026: "Exceed maximum modify order limit.",
    -5027: "No need to modify the order.",
    -5028: "Timestamp for this request is outside of the ME recvWindow.",
    -5039: "Invalid self trade prevention mode.",
    -5040: "The goodTillDate timestamp must be greater than the current time plus 600 seconds and smaller than "
    "253402300799000.",
}
STATUS: dict[int, int] = {-1000: 503, -1001: 503, -1007: 408, -1008: 503, -1015: 429, -2014: 401, -2015: 401}


def refusal(code: int, *words: object, retry_after_s: float = 0.0) -> Refused:
    """A refusal with the venue's words for its code; `words` go into the gaps."""
    text = WORDS.get(code, "Simulated refusal.")
    return Refused(STATUS.get(code, 400), code, text.format(*words) if words else text, retry_after_s)
