//! IHE Basic Audit Log Patterns 1.1, as far as they speak of one event; also for the tests of the server.

use serde_json::Value;

/// What the profiles of IHE BALP 1.1 ask of the event that claims them.
pub fn check(event: &Value) {
    let Some(profile) = event["meta"]["profile"][0].as_str() else { return };
    let name = profile.rsplit('.').next().unwrap();
    let with_patient = name.starts_with("Patient");
    let act = name.strip_prefix("Patient").unwrap_or(name);
    assert_eq!(event["type"]["code"], "rest");
    assert_eq!(event["outcome"], "0", "the profiles are about what succeeded");
    let (letter, client, server, people): (_, _, _, &[&str]) = match act {
        "Read" => ("R", "110152", "110153", &["IRCP"]),
        "Query" => ("E", "110153", "110152", &["IRCP"]),
        "Create" => ("C", "110153", "110152", &["AUT", "INF", "CST"]),
        "Update" => ("U", "110153", "110152", &["AUT", "INF", "CST"]),
        "Delete" => ("D", "110150", "custodian", &["AUT", "INF", "CST"]),
        other => panic!("{other}"),
    };
    assert_eq!(event["action"], letter);
    let agents = event["agent"].as_array().unwrap();
    let of = |code: &str| -> Vec<&Value> {
        agents.iter().filter(|agent| agent["type"]["coding"][0]["code"] == code).collect()
    };
    for code in [client, server] {
        let found = of(code);
        assert!(
            found.len() == 1 && found[0]["who"].is_object() && found[0]["network"].is_object(),
            "{event}"
        );
    }
    let users: Vec<&Value> = people.iter().flat_map(|code| of(code)).collect();
    assert_eq!(agents.len(), 2 + users.len());
    for user in users {
        assert!(user["requestor"] == true && user["network"].is_null() && user["media"].is_null(), "{event}");
        assert!(user["who"].is_object() && user["purposeOfUse"].is_array());
    }
    let entities = event["entity"].as_array().unwrap();
    let of = |code: &'static str| entities.iter().filter(move |entity| entity["type"]["code"] == code);
    assert_eq!(of("1").count(), usize::from(with_patient), "exactly one patient: {event}");
    for patient in of("1") {
        assert!(patient["what"]["reference"].as_str().unwrap().starts_with("Patient/"));
        assert_eq!(patient["role"]["code"], "1");
    }
    assert_eq!(of("2").count(), 1, "{event}");
    for data in of("2") {
        match act {
            "Query" => {
                assert!(data["query"].is_string() && data["what"].is_null() && data["role"]["code"] == "24")
            }
            _ => assert!(data["what"].is_object() && data["role"]["code"] == "4"),
        }
    }
    assert!(of("XrequestId").count() <= 1);
}
