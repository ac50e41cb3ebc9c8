//! An application as its makers would write it: asks a person, fetches tokens, reads what they say.

use crate::harness::{Signed, World, header, read};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use record::oauth::{Authentication, ClientSpec};
use ring::signature;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

pub const REDIRECT: &str = "https://app.example/callback?x=1";
pub const VERIFIER: &str = "a-verifier-of-forty-three-characters-or-more-1234567890";

fn challenge() -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER.as_bytes()))
}

/// An application that somebody registered.
pub struct App {
    http: reqwest::Client,
    base: String,
    pub id: String,
    pub secret: Option<String>,
}

impl App {
    pub async fn register(world: &World, spec: ClientSpec) -> App {
        let (row, secret) = world.app().record.register_client(&world.ctx(), spec).await.unwrap();
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        App { http, base: world.url().to_owned(), id: row.client_id, secret }
    }

    /// One that people use; `public`: without a secret.
    pub async fn for_people(world: &World, scopes: &str, public: bool) -> App {
        let authentication = if public { Authentication::None } else { Authentication::Secret };
        let spec = ClientSpec {
            name: "Growth charts".into(),
            scopes: vec![scopes.to_owned()],
            authentication,
            redirects: vec![REDIRECT.into()],
            launch_url: Some("https://app.example/launch".into()),
            ..ClientSpec::default()
        };
        App::register(world, spec).await
    }

    /// What a right request has; `change` replaces, and an empty value leaves out.
    pub async fn ask(&self, scope: &str, change: &[(&str, &str)]) -> reqwest::Response {
        let aud = format!("{}/fhir/R4", self.base);
        let challenge = challenge();
        let mut pairs = vec![
            ("response_type", "code"),
            ("client_id", self.id.as_str()),
            ("redirect_uri", REDIRECT),
            ("scope", scope),
            ("state", "a state/with&signs"),
            ("aud", aud.as_str()),
            ("code_challenge", challenge.as_str()),
            ("code_challenge_method", "S256"),
            ("nonce", "n-1"),
        ];
        for (name, value) in change {
            pairs.retain(|(n, _)| n != name);
            if !value.is_empty() {
                pairs.push((name, value));
            }
        }
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        self.http.get(format!("{}/oauth/authorize?{query}", self.base)).send().await.unwrap()
    }

    /// The id of the request that the person decides on.
    pub async fn request(&self, scope: &str, change: &[(&str, &str)]) -> String {
        let response = self.ask(scope, change).await;
        assert_eq!(response.status(), 303);
        let location = header(&response, "location").to_owned();
        let (page, id) = location.split_once("?request=").unwrap_or_else(|| panic!("{location}"));
        assert_eq!(page, format!("{}/authorize", self.base));
        id.to_owned()
    }

    /// The code that the person's browser brings back.
    pub async fn code(&self, person: &Signed, scope: &str, decision: Value) -> String {
        let id = self.request(scope, &[]).await;
        self.decide(person, &id, decision).await
    }

    pub async fn decide(&self, person: &Signed, id: &str, decision: Value) -> String {
        let (status, answer) = person.post(&format!("/api/v1/oauth/requests/{id}/decision"), decision).await;
        assert_eq!(status, 200, "{answer}");
        let url = answer["redirect_to"].as_str().unwrap();
        assert!(url.starts_with(&format!("{REDIRECT}&")), "{url}");
        assert_eq!(parameter(url, "state").as_deref(), Some("a state/with&signs"));
        assert_eq!(parameter(url, "iss").as_deref(), Some(self.base.as_str()));
        parameter(url, "code").unwrap_or_else(|| panic!("{url}"))
    }

    pub async fn token(&self, pairs: &[(&str, &str)]) -> (u16, Value) {
        self.form("token", pairs).await
    }

    /// A form to an endpoint, with the client's own proof.
    pub async fn form(&self, endpoint: &str, pairs: &[(&str, &str)]) -> (u16, Value) {
        let request = self.http.post(format!("{}/oauth/{endpoint}", self.base));
        let request = match &self.secret {
            Some(secret) => request.basic_auth(&self.id, Some(secret)).form(pairs),
            None => {
                let mut all = pairs.to_vec();
                if !pairs.iter().any(|(name, _)| *name == "client_assertion") {
                    all.push(("client_id", &self.id));
                }
                request.form(&all)
            }
        };
        read(request.send().await.unwrap()).await
    }

    pub async fn redeem(&self, code: &str) -> (u16, Value) {
        self.token(&[
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", REDIRECT),
            ("code_verifier", VERIFIER),
        ])
        .await
    }

    pub async fn refresh(&self, token: &str, scope: Option<&str>) -> (u16, Value) {
        let mut pairs = vec![("grant_type", "refresh_token"), ("refresh_token", token)];
        pairs.extend(scope.map(|scope| ("scope", scope)));
        self.token(&pairs).await
    }

    /// All of it: the tokens that the person gave.
    pub async fn granted(&self, person: &Signed, scope: &str, decision: Value) -> Value {
        let code = self.code(person, scope, decision).await;
        let (status, tokens) = self.redeem(&code).await;
        assert_eq!(status, 200, "{tokens}");
        tokens
    }
}

/// A parameter of an address.
pub fn parameter(url: &str, name: &str) -> Option<String> {
    let (_, query) = url.split_once('?')?;
    form_urlencoded::parse(query.as_bytes()).find(|(n, _)| n == name).map(|(_, v)| v.into_owned())
}

pub fn text<'a>(tokens: &'a Value, name: &str) -> &'a str {
    tokens[name].as_str().unwrap_or_else(|| panic!("{name} in {tokens}"))
}

/// Header and claims of a token whose signature one of the published keys made.
pub async fn verified(world: &World, token: &str) -> (Value, Value) {
    let part =
        |text: &str| -> Value { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap() };
    let (signed, made) = token.rsplit_once('.').unwrap();
    let (head, claims) = signed.split_once('.').unwrap();
    let (head, claims, made) = (part(head), part(claims), URL_SAFE_NO_PAD.decode(made).unwrap());
    let (status, set) = world.anonymous().get("/oauth/jwks").await;
    assert_eq!(status, 200);
    let key = set["keys"].as_array().unwrap().iter().find(|k| k["kid"] == head["kid"]).unwrap();
    assert!(key.get("d").is_none(), "{key}");
    let bytes = |name: &str| URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap()).unwrap();
    let checked = match head["alg"].as_str().unwrap() {
        "RS256" => signature::RsaPublicKeyComponents { n: bytes("n"), e: bytes("e") }.verify(
            &signature::RSA_PKCS1_2048_8192_SHA256,
            signed.as_bytes(),
            &made,
        ),
        "ES384" => {
            let point = [&[4u8][..], &bytes("x"), &bytes("y")].concat();
            signature::UnparsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, point)
                .verify(signed.as_bytes(), &made)
        }
        other => panic!("{other}"),
    };
    checked.unwrap();
    (head, claims)
}
