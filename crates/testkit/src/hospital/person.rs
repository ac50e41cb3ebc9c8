//! A person: names that belong together, sex, birth date, home, phone, language.

use super::{names, pick};
use jiff::civil::Date;
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};

pub struct Person {
    pub given: Vec<String>,
    pub family: String,
    pub female: bool,
    pub birth: Date,
    pub phone: String,
    /// Read in messages and on screens.
    pub language: &'static str,
    /// Spoken at home.
    pub mother_tongue: &'static str,
    pub county: &'static str,
    pub town: &'static str,
}

impl Person {
    /// `ages` in full years on `today`.
    pub fn make(random: &mut StdRng, today: Date, ages: std::ops::Range<i32>, number: u64) -> Person {
        let total: u32 = names::COMMUNITIES.iter().map(|c| c.weight).sum();
        let mut at = random.random_range(0..total);
        let community = names::COMMUNITIES
            .iter()
            .find(|c| {
                let here = at < c.weight;
                at = at.saturating_sub(c.weight);
                here
            })
            .unwrap_or(&names::COMMUNITIES[0]);
        let female = random.random_bool(0.52);
        let own = pick(random, if female { community.women } else { community.men });
        let shared = pick(random, if female { names::SHARED_WOMEN } else { names::SHARED_MEN });
        let given = if random.random_bool(0.55) {
            vec![shared.to_owned(), own.to_owned()]
        } else {
            vec![own.to_owned()]
        };
        let mut family = pick(random, community.families);
        while given.iter().any(|g| g == family) {
            family = pick(random, community.families);
        }
        let age_days = random.random_range(ages.start * 365..ages.end * 365);
        let birth = today.saturating_sub(jiff::Span::new().days(age_days));
        // Nairobi and its neighbours are where the clinic's patients live: earlier counties are likelier.
        let n = names::COUNTIES.len();
        let county = &names::COUNTIES[random.random_range(0..n).min(random.random_range(0..n))];
        Person {
            given,
            family: family.to_owned(),
            female,
            birth,
            // 0700 000 000 upwards in order: plausible, and no number twice.
            phone: format!("+2547{:08}", number % 100_000_000),
            language: if random.random_bool(0.75) { "sw" } else { "en" },
            mother_tongue: community.language,
            county: county.0,
            town: pick(random, county.1),
        }
    }

    pub fn sex(&self) -> &'static str {
        if self.female { "female" } else { "male" }
    }

    pub fn name(&self) -> Value {
        json!([{"use": "official", "family": self.family, "given": self.given}])
    }

    pub fn display(&self) -> String {
        format!("{} {}", self.given.join(" "), self.family)
    }
}
