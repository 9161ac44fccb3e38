"""The SOAP bridge: `rte.v1` as SOAP 1.1 and 1.2, derived from the descriptors of the contract.

A client of the gRPC contract like any other. Nothing here knows an operation by name: WSDL, XML Schema and the
translation of messages follow from `contract.binpb`, which `make gen` derives from the `.proto` files.

    contract   the descriptor set: operations, message classes, comments
    schema     names and XML types of messages; the XML Schema
    wsdl       the description around it
    scalars    single values and their texts
    reader     XML -> message
    writer     message -> XML
    documents  bytes of a request -> XML tree, with every limit
    envelope   SOAP 1.1 and 1.2: headers, body, faults around it
    security   who calls: HTTP headers, WS-Security
    faults     the one table from statuses to faults
    app        HTTP, and the call over gRPC
    client     the other side, for `rte soap call` and tests
"""
