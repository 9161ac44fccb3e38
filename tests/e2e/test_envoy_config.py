"""The committed Envoy configuration and descriptor set."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.api import annotations_pb2
from google.protobuf import descriptor_pool, message_factory, struct_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from rte_server.edge import EdgeError, EdgeSettings
from rte_server.edge.descriptors import (
    DescriptorError,
    compile_public_set,
    derive_edge_set,
    http_pattern,
    http_rules,
    path_parameters,
    serialize,
)
from rte_server.edge.render import assets_dir, explain, parse_upstream, render
from rte_server.edge.supervisor import envoy_path

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = ROOT / "envoy"


@pytest.fixture(scope="module")
def public() -> FileDescriptorSet:
    """The descriptor set of the contract."""
    return compile_public_set(ROOT / "proto", [ROOT / "proto" / "third_party"])


@pytest.fixture(scope="module")
def edge_set() -> FileDescriptorSet:
    """The committed descriptor set of Envoy."""
    return FileDescriptorSet.FromString((COMMITTED / "rte.pb").read_bytes())


@pytest.fixture(scope="module")
def tree() -> dict[str, Any]:
    """The committed configuration."""
    loaded: dict[str, Any] = yaml.safe_load((COMMITTED / "envoy.yaml").read_text())
    return loaded


def routes(tree: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the routes in order."""
    listener = tree["static_resources"]["listeners"][0]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    found: list[dict[str, Any]] = manager["route_config"]["virtual_hosts"][0]["routes"]
    return found


def validate(path: Path) -> subprocess.CompletedProcess[str]:
    """Let Envoy judge a configuration."""
    command = [envoy_path(), "--mode", "validate", "--log-level", "error", "-c", str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_committed_descriptor_set_is_current(public: FileDescriptorSet) -> None:
    """`make gen` would write the descriptor set that is committed."""
    assert serialize(derive_edge_set(public)) == (COMMITTED / "rte.pb").read_bytes()


def test_envoy_accepts_the_committed_configuration(tmp_path: Path) -> None:
    """Envoy accepts envoy.yaml as it is, but for the place where a container has its files."""
    text = (COMMITTED / "envoy.yaml").read_text()
    assert "/etc/envoy/rte.pb" in text
    path = tmp_path / "envoy.yaml"
    path.write_text(text.replace("/etc/envoy/", f"{COMMITTED}/"))
    result = validate(path)
    assert result.returncode == 0, result.stdout + result.stderr


def test_envoy_accepts_the_rendered_configuration(tmp_path: Path) -> None:
    """Envoy accepts what the supervisor renders with every setting changed."""
    settings = EdgeSettings(
        run_dir=tmp_path,
        upstream="unix:/run/rte/grpc.sock",
        host="0.0.0.0",
        request_bytes_max=123_456,
        connections_max=77,
        heap_bytes_max=1 << 29,
        allowed_origins=("https://shop.example",),
        access_log=tmp_path / "access.log",
    )
    text = render(settings, 18123, tmp_path / "admin.sock")
    path = tmp_path / "envoy.yaml"
    path.write_text(text)
    result = validate(path)
    assert result.returncode == 0, result.stdout + result.stderr
    for expected in ("18123", "/run/rte/grpc.sock", "123456", "77", "https://shop.example", "access.log", "admin.sock"):
        assert expected in text
    policies = list(nodes_with(yaml.safe_load(text), "allow_origin_string_match"))
    assert len(policies) > 1  # That of RTE's own paths, and those of the collectors.
    assert all(each["allow_origin_string_match"] == [{"exact": "https://shop.example"}] for each in policies)
    for gone in ("4194304", "9901", "/etc/envoy", "50051"):
        assert gone not in text


def test_admin_interface_is_not_public(tree: dict[str, Any]) -> None:
    """The admin interface listens on the loopback address only."""
    assert tree["admin"]["address"]["socket_address"]["address"] == "127.0.0.1"


def test_every_transcoder_is_strict(tree: dict[str, Any], edge_set: FileDescriptorSet) -> None:
    """Every transcoder refuses what it does not know and ignores the renamed path fields as parameters."""
    found = list(transcoders(tree))
    assert len(found) == 3
    for transcoder in found:
        assert transcoder["request_validation_options"] == {
            "reject_unknown_method": True,
            "reject_unknown_query_parameters": True,
            "reject_binding_body_field_collisions": True,
        }
        assert transcoder["ignored_query_parameters"] == path_parameters(edge_set)
        assert transcoder["convert_grpc_status"] is True


def transcoders(node: Any) -> Any:
    """Yield every transcoder configuration in a tree."""
    return nodes_with(node, "proto_descriptor")


def nodes_with(node: Any, member: str) -> Any:
    """Yield every mapping in a tree that has a member."""
    if isinstance(node, dict):
        if member in node:
            yield node
        for value in node.values():
            yield from nodes_with(value, member)
    elif isinstance(node, list):
        for value in node:
            yield from nodes_with(value, member)


def test_every_http_path_refuses_other_verbs(tree: dict[str, Any], edge_set: FileDescriptorSet) -> None:
    """For each path of the contract a route answers 405 to verbs that no RPC has there."""
    refusing = [route for route in routes(tree) if route.get("direct_response", {}).get("status") == 405]
    allowed: dict[str, set[str]] = {}
    for file in edge_set.file:
        for service in file.service:
            for method in service.method:
                for verb, template in map(http_pattern, http_rules(method)):
                    allowed.setdefault(re.sub(r"\{[^}]*\}", "x1", template), set()).add(verb)
    assert allowed
    for path, verbs in allowed.items():
        matching = [route for route in refusing if re.fullmatch(route["match"]["safe_regex"]["regex"], path)]
        assert len(matching) == 1, path
        verb_pattern = matching[0]["match"]["headers"][0]["string_match"]["safe_regex"]["regex"]
        assert set(verb_pattern.split("|")) == verbs | {"OPTIONS"}, path


def test_every_service_of_the_contract_is_transcoded(tree: dict[str, Any], edge_set: FileDescriptorSet) -> None:
    """No service of the contract is missing from Envoy's list."""
    services = {f"{file.package}.{service.name}" for file in edge_set.file for service in file.service}
    assert max((set(transcoder["services"]) for transcoder in transcoders(tree)), key=len) == services


def test_error_details_are_in_the_descriptor_set(edge_set: FileDescriptorSet) -> None:
    """The types of error details are known to Envoy, without which it answers errors with an empty body."""
    assert "google/rpc/error_details.proto" in {file.name for file in edge_set.file}


def test_json_form_is_a_struct_at_field_15(edge_set: FileDescriptorSet) -> None:
    """The request of each RPC with a whole body has its path fields at their public numbers, and the JSON form."""
    pool = descriptor_pool.DescriptorPool()
    for file in edge_set.file:
        pool.AddSerializedFile(file.SerializeToString())
    request = pool.FindMessageTypeByName("rte.v1.UpdateSessionRequest")
    assert {field.name: field.number for field in request.fields} == {"path_session_id": 1, "json": 15}
    form_type = request.fields_by_name["json"].message_type
    assert form_type is not None
    assert form_type.full_name == "google.protobuf.Struct"
    form = struct_pb2.Struct()
    form.update({"etag": "e", "unknown": [1]})
    message: Any = message_factory.GetMessageClass(request)()
    message.ParseFromString(b"\x0a\x01s\x7a" + bytes([form.ByteSize()]) + form.SerializeToString())
    assert message.path_session_id == "s"
    assert message.json["unknown"][0] == 1


def test_answers_are_the_public_messages(public: FileDescriptorSet, edge_set: FileDescriptorSet) -> None:
    """Only requests differ between the public descriptor set and that of Envoy."""
    assert sorted(file.name for file in public.file) == sorted(file.name for file in edge_set.file)
    edge_files = {file.name: file for file in edge_set.file}
    changed = {
        before.name
        for public_file in public.file
        for before, after in zip(public_file.message_type, edge_files[public_file.name].message_type, strict=True)
        if before != after
    }
    assert changed == {
        "DropQuarantinedEventsRequest",
        "IngestEventsRequest",
        "LinkVisitorRequest",
        "ResubmitQuarantinedEventsRequest",
        "UnlinkVisitorRequest",
        "UpdateSessionRequest",
        "EndSessionRequest",
        "GetCustomerRequest",
        "UpdateCustomerRequest",
        "DeleteCustomerRequest",
        "VerifyErasureReceiptRequest",
        "GetSessionRequest",
        "ExplainSessionRequest",
        "GetModelRequest",
        "ApplyModelsRequest",
        "RollBackModelsRequest",
        "RollBackWeightsRequest",
    }


def test_derivation_refuses_a_shared_request(public: FileDescriptorSet) -> None:
    """A request that two RPCs share cannot be changed for one of them, and the error names both."""
    shared = FileDescriptorSet()
    shared.CopyFrom(public)
    file = next(file for file in shared.file if file.name == "rte/v1/event_service.proto")
    file.service[0].method[1].input_type = file.service[0].method[0].input_type
    with pytest.raises(DescriptorError, match=r"EventService\.IngestEvents.*EventService\.StreamEvents"):
        derive_edge_set(shared)


def test_derivation_refuses_a_nested_path_field(public: FileDescriptorSet) -> None:
    """A path that binds a field of a submessage is refused, since it cannot be renamed."""
    nested = FileDescriptorSet()
    nested.CopyFrom(public)
    file = next(file for file in nested.file if file.name == "rte/v1/model_service.proto")
    http: Any = annotations_pb2.http
    rule = file.service[0].method[1].options.Extensions[http]
    rule.get = "/v1/models/{model.name}"
    with pytest.raises(DescriptorError, match="GetModel binds a nested or unknown field"):
        derive_edge_set(nested)


@pytest.mark.parametrize("upstream", ["", "localhost", "127.0.0.1:0", "127.0.0.1:x", ":50051", "127.0.0.1:70000"])
def test_upstream_that_is_no_address_is_refused(upstream: str) -> None:
    """An address that Envoy could not use is named in the error."""
    with pytest.raises(EdgeError, match="neither"):
        parse_upstream(upstream)


def test_settings_out_of_range_are_all_named(tmp_path: Path) -> None:
    """Every setting that is out of its range is named in one error."""
    with pytest.raises(EdgeError, match=r"port 70000.*concurrency 0"):
        EdgeSettings(run_dir=tmp_path, upstream="127.0.0.1:1", port=70_000, concurrency=0)


def test_explanation_of_a_refused_configuration_is_short(tmp_path: Path) -> None:
    """Of Envoy's long output the error keeps the part that names the field."""
    path = tmp_path / "envoy.yaml"
    text = (
        (assets_dir() / "envoy.yaml").read_text().replace("stat_prefix: edge", "stat_prefix: edge\n          nope: 1")
    )
    path.write_text(text.replace("/etc/envoy/", f"{COMMITTED}/"))
    result = validate(path)
    assert result.returncode == 1
    explanation = explain(result.stdout + result.stderr)
    assert "nope" in explanation
    assert len(explanation) <= 600
