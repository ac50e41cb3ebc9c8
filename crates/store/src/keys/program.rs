//! A program that asks a key service (KMS), a security module or a smart card (PKCS#11).
//!
//! Protocol: the program is run as `PROGRAM ARGUMENTS… wrap` or `… unwrap`, without a shell. For `wrap` its standard
//! input is a line of 64 hexadecimal digits, and it prints one line of what only the service can turn back, of any form
//! without blanks. For `unwrap` it reads such a line and prints the digits. It ends with 0. What it prints on standard
//! error is shown if it fails, so it must not tell keys there.

use super::KeyError;
use super::provider::KeyProvider;
use crate::Secret32;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

/// A key service far away, over a slow link.
const TIME_MAX: Duration = Duration::from_secs(30);
/// Longest line either way, bytes.
const LINE_BYTES_MAX: usize = 16 * 1024;
/// What is shown of its complaints.
const COMPLAINT_CHARS: usize = 300;

/// Program and arguments.
#[derive(Debug, Clone)]
pub struct Program {
    program: String,
    arguments: Vec<String>,
}

impl Program {
    /// `None` for an empty list.
    pub fn new(words: &[String]) -> Option<Program> {
        let (program, arguments) = words.split_first()?;
        Some(Program { program: program.clone(), arguments: arguments.to_vec() })
    }

    fn failed(&self, text: impl Into<String>) -> KeyError {
        KeyError::Program { program: self.program.clone(), text: text.into() }
    }

    fn run(&self, what: &str, line: &str) -> Result<String, KeyError> {
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .arg(what)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.map_err(|error| self.failed(format!("cannot be started: {error}")))?;
        let answer = self.talk(&mut child, line);
        if answer.is_err() {
            // It may have ended by itself.
            let _ = child.kill();
        }
        let status = child.wait().map_err(|error| self.failed(error.to_string()))?;
        let (told, complaint) = answer?;
        if !status.success() {
            let complaint: String = complaint.trim().chars().take(COMPLAINT_CHARS).collect();
            return Err(self.failed(format!("{what} ended with {status}: {complaint}")));
        }
        let told = told.trim();
        if told.is_empty() || told.len() > LINE_BYTES_MAX || told.contains(char::is_whitespace) {
            return Err(
                self.failed(format!("{what} printed no single word of at most {LINE_BYTES_MAX} bytes"))
            );
        }
        Ok(told.to_owned())
    }

    /// Sends the line and reads both outputs to their ends, within the time.
    fn talk(&self, child: &mut Child, line: &str) -> Result<(String, String), KeyError> {
        if let Some(mut input) = child.stdin.take() {
            // A program that reads nothing fails by its answer.
            let _ = input.write_all(format!("{line}\n").as_bytes());
        }
        let (sender, receiver) = channel();
        let outputs: [Option<Box<dyn std::io::Read + Send>>; 2] =
            [child.stdout.take().map(|o| Box::new(o) as _), child.stderr.take().map(|o| Box::new(o) as _)];
        for (which, output) in outputs.into_iter().enumerate() {
            let (Some(output), sender) = (output, sender.clone()) else { continue };
            let read = move || {
                let mut text = Vec::new();
                let _ = output.take(LINE_BYTES_MAX as u64 + 1).read_to_end(&mut text);
                let _ = sender.send((which, String::from_utf8_lossy(&text).into_owned()));
            };
            std::thread::Builder::new()
                .name("key-program".into())
                .spawn(read)
                .map_err(|error| self.failed(error.to_string()))?;
        }
        drop(sender);
        let mut told = [String::new(), String::new()];
        let until = std::time::Instant::now() + TIME_MAX;
        for _ in 0..2 {
            let left = until.saturating_duration_since(std::time::Instant::now());
            let (which, text) = receiver
                .recv_timeout(left)
                .map_err(|_| self.failed(format!("did not answer within {} s", TIME_MAX.as_secs())))?;
            told[which] = text;
        }
        let [out, complaint] = told;
        Ok((out, complaint))
    }
}

impl KeyProvider for Program {
    fn kind(&self) -> &'static str {
        "program"
    }
    fn name(&self) -> String {
        self.program.clone()
    }
    fn new_kek(&self) -> Result<(Secret32, Option<String>), KeyError> {
        let key = Secret32::random().map_err(|_| KeyError::Cryptography)?;
        let kept = self.run("wrap", &key.to_hex())?;
        // A service that cannot turn it back now will not later either.
        match self.kek(Some(&kept))? {
            Some(again) if again == key => Ok((key, Some(kept))),
            _ => Err(self.failed("unwrap does not give back what wrap was given")),
        }
    }
    fn kek(&self, kept: Option<&str>) -> Result<Option<Secret32>, KeyError> {
        let Some(kept) = kept else { return Ok(None) };
        let told = self.run("unwrap", kept)?;
        Ok(Some(
            Secret32::from_hex(&told).map_err(|_| self.failed("unwrap printed no 64 hexadecimal digits"))?,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Program {
        Program::new(&["/bin/sh".into(), "-c".into(), script.into(), "kms".into()]).unwrap()
    }

    /// Turns the digits round: enough to show who calls whom.
    const REVERSE: &str = r#"read line; case "$1" in wrap) printf 'v1:'; echo "$line" | rev;; unwrap) echo "${line#v1:}" | rev;; esac"#;

    #[test]
    fn a_program_keeps_the_key() {
        let program = shell(REVERSE);
        let (key, kept) = program.new_kek().unwrap();
        let kept = kept.unwrap();
        assert!(kept.starts_with("v1:") && !kept.contains(&key.to_hex()));
        assert_eq!(program.kek(Some(&kept)).unwrap(), Some(key));
        assert_eq!(program.kek(None).unwrap(), None);
    }

    #[test]
    fn programs_that_do_not_keep_to_the_protocol_are_refused() {
        for (script, expected) in [
            ("echo no such key >&2; exit 3", "no such key"),
            ("read line; echo", "no single word"),
            ("read line; echo a b", "no single word"),
            ("read line; echo abc", "no 64 hexadecimal digits"),
            (
                "read line; echo 0000000000000000000000000000000000000000000000000000000000000000",
                "does not give back",
            ),
            ("read line; head -c 20000 /dev/zero | tr '\\0' x", "no single word"),
        ] {
            let error = shell(script).new_kek().unwrap_err().to_string();
            assert!(error.contains(expected), "{script}: {error}");
        }
        let nowhere = Program::new(&["/nowhere/kms".into()]).unwrap();
        assert!(nowhere.new_kek().unwrap_err().to_string().contains("cannot be started"));
        assert!(Program::new(&[]).is_none());
    }
}
