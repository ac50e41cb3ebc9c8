//! How likely two descriptions are of one person: each fact that agrees or differs weighs as much as it is telling
//! (Fellegi and Sunter, "A Theory for Record Linkage", 1969), in bits.
//!
//! The weights are log2(m/u): m is how often the fact agrees among records of one person, u among those of two. They
//! are set for clinics of East Africa, where many share few family names, birthdays are often guessed as 1 January, and a
//! phone may serve a household.

use fhir::search::fold;
use serde_json::Value;

/// One person among those of a district: what the facts must outweigh.
const PRIOR: f64 = -13.0;

const IDENTIFIER_SAME: f64 = 20.0;
/// Another number of the same system: a mistake, or another person.
const IDENTIFIER_OTHER: f64 = -6.0;
const PHONE_SAME: f64 = 9.5;
const PHONE_OTHER: f64 = -0.7;
const EMAIL_SAME: f64 = 10.0;
const BIRTH_SAME: f64 = 9.0;
/// Day and month swapped, or one digit mistyped.
const BIRTH_NEAR: f64 = 4.0;
/// A guessed birthday (1 January) that agrees says no more than the year.
const BIRTH_YEAR: f64 = 4.5;
/// A guessed birthday one year off, or only the year known.
const BIRTH_ABOUT: f64 = 1.0;
const BIRTH_OTHER: f64 = -5.0;
const SEX_SAME: f64 = 0.9;
const SEX_OTHER: f64 = -4.0;
const ADDRESS_SAME: f64 = 3.0;
const PLACE_SAME: f64 = 0.7;
const PLACE_OTHER: f64 = -0.5;
const NAME_OTHER: f64 = -6.0;
/// One word agrees, another has no partner: a sister, or a second name nobody knew of.
const NAME_PART: f64 = -4.5;
/// From which likeness a name weighs how much.
const NAMES: [(f64, f64); 4] = [(0.95, 9.0), (0.91, 7.0), (0.87, 5.0), (0.82, 2.5)];
/// Below this a word has no partner.
const WORD_FLOOR: f64 = 0.75;
/// Words that sound alike though they are written otherwise.
const SOUNDS_ALIKE: f64 = 0.96;
const INITIAL: f64 = 0.86;
/// Words of one name that are compared.
const MAX_WORDS: usize = 8;

/// `http://terminology.hl7.org/CodeSystem/match-grade`
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    CertainlyNot,
    Possible,
    Probable,
    Certain,
}

impl Grade {
    pub fn code(self) -> &'static str {
        match self {
            Grade::CertainlyNot => "certainly-not",
            Grade::Possible => "possible",
            Grade::Probable => "probable",
            Grade::Certain => "certain",
        }
    }
}

/// How likely it is that two records are of one person.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Likeness(pub f64);

impl Likeness {
    /// 0–100.
    pub fn score(self) -> u8 {
        (self.0 * 100.0).round().clamp(0.0, 100.0) as u8
    }
    pub fn grade(self) -> Grade {
        match self.0 {
            p if p >= 0.999 => Grade::Certain,
            p if p >= 0.9 => Grade::Probable,
            p if p >= 0.5 => Grade::Possible,
            _ => Grade::CertainlyNot,
        }
    }
}

/// What is compared of a Patient.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Person {
    /// Words of each name, folded, given and family alike: the order is not trusted.
    pub names: Vec<Vec<String>>,
    /// As written: `1990-05-17`, `1990-05` or `1990`.
    pub birth: String,
    pub sex: String,
    /// E.164 where they can be read as such.
    pub phones: Vec<String>,
    pub emails: Vec<String>,
    /// System and value; numbers without a system do not tell whose they are.
    pub identifiers: Vec<(String, String)>,
    /// Street and the like, and the place, folded.
    addresses: Vec<(String, String)>,
}

impl Person {
    /// Reads a Patient's JSON.
    pub fn of(patient: &Value) -> Person {
        let list = |name: &str| patient[name].as_array().map(Vec::as_slice).unwrap_or_default();
        let contacts = |system: &'static str| {
            list("telecom").iter().filter(move |t| t["system"] == system).filter_map(|t| t["value"].as_str())
        };
        let names = list("name").iter().map(|name| {
            let given = name["given"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let mut whole = given.chain(name["family"].as_str()).collect::<Vec<_>>().join(" ");
            if whole.is_empty() {
                whole = name["text"].as_str().unwrap_or_default().to_owned();
            }
            words(&whole)
        });
        let addresses = list("address").iter().map(|address| {
            let lines = address["line"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let lines = lines.chain(address["postalCode"].as_str()).collect::<Vec<_>>().join(" ");
            let place = address["city"].as_str().or_else(|| address["district"].as_str()).unwrap_or_default();
            (fold(&lines), fold(place))
        });
        Person {
            names: names.filter(|name| !name.is_empty()).collect(),
            birth: patient["birthDate"].as_str().unwrap_or_default().to_owned(),
            sex: patient["gender"].as_str().unwrap_or_default().to_owned(),
            phones: contacts("phone")
                .map(|phone| crate::authn::phone_e164(phone).unwrap_or_else(|| phone.to_owned()))
                .collect(),
            emails: contacts("email").map(str::to_lowercase).collect(),
            identifiers: list("identifier")
                .iter()
                .filter_map(|i| Some((i["system"].as_str()?.to_owned(), i["value"].as_str()?.to_owned())))
                .collect(),
            addresses: addresses.collect(),
        }
    }
}

/// Compares what both tell; what one leaves out says nothing.
pub fn compare(a: &Person, b: &Person) -> Likeness {
    let bits = identifiers(a, b)
        + phones(a, b)
        + if a.emails.iter().any(|e| b.emails.contains(e)) { EMAIL_SAME } else { 0.0 }
        + birth(&a.birth, &b.birth)
        + sex(&a.sex, &b.sex)
        + names(a, b)
        + addresses(a, b);
    Likeness(1.0 / (1.0 + (-(bits + PRIOR)).exp2()))
}

fn identifiers(a: &Person, b: &Person) -> f64 {
    let mut other = false;
    for (system, value) in &a.identifiers {
        for (known, with) in b.identifiers.iter().filter(|(known, _)| known == system) {
            debug_assert_eq!(known, system);
            if value.eq_ignore_ascii_case(with) {
                return IDENTIFIER_SAME;
            }
            // Whoever was registered twice here has two of our own numbers.
            other |= !system.starts_with("https://uzima.health/");
        }
    }
    if other { IDENTIFIER_OTHER } else { 0.0 }
}

fn phones(a: &Person, b: &Person) -> f64 {
    match (a.phones.is_empty() || b.phones.is_empty(), a.phones.iter().any(|p| b.phones.contains(p))) {
        (true, _) => 0.0,
        (_, true) => PHONE_SAME,
        _ => PHONE_OTHER,
    }
}

fn sex(a: &str, b: &str) -> f64 {
    let known = |s: &str| matches!(s, "male" | "female");
    match (known(a) && known(b), a == b) {
        (false, _) => 0.0,
        (_, true) => SEX_SAME,
        _ => SEX_OTHER,
    }
}

fn birth(a: &str, b: &str) -> f64 {
    if a.is_empty() || b.is_empty() {
        return 0.0;
    }
    let parts = |t: &str| t.split('-').map(str::to_owned).collect::<Vec<_>>();
    let (x, y) = (parts(a), parts(b));
    let year = |p: &[String]| p.first().and_then(|y| y.parse::<i32>().ok()).unwrap_or_default();
    let years = (year(&x) - year(&y)).abs();
    let is_guess = |p: &[String]| p.len() < 3 || (p[1] == "01" && p[2] == "01");
    if is_guess(&x) || is_guess(&y) {
        return match years {
            0 if is_guess(&x) && is_guess(&y) => BIRTH_YEAR,
            0 => BIRTH_ABOUT + 1.0,
            1 | 2 => BIRTH_ABOUT,
            _ => BIRTH_OTHER,
        };
    }
    if a == b {
        return BIRTH_SAME;
    }
    let swapped = x[0] == y[0] && x[1] == y[2] && x[2] == y[1];
    let mistyped = a.len() == b.len() && a.bytes().zip(b.bytes()).filter(|(p, q)| p != q).count() == 1;
    // 17 and 71: two digits changed places.
    let turned = a.len() == b.len()
        && (1..a.len()).any(|n| {
            let (p, q) = (a.as_bytes(), b.as_bytes());
            p[n - 1] == q[n] && p[n] == q[n - 1] && p[..n - 1] == q[..n - 1] && p[n + 1..] == q[n + 1..]
        });
    if swapped || mistyped || turned { BIRTH_NEAR } else { BIRTH_OTHER }
}

fn addresses(a: &Person, b: &Person) -> f64 {
    let mut best: Option<f64> = None;
    for (line, place) in &a.addresses {
        for (other_line, other_place) in &b.addresses {
            if place.is_empty() || other_place.is_empty() {
                continue;
            }
            let bits = match (place == other_place, line == other_line && !line.is_empty()) {
                (true, true) => ADDRESS_SAME,
                (true, false) => PLACE_SAME,
                _ => PLACE_OTHER,
            };
            best = Some(best.map_or(bits, |b| b.max(bits)));
        }
    }
    best.unwrap_or(0.0)
}

fn names(a: &Person, b: &Person) -> f64 {
    let pairs = a.names.iter().flat_map(|x| b.names.iter().map(move |y| name(x, y)));
    pairs.reduce(f64::max).unwrap_or(0.0)
}

/// Each word of the shorter name takes its best partner in the longer one: order and middle names do not matter.
fn name(a: &[String], b: &[String]) -> f64 {
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    let mut free: Vec<&String> = long.iter().collect();
    let mut sum = 0.0;
    let mut alone = 0;
    for word in short {
        let best = free.iter().enumerate().map(|(n, other)| (n, word_likeness(word, other)));
        let Some((n, likeness)) = best.max_by(|x, y| x.1.total_cmp(&y.1)) else { break };
        if likeness >= WORD_FLOOR {
            free.swap_remove(n);
            sum += likeness;
        } else {
            alone += 1;
        }
    }
    if alone == short.len() {
        return NAME_OTHER;
    }
    if alone > 0 {
        return NAME_PART;
    }
    let whole = sum / short.len() as f64;
    let bits = NAMES.iter().find(|(floor, _)| whole >= *floor).map_or(NAME_PART, |(_, bits)| *bits);
    // One shared word of several is a family, not a person.
    if short.len() == 1 && long.len() > 1 { bits / 3.0 } else { bits }
}

pub(crate) fn words(text: &str) -> Vec<String> {
    let words = fold(text);
    let words = words.split(|c: char| !c.is_alphanumeric() && c != '\'').map(|w| w.replace('\'', ""));
    words.filter(|w| !w.is_empty()).take(MAX_WORDS).collect()
}

fn word_likeness(a: &str, b: &str) -> f64 {
    if a == b {
        return 1.0;
    }
    let is_initial = |x: &str, y: &str| x.chars().count() == 1 && y.starts_with(x);
    if is_initial(a, b) || is_initial(b, a) {
        return INITIAL;
    }
    let likeness = jaro_winkler(a, b);
    if likeness < SOUNDS_ALIKE && sound(a) == sound(b) { SOUNDS_ALIKE } else { likeness }
}

/// How a word sounds, roughly, across English, Swahili, Arabic and French spellings: `Fatuma` and `Fatoumah`, `Kariuki`
/// and `Cariuki`, `Yusuf` and `Yousouph`.
fn sound(word: &str) -> String {
    let mut text = word.to_owned();
    for (written, spoken) in [
        ("ph", "f"),
        ("ck", "k"),
        ("kh", "k"),
        ("gh", "g"),
        ("sh", "s"),
        ("th", "t"),
        ("dh", "d"),
        ("ch", "c"),
        ("ou", "u"),
        ("oo", "u"),
        ("ee", "i"),
        ("ie", "i"),
        ("q", "k"),
        ("z", "s"),
        ("w", "u"),
        ("y", "i"),
        ("v", "f"),
    ] {
        text = text.replace(written, spoken);
    }
    let mut out = String::new();
    for c in text.replace('c', "k").chars() {
        if !out.ends_with(c) {
            out.push(c);
        }
    }
    let cut = out.strip_suffix('h').filter(|rest| !rest.is_empty()).map(str::to_owned);
    let out = cut.unwrap_or(out);
    // Unstressed vowels between consonants are written as one hears them: only the first letter and consonants stay.
    out.char_indices()
        .filter(|(n, c)| *n == 0 || !matches!(c, 'e' | 'i' | 'o' | 'u'))
        .map(|(_, c)| c)
        .collect()
}

/// Jaro–Winkler likeness of two words, 0–1.
fn jaro_winkler(a: &str, b: &str) -> f64 {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a == b {
        return 1.0;
    }
    if a.is_empty() || b.is_empty() {
        return 0.0;
    }
    let reach = (a.len().max(b.len()) / 2).saturating_sub(1);
    let mut taken = vec![false; b.len()];
    let mut matched_a = Vec::new();
    for (i, c) in a.iter().enumerate() {
        let range = i.saturating_sub(reach)..(i + reach + 1).min(b.len());
        if let Some(j) = range.into_iter().find(|j| !taken[*j] && b[*j] == *c) {
            taken[j] = true;
            matched_a.push(*c);
        }
    }
    if matched_a.is_empty() {
        return 0.0;
    }
    let matched_b = b.iter().zip(&taken).filter(|(_, t)| **t).map(|(c, _)| *c);
    let half_transposed = matched_a.iter().zip(matched_b).filter(|(x, y)| **x != *y).count();
    let m = matched_a.len() as f64;
    let jaro = (m / a.len() as f64 + m / b.len() as f64 + (m - half_transposed as f64 / 2.0) / m) / 3.0;
    let prefix = a.iter().zip(&b).take(4).take_while(|(x, y)| x == y).count() as f64;
    jaro + prefix * 0.1 * (1.0 - jaro)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn person(given: &str, family: &str, birth: &str, phone: &str, sex: &str) -> Person {
        let mut patient = json!({"name": [{"given": [given], "family": family}]});
        for (name, value) in [("birthDate", birth), ("gender", sex)] {
            if !value.is_empty() {
                patient[name] = json!(value);
            }
        }
        if !phone.is_empty() {
            patient["telecom"] = json!([{"system": "phone", "value": phone}]);
        }
        Person::of(&patient)
    }

    #[test]
    fn facts_weigh_what_they_tell() {
        let amina = person("Amina", "Njoroge", "1994-05-17", "+254712345678", "female");
        let cases = [
            (person("Amina", "Njoroge", "1994-05-17", "+254712345678", "female"), Grade::Certain),
            (person("Njoroge", "Amina", "1994-05-17", "", "female"), Grade::Probable),
            (person("Aminah", "Njorogge", "1994-05-17", "+254700000000", "female"), Grade::Probable),
            (person("Amina", "Njoroge", "1994-17-05", "+254712345678", ""), Grade::Probable),
            (person("Amina", "Njoroge", "1994-05-71", "", "female"), Grade::Possible),
            // A twin: the same birthday, phone and family name.
            (person("Faith", "Njoroge", "1994-05-17", "+254712345678", "female"), Grade::Possible),
            (person("Beatrice", "Njoroge", "1966-01-01", "+254712345678", "female"), Grade::CertainlyNot),
            (person("Amina", "Njoroge", "", "", ""), Grade::CertainlyNot),
            // The sex may be a slip of the pen: worth a look, no more.
            (person("Amina", "Njoroge", "1994-05-17", "", "male"), Grade::Possible),
            (person("Peter", "Kamau", "1994-05-17", "", ""), Grade::CertainlyNot),
        ];
        for (other, expected) in cases {
            let found = compare(&amina, &other);
            assert_eq!(found.grade(), expected, "{found:?} {other:?}");
            assert_eq!(compare(&other, &amina), found, "both ways alike");
        }
    }

    #[test]
    fn guessed_birthdays_say_less() {
        let guessed = |year: &str| person("Amina", "Njoroge", &format!("{year}-01-01"), "", "female");
        assert!(compare(&guessed("1990"), &guessed("1990")) < Likeness(0.9));
        let off = compare(&guessed("1990"), &guessed("1991"));
        assert!(off > compare(&guessed("1990"), &guessed("1999")));
    }

    #[test]
    fn names_that_sound_alike() {
        for (a, b) in
            [("Fatuma", "Fatoumah"), ("Kariuki", "Cariuki"), ("Yusuf", "Yousouph"), ("Mohamed", "Mohammed")]
        {
            let (a, b) = (a.to_lowercase(), b.to_lowercase());
            assert!(word_likeness(&a, &b) >= 0.95, "{a} {b} {} {}", sound(&a), sound(&b));
        }
        for (a, b) in [("Amina", "Peter"), ("Wanjiru", "Wambui"), ("John", "Jane")] {
            let (a, b) = (a.to_lowercase(), b.to_lowercase());
            assert!(word_likeness(&a, &b) < 0.9, "{a} {b}");
        }
        assert_eq!(words("  Ng'ang'a, Mwangi-Otieno "), ["nganga", "mwangi", "otieno"]);
    }

    #[test]
    fn numbers_of_an_authority_decide() {
        let with = |value: &str, given: &str| {
            Person::of(&json!({"name": [{"given": [given], "family": "Njoroge"}],
                "identifier": [{"system": "urn:national-id", "value": value}]}))
        };
        assert_eq!(compare(&with("1", "Amina"), &with("1", "Amina")).grade(), Grade::Certain);
        assert_eq!(compare(&with("1", "Amina"), &with("2", "Amina")).grade(), Grade::CertainlyNot);
    }
}
