//! Applications that act for people: times, other servers, and that a token never widens what its person may do.

use crate::bench::{BASE, name};
use crate::{Bench, each_engine, key, kind};
use access::policy::{Action, RowFacts, predicate};
use access::{Ctx, Principal, Role, ScopeSet};
use base64::Engine as _;
use jiff::SignedDuration;
use proptest::prelude::*;
use record::authn::AccountSpec;
use record::oauth::{
    Authentication, AuthorizeParams, ClientClaim, ClientSpec, Decision, LaunchSpec, Proof, TokenAnswer,
};
use record::{Error, Record};
use sha2::{Digest as _, Sha256};

const REDIRECT: &str = "https://app.example/callback";
const VERIFIER: &str = "a-verifier-of-forty-three-characters-or-more-1234567890";

pub(crate) struct Lent {
    client: String,
    pub(crate) person: Ctx,
}

/// Patient p1 with an account and a session, and an application without a secret.
pub(crate) async fn lent(bench: &Bench) -> Lent {
    bench.record.set_secret_key(&[7; 32]);
    let spec = AccountSpec {
        display: "Amina".into(),
        login: Some("amina".into()),
        phone: None,
        email: None,
        password: Some("a long passphrase".into()),
        roles: vec![Role::Patient],
        patient: Some(key("Patient/p1")),
        practitioner: None,
        language: "en".into(),
    };
    bench.record.create_account(&bench.system(), spec).await.unwrap();
    let person = signed_in(bench).await;
    let spec = ClientSpec {
        name: "Growth charts".into(),
        scopes: vec!["openid launch patient/*.rs offline_access".into()],
        authentication: Authentication::None,
        redirects: vec![REDIRECT.into()],
        ..ClientSpec::default()
    };
    let (row, secret) = bench.record.register_client(&bench.system(), spec).await.unwrap();
    assert_eq!(secret, None);
    Lent { client: row.client_id, person }
}

async fn signed_in(bench: &Bench) -> Ctx {
    let session = bench.record.login("amina", "a long passphrase", None).await.unwrap();
    let info = bench.record.session(&session.token).await.unwrap();
    let mut ctx = bench.system();
    (ctx.principal, ctx.session) = (Principal::User(info.user), Some(info.facts));
    ctx
}

impl Lent {
    pub(crate) fn claim(&self) -> ClientClaim {
        ClientClaim { id: Some(self.client.clone()), proof: Proof::None }
    }

    async fn request(&self, bench: &Bench, launch: Option<String>) -> Result<String, ()> {
        let digest = Sha256::digest(VERIFIER.as_bytes());
        let asked = AuthorizeParams {
            response_type: Some("code".into()),
            client_id: Some(self.client.clone()),
            redirect_uri: Some(REDIRECT.into()),
            scope: Some("openid patient/*.rs offline_access".into()),
            aud: Some(BASE.into()),
            code_challenge: Some(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(digest)),
            code_challenge_method: Some("S256".into()),
            launch,
            ..AuthorizeParams::default()
        };
        bench.record.begin_authorization(asked).await.map_err(|_| ())
    }

    pub(crate) async fn code(&self, bench: &Bench) -> String {
        let id = self.request(bench, None).await.unwrap();
        let yes = Decision { is_approved: true, ..Decision::default() };
        let url = bench.record.decide_authorization(&self.person, &id, yes).await.unwrap();
        let (_, rest) = url.split_once("code=").unwrap();
        rest.split('&').next().unwrap().to_owned()
    }

    pub(crate) async fn redeem(&self, record: &Record, code: &str) -> Result<TokenAnswer, Error> {
        record.redeem_code(&self.claim(), code, REDIRECT, VERIFIER, None).await
    }
}

fn code_of(error: Result<TokenAnswer, Error>) -> String {
    name(&error.map(|_| ()).unwrap_err())
}

/// What lasts for months is not granted by whoever finds the desk unlocked; what ends with the session is.
#[tokio::test]
async fn a_grant_that_lasts_asks_anew() {
    each_engine(|bench| async move {
        let lent = lent(&bench).await;
        let id = lent.request(&bench, None).await.unwrap();
        let mut stale = lent.person.clone();
        stale.now = stale.now.checked_add(SignedDuration::from_mins(11)).unwrap();
        let yes = |scopes: Option<Vec<String>>| Decision { is_approved: true, scopes, ..Decision::default() };
        let all = bench.record.decide_authorization(&stale, &id, yes(None)).await;
        assert_eq!(name(&all.map(|_| ()).unwrap_err()), "StepUpNeeded");
        bench.record.decide_authorization(&stale, &id, Decision::default()).await.unwrap();
        let fewer = vec!["openid".to_owned(), "patient/*.rs".to_owned()];
        bench.record.decide_authorization(&stale, &id, yes(Some(fewer))).await.unwrap();
        bench.record.decide_authorization(&lent.person, &id, yes(None)).await.unwrap();
    })
    .await;
}

/// A session that was ended while its person's answer was on the way grants nothing.
#[tokio::test]
async fn a_session_that_has_ended_grants_nothing() {
    each_engine(|bench| async move {
        let lent = lent(&bench).await;
        let id = lent.request(&bench, None).await.unwrap();
        let account = lent.person.user().unwrap().account;
        bench.record.logout_everywhere(&lent.person, account).await.unwrap();
        let yes = Decision { is_approved: true, ..Decision::default() };
        let answer = bench.record.decide_authorization(&lent.person, &id, yes).await;
        assert_eq!(name(&answer.map(|_| ()).unwrap_err()), "Unauthenticated");
        assert!(bench.record.grants(&lent.person, Some(account)).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn everything_ends_in_time() {
    each_engine(|bench| async move {
        let lent = lent(&bench).await;
        let record = &bench.record;
        let code = lent.code(&bench).await;
        bench.turn(SignedDuration::from_secs(61));
        assert_eq!(code_of(lent.redeem(record, &code).await), "Rule invalid-grant");

        let tokens = lent.redeem(record, &lent.code(&bench).await).await.unwrap();
        let refresh = tokens.refresh_token.unwrap();
        assert!(record.holder(&tokens.access_token).await.unwrap().is_some());
        // A person's token is nobody by itself: whoever asks this does not look at scopes.
        assert!(matches!(record.bearer(&tokens.access_token).await, Err(Error::Unauthenticated)));
        assert!(matches!(record.session(&tokens.access_token).await, Err(Error::Unauthenticated)));
        assert!(matches!(
            record.refresh(&tokens.access_token).await.map(|_| ()),
            Err(Error::Unauthenticated)
        ));
        bench.turn(SignedDuration::from_secs(601));
        assert!(record.holder(&tokens.access_token).await.unwrap().is_none());
        bench.turn(SignedDuration::from_hours(89 * 24));
        let next = record.refresh_token(&lent.claim(), &refresh, None, None).await.unwrap();
        let refresh = next.refresh_token.unwrap();
        // Each use lengthens it; what is unused ends.
        bench.turn(SignedDuration::from_hours(89 * 24));
        let next = record.refresh_token(&lent.claim(), &refresh, None, None).await.unwrap();
        let refresh = next.refresh_token.unwrap();
        bench.turn(SignedDuration::from_hours(91 * 24));
        let late = record.refresh_token(&lent.claim(), &refresh, None, None).await;
        assert_eq!(code_of(late), "Rule invalid-grant");

        let person = signed_in(&bench).await;
        let id = lent.request(&bench, None).await.unwrap();
        assert!(record.authorization(&person, &id).await.is_ok());
        bench.turn(SignedDuration::from_mins(31));
        assert!(matches!(record.authorization(&person, &id).await, Err(Error::NotFound)));

        let person = signed_in(&bench).await;
        let spec = LaunchSpec { client: lent.client.clone(), ..LaunchSpec::default() };
        let launch = record.launch(&person, spec).await.unwrap().launch;
        assert!(lent.request(&bench, Some(launch.clone())).await.is_ok());
        bench.turn(SignedDuration::from_mins(6));
        assert!(lent.request(&bench, Some(launch)).await.is_err());

        // Keys change by themselves; an old one stays published for a while.
        let kids = |set: serde_json::Value| -> Vec<String> {
            let keys = set["keys"].as_array().unwrap().clone();
            keys.iter().map(|k| k["kid"].as_str().unwrap().to_owned()).collect()
        };
        let first = kids(record.jwks().await.unwrap());
        assert_eq!(kids(record.jwks().await.unwrap()), first);
        bench.turn(SignedDuration::from_hours(31 * 24));
        let both = kids(record.jwks().await.unwrap());
        assert!(both.len() == first.len() + 2 && first.iter().all(|kid| both.contains(kid)), "{both:?}");
        bench.turn(SignedDuration::from_hours(31 * 24));
        let last = kids(record.jwks().await.unwrap());
        assert!(last.iter().all(|kid| !first.contains(kid)), "{last:?}");
    })
    .await;
}

#[tokio::test]
async fn what_ends_on_one_server_ends_on_all() {
    each_engine(|bench| async move {
        let lent = lent(&bench).await;
        let tokens = lent.redeem(&bench.record, &lent.code(&bench).await).await.unwrap();
        let second = bench.second_server();
        assert!(second.holder(&tokens.access_token).await.unwrap().is_some());
        let start = bench.mark();
        let grants = bench.record.grants(&lent.person, lent.person.user().map(|u| u.account)).await.unwrap();
        bench.record.revoke_grant(&lent.person, &grants[0].id).await.unwrap();
        assert!(bench.record.holder(&tokens.access_token).await.unwrap().is_none(), "here at once");
        bench.turn(SignedDuration::from_secs(1));
        assert!(second.holder(&tokens.access_token).await.unwrap().is_none(), "elsewhere within a second");
        let audit = bench.audit_since(start).await;
        assert!(audit.iter().any(|line| line.contains("oauth.revoke success")), "{audit:?}");
        // With a token nobody grants, launches, or looks after grants.
        let mut app = lent.person.clone();
        (app.scopes, app.client) =
            (Some(ScopeSet::parse(["patient/*.rs"]).unwrap()), Some(lent.client.clone()));
        let id = lent.request(&bench, None).await.unwrap();
        assert!(matches!(bench.record.authorization(&app, &id).await, Err(Error::Denied)));
        let yes = Decision { is_approved: true, ..Decision::default() };
        assert!(matches!(bench.record.decide_authorization(&app, &id, yes).await, Err(Error::Denied)));
        let account = app.user().map(|u| u.account);
        assert!(matches!(bench.record.grants(&app, account).await, Err(Error::Denied)));
    })
    .await;
}

/// Text, level, type (`*`: all) and letters of scopes.
const SCOPES: [(&str, &str, &str, &str); 12] = [
    ("patient/*.rs", "patient", "*", "rs"),
    ("patient/*.cruds", "patient", "*", "cruds"),
    ("patient/Observation.rs", "patient", "Observation", "rs"),
    ("patient/Observation.read", "patient", "Observation", "rs"),
    ("patient/Patient.r", "patient", "Patient", "r"),
    ("patient/Condition.write", "patient", "Condition", "cud"),
    ("user/*.rs", "user", "*", "rs"),
    ("user/*.cruds", "user", "*", "cruds"),
    ("user/Patient.rs", "user", "Patient", "rs"),
    ("user/Appointment.cu", "user", "Appointment", "cu"),
    ("user/Practitioner.s", "user", "Practitioner", "s"),
    ("system/*.cruds", "system", "*", "cruds"),
];
const KINDS: [&str; 10] = [
    "Patient",
    "Observation",
    "Condition",
    "Appointment",
    "Practitioner",
    "Composition",
    "Consent",
    "Invoice",
    "AuditEvent",
    "Subscription",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]
    /// facts/security-controls.md I9: what a token may do is within what its person may do, and within what its scopes
    /// name; whoever, whatever, whichever row.
    #[test]
    fn a_token_never_widens(
        roles in prop::collection::vec(0..Role::ALL.len(), 1..3),
        picked in prop::collection::vec(0..SCOPES.len(), 0..4),
        launched in prop::option::of(0..3usize),
        is_patient in any::<bool>(),
        is_practitioner in any::<bool>(),
        action in 0..Action::ALL.len(),
        wanted in 0..KINDS.len(),
        patients in prop::collection::vec(0..3usize, 0..3),
        cared in prop::collection::vec(0..3usize, 0..3),
        id in 0..3usize,
    ) {
        let names = ["p1", "p2", "p3"];
        let own = |indices: &[usize]| indices.iter().map(|n| names[*n].to_owned()).collect::<Vec<String>>();
        let mut person = Ctx::system("test", jiff::Timestamp::UNIX_EPOCH);
        person.principal = Principal::User(access::User {
            account: 1,
            display: "x".into(),
            roles: roles.iter().map(|n| Role::ALL[*n]).collect(),
            patient: is_patient.then(|| key("Patient/p1")),
            practitioner: is_practitioner.then(|| key("Practitioner/p2")),
            language: "en".into(),
            standing: std::sync::Arc::default(),
        });
        let mut set = ScopeSet::parse(picked.iter().map(|n| SCOPES[*n].0)).unwrap();
        if let Some(n) = launched {
            set = set.with_patient(names[n]);
        }
        let mut app = person.clone();
        app.scopes = Some(set);
        let (action, name) = (Action::ALL[action], KINDS[wanted]);
        let (patients, cared) = (own(&patients), own(&cared));
        let row = key(&format!("{name}/{}", names[id]));
        let facts = RowFacts::plain(&row, &patients, &cared);
        let may = predicate(&app, action, kind(name)).holds(&facts);
        if may {
            prop_assert!(predicate(&person, action, kind(name)).holds(&facts), "more than the person");
            let letter = match action {
                Action::Create => 'c',
                Action::Read | Action::History => 'r',
                Action::Update => 'u',
                Action::Delete => 'd',
                Action::Search => 's',
            };
            let about = launched.map(|n| names[n]).or(is_patient.then_some("p1"));
            let is_named = picked.iter().map(|n| SCOPES[*n]).any(|(_, level, scope, letters)| {
                (scope == "*" || scope == name) && letters.contains(letter) && match level {
                    "user" => true,
                    "patient" => access::policy::is_impersonal(kind(name))
                        || about.is_some_and(|a| patients.iter().any(|p| p == a)),
                    _ => false,
                }
            });
            prop_assert!(is_named, "more than the scopes");
        }
        // And no right that is about no resource.
        for capability in access::policy::Capability::ALL {
            prop_assert!(!access::policy::may(&app, capability));
        }
    }
}
