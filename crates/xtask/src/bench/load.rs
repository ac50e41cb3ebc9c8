//! Runs one kind of request on some connections for some seconds and measures what it took.

use super::http::Connection;
use anyhow::{Context, bail};
use hdrhistogram::Histogram;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What one run showed.
#[derive(Debug, Clone)]
pub struct Measured {
    pub per_second: f64,
    pub p50_ms: f64,
    pub p95_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
    /// CPU of the server (and of PostgreSQL, if `pids` named it) per request, microseconds.
    pub cpu_us: f64,
    pub requests: u64,
}

/// The server's processes: their CPU counts.
pub struct Processes(pub Vec<u32>);

impl Processes {
    /// User and system time of the processes and of those of their children that have ended, in seconds.
    pub fn cpu_seconds(&self) -> f64 {
        // USER_HZ is 100 on every Linux that we run on.
        const TICKS_PER_SECOND: f64 = 100.0;
        self.family()
            .iter()
            .filter_map(|pid| {
                let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
                let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
                let tick = |n: usize| fields.get(n).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
                Some((tick(11) + tick(12)) / TICKS_PER_SECOND)
            })
            .sum()
    }

    /// Resident memory of the first process, MiB.
    pub fn memory_mib(&self) -> f64 {
        let Some(pid) = self.0.first() else { return 0.0 };
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
        line.and_then(|l| l.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
    }

    /// The processes and their living children: PostgreSQL has one process per connection.
    fn family(&self) -> Vec<u32> {
        let mut all = self.0.clone();
        let Ok(entries) = std::fs::read_dir("/proc") else { return all };
        let parents: Vec<(u32, u32)> = entries
            .filter_map(|e| {
                let pid: u32 = e.ok()?.file_name().to_str()?.parse().ok()?;
                let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
                Some((pid, stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?))
            })
            .collect();
        let mut at = 0;
        while let Some(parent) = all.get(at).copied() {
            all.extend(parents.iter().filter(|(_, p)| *p == parent).map(|(pid, _)| *pid));
            at += 1;
        }
        all
    }
}

/// `one` sends the `n`th request on its connection and returns its status; anything but 2xx stops the run.
pub fn run(
    host: &str,
    token: &str,
    connections: usize,
    seconds: u64,
    processes: &Processes,
    one: impl Fn(&mut Connection, u64) -> anyhow::Result<u16> + Sync,
) -> anyhow::Result<Measured> {
    let stop = AtomicBool::new(false);
    let next = AtomicU64::new(0);
    let cpu = processes.cpu_seconds();
    let started = Instant::now();
    let histograms: Vec<anyhow::Result<Histogram<u64>>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..connections)
            .map(|_| {
                scope.spawn(|| {
                    let mut connection = Connection::open(host, token)?;
                    let mut histogram = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3)?;
                    while !stop.load(Ordering::Relaxed) {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        let begin = Instant::now();
                        let status = one(&mut connection, n)?;
                        histogram.record((begin.elapsed().as_micros() as u64).max(1))?;
                        if !(200..300).contains(&status) {
                            stop.store(true, Ordering::Relaxed);
                            bail!("HTTP {status}: {}", String::from_utf8_lossy(&connection.body));
                        }
                    }
                    Ok(histogram)
                })
            })
            .collect();
        let until = started + Duration::from_secs(seconds);
        while Instant::now() < until && !stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(20));
        }
        stop.store(true, Ordering::Relaxed);
        workers.into_iter().map(|w| w.join().unwrap_or_else(|_| bail!("a load thread panicked"))).collect()
    });
    let elapsed = started.elapsed().as_secs_f64();
    let mut all = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3)?;
    for histogram in histograms {
        all.add(histogram.context("a request failed")?)?;
    }
    let requests = all.len();
    let ms = |q: f64| all.value_at_quantile(q) as f64 / 1000.0;
    Ok(Measured {
        per_second: requests as f64 / elapsed,
        p50_ms: ms(0.5),
        p95_ms: ms(0.95),
        p99_ms: ms(0.99),
        max_ms: all.max() as f64 / 1000.0,
        cpu_us: (processes.cpu_seconds() - cpu) * 1e6 / requests.max(1) as f64,
        requests,
    })
}
