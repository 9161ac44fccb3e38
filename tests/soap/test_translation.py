"""Messages become XML and XML becomes messages, without loss, and strictly."""

from __future__ import annotations

import io
from typing import Any

import pytest
import xmlschema
from google.protobuf import text_format
from hypothesis import HealthCheck, given, settings
from lxml import etree

from rte_bridge.problems import Problem, Reason
from rte_soap.contract import Contract, new_message
from rte_soap.reader import Reader
from rte_soap.schema import Schema
from rte_soap.writer import Writer
from rte_soap.wsdl import schema_document
from tests.soap.random_messages import messages
from tests.soap.shapes import shapes_contract

SCHEMA = Schema(shapes_contract())
XSD = etree.XMLSchema(etree.fromstring(schema_document(SCHEMA)))
SECOND_OPINION = xmlschema.XMLSchema10(schema_document(SCHEMA))
SHAPE = shapes_contract().message("shapes.v1.Shape")
ECHO = shapes_contract().message("shapes.v1.EchoRequest")
QUIET = {"deadline": None, "suppress_health_check": list(HealthCheck)}


def written(message: Any, schema: Schema = SCHEMA, name: str = "Echo") -> bytes:
    """Return a message in the wrapper of its operation."""
    out = [f'<{name} xmlns="{schema.namespace}">']
    Writer(schema).write("request" if not name.endswith("Response") else "result", message, out)
    return ("".join(out) + f"</{name}>").encode()


def read(shape: str, schema: Schema = SCHEMA) -> Any:
    """Return the Shape that the elements in `shape` stand for."""
    request = new_message(ECHO)
    xsi = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
    text = f'<request xmlns="{schema.namespace}" {xsi}><shape>{shape}</shape></request>'
    Reader(schema).read(etree.fromstring(text), request)
    return request.shape


@settings(max_examples=400, **QUIET)  # type: ignore[arg-type]
@given(messages(ECHO))
def test_every_message_comes_back_as_it_was(message: Any) -> None:
    """What is written is valid by the XML Schema, and read again it is the same message, to the last bit."""
    document = etree.fromstring(written(message))
    XSD.assertValid(document)
    again = new_message(ECHO)
    Reader(SCHEMA).read(document[0], again)
    assert again.SerializeToString(deterministic=True) == message.SerializeToString(deterministic=True), (
        text_format.MessageToString(message)
    )


@settings(max_examples=40, **QUIET)  # type: ignore[arg-type]
@given(messages(ECHO))
def test_a_second_validator_agrees(message: Any) -> None:
    """What is written is valid for xmlschema, too, which shares no code with libxml2."""
    SECOND_OPINION.validate(io.BytesIO(written(message)))


@pytest.mark.parametrize("name", sorted(Contract.shipped().operations))
def test_every_answer_of_the_contract_is_valid(name: str) -> None:
    """Random requests and answers of every operation of the contract are valid by its XML Schema and come back."""
    contract = Contract.shipped()
    schema = Schema(contract)
    xsd = etree.XMLSchema(etree.fromstring(schema_document(schema)))
    operation = contract.operations[name]

    @settings(max_examples=25, **QUIET)  # type: ignore[arg-type]
    @given(messages(operation.request), messages(operation.response))
    def holds(request: Any, response: Any) -> None:
        for message, wrapper in ((request, name), (response, f"{name}Response")):
            document = etree.fromstring(written(message, schema, wrapper))
            xsd.assertValid(document)
            again = new_message(message.DESCRIPTOR)
            Reader(schema).read(document[0], again)
            assert again.SerializeToString(deterministic=True) == message.SerializeToString(deterministic=True)

    holds()


def test_presence_is_kept() -> None:
    """An optional field that is set to empty, zero or false is another thing than one that is absent."""
    shape = new_message(SHAPE)
    shape.maybe_text, shape.maybe_flag, shape.maybe_large = "", False, 0
    again = new_message(ECHO)
    request = new_message(ECHO)
    request.shape.CopyFrom(shape)
    Reader(SCHEMA).read(etree.fromstring(written(request))[0], again)
    for name in ("maybe_text", "maybe_flag", "maybe_large"):
        assert again.shape.HasField(name)
    assert not again.shape.HasField("maybe_raw")


def test_children_come_in_any_order() -> None:
    """The order of elements says nothing, apart from that of a list."""
    shape = read("<texts>a</texts><text>t</text><texts>b</texts><flag> 1 </flag>")
    assert (list(shape.texts), shape.text, shape.flag) == (["a", "b"], "t", True)


def test_nil_is_absent() -> None:
    """An element with `xsi:nil` is as if it were not there, whatever its type."""
    shape = read('<maybeText xsi:nil="true"/><small xsi:nil="1"/><inner xsi:nil="true"/><choiceFlag>false</choiceFlag>')
    assert not shape.HasField("maybe_text") and not shape.HasField("inner")
    assert shape.WhichOneof("choice") == "choice_flag" and shape.choice_flag is False


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("visitorId,attributes.product_views", ["visitor_id", "attributes.product_views"]),
        ("visitor_id , startTime", ["visitor_id", "start_time"]),
        ("attributes.CUSTOMER_Name", ["attributes.CUSTOMER_Name"]),
        ("", []),
    ],
)
def test_masks_take_names_of_elements_and_of_fields(text: str, paths: list[str]) -> None:
    """The first part of a path may be written as the element or as in the contract; names of data stay as they are."""
    assert list(read(f"<mask>{text}</mask>").mask.paths) == paths


@pytest.mark.parametrize(
    ("text", "seconds", "nanos"),
    [
        ("2026-11-23T10:00:00Z", 1_795_428_000, 0),
        ("2026-11-23T11:30:00+01:30", 1_795_428_000, 0),
        ("2026-11-22T24:00:00-10:00", 1_795_428_000, 0),
        ("2026-11-23T10:00:00.123456789123Z", 1_795_428_000, 123_456_789),
        ("0001-01-01T00:00:00Z", -62_135_596_800, 0),
        ("9999-12-31T23:59:59.9Z", 253_402_300_799, 900_000_000),
    ],
)
def test_times(text: str, seconds: int, nanos: int) -> None:
    """Times are read in any zone, at the end of a day, and to the nanosecond."""
    shape = read(f"<time>{text}</time>")
    assert (shape.time.seconds, shape.time.nanos) == (seconds, nanos)


WRONG: list[tuple[str, Reason, str]] = [
    ("<small>12x</small>", Reason.WRONG_TYPE, "shape.small"),
    ("<small/>", Reason.WRONG_TYPE, "shape.small"),
    ("<small>1_0</small>", Reason.WRONG_TYPE, "shape.small"),
    ("<small>\u0661</small>", Reason.WRONG_TYPE, "shape.small"),
    ("<small>2147483648</small>", Reason.OUT_OF_RANGE, "shape.small"),
    ("<unsigned>-1</unsigned>", Reason.OUT_OF_RANGE, "shape.unsigned"),
    ("<large>9223372036854775808</large>", Reason.OUT_OF_RANGE, "shape.large"),
    (f"<large>{'9' * 100_000}</large>", Reason.WRONG_TYPE, "shape.large"),
    ("<real>1,5</real>", Reason.WRONG_TYPE, "shape.real"),
    ("<real>inf</real>", Reason.WRONG_TYPE, "shape.real"),
    ("<real>1e999</real>", Reason.OUT_OF_RANGE, "shape.real"),
    ("<shortReal>1e39</shortReal>", Reason.OUT_OF_RANGE, "shape.short_real"),
    ("<flag>yes</flag>", Reason.WRONG_TYPE, "shape.flag"),
    ("<raw>*</raw>", Reason.WRONG_TYPE, "shape.raw"),
    ("<raw>QQ</raw>", Reason.WRONG_TYPE, "shape.raw"),
    ("<colour>RED</colour>", Reason.WRONG_TYPE, "shape.colour"),
    ("<colour>1</colour>", Reason.WRONG_TYPE, "shape.colour"),
    ("<time>2026-11-23T10:00:00</time>", Reason.WRONG_TYPE, "shape.time"),
    ("<time>yesterday</time>", Reason.WRONG_TYPE, "shape.time"),
    ("<time>2026-02-30T10:00:00Z</time>", Reason.OUT_OF_RANGE, "shape.time"),
    ("<time>0001-01-01T00:00:00+01:00</time>", Reason.OUT_OF_RANGE, "shape.time"),
    ("<time>2026-11-23T10:00:00+15:00</time>", Reason.OUT_OF_RANGE, "shape.time"),
    ("<duration>P1Y</duration>", Reason.WRONG_TYPE, "shape.duration"),
    ("<duration>P</duration>", Reason.WRONG_TYPE, "shape.duration"),
    ("<duration>PT</duration>", Reason.WRONG_TYPE, "shape.duration"),
    ("<duration>PT315576000001S</duration>", Reason.OUT_OF_RANGE, "shape.duration"),
    ("<nope/>", Reason.UNKNOWN_FIELD, "shape.nope"),
    ('<text xmlns="urn:other">x</text>', Reason.UNKNOWN_FIELD, "shape.text"),
    ('<text lang="en">x</text>', Reason.UNKNOWN_FIELD, "shape.text"),
    ('<text href="#ref1"/>', Reason.UNKNOWN_FIELD, "shape.text"),
    ("<text>a</text><text>b</text>", Reason.MALFORMED, "shape.text"),
    ("<text><b>bold</b></text>", Reason.WRONG_TYPE, "shape.text"),
    ("stray", Reason.MALFORMED, "shape"),
    ("<point>stray<x>1</x></point>", Reason.MALFORMED, "shape.point"),
    ("<?pi x?>", Reason.MALFORMED, "shape"),
    ("<choiceText>a</choiceText><choiceFlag>1</choiceFlag>", Reason.MALFORMED, "shape.choice_flag"),
    ('<texts>a</texts><texts xsi:nil="true"/>', Reason.WRONG_TYPE, "shape.texts[1]"),
    ('<text xsi:nil="true">a</text>', Reason.MALFORMED, "shape.text"),
    ("<smalls>1</smalls><smalls>x</smalls>", Reason.WRONG_TYPE, "shape.smalls[1]"),
    ("<points><x>1</x></points><points><x>?</x></points>", Reason.WRONG_TYPE, "shape.points[1].x"),
    ("<labels><value>v</value></labels>", Reason.FIELD_MISSING, "shape.labels[0].key"),
    ("<labels><key>k</key></labels>", Reason.FIELD_MISSING, 'shape.labels[0]["k"].value'),
    ("<labels><key>k</key><value/></labels>" * 2, Reason.MALFORMED, "shape.labels[1].key"),
    ("<labels><key>k</key><other/></labels>", Reason.UNKNOWN_FIELD, "shape.labels[0].other"),
    (
        "<pointsByNumber><key>7</key><value><x>?</x></value></pointsByNumber>",
        Reason.WRONG_TYPE,
        'shape.points_by_number[0]["7"].x',
    ),
    ("<inner>" * 70 + "</inner>" * 70, Reason.TOO_DEEP, "shape" + ".inner" * 63),
]


@pytest.mark.parametrize(("shape", "reason", "field"), WRONG, ids=[f"{shape[:40]}" for shape, _, _ in WRONG])
def test_what_is_wrong_is_named(shape: str, reason: Reason, field: str) -> None:
    """A value or an element that is wrong is refused with its reason and the path of its field."""
    with pytest.raises(Problem) as refused:
        read(shape)
    assert (refused.value.reason, refused.value.field) == (reason, field), refused.value.message
    assert len(refused.value.value) <= 64 and len(refused.value.message) <= 300


def test_numbers_of_enums_that_are_unknown_are_written_as_zero() -> None:
    """An enum number that the schema does not have never leaves it, since strict clients would refuse the answer."""
    request = new_message(ECHO)
    request.shape.colour = 77
    request.shape.colours.append(78)
    document = etree.fromstring(written(request))
    XSD.assertValid(document)
    assert [each.text for each in document.iter("{*}colour", "{*}colours")] == ["COLOUR_UNSPECIFIED"] * 2


def test_characters_that_xml_cannot_hold_are_replaced() -> None:
    """A text with control characters is written with U+FFFD in their place, and the rest is kept."""
    request = new_message(ECHO)
    request.shape.text = "a\x00b\x0bc\ufffe\td\re"
    document = etree.fromstring(written(request))
    XSD.assertValid(document)
    assert document.findtext(".//{*}text") == "a\ufffdb\ufffdc\ufffd\td\re"


def test_empty_requests_and_answers_have_no_child() -> None:
    """An operation without a request or answer has empty wrappers."""
    for name in ("Touch", "TouchResponse"):
        XSD.assertValid(etree.fromstring(f'<{name} xmlns="{SCHEMA.namespace}"/>'))
        assert not XSD.validate(etree.fromstring(f'<{name} xmlns="{SCHEMA.namespace}"><request/></{name}>'))
