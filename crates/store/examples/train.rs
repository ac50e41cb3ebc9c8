//! Makes a compression dictionary of resources out of FHIR bundles: `train OUT FILE…` (JSON, optionally gzip).

use std::io::Read;

const DICTIONARY_BYTES: usize = 64 * 1024;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let out = arguments.next().ok_or("train OUT FILE…")?;
    let (mut samples, mut total) = (Vec::new(), 0);
    for file in arguments {
        let mut text = String::new();
        if file.ends_with(".gz") {
            flate2::read::GzDecoder::new(std::fs::File::open(&file)?).read_to_string(&mut text)?;
        } else {
            std::fs::File::open(&file)?.read_to_string(&mut text)?;
        }
        let bundle: serde_json::Value = serde_json::from_str(&text)?;
        for entry in bundle["entry"].as_array().into_iter().flatten() {
            let mut resource =
                fhir::Resource::from_value(entry["resource"].clone()).map_err(|_| "no resource")?;
            resource.set_version(1, jiff::Timestamp::from_second(1_790_000_000 + total as i64)?);
            // As stored: references by id, no narrative.
            resource.set("text", serde_json::Value::Null);
            let json = resource.to_json().replace("urn:uuid:", "Patient/");
            total += json.len();
            if json.len() < 20_000 {
                samples.push(json.into_bytes());
            }
        }
    }
    let dictionary = zstd::dict::from_samples(&samples, DICTIONARY_BYTES)?;
    std::fs::write(&out, &dictionary)?;
    for level in [1, 2, 3, 5, 9] {
        let mut packer = zstd::bulk::Compressor::with_dictionary(level, &dictionary)?;
        let start = std::time::Instant::now();
        let mut packed = 0;
        for sample in &samples {
            packed += packer.compress(sample)?.len();
        }
        println!(
            "level {level}: {} samples, {total} → {packed} bytes, {:.1} µs each",
            samples.len(),
            start.elapsed().as_secs_f64() * 1e6 / samples.len() as f64
        );
    }
    Ok(())
}
