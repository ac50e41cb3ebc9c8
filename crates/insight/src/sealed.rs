//! Files that say nothing to whom has only the disk: AES-256-GCM in chunks.
//!
//! Layout: 16 bytes of magic, 32 random bytes of salt, then chunks of up to 64 KiB of text, each followed by its tag of
//! 16 bytes. The key of a file is HKDF-SHA256 (RFC 5869) of the installation's key under the salt; the nonce of a chunk
//! is its number and whether it is the last (the STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizár), so chunks
//! cannot be cut off, moved or doubled. The name of the file is bound into every tag: one file cannot stand in for another.

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit, Nonce, Tag};
use std::io::{self, Read, Seek, SeekFrom, Write};

const MAGIC: &[u8; 16] = b"uzima sealed 1\n\0";
const SALT: usize = 32;
const HEADER: u64 = (MAGIC.len() + SALT) as u64;
const TAG: usize = 16;
/// Text in one chunk, bytes.
pub const CHUNK: usize = 64 * 1024;

/// From which the keys of all files are made; prints as `***`.
#[derive(Clone)]
pub struct FileKey([u8; 32]);

impl std::fmt::Debug for FileKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

fn derive(salt: &[u8], key: &[u8], info: &[u8]) -> io::Result<[u8; 32]> {
    store::keys::derive(salt, key, info).map_err(io::Error::other)
}

impl FileKey {
    /// From the installation's key; another key than the database's, though made from the same. Errors: none that can
    /// come.
    pub fn of_installation(key: &[u8; 32]) -> io::Result<FileKey> {
        Ok(FileKey(derive(b"uzima", key, b"uzima files")?))
    }

    fn cipher(&self, salt: &[u8]) -> io::Result<Aes256Gcm> {
        let key = derive(salt, &self.0, b"uzima sealed file")?;
        Aes256Gcm::new_from_slice(&key).map_err(|_| io::Error::other("AES key"))
    }
}

fn nonce(number: u32, last: bool) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[7..11].copy_from_slice(&number.to_be_bytes());
    nonce[11] = u8::from(last);
    nonce
}

fn broken() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the sealed file is damaged, cut off, or made with another key",
    )
}

/// Encrypts what is written to it. Without [SealedWriter::finish] the file stays unreadable at its end.
pub struct SealedWriter<W: Write> {
    out: W,
    cipher: Aes256Gcm,
    name: Vec<u8>,
    chunk: Vec<u8>,
    number: u32,
    written: u64,
}

impl<W: Write> SealedWriter<W> {
    /// Writes the header. `name` must be given again to read. Errors: of `out`; no randomness.
    pub fn new(mut out: W, key: &FileKey, name: &str) -> io::Result<SealedWriter<W>> {
        let mut salt = [0; SALT];
        getrandom::fill(&mut salt).map_err(|e| io::Error::other(e.to_string()))?;
        out.write_all(MAGIC)?;
        out.write_all(&salt)?;
        let cipher = key.cipher(&salt)?;
        let chunk = Vec::with_capacity(CHUNK + TAG);
        Ok(SealedWriter { out, cipher, name: name.as_bytes().to_vec(), chunk, number: 0, written: 0 })
    }

    /// Bytes of text so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    fn seal(&mut self, last: bool) -> io::Result<()> {
        let tag = self
            .cipher
            .encrypt_inout_detached(
                &Nonce::from(nonce(self.number, last)),
                &self.name,
                self.chunk.as_mut_slice().into(),
            )
            .map_err(|_| io::Error::other("AES-GCM"))?;
        self.chunk.extend_from_slice(&tag);
        self.out.write_all(&self.chunk)?;
        self.chunk.clear();
        self.number = self.number.checked_add(1).ok_or_else(|| io::Error::other("the file is too large"))?;
        Ok(())
    }

    /// Writes the last chunk and gives `out` back, not yet flushed.
    pub fn finish(mut self) -> io::Result<W> {
        self.seal(true)?;
        Ok(self.out)
    }
}

impl<W: Write> Write for SealedWriter<W> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        // A full chunk waits for more: it may be the last.
        if self.chunk.len() == CHUNK && !text.is_empty() {
            self.seal(false)?;
        }
        let take = text.len().min(CHUNK - self.chunk.len());
        self.chunk.extend_from_slice(&text[..take]);
        self.written += take as u64;
        Ok(take)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Decrypts what is read from it; never gives out a byte whose chunk was not checked.
pub struct SealedReader<R: Read> {
    input: R,
    cipher: Aes256Gcm,
    name: Vec<u8>,
    /// Text of the chunk at hand, and how much of it was read.
    chunk: Vec<u8>,
    position: usize,
    /// What follows: the reader is always a chunk ahead to know which one is the last.
    ahead: Vec<u8>,
    number: u32,
    ended: bool,
}

impl<R: Read> SealedReader<R> {
    /// Errors: of `input`; `InvalidData` for what is no sealed file.
    pub fn new(mut input: R, key: &FileKey, name: &str) -> io::Result<SealedReader<R>> {
        let mut header = [0; HEADER as usize];
        input.read_exact(&mut header).map_err(|_| broken())?;
        let (magic, salt) = header.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(broken());
        }
        let cipher = key.cipher(salt)?;
        let name = name.as_bytes().to_vec();
        let mut reader = SealedReader {
            input,
            cipher,
            name,
            chunk: Vec::new(),
            position: 0,
            ahead: Vec::new(),
            number: 0,
            ended: false,
        };
        reader.look_ahead()?;
        Ok(reader)
    }

    fn look_ahead(&mut self) -> io::Result<()> {
        self.ahead.clear();
        self.input.by_ref().take((CHUNK + TAG) as u64).read_to_end(&mut self.ahead)?;
        Ok(())
    }

    /// Opens the next chunk.
    fn advance(&mut self) -> io::Result<()> {
        std::mem::swap(&mut self.chunk, &mut self.ahead);
        self.look_ahead()?;
        let last = self.ahead.is_empty();
        let split = self.chunk.len().checked_sub(TAG).ok_or_else(broken)?;
        let tag: [u8; TAG] = self.chunk[split..].try_into().map_err(|_| broken())?;
        self.chunk.truncate(split);
        self.cipher
            .decrypt_inout_detached(
                &Nonce::from(nonce(self.number, last)),
                &self.name,
                self.chunk.as_mut_slice().into(),
                &Tag::from(tag),
            )
            .map_err(|_| broken())?;
        self.number = self.number.checked_add(1).ok_or_else(broken)?;
        self.position = 0;
        self.ended = last;
        Ok(())
    }
}

impl<R: Read> Read for SealedReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.position == self.chunk.len() {
            if self.ended {
                return Ok(0);
            }
            self.advance()?;
        }
        let take = out.len().min(self.chunk.len() - self.position);
        out[..take].copy_from_slice(&self.chunk[self.position..self.position + take]);
        self.position += take;
        Ok(take)
    }
}

impl<R: Read + Seek> SealedReader<R> {
    /// Goes on at this byte of the text. Errors: beyond the end; as for reading.
    pub fn go_to(&mut self, offset: u64) -> io::Result<()> {
        let number = u32::try_from(offset / CHUNK as u64).map_err(|_| broken())?;
        self.input.seek(SeekFrom::Start(HEADER + u64::from(number) * (CHUNK + TAG) as u64))?;
        self.number = number;
        self.ended = false;
        self.look_ahead()?;
        self.advance()?;
        self.position = usize::try_from(offset % CHUNK as u64).map_err(|_| broken())?;
        if self.position > self.chunk.len() { Err(broken()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn key() -> FileKey {
        FileKey::of_installation(&[7; 32]).unwrap()
    }

    fn sealed(text: &[u8]) -> Vec<u8> {
        let mut writer = SealedWriter::new(Vec::new(), &key(), "a").unwrap();
        // In odd pieces, so that they cross the chunks.
        for piece in text.chunks(1000) {
            writer.write_all(piece).unwrap();
        }
        assert_eq!(writer.written(), text.len() as u64);
        writer.finish().unwrap()
    }

    fn opened(bytes: &[u8], key: &FileKey, name: &str) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        SealedReader::new(Cursor::new(bytes), key, name)?.read_to_end(&mut text)?;
        Ok(text)
    }

    fn text(length: usize) -> Vec<u8> {
        (0..length).map(|n| (n * 31 % 251) as u8).collect()
    }

    #[test]
    fn what_was_sealed_can_be_opened() {
        for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 77] {
            let text = text(length);
            let bytes = sealed(&text);
            assert_eq!(opened(&bytes, &key(), "a").unwrap(), text, "{length}");
            assert!(length < 100 || !bytes.windows(32).any(|w| w == &text[..32]), "{length}");
        }
    }

    #[test]
    fn reading_can_begin_anywhere() {
        let text = text(3 * CHUNK + 77);
        let bytes = sealed(&text);
        for offset in [0, 1, CHUNK - 1, CHUNK, 2 * CHUNK + 5, 3 * CHUNK + 77] {
            let mut reader = SealedReader::new(Cursor::new(&bytes), &key(), "a").unwrap();
            reader.go_to(offset as u64).unwrap();
            let mut rest = Vec::new();
            reader.read_to_end(&mut rest).unwrap();
            assert_eq!(rest, text[offset..], "{offset}");
        }
        let mut reader = SealedReader::new(Cursor::new(&bytes), &key(), "a").unwrap();
        assert!(reader.go_to(9 * CHUNK as u64).is_err());
    }

    #[test]
    fn what_was_tampered_with_does_not_open() {
        let whole = sealed(&text(2 * CHUNK + 10));
        let header = HEADER as usize;
        let full = CHUNK + TAG;
        let mut cases: Vec<(&str, Vec<u8>)> = vec![
            ("cut in a chunk", whole[..whole.len() - 1].to_vec()),
            ("cut at a chunk", whole[..header + 2 * full].to_vec()),
            ("only the header", whole[..header].to_vec()),
            ("nothing", Vec::new()),
            ("more behind", [whole.clone(), vec![0; 40]].concat()),
        ];
        let mut swapped = whole[..header].to_vec();
        swapped.extend_from_slice(&whole[header + full..header + 2 * full]);
        swapped.extend_from_slice(&whole[header..header + full]);
        swapped.extend_from_slice(&whole[header + 2 * full..]);
        cases.push(("swapped", swapped));
        for at in [0, 20, header + 5, whole.len() - 1] {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            cases.push(("flipped", flipped));
        }
        for (what, bytes) in cases {
            assert!(opened(&bytes, &key(), "a").is_err(), "{what}");
        }
        assert!(opened(&whole, &FileKey::of_installation(&[8; 32]).unwrap(), "a").is_err(), "another key");
        assert!(opened(&whole, &key(), "b").is_err(), "another name");
        assert_ne!(sealed(b"same"), sealed(b"same"));
    }
}
