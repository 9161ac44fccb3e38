"""zeep (Python): the calls that every client of these tests makes. Arguments: URL, version of SOAP, visitor."""

import json
import sys

import zeep

url, version, visitor = sys.argv[1:]
client = zeep.Client(f"{url}?wsdl")
service = client.bind("RteService", {"1.1": "RteSoap11", "1.2": "RteSoap12"}[version])

event = {
    "eventId": "e-1",
    "name": "view_item",
    "visitorId": visitor,
    "channel": "web <&> \u00e9",
    "properties": {"fields": [{"key": "price", "value": {"numberValue": 9.5}}]},
}
ingested = service.IngestEvents(request={"events": [event, event | {"eventId": "e-2"}], "wait": "WAIT_APPLIED"})
session = service.GetSession(request={"visitorId": visitor})["session"]
listed = service.ListSessions(request={"filter": f'session.visitor_id == "{visitor}"'})
attributes = {
    "fields": [{"key": "tier", "value": {"stringValue": "gold"}}, {"key": "vip", "value": {"boolValue": True}}]
}
updated = service.UpdateSession(request={"sessionId": session["sessionId"], "attributes": attributes})["session"]
written = {field["key"]: field["value"] for field in updated["attributes"]["fields"]}
try:
    service.GetSession(request={"visitorId": f"no-{visitor}"})
    sys.exit("the call must fail")
except zeep.exceptions.Fault as error:
    code = error.code.rpartition(":")[2]
    fault = client.get_element("{urn:rte:v1}ServiceFaultDetail").parse(error.detail[0], client.wsdl.types)
print(
    json.dumps(
        {
            "accepted": ingested["acceptedCount"],
            "channel": session["channel"],
            "events": session["eventCount"],
            "listed": [each["sessionId"] for each in listed["sessions"]] == [session["sessionId"]],
            "tier": written["tier"]["stringValue"],
            "vip": written["vip"]["boolValue"],
            "code": code,
            "reason": fault["reason"],
            "field": fault["field"],
            "retryable": fault["retryable"],
        }
    )
)
