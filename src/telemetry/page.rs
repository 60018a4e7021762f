//! The metrics page: what everybody has counted, as Prometheus reads it (text format 0.0.4).
//!
//! Written here rather than by a library: the usual one appends `_total` to every counter, and dashboards of
//! the stock server look for names without it.

use std::borrow::Cow;
use std::fmt::Write;

use super::metrics::{Kind, METRICS, Metric, Scope};
use super::number::Histogram;

/// The media type of a page.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What stages after `rest` have counted, as the page takes it.
pub trait Counts: Send + Sync {
    /// Adds all of it.
    fn add_to(&self, page: &mut Page);
}

/// A page that is being filled. What several threads have counted is added up.
#[derive(Debug, Default)]
pub struct Page {
    /// The samples of each of [`METRICS`], in its order.
    samples: Vec<Vec<Sample>>,
}

/// Where the numbers come from. Every metric with a stock name says it, as there.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// The name of the only tenant.
    pub tenant: String,
    /// The region it runs in; empty for unknown.
    pub region: String,
    /// The machine's name.
    pub host: String,
}

#[derive(Debug)]
struct Sample {
    /// What follows the metric's name: nothing, `_bucket`, `_sum` or `_count`.
    suffix: &'static str,
    /// The value of the metric's own label.
    label: &'static str,
    /// The upper bound of a bucket, in the metric's unit.
    bound: Option<f64>,
    value: f64,
}

impl Page {
    /// An empty page.
    pub fn new() -> Self {
        Self { samples: METRICS.iter().map(|_| Vec::new()).collect() }
    }

    /// Adds to a metric without a label of its own.
    pub fn add(&mut self, metric: &'static Metric, value: u64) {
        self.add_to(metric, "", value);
    }

    /// Adds to the part of a metric whose label has this value, one of a closed list.
    pub fn add_to(&mut self, metric: &'static Metric, label: &'static str, value: u64) {
        self.add_float(metric, label, float(value));
    }

    /// The same for what is no whole number.
    pub fn add_float(&mut self, metric: &'static Metric, label: &'static str, value: f64) {
        self.push(metric, Sample { suffix: "", label, bound: None, value });
    }

    /// Adds what a histogram holds.
    pub fn add_histogram(&mut self, metric: &'static Metric, label: &'static str, histogram: &Histogram) {
        let Kind::Histogram { per_unit } = metric.kind else { return };
        let mut count = 0.0;
        for (bound, up_to) in histogram.cumulative() {
            let bound = bound.map_or(f64::INFINITY, |bound| float(bound) / per_unit);
            count = float(up_to);
            self.push(metric, Sample { suffix: "_bucket", label, bound: Some(bound), value: count });
        }
        let sum = float(histogram.sum()) / per_unit;
        self.push(metric, Sample { suffix: "_sum", label, bound: None, value: sum });
        self.push(metric, Sample { suffix: "_count", label, bound: None, value: count });
    }

    fn push(&mut self, metric: &'static Metric, sample: Sample) {
        let Some(index) = METRICS.iter().position(|listed| listed.name == metric.name) else { return };
        let identity = |sample: &Sample| (sample.suffix, sample.label, sample.bound);
        let samples = &mut self.samples[index];
        match samples.iter_mut().find(|other| identity(other) == identity(&sample)) {
            Some(other) => other.value += sample.value,
            None => samples.push(sample),
        }
    }

    /// The page as text. A metric that nobody has added to is left out.
    pub fn render(&self, place: &Place) -> String {
        let mut text = String::with_capacity(32 * 1024);
        for (metric, samples) in METRICS.iter().zip(&self.samples) {
            if samples.is_empty() {
                continue;
            }
            let Metric { name, help, kind, .. } = metric;
            // Writing to a String cannot fail.
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {}\n", kind.as_str());
            for sample in samples {
                let _ = write!(text, "{name}{}", sample.suffix);
                write_labels(&mut text, &labels(metric, sample, place));
                let _ = writeln!(text, " {}", sample.value);
            }
        }
        text
    }
}

fn labels<'a>(metric: &Metric, sample: &Sample, place: &'a Place) -> Vec<(&'static str, Cow<'a, str>)> {
    let own = metric.label.map(|name| (name, Cow::Borrowed(sample.label)));
    let tenant = (metric.scope == Scope::Tenant).then(|| ("tenant", Cow::Borrowed(&*place.tenant)));
    let stock = [("region", &place.region), ("host", &place.host), ("id", &place.host)];
    let stock = stock.map(|(name, value)| (name, Cow::Borrowed(&**value)));
    let stock = stock.into_iter().filter(|_| metric.scope != Scope::Own);
    let bound = sample.bound.map(|bound| match bound {
        f64::INFINITY => ("le", Cow::Borrowed("+Inf")),
        bound => ("le", Cow::Owned(bound.to_string())),
    });
    own.into_iter().chain(tenant).chain(stock).chain(bound).collect()
}

fn write_labels(text: &mut String, labels: &[(&'static str, Cow<'_, str>)]) {
    if labels.is_empty() {
        return;
    }
    for (index, (name, value)) in labels.iter().enumerate() {
        text.push(if index == 0 { '{' } else { ',' });
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        // Writing to a String cannot fail.
        let _ = write!(text, "{name}=\"{value}\"");
    }
    text.push('}');
}

#[expect(clippy::cast_precision_loss, reason = "a graph needs no more than 53 bits")]
fn float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::super::metrics::{ERRORS, PAYLOAD_SIZE, SOCKETS_OPENED, STOCK_EVENTS};
    use super::*;

    fn place() -> Place {
        Place { tenant: "a\"b".to_owned(), region: String::new(), host: "h".to_owned() }
    }

    #[test]
    fn what_several_have_counted_is_one_sample() {
        let mut page = Page::new();
        page.add(&SOCKETS_OPENED, 1);
        page.add(&SOCKETS_OPENED, 2);
        page.add_to(&ERRORS, "A", 3);
        page.add_to(&ERRORS, "B", 4);
        let text = page.render(&place());
        let name = SOCKETS_OPENED.name;
        assert!(text.contains(&format!("# TYPE {name} counter\n{name} 3\n")), "{text}");
        let name = ERRORS.name;
        assert!(text.contains(&format!("{name}{{code=\"A\"}} 3\n{name}{{code=\"B\"}} 4\n")), "{text}");
        assert_eq!(text.matches("# TYPE").count(), 2);
    }

    #[test]
    fn stock_metrics_say_where_they_come_from() {
        let mut page = Page::new();
        page.add(&STOCK_EVENTS, 7);
        let expected = r#"realtime_channel_events{tenant="a\"b",region="",host="h",id="h"} 7"#;
        assert!(page.render(&place()).lines().any(|line| line == expected));
    }

    #[test]
    fn histograms_are_cumulative_and_end_with_infinity() {
        let histogram = Histogram::new(&[250, 500]);
        [100, 300, 9_000].into_iter().for_each(|size| histogram.record(size));
        let mut page = Page::new();
        page.add_histogram(&PAYLOAD_SIZE, "broadcast", &histogram);
        page.add_histogram(&PAYLOAD_SIZE, "broadcast", &histogram);
        let text = page.render(&Place::default());
        for (bound, count) in [("250", 2), ("500", 4), ("+Inf", 6)] {
            assert!(text.contains(&format!("le=\"{bound}\"}} {count}\n")), "{text}");
        }
        assert!(text.contains("_sum{message_type=\"broadcast\",region=\"\",host=\"\",id=\"\"} 18800\n"));
    }
}
