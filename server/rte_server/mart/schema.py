"""The schema of a data mart, as it is now: which tables hold customers, with which columns, and how they are asked.

The schema is open. What is not said in the configuration is found by reflection: every table and view with the key column.
A table whose key column is unique gives one attribute per column, any other one a bounded list of its rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine.interfaces import ReflectedColumn
from sqlalchemy.engine.reflection import Inspector, ObjectKind

from rte_server.config import MartSettings, MartSource

OWN_PREFIX = "rte_"
"""Tables of RTE's own begin with it; they are no sources."""

RANK_COLUMN = "rank"
"""A list is ordered by the column of this name, if it says nothing else."""

KEY_LABEL = "rte_key"
ROW_LABEL = "rte_row"
KEYS_PARAMETER = "rte_keys"

NO_ROW = sa.text("1 = 0")
"""A condition that no row fulfils, and that every database understands: some have no booleans."""


class SchemaError(Exception):
    """A configured source cannot be used; the message says which and why."""


@dataclass(frozen=True, slots=True)
class SourceColumn:
    """A column that becomes an attribute.

    Attributes:
        column: Its name in the data mart.
        name: The attribute's name, or the member's in a list.
        is_json: Whether it holds JSON.
    """

    column: str
    name: str
    is_json: bool


@dataclass(frozen=True, slots=True)
class Source:
    """A table, view or query that holds customers.

    Attributes:
        name: What answers call it.
        columns: What is read of it, in the order of the statement.
        all_columns: The names of all its columns, by which a change of the schema is noticed.
        items_max: Rows of a list, or 0: one row per customer.
        key_type: The Python type of the key column.
        key_column: Its key column.
        updated_at: Its column with the time of a row's last change, or empty.
        statement: Reads the rows of the customers in the parameter KEYS_PARAMETER: the key, then `columns`, then
            `updated_at`, if there is one.
        probe: Reads no row of all columns.
        table: What it selects from.
    """

    name: str
    columns: tuple[SourceColumn, ...]
    all_columns: tuple[str, ...]
    items_max: int
    key_type: type
    key_column: str
    updated_at: str
    statement: sa.Select[Any] = field(compare=False)
    probe: sa.Select[Any] = field(compare=False)
    table: sa.FromClause = field(compare=False)


@dataclass(frozen=True, slots=True)
class MartSchema:
    """All sources, in the order of precedence.

    Attributes:
        sources: The sources.
        tables: Names of all tables and views that there are, by which a new one is noticed; empty if the
            configuration names the sources.
        own_tables: Names of RTE's own tables that there are.
    """

    sources: tuple[Source, ...]
    tables: frozenset[str]
    own_tables: frozenset[str]


def reflect(connection: sa.Connection, settings: MartSettings) -> MartSchema:
    """Return the schema as it is now.

    Raises:
        SchemaError: A configured source, or its key column, is not there.
        sqlalchemy.exc.SQLAlchemyError: The data mart does not answer.
    """
    inspector = sa.inspect(connection)
    names = frozenset(inspector.get_table_names(settings.schema or None))
    own = frozenset(name.lower() for name in names if name.lower().startswith(OWN_PREFIX))
    if settings.sources:
        given = [_configured(connection, inspector, source, settings) for source in settings.sources]
        return MartSchema(tuple(given), frozenset(), own)
    names |= frozenset(inspector.get_view_names(settings.schema or None))
    return MartSchema(tuple(_found(inspector, settings)), names, own)


def table_names(connection: sa.Connection, settings: MartSettings) -> frozenset[str]:
    """Return the names of all tables and views that sources may be among."""
    inspector = sa.inspect(connection)
    schema = settings.schema or None
    return frozenset(inspector.get_table_names(schema)) | frozenset(inspector.get_view_names(schema))


def key_of(customer_id: str, key_type: type) -> object | None:
    """Return a customer's id as a value of a key column, or None if it cannot be one."""
    if key_type is not int:
        return customer_id
    # Only the one way in which a number is written, so that "007" is not the customer 7.
    digits = customer_id.removeprefix("-")
    is_number = digits.isascii() and digits.isdigit() and len(digits) <= 18 and str(int(customer_id)) == customer_id
    return int(customer_id) if is_number else None


def customer_id_of(key: object) -> str:
    """Return the value of a key column as a customer's id; the padding of CHAR columns is no part of it."""
    return key.rstrip() if isinstance(key, str) else str(key)


def _found(inspector: Inspector, settings: MartSettings) -> Iterable[Source]:
    """Yield every table and view with the key column: first those with one row per customer, each by name."""
    schema = settings.schema or None
    columns = inspector.get_multi_columns(schema=schema, kind=ObjectKind.ANY)
    usable = {
        name: found
        for (_, name), found in columns.items()
        if not name.lower().startswith(OWN_PREFIX) and _column_named(found, settings.key_column)
    }
    lists = {name for name in usable if not _is_unique(inspector, name, schema, settings.key_column)}
    for name in sorted(usable, key=lambda name: (name in lists, name)):
        source = MartSource(table=name, items_max=settings.items_max if name in lists else 0)
        primary = _primary_key(inspector, name, schema) if name in lists else []
        table = sa.table(name, *stored_columns(inspector, usable[name]), schema=schema)
        yield source_of(source, name, table, settings, primary)


def _configured(connection: sa.Connection, inspector: Inspector, source: MartSource, settings: MartSettings) -> Source:
    if source.query:
        described = connection.execute(sa.select(sa.text("*")).select_from(_subquery(source)).where(NO_ROW))
        table = _subquery(source, described.keys())
        return source_of(source, source.name, table, settings, [])
    schema, _, name = source.table.rpartition(".")
    in_schema = schema or settings.schema or None
    try:
        columns = inspector.get_columns(name, in_schema)
    except sa.exc.NoSuchTableError:
        raise SchemaError(f"the data mart has no table or view {source.table}") from None
    primary = _primary_key(inspector, name, in_schema) if source.items_max else []
    table = sa.table(name, *stored_columns(inspector, columns), schema=in_schema)
    return source_of(source, source.name or name, table, settings, primary)


def _subquery(source: MartSource, columns: Iterable[str] = ()) -> sa.FromClause:
    return sa.text(source.query).columns(*(sa.column(name) for name in columns)).subquery(source.name)


def _primary_key(inspector: Inspector, name: str, schema: str | None) -> Sequence[str]:
    try:
        return inspector.get_pk_constraint(name, schema)["constrained_columns"]
    except sa.exc.NoSuchTableError:  # A view.
        return []


def _is_unique(inspector: Inspector, name: str, schema: str | None, key: str) -> bool:
    """Return whether a table can have only one row per customer. Of a view nobody can say; it is taken as a list."""
    try:
        unique: list[Sequence[str | None]] = [inspector.get_pk_constraint(name, schema)["constrained_columns"]]
        unique += [each["column_names"] for each in inspector.get_unique_constraints(name, schema)]
        unique += [each["column_names"] for each in inspector.get_indexes(name, schema) if each["unique"]]
    except sa.exc.NoSuchTableError:
        return False
    return any(len(columns) == 1 and (columns[0] or "").lower() == key.lower() for columns in unique)


def _column_named(columns: Iterable[ReflectedColumn], wanted: str) -> str:
    return next((each["name"] for each in columns if each["name"].lower() == wanted.lower()), "")


def stored_columns(inspector: Inspector, columns: Iterable[ReflectedColumn]) -> list[sa.ColumnClause[Any]]:
    """Return columns with the types by which they are read."""
    is_sqlite = inspector.dialect.name == "sqlite"
    return [sa.column(each["name"], _as_stored(each["type"]) if is_sqlite else each["type"]) for each in columns]


def _as_stored(kind: sa.types.TypeEngine[Any]) -> sa.types.TypeEngine[Any]:
    """Return the type by which a column of SQLite is read: a decimal of no stated scale as the number that it stores."""
    is_number = isinstance(kind, sa.Numeric) and not isinstance(kind, sa.Float)
    return sa.types.NullType() if is_number and kind.scale is None else kind  # type: ignore[attr-defined]


def source_of(
    source: MartSource, name: str, table: sa.FromClause, settings: MartSettings, primary: Sequence[str]
) -> Source:
    """Return how a table is asked.

    Args:
        source: What is configured of it.
        name: What answers call it.
        table: The table, view or subquery with its columns.
        settings: Of the data mart.
        primary: The columns of its primary key, by which a list is ordered if nothing else says how.

    Raises:
        SchemaError: It has no column of a name that is configured.
    """
    by_name = {each.name.lower(): each for each in table.columns}

    def column(wanted: str, what: str) -> Any:
        found = by_name.get(wanted.lower())
        if found is None:
            raise SchemaError(f"{name} has no column {wanted}, its {what}; it has {', '.join(by_name)}")
        return found

    key = column(source.key or settings.key_column, "key")
    updated = source.updated_at or settings.updated_at_column
    updated_at = column(updated, "updated_at") if source.updated_at else by_name.get(updated.lower())
    read = []
    for each in source.columns or [found.name for found in table.columns if found is not key]:
        wanted, _, renamed = each.partition(" as ")
        found = column(wanted.strip(), "column")
        shown = renamed.strip() or found.name.lower()
        read.append((found, SourceColumn(found.name, shown, isinstance(found.type, sa.JSON))))
    selected = [key.label(KEY_LABEL), *(found for found, _ in read)]
    if updated_at is not None:
        selected.append(updated_at.label("rte_updated_at"))
    asked = key.in_(sa.bindparam(KEYS_PARAMETER, expanding=True))
    order = _order(source, table, column, primary) if source.items_max else []
    statement = sa.select(*selected).where(asked)
    if source.items_max:
        statement = _first_rows(selected, asked, key, order, source.items_max)
    return Source(
        name,
        tuple(each for _, each in read),
        tuple(each.name for each in table.columns),
        source.items_max,
        _key_type(key),
        key.name,
        updated_at.name if updated_at is not None else "",
        statement,
        sa.select(sa.text("*")).select_from(table).where(NO_ROW),
        table,
    )


def _first_rows(selected: Sequence[Any], asked: Any, key: Any, order: Sequence[Any], items_max: int) -> sa.Select[Any]:
    """Return the statement for the first rows of each customer."""
    row = sa.func.row_number().over(partition_by=key, order_by=list(order)).label(ROW_LABEL)
    names = [f"rte_{place}" for place in range(len(selected))]
    labelled = [each.label(name) for each, name in zip(selected, names, strict=True)]
    ranked = sa.select(*labelled, row).where(asked).subquery("rte_ranked")
    wanted = [ranked.c[name] for name in names]
    return sa.select(*wanted).where(ranked.c[ROW_LABEL] <= items_max).order_by(wanted[0], ranked.c[ROW_LABEL])


def _order(source: MartSource, table: sa.FromClause, column: Any, primary: Sequence[str]) -> list[Any]:
    """Return by what the rows of a list are ordered: what is said, else its rank, else newest first, else the latest key."""
    # Rows that are equal otherwise are in an order, too, so that the same rows are always the first ones.
    last = [column(name, "primary key").desc() for name in primary]
    if source.order_by:
        wanted, _, direction = source.order_by.strip().partition(" ")
        found = column(wanted, "order_by")
        return [found.desc() if direction.strip().lower() == "desc" else found, *last]
    ranked = [each for each in table.columns if each.name.lower() == RANK_COLUMN]
    if ranked:
        return [ranked[0]]
    times = [each for each in table.columns if isinstance(each.type, sa.DateTime | sa.Date)]
    return [*(each.desc() for each in times[:1]), *last] or [each.desc() for each in list(table.columns)[:1]]


def _key_type(key: Any) -> type:
    """Return `int` for a column of whole numbers, else `str`."""
    return int if isinstance(key.type, sa.Integer) else str
