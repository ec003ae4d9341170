//! Questions to Prometheus, made of metrics of the enum.
//!
//! Why it exists: every question holds to the same manners: the board's job and instance, rates over the interval that
//! the panel can show, counters never bare. What it refuses to know: panels.

use crate::telemetry::metrics::Metric;

/// Series of a metric at the board's jobs and instances, and these matchers (`code=~"5.."`).
fn series(metric: Metric, suffix: &str, matchers: &str) -> String {
    let separator = if matchers.is_empty() { "" } else { "," };
    format!("{}{suffix}{{job=~\"$job\",instance=~\"$instance\"{separator}{matchers}}}", metric.spec().name)
}

/// Events a second, by these labels.
pub(super) fn rate(metric: Metric, matchers: &str, by: &str) -> String {
    format!("sum by ({by}) (rate({}[$__rate_interval]))", series(metric, "", matchers))
}

/// Events within the time that the board shows, by these labels.
pub(super) fn total(metric: Metric, matchers: &str, by: &str) -> String {
    format!("sum by ({by}) (increase({}[$__range]))", series(metric, "", matchers))
}

/// A quantile of a histogram, by these labels.
pub(super) fn quantile(q: &str, metric: Metric, by: &str) -> String {
    let by = if by.is_empty() { "le".to_owned() } else { format!("le, {by}") };
    format!("histogram_quantile({q}, sum by ({by}) (rate({}[$__rate_interval])))", series(metric, "_bucket", ""))
}

/// The mean of a histogram, by these labels.
pub(super) fn mean(metric: Metric, by: &str) -> String {
    let part = |suffix| format!("sum by ({by}) (rate({}[$__rate_interval]))", series(metric, suffix, ""));
    format!("{} / {}", part("_sum"), part("_count"))
}

/// A gauge, put together by `how` (`sum`, `max`, `avg`) over all but these labels.
pub(super) fn level(how: &str, metric: Metric, matchers: &str, by: &str) -> String {
    format!("{how} by ({by}) ({})", series(metric, "", matchers))
}
