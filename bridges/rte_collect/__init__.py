"""The collectors: Segment, RudderStack, Snowplow and CloudEvents, as their SDKs send them, become events of RTE.

A client of the gRPC contract like any other. Names and properties are translated by the tables in `tables/`.

    app          HTTP: which path is which protocol
    requests     what came: body, headers, query
    protocol     what a protocol has to do: take a request apart, translate one event
    segment      Segment and RudderStack
    snowplow     Snowplow
    cloudevents  CloudEvents
    names        the tables
    values       ids, times and texts as they come in JSON
    intake       events of one request -> one call of IngestEvents
    quarantine   refused events, in a file
    keeper       the quarantine for the event loop: in, and out once more
    quarantine_service   the same over gRPC
"""
