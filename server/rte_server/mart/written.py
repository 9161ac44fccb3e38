"""RTE's own tables in a data mart: what the back office writes about customers, who wrote it, and which customers changed.

Nothing else of the data mart is ever changed. Times are milliseconds since 1970, values JSON texts, so that the tables look
the same in every database. Programs may write into them by SQL as well as by `CustomerService`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

import sqlalchemy as sa

from rte_server.mart.database import Attributes
from rte_server.mart.values import Attribute, Plain, ValueType, from_json_text

CHANGE_TABLE = "rte_customer_change"
ID_CHARS = 128

METADATA = sa.MetaData()

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # SQLite numbers only an INTEGER key by itself.

CHANGES = sa.Table(
    CHANGE_TABLE,
    METADATA,
    sa.Column("change_id", _NUMBER, sa.Identity(), primary_key=True),
    sa.Column("customer_id", sa.String(ID_CHARS), nullable=False),
    sqlite_autoincrement=True,
)
"""The outbox: one row per change of a customer, written by triggers in the transaction of the change itself."""

VERSIONS = sa.Table(
    "rte_customer_version",
    METADATA,
    sa.Column("customer_id", sa.String(ID_CHARS), primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
)

ATTRIBUTES = sa.Table(
    "rte_customer_attribute",
    METADATA,
    sa.Column("customer_id", sa.String(ID_CHARS), primary_key=True),
    sa.Column("name", sa.String(ID_CHARS), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
    sa.Column("source", sa.String(256)),
    sa.Column("written_ms", sa.BigInteger),
    sa.Column("expire_ms", sa.BigInteger),
)

AUDIT = sa.Table(
    "rte_customer_audit",
    METADATA,
    sa.Column("audit_id", _NUMBER, sa.Identity(), primary_key=True),
    sa.Column("customer_id", sa.String(ID_CHARS), nullable=False, index=True),
    sa.Column("written_ms", sa.BigInteger, nullable=False),
    sa.Column("author", sa.String(256)),
    sa.Column("why", sa.String(1024)),
    sa.Column("change_text", sa.Text, nullable=False),
    sqlite_autoincrement=True,
)


_IDS: sa.BindParameter[list[str]] = sa.bindparam("ids", expanding=True)
VERSIONS_STATEMENT = sa.select(VERSIONS.c.customer_id, VERSIONS.c.version).where(VERSIONS.c.customer_id.in_(_IDS))
ATTRIBUTES_STATEMENT = sa.select(*ATTRIBUTES.c).where(
    ATTRIBUTES.c.customer_id.in_(_IDS),
    sa.or_(ATTRIBUTES.c.expire_ms.is_(None), ATTRIBUTES.c.expire_ms > sa.bindparam("now_ms")),
)


class VersionMismatch(Exception):
    """The customer has been written to since the version that a write was based on."""


@dataclass(frozen=True, slots=True)
class WrittenValue:
    """A value to write.

    Attributes:
        value: None removes the attribute.
        expire_ms: Until when it holds, milliseconds since 1970; 0: for good.
    """

    value: Plain
    expire_ms: int = 0


@dataclass(frozen=True, slots=True)
class CustomerWrite:
    """What the back office wants to write.

    Attributes:
        customer_id: About whom.
        values: By attribute.
        source: Where it comes from, as the writer says.
        author: Who.
        why: Why.
        version: Write only if the version is this one; None: in any case.
        now_ms: The server's time, milliseconds since 1970.
    """

    customer_id: str
    values: Mapping[str, WrittenValue]
    source: str
    author: str
    why: str
    version: int | None
    now_ms: int


def create_own_tables(connection: sa.Connection) -> None:
    """Make RTE's own tables, those that there are not, with their triggers."""
    METADATA.create_all(connection)
    for statement in change_feed_statements(connection.dialect.name):
        connection.exec_driver_sql(statement)


def script(name: str) -> str:
    """Return the text of a SQL script that is shipped, such as `postgresql_change_feed.sql`."""
    return (resources.files("rte_server.mart") / "sql" / name).read_text(encoding="utf-8")


def change_feed_statements(dialect: str) -> tuple[str, ...]:
    """Return what lets a database write the changes of RTE's own tables into the outbox; none where it is polled.

    All may have been done before: two servers may share a data mart.
    """
    own = (ATTRIBUTES.name, VERSIONS.name)
    if dialect == "sqlite":
        return tuple(statement for name in own for statement in sqlite_triggers(name, "customer_id"))
    if dialect == "postgresql":
        watched = (f"SELECT rte_watch_table('{name}', 'customer_id')" for name in own)
        return (*script("postgresql_change_feed.sql").split(";\n\n"), *watched)
    return ()


def read_written(
    connection: sa.Connection, customer_ids: Sequence[str], now_ms: int
) -> dict[str, tuple[int, Attributes]]:
    """Return version and written attributes of customers, of those that were written to; expired ones are left out."""
    ids = {"ids": list(customer_ids)}
    found: dict[str, tuple[int, Attributes]] = {
        customer_id: (int(version), {}) for customer_id, version in connection.execute(VERSIONS_STATEMENT, ids)
    }
    # Rows that others wrote by SQL may have no version.
    for customer_id, name, text, source, written_ms, expire_ms in connection.execute(
        ATTRIBUTES_STATEMENT, ids | {"now_ms": now_ms}
    ):
        value = from_json_text(text)
        attribute = Attribute(value, _type_of(value), source or "", "", int(written_ms or 0), int(expire_ms or 0))
        if value is not None:
            found.setdefault(customer_id, (0, {}))[1][name] = attribute
    return found


def has_written(connection: sa.Connection) -> bool:
    """Return whether anything has ever been written about a customer."""
    return any(
        connection.execute(sa.select(table.c.customer_id).limit(1)).first() is not None
        for table in (VERSIONS, ATTRIBUTES)
    )


def write(connection: sa.Connection, order: CustomerWrite) -> int:
    """Write attributes of a customer in the transaction of the connection, and return the new version.

    Raises:
        VersionMismatch: `order.version` is not the present one, or another writer came in between.
    """
    this = VERSIONS.c.customer_id == order.customer_id
    found = connection.execute(sa.select(VERSIONS.c.version).where(this)).first()
    version = 0 if found is None else int(found[0])
    if order.version is not None and order.version != version:
        raise VersionMismatch
    if found is None:
        try:
            connection.execute(VERSIONS.insert().values(customer_id=order.customer_id, version=1))
        except sa.exc.IntegrityError:
            raise VersionMismatch from None
    else:
        changed = VERSIONS.update().where(this, VERSIONS.c.version == version).values(version=version + 1)
        if connection.execute(changed).rowcount != 1:
            raise VersionMismatch
    names = list(order.values)
    connection.execute(
        ATTRIBUTES.delete().where(ATTRIBUTES.c.customer_id == order.customer_id, ATTRIBUTES.c.name.in_(names))
    )
    rows = [
        {
            "customer_id": order.customer_id,
            "name": name,
            "value": json.dumps(each.value, ensure_ascii=False),
            "source": order.source or None,
            "written_ms": order.now_ms,
            "expire_ms": each.expire_ms or None,
        }
        for name, each in order.values.items()
        if each.value is not None
    ]
    if rows:
        connection.execute(ATTRIBUTES.insert(), rows)
    change = {name: {"value": each.value, "expire_ms": each.expire_ms} for name, each in order.values.items()}
    connection.execute(
        AUDIT.insert().values(
            customer_id=order.customer_id,
            written_ms=order.now_ms,
            author=order.author or None,
            why=order.why or None,
            change_text=json.dumps({"source": order.source, "attributes": change}, ensure_ascii=False),
        )
    )
    return version + 1


def row_count(connection: sa.Connection, customer_id: str) -> int:
    """Return how many rows of a customer are in RTE's own tables, but for the outbox."""
    count = sa.func.count()
    return sum(
        int(connection.execute(sa.select(count).where(table.c.customer_id == customer_id)).scalar_one())
        for table in (ATTRIBUTES, VERSIONS, AUDIT)
    )


def erase(connection: sa.Connection, customer_id: str) -> int:
    """Delete all rows of a customer from RTE's own tables, the audit included; return how many."""
    count = 0
    for table in (ATTRIBUTES, VERSIONS, AUDIT):
        count += connection.execute(table.delete().where(table.c.customer_id == customer_id)).rowcount
    # Last, since deleting the others makes triggers write it once more.
    connection.execute(CHANGES.delete().where(CHANGES.c.customer_id == customer_id))
    return count


def _type_of(value: Plain) -> ValueType:
    if isinstance(value, bool):
        return ValueType.BOOLEAN
    if isinstance(value, int):
        return ValueType.INTEGER
    if isinstance(value, float):
        return ValueType.NUMBER
    return ValueType.STRING if isinstance(value, str) else ValueType.JSON


def sqlite_triggers(table: str, key: str) -> tuple[str, ...]:
    """Return the statements that let SQLite write the changes of a table into the outbox."""
    statement = (
        "CREATE TRIGGER IF NOT EXISTS rte_{table}_{event} AFTER {event} ON {table} "
        "BEGIN INSERT INTO rte_customer_change (customer_id) VALUES ({row}.{key}); END"
    )
    rows = (("insert", "new"), ("update", "new"), ("delete", "old"))
    return tuple(statement.format(table=table, event=event, row=row, key=key) for event, row in rows)
