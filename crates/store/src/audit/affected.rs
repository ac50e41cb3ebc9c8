//! Whose records somebody touched: the question after a breach.

use super::{address_bytes, cut};
use crate::ids::{decode_id, decode_key};
use crate::{Error, Param, Result, Tx, params};
use jiff::Timestamp;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

/// Numbers of rows looked at in one query, so that none takes long.
const STRIDE: i64 = 50_000;
/// Patients of one answer; more are refused.
pub const MAX_PATIENTS: usize = 2_000_000;
/// Rows without a patient that are named.
pub const MAX_OTHERS: usize = 1000;
/// What finding the numbers of a time may take.
const BOUNDS_LIMIT: Duration = Duration::from_secs(60);
const MAX_CATEGORY_BYTES: usize = 64;

/// Who is asked about; what is given must all be true. With nothing given it is everybody.
#[derive(Debug, Clone)]
pub struct Suspect {
    /// As in [super::Event::agent].
    pub agent: Option<String>,
    /// Id of an OAuth client, acting for itself or for somebody.
    pub client: Option<String>,
    pub session: Option<[u8; 8]>,
    pub address: Option<IpAddr>,
    pub from: Timestamp,
    /// Exclusive.
    pub until: Timestamp,
}

/// Accesses to one patient's record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patient {
    pub id: String,
    pub count: u64,
    pub first: Timestamp,
    pub last: Timestamp,
    /// Accesses by action and resource type, e.g. `read Observation`.
    pub categories: BTreeMap<String, u64>,
}

#[derive(Default)]
struct Tally {
    count: u64,
    first_us: i64,
    last_us: i64,
    /// Numbers of the categories with their counts; few.
    categories: Vec<(u16, u32)>,
}

/// What has been found so far.
#[derive(Default)]
pub struct Found {
    patients: HashMap<Vec<u8>, Tally>,
    categories: Vec<String>,
    numbers: HashMap<String, u16>,
    /// Rows that fit.
    pub events: u64,
    /// Those of them that were refused or failed: nothing was shown or changed, and they are in no count.
    pub refused: u64,
    /// Those that name no patient, such as exports: number, time, action and what; the first [MAX_OTHERS].
    pub others: Vec<(i64, Timestamp, String, String)>,
    /// How many of those there are.
    pub other_count: u64,
}

/// A row that fits.
struct Hit {
    seq: i64,
    at_us: i64,
    action: i64,
    target: Option<Vec<u8>>,
    what: Option<String>,
    patients: Option<Vec<u8>>,
    outcome: i64,
}

/// The numbers of the first and last row of the time; `None` if there is none.
pub fn bounds(tx: &mut dyn Tx, suspect: &Suspect) -> Result<Option<(i64, i64)>> {
    tx.limit(Some(BOUNDS_LIMIT))?;
    let sql = "SELECT min(seq), max(seq) FROM audit WHERE at_us >= $1 AND at_us < $2";
    let found =
        tx.one(sql, params![suspect.from, suspect.until], |row| Ok((row.opt_int(0)?, row.opt_int(1)?)))?;
    Ok(found.and_then(|(first, last)| Some((first?, last?))))
}

/// Looks at the rows from `from` on; returns where to go on, `None` behind `to`. Errors: [Error::TooCostly] beyond
/// [MAX_PATIENTS].
pub fn scan(
    tx: &mut dyn Tx,
    suspect: &Suspect,
    from: i64,
    to: i64,
    found: &mut Found,
) -> Result<Option<i64>> {
    let end = to.min(from.saturating_add(STRIDE - 1));
    let address = suspect.address.map(address_bytes);
    let mut values: Vec<Param<'_>> = params![from, end, suspect.from, suspect.until].to_vec();
    let mut conditions = String::new();
    if let Some(agent) = &suspect.agent {
        let Some(term) = tx.term(agent, false)? else { return Ok(None) };
        values.push(term.into());
        conditions.push_str(&format!(" AND agent = ${}", values.len()));
    }
    if let Some(client) = &suspect.client {
        // Alone it is the agent; for a person it stands beside her.
        let (own, beside) = (tx.term(&format!("client/{client}"), false)?, tx.term(client, false)?);
        values.push(own.unwrap_or(-1).into());
        values.push(beside.unwrap_or(-1).into());
        conditions.push_str(&format!(" AND (agent = ${} OR client = ${})", values.len() - 1, values.len()));
    }
    if let Some(session) = &suspect.session {
        values.push(session.into());
        conditions.push_str(&format!(" AND session = ${}", values.len()));
    }
    if let Some(address) = &address {
        values.push(address.into());
        conditions.push_str(&format!(" AND address = ${}", values.len()));
    }
    let sql = format!(
        "SELECT seq, at_us, action, target, what, patients, outcome FROM audit \
         WHERE seq >= $1 AND seq <= $2 AND at_us >= $3 AND at_us < $4{conditions} ORDER BY seq"
    );
    let hits = tx.all(&sql, &values, |row| {
        Ok(Hit {
            seq: row.int(0)?,
            at_us: row.int(1)?,
            action: row.int(2)?,
            target: row.opt_bytes(3)?.map(<[u8]>::to_vec),
            what: row.opt_value(4, super::WHAT)?,
            patients: row.opt_bytes(5)?.map(<[u8]>::to_vec),
            outcome: row.int(6)?,
        })
    })?;
    for hit in hits {
        found.add(tx, &hit)?;
    }
    Ok((end < to).then_some(end + 1))
}

impl Found {
    fn add(&mut self, tx: &mut dyn Tx, hit: &Hit) -> Result<()> {
        self.events += 1;
        if super::Outcome::from_number(hit.outcome) != super::Outcome::Success {
            self.refused += 1;
            return Ok(());
        }
        let action = tx.term_text(hit.action)?;
        let Some(patients) = &hit.patients else {
            self.other_count += 1;
            if self.others.len() < MAX_OTHERS {
                let what = match &hit.target {
                    Some(target) => decode_key(target)?.to_string(),
                    None => hit.what.clone().unwrap_or_default(),
                };
                let at = Timestamp::from_microsecond(hit.at_us).map_err(|_| Error::Corrupt("time".into()))?;
                self.others.push((hit.seq, at, action, what));
            }
            return Ok(());
        };
        let kind = match (&hit.target, &hit.what) {
            (Some(target), _) => decode_key(target)?.kind.name().to_owned(),
            (None, Some(what)) => what[..what.find(['?', '/', '#']).unwrap_or(what.len())].to_owned(),
            (None, None) => String::new(),
        };
        let category = self.category(cut(format!("{action} {kind}").trim_end(), MAX_CATEGORY_BYTES));
        let mut rest = patients.as_slice();
        while let [length, tail @ ..] = rest {
            let (id, more) =
                tail.split_at_checked(usize::from(*length)).ok_or(Error::Corrupt("stored ids".into()))?;
            rest = more;
            if self.patients.len() >= MAX_PATIENTS && !self.patients.contains_key(id) {
                return Err(Error::TooCostly);
            }
            match self.patients.get_mut(id) {
                Some(tally) => tally.add(hit.at_us, category),
                None => self.patients.entry(id.to_vec()).or_default().add(hit.at_us, category),
            }
        }
        Ok(())
    }

    /// The number of a category. Actions and types are few, so numbers never run out.
    fn category(&mut self, text: &str) -> u16 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = u16::try_from(self.categories.len()).unwrap_or(u16::MAX);
        if number < u16::MAX {
            self.categories.push(text.to_owned());
            self.numbers.insert(text.to_owned(), number);
        }
        number
    }

    /// Patients so far.
    pub fn len(&self) -> usize {
        self.patients.len()
    }

    /// Whether no patient was found.
    pub fn is_empty(&self) -> bool {
        self.patients.is_empty()
    }

    /// The patients, those with most accesses first. Errors: [Error::Corrupt].
    pub fn patients(&self) -> Result<Vec<Patient>> {
        let time = |us| Timestamp::from_microsecond(us).map_err(|_| Error::Corrupt("time".into()));
        let mut patients = Vec::with_capacity(self.patients.len());
        for (id, tally) in &self.patients {
            let name = |number: u16| self.categories.get(usize::from(number)).cloned().unwrap_or_default();
            patients.push(Patient {
                id: decode_id(id)?,
                count: tally.count,
                first: time(tally.first_us)?,
                last: time(tally.last_us)?,
                categories: tally
                    .categories
                    .iter()
                    .map(|(number, count)| (name(*number), u64::from(*count)))
                    .collect(),
            });
        }
        patients.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.id.cmp(&b.id)));
        Ok(patients)
    }
}

impl Tally {
    fn add(&mut self, at_us: i64, category: u16) {
        if self.count == 0 {
            (self.first_us, self.last_us) = (at_us, at_us);
        }
        self.count += 1;
        self.first_us = self.first_us.min(at_us);
        self.last_us = self.last_us.max(at_us);
        match self.categories.iter_mut().find(|(number, _)| *number == category) {
            Some((_, count)) => *count += 1,
            None => self.categories.push((category, 1)),
        }
    }
}
