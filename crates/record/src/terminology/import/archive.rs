//! Where published files come from: folders, zip and tar.gz archives, single files.

use super::ImportError;
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// Files of one distribution; the largest have some hundred.
const MAX_FILES: usize = 100_000;
const BUFFER: usize = 256 * 1024;

/// One distribution.
pub(super) struct Archive {
    pub path: PathBuf,
    kind: Kind,
    pub files: Vec<Entry>,
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Path within the distribution.
    pub name: String,
    /// Unpacked, as far as it is known.
    pub bytes: u64,
    /// Position in a zip.
    at: usize,
}

enum Kind {
    Folder,
    Single,
    Zip,
    Tar,
}

impl Archive {
    /// Errors: a path that cannot be read, or an archive that is broken.
    pub fn open(path: &Path) -> Result<Archive, ImportError> {
        let wrong = |text: String| ImportError::File { file: path.display().to_string(), text };
        let meta = std::fs::metadata(path).map_err(|e| wrong(e.to_string()))?;
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let lower = name.to_ascii_lowercase();
        let mut files = Vec::new();
        let kind = if meta.is_dir() {
            walk(path, "", &mut files).map_err(|e| wrong(e.to_string()))?;
            Kind::Folder
        } else if lower.ends_with(".zip") {
            let file = File::open(path).map_err(|e| wrong(e.to_string()))?;
            let mut zip = zip::ZipArchive::new(BufReader::new(file)).map_err(|e| wrong(e.to_string()))?;
            for at in 0..zip.len().min(MAX_FILES) {
                let entry = zip.by_index_raw(at).map_err(|e| wrong(e.to_string()))?;
                if entry.is_file() {
                    let name = entry.name().map_err(|e| wrong(e.to_string()))?.into_owned();
                    files.push(Entry { name, bytes: entry.size(), at });
                }
            }
            Kind::Zip
        } else if lower.ends_with(".tgz") || lower.ends_with(".tar.gz") {
            tar(path, &mut |name, size, _| {
                files.push(Entry { name: name.to_owned(), bytes: size, at: files.len() });
                Ok(())
            })?;
            Kind::Tar
        } else {
            let name = name.strip_suffix(".gz").map_or(name.clone(), str::to_owned);
            files.push(Entry { name, bytes: meta.len(), at: 0 });
            Kind::Single
        };
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Archive { path: path.to_owned(), kind, files })
    }

    /// Has `read` go through one file. Errors: of `read`; a file that cannot be opened.
    pub fn with<T>(
        &self,
        entry: &Entry,
        read: &mut dyn FnMut(&mut dyn BufRead) -> Result<T, ImportError>,
    ) -> Result<T, ImportError> {
        let wrong = |text: String| ImportError::File { file: entry.name.clone(), text };
        match self.kind {
            Kind::Folder | Kind::Single => {
                let path = match self.kind {
                    Kind::Folder => self.path.join(&entry.name),
                    _ => self.path.clone(),
                };
                let file = File::open(&path).map_err(|e| wrong(e.to_string()))?;
                if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gz")) {
                    read(&mut BufReader::with_capacity(BUFFER, MultiGzDecoder::new(file)))
                } else {
                    read(&mut BufReader::with_capacity(BUFFER, file))
                }
            }
            Kind::Zip => {
                let file = File::open(&self.path).map_err(|e| wrong(e.to_string()))?;
                let mut zip = zip::ZipArchive::new(BufReader::with_capacity(BUFFER, file))
                    .map_err(|e| wrong(e.to_string()))?;
                let packed = zip.by_index(entry.at).map_err(|e| wrong(e.to_string()))?;
                read(&mut BufReader::with_capacity(BUFFER, packed))
            }
            Kind::Tar => {
                let mut done = None;
                tar(&self.path, &mut |name, _, input| {
                    if name == entry.name && done.is_none() {
                        done = Some(read(input)?);
                    }
                    Ok(())
                })?;
                done.ok_or_else(|| wrong("it is not in the archive any more".to_owned()))
            }
        }
    }

    /// Has `read` go through every file that `wanted` names, in one pass. Errors: as [Archive::with].
    pub fn each(
        &self,
        wanted: &dyn Fn(&str) -> bool,
        read: &mut dyn FnMut(&str, &mut dyn BufRead) -> Result<(), ImportError>,
    ) -> Result<(), ImportError> {
        if let Kind::Tar = self.kind {
            return tar(&self.path, &mut |name, _, input| {
                if wanted(name) { read(name, input) } else { Ok(()) }
            });
        }
        for entry in self.files.iter().filter(|e| wanted(&e.name)) {
            self.with(entry, &mut |input| read(&entry.name, input))?;
        }
        Ok(())
    }
}

fn walk(root: &Path, below: &str, files: &mut Vec<Entry>) -> std::io::Result<()> {
    let mut entries: Vec<_> = std::fs::read_dir(root.join(below))?.collect::<Result<_, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        let name = if below.is_empty() { name } else { format!("{below}/{name}") };
        let kind = entry.file_type()?;
        if files.len() >= MAX_FILES {
            return Ok(());
        }
        // Links are not followed: a folder may link to itself.
        if kind.is_dir() {
            walk(root, &name, files)?;
        } else if kind.is_file() {
            files.push(Entry { bytes: entry.metadata()?.len(), name, at: 0 });
        }
    }
    Ok(())
}

type EachFile<'f> = &'f mut dyn FnMut(&str, u64, &mut dyn BufRead) -> Result<(), ImportError>;

/// Goes through a tar.gz: POSIX ustar, as npm and others write it.
fn tar(path: &Path, each: EachFile<'_>) -> Result<(), ImportError> {
    const BLOCK: usize = 512;
    let wrong = |text: String| ImportError::File { file: path.display().to_string(), text };
    let file = File::open(path).map_err(|e| wrong(e.to_string()))?;
    let mut input = BufReader::with_capacity(BUFFER, MultiGzDecoder::new(file));
    let mut header = [0u8; BLOCK];
    let mut long_name: Option<String> = None;
    for _ in 0..MAX_FILES {
        match input.read_exact(&mut header) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(e) => return Err(wrong(e.to_string())),
        }
        if header.iter().all(|b| *b == 0) {
            return Ok(());
        }
        let text = |from: usize, to: usize| {
            let bytes = header.get(from..to).unwrap_or_default();
            let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
            String::from_utf8_lossy(&bytes[..end]).trim().to_owned()
        };
        let size =
            u64::from_str_radix(&text(124, 136), 8).map_err(|_| wrong("it is no tar archive".to_owned()))?;
        let padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
        let (name, prefix) = (text(0, 100), text(345, 500));
        let mut body = (&mut input).take(size);
        match header[156] {
            b'0' | 0 => {
                let full = match (long_name.take(), prefix.is_empty()) {
                    (Some(long), _) => long,
                    (None, true) => name,
                    (None, false) => format!("{prefix}/{name}"),
                };
                each(&full, size, &mut BufReader::new(&mut body))?;
            }
            // GNU: the next file's name. Extended headers of POSIX hold it as `path=`.
            kind @ (b'L' | b'x') => {
                let mut bytes = Vec::new();
                (&mut body).take(64 << 10).read_to_end(&mut bytes).map_err(|e| wrong(e.to_string()))?;
                let text = String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_owned();
                long_name = match kind {
                    b'L' => Some(text),
                    _ => text.lines().find_map(|l| Some(l.split_once("path=")?.1.to_owned())),
                };
            }
            _ => {}
        }
        // What `each` left unread.
        std::io::copy(&mut body, &mut std::io::sink()).map_err(|e| wrong(e.to_string()))?;
        std::io::copy(&mut (&mut input).take(padding), &mut std::io::sink())
            .map_err(|e| wrong(e.to_string()))?;
    }
    Ok(())
}
