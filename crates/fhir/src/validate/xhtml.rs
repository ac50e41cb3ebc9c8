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
            // HTML ends a comment earlier than XML does (`<!-->`, `--!>`): what is behind would be alive there.
            let inside = &comment[..end];
            if inside.starts_with('>')
                || inside.contains("--")
                || inside.starts_with("->")
                || inside.ends_with('-')
            {
                return Err("has a comment that is not well-formed".to_owned());
            }
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
        let active = match attribute {
            "href" | "src" | "cite" | "longdesc" => is_active(value, attribute == "src"),
            "style" => is_active_style(value),
            "xmlns" => value != NAMESPACE,
            _ => false,
        };
        if active {
            return Err(format!("has a `{attribute}` that would do more than show something"));
        }
        namespace |= attribute == "xmlns" && value == NAMESPACE;
        rest = after;
    }
}

/// Schemes that run what they hold, or show it as a page.
const ACTIVE_SCHEMES: &[&str] = &[
    "javascript",
    "vbscript",
    "livescript",
    "data",
    "blob",
    "filesystem",
    "view-source",
    "feed",
    "jar",
    "about",
];
/// Pictures that hold nothing but pixels.
const PIXELS: &[&str] =
    &["image/png", "image/jpeg", "image/jpg", "image/gif", "image/webp", "image/bmp", "image/x-icon"];

/// Whether a link does more than lead somewhere. Browsers skip control characters and spaces before and inside the scheme.
fn is_active(url: &str, is_picture: bool) -> bool {
    let plain: String = url.chars().filter(|c| !c.is_whitespace() && !c.is_control()).collect();
    let lower = plain.to_ascii_lowercase();
    // An entity in the scheme (`&#106;`, `&colon;`, `&Tab;`) can only be there to hide it.
    let head = lower.split(['/', '?', '#']).next().unwrap_or_default();
    if head.replace("&amp;", "").contains('&') {
        return true;
    }
    let Some((scheme, rest)) = head.split_once(':') else { return false };
    if is_picture && scheme == "data" {
        // `image/png` has the slash that the head ends at.
        let kind = lower.strip_prefix("data:").and_then(|r| r.split([';', ',']).next()).unwrap_or(rest);
        return !PIXELS.contains(&kind);
    }
    ACTIVE_SCHEMES.contains(&scheme)
}

/// Whether a style loads code, or hides what it is.
fn is_active_style(style: &str) -> bool {
    let plain: String = style.chars().filter(|c| !c.is_whitespace() && !c.is_control()).collect();
    let lower = plain.to_ascii_lowercase();
    // Escapes and comments have no place in a narrative's style but to break up a word.
    let hidden = lower.contains('\\') || lower.contains("/*") || lower.contains("&#");
    hidden
        || [
            "expression(",
            "javascript:",
            "vbscript:",
            "behavior:",
            "-moz-binding",
            "@import",
            "data:text",
            "data:image/svg",
        ]
        .iter()
        .any(|word| lower.contains(word))
}

#[cfg(test)]
mod tests {
    use super::check;

    /// What attackers write into narratives, each as a whole `div`.
    fn attacks() -> Vec<String> {
        let div = |body: &str| format!("<div xmlns=\"http://www.w3.org/1999/xhtml\">x{body}</div>");
        let mut all = Vec::new();
        // Handlers on elements that are allowed.
        for handler in [
            "onload",
            "onerror",
            "onclick",
            "onmouseover",
            "onfocus",
            "onblur",
            "oninput",
            "onchange",
            "onsubmit",
            "onkeydown",
            "onanimationstart",
            "ontransitionend",
            "onpointerenter",
            "onwheel",
            "ontoggle",
            "onbeforeinput",
            "onscroll",
            "oncopy",
            "ondrag",
            "onauxclick",
            "ONERROR",
            "onError",
            "formaction",
            "srcdoc",
            "action",
            "xlink:href",
            "autofocus",
            "contenteditable",
            "is",
            "slot",
            "srcset",
            "ping",
            "download",
            "background",
            "dynsrc",
            "lowsrc",
        ] {
            for element in ["p", "img", "table"] {
                all.push(div(&format!("<{element} {handler}=\"alert(1)\">x</{element}>")));
            }
        }
        // Elements that run, load, or change how the rest is read.
        for element in [
            "script",
            "SCRIPT",
            "iframe",
            "object",
            "embed",
            "applet",
            "svg",
            "math",
            "style",
            "link",
            "meta",
            "base",
            "form",
            "input",
            "button",
            "textarea",
            "select",
            "video",
            "audio",
            "source",
            "template",
            "noscript",
            "plaintext",
            "xmp",
            "title",
            "body",
            "html",
            "head",
            "frame",
            "frameset",
            "marquee",
            "details",
            "dialog",
            "portal",
            "animate",
            "set",
            "foreignObject",
            "x-custom",
            "isindex",
            "keygen",
            "svg:script",
            "listing",
            "noembed",
            "slot",
        ] {
            all.push(div(&format!("<{element}>alert(1)</{element}>")));
            all.push(div(&format!("<{element} src=\"//evil.example/x.js\"/>")));
        }
        // Links that run.
        for link in [
            "javascript:alert(1)",
            "JaVaScRiPt:alert(1)",
            " javascript:alert(1)",
            "java\tscript:alert(1)",
            "java\nscript:alert(1)",
            "\u{1}javascript:alert(1)",
            "javascript&colon;alert(1)",
            "&#106;avascript:alert(1)",
            "&#x6A;avascript&#58;alert(1)",
            "java&Tab;script:alert(1)",
            "java&NewLine;script:alert(1)",
            "&#0000106avascript:alert(1)",
            "javascript&#x3A;alert(1)",
            "vbscript:msgbox(1)",
            "livescript:x",
            "data:text/html,x",
            "data:text/html;base64,PHN2Zz4=",
            "data:,x",
            "data:image/svg+xml,x",
            "DATA:text/html,x",
            "blob:http://x/1",
            "filesystem:http://x/t",
            "view-source:x",
            "feed:javascript:alert(1)",
            "jar:http://x!/y",
            "about:blank",
            "java&#9;script:alert(1)",
            "javascript\u{a0}:alert(1)",
        ] {
            all.push(div(&format!("<a href=\"{link}\">x</a>")));
            all.push(div(&format!("<img src=\"{link}\" alt=\"x\"/>")));
        }
        // Ends that HTML sees and XML does not; text that one of them takes for something else.
        for body in [
            "<!--><img src=x onerror=alert(1)>-->",
            "<!---><img src=\"x\" onerror=\"alert(1)\"/>-->",
            "<!-- --!><img src=x onerror=alert(1)> -->",
            "<!-- -- --><b>x</b>",
            "<!-- x --->",
            "<![CDATA[<script>alert(1)</script>]]>",
            "<?xml-stylesheet href=\"javascript:alert(1)\"?>",
            "<!DOCTYPE x>",
            "<!ENTITY x SYSTEM \"file:///etc/passwd\">",
            "</div><script>alert(1)</script><div>",
            "<p title=\"</p><script>alert(1)</script>\">x</p>",
            "<p title='\"><script>'>x</p>",
            "<p title=a>x</p>",
            "<p title=`x`>x</p>",
            "<p/onclick=alert(1)>x</p>",
            "<p \"onclick=alert(1)\">x</p>",
            "<p\u{c}onclick=\"x\">x</p>",
            "<img src=\"x\" alt=\"x\"onerror=\"alert(1)\"/>",
            "<\u{0}script>alert(1)</script>",
            "<scr<script>ipt>alert(1)</script>",
            "< script>alert(1)</script>",
            "<b",
            "<a href=\"x",
            "&lt &",
            "&#xZZ;",
            "<p xmlns=\"http://www.w3.org/2000/svg\">x</p>",
            "<div xmlns=\"http://www.w3.org/1998/Math/MathML\">x</div>",
            "<p xmlns:x=\"y\">x</p>",
        ] {
            all.push(div(body));
        }
        for style in [
            "width: expression(alert(1))",
            "background: url(javascript:alert(1))",
            "behavior: url(x.htc)",
            "-moz-binding: url(x)",
            "@import 'x'",
            "width: e\\78 pression(alert(1))",
            "wid/**/th: exp/**/ression(x)",
            "background: url(data:text/html,x)",
            "x: &#101;xpression(1)",
            "background: url(data:image/svg+xml,x)",
        ] {
            all.push(div(&format!("<p style=\"{style}\">x</p>")));
        }
        all
    }

    #[test]
    fn nothing_active_is_taken() {
        let attacks = attacks();
        assert!(attacks.len() >= 200, "{}", attacks.len());
        let taken: Vec<&String> = attacks.iter().filter(|attack| check(attack).is_ok()).collect();
        assert!(taken.is_empty(), "{taken:#?}");
        let div = |body: &str| format!("<div xmlns=\"http://www.w3.org/1999/xhtml\">{body}</div>");
        for right in [
            "<a href=\"mailto:a@b.example\">x</a>",
            "<a href=\"tel:+254712345678\">x</a>",
            "<a href=\"#part\">x</a>",
            "<a href=\"Patient/1?a=b&amp;c=d:e\">x</a>",
            "<a href=\"urn:oid:1.2.3\">x</a>",
            "<img src=\"#contained\" alt=\"x\"/>",
            "<img src=\"data:image/png;base64,AAAA\" alt=\"x\"/>",
            "<p style=\"color: red; background: url(data:image/png;base64,AAAA)\">x</p>",
            "<p style=\"background-image: url(tbl_bck01.png)\">x</p>",
            "<!-- a - b -> c --><p>x</p>",
        ] {
            assert_eq!(check(&div(right)), Ok(()), "{right}");
        }
    }

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
            (div("<a href=\" java\tscript:x\">x</a>"), "`href`"),
            (div("<a href=\"&#106;avascript:x\">x</a>"), "`href`"),
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
