//! The page for people: what is in the copy, what is held, who had it.

use super::words::{Words, words};
use fhir::Resource;
use jiff::Timestamp;
use record::subject::AccessReport;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Accesses on the page; all of them are in the table beside it.
const SHOWN: usize = 1_000;

/// An entry in one line.
pub struct Line {
    date: String,
    title: String,
    /// It has no title left, because it is hidden from who gets the copy.
    is_hidden: bool,
    status: String,
}

impl Line {
    pub fn of(resource: &Resource) -> Line {
        let value = resource.value();
        let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let first = |pointers: &[&str]| pointers.iter().find_map(|p| text(p));
        let date = record::subject::date(value);
        let title = first(&[
            "/code/text",
            "/code/coding/0/display",
            "/medicationCodeableConcept/text",
            "/medicationCodeableConcept/coding/0/display",
            "/vaccineCode/text",
            "/vaccineCode/coding/0/display",
            "/title",
            "/description",
            "/type/text",
            "/type/coding/0/display",
            "/serviceType/0/text",
            "/serviceType/0/coding/0/display",
            "/class/display",
            "/payload/0/contentString",
            "/name/0/text",
            "/name/0/family",
            "/code/coding/0/code",
        ]);
        Line {
            is_hidden: title.is_none() && access::redact::is_subsetted(resource),
            date: date.unwrap_or_default().chars().take(16).collect::<String>().replace('T', " "),
            title: title.unwrap_or_default().chars().take(200).collect(),
            status: text("/status").unwrap_or_default(),
        }
    }
}

/// What the page tells.
pub struct Contents<'a> {
    pub made: Timestamp,
    pub resources: u64,
    pub lines: &'a BTreeMap<&'static str, Vec<Line>>,
    pub more_lines: bool,
    /// Name in the copy, and what it is called.
    pub files: &'a [(String, String)],
    pub report: &'a AccessReport,
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(letter),
        }
    }
    out
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:56rem;margin:2rem auto;padding:0 1rem;color:#17202a}\
h1{font-size:1.6rem}h2{margin-top:2rem;font-size:1.2rem}table{border-collapse:collapse;width:100%}\
th,td{text-align:left;padding:.3rem .5rem;border-bottom:1px solid #d5dbdf;vertical-align:top}th{font-weight:600}\
.n{text-align:right;white-space:nowrap}.m{color:#5a6872}summary{cursor:pointer;font-weight:600;padding:.4rem 0}";

/// One file without scripts or anything from elsewhere. `language` as in BCP 47; English for others than Kiswahili.
pub fn html(of: &Contents<'_>, language: &str) -> String {
    let w = words(language);
    let mut out = String::with_capacity(64 * 1024);
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"{}\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{}</title><style>{STYLE}</style></head><body><h1>{}</h1><p class=\"m\">{} {}</p><p>{}</p>",
        w.language,
        w.title,
        w.title,
        w.made,
        instant(of.made),
        w.intro,
    );
    let _ = write!(
        out,
        "<ul><li><b>record.json</b>: {} ({})</li><li><b>who-saw.csv</b>: {}</li><li><b>files/</b>: {} ({})</li></ul><p class=\"m\">{}</p>",
        w.about_record,
        of.resources,
        w.about_accesses,
        w.about_files,
        of.files.len(),
        w.left_out,
    );
    held(&mut out, of, w);
    record(&mut out, of, w);
    if !of.files.is_empty() {
        let _ = write!(out, "<h2>{}</h2><ul>", w.files);
        for (name, title) in of.files {
            let _ = write!(out, "<li><a href=\"{}\">{}</a></li>", escape(name), escape(title));
        }
        out.push_str("</ul>");
    }
    given(&mut out, of, w);
    seen(&mut out, of, w);
    out.push_str("</body></html>\n");
    out
}

fn instant(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

fn held(out: &mut String, of: &Contents<'_>, w: &Words) {
    let _ = write!(
        out,
        "<h2>{}</h2><table><tr><th>{}</th><th class=\"n\">{}</th><th>{}</th></tr>",
        w.held, w.kind, w.count, w.changed
    );
    for one in &of.report.held {
        let _ = write!(
            out,
            "<tr><td>{}</td><td class=\"n\">{}</td><td>{}</td></tr>",
            escape(w.kind_of(one.kind.name())),
            one.count,
            instant(one.changed)
        );
    }
    let besides = &of.report.besides;
    for (name, count) in [
        (w.accounts, besides.accounts),
        (w.messages, besides.messages),
        (w.payments, besides.payments),
        (w.proxies, besides.proxies),
        (w.requests, besides.requests),
    ] {
        if count > 0 {
            let _ = write!(out, "<tr><td>{name}</td><td class=\"n\">{count}</td><td></td></tr>");
        }
    }
    out.push_str("</table>");
}

fn record(out: &mut String, of: &Contents<'_>, w: &Words) {
    let _ = write!(out, "<h2>{}</h2>", w.record);
    for (kind, lines) in of.lines {
        let _ =
            write!(out, "<details><summary>{} ({})</summary><table>", escape(w.kind_of(kind)), lines.len());
        for line in lines {
            let _ = write!(
                out,
                "<tr><td class=\"n m\">{}</td><td>{}</td><td class=\"m\">{}</td></tr>",
                escape(&line.date),
                if line.is_hidden { w.hidden.to_owned() } else { escape(&line.title) },
                escape(&line.status)
            );
        }
        out.push_str("</table></details>");
    }
    if of.more_lines {
        let _ = write!(out, "<p class=\"m\">{}</p>", w.more);
    }
}

fn given(out: &mut String, of: &Contents<'_>, w: &Words) {
    let _ = write!(out, "<h2>{}</h2>", w.given);
    if of.report.given.is_empty() {
        let _ = write!(out, "<p>{}</p>", w.nobody);
        return;
    }
    let _ = write!(
        out,
        "<table><tr><th>{}</th><th>{}</th><th class=\"n\">{}</th><th>{}</th></tr>",
        w.who, w.country, w.times, w.last
    );
    for one in &of.report.given {
        let _ = write!(
            out,
            "<tr><td>{}</td><td>{}</td><td class=\"n\">{}</td><td>{}</td></tr>",
            escape(&one.display),
            escape(&one.country),
            one.times,
            instant(one.last)
        );
    }
    out.push_str("</table>");
}

fn seen(out: &mut String, of: &Contents<'_>, w: &Words) {
    let _ = write!(
        out,
        "<h2>{}</h2><table><tr><th>{}</th><th>{}</th><th>{}</th><th>{}</th></tr>",
        w.seen, w.when, w.who, w.did, w.what
    );
    for row in of.report.seen.iter().take(SHOWN) {
        let _ = write!(
            out,
            "<tr><td class=\"n\">{}</td><td>{} <span class=\"m\">{}</span></td><td>{}</td><td>{}</td></tr>",
            instant(row.at),
            escape(&row.agent_display),
            escape(&row.role),
            escape(&row.action),
            escape(&row.what)
        );
    }
    out.push_str("</table>");
    if of.report.seen.len() > SHOWN {
        let _ = write!(out, "<p class=\"m\">{}</p>", w.more_seen);
    }
}

/// Who saw it, as RFC 4180.
pub fn accesses(report: &AccessReport) -> String {
    let mut out = String::from("at,who,role,action,outcome,what,purpose\r\n");
    for row in &report.seen {
        let cells = [
            row.at.to_string(),
            row.agent_display.clone(),
            row.role.clone(),
            row.action.clone(),
            row.outcome.clone(),
            row.what.clone(),
            row.purpose.clone(),
        ];
        let line: Vec<String> = cells.iter().map(|cell| csv_cell(cell)).collect();
        let _ = write!(out, "{}\r\n", line.join(","));
    }
    out
}

/// Quoted; what a spreadsheet would take for a formula is not one.
fn csv_cell(text: &str) -> String {
    let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_hidden_is_no_empty_line() {
        let tag = json!({"tag": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"}]});
        let line = |value: Value| Line::of(&Resource::from_value(value).unwrap());
        let hidden = line(json!({"resourceType": "Condition", "meta": tag}));
        assert!(hidden.is_hidden && hidden.title.is_empty());
        let in_part = line(json!({"resourceType": "Condition", "meta": tag, "code": {"text": "Cough"}}));
        assert!(!in_part.is_hidden && in_part.title == "Cough");
        assert!(!line(json!({"resourceType": "Condition"})).is_hidden, "nothing was written");
    }
}
