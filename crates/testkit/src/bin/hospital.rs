//! `uzima-hospital --patients N --out DIR`: the demonstration hospital as gzip NDJSON files for `uzima import`.

use anyhow::Context;
use clap::Parser;
use flate2::{Compression, write::GzEncoder};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use testkit::hospital::{Depth, Hospital};

/// Patients per file: large enough to compress well, small enough that an interrupted import resumes quickly.
const PATIENTS_PER_FILE: u64 = 2_000;

#[derive(Parser)]
#[command(about = "Writes a deterministic demonstration hospital as FHIR NDJSON (gzip)")]
struct Arguments {
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    patients: u64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The day around which appointments lie; default today in the clinic's zone.
    #[arg(long)]
    today: Option<jiff::civil::Date>,
    /// Only Patient resources, for search at scale.
    #[arg(long)]
    demographics: bool,
    /// A folder that is made if missing; files in it with the same names are replaced.
    #[arg(long)]
    out: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let today = match arguments.today {
        Some(day) => day,
        None => jiff::Timestamp::now().in_tz("Africa/Nairobi")?.date(),
    };
    let depth = if arguments.demographics { Depth::Demographics } else { Depth::Full };
    let hospital = Hospital::new(arguments.seed, today, arguments.patients, depth);
    std::fs::create_dir_all(&arguments.out)
        .with_context(|| format!("cannot make {}", arguments.out.display()))?;

    let mut file = Ndjson::create(&arguments.out.join("000-facility.ndjson.gz"))?;
    hospital.facility().iter().try_for_each(|r| file.line(r))?;
    file.finish()?;

    let bar = ProgressBar::new(arguments.patients)
        .with_style(ProgressStyle::with_template("{bar:40} {pos}/{len} patients  {eta}")?);
    for first in (0..arguments.patients).step_by(PATIENTS_PER_FILE as usize) {
        let name = format!("{:03}-patients.ndjson.gz", first / PATIENTS_PER_FILE + 1);
        let mut file = Ndjson::create(&arguments.out.join(name))?;
        for n in first..(first + PATIENTS_PER_FILE).min(arguments.patients) {
            hospital.patient(n).iter().try_for_each(|r| file.line(r))?;
            bar.inc(1);
        }
        file.finish()?;
    }
    bar.finish();

    // Who can sign in: read by `cargo xtask demo` and the end-to-end tests.
    let doctors: Vec<_> = hospital
        .doctors()
        .iter()
        .map(|d| json!({"login": d.login, "display": d.display, "practitioner": format!("Practitioner/{}", d.id)}))
        .collect();
    std::fs::write(
        arguments.out.join("staff.accounts"),
        serde_json::to_vec_pretty(&json!({"doctors": doctors}))?,
    )?;
    Ok(())
}

struct Ndjson(GzEncoder<BufWriter<File>>);

impl Ndjson {
    fn create(path: &Path) -> anyhow::Result<Ndjson> {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Ndjson(GzEncoder::new(BufWriter::new(file), Compression::fast())))
    }
    fn line(&mut self, resource: &serde_json::Value) -> anyhow::Result<()> {
        serde_json::to_writer(&mut self.0, resource)?;
        self.0.write_all(b"\n")?;
        Ok(())
    }
    fn finish(self) -> anyhow::Result<()> {
        self.0.finish()?.flush()?;
        Ok(())
    }
}
