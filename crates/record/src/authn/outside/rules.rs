//! What a provider's words are worth here: roles by its claims, factors by how it asked the person. Pure.

use access::{Factor, Role};
use serde_json::Value;

/// People of a provider whose claim has this value get this role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleRule {
    /// Name of a claim, e.g. `groups`; of one inside others with dots, e.g. `realm_access.roles`.
    pub claim: String,
    /// The claim is this text, or a list that has it.
    pub value: String,
    pub role: Role,
}

/// Which words of the provider about how somebody signed in are taken for what they say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trust {
    /// Of the claim `acr`.
    pub acr: Vec<String>,
    /// Of the claim `amr`.
    pub amr: Vec<String>,
}

impl Trust {
    fn holds(&self, who: &super::Vouched) -> bool {
        who.acr.as_ref().is_some_and(|acr| self.acr.contains(acr))
            || who.amr.iter().any(|amr| self.amr.contains(amr))
    }
}

/// What the operator set up for one provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderRules {
    pub id: String,
    /// For people.
    pub name: String,
    /// Somebody with a role by `roles` and without an account gets one when she first signs in.
    pub creates_accounts: bool,
    /// Whether `roles` may give [Role::Administrator].
    pub gives_administrator: bool,
    pub roles: Vec<RoleRule>,
    /// It asked for a second factor.
    pub second_factor: Trust,
    /// It asked for a passkey or the like.
    pub passkey: Trust,
    /// BCP-47, of accounts that are made.
    pub language: String,
}

/// Whether a provider may give this role. Patients and proxies are somebody in the record, and programs are no people.
pub fn is_mappable(role: Role, gives_administrator: bool) -> bool {
    role.is_staff() && role != Role::Integration && (role != Role::Administrator || gives_administrator)
}

fn find<'a>(claims: &'a Value, name: &str) -> Option<&'a Value> {
    // The whole name first: claims of one's own are named by URLs.
    claims.get(name).or_else(|| name.split('.').try_fold(claims, |value, step| value.get(step)))
}

fn has(claim: &Value, value: &str) -> bool {
    match claim {
        Value::String(text) => text == value,
        Value::Bool(flag) => value == if *flag { "true" } else { "false" },
        Value::Array(all) => all.iter().any(|one| one.as_str() == Some(value)),
        Value::Null | Value::Number(_) | Value::Object(_) => false,
    }
}

impl ProviderRules {
    /// The roles that these claims give, each once; none where no rule fits.
    pub fn roles_of(&self, claims: &Value) -> Vec<Role> {
        let mut roles = Vec::new();
        for rule in &self.roles {
            let fits = is_mappable(rule.role, self.gives_administrator)
                && find(claims, &rule.claim).is_some_and(|claim| has(claim, &rule.value));
            if fits && !roles.contains(&rule.role) {
                roles.push(rule.role);
            }
        }
        roles
    }

    /// What the person showed, as far as the provider is believed.
    pub fn factors_of(&self, who: &super::Vouched) -> Vec<Factor> {
        let mut factors = vec![Factor::Outside];
        if self.passkey.holds(who) {
            factors.push(Factor::OutsidePasskey);
        } else if self.second_factor.holds(who) {
            factors.push(Factor::OutsideSecondFactor);
        }
        factors
    }
}

/// Roles after a sign-in, and those of them that the provider gave. What it gave before and gives no more goes; what
/// somebody here gave stays.
pub(super) fn plan(current: &[Role], before: &[Role], mapped: &[Role]) -> (Vec<Role>, Vec<Role>) {
    let mut all: Vec<Role> = current.iter().copied().filter(|role| !before.contains(role)).collect();
    let given: Vec<Role> = mapped.iter().copied().filter(|role| !all.contains(role)).collect();
    all.extend(&given);
    (all, given)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rules(roles: &[(&str, &str, Role)]) -> ProviderRules {
        let rule = |(claim, value, role): &(&str, &str, Role)| RoleRule {
            claim: (*claim).into(),
            value: (*value).into(),
            role: *role,
        };
        ProviderRules {
            id: "clinic".into(),
            name: "Clinic".into(),
            creates_accounts: true,
            gives_administrator: false,
            roles: roles.iter().map(rule).collect(),
            second_factor: Trust::default(),
            passkey: Trust::default(),
            language: "en".into(),
        }
    }

    #[test]
    fn roles_come_of_claims_and_of_nothing_else() {
        let rules = rules(&[
            ("groups", "doctors", Role::Doctor),
            ("groups", "all-doctors", Role::Doctor),
            ("realm_access.roles", "cash", Role::Cashier),
            ("https://clinic.example/roles", "desk", Role::FrontDesk),
            ("groups", "admins", Role::Administrator),
            ("groups", "patients", Role::Patient),
            ("groups", "parents", Role::Proxy),
            ("it", "true", Role::It),
        ]);
        let cases = [
            (json!({}), vec![]),
            (json!({"groups": "doctors"}), vec![Role::Doctor]),
            (json!({"groups": ["x", "doctors", "all-doctors"]}), vec![Role::Doctor]),
            (json!({"groups": ["doctors2", "Doctors", ["doctors"], {"doctors": true}]}), vec![]),
            (json!({"groups": {"doctors": "doctors"}}), vec![]),
            (json!({"realm_access": {"roles": ["cash"]}}), vec![Role::Cashier]),
            (json!({"realm_access.roles": ["cash"]}), vec![Role::Cashier]),
            (json!({"https://clinic.example/roles": ["desk"]}), vec![Role::FrontDesk]),
            (json!({"groups": ["admins", "patients", "parents"]}), vec![]),
            (json!({"it": true}), vec![Role::It]),
            (json!({"it": 1}), vec![]),
        ];
        for (claims, expected) in cases {
            assert_eq!(rules.roles_of(&claims), expected, "{claims}");
        }
        let allowed = ProviderRules { gives_administrator: true, ..rules };
        assert_eq!(allowed.roles_of(&json!({"groups": ["admins"]})), [Role::Administrator]);
    }

    #[test]
    fn what_the_provider_gave_goes_and_the_rest_stays() {
        use Role::{Cashier, Doctor, Nurse};
        type Case<'a> = (&'a [Role], &'a [Role], &'a [Role], &'a [Role], &'a [Role]);
        let cases: [Case<'_>; 6] = [
            // current, given before, mapped now: all, given
            (&[], &[], &[Doctor], &[Doctor], &[Doctor]),
            (&[Doctor], &[Doctor], &[], &[], &[]),
            (&[Cashier, Doctor], &[Doctor], &[Nurse], &[Cashier, Nurse], &[Nurse]),
            // Given by hand as well: stays by hand.
            (&[Doctor], &[], &[Doctor], &[Doctor], &[]),
            (&[Doctor], &[], &[], &[Doctor], &[]),
            // Taken away by hand: the provider gives it again.
            (&[], &[Doctor], &[Doctor], &[Doctor], &[Doctor]),
        ];
        for (current, before, mapped, all, given) in cases {
            assert_eq!(
                plan(current, before, mapped),
                (all.to_vec(), given.to_vec()),
                "{current:?} {before:?} {mapped:?}"
            );
        }
    }
}
