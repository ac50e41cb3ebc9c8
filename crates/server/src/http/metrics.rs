//! Counters in the Prometheus text format, without a dependency: a few families, all bounded.

use parking_lot::RwLock;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds of the duration histogram, milliseconds.
const BOUNDS_MS: &[u64] = &[1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 10_000];
/// Most series of one family; what comes later is counted under `other`. Routes are templates, so this is never near.
const SERIES_MAX: usize = 2000;

/// Duration histogram of one route, method and status.
#[derive(Default)]
pub struct Series {
    buckets: [AtomicU64; BOUNDS_MS.len()],
    count: AtomicU64,
    sum_us: AtomicU64,
}

type RouteKey = (String, String, u16);

/// All numbers of this process.
#[derive(Default)]
pub struct Metrics {
    routes: RwLock<HashMap<RouteKey, Arc<Series>>>,
    /// Named counters: `uzima_<name>_total{<labels>}`.
    counters: RwLock<HashMap<(&'static str, String), Arc<AtomicU64>>>,
    /// Requests being worked on.
    pub in_flight: AtomicI64,
    /// Open WebSockets.
    pub sockets: AtomicI64,
    /// The audit trail's.
    pub audit: crate::worker::audit::Gauges,
}

impl Metrics {
    pub(super) fn request(&self, method: &str, route: &str, status: u16, took: Duration) {
        // `route` is a template such as `/api/v1/patients/{id}`, so the key set is small.
        let series = self.series(method, route, status);
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        series.count.fetch_add(1, Relaxed);
        series.sum_us.fetch_add(us, Relaxed);
        for (bucket, bound) in series.buckets.iter().zip(BOUNDS_MS) {
            if us <= bound * 1000 {
                bucket.fetch_add(1, Relaxed);
            }
        }
    }

    fn series(&self, method: &str, route: &str, status: u16) -> Arc<Series> {
        let key = (method.to_owned(), route.to_owned(), status);
        if let Some(series) = self.routes.read().get(&key) {
            return series.clone();
        }
        let mut routes = self.routes.write();
        let key = if routes.len() < SERIES_MAX { key } else { (String::new(), "other".into(), status) };
        routes.entry(key).or_default().clone()
    }

    /// Adds to the counter `uzima_<name>_total`; `labels` as in Prometheus, e.g. `kind="reminder"`, from a bounded set
    /// and never about a person.
    pub fn count(&self, name: &'static str, labels: &str, by: u64) {
        if let Some(counter) = self.counters.read().get(&(name, labels.to_owned())) {
            counter.fetch_add(by, Relaxed);
            return;
        }
        let mut counters = self.counters.write();
        if counters.len() < SERIES_MAX {
            counters.entry((name, labels.to_owned())).or_default().fetch_add(by, Relaxed);
        }
    }

    /// The Prometheus text format 0.0.4.
    pub fn render(&self) -> String {
        let mut text = String::new();
        gauge(
            &mut text,
            "uzima_requests_in_flight",
            "Requests being worked on.",
            self.in_flight.load(Relaxed),
        );
        gauge(&mut text, "uzima_sockets", "Open WebSockets.", self.sockets.load(Relaxed));
        if let Some(bytes) = resident_bytes() {
            gauge(&mut text, "process_resident_memory_bytes", "Resident memory.", bytes);
        }
        text.push_str(&self.audit.render());
        self.render_counters(&mut text);
        self.render_routes(&mut text);
        text
    }

    fn render_counters(&self, text: &mut String) {
        let counters = self.counters.read();
        let mut keys: Vec<_> = counters.iter().map(|(key, value)| (key, value.load(Relaxed))).collect();
        keys.sort();
        let mut last = "";
        for ((name, labels), value) in keys {
            if *name != last {
                let _ = writeln!(text, "# TYPE uzima_{name}_total counter");
                last = name;
            }
            let _ = match labels.is_empty() {
                true => writeln!(text, "uzima_{name}_total {value}"),
                false => writeln!(text, "uzima_{name}_total{{{labels}}} {value}"),
            };
        }
    }

    fn render_routes(&self, text: &mut String) {
        let name = "uzima_request_duration_seconds";
        let _ = writeln!(text, "# HELP {name} Time from the head of the request to the head of the answer.");
        let _ = writeln!(text, "# TYPE {name} histogram");
        let routes = self.routes.read();
        let mut keys: Vec<_> = routes.iter().collect();
        keys.sort_by(|a, b| a.0.cmp(b.0));
        for ((method, route, status), series) in keys {
            let labels = format!("method=\"{method}\",route=\"{route}\",status=\"{status}\"");
            for (bound, bucket) in BOUNDS_MS.iter().zip(&series.buckets) {
                let (whole, rest) = (bound / 1000, bound % 1000);
                let _ = writeln!(
                    text,
                    "{name}_bucket{{{labels},le=\"{whole}.{rest:03}\"}} {}",
                    bucket.load(Relaxed)
                );
            }
            let count = series.count.load(Relaxed);
            let sum_us = series.sum_us.load(Relaxed);
            let _ = writeln!(text, "{name}_bucket{{{labels},le=\"+Inf\"}} {count}");
            let _ = writeln!(text, "{name}_sum{{{labels}}} {}.{:06}", sum_us / 1_000_000, sum_us % 1_000_000);
            let _ = writeln!(text, "{name}_count{{{labels}}} {count}");
        }
    }
}

fn gauge(text: &mut String, name: &str, help: &str, value: i64) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}");
}

/// Linux only: the second field of `/proc/self/statm` in pages of 4 KiB.
fn resident_bytes() -> Option<i64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    text.split(' ').nth(1)?.parse::<i64>().ok().map(|pages| pages * 4096)
}
