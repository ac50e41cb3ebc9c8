//! The rules of consents in force (see `access::consent`).

use crate::ids::{encode_key, encode_target};
use crate::{Error, Result, Tx, params};
use access::Seals;
use access::consent::Rule;
use fhir::{ResourceKey, TypeId};
use jiff::Timestamp;

/// Rules looked at for one patient. [access::consent::MAX_RULES] bounds each consent.
const MAX_RULES: i64 = 10_000;

/// Replaces the rules that `source` (a Consent) is the reason for.
pub fn set_for_source(
    tx: &mut dyn Tx,
    source: &ResourceKey,
    patients: &[String],
    rules: &[Rule],
) -> Result<()> {
    let source = encode_key(source);
    tx.execute("DELETE FROM consent_rule WHERE source = $1", params![&source])?;
    for patient in patients {
        for (number, rule) in rules.iter().enumerate() {
            tx.execute(
                "INSERT INTO consent_rule (patient, source, number, deny, depth, actor, purposes, kind, seals, from_us, \
                 until_us) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
                params![
                    &encode_target(TypeId::PATIENT, patient),
                    &source,
                    number as i64,
                    rule.deny,
                    i64::from(rule.depth),
                    rule.actor.as_deref().unwrap_or_default(),
                    rule.purposes,
                    rule.kind.map_or(-1, |kind| i64::from(kind.0)),
                    rule.seals.0,
                    rule.from,
                    rule.until
                ],
            )?;
        }
    }
    Ok(())
}

/// The rules about these patients, a list for each consent.
pub fn of_patients(tx: &mut dyn Tx, patients: &[String]) -> Result<Vec<Vec<Rule>>> {
    let mut consents: Vec<(Vec<u8>, Vec<Rule>)> = Vec::new();
    for patient in patients {
        let found = tx.all(
            "SELECT source, deny, depth, actor, purposes, kind, seals, from_us, until_us FROM consent_rule \
             WHERE patient = $1 ORDER BY source, number LIMIT $2",
            params![&encode_target(TypeId::PATIENT, patient), MAX_RULES],
            |row| {
                let actor = row.string(3)?;
                let kind = row.int(5)?;
                let rule = Rule {
                    deny: row.bool(1)?,
                    depth: u8::try_from(row.int(2)?).map_err(|_| Error::Corrupt("consent rule".into()))?,
                    actor: (!actor.is_empty()).then_some(actor),
                    purposes: row.int(4)? as u32,
                    kind: u16::try_from(kind).ok().map(TypeId),
                    seals: Seals(row.int(6)? as u32),
                    from: moment(row.int(7)?),
                    until: moment(row.int(8)?),
                };
                Ok(([patient.as_bytes(), b"\0", row.bytes(0)?].concat(), rule))
            },
        )?;
        for (source, rule) in found {
            match consents.last_mut() {
                Some((last, rules)) if *last == source => rules.push(rule),
                _ => consents.push((source, vec![rule])),
            }
        }
    }
    Ok(consents.into_iter().map(|(_, rules)| rules).collect())
}

/// The ends of time are stored as they come and may lie a little beyond what an instant can be.
fn moment(us: i64) -> Timestamp {
    Timestamp::from_microsecond(us).unwrap_or(if us < 0 { Timestamp::MIN } else { Timestamp::MAX })
}
