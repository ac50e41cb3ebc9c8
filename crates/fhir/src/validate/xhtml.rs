//! Narrative markup: well-formed, one `div`, nothing active (<http://hl7.org/fhir/R4/narrative.html>, txt-1, txt-2).

const ELEMENTS: &[&str] = &[
    "a",
    "abbr",
    "acronym",
    "b",
    "big",
    "blockquote",
    "br",
    "caption",
    "cite",
    "code",
    "col",
    "colgroup",
    "dd",
    "dfn",
    "div",
    "dl",
    "dt",
    "em",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "hr",
    "i",
    "img",
    "li",
    "ol",
    "p",
    "pre",
    "q",
    "samp",
    "small",
    "span",
    "strong",
    "sub",
    "sup",
    "table",
    "tbody",
    "td",
    "tfoot",
    "th",
    "thead",
    "tr",
    "tt",
    "ul",
    "var",
];
const ATTRIBUTES: &[&str] = &[
    "abbr",
    "accesskey",
    "align",
    "alt",
    "axis",
    "bgcolor",
    "border",
    "cellhalign",
    "cellpadding",
    "cellspacing",
    "cellvalign",
    "char",
    "charoff",
    "charset",
    "cite",
    "class",
    "colspan",
    "compact",
    "coords",
    "dir",
    "frame",
    "headers",
    "height",
    "href",
    "hreflang",
    "hspace",
    "id",
    "idref",
    "lang",
    "longdesc",
    "name",
    "nowrap",
    "rel",
    "rev",
    "rowspan",
    "rules",
    "scope",
    "shape",
    "span",
    "src",
    "start",
    "style",
    "summary",
    "tabindex",
    "title",
    "type",
    "valign",
    "value",
    "vspace",
    "width",
    "xml:lang",
    "xml:space",
    "xmlns",
];
const NAMESPACE: &str = "http://www.w3.org/1999/xhtml";
/// Open elements at one place.
const MAX_OPEN: usize = 100;

/// Errors: what is wrong, without the text of the narrative.
pub(super) fn check(text: &str) -> Result<(), String> {
    let mut rest = text.trim();
    let mut open: Vec<&str> = Vec::new();
    let mut content = false;
    if !rest.starts_with("<div") {
        return Err("must start with `<div`".to_owned());
    }
    loop {
        let Some(at) = rest.find('<') else {
            return Err(if open.is_empty() {
                "has text after the `div`"
            } else {
                "has an element that is not closed"
            }
            .to_owned());
        };
        characters(&rest[..at], &mut content)?;
        rest = &rest[at..];
        if let Some(comment) = rest.strip_prefix("<!--") {
            let end = comment.find("-->").ok_or("has a comment that is not closed")?;
            rest = &comment[end + 3..];
        } else if let Some(closing) = rest.strip_prefix("</") {
            let end = closing.find('>').ok_or("has a tag that is not closed")?;
            let name = closing[..end].trim_end();
            match open.pop() {
                Some(o) if o == name => {}
                _ => return Err("closes an element that is not open".to_owned()),
            }
            rest = &closing[end + 1..];
        } else {
            rest = tag(&rest[1..], &mut open, &mut content)?;
        }
        if open.is_empty() {
            break;
        }
    }
    if !rest.trim().is_empty() {
        return Err("must be one single `div`".to_owned());
    }
    if content { Ok(()) } else { Err("has no content".to_owned()) }
}

fn characters(text: &str, content: &mut bool) -> Result<(), String> {
    *content |= !text.trim().is_empty();
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        let end = rest[at..].find(';').ok_or("has a `&` that must be written as `&amp;`")?;
        let name = &rest[at + 1..at + end];
        let numeric = name.strip_prefix('#');
        let known = match numeric {
            Some(n) => match n.strip_prefix('x') {
                Some(hex) => !hex.is_empty() && hex.bytes().all(|b| b.is_ascii_hexdigit()),
                None => !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()),
            },
            None => !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric()),
        };
        if !known {
            return Err("has a `&` that must be written as `&amp;`".to_owned());
        }
        rest = &rest[at + end + 1..];
    }
    Ok(())
}

/// Reads a start tag behind its `<`; returns what follows it.
fn tag<'a>(text: &'a str, open: &mut Vec<&'a str>, content: &mut bool) -> Result<&'a str, String> {
    let end = text
        .find(|c: char| c.is_whitespace() || matches!(c, '>' | '/'))
        .ok_or("has a tag that is not closed")?;
    let name = &text[..end];
    if !ELEMENTS.contains(&name) {
        let name: String = name.chars().take(20).collect();
        return Err(format!("has the element `{name}`, which narrative may not use"));
    }
    let mut rest = &text[end..];
    let mut namespace = false;
    loop {
        let blank = rest.len();
        rest = rest.trim_start();
        let separated = rest.len() < blank;
        if let Some(after) = rest.strip_prefix("/>") {
            *content |= name == "img";
            if open.is_empty() {
                return Err("has no content".to_owned());
            }
            return Ok(after);
        }
        if let Some(after) = rest.strip_prefix('>') {
            if open.is_empty() && !namespace {
                return Err(format!("must declare xmlns=\"{NAMESPACE}\" on its `div`"));
            }
            if open.len() >= MAX_OPEN {
                return Err("is nested too deeply".to_owned());
            }
            open.push(name);
            return Ok(after);
        }
        if !separated {
            return Err("has a tag that is not well-formed".to_owned());
        }
        let (attribute, after) = rest.split_once('=').ok_or("has an attribute without value")?;
        let attribute = attribute.trim();
        let after = after.trim_start();
        let quote = after
            .chars()
            .next()
            .filter(|q| matches!(q, '"' | '\''))
            .ok_or("has an attribute without quotes")?;
        let (value, after) = after[1..].split_once(quote).ok_or("has an attribute without end")?;
        if !ATTRIBUTES.contains(&attribute) {
            let attribute: String = attribute.chars().take(20).collect();
            return Err(format!("has the attribute `{attribute}`, which narrative may not use"));
        }
        if value.contains('<') {
            return Err("has an attribute with a `<` that must be written as `&lt;`".to_owned());
        }
        characters(value, &mut false)?;
        if matches!(attribute, "href" | "src") && is_script(value) {
            return Err("has a link that would run a script".to_owned());
        }
        namespace |= attribute == "xmlns" && value == NAMESPACE;
        rest = after;
    }
}

/// Browsers skip control characters and spaces before and inside the scheme.
fn is_script(url: &str) -> bool {
    let scheme: String = url
        .chars()
        .filter(|c| !c.is_whitespace() && !c.is_control())
        .take(11)
        .flat_map(char::to_lowercase)
        .collect();
    // An entity in the scheme can only be there to hide it.
    let head = scheme.split(':').next().unwrap_or("");
    scheme.starts_with("javascript:")
        || scheme.starts_with("vbscript:")
        || (head.contains('&') && url.contains(':'))
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn table() {
        let div = |body: &str| format!("<div xmlns=\"http://www.w3.org/1999/xhtml\">{body}</div>");
        for right in [
            div("<p>Hello <b>x</b><br/>&nbsp;&#160;&#xA0; &lt;</p>"),
            div("<!-- note --><table border='1'><tr><td>1</td></tr></table>"),
            div("<a href=\"http://example.org?a=1&amp;b=2\">x</a>"),
            div("<img src=\"data:image/png;base64,AAAA\" alt=\"\"/>"),
            div("ሰላም"),
        ] {
            assert_eq!(check(&right), Ok(()), "{right}");
        }
        for (wrong, part) in [
            (div(""), "no content"),
            (div("  <p> </p>"), "no content"),
            ("plain".to_owned(), "start with"),
            ("<div>x</div>".to_owned(), "xmlns"),
            ("<div xmlns=\"http://www.w3.org/1999/xhtml\"/>".to_owned(), "no content"),
            (div("<p>x"), "not open"),
            (div("x") + "y", "single"),
            (div("x") + &div("y"), "single"),
            (div("<script>x</script>"), "`script`"),
            (div("<p onclick=\"x\">x</p>"), "`onclick`"),
            (div("<a href=\" java\tscript:x\">x</a>"), "run a script"),
            (div("<a href=\"&#106;avascript:x\">x</a>"), "run a script"),
            (div("a & b"), "&amp;"),
            (div("<p class=x>x</p>"), "quotes"),
            (div("<p"), "element `p<`"),
            (div("<!-- x"), "comment"),
            (div(&"<b>".repeat(200)), "deeply"),
            ("<div xmlns=\"http://www.w3.org/1999/xhtml\">x".to_owned(), "not closed"),
        ] {
            let error = check(&wrong).unwrap_err();
            assert!(error.contains(part), "{wrong}: {error}");
        }
    }
}
