//! Seals and consents as conditions: the twins of `access::policy::Opener` and `access::consent::Judge`.

use super::builder::Values;
use super::check::{NEVER, Subject};
use crate::ids::encode_id;
use access::Seals;
use access::consent::Asker;
use access::policy::Opener;

// The tables here have names that no other part of a search uses: the row under test is named from outside.

impl Subject<'_> {
    /// Every seal of the row is open to the caller.
    pub(super) fn open(&mut self, values: &mut Values, opener: &Opener) -> String {
        let closed = Seals::ALL.without(opener.clear);
        if closed.is_none() {
            return "1 = 1".to_owned();
        }
        let rid = self.rid.clone();
        let mut shut = Vec::new();
        for category in closed.categories() {
            let bit = values.bind(i64::from(category.seals.0));
            let mut opened = vec![self.permitted(values, &opener.asker, &bit)];
            if let Some(practitioner) = &opener.practitioner {
                opened.push(self.keyed(values, practitioner, &bit));
            }
            shut.push(format!("(zs.seals & {bit} <> 0 AND NOT ({}))", opened.join(" OR ")));
        }
        let closed = values.bind(i64::from(closed.0));
        format!(
            "NOT EXISTS (SELECT 1 FROM sealed zs WHERE zs.rid = {rid} AND zs.seals & {closed} <> 0 AND ({}){})",
            shut.join(" OR "),
            self.scope.dialect.look_up()
        )
    }

    /// The practitioner has a key of this category for the row or one of its patients.
    fn keyed(&mut self, values: &mut Values, practitioner: &str, bit: &str) -> String {
        let practitioner = values.bind(encode_id(practitioner));
        let rid = self.rid.clone();
        let held = format!(
            "zk.practitioner = {practitioner} AND zk.seals & {bit} <> 0 AND (zk.whole = 1 OR zk.rid = {rid})"
        );
        self.of_patients("seal_key zk", "zk.patient", &held)
    }

    /// A consent opens this category of the row to the asker.
    fn permitted(&mut self, values: &mut Values, asker: &Asker, bit: &str) -> String {
        let fits = self.fits(values, asker, "zp");
        let held = format!("zp.deny = 0 AND zp.seals & {bit} <> 0 AND {fits}");
        self.of_patients("consent_rule zp", "zp.patient", &held)
    }

    /// No consent keeps the row from the asker.
    pub(super) fn consented(&mut self, values: &mut Values, asker: &Asker) -> String {
        let rid = self.rid.clone();
        let look_up = self.scope.dialect.look_up();
        let seals = |rule: &str| {
            format!(
                "({rule}.seals = 0 OR EXISTS (SELECT 1 FROM sealed zs WHERE zs.rid = {rid} \
                 AND zs.seals & {rule}.seals <> 0{look_up}))"
            )
        };
        let (denied, excepted) = (self.fits(values, asker, "zd"), self.fits(values, asker, "ze"));
        let held = format!(
            "zd.deny = 1 AND {denied} AND {} AND NOT EXISTS (SELECT 1 FROM consent_rule ze WHERE ze.source = zd.source \
             AND ze.patient = zd.patient AND ze.deny = 0 AND ze.depth > zd.depth AND {excepted} AND {}{look_up})",
            seals("zd"),
            seals("ze")
        );
        let denied = self.of_patients("consent_rule zd", "zd.patient", &held);
        format!("NOT ({denied})")
    }

    /// A rule is about this asker, this type and now.
    fn fits(&self, values: &mut Values, asker: &Asker, rule: &str) -> String {
        let mut actors = vec![format!("{rule}.actor = ''")];
        for actor in &asker.actors {
            actors.push(format!("{rule}.actor = {}", values.bind(actor.as_str())));
        }
        let purpose = values.bind(i64::from(asker.purpose));
        let kind = values.bind(i64::from(self.kind.0));
        let now = values.bind(self.scope.now_us);
        format!(
            "({}) AND ({rule}.purposes = 0 OR {rule}.purposes & {purpose} <> 0) AND {rule}.kind IN (-1, {kind}) \
             AND {rule}.from_us <= {now} AND {rule}.until_us > {now}",
            actors.join(" OR ")
        )
    }

    /// A row of `from` holds for one of the row's patients.
    fn of_patients(&mut self, from: &str, column: &str, held: &str) -> String {
        let (patient, more) = (self.resource("patient"), self.resource("more_patients"));
        let (rid, look_up) = (&self.rid, self.scope.dialect.look_up());
        format!(
            "(EXISTS (SELECT 1 FROM {from} WHERE {column} = {patient} AND {held}{look_up}) OR ({more} > 0 AND EXISTS \
             (SELECT 1 FROM compartment zm CROSS JOIN {from} WHERE zm.rid = {rid} AND {column} = zm.patient AND {held}{look_up})))"
        )
    }

    /// Alternatives; [NEVER] if there are none.
    pub(super) fn either(any: &[String]) -> String {
        if any.is_empty() { NEVER.into() } else { format!("({})", any.join(" OR ")) }
    }
}
