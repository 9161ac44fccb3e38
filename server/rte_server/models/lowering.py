"""From the syntax tree of the official CEL engine to the kernel's instructions, with a judgement of types on the way.

What is outside the subset, and what could never have a value, is refused with a sentence that says what to write
instead. Source of the operators' names: cel-spec, proto/cel/expr/syntax.proto.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from rte_server.engine.expressions import CELLS_SUFFIX, Instruction, Op
from rte_server.engine.program import CUSTOMER_PREFIX, ELEMENT, ELEMENT_MEMBER
from rte_server.engine.url_parts import UrlPart
from rte_server.models.facts import FACT_FUNCTIONS
from rte_server.models.patterns import Budget, compile_pattern
from rte_server.models.problems import ExpressionError, did_you_mean
from rte_server.models.refusals import call_remedy, event_remedy, row_remedy, type_remedy
from rte_server.models.types import (
    BOOL,
    DOUBLE,
    ENTRIES,
    INT,
    LIST,
    NULL,
    NUMBER,
    PROPERTY,
    STRING,
    UNKNOWN,
    TypeSet,
    known_names,
    type_name,
)

_ARITHMETIC = {"_+_": Op.ADD, "_-_": Op.SUBTRACT, "_*_": Op.MULTIPLY, "_/_": Op.DIVIDE, "_%_": Op.REMAINDER}
_RELATIONS = {"_<_": Op.LESS, "_<=_": Op.LESS_EQUAL, "_>_": Op.GREATER, "_>=_": Op.GREATER_EQUAL}
_ON_CONSTANT_TEXT = {
    Op.LESS: Op.TEXT_LESS,
    Op.LESS_EQUAL: Op.TEXT_LESS_EQUAL,
    Op.GREATER: Op.TEXT_GREATER,
    Op.GREATER_EQUAL: Op.TEXT_GREATER_EQUAL,
}
_MIRRORED = {
    Op.LESS: Op.GREATER,
    Op.LESS_EQUAL: Op.GREATER_EQUAL,
    Op.GREATER: Op.LESS,
    Op.GREATER_EQUAL: Op.LESS_EQUAL,
}
_TEXT_PREDICATES = {"startsWith": Op.STARTS_WITH, "endsWith": Op.ENDS_WITH, "contains": Op.CONTAINS}

_LETTERS = {"lowerAscii": Op.LOWER, "upperAscii": Op.UPPER}
_EXTREMES = {"math.@max": Op.GREATEST, "math.@min": Op.LEAST}

URL_FUNCTIONS: dict[str, tuple[UrlPart, int]] = {
    "url.scheme": (UrlPart.SCHEME, 1),
    "url.host": (UrlPart.HOST, 1),
    "url.path": (UrlPart.PATH, 1),
    "url.query": (UrlPart.QUERY, 2),
    "url.fragment": (UrlPart.FRAGMENT, 1),
}
"""Functions on the address in a property: the part, and the number of arguments."""

_SUPPORTED_CALLS = (
    *("startsWith", "endsWith", "contains", "matches", "size", "int", "double", "has", "lowerAscii", "upperAscii"),
    *("math.greatest", "math.least", *URL_FUNCTIONS, *FACT_FUNCTIONS),
)
_NAMESPACES = ("url", "ua", "math")

Node = Any
"""A `cel.expr.Expr`; its generated class is not typed."""


class Lowering:
    """Turns one syntax tree into instructions.

    Attributes:
        code: The instructions so far.
        patterns: The patterns of `matches` so far.
    """

    def __init__(
        self,
        text: str,
        positions: Mapping[int, int],
        inputs: Mapping[str, TypeSet] | None,
        lists: frozenset[str] = frozenset(),
        *,
        each: bool = False,
    ) -> None:
        """Prepare.

        Args:
            text: The expression.
            positions: Offset in code points of each node of the tree, by its id.
            inputs: What an expression on a row may read; None for an expression on an event.
            lists: Names of the look-up lists that it may read.
            each: Whether it may read `item`, an element of a list.
        """
        self._each = each
        self.code: list[Instruction] = []
        self.patterns: list[str] = []
        self._budget = Budget()
        self._text = text
        self._positions = positions
        self._inputs = inputs
        self._lists = lists
        self._calls: dict[str, Callable[[Node], TypeSet]] = {
            "_&&_": self._logical,
            "_||_": self._logical,
            "!_": self._not,
            "-_": self._negate,
            "_==_": self._equality,
            "_!=_": self._equality,
            "_?_:_": self._choice,
            "@in": self._membership,
            "_[_]": self._index,
            "size": self._size,
            "int": self._cast,
            "double": self._cast,
            **dict.fromkeys(_ARITHMETIC, self._arithmetic),
            **dict.fromkeys(_RELATIONS, self._relation),
            **dict.fromkeys(_TEXT_PREDICATES, self._text_predicate),
            "matches": self._matches,
            **dict.fromkeys(_LETTERS, self._letters),
            **dict.fromkeys(_EXTREMES, self._extreme),
            **dict.fromkeys(URL_FUNCTIONS, self._url),
            **dict.fromkeys(FACT_FUNCTIONS, self._fact),
        }

    def lower(self, node: Node) -> TypeSet:
        """Append the instructions that push the value of `node`; return the types it can have.

        Raises:
            ExpressionError: It is outside the subset or can never have a value.
        """
        kind = node.WhichOneof("expr_kind")
        if kind == "const_expr":
            return self._constant(node)
        if kind in ("ident_expr", "select_expr"):
            return self._input(node)
        if kind == "call_expr":
            function = self._function(node)
            if function not in self._calls:
                self._refuse_call(node, function)
            return self._calls[function](node)
        if kind == "list_expr":
            self._refuse(node, "a list stands only after `in`", "write `x in ['a', 'b']`")
        if kind == "comprehension_expr":
            self._refuse(
                node,
                "`all`, `exists`, `exists_one`, `map` and `filter` are not part of the expressions here",
                "cases are written out, joined by `&&` or `||`",
            )
        self._refuse(node, "maps and messages are not part of the expressions here", "use single values")

    @staticmethod
    def _function(node: Node) -> str:
        """Return the name of a function, with its namespace, which in an unchecked tree is the call's target."""
        call = node.call_expr
        if call.target.WhichOneof("expr_kind") == "ident_expr" and call.target.ident_expr.name in _NAMESPACES:
            return f"{call.target.ident_expr.name}.{call.function}"
        return str(call.function)

    def _refuse(self, node: Node, message: str, remedy: str = "", *, name: str = "") -> NoReturn:
        anchor = node
        while anchor.WhichOneof("expr_kind") == "select_expr":
            anchor = anchor.select_expr.operand  # a dotted name is found where it begins, not at its last dot
        before = self._text[: self._positions.get(anchor.id, 0)]
        line = before.count("\n") + 1
        column = len(before) - (before.rfind("\n") + 1) + 1
        raise ExpressionError(message, remedy, line=line, column=column, name=name)

    def _refuse_call(self, node: Node, function: str) -> NoReturn:
        remedy = call_remedy(function, _SUPPORTED_CALLS)
        self._refuse(node, f"`{function}` is not part of the expressions here", remedy)

    def _emit(self, op: Op, *, number: float = 0, text: bytes | None = None, name: str | None = None) -> None:
        self.code.append(Instruction(op, number, text, name))

    def _constant(self, node: Node) -> TypeSet:
        constant = node.const_expr
        kind = constant.WhichOneof("constant_kind")
        if kind == "null_value":
            self._emit(Op.NULL)
            return NULL
        if kind == "bool_value":
            self._emit(Op.BOOL, number=int(constant.bool_value))
            return BOOL
        if kind == "int64_value":
            self._emit(Op.INT, number=constant.int64_value)
            return INT
        if kind == "double_value":
            self._emit(Op.DOUBLE, number=constant.double_value)
            return DOUBLE
        if kind == "string_value":
            self._emit(Op.TEXT, text=constant.string_value.encode())
            return STRING
        if kind == "uint64_value":
            self._refuse(node, "unsigned ints are not part of the expressions here", f"write `{constant.uint64_value}`")
        self._refuse(node, "bytes are not part of the expressions here", "write a string, without the b")

    def _input(self, node: Node) -> TypeSet:
        """Lower `event.price`, `has(event.price)`, `product_views`, `session.event_count`."""
        is_test = node.WhichOneof("expr_kind") == "select_expr" and node.select_expr.test_only
        name = self._dotted(node)
        if name.startswith("lists."):
            self._refuse(node, "a look-up list stands only after `in`", f"write `event.card in {name}`")
        if self._inputs is None:
            return self._property(node, name, is_test)
        if name not in self._inputs:
            if name.startswith("event."):
                self._refuse(node, "an expression on a session cannot read events", "make it an attribute first")
            if name.startswith("item."):
                remedy = "make it an attribute with `each: event.items` first"
                self._refuse(node, "an expression on a session cannot read elements of lists", remedy)
            known = known_names(self._inputs)
            remedy = row_remedy(
                name, [each for each in known if each.startswith("session.") == name.startswith("session.")]
            )
            if name.startswith(CUSTOMER_PREFIX):
                remedy = "what no model reads of a customer is not in the sessions; read it in a derived attribute"
            self._refuse(node, f"there is no attribute `{name}`", remedy)
        types = self._inputs[name]
        if types & ENTRIES and types != UNKNOWN:
            self._refuse(node, f"`{name}` is a list, which stands only after `in`", f"write `'a' in {name}`")
        if types & LIST:
            self._refuse(node, f"`{name}` is a list that expressions cannot read", self._instead_of(name))
        self._emit(Op.LOAD, name=name)
        return types

    def _property(self, node: Node, name: str, is_test: bool) -> TypeSet:
        first, _, rest = name.partition(".")
        if first == "item":
            return self._element(node, rest, is_test)
        if first != "event":
            self._refuse(node, f"there is no `{name}` on an event", event_remedy(name), name=name)
        if not rest:
            self._refuse(node, "`event` is not a value", "write `event.` and the name of a property")
        if "." in rest:
            self._refuse(
                node,
                f"`{name}` reaches into a property, and only properties that are plain values can be read",
                "send the value as a property of its own",
            )
        self._emit(Op.HAS if is_test else Op.LOAD, name=rest)
        return BOOL if is_test else PROPERTY

    def _element(self, node: Node, member: str, is_test: bool) -> TypeSet:
        """Lower `item.price`, `has(item.price)`, and `item` alone."""
        if not self._each:
            self._refuse(
                node, "`item` is an element of a list, and no list is named", "add `each: event.items` to the attribute"
            )
        if "." in member:
            self._refuse(node, f"`item.{member}` reaches into a member of the element", "only plain values can be read")
        self._emit(Op.HAS if is_test else Op.LOAD, name=ELEMENT_MEMBER + member if member else ELEMENT)
        return BOOL if is_test else PROPERTY

    def _dotted(self, node: Node) -> str:
        """Return `a.b.c` of a chain of names."""
        kind = node.WhichOneof("expr_kind")
        if kind == "ident_expr":
            return str(node.ident_expr.name).removeprefix(".")
        if kind == "select_expr":
            return f"{self._dotted(node.select_expr.operand)}.{node.select_expr.field}"
        self._refuse(node, "only names can stand before a dot", "read one property or attribute at a time")

    def _index(self, node: Node) -> TypeSet:
        """Lower `event["item-id"]`, for properties whose names are no CEL names."""
        container, key = node.call_expr.args
        of = container.ident_expr.name if container.WhichOneof("expr_kind") == "ident_expr" else ""
        is_text = key.const_expr.WhichOneof("constant_kind") == "string_value"
        if self._inputs is None and of in ("event", "item") and is_text:
            name = str(key.const_expr.string_value)
            if "\0" in name:
                self._refuse(node, "the name of a property has characters that are no text", "remove them")
            if of == "item" and not self._each:
                self._element(node, name, is_test=False)
            self._emit(Op.LOAD, name=ELEMENT_MEMBER + name if of == "item" else name)
            return PROPERTY
        self._refuse(node, "lists and maps cannot be indexed here", "only `event['name of a property']` is possible")

    def _logical(self, node: Node) -> TypeSet:
        for each in node.call_expr.args:
            self._require(each, self.lower(each), BOOL, f"a side of `{self._sign(node)}`")
        self._emit(Op.AND if node.call_expr.function == "_&&_" else Op.OR)
        return BOOL

    def _not(self, node: Node) -> TypeSet:
        (operand,) = node.call_expr.args
        self._require(operand, self.lower(operand), BOOL, "what follows `!`")
        self._emit(Op.NOT)
        return BOOL

    def _negate(self, node: Node) -> TypeSet:
        (operand,) = node.call_expr.args
        types = self.lower(operand)
        self._require(operand, types, NUMBER, "what follows `-`")
        self._emit(Op.NEGATE)
        return types & NUMBER

    def _require(self, node: Node, types: TypeSet, wanted: TypeSet, what: str) -> None:
        if not types & wanted:
            message = f"{what} must be {type_name(wanted)}, but it is {type_name(types)}"
            self._refuse(node, message, type_remedy(wanted, types))

    def _sign(self, node: Node) -> str:
        return str(node.call_expr.function).strip("_@")

    def _arithmetic(self, node: Node) -> TypeSet:
        left, right = node.call_expr.args
        types = self.lower(left), self.lower(right)
        op = _ARITHMETIC[node.call_expr.function]
        allowed = INT if op == Op.REMAINDER else NUMBER
        # What can be a number on both sides is added: strings are joined where one side can be nothing else.
        result = types[0] & types[1] & allowed
        if not result and op == Op.ADD and types[0] & types[1] & STRING:
            self._emit(Op.JOIN)
            return STRING
        if not result:
            self._refuse_arithmetic(node, types)
        is_int = right.const_expr.WhichOneof("constant_kind") == "int64_value"
        if op in (Op.DIVIDE, Op.REMAINDER) and is_int and not right.const_expr.int64_value:
            self._refuse(right, "an int divided by 0 never has a value", "divide by another number")
        self._emit(op)
        return result

    def _refuse_arithmetic(self, node: Node, types: tuple[TypeSet, TypeSet]) -> NoReturn:
        sign = self._sign(node)
        for operand, found in zip(node.call_expr.args, types, strict=True):
            if sign == "+" and found & STRING and not found & NUMBER:
                self._refuse(node, "a string can only be joined with a string", "keep them as two attributes")
            self._require(operand, found, NUMBER, f"a side of `{sign}`")
        if sign == "%":
            self._refuse(node, "`%` is for ints only", "write `int(...)` around both sides")
        # What is left is an int beside a double.
        for operand, found in zip(node.call_expr.args, types, strict=True):
            if found & INT:
                is_literal = operand.WhichOneof("expr_kind") == "const_expr"
                better = f"{operand.const_expr.int64_value}.0" if is_literal else f"double({self._shown(operand)})"
                self._refuse(node, f"`{sign}` does not mix an int and a double", f"write `{better}`")
        raise AssertionError(types)

    def _shown(self, node: Node) -> str:
        """Return a node's text if it is a name, else dots."""
        kind = node.WhichOneof("expr_kind")
        return self._dotted(node) if kind in ("ident_expr", "select_expr") else "..."

    def _relation(self, node: Node) -> TypeSet:
        left, right = node.call_expr.args
        op = _RELATIONS[node.call_expr.function]
        constants = [self._constant_text(each) for each in (left, right)]
        if constants[0] is not None and constants[1] is not None:
            self._refuse(node, "both sides are constants", "compare an attribute or a property")
        for constant, other, direction in ((constants[1], left, op), (constants[0], right, _MIRRORED[op])):
            if constant is not None:
                self._require(other, self.lower(other), STRING, f"what `{self._sign(node)}` compares with a string")
                self._require_stored_text(other)
                self._emit(_ON_CONSTANT_TEXT[direction], text=constant)
                return BOOL
        types = self.lower(left), self.lower(right)
        both = types[0] & types[1]
        numbers = types[0] & NUMBER and types[1] & NUMBER
        if not numbers and not both & (BOOL | STRING):
            self._refuse(
                node,
                f"`{self._sign(node)}` cannot compare {type_name(types[0])} with {type_name(types[1])}",
                "compare values of one type",
            )
        if both & STRING:
            self._require_stored_text(left)
            self._require_stored_text(right)
        self._emit(op)
        return BOOL

    @staticmethod
    def _constant_text(node: Node) -> bytes | None:
        if (
            node.WhichOneof("expr_kind") == "const_expr"
            and node.const_expr.WhichOneof("constant_kind") == "string_value"
        ):
            return str(node.const_expr.string_value).encode()
        return None

    def _require_stored_text(self, node: Node) -> None:
        """Refuse constant strings where the kernel needs bytes: it finds those of inputs only."""
        if self._constant_text(node) is not None:
            self._refuse(node, "this is a constant already", "use an attribute or a property here")
        if node.WhichOneof("expr_kind") == "call_expr" and node.call_expr.function == "_?_:_":
            self._require_stored_text(node.call_expr.args[1])
            self._require_stored_text(node.call_expr.args[2])

    def _equality(self, node: Node) -> TypeSet:
        left, right = node.call_expr.args
        types = self.lower(left), self.lower(right)
        self._require_comparable(node, *types)
        self._emit(Op.EQUAL if node.call_expr.function == "_==_" else Op.NOT_EQUAL)
        return BOOL

    def _require_comparable(self, node: Node, left: TypeSet, right: TypeSet) -> None:
        """Refuse values that can never be equal. Comparing with null asks whether there is a value: that is fine."""
        if NULL in (left, right) or left & right & ~NULL or (left & NUMBER and right & NUMBER):
            return
        self._refuse(node, f"{type_name(left)} and {type_name(right)} are never equal", "compare values of one type")

    def _choice(self, node: Node) -> TypeSet:
        condition, left, right = node.call_expr.args
        self._require(condition, self.lower(condition), BOOL, "the condition before `?`")
        types = self.lower(left), self.lower(right)
        self._emit(Op.SELECT)
        plain = [each & ~NULL for each in types]
        if all(plain) and not plain[0] & plain[1]:
            remedy = "write `2.0` for `2`, or `double(...)`"
            if not all(each & NUMBER for each in plain):
                remedy = "give both choices one type"
            self._refuse(node, f"the choices are {type_name(types[0])} and {type_name(types[1])}", remedy)
        return types[0] | types[1]

    def _membership(self, node: Node) -> TypeSet:
        """Lower `x in ['a', 'b']`, `x in lists.name`, and on rows `x in viewed_products`."""
        value, container = node.call_expr.args
        kind = container.WhichOneof("expr_kind")
        if kind in ("ident_expr", "select_expr") and self._dotted(container).partition(".")[0] == "lists":
            return self._look_up(value, container)
        if kind in ("ident_expr", "select_expr") and (self._inputs or {}).get(self._dotted(container), 0) & ENTRIES:
            self.lower(value)
            self._emit(Op.IN_CELLS, name=self._dotted(container) + CELLS_SUFFIX)
            return BOOL
        if kind in ("ident_expr", "select_expr"):
            self._refuse_container(container)
        if kind != "list_expr":
            remedy = "write `x in ['a', 'b']` or `x in lists.name`"
            self._refuse(container, "what follows `in` must be a list in brackets or a look-up list", remedy)
        wanted = self.lower(value)
        self._emit(Op.IN_START)
        for item in container.list_expr.elements:
            self._require_comparable(item, wanted, self.lower(item))
            self._emit(Op.IN_ITEM)
        self._emit(Op.IN_END)
        return BOOL

    def _refuse_container(self, node: Node) -> NoReturn:
        """Refuse a property or an input of the row that `in` cannot look into."""
        name = self._dotted(node)
        if self._inputs is None:
            remedy = f"let each element count: `each: {name}, where: item == 'x'`"
            self._refuse(node, f"`in` cannot look into `{name}`, a property of the event", remedy)
        types = self._input(node)  # Refuses what is no attribute, and other lists.
        remedy = f"write `{name} == 'x'`, or `{name}.contains('x')` for a part of a text"
        self._refuse(node, f"`{name}` is {type_name(types)}, and `in` looks into lists", remedy)

    def _instead_of(self, name: str) -> str:
        """Return what to read instead of a list whose elements are no plain values: one of its parts."""
        parts = [f"`{each}`" for each in sorted(self._inputs or {}) if each.startswith(f"{name}.")]
        beside = "for membership keep the values in a `set` beside it"
        return f"read {', '.join(parts)}; {beside}" if parts else beside

    def _look_up(self, value: Node, container: Node) -> TypeSet:
        """Lower `x in lists.stolen_cards`."""
        name = self._dotted(container).partition(".")[2]
        if name not in self._lists:
            remedy = did_you_mean(name, self._lists) or "write `lists:` and the list into the model"
            self._refuse(container, f"there is no list `{name}`", remedy)
        self._require(value, self.lower(value), STRING, "what is looked up in a list")
        self._emit(Op.IN_LIST, text=name.encode())
        return BOOL

    def _url(self, node: Node) -> TypeSet:
        """Lower `url.host(event.page_location)`, `url.query(event.page_location, 'utm_source')`."""
        function = self._function(node)
        part, count = URL_FUNCTIONS[function]
        example = f"write `{function}(event.page_location{', ' + repr('utm_source') if count == 2 else ''})`"
        args = node.call_expr.args
        if len(args) != count:
            self._refuse(node, f"`{function}` takes {count} argument{'s' if count > 1 else ''}", example)
        parameter = self._constant_text(args[1]) if count == 2 else b""
        if not parameter and count == 2:
            self._refuse(args[1], f"`{function}` takes the name of the parameter as a constant text", example)
        self._emit(Op.URL, number=part, text=parameter, name=self._property_name(args[0], function, example))
        return STRING | NULL

    def _fact(self, node: Node) -> TypeSet:
        """Lower `ua.browser(event.user_agent)`."""
        function = self._function(node)
        example = f"write `{function}(event.user_agent)`"
        args = node.call_expr.args
        if len(args) != 1:
            self._refuse(node, f"`{function}` takes 1 argument", example)
        name = self._property_name(args[0], function, example)
        if name.startswith(ELEMENT):
            self._refuse(node, f"`{function}` does not look at elements of lists", example)
        self._emit(Op.FACT, text=function.encode(), name=name)
        return FACT_FUNCTIONS[function]

    def _property_name(self, node: Node, function: str, example: str) -> str:
        """Return the name of the property that a node is; refuse anything else."""
        if self._inputs is not None:
            self._refuse(node, f"`{function}` is for properties of events", "make it an attribute, as in `last: ...`")
        before = len(self.code)
        is_property = node.WhichOneof("expr_kind") in ("select_expr", "call_expr") and self.lower(node) == PROPERTY
        step = self.code[before] if len(self.code) == before + 1 else None
        if not is_property or step is None or step.op != Op.LOAD or step.name is None:
            self._refuse(node, f"`{function}` takes a property of the event", example)
        del self.code[before:]
        return step.name

    def _letters(self, node: Node) -> TypeSet:
        function = node.call_expr.function
        if not node.call_expr.HasField("target") or node.call_expr.args:
            self._refuse(node, f"`{function}` is not used this way", f"write `x.{function}()`")
        target = node.call_expr.target
        self._require(target, self.lower(target), STRING, f"what stands before `.{function}`")
        self._emit(_LETTERS[function])
        return STRING

    def _extreme(self, node: Node) -> TypeSet:
        """Lower `math.greatest(a, b, ...)`: of the values so far and the next one, from left to right."""
        op = _EXTREMES[node.call_expr.function]
        name = "math.greatest" if op == Op.GREATEST else "math.least"
        args = list(node.call_expr.args)
        if len(args) == 1 and args[0].WhichOneof("expr_kind") == "list_expr":
            args = list(args[0].list_expr.elements)
        if len(args) < 2:
            self._refuse(node, f"`{name}` takes two or more numbers", f"write `{name}(a, b)`")
        types: TypeSet = 0
        for place, each in enumerate(args):
            found = self.lower(each)
            self._require(each, found, NUMBER, f"what `{name}` compares")
            types |= found & NUMBER
            if place:
                self._emit(op)
        return types

    def _text_predicate(self, node: Node) -> TypeSet:
        function = node.call_expr.function
        if not node.call_expr.HasField("target") or len(node.call_expr.args) != 1:
            self._refuse(node, f"`{function}` is not used this way", f"write `x.{function}('text')`")
        target = node.call_expr.target
        text = self._constant_text(node.call_expr.args[0])
        if text is None:
            self._refuse(node.call_expr.args[0], f"`{function}` takes a constant text", f"write `x.{function}('text')`")
        self._require(target, self.lower(target), STRING, f"what stands before `.{function}`")
        self._require_stored_text(target)
        self._emit(_TEXT_PREDICATES[function], text=text)
        return BOOL

    def _matches(self, node: Node) -> TypeSet:
        """Lower `x.matches('^/checkout')`, which may also be written `matches(x, '...')`."""
        operands = [*([node.call_expr.target] if node.call_expr.HasField("target") else []), *node.call_expr.args]
        pattern = self._constant_text(operands[1]) if len(operands) == 2 else None
        if pattern is None:
            self._refuse(node, "`matches` takes a constant pattern", "write `x.matches('^/checkout')`")
        self._require(operands[0], self.lower(operands[0]), STRING, "what stands before `.matches`")
        self._require_stored_text(operands[0])
        try:
            automaton = compile_pattern(pattern.decode(), self._budget)
        except ExpressionError as error:
            self._refuse(operands[1], error.message, error.remedy)
        self.patterns.append(pattern.decode())
        self._emit(Op.MATCHES, text=automaton)
        return BOOL

    def _size(self, node: Node) -> TypeSet:
        operands = [*([node.call_expr.target] if node.call_expr.HasField("target") else []), *node.call_expr.args]
        if len(operands) != 1:
            self._refuse(node, "`size` takes one string", "write `size(x)`")
        self._require(operands[0], self.lower(operands[0]), STRING, "what `size` measures")
        self._require_stored_text(operands[0])
        self._emit(Op.SIZE)
        return INT

    def _cast(self, node: Node) -> TypeSet:
        function = node.call_expr.function
        if node.call_expr.HasField("target") or len(node.call_expr.args) != 1:
            self._refuse(node, f"`{function}` takes one value", f"write `{function}(x)`")
        (operand,) = node.call_expr.args
        types = self.lower(operand)
        if function == "int":
            self._require(operand, types, NUMBER | BOOL, "what `int` converts")
            self._emit(Op.TO_INT)
            return INT
        self._require(operand, types, NUMBER, "what `double` converts")
        self._emit(Op.TO_DOUBLE)
        return DOUBLE
