//! Text with `${column|filter:argument|…}` in it, and JSON made of such text.

use super::Row;
use jiff::civil;
use serde_json::Value;
use std::collections::BTreeMap;

/// Text outside and inside of `${…}`.
#[derive(Debug, Clone, PartialEq)]
pub struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq)]
enum Piece {
    Text(String),
    Column(String, Vec<Filter>),
}

#[derive(Debug, Clone, PartialEq)]
enum Filter {
    Upper,
    Lower,
    /// `strptime` format of a day.
    Date(String),
    /// `strptime` format of a day with time; written as an instant in the mapping's zone.
    DateTime(String),
    Number,
    Integer,
    Boolean,
    Digits,
    /// Country of numbers without code.
    Phone(String),
    Map(String),
    Default(String),
    /// Separator and which piece, from 0.
    Split(String, usize),
}

/// What filters need to know.
pub struct Surroundings<'a> {
    pub maps: &'a BTreeMap<String, BTreeMap<String, String>>,
    pub zone: &'a jiff::tz::TimeZone,
}

impl Template {
    /// Errors: what is wrong with it.
    pub fn parse(text: &str) -> Result<Template, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            if at > 0 {
                pieces.push(Piece::Text(rest[..at].to_owned()));
            }
            let inner = &rest[at + 2..];
            let end = inner.find('}').ok_or_else(|| format!("`${{` without `}}` in `{text}`"))?;
            let mut parts = inner[..end].split('|');
            let column = parts.next().unwrap_or_default().trim();
            if column.is_empty() {
                return Err(format!("`${{}}` without a column in `{text}`"));
            }
            let filters = parts.map(|f| Filter::parse(f.trim())).collect::<Result<_, _>>()?;
            pieces.push(Piece::Column(column.to_owned(), filters));
            rest = &inner[end + 1..];
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Template(pieces))
    }

    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Column(column, _) => Some(column.as_str()),
            Piece::Text(_) => None,
        })
    }

    /// Names of the maps it uses.
    pub fn maps(&self) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .flat_map(|piece| match piece {
                Piece::Column(_, filters) => filters.as_slice(),
                Piece::Text(_) => &[],
            })
            .filter_map(|filter| match filter {
                Filter::Map(name) => Some(name.as_str()),
                _ => None,
            })
    }

    /// `None` if one of its columns is empty. A number or boolean if it is nothing but one column with such a filter.
    /// Errors: the column and what is wrong with its value.
    pub fn fill(&self, row: &Row<'_>, around: &Surroundings<'_>) -> Result<Option<Value>, String> {
        if let [Piece::Column(column, filters)] = self.0.as_slice() {
            let Some(text) = filled(column, filters, row, around)? else { return Ok(None) };
            return Ok(Some(match filters.last() {
                Some(Filter::Number | Filter::Integer) => {
                    serde_json::from_str(&text).map_err(|_| wrong(column, &text, "is no number"))?
                }
                Some(Filter::Boolean) => Value::Bool(text == "true"),
                _ => Value::String(text),
            }));
        }
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Column(column, filters) => match filled(column, filters, row, around)? {
                    Some(text) => out.push_str(&text),
                    None => return Ok(None),
                },
            }
        }
        Ok(Some(Value::String(out)))
    }
}

fn filled(
    column: &str,
    filters: &[Filter],
    row: &Row<'_>,
    around: &Surroundings<'_>,
) -> Result<Option<String>, String> {
    let mut value = row.get(column).to_owned();
    for filter in filters {
        if let Filter::Default(text) = filter {
            if value.is_empty() {
                value.clone_from(text);
            }
            continue;
        }
        if value.is_empty() {
            continue;
        }
        value = filter.apply(&value, around).map_err(|why| wrong(column, row.get(column), &why))?;
    }
    Ok((!value.is_empty()).then_some(value))
}

fn wrong(column: &str, value: &str, why: &str) -> String {
    format!("column `{column}`: `{}` {why}", value.chars().take(80).collect::<String>())
}

impl Filter {
    fn parse(text: &str) -> Result<Filter, String> {
        let (name, argument) = match text.split_once(':') {
            Some((name, argument)) => (name.trim(), Some(argument)),
            None => (text, None),
        };
        let needed = || argument.map(str::to_owned).ok_or_else(|| format!("`{name}` needs `{name}:…`"));
        Ok(match name {
            "upper" => Filter::Upper,
            "lower" => Filter::Lower,
            "number" => Filter::Number,
            "integer" => Filter::Integer,
            "boolean" => Filter::Boolean,
            "digits" => Filter::Digits,
            "date" => Filter::Date(needed()?),
            "datetime" => Filter::DateTime(needed()?),
            "phone" => Filter::Phone(needed()?),
            "map" => Filter::Map(needed()?),
            "default" => Filter::Default(needed()?),
            "split" => {
                let argument = needed()?;
                let (separator, piece) =
                    argument.rsplit_once(':').ok_or("`split` needs `split:SEPARATOR:NUMBER`")?;
                let piece = piece.parse().map_err(|_| format!("`{piece}` is no number of a piece"))?;
                Filter::Split(separator.to_owned(), piece)
            }
            _ => {
                return Err(format!(
                    "`{name}` is no filter; there are upper, lower, date, datetime, number, integer, boolean, digits, phone, map, default and split"
                ));
            }
        })
    }

    fn apply(&self, value: &str, around: &Surroundings<'_>) -> Result<String, String> {
        Ok(match self {
            Filter::Upper => value.to_uppercase(),
            Filter::Lower => value.to_lowercase(),
            Filter::Digits => value.chars().filter(char::is_ascii_digit).collect(),
            Filter::Default(_) => value.to_owned(),
            Filter::Date(format) => {
                let day =
                    civil::Date::strptime(format, value).map_err(|_| format!("is no day like `{format}`"))?;
                day.to_string()
            }
            Filter::DateTime(format) => {
                let at = civil::DateTime::strptime(format, value)
                    .map_err(|_| format!("is no time like `{format}`"))?
                    .to_zoned(around.zone.clone())
                    .map_err(|_| "is no time in this zone".to_owned())?;
                at.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
            }
            Filter::Number => {
                // Thousands are parted by commas in some exports.
                let plain = value.replace(',', "");
                let plain = plain.strip_prefix('+').unwrap_or(&plain);
                serde_json::from_str::<serde_json::Number>(plain).map_err(|_| "is no number".to_owned())?;
                plain.to_owned()
            }
            Filter::Integer => value.parse::<i64>().map_err(|_| "is no whole number".to_owned())?.to_string(),
            Filter::Boolean => match value.to_lowercase().as_str() {
                "1" | "true" | "t" | "yes" | "y" => "true".to_owned(),
                "0" | "false" | "f" | "no" | "n" => "false".to_owned(),
                _ => return Err("is neither yes nor no".to_owned()),
            },
            Filter::Phone(country) => {
                wire::phone::parse(value, country).map_err(|e| format!("is no phone number: {e}"))?
            }
            Filter::Map(name) => {
                let map = around
                    .maps
                    .get(name)
                    .ok_or_else(|| format!("needs the map `{name}`, which is not there"))?;
                let found =
                    map.get(value).or_else(|| map.get(&value.to_lowercase())).or_else(|| map.get("*"));
                found.cloned().ok_or_else(|| format!("is not in [maps.{name}]"))?
            }
            Filter::Split(separator, n) => {
                value.split(separator.as_str()).nth(*n).unwrap_or("").trim().to_owned()
            }
        })
    }
}
