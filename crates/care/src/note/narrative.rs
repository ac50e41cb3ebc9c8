//! Plain text in FHIR's XHTML narratives and back.

const OPEN: &str = "<div xmlns=\"http://www.w3.org/1999/xhtml\">";

/// The text as a narrative `div`: paragraphs at empty lines, `<br/>` at single line ends.
pub fn to_xhtml(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 64);
    out.push_str(OPEN);
    out.push_str("<p>");
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("<br/>"),
            '\r' => {}
            // XML 1.0 has no other control characters.
            c if c.is_control() && c != '\t' => out.push(' '),
            // Not allowed in XML at all.
            '\u{fffe}' | '\u{ffff}' => out.push(' '),
            c => out.push(c),
        }
    }
    out.push_str("</p></div>");
    out
}

/// The plain text of a narrative of any origin: tags go, line breaks and paragraphs become line ends.
pub fn from_xhtml(div: &str) -> String {
    let mut out = String::with_capacity(div.len());
    let mut rest = div;
    while let Some(at) = rest.find(['<', '&']) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        if from.starts_with('<') {
            let Some(end) = from.find('>') else { return tidy(&out) };
            let name: String = from[1..end]
                .trim_start_matches('/')
                .chars()
                .take_while(char::is_ascii_alphanumeric)
                .collect();
            let closing = from.starts_with("</");
            match name.as_str() {
                "br" => out.push('\n'),
                "p" | "li" | "tr" | "h1" | "h2" | "h3" | "h4" if closing => out.push('\n'),
                "td" | "th" if closing => out.push(' '),
                _ => {}
            }
            rest = &from[end + 1..];
        } else {
            let end = from.find(';').filter(|end| *end <= 10);
            let character = end.and_then(|end| entity(&from[1..end]));
            match (character, end) {
                (Some(character), Some(end)) => {
                    out.push(character);
                    rest = &from[end + 1..];
                }
                _ => {
                    out.push('&');
                    rest = &from[1..];
                }
            }
        }
    }
    out.push_str(rest);
    tidy(&out)
}

fn tidy(text: &str) -> String {
    text.trim_end_matches('\n').to_owned()
}

fn entity(name: &str) -> Option<char> {
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => '\u{a0}',
        _ => {
            let number = name.strip_prefix('#')?;
            let value = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(value)?
        }
    })
}
