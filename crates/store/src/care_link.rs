//! Which patients are in the care of which practitioner, and because of which resource (encounter, appointment, …).

use crate::ids::{decode_id, decode_key, encode_id, encode_key, encode_target};
use crate::{Param, Result, Tx, params};
use fhir::{ResourceKey, TypeId};
use jiff::Timestamp;

#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// Logical id of the Practitioner.
    pub practitioner: String,
    /// Logical id of the Patient.
    pub patient: String,
    pub from: Timestamp,
    /// `None`: until further notice.
    pub until: Option<Timestamp>,
}

/// Replaces all links that `source` is the reason for.
pub fn set_for_source(tx: &mut dyn Tx, source: &ResourceKey, links: &[Link]) -> Result<()> {
    let source = encode_key(source);
    tx.execute("DELETE FROM care_link WHERE source = $1", params![&source])?;
    for link in links {
        tx.execute(
            "INSERT INTO care_link (practitioner, patient, source, from_us, until_us) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (practitioner, patient, source) DO UPDATE SET \
             from_us = CASE WHEN care_link.from_us < excluded.from_us THEN care_link.from_us ELSE excluded.from_us END, \
             until_us = CASE WHEN care_link.until_us > excluded.until_us THEN care_link.until_us ELSE excluded.until_us END",
            params![
                &encode_id(&link.practitioner),
                &encode_target(TypeId::PATIENT, &link.patient),
                &source,
                link.from,
                link.until.map_or(i64::MAX, |t| t.as_microsecond())
            ],
        )?;
    }
    Ok(())
}

/// All links that `source` is the reason for.
pub fn of_source(tx: &mut dyn Tx, source: &ResourceKey) -> Result<Vec<Link>> {
    tx.all(
        "SELECT practitioner, patient, from_us, until_us FROM care_link WHERE source = $1 ORDER BY practitioner, patient",
        params![&encode_key(source)],
        |row| {
            let until = row.int(3)?;
            Ok(Link {
                practitioner: decode_id(row.bytes(0)?)?,
                patient: row.key(1)?.id,
                from: row.time(2)?,
                until: (until < i64::MAX).then(|| Timestamp::from_microsecond(until).ok()).flatten(),
            })
        },
    )
}

/// What `source` gives this practitioner ends at `at`, if it did not end before.
pub fn end(tx: &mut dyn Tx, source: &ResourceKey, practitioner: &str, at: Timestamp) -> Result<()> {
    tx.execute(
        "UPDATE care_link SET until_us = $3 WHERE source = $1 AND practitioner = $2 AND until_us > $3",
        params![&encode_key(source), &encode_id(practitioner), at],
    )?;
    Ok(())
}

/// Those of `patients` that are in care of this practitioner at `now`, in their order.
pub fn in_care(
    tx: &mut dyn Tx,
    practitioner: &str,
    patients: &[String],
    now: Timestamp,
) -> Result<Vec<String>> {
    let practitioner = encode_id(practitioner);
    let mut found = Vec::new();
    for patient in patients {
        let hit = tx.one(
            "SELECT 1 FROM care_link WHERE practitioner = $1 AND patient = $2 AND from_us <= $3 AND until_us > $3 LIMIT 1",
            params![&practitioner, &encode_target(TypeId::PATIENT, patient), now],
            |_| Ok(()),
        )?;
        if hit.is_some() {
            found.push(patient.clone());
        }
    }
    Ok(found)
}

/// Ids of the practitioners who care for the patient at `now`, at most 1,000.
pub fn carers(tx: &mut dyn Tx, patient: &str, now: Timestamp) -> Result<Vec<String>> {
    tx.all(
        "SELECT DISTINCT practitioner FROM care_link WHERE patient = $1 AND from_us <= $2 AND until_us > $2 LIMIT 1000",
        &[Param::Bytes(&encode_target(TypeId::PATIENT, patient)), now.into()],
        |row| decode_id(row.bytes(0)?),
    )
}

/// Why the patient is in care of this practitioner at `now`, each with its end, at most 50.
pub fn reasons(
    tx: &mut dyn Tx,
    practitioner: &str,
    patient: &str,
    now: Timestamp,
) -> Result<Vec<(ResourceKey, Option<Timestamp>)>> {
    tx.all(
        "SELECT source, until_us FROM care_link WHERE practitioner = $1 AND patient = $2 AND from_us <= $3 \
         AND until_us > $3 ORDER BY until_us DESC, source LIMIT 50",
        params![&encode_id(practitioner), &encode_target(TypeId::PATIENT, patient), now],
        |row| {
            let until = row.int(1)?;
            let until = (until < i64::MAX).then(|| Timestamp::from_microsecond(until).ok()).flatten();
            Ok((decode_key(row.bytes(0)?)?, until))
        },
    )
}
