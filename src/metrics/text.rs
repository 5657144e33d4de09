//! The rows of the table in the Prometheus text format, written by the `prometheus` crate.

use prometheus::TextEncoder;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric as Series, MetricFamily, MetricType, Summary,
};

use super::figures::Histogram as Durations;
use super::table::{Kind, Metric, Sample, Value};
use super::{Facts, table};

/// All metrics of the table with their current values, in the Prometheus text format.
#[must_use]
pub fn render(facts: Facts<'_>) -> String {
    let families: Vec<MetricFamily> = table().iter().map(|metric| family(metric, facts)).collect();
    // Encoding fails only for a family without a name or without series.
    TextEncoder::new().encode_to_string(&families).unwrap_or_default()
}

fn family(metric: &Metric, facts: Facts<'_>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(metric.name.to_owned());
    family.set_help(metric.help.to_owned());
    family.set_field_type(match metric.kind {
        Kind::Counter => MetricType::COUNTER,
        Kind::Gauge => MetricType::GAUGE,
        Kind::Histogram => MetricType::HISTOGRAM,
        Kind::Summary => MetricType::SUMMARY,
    });
    family.set_metric((metric.read)(facts).iter().map(|sample| series(metric.kind, sample)).collect());
    family
}

fn series(kind: Kind, sample: &Sample<'_>) -> Series {
    let mut series =
        Series::from_label(sample.labels.iter().map(|&(name, value)| label(name, value)).collect());
    match &sample.value {
        Value::Number(number) if kind == Kind::Counter => {
            let mut counter = Counter::default();
            counter.set_value(*number);
            series.set_counter(counter);
        }
        Value::Number(number) => {
            let mut gauge = Gauge::default();
            gauge.set_value(*number);
            series.set_gauge(gauge);
        }
        Value::Durations(durations) => series.set_histogram(histogram(durations)),
        Value::Total { count, seconds } => {
            let mut summary = Summary::default();
            summary.set_sample_count(*count);
            summary.set_sample_sum(*seconds);
            series.set_summary(summary);
        }
    }
    series
}

fn histogram(durations: &Durations) -> Histogram {
    let bucket = |(bound, count)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(bound);
        bucket.set_cumulative_count(count);
        bucket
    };
    let mut histogram = Histogram::default();
    histogram.set_bucket(durations.cumulative().map(bucket).collect());
    histogram.set_sample_count(durations.count());
    histogram.set_sample_sum(durations.sum().as_secs_f64());
    histogram
}

fn label(name: &str, value: &str) -> LabelPair {
    let mut label = LabelPair::default();
    label.set_name(name.to_owned());
    label.set_value(value.to_owned());
    label
}
