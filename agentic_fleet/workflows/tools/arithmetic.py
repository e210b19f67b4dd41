"""The built-in tool `calculate`: arithmetic, and nothing but arithmetic, on what a model wrote down.

The text is parsed as a Python expression and walked; it is never run as code. Bounds on its length and on the size
of whole numbers keep the cost of the worst expression below a millisecond or so.
"""

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

from agentic_fleet.workflows.tools.spec import ToolFailed

MAX_LENGTH = 300  # characters; also bounds how deep the walk can go
MAX_BITS = 4096  # of a whole number: 1,233 digits
MAX_DIGITS = 300  # to round to, before and after the point: more would mean a power of ten without bound

Number = int | float

_OPERATORS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_SIGNS: Mapping[type[ast.unaryop], Callable[[Any], Any]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}
_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "sqrt": math.sqrt,
    "round": lambda number, digits=0: _rounded(number, digits),
    "abs": abs,
    "min": min,
    "max": max,
    "sum": lambda *values: sum(values),
    "log": math.log,
    "exp": math.exp,
    "sin": math.sin,
    "cos": math.cos,
}
_CONSTANTS: Mapping[str, Number] = {"pi": math.pi, "e": math.e}


async def calculate(expression: str) -> str:
    """Work out an arithmetic expression, such as "sqrt(2) * 3 ** 2".

    Knows + - * / // % **, sqrt, round, abs, min, max, sum, log, exp, sin, cos (radians), pi and e.
    """
    if len(expression) > MAX_LENGTH:
        raise ToolFailed(f"The expression is longer than {MAX_LENGTH} characters.")
    try:
        return str(_value(ast.parse(expression.strip(), mode="eval").body))
    except ZeroDivisionError:
        raise ToolFailed("That would divide by zero.") from None
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise ToolFailed(f"This is not an arithmetic expression that can be worked out: {error}.") from None
    except OverflowError:
        raise ToolFailed("The numbers become too large.") from None


def _value(node: ast.expr) -> Number:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return _bounded(number)
        case ast.Name(id=name) if name in _CONSTANTS:
            return _CONSTANTS[name]
        case ast.UnaryOp(op=sign, operand=operand) if type(sign) in _SIGNS:
            return _bounded(_SIGNS[type(sign)](_value(operand)))
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _power(_value(left), _value(right))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _bounded(_OPERATORS[type(op)](_value(left), _value(right)))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _FUNCTIONS:
            return _bounded(_FUNCTIONS[name](*_values(arguments)))
        case ast.BinOp(op=ast.BitXor()):
            raise ToolFailed("Write ** for a power, not ^.")
    raise ToolFailed(f"Only numbers and arithmetic are allowed, not {ast.unparse(node)!r}.")


def _values(arguments: list[ast.expr]) -> list[Number]:
    """The arguments of a function; one list stands for its items, as in max([1, 2])."""
    match arguments:
        case [ast.List(elts=items) | ast.Tuple(elts=items)]:
            return [_value(item) for item in items]
    return [_value(argument) for argument in arguments]


def _power(left: Number, right: Number) -> Number:
    if isinstance(left, int) and isinstance(right, int) and right > 0 and left.bit_length() * right > 2 * MAX_BITS:
        raise OverflowError
    return _bounded(left**right)


def _rounded(number: Number, digits: Number) -> Number:
    if abs(digits) > MAX_DIGITS:
        raise OverflowError
    return round(number, int(digits)) if digits else round(number)


def _bounded(number: Any) -> Number:
    if isinstance(number, complex):
        raise ToolFailed("The result is not a real number.")
    if number.bit_length() > MAX_BITS if isinstance(number, int) else not math.isfinite(number):
        raise OverflowError
    return number if isinstance(number, int) else float(number)
