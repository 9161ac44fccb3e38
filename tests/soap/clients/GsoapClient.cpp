// gSOAP (C++): the calls that every client of these tests makes. Arguments: URL, visitor. The version of SOAP is that of
// the WSDL from which wsdl2h and soapcpp2 made the code; the macro PROXY is the name of its class.
#include <cstdio>
#include <string>

#include PROXY_HEADER
#include PROXY_NSMAP

static void fail(PROXY &service) {
  service.soap_stream_fault(std::cerr);
  exit(1);
}

static rte__Value *text(struct soap *soap, const char *value) {
  rte__Value *made = soap_new_rte__Value(soap);
  made->stringValue = soap_new_std__string(soap);
  *made->stringValue = value;
  return made;
}

static rte__StructFieldsEntry *entry(struct soap *soap, const char *key, rte__Value *value) {
  rte__StructFieldsEntry *made = soap_new_rte__StructFieldsEntry(soap);
  made->key = soap_new_std__string(soap);
  *made->key = key;
  made->value = value;
  return made;
}

static rte__Event *event(struct soap *soap, const std::string &visitor, const char *id) {
  rte__Event *made = soap_new_rte__Event(soap);
  made->eventId = soap_new_std__string(soap);
  *made->eventId = id;
  made->name = soap_new_std__string(soap);
  *made->name = "view_item";
  made->visitorId = soap_new_std__string(soap);
  *made->visitorId = visitor;
  made->channel = soap_new_std__string(soap);
  *made->channel = "web <&> \xc3\xa9";
  rte__Value *price = soap_new_rte__Value(soap);
  price->numberValue = soap_new_double(soap);
  *price->numberValue = 9.5;
  made->properties = soap_new_rte__Struct(soap);
  made->properties->fields.push_back(entry(soap, "price", price));
  return made;
}

static _rte__GetSession *get(struct soap *soap, const std::string &visitor) {
  _rte__GetSession *made = soap_new__rte__GetSession(soap);
  made->request = soap_new_rte__GetSessionRequest(soap);
  made->request->visitorId = soap_new_std__string(soap);
  *made->request->visitorId = visitor;
  return made;
}

int main(int, char **arguments) {
  PROXY service(arguments[1], SOAP_C_UTFSTRING | SOAP_XML_STRICT);
  struct soap *soap = service.soap;
  const std::string visitor = arguments[2];

  _rte__IngestEvents ingest;
  ingest.request = soap_new_rte__IngestEventsRequest(soap);
  ingest.request->events = {event(soap, visitor, "e-1"), event(soap, visitor, "e-2")};
  ingest.request->wait = soap_new_rte__Wait(soap);
  *ingest.request->wait = rte__Wait::WAIT_USCOREAPPLIED;
  _rte__IngestEventsResponse ingested;
  if (service.IngestEvents(&ingest, ingested)) fail(service);

  _rte__GetSessionResponse got;
  if (service.GetSession(get(soap, visitor), got)) fail(service);
  rte__Session *session = got.result->session;

  _rte__ListSessions list;
  list.request = soap_new_rte__ListSessionsRequest(soap);
  list.request->filter = soap_new_std__string(soap);
  *list.request->filter = "session.visitor_id == \"" + visitor + "\"";
  _rte__ListSessionsResponse listed;
  if (service.ListSessions(&list, listed)) fail(service);
  auto &sessions = listed.result->sessions;

  _rte__UpdateSession update;
  update.request = soap_new_rte__UpdateSessionRequest(soap);
  update.request->sessionId = session->sessionId;
  update.request->attributes = soap_new_rte__Struct(soap);
  rte__Value *vip = soap_new_rte__Value(soap);
  vip->boolValue = soap_new_bool(soap);
  *vip->boolValue = true;
  update.request->attributes->fields = {entry(soap, "tier", text(soap, "gold")), entry(soap, "vip", vip)};
  _rte__UpdateSessionResponse updated;
  if (service.UpdateSession(&update, updated)) fail(service);
  std::string tier;
  bool is_vip = false;
  for (auto field : updated.result->session->attributes->fields) {
    if (*field->key == "tier") tier = *field->value->stringValue;
    if (*field->key == "vip") is_vip = *field->value->boolValue;
  }

  const std::string channel = *session->channel;
  const int accepted = *ingested.result->acceptedCount, events = *session->eventCount;
  const bool is_listed = sessions.size() == 1 && *sessions[0]->sessionId == *session->sessionId;
  _rte__GetSessionResponse none;
  if (service.GetSession(get(soap, "no-" + visitor), none) != SOAP_FAULT) {
    fprintf(stderr, "the call must fail\n");
    return 1;
  }
  std::string code = *soap_faultcode(soap);
  code = code.substr(code.find(':') + 1);
  struct SOAP_ENV__Detail *found = soap->version == 2 ? soap->fault->SOAP_ENV__Detail : soap->fault->detail;
  rte__ServiceFault *detail = found->rte__ServiceFaultDetail;
  printf("{\"accepted\": %d, \"channel\": \"%s\", \"events\": %d, \"listed\": %s, \"tier\": \"%s\", \"vip\": %s, "
         "\"code\": \"%s\", \"reason\": \"%s\", \"field\": \"%s\", \"retryable\": %s}\n",
         accepted, channel.c_str(), events, is_listed ? "true" : "false", tier.c_str(), is_vip ? "true" : "false",
         code.c_str(), detail->reason->c_str(), detail->field->c_str(), *detail->retryable ? "true" : "false");
  return 0;
}
