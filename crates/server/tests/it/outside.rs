//! Signing in with an outside provider of identities: the sandbox's, over real sockets, right and wrong.

use crate::harness::{PASSWORD, Signed, World, header, read};
use crate::postgres::Database;
use access::Role;
use sandbox::oidc::{CLIENT_ID, CLIENT_SECRET, OidcFault, Person};
use serde_json::{Value, json};
use server::Config;
use std::collections::BTreeMap;

/// A browser: cookies of one server, redirects followed by hand.
struct Browser {
    http: reqwest::Client,
    base: String,
    cookies: BTreeMap<String, String>,
}

impl Browser {
    fn new(world: &World) -> Browser {
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Browser { http, base: world.url().to_owned(), cookies: BTreeMap::new() }
    }

    async fn send(&mut self, request: reqwest::RequestBuilder) -> reqwest::Response {
        let cookies: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let response =
            request.header("cookie", cookies.join("; ")).header("origin", &self.base).send().await.unwrap();
        for set in response.headers().get_all("set-cookie") {
            let (pair, _) = set.to_str().unwrap().split_once(';').unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            if value.is_empty() {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        response
    }

    /// Status and where it is sent on.
    async fn follow(&mut self, path: &str) -> (u16, String) {
        let url = if path.starts_with('/') { format!("{}{path}", self.base) } else { path.to_owned() };
        let response = self.send(self.http.get(url)).await;
        (response.status().as_u16(), header(&response, "location").to_owned())
    }

    async fn get(&mut self, path: &str) -> (u16, Value) {
        let response = self.send(self.http.get(format!("{}{path}", self.base))).await;
        read(response).await
    }

    async fn post(&mut self, path: &str, body: Value) -> (u16, Value) {
        let response = self.send(self.http.post(format!("{}{path}", self.base)).json(&body)).await;
        read(response).await
    }

    async fn delete(&mut self, path: &str) -> (u16, Value) {
        let response = self.send(self.http.delete(format!("{}{path}", self.base))).await;
        read(response).await
    }

    /// To the provider, where somebody is picked; returns the address of the answer.
    async fn answer_of(&mut self, subject: &str) -> String {
        let (status, provider) = self.follow("/api/v1/auth/providers/clinic/start?return=/work%3Fa=1").await;
        assert_eq!(status, 303, "{provider}");
        self.pick(&provider, subject).await
    }

    async fn pick(&self, provider: &str, subject: &str) -> String {
        let answer = self.http.get(format!("{provider}&as={subject}")).send().await.unwrap();
        assert_eq!(answer.status(), 303, "{provider}");
        header(&answer, "location").to_owned()
    }

    /// The whole way; returns where the browser ends.
    async fn sign_in(&mut self, subject: &str) -> String {
        let answer = self.answer_of(subject).await;
        let (status, location) = self.follow(&answer).await;
        assert_eq!(status, 303);
        location
    }

    fn has_session(&self) -> bool {
        self.cookies.contains_key("uzima")
    }
}

fn provider(config: &mut Config, sandbox: &sandbox::Handle, more: &str) {
    let rule = |value: &str, role: &str| {
        format!("[[roles]]\nclaim = \"groups\"\nvalue = \"{value}\"\nrole = \"{role}\"\n")
    };
    let text = format!(
        "name = \"Clinic login\"\nissuer = \"{}\"\nclient_id = \"{CLIENT_ID}\"\nclient_secret = \"{CLIENT_SECRET}\"\n\
         create_accounts = true\nallow_http = true\nallow_private = true\nsecond_factor_amr = [\"mfa\"]\n\
         passkey_acr = [\"phr\"]\n{more}\n{}{}{}",
        sandbox.oidc.issuer(),
        rule("doctors", "doctor"),
        rule("cashiers", "cashier"),
        rule("front-desk", "front-desk"),
    );
    config.identity_providers.insert("clinic".into(), toml::from_str(&text).unwrap());
}

async fn start(more: &str) -> (sandbox::Handle, World) {
    let sandbox = sandbox::serve(sandbox::Config::default()).await.unwrap();
    let world = World::start_with(|config| provider(config, &sandbox, more)).await;
    (sandbox, world)
}

async fn accounts(admin: &Signed) -> usize {
    admin.post("/api/v1/admin/users/search", json!({"limit": 100})).await.1["items"].as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_new_gets_an_account_and_the_roles_of_her_groups() {
    let (sandbox, world) = start("").await;
    the_life_of_an_account(&sandbox, &world).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_new_gets_an_account_on_postgresql() {
    let Some(database) = Database::make() else { return };
    let sandbox = sandbox::serve(sandbox::Config::default()).await.unwrap();
    let world = database.serve_with(|config| provider(config, &sandbox, "")).await;
    the_life_of_an_account(&sandbox, &world).await;
    world.stop().await;
}

async fn the_life_of_an_account(sandbox: &sandbox::Handle, world: &World) {
    let admin = world.staff("root", Role::Administrator).await;
    let (status, listed) = world.anonymous().get("/api/v1/auth/providers").await;
    assert_eq!((status, listed), (200, json!({"items": [{"id": "clinic", "name": "Clinic login"}]})));

    // A doctor is somebody in the record from the first moment.
    let mut browser = Browser::new(world);
    assert_eq!(browser.sign_in("s-1001").await, "/work?a=1");
    let (status, me) = browser.get("/api/v1/me").await;
    assert_eq!(
        (status, &me["roles"], &me["display"]),
        (200, &json!(["doctor"]), &json!("Wambui Kariuki")),
        "{me}"
    );
    let practitioner = me["practitioner_id"].as_str().unwrap().to_owned();
    assert_eq!(me["family"], "Kariuki");
    let (_, session) = browser.get("/api/v1/auth/session").await;
    assert_eq!((&session["factors"], &session["provider_id"]), (&json!(["outside"]), &json!("clinic")));

    // Again, from another browser: the same account and the same person.
    let mut other = Browser::new(world);
    other.sign_in("s-1001").await;
    let (_, again) = other.get("/api/v1/me").await;
    assert_eq!((&again["account_id"], &again["practitioner_id"]), (&me["account_id"], &json!(practitioner)));
    let (status, _) = browser.get("/api/v1/me").await;
    assert_eq!(status, 200, "nothing changed, so nobody is signed out");

    // She moves to the front desk: the next sign-in brings it here, and sessions with the old role end.
    sandbox.oidc.put_person(Person::new("s-1001", "Wambui Kariuki", &["front-desk"]));
    let mut third = Browser::new(world);
    assert_eq!(third.sign_in("s-1001").await, "/work?a=1");
    assert_eq!(third.get("/api/v1/me").await.1["roles"], json!(["front-desk"]));
    assert_eq!((browser.get("/api/v1/me").await.0, other.get("/api/v1/me").await.0), (401, 401));

    // What an administrator gave stays, what the provider takes back goes.
    let user = format!("/api/v1/admin/users/{}", me["account_id"].as_str().unwrap());
    let (status, _) = admin.patch(&user, json!({"roles": ["front-desk", "cashier"]})).await;
    assert_eq!(status, 200);
    sandbox.oidc.put_person(Person::new("s-1001", "Wambui Kariuki", &[]));
    let mut fourth = Browser::new(world);
    fourth.sign_in("s-1001").await;
    assert_eq!(fourth.get("/api/v1/me").await.1["roles"], json!(["cashier"]));

    // Without any role nobody signs in, and who was signed in is so no more.
    let (_, identities) = admin.get(&format!("{user}/identities")).await;
    assert_eq!(
        (&identities["items"][0]["subject"], &identities["items"][0]["roles"]),
        (&json!("s-1001"), &json!([]))
    );
    sandbox.oidc.put_person(Person::new("s-1005", "Otieno Were", &["cashiers"]));
    let mut cashier = Browser::new(world);
    cashier.sign_in("s-1005").await;
    assert!(cashier.has_session());
    sandbox.oidc.put_person(Person::new("s-1005", "Otieno Were", &["administrators"]));
    let mut later = Browser::new(world);
    assert_eq!(later.sign_in("s-1005").await, "/sign-in?provider-error=no-role");
    assert_eq!((later.has_session(), cashier.get("/api/v1/me").await.0), (false, 401));

    // Somebody of no group that a rule names gets nothing, not even an account.
    let before = accounts(&admin).await;
    for subject in ["s-1003", "-"] {
        let mut nobody = Browser::new(world);
        let end = nobody.sign_in(subject).await;
        let code = if subject == "-" { "provider-refused" } else { "no-role" };
        assert_eq!(end, format!("/sign-in?provider-error={code}"));
        assert!(!nobody.has_session());
    }
    assert_eq!(accounts(&admin).await, before);

    // Disabled stays disabled, whatever the provider says.
    let (status, _) = admin.patch(&user, json!({"disabled": true})).await;
    assert_eq!((status, fourth.get("/api/v1/me").await.0), (200, 401));
    sandbox.oidc.put_person(Person::new("s-1001", "Wambui Kariuki", &["doctors"]));
    assert_eq!(Browser::new(world).sign_in("s-1001").await, "/sign-in?provider-error=account-disabled");

    // The administrator sees how it is set up and used.
    let (status, providers) = admin.get("/api/v1/admin/providers").await;
    let one = &providers["items"][0];
    assert_eq!(
        (status, &one["state"], &one["creates_accounts"]),
        (200, &json!("ready"), &json!(true)),
        "{providers}"
    );
    assert_eq!(one["accounts"], 2);
    assert!(!providers.to_string().contains(CLIENT_SECRET));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_answers_open_nothing() {
    let (sandbox, world) = start("userinfo = true").await;
    let admin = world.staff("root", Role::Administrator).await;
    let before = accounts(&admin).await;
    let cases = [
        (OidcFault::RefuseSignIn, "provider-refused"),
        (OidcFault::RefuseToken, "provider-refused"),
        (OidcFault::Broken, "provider-invalid"),
        (OidcFault::NoIdToken, "provider-invalid"),
        (OidcFault::WrongNonce, "provider-invalid"),
        (OidcFault::NoNonce, "provider-invalid"),
        (OidcFault::WrongAudience, "provider-invalid"),
        (OidcFault::TwoAudiences, "provider-invalid"),
        (OidcFault::WrongParty, "provider-invalid"),
        (OidcFault::WrongIssuer, "provider-invalid"),
        (OidcFault::Expired, "provider-invalid"),
        (OidcFault::Future, "provider-invalid"),
        (OidcFault::AlgorithmNone, "provider-invalid"),
        (OidcFault::AlgorithmSecret, "provider-invalid"),
        (OidcFault::WrongSignature, "provider-invalid"),
        (OidcFault::ForeignKey, "provider-invalid"),
        (OidcFault::WrongAccessToken, "provider-invalid"),
        (OidcFault::UserinfoOfAnother, "provider-invalid"),
        // Longer than a call may take.
        (OidcFault::Delay { ms: 6_000 }, "provider-unreachable"),
    ];
    for (fault, expected) in cases {
        sandbox.oidc.fault(fault.clone());
        let mut browser = Browser::new(&world);
        let end = browser.sign_in("s-1001").await;
        assert_eq!(end, format!("/sign-in?provider-error={expected}"), "{fault:?}");
        assert!(!browser.has_session(), "{fault:?}");
        assert!(!browser.cookies.contains_key("uzima-provider"), "{fault:?}: used up");
    }
    assert_eq!(accounts(&admin).await, before, "nobody got an account");
    let mut browser = Browser::new(&world);
    assert_eq!(browser.sign_in("s-1001").await, "/work?a=1", "and right again");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_belongs_to_one_browser_and_counts_once() {
    let (sandbox, world) = start("").await;
    let expired = "/sign-in?provider-error=sign-in-expired";
    let mut amina = Browser::new(&world);
    let answer = amina.answer_of("s-1001").await;
    // A link with somebody else's answer signs nobody in.
    let mut victim = Browser::new(&world);
    assert_eq!(victim.follow(&answer).await, (303, expired.into()));
    let mut other = Browser::new(&world);
    other.answer_of("s-1002").await;
    assert_eq!(other.follow(&answer).await, (303, expired.into()), "with a request of its own");
    let changed = answer.replace("state=", "state=x");
    let kept = amina.cookies.clone();
    assert_eq!(amina.follow(&changed).await, (303, expired.into()));
    amina.cookies = kept.clone();
    let foreign = answer.replace("iss=http", "iss=https");
    assert_eq!(amina.follow(&foreign).await.1, "/sign-in?provider-error=provider-invalid", "RFC 9207");
    amina.cookies = kept.clone();
    assert_eq!(sandbox.oidc.redeemed(), 0, "no code left this server for any of these");

    assert_eq!(amina.follow(&answer).await, (303, "/work?a=1".into()));
    assert!(amina.has_session() && !victim.has_session() && !other.has_session());
    // Twice: the browser has forgotten, and whoever kept the cookie is refused by the provider and by us.
    assert_eq!(amina.follow(&answer).await, (303, expired.into()));
    let mut thief = Browser::new(&world);
    thief.cookies = kept;
    assert_eq!(thief.follow(&answer).await.1, "/sign-in?provider-error=provider-refused");
    assert!(!thief.has_session());
    let mut once = Browser::new(&world);
    let answer = once.answer_of("s-1001").await;
    let kept = once.cookies.clone();
    assert_eq!(once.follow(&answer).await.1, "/work?a=1");
    sandbox.oidc.fault(OidcFault::CodeTwice);
    thief.cookies = kept;
    assert_eq!(thief.follow(&answer).await.1, expired, "a careless provider");
    assert!(!thief.has_session());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_keys_are_fetched_and_old_ones_count_no_more() {
    let (sandbox, world) = start("").await;
    assert_eq!(Browser::new(&world).sign_in("s-1001").await, "/work?a=1");
    sandbox.oidc.rotate();
    assert_eq!(Browser::new(&world).sign_in("s-1001").await, "/work?a=1");
    // Whoever sends tokens by keys that nobody has does not make this server fetch without end.
    for n in 0..8 {
        sandbox.oidc.fault(OidcFault::ForeignKey);
        let end = Browser::new(&world).sign_in("s-1001").await;
        assert_eq!(end, "/sign-in?provider-error=provider-invalid", "{n}");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_away_is_told() {
    let sandbox = sandbox::serve(sandbox::Config::default()).await.unwrap();
    // An issuer on this machine needs leave.
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::local(folder.path().join("data"));
    provider(&mut config, &sandbox, "");
    config.identity_providers.get_mut("clinic").unwrap().allow_private = false;
    let refused = server::start(config).await.map(|_| ()).unwrap_err().to_string();
    assert!(refused.contains("identity_providers.clinic"), "{refused}");
    // Somebody who takes the call and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = silent.local_addr().unwrap();
    let calls = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = calls.clone();
    tokio::spawn(async move {
        while let Ok((line, _)) = silent.accept().await {
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            drop(line);
        }
    });
    let called = || calls.load(std::sync::atomic::Ordering::SeqCst);
    let world = World::start_with(|config| {
        provider(config, &sandbox, "");
        config.identity_providers.get_mut("clinic").unwrap().issuer = format!("http://{place}/oidc");
    })
    .await;
    let admin = world.staff("root", Role::Administrator).await;
    let mut browser = Browser::new(&world);
    let (status, end) = browser.follow("/api/v1/auth/providers/clinic/start").await;
    assert_eq!((status, end.as_str()), (303, "/sign-in?provider-error=provider-unreachable"));
    // Everybody who comes within the next seconds is told so at once; whoever looks after it asks anew.
    let once = called();
    for _ in 0..5 {
        let (_, end) = Browser::new(&world).follow("/api/v1/auth/providers/clinic/start").await;
        assert_eq!(end, "/sign-in?provider-error=provider-unreachable");
    }
    assert_eq!(called(), once, "it was asked again");
    assert_eq!(browser.follow("/api/v1/auth/providers/other/start").await.0, 404);
    let (status, told) = admin.post("/api/v1/admin/providers/clinic/check", json!({})).await;
    assert_eq!((status, &told["state"]), (200, &json!("failing")), "{told}");
    assert!(called() > once);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_linked_by_its_owner_or_an_administrator_and_by_nothing_else() {
    let (sandbox, world) = start("").await;
    let admin = world.staff("root", Role::Administrator).await;
    let nurse = world.staff("nurse", Role::Nurse).await;
    // The address of somebody's account is no proof.
    let mut person = Person::new("s-2001", "Nurse", &["cashiers"]);
    person.email = "nurse@staff.example".into();
    sandbox.oidc.put_person(person.clone());
    let mut browser = Browser::new(&world);
    browser.sign_in("s-2001").await;
    let (_, me) = browser.get("/api/v1/me").await;
    assert_ne!(me["account_id"], json!(nurse.account.to_string()), "another account");

    // An administrator links another person.
    sandbox.oidc.put_person(Person::new("s-2002", "Nurse", &[]));
    let path = format!("/api/v1/admin/users/{}/identities", nurse.account);
    let link = |subject: &str| json!({"provider_id": "clinic", "subject": subject});
    let (status, row) = admin.post(&path, link("s-2002")).await;
    assert_eq!(status, 201, "{row}");
    assert_eq!(admin.post(&path, link("s-2001")).await.0, 409, "taken");
    assert_eq!(admin.post(&path, link(" ")).await.0, 422);
    assert_eq!(nurse.post(&path, link("s-2003")).await.0, 403);
    let own = format!("/api/v1/admin/users/{}/identities", admin.account);
    assert_eq!(admin.post(&own, link("s-2004")).await.1["code"], "own-account");
    let mut linked = Browser::new(&world);
    linked.sign_in("s-2002").await;
    let (_, me) = linked.get("/api/v1/me").await;
    assert_eq!((&me["account_id"], &me["roles"]), (&json!(nurse.account.to_string()), &json!(["nurse"])));

    // The owner links herself, in the browser in which she is signed in.
    sandbox.oidc.put_person(Person::new("s-2005", "Desk", &[]));
    world.staff("desk", Role::FrontDesk).await;
    let mut desk = Browser::new(&world);
    let (status, _) = desk.post("/api/v1/auth/login", json!({"login": "desk", "password": PASSWORD})).await;
    assert_eq!(status, 200);
    let (_, own) = desk.get("/api/v1/auth/identities").await;
    assert_eq!((&own["items"], &own["linkable"][0]["id"]), (&json!([]), &json!("clinic")));
    let (status, to) =
        desk.post("/api/v1/auth/providers/clinic/link", json!({"return": "/settings#security"})).await;
    assert_eq!(status, 200, "{to}");
    let answer = desk.pick(to["location"].as_str().unwrap(), "s-2005").await;
    // Somebody else took the desk over meanwhile: nothing is linked.
    let (kept, mut stolen) = (desk.cookies.clone(), Browser::new(&world));
    stolen.post("/api/v1/auth/login", json!({"login": "nurse", "password": PASSWORD})).await;
    stolen.cookies.insert("uzima-provider".into(), kept["uzima-provider"].clone());
    assert_eq!(stolen.follow(&answer).await.1, "/settings?provider-error=session-changed#security");
    desk.cookies = kept;
    let answer = {
        let (_, to) = desk.post("/api/v1/auth/providers/clinic/link", json!({"return": "/settings"})).await;
        desk.pick(to["location"].as_str().unwrap(), "s-2005").await
    };
    assert_eq!(desk.follow(&answer).await.1, "/settings?provider-done=link");
    let mut again = Browser::new(&world);
    again.sign_in("s-2005").await;
    assert_eq!(again.get("/api/v1/me").await.1["roles"], json!(["front-desk"]));
    // And takes it away again; sessions that came of it end.
    let (_, own) = desk.get("/api/v1/auth/identities").await;
    let id = own["items"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(desk.delete(&format!("/api/v1/auth/identities/{id}")).await.0, 204);
    assert_eq!((again.get("/api/v1/me").await.0, desk.get("/api/v1/me").await.0), (401, 200));
    assert_eq!(Browser::new(&world).sign_in("s-2005").await, "/sign-in?provider-error=no-role");
    // Who has no other way in keeps it.
    let (_, own) = browser.get("/api/v1/auth/identities").await;
    let id = own["items"][0]["id"].as_str().unwrap().to_owned();
    let (status, told) = browser.delete(&format!("/api/v1/auth/identities/{id}")).await;
    assert_eq!((status, &told["code"]), (422, &json!("last-way-in")));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_leave_nobody_new_gets_an_account() {
    let (_sandbox, world) = {
        let sandbox = sandbox::serve(sandbox::Config::default()).await.unwrap();
        let world = World::start_with(|config| {
            provider(config, &sandbox, "");
            config.identity_providers.get_mut("clinic").unwrap().create_accounts = false;
        })
        .await;
        (sandbox, world)
    };
    let mut browser = Browser::new(&world);
    assert_eq!(browser.sign_in("s-1001").await, "/sign-in?provider-error=identity-unknown");
    assert!(!browser.has_session());
    world.stop().await;
}

/// Somebody with an authenticator application, linked to a person of the provider.
async fn with_totp(world: &World, sandbox: &sandbox::Handle, amr: &[&str]) -> Vec<String> {
    let admin = world.staff("root", Role::Administrator).await;
    let nurse = world.staff("nurse", Role::Nurse).await;
    let (status, begun) = nurse.post("/api/v1/auth/totp", json!({})).await;
    assert_eq!(status, 200, "{begun}");
    let secret = begun["secret"].as_str().unwrap();
    let code = record::authn::totp::code_at(secret, world.app().record.now());
    let (status, codes) = nurse.post("/api/v1/auth/totp/confirm", json!({"code": code})).await;
    assert_eq!(status, 200, "{codes}");
    let mut person = Person::new("s-3001", "Nurse", &[]);
    person.amr = amr.iter().map(|amr| (*amr).to_owned()).collect();
    sandbox.oidc.put_person(person);
    let path = format!("/api/v1/admin/users/{}/identities", nurse.account);
    assert_eq!(admin.post(&path, json!({"provider_id": "clinic", "subject": "s-3001"})).await.0, 201);
    codes["recovery_codes"].as_array().unwrap().iter().map(|c| c.as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_a_second_factor_here_shows_it_unless_the_provider_is_believed() {
    let (sandbox, world) = start("").await;
    let codes = with_totp(&world, &sandbox, &["pwd"]).await;
    let mut browser = Browser::new(&world);
    let end = browser.sign_in("s-3001").await;
    let (page, fragment) = end.split_once('#').unwrap();
    assert_eq!((page, browser.has_session()), ("/sign-in", false));
    let told: BTreeMap<String, String> = form_urlencoded::parse(fragment.as_bytes()).into_owned().collect();
    assert_eq!((told["factors"].as_str(), told["return"].as_str()), ("totp,recovery-code", "/work?a=1"));
    let wrong = json!({"pending_id": told["second-factor"], "code": "000000"});
    assert_eq!(browser.post("/api/v1/auth/second-factor", wrong).await.0, 422);
    let right = json!({"pending_id": told["second-factor"], "recovery_code": codes[0]});
    let (status, session) = browser.post("/api/v1/auth/second-factor", right).await;
    assert_eq!(status, 200, "{session}");
    let (_, state) = browser.get("/api/v1/auth/session").await;
    assert_eq!(
        (&state["factors"], &state["provider_id"]),
        (&json!(["outside", "recovery-code"]), &json!("clinic"))
    );
    // It came of the provider all the same, which is told when she signs out.
    let (status, out) = browser.post("/api/v1/auth/logout", json!({})).await;
    assert_eq!(status, 200, "{out}");
    let there = browser.follow(out["provider_logout"].as_str().unwrap()).await;
    assert_eq!(there, (303, format!("{}/sign-in", world.url())));
    assert_eq!(sandbox.oidc.signed_out(), [format!("{}/sign-in", world.url())]);

    // The clinic takes the provider's word that it asked for a second factor.
    let mut person = Person::new("s-3001", "Nurse", &[]);
    person.amr = vec!["pwd".into(), "mfa".into()];
    sandbox.oidc.put_person(person);
    let mut believed = Browser::new(&world);
    assert_eq!(believed.sign_in("s-3001").await, "/work?a=1");
    let (_, state) = believed.get("/api/v1/auth/session").await;
    assert_eq!(state["factors"], json!(["outside", "outside-second-factor"]));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_provider_ends_ends_here() {
    let (sandbox, world) = start("").await;
    let (mut desk, mut phone) = (Browser::new(&world), Browser::new(&world));
    desk.sign_in("s-1001").await;
    phone.sign_in("s-1001").await;
    let mut cashier = Browser::new(&world);
    cashier.sign_in("s-1002").await;
    let end = async |token: String| {
        let path = format!("{}/api/v1/auth/providers/clinic/logout", world.url());
        read(world.client.post(path).form(&[("logout_token", token)]).send().await.unwrap()).await
    };
    let event = "http://schemas.openid.net/event/backchannel-logout";
    let oidc = &sandbox.oidc;
    let someone = Some("s-1001");
    let wrong: Vec<(&str, String)> = vec![
        ("audience", oidc.logout_token(someone, None, |c| c["aud"] = json!("another"))),
        ("issuer", oidc.logout_token(someone, None, |c| c["iss"] = json!("https://another.example"))),
        ("old", oidc.logout_token(someone, None, |c| c["exp"] = json!(1_700_000_000))),
        ("event", oidc.logout_token(someone, None, |c| c["events"] = json!({"other": {}}))),
        ("event is no object", oidc.logout_token(someone, None, |c| c["events"] = json!({event: true}))),
        ("nonce", oidc.logout_token(someone, None, |c| c["nonce"] = json!("n"))),
        ("nobody", oidc.logout_token(None, None, |_| ())),
        ("no id", oidc.logout_token(someone, None, |c| c["jti"] = Value::Null)),
        ("nothing", String::new()),
        ("unsigned", {
            let token = oidc.logout_token(someone, None, |_| ());
            format!("{}.", token.rsplit_once('.').unwrap().0)
        }),
    ];
    for (what, token) in wrong {
        let (status, told) = end(token).await;
        assert_eq!((status, &told["code"]), (422, &json!("logout-token-invalid")), "{what}");
    }
    assert_eq!((desk.get("/api/v1/me").await.0, phone.get("/api/v1/me").await.0), (200, 200));

    let token = oidc.logout_token(someone, None, |_| ());
    assert_eq!(end(token.clone()).await.0, 200);
    assert_eq!((desk.get("/api/v1/me").await.0, phone.get("/api/v1/me").await.0), (401, 401));
    assert_eq!(cashier.get("/api/v1/me").await.0, 200, "of another person");
    // It counts once: who kept it ends nobody's next session.
    desk.sign_in("s-1001").await;
    assert_eq!(end(token).await.1["code"], "sign-in-expired");
    assert_eq!(desk.get("/api/v1/me").await.0, 200);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_password_shows_herself_at_her_provider_again() {
    let (sandbox, world) = start("").await;
    let mut browser = Browser::new(&world);
    browser.sign_in("s-1002").await;
    let step_up = async |browser: &mut Browser, subject: &str| {
        let body = json!({"return": "/settings"});
        let (status, to) = browser.post("/api/v1/auth/providers/clinic/step-up", body).await;
        assert_eq!(status, 200, "{to}");
        let location = to["location"].as_str().unwrap();
        assert!(location.contains("prompt=login") && location.contains("max_age=0"), "{location}");
        let answer = browser.pick(location, subject).await;
        browser.follow(&answer).await.1
    };
    let (_, before) = browser.get("/api/v1/auth/session").await;
    assert_eq!(step_up(&mut browser, "s-1002").await, "/settings?provider-done=step-up");
    let (_, after) = browser.get("/api/v1/auth/session").await;
    assert!(after["authenticated_at"].as_str() > before["authenticated_at"].as_str(), "{before} {after}");
    // Somebody else, or an answer from before, is not she.
    assert_eq!(step_up(&mut browser, "s-1001").await, "/settings?provider-error=identity-unknown");
    sandbox.oidc.fault(OidcFault::OldSignIn);
    assert_eq!(step_up(&mut browser, "s-1002").await, "/settings?provider-error=identity-unknown");
    let (_, same) = browser.get("/api/v1/auth/session").await;
    assert_eq!(same["authenticated_at"], after["authenticated_at"]);
    world.stop().await;
}
