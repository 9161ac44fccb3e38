// JAX-WS (Java): the calls that every client of these tests makes. Arguments: URL, version of SOAP, visitor.
import jakarta.xml.ws.BindingProvider;
import jakarta.xml.ws.soap.SOAPFaultException;
import java.net.URL;
import java.util.HashMap;
import java.util.Map;
import javax.xml.namespace.QName;
import rte.soap.*;

public final class JaxWsClient {
  private static StructFieldsEntry entry(String key, Value value) {
    StructFieldsEntry made = new StructFieldsEntry();
    made.setKey(key);
    made.setValue(value);
    return made;
  }

  private static Event event(String visitor, String id) {
    Value price = new Value();
    price.setNumberValue(9.5);
    Struct properties = new Struct();
    properties.getFields().add(entry("price", price));
    Event made = new Event();
    made.setEventId(id);
    made.setName("view_item");
    made.setVisitorId(visitor);
    made.setChannel("web <&> \u00e9");
    made.setProperties(properties);
    return made;
  }

  private static GetSessionRequest by(String visitor) {
    GetSessionRequest made = new GetSessionRequest();
    made.setVisitorId(visitor);
    return made;
  }

  public static void main(String[] arguments) throws Exception {
    String version = arguments[1], visitor = arguments[2];
    RteService service = new RteService(new URL(arguments[0] + "?wsdl"));
    Rte rte = version.equals("1.2") ? service.getRteSoap12() : service.getRteSoap11();

    IngestEventsRequest ingest = new IngestEventsRequest();
    ingest.getEvents().add(event(visitor, "e-1"));
    ingest.getEvents().add(event(visitor, "e-2"));
    ingest.setWait(Wait.WAIT_APPLIED);
    int accepted = rte.ingestEvents(ingest).getAcceptedCount();

    Session session = rte.getSession(by(visitor)).getSession();
    ListSessionsRequest list = new ListSessionsRequest();
    list.setFilter("session.visitor_id == \"" + visitor + "\"");
    var listed = rte.listSessions(list).getSessions();

    Value gold = new Value(), yes = new Value();
    gold.setStringValue("gold");
    yes.setBoolValue(true);
    Struct attributes = new Struct();
    attributes.getFields().add(entry("tier", gold));
    attributes.getFields().add(entry("vip", yes));
    UpdateSessionRequest update = new UpdateSessionRequest();
    update.setSessionId(session.getSessionId());
    update.setAttributes(attributes);
    Map<String, Value> written = new HashMap<>();
    for (StructFieldsEntry field : rte.updateSession(update).getSession().getAttributes().getFields()) {
      written.put(field.getKey(), field.getValue());
    }

    ServiceFault fault;
    try {
      rte.getSession(by("no-" + visitor));
      throw new IllegalStateException("the call must fail");
    } catch (RteFault refused) {
      fault = refused.getFaultInfo();
    }
    // The typed exception has no fault code; the table says Client for what is not found.
    String code = fault.getCode() == 5 ? (version.equals("1.2") ? "Sender" : "Client") : "?";
    boolean isListed = listed.size() == 1 && listed.get(0).getSessionId().equals(session.getSessionId());
    System.out.printf(
        "{\"accepted\": %d, \"channel\": \"%s\", \"events\": %d, \"listed\": %s, \"tier\": \"%s\", \"vip\": %s, "
            + "\"code\": \"%s\", \"reason\": \"%s\", \"field\": \"%s\", \"retryable\": %s}%n",
        accepted, session.getChannel(), session.getEventCount(), isListed, written.get("tier").getStringValue(),
        written.get("vip").isBoolValue(), code, fault.getReason(), fault.getField(), fault.isRetryable());
  }
}
