// Pushes with OpenTelemetry's SDK for JavaScript, which sends JSON in chunks: a counter, a histogram, a log record and a span.
//
// usage: node --input-type=module - ENDPOINT NAME < send.mjs, in the folder that holds node_modules
//
// Prints ok when the SDK says that all was taken.
import { LoggerProvider, SimpleLogRecordProcessor } from "@opentelemetry/sdk-logs";
import { MeterProvider, PeriodicExportingMetricReader } from "@opentelemetry/sdk-metrics";
import { BasicTracerProvider, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-base";
import { OTLPLogExporter } from "@opentelemetry/exporter-logs-otlp-http";
import { OTLPMetricExporter } from "@opentelemetry/exporter-metrics-otlp-http";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";

const [endpoint, name] = process.argv.slice(2);
const failures = [];

// The SDK's own answer to an export: code 0 is success.
function heard(exporter) {
  const inner = exporter.export.bind(exporter);
  exporter.export = (items, done) =>
    inner(items, (result) => {
      if (result.code !== 0) failures.push(String(result.error));
      done(result);
    });
  return exporter;
}

const metrics = heard(new OTLPMetricExporter({ url: `${endpoint}/v1/metrics` }));
const meters = new MeterProvider({ readers: [new PeriodicExportingMetricReader({ exporter: metrics, exportIntervalMillis: 3_600_000 })] });
const meter = meters.getMeter("sender");
const counter = meter.createCounter(`${name}.orders`, { unit: "{order}", description: "Orders taken." });
for (let request = 0; request < 3; request++) counter.add(request + 1, { "tenant.id": "ACME", "request.id": String(request) });
const histogram = meter.createHistogram(`${name}.duration`, { unit: "s" });
for (const seconds of [0.5, 20, 300]) histogram.record(seconds, { "tenant.id": "ACME" });

const logs = heard(new OTLPLogExporter({ url: `${endpoint}/v1/logs` }));
const loggers = new LoggerProvider({ processors: [new SimpleLogRecordProcessor({ exporter: logs })] });
loggers.getLogger("sender").emit({ body: `${name} says hello`, severityNumber: 13, timestamp: 1_700_000_000_000 });

const spans = heard(new OTLPTraceExporter({ url: `${endpoint}/v1/traces` }));
const tracers = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(spans)] });
tracers.getTracer("sender").startSpan(`${name} checks`).end();

for (const provider of [meters, loggers, tracers]) await provider.forceFlush();
for (const provider of [meters, loggers, tracers]) await provider.shutdown();
console.log(failures.length ? `not taken: ${failures}` : "ok");
