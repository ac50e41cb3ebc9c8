//! A thousand words that nobody else would write, through everything the server does, and then every byte it left on
//! the disk and on its outputs: none of them may be there.

use crate::command::text;
use crate::keys::Installed;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

const PATIENTS: usize = 130;
const IMPORTED: usize = 40;
/// How long a canary must at least be: shorter ones turn up by chance.
const CHARS_MIN: usize = 8;
const WINDOW: usize = 8;

/// The words, by what they stand for.
#[derive(Default)]
struct Canaries {
    words: Vec<(String, String)>,
    state: u64,
}

impl Canaries {
    fn next(&mut self) -> u64 {
        // SplitMix64.
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
    fn keep(&mut self, what: &str, word: String) -> String {
        assert!(word.len() >= CHARS_MIN, "{what}: {word}");
        self.words.push((what.to_owned(), word.clone()));
        word
    }
    /// Letters only, as names are.
    fn name(&mut self, what: &str) -> String {
        let mut word = String::from("Q");
        for _ in 0..12 {
            word.push(char::from(b'a' + (self.next() % 26) as u8));
        }
        self.keep(what, word)
    }
    fn phone(&mut self) -> String {
        let number = format!("2547{:08}", self.next() % 100_000_000);
        self.keep("phone", number[1..].to_owned());
        format!("+{number}")
    }
    fn code(&mut self, what: &str) -> String {
        let word = format!("{:012X}", self.next() & 0xFFFF_FFFF_FFFF);
        self.keep(what, word)
    }
}

/// Finds them in bytes, in any case, and in UTF-16.
struct Search {
    starts: HashMap<[u8; WINDOW], Vec<usize>>,
    /// By two bytes, whether a word may begin there: this is asked for every byte of the disk.
    firsts: Vec<bool>,
    words: Vec<(String, String)>,
}

impl Search {
    fn new(words: &[(String, String)]) -> Search {
        let (mut starts, mut firsts) = (HashMap::new(), vec![false; 1 << 16]);
        for (n, (_, word)) in words.iter().enumerate() {
            let low = word.to_ascii_lowercase();
            let window: [u8; WINDOW] = low.as_bytes()[..WINDOW].try_into().unwrap();
            firsts[usize::from(window[0]) << 8 | usize::from(window[1])] = true;
            starts.entry(window).or_insert_with(Vec::new).push(n);
        }
        Search { starts, firsts, words: words.to_vec() }
    }

    fn in_bytes(&self, bytes: &[u8], found: &mut Vec<usize>) {
        let low = bytes.to_ascii_lowercase();
        for (at, window) in low.windows(WINDOW).enumerate() {
            if !self.firsts[usize::from(window[0]) << 8 | usize::from(window[1])] {
                continue;
            }
            let Some(candidates) = self.starts.get(window) else { continue };
            for n in candidates {
                if low[at..].starts_with(self.words[*n].1.to_ascii_lowercase().as_bytes()) {
                    found.push(*n);
                }
            }
        }
    }

    /// What lies open in the file, by what it stands for.
    fn in_file(&self, path: &Path) -> Vec<String> {
        let Ok(bytes) = std::fs::read(path) else { return Vec::new() };
        let mut found = Vec::new();
        self.in_bytes(&bytes, &mut found);
        // Every second byte: UTF-16, as some libraries keep text in memory and dumps.
        for odd in [0, 1] {
            let half: Vec<u8> = bytes.iter().skip(odd).step_by(2).copied().collect();
            self.in_bytes(&half, &mut found);
        }
        let mut shown: Vec<String> =
            found.into_iter().map(|n| format!("{} {}", self.words[n].0, self.words[n].1)).collect();
        shown.sort();
        shown.dedup();
        shown
    }
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        match path.symlink_metadata() {
            Ok(data) if data.is_dir() => files(&path, found),
            Ok(data) if data.is_file() => found.push(path),
            // Sockets, and what went meanwhile.
            _ => {}
        }
    }
}

/// Looks at everything below the installation; how many bytes.
fn scan(place: &Installed, search: &Search, when: &str) -> u64 {
    let mut all = Vec::new();
    files(place.folder.path(), &mut all);
    let (mut bytes, mut leaks) = (0, Vec::new());
    for path in &all {
        bytes += path.metadata().map_or(0, |found| found.len());
        let shown = search.in_file(path);
        if !shown.is_empty() {
            let some: Vec<_> = shown.iter().take(5).collect();
            leaks.push(format!("{}: {} canaries, e.g. {some:?}", path.display(), shown.len()));
        }
    }
    assert!(leaks.is_empty(), "{when}:\n{}", leaks.join("\n"));
    assert!(
        all.iter().all(|path| !path.file_name().unwrap().to_string_lossy().starts_with("core")),
        "{all:?}"
    );
    bytes
}

fn patient(canaries: &mut Canaries) -> Value {
    json!({"resourceType": "Patient", "birthDate": "1984-05-06",
        "name": [{"family": canaries.name("family name"), "given": [canaries.name("given name")]}],
        "identifier": [{"system": "https://canary.example/national-id", "value": canaries.code("identifier")}],
        "telecom": [{"system": "phone", "value": canaries.phone()},
            {"system": "email", "value": format!("{}@example.org", canaries.name("e-mail").to_lowercase())}],
        "address": [{"city": canaries.name("city"), "line": [canaries.name("street")]}]})
}

fn note(canaries: &mut Canaries, subject: &str) -> Value {
    json!({"resourceType": "Observation", "status": "final", "subject": {"reference": subject},
        "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}], "text": canaries.name("code text")},
        "valueString": canaries.name("value"), "note": [{"text": format!("She says {}.", canaries.name("note"))}]})
}

struct Client<'p> {
    place: &'p Installed,
    token: String,
}

impl Client<'_> {
    async fn send(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> (u16, Vec<(String, String)>, String) {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self.place.http.request(method, format!("{}{path}", self.place.url));
        request = request.bearer_auth(&self.token);
        if path.contains("export") {
            request = request.header("Prefer", "respond-async");
        }
        if let Some(body) = body {
            let kind = if path.starts_with("/fhir") { "application/fhir+json" } else { "application/json" };
            request = request.header("Content-Type", kind).body(body.to_string());
        }
        let answer = request.send().await.unwrap();
        let headers = answer
            .headers()
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned()))
            .collect();
        (answer.status().as_u16(), headers, answer.text().await.unwrap())
    }

    async fn create(&self, body: &Value) -> String {
        let kind = body["resourceType"].as_str().unwrap();
        let (status, _, text) = self.send("POST", &format!("/fhir/R4/{kind}"), Some(body)).await;
        assert_eq!(status, 201, "{text}");
        let made: Value = serde_json::from_str(&text).unwrap();
        format!("{kind}/{}", made["id"].as_str().unwrap())
    }

    /// Waits for a job in the background; its manifest.
    async fn job(&self, headers: &[(String, String)]) -> Value {
        let at = &headers.iter().find(|(name, _)| name == "content-location").unwrap().1;
        let path = at.strip_prefix(&self.place.url).unwrap().to_owned();
        loop {
            let (status, _, text) = self.send("GET", &path, None).await;
            if status != 202 {
                assert_eq!(status, 200, "{text}");
                return serde_json::from_str(&text).unwrap();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Searches of every kind, jobs, files and refusals, with canaries in addresses, bodies and headers.
async fn exercise(client: &Client<'_>, canaries: &mut Canaries, ids: &[String], people: &[Value]) {
    for person in people.iter().take(20) {
        let family = person["name"][0]["family"].as_str().unwrap();
        let phone = person["telecom"][0]["value"].as_str().unwrap().trim_start_matches('+');
        let number = person["identifier"][0]["value"].as_str().unwrap();
        for query in [
            format!("Patient?family={family}&_sort=given"),
            format!("Patient?telecom=%2B{phone}&_total=accurate"),
            format!("Patient?identifier=https://canary.example/national-id|{number}"),
            format!("Patient?family:contains={}&_elements=name", &family[2..]),
            format!("Observation?subject:Patient.family={family}"),
            format!("Patient?no-such-parameter={family}"),
            format!("Patient/{family}"),
            format!("{family}?name={family}"),
        ] {
            client.send("GET", &format!("/fhir/R4/{query}"), None).await;
        }
    }
    let wrong = json!({"resourceType": "Patient", "gender": canaries.name("wrong code"),
        "birthDate": canaries.name("wrong date"), canaries.name("wrong element"): 1});
    assert_eq!(client.send("POST", "/fhir/R4/Patient", Some(&wrong)).await.0, 422);
    let (_, _, all) = client.send("GET", &format!("/fhir/R4/{}/$everything", ids[0]), None).await;
    assert!(all.contains(people[0]["name"][0]["family"].as_str().unwrap()));
    for login in 0..5 {
        let body = json!({"login": canaries.name("unknown login"), "password": canaries.name("wrong password"), "n": login});
        client.send("POST", "/api/v1/auth/login", Some(&body)).await;
    }
    let (status, headers, text) = client.send("GET", "/fhir/R4/$export", None).await;
    assert_eq!(status, 202, "{text}");
    let manifest = client.job(&headers).await;
    for file in manifest["output"].as_array().unwrap() {
        let path = file["url"].as_str().unwrap().strip_prefix(&client.place.url).unwrap().to_owned();
        assert_eq!(client.send("GET", &path, None).await.0, 200);
    }
    let view = json!({"resourceType": "ViewDefinition", "name": "names", "status": "active", "resource": "Patient",
        "select": [{"column": [{"name": "id", "path": "getResourceKey()"}]},
            {"forEach": "name", "column": [{"name": "family", "path": "family"}]}]});
    let body = json!({"resourceType": "Parameters", "parameter": [{"name": "viewResource", "resource": view},
        {"name": "_format", "valueCode": "csv"}]});
    let (status, _, csv) = client.send("POST", "/fhir/R4/ViewDefinition/$run", Some(&body)).await;
    assert_eq!(status, 200, "{csv}");
    assert!(csv.contains(people[0]["name"][0]["family"].as_str().unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_entered_lies_open_on_the_disk() {
    let place = Installed::new();
    let mut canaries = Canaries { state: u64::from(std::process::id()), ..Canaries::default() };
    for folder in ["tmp", "out"] {
        std::fs::create_dir(place.path(folder)).unwrap();
    }
    let temporary = place.path("tmp");
    let copies = place.path("copies");
    let variables = [
        ("TMPDIR", temporary.to_str().unwrap()),
        ("UZIMA_LOG_FILTER", "debug"),
        ("UZIMA_BACKUP_TO", copies.to_str().unwrap()),
    ];

    // What comes in by files; the files themselves are the operator's and lie elsewhere.
    let input = tempfile::tempdir().unwrap();
    let mut lines = String::new();
    for _ in 0..IMPORTED {
        lines.push_str(&patient(&mut canaries).to_string());
        lines.push('\n');
    }
    let bad = json!({"resourceType": "Patient", "gender": canaries.name("refused code"),
        "name": [{"family": canaries.name("refused name")}]});
    lines.push_str(&format!("{bad}\n{{\"resourceType\": \"{}\n", canaries.name("broken line")));
    std::fs::write(input.path().join("people.ndjson"), lines).unwrap();
    let taken = place.run(&variables, &["import", "--lenient", input.path().to_str().unwrap()]);
    assert!(taken.status.success(), "{}", text(&taken));
    std::fs::write(place.path("out/import.txt"), text(&taken)).unwrap();

    let password = canaries.name("password");
    let output = {
        use std::io::Write as _;
        let arguments = "admin create-user --login boss --display Boss --role administrator --password-stdin";
        let mut command = place.command(&variables);
        command
            .args(arguments.split(' '))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(password.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    assert!(output.status.success(), "{}", text(&output));
    let alone = place.run(&variables, &["admin", "require-second-factor", "none"]);
    assert!(alone.status.success(), "{}", text(&alone));
    std::fs::write(place.path("out/admin.txt"), text(&output)).unwrap();

    let serve = |run: usize| {
        let open = |name: &str| std::fs::File::create(place.path(&format!("out/{name}-{run}.txt"))).unwrap();
        place.serve(&variables, open("stdout").into(), open("stderr").into())
    };
    let mut child = serve(1).await;
    let token = place.token("system/*.cruds").await;
    canaries.keep("token", token.clone());
    let client = Client { place: &place, token };
    let login = json!({"login": "boss", "password": password});
    let (status, _, session) = client.send("POST", "/api/v1/auth/login?token=true", Some(&login)).await;
    assert_eq!(status, 200, "{session}");
    let session: Value = serde_json::from_str(&session).unwrap();
    canaries.keep("session", session["token"].as_str().unwrap().to_owned());
    let (mut ids, mut people) = (Vec::new(), Vec::new());
    for _ in 0..PATIENTS {
        let person = patient(&mut canaries);
        let id = client.create(&person).await;
        client.create(&note(&mut canaries, &id)).await;
        ids.push(id);
        people.push(person);
    }
    exercise(&client, &mut canaries, &ids, &people).await;
    assert!(canaries.words.len() >= 1_000, "{}", canaries.words.len());
    let search = Search::new(&canaries.words);
    scan(&place, &search, "while it runs");

    // Killed in the middle of writing, and by a signal that leaves a core dump.
    for (run, signal) in [(2, "KILL"), (3, "ABRT")] {
        let more = patient(&mut canaries);
        let writing = tokio::time::timeout(Duration::from_millis(100), async {
            loop {
                client.create(&more).await;
            }
        });
        let _ = writing.await;
        let pid = child.id().to_string();
        assert!(std::process::Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
        child.wait().unwrap();
        let search = Search::new(&canaries.words);
        scan(&place, &search, signal);
        child = serve(run).await;
        scan(&place, &search, "after a restart");
    }
    let search = Search::new(&canaries.words);
    let (status, _, found) = client.send("GET", &format!("/fhir/R4/{}", ids[0]), None).await;
    assert_eq!(status, 200);
    let mut seen = Vec::new();
    search.in_bytes(found.as_bytes(), &mut seen);
    assert!(seen.len() >= 7, "what is asked for is there: {found}");
    let stop = std::process::Command::new("kill").args(["-s", "TERM", &child.id().to_string()]).status();
    assert!(stop.unwrap().success() && child.wait().unwrap().success());
    let backed_up = place.run(&variables, &["backup"]);
    assert!(backed_up.status.success(), "{}", text(&backed_up));
    let mut all = Vec::new();
    files(&copies, &mut all);
    let size: u64 = all.iter().map(|path| path.metadata().unwrap().len()).sum();
    assert!(size > 100_000, "a backup of all that: {size} bytes");
    let bytes = scan(&place, &search, "after the end");
    println!("{} canaries, {bytes} bytes", canaries.words.len());

    // The search finds what is there.
    std::fs::write(place.path("tmp/planted"), format!("xx{}xx", canaries.words[500].1.to_uppercase()))
        .unwrap();
    let wide: Vec<u8> = canaries.words[600].1.encode_utf16().flat_map(u16::to_le_bytes).collect();
    std::fs::write(place.path("tmp/wide"), wide).unwrap();
    assert_eq!(search.in_file(&place.path("tmp/planted")).len(), 1);
    assert_eq!(search.in_file(&place.path("tmp/wide")).len(), 1);
}
