"""Reads OTLP requests as a collector does, by the protocol's own definitions: lines `PATH BODY` on stdin.

Prints what it read as one document: for each log record its event, index, hash, trace and span, and each span. What the definitions
do not know is refused.
"""

import base64
import json
import sys

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

KINDS = {"/v1/logs": ExportLogsServiceRequest, "/v1/traces": ExportTraceServiceRequest}


def with_bytes(value):
    """OTLP writes ids in hex where protobuf's own JSON has base64."""
    if isinstance(value, list):
        return [with_bytes(one) for one in value]
    if not isinstance(value, dict):
        return value
    ids = ("traceId", "spanId")
    return {
        name: base64.b64encode(bytes.fromhex(one)).decode() if name in ids else with_bytes(one)
        for name, one in value.items()
    }


def attributes(of):
    values = {}
    for one in of.attributes:
        kind = one.value.WhichOneof("value")
        values[one.key] = getattr(one.value, kind)
    return values


def main():
    logs, spans, resources = [], [], []
    for line in sys.stdin:
        path, body = line.split(" ", 1)
        request = json_format.ParseDict(with_bytes(json.loads(body)), KINDS[path]())
        for resource in getattr(request, "resource_logs", []):
            resources.append(attributes(resource.resource))
            for scope in resource.scope_logs:
                for record in scope.log_records:
                    assert len(record.trace_id) in (0, 16) and len(record.span_id) in (0, 8)
                    logs.append({
                        "event": record.event_name,
                        "trace": record.trace_id.hex(),
                        "span": record.span_id.hex(),
                        "severity": record.severity_number,
                        "time": record.time_unix_nano,
                        "body": record.body.string_value,
                        **attributes(record),
                    })
        for resource in getattr(request, "resource_spans", []):
            for scope in resource.scope_spans:
                for span in scope.spans:
                    assert len(span.trace_id) == 16 and len(span.span_id) == 8
                    assert span.start_time_unix_nano <= span.end_time_unix_nano
                    spans.append({
                        "name": span.name,
                        "trace": span.trace_id.hex(),
                        "span": span.span_id.hex(),
                        "kind": span.kind,
                        "status": span.status.code,
                        **attributes(span),
                    })
    json.dump({"logs": logs, "spans": spans, "resources": resources}, sys.stdout)


main()
