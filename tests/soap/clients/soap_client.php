<?php
// SoapClient (PHP): the calls that every client of these tests makes. Arguments: URL, version of SOAP, visitor.
[, $url, $version, $visitor] = $argv;
$client = new SoapClient("$url?wsdl&soap=$version", [
    'soap_version' => $version === '1.2' ? SOAP_1_2 : SOAP_1_1,
    'features' => SOAP_SINGLE_ELEMENT_ARRAYS,
    'cache_wsdl' => WSDL_CACHE_NONE,
    'exceptions' => true,
]);

// Made anew for each place: an array that stands in two places is written as a reference, which is refused.
$event = fn ($id) => [
    'eventId' => $id,
    'name' => 'view_item',
    'visitorId' => $visitor,
    'channel' => "web <&> \u{e9}",
    'properties' => ['fields' => [['key' => 'price', 'value' => ['numberValue' => 9.5 + strlen($id)]]]],
];
$events = [$event('e-1'), $event('e-2')];
$ingested = $client->IngestEvents(['request' => ['events' => $events, 'wait' => 'WAIT_APPLIED']])->result;
$session = $client->GetSession(['request' => ['visitorId' => $visitor]])->result->session;
$listed = $client->ListSessions(['request' => ['filter' => "session.visitor_id == \"$visitor\""]])->result->sessions;
$attributes = ['fields' => [
    ['key' => 'tier', 'value' => ['stringValue' => 'gold']],
    ['key' => 'vip', 'value' => ['boolValue' => true]],
]];
$updated = $client->UpdateSession(['request' => ['sessionId' => $session->sessionId, 'attributes' => $attributes]]);
$written = [];
foreach ($updated->result->session->attributes->fields as $field) {
    $written[$field->key] = $field->value;
}
try {
    $client->GetSession(['request' => ['visitorId' => "no-$visitor"]]);
    exit('the call must fail');
} catch (SoapFault $fault) {
    $detail = $fault->detail->ServiceFaultDetail;
    $code = explode(':', $fault->faultcode);
}
echo json_encode([
    'accepted' => $ingested->acceptedCount,
    'channel' => $session->channel,
    'events' => $session->eventCount,
    'listed' => count($listed) === 1 && $listed[0]->sessionId === $session->sessionId,
    'tier' => $written['tier']->stringValue,
    'vip' => $written['vip']->boolValue,
    'code' => end($code),
    'reason' => $detail->reason,
    'field' => $detail->field,
    'retryable' => filter_var($detail->retryable, FILTER_VALIDATE_BOOLEAN),
]), "\n";
