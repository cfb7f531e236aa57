"""Pushes with OpenTelemetry's SDK for Python: a counter, a histogram, a log record and a span.

usage: send.py grpc|http ENDPOINT none|gzip|deflate NAME

Prints ok when the SDK says that all was taken.
"""

import sys

import grpc
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

protocol, endpoint, compression, name = sys.argv[1:]
if protocol == "grpc":
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    packing = {"none": grpc.Compression.NoCompression, "gzip": grpc.Compression.Gzip, "deflate": grpc.Compression.Deflate}
    exporters = [
        exporter(endpoint=endpoint, insecure=True, compression=packing[compression])
        for exporter in (OTLPMetricExporter, OTLPLogExporter, OTLPSpanExporter)
    ]
else:
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    packing = {"none": Compression.NoCompression, "gzip": Compression.Gzip, "deflate": Compression.Deflate}
    exporters = [
        exporter(endpoint=f"{endpoint}/v1/{signal}", compression=packing[compression])
        for exporter, signal in ((OTLPMetricExporter, "metrics"), (OTLPLogExporter, "logs"), (OTLPSpanExporter, "traces"))
    ]
metrics, logs, spans = exporters
resource = Resource.create({"service.name": name})

meters = MeterProvider(metric_readers=[PeriodicExportingMetricReader(metrics, export_interval_millis=3_600_000)], resource=resource)
meter = meters.get_meter("sender")
counter = meter.create_counter(f"{name}.orders", unit="{order}", description="Orders taken.")
for request in range(3):
    counter.add(request + 1, {"tenant.id": "ACME", "request.id": str(request)})
histogram = meter.create_histogram(f"{name}.duration", unit="s")
for seconds in (0.5, 20, 300):
    histogram.record(seconds, {"tenant.id": "ACME"})

loggers = LoggerProvider(resource=resource)
loggers.add_log_record_processor(BatchLogRecordProcessor(logs))
loggers.get_logger("sender").emit(LogRecord(body=f"{name} says hello", severity_number=SeverityNumber.WARN, timestamp=1_700_000_000_000_000_000))

tracers = TracerProvider(resource=resource)
tracers.add_span_processor(BatchSpanProcessor(spans))
with tracers.get_tracer("sender").start_as_current_span(f"{name} checks"):
    pass

flushed = [provider.force_flush() for provider in (meters, loggers, tracers)]
for provider in (meters, loggers, tracers):
    provider.shutdown()
print("ok" if all(flushed) else f"not taken: {flushed}")
