//! `$lastn`: the latest observations of each kind.

use crate::{Error, Record, Stored};
use access::Ctx;
use fhir::search::{Handling, MAX_PAGE, Total, fold, parse};
use fhir::{IssueCode, Outcome, TypeId};
use serde_json::Value;
use std::collections::HashMap;

/// Observations that one call looks through, newest first.
pub const MAX_OBSERVATIONS: usize = 50_000;
/// Groups of one answer.
const MAX_GROUPS: usize = 2_000;

/// Observations of one kind, newest first.
#[derive(Debug, Default)]
struct Group {
    /// Position in the walk, and the row.
    latest: Vec<(usize, Stored)>,
    /// Set when it went up in another group.
    joined: Option<usize>,
}

/// Groups by codes: two observations that share one code are of one kind, and so is whatever they connect.
#[derive(Debug, Default)]
struct Groups {
    all: Vec<Group>,
    by_code: HashMap<String, usize>,
    max: usize,
}

impl Groups {
    fn root(&self, mut n: usize) -> usize {
        while let Some(next) = self.all[n].joined {
            n = next;
        }
        n
    }

    /// Errors: too many kinds.
    fn add(&mut self, position: usize, codes: Vec<String>, stored: Stored) -> Result<(), Error> {
        let mut home: Option<usize> = None;
        for code in &codes {
            let Some(found) = self.by_code.get(code).map(|n| self.root(*n)) else { continue };
            match home {
                None => home = Some(found),
                Some(kept) if kept != found => self.join(kept, found),
                Some(_) => {}
            }
        }
        let home = match home {
            Some(home) => home,
            None if self.all.len() >= MAX_GROUPS => {
                let text = format!(
                    "More than {MAX_GROUPS} kinds of observations; ask for some codes or a category."
                );
                return Err(Error::Malformed(Outcome::one(IssueCode::TooCostly, "code", text)));
            }
            None => {
                self.all.push(Group::default());
                self.all.len() - 1
            }
        };
        for code in codes {
            self.by_code.insert(code, home);
        }
        if let Some(group) = self.all.get_mut(home)
            && group.latest.len() < self.max
        {
            group.latest.push((position, stored));
        }
        Ok(())
    }

    fn join(&mut self, kept: usize, other: usize) {
        let moved = std::mem::take(&mut self.all[other].latest);
        self.all[other].joined = Some(kept);
        let group = &mut self.all[kept].latest;
        group.extend(moved);
        group.sort_by_key(|(position, _)| *position);
        group.truncate(self.max);
    }

    /// Kind after kind, the kind with the newest observation first.
    fn into_list(self) -> Vec<Stored> {
        let mut groups: Vec<Group> = self.all.into_iter().filter(|g| !g.latest.is_empty()).collect();
        groups.sort_by_key(|g| g.latest.first().map(|(position, _)| *position));
        groups.into_iter().flat_map(|g| g.latest).map(|(_, stored)| stored).collect()
    }
}

/// What two observations of one kind share: `system|code` of each coding; the text where nothing is coded.
fn codes(observation: &Value) -> Vec<String> {
    let code = &observation["code"];
    let codings = code["coding"].as_array().into_iter().flatten();
    let coded: Vec<String> = codings
        .filter_map(|coding| {
            let of = coding["code"].as_str()?;
            Some(format!("{}|{of}", coding["system"].as_str().unwrap_or_default()))
        })
        .collect();
    if coded.is_empty() {
        return vec![format!("text {}", fold(code["text"].as_str().unwrap_or_default()))];
    }
    coded
}

impl Record {
    /// The latest `max` Observations of each kind among those that the search `parameters` find and the caller may read.
    /// Those entered in error count only when the parameters ask for a status. Errors: `Malformed` for wrong
    /// parameters or more than [MAX_OBSERVATIONS] to look through; `Denied`.
    pub async fn latest_observations(
        &self,
        ctx: &Ctx,
        parameters: &[(String, String)],
        max: usize,
    ) -> Result<Vec<Stored>, Error> {
        let mut pairs = parameters.to_vec();
        if !pairs.iter().any(|(name, _)| name.split(':').next() == Some("status")) {
            pairs.push(("status:not".into(), "entered-in-error".into()));
        }
        pairs.push(("_sort".into(), "-date".into()));
        let (mut query, _) =
            parse(&self.params(), TypeId::OBSERVATION, &pairs, Handling::Strict).map_err(Error::Malformed)?;
        query.count = MAX_PAGE;
        query.total = Total::None;
        let mut groups = Groups { max: max.max(1), ..Groups::default() };
        let mut position = 0;
        loop {
            let page = self.search(ctx, query.clone()).await?;
            for stored in page.items {
                let codes = codes(stored.parse()?.value());
                groups.add(position, codes, stored)?;
                position += 1;
            }
            let Some(next) = page.next else { break };
            if position >= MAX_OBSERVATIONS {
                let text = format!(
                    "More than {MAX_OBSERVATIONS} observations to look through; ask for some codes, a category or a date."
                );
                return Err(Error::Malformed(Outcome::one(IssueCode::TooCostly, "", text)));
            }
            query.cursor = Some(next);
        }
        Ok(groups.into_list())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fhir::ResourceKey;
    use serde_json::json;

    fn add(groups: &mut Groups, position: usize, list: &[&str]) {
        let stored = Stored {
            key: ResourceKey::new(TypeId::OBSERVATION, position.to_string()),
            version: 1,
            last_updated: jiff::Timestamp::UNIX_EPOCH,
            content: std::sync::Arc::from([]),
        };
        groups.add(position, list.iter().map(|c| (*c).to_owned()).collect(), stored).unwrap();
    }

    #[test]
    fn what_shares_a_code_is_one_kind() {
        let mut groups = Groups { max: 2, ..Groups::default() };
        // A bridge that comes late joins what it connects.
        for (position, codes) in
            [&["l|a"][..], &["s|x"], &["l|b"], &["l|a"], &["s|x", "l|a"], &["s|x"], &["l|b"]]
                .iter()
                .enumerate()
        {
            add(&mut groups, position, codes);
        }
        let found: Vec<String> = groups.into_list().into_iter().map(|s| s.key.id).collect();
        assert_eq!(found, ["0", "1", "2", "6"]);
    }

    #[test]
    fn codings_name_the_kind_and_text_stands_in() {
        let coded =
            json!({"code": {"text": "Pulse", "coding": [{"system": "l", "code": "1"}, {"code": "2"}]}});
        assert_eq!(codes(&coded), ["l|1", "|2"]);
        assert_eq!(codes(&json!({"code": {"text": "Púlse"}})), ["text pulse"]);
    }
}
