//! As much of CBOR (RFC 8949) as authenticators write: definite lengths, integers, bytes, text, lists, maps.

/// Nesting of what is read.
const MAX_DEPTH: usize = 8;
/// Members of one list or map.
const MAX_MEMBERS: u64 = 256;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Int(i64),
    Bytes(Vec<u8>),
    Text(String),
    List(Vec<Value>),
    Map(Vec<(Value, Value)>),
    /// false, true, null.
    Simple(u8),
}

impl Value {
    pub fn int(&self) -> Option<i64> {
        if let Value::Int(n) = self { Some(*n) } else { None }
    }
    pub fn bytes(&self) -> Option<&[u8]> {
        if let Value::Bytes(b) = self { Some(b) } else { None }
    }
    /// The member of a map with this number.
    pub fn get(&self, name: i64) -> Option<&Value> {
        let Value::Map(members) = self else { return None };
        members.iter().find(|(k, _)| *k == Value::Int(name)).map(|(_, v)| v)
    }
    /// The member of a map with this name.
    pub fn named(&self, name: &str) -> Option<&Value> {
        let Value::Map(members) = self else { return None };
        members.iter().find(|(k, _)| matches!(k, Value::Text(t) if t == name)).map(|(_, v)| v)
    }
}

/// One value and what is behind it; `None` for what is cut short, too deep or of another kind.
pub(super) fn read(bytes: &[u8]) -> Option<(Value, &[u8])> {
    read_at(bytes, 0)
}

fn read_at(bytes: &[u8], depth: usize) -> Option<(Value, &[u8])> {
    if depth > MAX_DEPTH {
        return None;
    }
    let (first, rest) = bytes.split_first()?;
    let (kind, short) = (first >> 5, first & 31);
    let (number, mut rest) = match short {
        0..=23 => (u64::from(short), rest),
        24..=27 => {
            let (digits, rest) = rest.split_at_checked(1 << (short - 24))?;
            (digits.iter().fold(0_u64, |n, d| n << 8 | u64::from(*d)), rest)
        }
        _ => return None,
    };
    let value = match kind {
        0 => Value::Int(i64::try_from(number).ok()?),
        1 => Value::Int(-1 - i64::try_from(number).ok()?),
        2 | 3 => {
            // Taken from what is there, never allocated by what is said.
            let (content, after) = rest.split_at_checked(usize::try_from(number).ok()?)?;
            rest = after;
            match kind {
                2 => Value::Bytes(content.to_vec()),
                _ => Value::Text(std::str::from_utf8(content).ok()?.to_owned()),
            }
        }
        4 | 5 if number <= MAX_MEMBERS => {
            let (mut list, mut map) = (Vec::new(), Vec::new());
            for _ in 0..number {
                let (one, after) = read_at(rest, depth + 1)?;
                rest = after;
                if kind == 4 {
                    list.push(one);
                    continue;
                }
                let (value, after) = read_at(rest, depth + 1)?;
                rest = after;
                // A name twice is read differently by different readers.
                if map.iter().any(|(k, _)| *k == one) {
                    return None;
                }
                map.push((one, value));
            }
            if kind == 4 { Value::List(list) } else { Value::Map(map) }
        }
        7 if short <= 23 => Value::Simple(short),
        _ => return None,
    };
    Some((value, rest))
}
