//! Lexer for FHIRPath N1 (<http://hl7.org/fhirpath/N1/grammar.html>).

use super::PathError;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    /// Also keywords: which identifiers are keywords depends on the place.
    Identifier(String),
    /// In backticks: never a keyword.
    Delimited(String),
    String(String),
    Number(String),
    /// Without `@`.
    DateTime(String),
    /// Without `@T`.
    Time(String),
    /// `%name`, without the percent sign.
    Variable(String),
    /// `$this`, `$index`, `$total`, without the dollar sign.
    Special(String),
    Symbol(&'static str),
}

/// Longest first, so that `<=` is not read as `<`.
const SYMBOLS: &[&str] = &[
    "<=", ">=", "!=", "!~", "(", ")", "[", "]", "{", "}", ".", ",", "+", "-", "*", "/", "&", "|", "<", ">",
    "=", "~",
];

/// Tokens with their byte offsets.
pub(crate) fn tokens(text: &str) -> Result<Vec<(usize, Token)>, PathError> {
    let mut lexer = Lexer { text, at: 0 };
    let mut out = Vec::new();
    while lexer.skip_blank()? {
        let start = lexer.at;
        let token = lexer.token()?;
        out.push((start, token));
    }
    Ok(out)
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }
    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }
    fn error<T>(&self, text: &str) -> Result<T, PathError> {
        Err(PathError::Syntax { at: self.at, text: text.to_owned() })
    }

    /// Whether something follows the white space and comments.
    fn skip_blank(&mut self) -> Result<bool, PathError> {
        loop {
            let trimmed = self.rest().trim_start();
            self.at = self.text.len() - trimmed.len();
            if trimmed.starts_with("//") {
                self.at += trimmed.find('\n').unwrap_or(trimmed.len());
            } else if trimmed.starts_with("/*") {
                match trimmed.find("*/") {
                    Some(end) => self.at += end + 2,
                    None => return self.error("a comment without end"),
                }
            } else {
                return Ok(!trimmed.is_empty());
            }
        }
    }

    fn token(&mut self) -> Result<Token, PathError> {
        let Some(first) = self.peek() else { return self.error("unexpected end") };
        match first {
            '\'' => Ok(Token::String(self.quoted('\'')?)),
            '`' => Ok(Token::Delimited(self.quoted('`')?)),
            '"' => Ok(Token::Delimited(self.quoted('"')?)),
            '@' => self.date(),
            '%' => {
                self.at += 1;
                match self.peek() {
                    Some(q @ ('\'' | '`')) => Ok(Token::Variable(self.quoted(q)?)),
                    _ => {
                        let name = self.while_matching(|c| c.is_alphanumeric() || c == '_' || c == '-');
                        if name.is_empty() {
                            self.error("a name must follow %")
                        } else {
                            Ok(Token::Variable(name))
                        }
                    }
                }
            }
            '$' => {
                self.at += 1;
                let name = self.while_matching(char::is_alphanumeric);
                if matches!(name.as_str(), "this" | "index" | "total") {
                    Ok(Token::Special(name))
                } else {
                    self.error("only $this, $index and $total exist")
                }
            }
            c if c.is_ascii_digit() => Ok(Token::Number(self.number())),
            c if c.is_ascii_alphabetic() || c == '_' => {
                Ok(Token::Identifier(self.while_matching(|c| c.is_ascii_alphanumeric() || c == '_')))
            }
            _ => match SYMBOLS.iter().find(|s| self.rest().starts_with(**s)) {
                Some(symbol) => {
                    self.at += symbol.len();
                    Ok(Token::Symbol(symbol))
                }
                None => self.error("unexpected character"),
            },
        }
    }

    fn while_matching(&mut self, matches: impl Fn(char) -> bool) -> String {
        let rest = self.rest();
        let end = rest.find(|c| !matches(c)).unwrap_or(rest.len());
        let taken = rest[..end].to_owned();
        self.at += end;
        taken
    }

    fn number(&mut self) -> String {
        let mut out = self.while_matching(|c| c.is_ascii_digit());
        self.fraction(&mut out);
        out
    }

    /// A dot is part of a number or time only before digits; otherwise it starts a function call.
    fn fraction(&mut self, out: &mut String) {
        let mut rest = self.rest().chars();
        if rest.next() == Some('.') && rest.next().is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
            out.push('.');
            *out += &self.while_matching(|c| c.is_ascii_digit());
        }
    }

    fn date(&mut self) -> Result<Token, PathError> {
        self.at += 1;
        if self.rest().starts_with('T') {
            self.at += 1;
            let mut time = self.while_matching(|c| c.is_ascii_digit() || c == ':');
            self.fraction(&mut time);
            return Ok(Token::Time(time));
        }
        let mut out = self.while_matching(|c| c.is_ascii_digit() || c == '-');
        if self.rest().starts_with('T') {
            self.at += 1;
            out.push('T');
            out += &self.while_matching(|c| c.is_ascii_digit() || c == ':');
            self.fraction(&mut out);
            if self.rest().starts_with('Z') {
                self.at += 1;
                out.push('Z');
            } else if let Some(sign @ ('+' | '-')) = self.peek()
                && self.rest().as_bytes().get(1..6).is_some_and(|z| z[2] == b':' && z[0].is_ascii_digit())
            {
                self.at += 1;
                out.push(sign);
                out += &self.while_matching(|c| c.is_ascii_digit() || c == ':');
            }
        }
        Ok(Token::DateTime(out))
    }

    fn quoted(&mut self, quote: char) -> Result<String, PathError> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let Some(c) = self.peek() else { return self.error("a quotation without end") };
            self.at += c.len_utf8();
            if c == quote {
                return Ok(out);
            }
            if c != '\\' {
                out.push(c);
                continue;
            }
            let Some(escaped) = self.peek() else { return self.error("a quotation without end") };
            self.at += escaped.len_utf8();
            match escaped {
                'n' => out.push('\n'),
                'r' => out.push('\r'),
                't' => out.push('\t'),
                'f' => out.push('\u{c}'),
                'u' => {
                    let code = self.rest().get(..4).and_then(|h| u32::from_str_radix(h, 16).ok());
                    match code.and_then(char::from_u32) {
                        Some(c) => {
                            out.push(c);
                            self.at += 4;
                        }
                        None => return self.error("\\u needs four hexadecimal digits"),
                    }
                }
                '\\' | '/' | '\'' | '"' | '`' => out.push(escaped),
                _ => return self.error("unknown escape"),
            }
        }
    }
}
