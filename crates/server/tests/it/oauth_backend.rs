//! SMART backend services: clients that sign assertions, and everything about these that is refused.

use crate::harness::World;
use crate::oauth_app::App;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use record::oauth::{Authentication, ClientSpec};
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, KeyPair as _, RsaKeyPair};
use serde_json::{Value, json};

const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Keys of a client, and one that is nobody's.
struct Keys {
    ec: EcdsaKeyPair,
    rsa: RsaKeyPair,
    stranger: EcdsaKeyPair,
    set: Value,
    /// The RSA modulus, for those who would use it as a secret.
    modulus: Vec<u8>,
}

fn keys() -> Keys {
    let random = SystemRandom::new();
    let kind = &signature::ECDSA_P384_SHA384_FIXED_SIGNING;
    let ec = || {
        let made = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
        EcdsaKeyPair::from_pkcs8(kind, made.as_ref(), &random).unwrap()
    };
    let (own, stranger) = (ec(), ec());
    let rsa = openssl::rsa::Rsa::generate(2048).unwrap();
    let point = own.public_key().as_ref()[1..].to_vec();
    let set = json!({"keys": [
        {"kty": "EC", "crv": "P-384", "kid": "e", "x": encode(&point[..48]), "y": encode(&point[48..]), "use": "sig"},
        {"kty": "RSA", "kid": "r", "n": encode(&rsa.n().to_vec()), "e": encode(&rsa.e().to_vec()), "alg": "RS384"},
    ]});
    let modulus = rsa.n().to_vec();
    let rsa = RsaKeyPair::from_der(&rsa.private_key_to_der().unwrap()).unwrap();
    Keys { ec: own, rsa, stranger, set, modulus }
}

impl Keys {
    fn sign(&self, header: &Value, claims: &Value, by: &str) -> String {
        let random = SystemRandom::new();
        let text =
            format!("{}.{}", encode(header.to_string().as_bytes()), encode(claims.to_string().as_bytes()));
        let made = match by {
            "ec" => self.ec.sign(&random, text.as_bytes()).unwrap().as_ref().to_vec(),
            "stranger" => self.stranger.sign(&random, text.as_bytes()).unwrap().as_ref().to_vec(),
            "rsa" => {
                let mut made = vec![0; self.rsa.public().modulus_len()];
                self.rsa.sign(&signature::RSA_PKCS1_SHA384, &random, text.as_bytes(), &mut made).unwrap();
                made
            }
            "hmac" => {
                let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA384, &self.modulus);
                ring::hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
            }
            _ => Vec::new(),
        };
        format!("{text}.{}", encode(&made))
    }
}

async fn client(world: &World, keys: &Keys) -> App {
    let spec = ClientSpec {
        name: "Registry".into(),
        scopes: vec!["system/Patient.rs system/Observation.rs".into()],
        authentication: Authentication::Key,
        jwks: Some(keys.set.to_string()),
        ..ClientSpec::default()
    };
    App::register(world, spec).await
}

fn claims(world: &World, app: &App, jti: &str) -> Value {
    let now = world.app().record.now().as_second();
    json!({"iss": app.id, "sub": app.id, "aud": format!("{}/oauth/token", world.url()), "iat": now,
        "exp": now + 290, "jti": jti})
}

async fn ask(app: &App, assertion: &str) -> (u16, Value) {
    app.token(&[
        ("grant_type", "client_credentials"),
        ("scope", "system/Patient.rs"),
        ("client_assertion_type", TYPE),
        ("client_assertion", assertion),
    ])
    .await
}

#[tokio::test]
async fn a_signed_assertion_is_taken_once() {
    let world = World::start().await;
    let keys = keys();
    let app = client(&world, &keys).await;
    for (kid, alg, by) in [("e", "ES384", "ec"), ("r", "RS384", "rsa")] {
        let head = json!({"alg": alg, "kid": kid, "typ": "JWT"});
        let assertion = keys.sign(&head, &claims(&world, &app, &format!("jti-{kid}")), by);
        let (status, token) = ask(&app, &assertion).await;
        assert_eq!((status, &token["scope"]), (200, &json!("system/Patient.rs")), "{alg} {token}");
        assert!(token["expires_in"].as_u64().is_some_and(|s| s <= 900));
        assert!(token.get("refresh_token").is_none());
        let mut registry = world.anonymous();
        registry.token = token["access_token"].as_str().unwrap().to_owned();
        assert_eq!(registry.get("/fhir/R4/Patient").await.0, 200);
        assert_eq!(registry.get("/fhir/R4/Observation").await.0, 403);
        let (status, again) = ask(&app, &assertion).await;
        assert_eq!((status, &again["error"]), (401, &json!("invalid_client")), "{alg}: the jti was seen");
        // Also in a new assertion.
        let (status, _) =
            ask(&app, &keys.sign(&head, &claims(&world, &app, &format!("jti-{kid}")), by)).await;
        assert_eq!(status, 401, "{alg}");
    }
    // The assertion may be for the issuer as well, as OpenID Connect has it.
    let mut meant = claims(&world, &app, "jti-3");
    meant["aud"] = json!([world.url()]);
    assert_eq!(ask(&app, &keys.sign(&json!({"alg": "ES384", "kid": "e"}), &meant, "ec")).await.0, 200);
    world.stop().await;
}

#[tokio::test]
async fn wrong_assertions_open_nothing() {
    let world = World::start().await;
    let keys = keys();
    let now = world.app().record.now().as_second();
    let es = json!({"alg": "ES384", "kid": "e"});
    let rs = json!({"alg": "RS384", "kid": "r"});
    type Case = (&'static str, Value, Vec<(&'static str, Value)>, &'static str);
    let cases: Vec<Case> = vec![
        ("alg none", json!({"alg": "none", "kid": "e"}), vec![], ""),
        ("alg none, signed", json!({"alg": "none", "kid": "e"}), vec![], "ec"),
        ("public key as secret", json!({"alg": "HS384", "kid": "r"}), vec![], "hmac"),
        ("HMAC said to be RSA", rs.clone(), vec![], "hmac"),
        ("RSA said to be EC", json!({"alg": "ES384", "kid": "r"}), vec![], "rsa"),
        ("EC said to be RSA", json!({"alg": "RS384", "kid": "e"}), vec![], "ec"),
        ("another algorithm", json!({"alg": "RS256", "kid": "r"}), vec![], "rsa"),
        ("another's key", es.clone(), vec![], "stranger"),
        ("no kid", json!({"alg": "ES384"}), vec![], "ec"),
        ("unknown kid", json!({"alg": "ES384", "kid": "x"}), vec![], "ec"),
        (
            "jku elsewhere",
            json!({"alg": "ES384", "kid": "e", "jku": "https://evil.example/jwks"}),
            vec![],
            "ec",
        ),
        ("crit", json!({"alg": "ES384", "kid": "e", "crit": ["b64"]}), vec![], "ec"),
        ("no signature", es.clone(), vec![], ""),
        ("wrong aud", es.clone(), vec![("aud", json!("https://other.example/token"))], "ec"),
        ("no aud", es.clone(), vec![("aud", Value::Null)], "ec"),
        ("wrong iss", es.clone(), vec![("iss", json!("somebody"))], "ec"),
        ("expired", es.clone(), vec![("exp", json!(now - 1))], "ec"),
        ("good for too long", es.clone(), vec![("exp", json!(now + 3600))], "ec"),
        ("no exp", es.clone(), vec![("exp", Value::Null)], "ec"),
        ("from the future", es.clone(), vec![("iat", json!(now + 600))], "ec"),
        ("not yet", es.clone(), vec![("nbf", json!(now + 600))], "ec"),
        ("no jti", es.clone(), vec![("jti", Value::Null)], "ec"),
        ("empty jti", es.clone(), vec![("jti", json!(""))], "ec"),
    ];
    for (what, head, changes, by) in cases {
        // A client each: after some failures it would have to wait.
        let app = client(&world, &keys).await;
        let mut said = claims(&world, &app, "jti");
        for (name, value) in changes {
            said[name] = value;
        }
        let (status, answer) = ask(&app, &keys.sign(&head, &said, by)).await;
        assert_eq!((status, &answer["error"]), (401, &json!("invalid_client")), "{what}: {answer}");
        // A good one passes afterwards: nothing was used up.
        let good = keys.sign(&es, &claims(&world, &app, "jti"), "ec");
        assert_eq!(ask(&app, &good).await.0, 200, "{what}");
    }
    // Each client proves itself in its own way only.
    let app = client(&world, &keys).await;
    let (status, _) = app.token(&[("grant_type", "client_credentials"), ("client_secret", "x")]).await;
    assert_eq!(status, 401);
    assert_eq!(app.token(&[("grant_type", "client_credentials")]).await.0, 401);
    let other = client(&world, &keys).await;
    let assertion = keys.sign(&es, &claims(&world, &app, "jti-9"), "ec");
    let (status, _) = other
        .token(&[
            ("grant_type", "client_credentials"),
            ("client_id", &other.id),
            ("client_assertion_type", TYPE),
            ("client_assertion", &assertion),
        ])
        .await;
    assert_eq!(status, 401, "another's assertion");
    for grant in ["password", "implicit", "urn:ietf:params:oauth:grant-type:device_code"] {
        let (status, answer) =
            app.token(&[("grant_type", grant), ("username", "a"), ("password", "b")]).await;
        assert_eq!((status, &answer["error"]), (400, &json!("unsupported_grant_type")), "{grant}");
    }
    world.stop().await;
}
